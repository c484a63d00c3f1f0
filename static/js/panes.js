// Long texts: what goes on below, or above, says so. j and k scroll A down and up, J and K scroll B; both go together where that is
// wished, which this browser remembers.
const TOGETHER = "tastemaker.together";
const KEYS = { j: [0, 1], k: [0, -1], J: [-1, 1], K: [-1, -1] };
const A_PAGE = 0.85; // of a pane's height: the last lines are seen again

export function connect(desk) {
  const texts = () => [...desk.querySelectorAll(".pane__text")];
  const together = () => localStorage.getItem(TOGETHER) === "yes";
  const look = () => {
    for (const text of desk.querySelectorAll(".pane__text, .conversation")) say(text);
    desk.querySelector("[data-together]")?.setAttribute("aria-pressed", together());
  };
  desk.addEventListener("shown", look);
  desk.addEventListener("redrawn", look);
  new ResizeObserver(look).observe(desk);
  desk.addEventListener("click", (event) => {
    if (!event.target.closest("[data-together]")) return;
    localStorage.setItem(TOGETHER, together() ? "no" : "yes");
    look();
  });
  const follow = follower(texts, together);
  desk.addEventListener("scroll", ({ target }) => (say(target), follow(target)), { capture: true, passive: true });
  document.addEventListener("keydown", (event) => {
    if (!KEYS[event.key] || isElsewhere(event)) return;
    const [which, direction] = KEYS[event.key];
    const text = texts().at(which);
    if (text) {
      text.scrollBy({ top: direction * A_PAGE * text.clientHeight });
      follow(text); // at once: an earlier movement of the other pane, told only with the next frame, is then no wish of anybody's
    }
    event.preventDefault();
  });
  look();
}

function say(text) {
  const left = text.scrollHeight - text.clientHeight - text.scrollTop;
  text.parentElement.toggleAttribute("data-more", left > 8 && text.matches(".pane__text"));
  text.toggleAttribute("data-below", left > 8);
  text.toggleAttribute("data-above", text.scrollTop > 8);
}

// The other pane goes to the same share of its length. That moves it, which is no wish of anybody's: it is not followed in turn.
function follower(texts, together) {
  const moved = new WeakMap();
  return (text) => {
    if (!together() || !text.matches?.(".pane__text") || Math.abs(moved.get(text) - text.scrollTop) < 2) return moved.delete(text);
    const share = text.scrollTop / Math.max(1, text.scrollHeight - text.clientHeight);
    for (const other of texts().filter((one) => one !== text)) {
      other.scrollTop = share * (other.scrollHeight - other.clientHeight);
      moved.set(other, other.scrollTop);
    }
  };
}

function isElsewhere(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || document.querySelector("dialog[open]")) return true;
  return event.target.closest("textarea, select, input:not([type=radio], [type=checkbox])") !== null;
}
