// Measures how long a person really reads and judges: the page is seen, has the focus, and something moved lately.
const TICK_MS = 250;
const IDLE_MS = 30000;

export function connect(form) {
  let lastSign = performance.now();
  let activeMs = 0;
  for (const name of ["keydown", "pointermove", "pointerdown", "wheel", "scroll", "touchmove"]) {
    document.addEventListener(name, () => (lastSign = performance.now()), { passive: true, capture: true });
  }
  setInterval(() => {
    const seen = document.visibilityState === "visible" && document.hasFocus();
    if (!seen || performance.now() - lastSign > IDLE_MS) return;
    activeMs += TICK_MS;
    form.elements.active_ms.value = activeMs;
  }, TICK_MS);
}
