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

export function putBehind(part) {
  behind().querySelector(`[data-task="${part.dataset.task}"]`)?.remove();
  behind().prepend(part);
  behind().children[KEPT_BEHIND]?.remove();
}

export function scrollToLastTurn(part) {
  const turns = part.querySelector(".conversation");
  if (turns) turns.scrollTop = turns.scrollHeight;
}

// What "undo" opens: the last one judged on this page; before that, what the server named.
function pointUndo(part) {
  const undo = part.querySelector("[data-undo]");
  const last = behind().firstElementChild;
  if (!undo || !last) return;
  undo.href = `${location.pathname}?task=${last.dataset.task}`;
  undo.dataset.reopens = last.dataset.task;
  undo.hidden = false;
}
