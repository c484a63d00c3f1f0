// Enter saves what stands on the screen, unless it means something where the focus is; with Ctrl, from inside a box, too. Where a
// form of its own is open ([data-enter]: why one skips), Enter is that form's, and goes into it first.
export function connect(desk) {
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.repeat || event.isComposing || document.querySelector("dialog[open]")) return;
    const form = desk.querySelector("form.task");
    if (!form || form.closest("[inert]")) return;
    const from = seen(event.target) ? event.target : form;
    const fromInside = event.ctrlKey || event.metaKey;
    const own = from.closest("form");
    if (own && own !== form) return fromInside ? own.requestSubmit() : undefined; // it sends itself, and nothing else
    if (from.closest("a, button, summary") || (from.closest("textarea, select") && !fromInside)) return;
    event.preventDefault();
    const other = [...form.querySelectorAll("[data-enter]")].find(seen);
    if (!other) form.requestSubmit();
    else if (other.contains(from)) other.querySelector("[formaction]").click();
    else other.querySelector("input").focus();
  });
}

// What was closed may still have the focus.
const seen = (element) => element.checkVisibility();
