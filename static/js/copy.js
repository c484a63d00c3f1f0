// <button data-connect="copy" data-copies="id" data-done="Copied" hidden>: copies the text of that element; shown where it can.
export function connect(button) {
  const source = document.getElementById(button.dataset.copies);
  if (!source || !navigator.clipboard) return;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = button.dataset.done;
  });
}
