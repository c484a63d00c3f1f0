// Parts of the annotator's page as the server drew them: a question, a pause, a reason to wait. One stands on the desk, the others
// wait in the templates #ahead and #behind, where no key, label or reader finds them.
const KEPT_BEHIND = 10;

export const ahead = () => document.getElementById("ahead").content;
export const behind = () => document.getElementById("behind").content;
export const isQuestion = (part) => part.dataset.part === "question";

export function show(desk, part) {
  desk.replaceChildren(part);
  part.dataset.seen = "";
  pointUndo(part);
  part.dispatchEvent(new Event("shown", { bubbles: true }));
  scrollToLastTurn(part);
  window.scrollTo(0, 0);
  part.querySelector("h1").focus({ preventScroll: true }); // a screen reader begins here
}

// What was judged on this page is kept, the last one first, to be opened again; what was only looked at goes back to its place, or is
// asked for anew.
export function putAway(part) {
  if (!isQuestion(part) || !part.dataset.judgedAt) return;
  behind().querySelector(`[data-task="${part.dataset.task}"]`)?.remove();
  const later = [...behind().children].filter((other) => Number(other.dataset.judgedAt) > Number(part.dataset.judgedAt));
  if (later.length) later.at(-1).after(part);
  else behind().prepend(part);
  behind().children[KEPT_BEHIND]?.remove();
}

export function scrollToLastTurn(part) {
  const turns = part.querySelector(".conversation");
  if (turns) turns.scrollTop = turns.scrollHeight;
}

// What "undo" opens: the verdict before the one that stands here, else the last one, as far back as the list of them goes.
export function pointUndo(part) {
  const undo = part.querySelector("[data-undo]");
  if (!undo) return;
  const listed = [...document.querySelectorAll("#last-verdicts [data-reopens]")].map((link) => link.dataset.reopens);
  const judged = [...behind().children, part].filter((other) => other.dataset.judgedAt);
  judged.sort((one, other) => other.dataset.judgedAt - one.dataset.judgedAt);
  const order = [...new Set([...judged.map((other) => other.dataset.task), ...listed])];
  const before = part.dataset.opened ? order[order.indexOf(part.dataset.task) + 1] : order.find((task) => task !== part.dataset.task);
  undo.hidden = !before;
  undo.href = `${location.pathname}?task=${before ?? ""}`;
  undo.dataset.reopens = before ?? "";
}
