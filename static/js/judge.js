// Takes a verdict: keeps it in the browser until the server has it, and goes on at once. Without this the form posts itself.
import { keep } from "./pending.js";
import { skipOf, verdictOf } from "./verdict.js";

export function connect(desk) {
  desk.addEventListener("submit", (event) => judge(desk, event));
  document.addEventListener("keydown", (event) => onKey(desk, event));
}

function judge(desk, event) {
  const form = event.target;
  const { task } = desk.firstElementChild.dataset;
  const skips = event.submitter?.hasAttribute("formaction");
  if (!skips && twoRewrites(form)) return event.preventDefault();
  keep(desk.dataset.person, skips ? skipOf(form, task, event.submitter) : verdictOf(form, task));
  event.preventDefault(); // not before it is kept: if that fails, the form posts itself
  desk.firstElementChild.dataset.outcome = skips ? "skipped" : "answered";
  desk.dispatchEvent(new Event("judged"));
  document.querySelector(".outbox").dispatchEvent(new Event("flush"));
}

// Enter saves, unless it means something where the focus is; Escape leaves a box, so that the keys mean verdicts again.
function onKey(desk, event) {
  const form = desk.querySelector("form.task");
  if (!form || form.closest("[inert]") || event.isComposing || event.repeat || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape" && event.target.closest("textarea, input")) event.target.blur();
  if (event.key !== "Enter") return;
  const fromInside = event.ctrlKey || event.metaKey;
  if (event.target.closest("a, button, summary") || (event.target.closest("textarea, select") && !fromInside)) return;
  event.preventDefault();
  const other = event.target.closest("[data-enter]")?.querySelector("[formaction]");
  if (other) other.click();
  else form.requestSubmit();
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
