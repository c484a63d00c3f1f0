// Enter sends the form inside, unless it means something where the focus is.
export function connect(element) {
  const form = element.querySelector("form");
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.repeat || event.isComposing || document.querySelector("dialog[open]")) return;
    if (event.target.closest("a, button, summary, textarea, select")) return;
    event.preventDefault();
    form.requestSubmit();
  });
}
