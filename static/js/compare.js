// Marks on demand, in each of two answers, the words that only it has: in the text as it stands there, rendered or not.
import { wordDiff } from "./word_diff.js";

export function connect(button) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    const panes = [...button.form.querySelectorAll(".pane__text")];
    const pieces = on ? wordDiff(...panes.map((pane) => pane.textContent)) : [];
    if (on) ["out", "in"].forEach((kind, at) => mark(panes[at], pieces, kind, button.dataset.only));
    else panes.forEach(unmark);
    button.setAttribute("aria-pressed", on);
    const words = pieces.some(([kind]) => kind !== "same") ? button.dataset.differ : button.dataset.same;
    button.nextElementSibling.textContent = on ? words : "";
    button.dispatchEvent(new Event("redrawn", { bubbles: true }));
  });
}

// `pieces` of one kind and those that stay are this pane's text from its first letter to its last.
function mark(pane, pieces, kind, only) {
  const own = pieces.filter(([which]) => which === kind || which === "same").map(([which, text]) => [which === kind, text.length]);
  for (const node of textsOf(pane)) {
    const parts = [];
    for (let at = 0; at < node.length; ) {
      const [marked, left] = own[0];
      const text = node.data.slice(at, at + left);
      parts.push(marked && text.trim() ? marking(text, only) : text);
      at += text.length;
      if (left === text.length) own.shift();
      else own[0][1] -= text.length;
    }
    node.replaceWith(...parts);
  }
}

function marking(text, only) {
  const element = document.createElement("mark");
  element.dataset.only = only; // read out, not seen
  element.textContent = text;
  return element;
}

function unmark(pane) {
  for (const element of pane.querySelectorAll("mark[data-only]")) element.replaceWith(element.textContent);
  pane.normalize();
}

function textsOf(pane) {
  const walker = document.createTreeWalker(pane, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) if (walker.currentNode.length) texts.push(walker.currentNode);
  return texts;
}
