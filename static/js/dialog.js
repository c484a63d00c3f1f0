// <a href="/guidelines" data-connect="dialog" data-opens="guidelines">: opens the dialog of that id instead of going there.
export function connect(opener) {
  const dialog = document.getElementById(opener.dataset.opens);
  if (!dialog) return;
  opener.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    dialog.showModal();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // the shade around it
  });
}
