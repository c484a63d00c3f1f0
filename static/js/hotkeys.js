// Press a key, click the control that names it: <button data-hotkey="1">. Off while somebody types or holds a modifier.
export function connect(root) {
  root.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (isTyping(event.target)) return;
    const control = find(root, event.key);
    if (!control) return;
    event.preventDefault();
    if (!event.repeat) control.click();
  });
}

// An open dialog keeps the keys to itself.
function find(root, key) {
  const scope = root.querySelector("dialog[open]") ?? root;
  const controls = [...scope.querySelectorAll("[data-hotkey]")];
  const works = (control) => !control.disabled && !control.closest("[inert]") && control.checkVisibility();
  return controls.find((control) => control.dataset.hotkey === key && works(control));
}

function isTyping(target) {
  if (target.isContentEditable || target.matches("textarea, select")) return true;
  return target.matches("input") && !["checkbox", "radio", "button", "submit"].includes(target.type);
}
