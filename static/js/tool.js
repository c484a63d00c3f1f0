// <details data-connect="tool">: opened by its key or a click, it takes the focus to its first field at once, comes into
// view whole, and says since when it is open.
export function connect(details) {
  details.querySelector("summary").addEventListener("click", (event) => {
    if (details.open) return; // it is about to close
    event.preventDefault();
    details.open = true;
    details.querySelector("input:not([type=hidden]), textarea")?.focus();
    details.scrollIntoView({ block: "nearest" });
  });
  details.addEventListener("toggle", () => {
    if (details.open) details.dataset.opened = performance.now();
    else delete details.dataset.opened;
  });
}
