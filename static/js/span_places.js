// A pane that shows a text sign by sign, with its marks; and where in that text a selection begins and ends. What cannot be seen is
// shown by its code, which counts as the signs that it stands for.
import { pieces } from "./span_text.js";

const UNSEEN = /((?:(?![\t\n\r\u200c\u200d])[\p{Cc}\p{Cf}])+)/u;

export function draw(pane, text, marks, wordsOf) {
  pane.replaceChildren(
    ...pieces(text, marks).flatMap(([piece, on, ending]) => {
      if (!on.length) return signs(piece);
      const element = document.createElement("mark");
      element.className = "span";
      element.dataset.tone = on.some((mark) => wordsOf(mark).tone === "bad") ? "bad" : "good";
      if (ending.length) element.dataset.reasons = ending.map((mark) => wordsOf(mark).said).join(", ");
      element.append(...signs(piece));
      return [element];
    }),
  );
}

// {start, end} in units of the text of what is selected in the pane; none where the selection is elsewhere, or empty.
export function selectedIn(pane) {
  const selection = getSelection();
  if (!selection.rangeCount || selection.isCollapsed) return null;
  const range = selection.getRangeAt(0);
  if (!range.intersectsNode(pane) || !pane.contains(range.startContainer)) return null;
  const start = unitsBefore(pane, range.startContainer, range.startOffset);
  const inside = pane.contains(range.endContainer);
  const end = inside ? unitsBefore(pane, range.endContainer, range.endOffset) : unitsBefore(pane, pane, pane.childNodes.length);
  return start < end ? { start, end } : null;
}

export function select(pane, { start, end }) {
  getSelection().setBaseAndExtent(...placeOf(pane, start), ...placeOf(pane, end));
}

function signs(text) {
  return text.split(UNSEEN).map((part, at) => (at % 2 ? named(part) : document.createTextNode(part)));
}

function named(run) {
  const element = document.createElement("span");
  element.className = "unseen";
  element.dataset.units = run.length;
  const code = run.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
  element.textContent = `U+${code}${[...run].length > 1 ? ` ×${[...run].length}` : ""}`;
  return element;
}

function unitsBefore(pane, node, offset) {
  const range = document.createRange();
  range.selectNodeContents(pane);
  range.setEnd(node, offset);
  const before = range.cloneContents();
  for (const one of before.querySelectorAll(".unseen")) one.textContent = " ".repeat(one.dataset.units);
  return before.textContent.length;
}

// A node and an offset in it, as selections name a place.
function placeOf(pane, units) {
  const walker = document.createTreeWalker(pane, NodeFilter.SHOW_TEXT);
  let left = units;
  let last = [pane, 0];
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const code = node.parentElement.closest(".unseen");
    const length = code ? Number(code.dataset.units) : node.length;
    if (left <= length) return [node, code ? (left ? node.length : 0) : left];
    left -= length;
    last = [node, node.length];
  }
  return last;
}
