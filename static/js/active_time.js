// Measures how long a task has been on the screen, and how long a person really read and judged it: the page is seen, has the
// focus, and something moved lately. Both are counted in the form's own fields, so that a task put aside goes on where it was.
const TICK_MS = 250;
const IDLE_MS = 30000;

export function connect(desk) {
  let lastTick = performance.now();
  let lastSign = lastTick;
  const tick = () => {
    const now = performance.now();
    const since = Math.round(now - lastTick);
    lastTick += since;
    const form = desk.querySelector("form.task");
    if (!form) return;
    const { wall_ms, active_ms } = form.elements;
    wall_ms.value = Number(wall_ms.value) + since;
    const there = document.visibilityState === "visible" && document.hasFocus() && now - lastSign < IDLE_MS;
    if (there) active_ms.value = Number(active_ms.value) + Math.min(since, 4 * TICK_MS);
  };
  for (const name of ["keydown", "pointermove", "pointerdown", "wheel", "scroll", "touchmove"]) {
    document.addEventListener(name, () => (lastSign = performance.now()), { passive: true, capture: true });
  }
  setInterval(tick, TICK_MS);
  desk.addEventListener("submit", tick, { capture: true });
  desk.addEventListener("shown", () => (lastTick = lastSign = performance.now()));
}
