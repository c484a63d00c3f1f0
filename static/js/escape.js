// Escape closes what a key opened, and leaves a box that was written in, so that the keys mean verdicts again. What holds a part of
// the verdict stays open: it is to be seen when it is saved. A dialog closes by itself.
export function connect(root) {
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing || document.querySelector("dialog[open]")) return;
    const inside = event.target.closest("details[open]");
    if (root.contains(event.target) && event.target.matches("input, textarea, summary")) event.target.blur();
    const open = inside && root.contains(inside) ? [inside] : [...root.querySelectorAll("details[open][data-opened]")];
    const last = open.filter((details) => !holds(details)).sort((one, other) => one.dataset.opened - other.dataset.opened).at(-1);
    if (last) last.open = false;
  });
}

function holds(details) {
  if (details.dataset.skip !== undefined) return false; // the reason is asked again
  const boxes = [...details.querySelectorAll("input, textarea")];
  return boxes.some((box) => (box.matches("textarea") ? !["", plain(box.dataset.original ?? "")].includes(plain(box.value)) : box.checked));
}

const plain = (text) => text.replaceAll("\r\n", "\n").trim();
