// The desk holds one task. A verdict puts it behind, and the one fetched ahead stands there at once, without a page load.
import { ahead, behind, pointUndo, putAway, scrollToLastTurn, show } from "./desk_parts.js";
import { pending } from "./pending.js";

export function connect(desk) {
  desk.addEventListener("judged", () => leave(desk));
  document.addEventListener("verdict", ({ detail }) => settle(desk, detail));
  const here = desk.firstElementChild;
  here.dataset.seen = "";
  scrollToLastTurn(here);
  pointUndo(here);
  // Loaded again before its verdict arrived: it rests until that is known.
  if (!here.dataset.opened) here.inert = pending(desk.dataset.person).some((entry) => entry.task === here.dataset.task);
}

function leave(desk) {
  putAway(desk.firstElementChild);
  const next = ahead().firstElementChild;
  show(desk, next ?? document.getElementById("pause").content.firstElementChild.cloneNode(true));
  if (!next) desk.dispatchEvent(new Event("look"));
}

// A verdict of an earlier page arrived, or was refused, while its task stood here again.
function settle(desk, { entry, result }) {
  const here = desk.firstElementChild;
  behind().querySelector(`[data-task="${entry.task}"]`)?.toggleAttribute("data-refused", result.state === "refused");
  if (here.dataset.task !== entry.task || here.dataset.opened) return;
  here.inert = false;
  here.dataset.outcome = { skip: "skipped", withdraw: "withdrawn" }[entry.path] ?? "answered";
  here.dataset.judgedAt = entry.at;
  if (result.state === "saved") leave(desk);
}
