// Takes a verdict: keeps it in the browser until the server has it, and goes on at once. Without this the form posts itself.
import { keep } from "./pending.js";
import { skipOf, verdictOf, withdrawalOf } from "./verdict.js";

const ENTRIES = { answered: verdictOf, skipped: skipOf, withdrawn: withdrawalOf };

export function connect(desk) {
  desk.addEventListener("submit", (event) => judge(desk, event));
}

function judge(desk, event) {
  const form = event.target;
  const { task } = desk.firstElementChild.dataset;
  const { outcome = "answered" } = event.submitter?.dataset ?? {};
  if (outcome === "answered" && twoRewrites(form)) return event.preventDefault();
  keep(desk.dataset.person, ENTRIES[outcome](form, task, event.submitter));
  event.preventDefault(); // not before it is kept: if that fails, the form posts itself
  Object.assign(desk.firstElementChild.dataset, { outcome, judgedAt: Date.now() });
  desk.dispatchEvent(new Event("judged"));
  document.querySelector(".outbox").dispatchEvent(new Event("flush"));
}

// A verdict holds one rewrite. The sentence under each box says so until one of them is written in; the box last opened shows it.
function twoRewrites(form) {
  const boxes = [...form.querySelectorAll("textarea[name^='rewrite.']")].filter((box) => box.value.trim());
  if (boxes.length < 2) return false;
  const say = (said) => form.querySelectorAll("[data-only-one]").forEach((words) => (words.hidden = !said));
  const box = boxes.find((one) => one.closest("details").open) ?? boxes[1];
  box.closest("details").open = true;
  box.focus();
  say(true);
  boxes.forEach((one) => one.addEventListener("input", () => say(false), { once: true }));
  return true;
}
