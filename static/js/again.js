// Opens a task again: the last one by "undo", any of the last ten from their list. What was in hand comes back after it.
import { attach } from "./main.js";
import { fetchPage } from "./fetch_page.js";
import { ahead, behind, isQuestion, putAway, show } from "./desk_parts.js";
import { newId } from "./verdict.js";

export function connect(desk) {
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-reopens], a[data-leave]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    if (link.dataset.reopens) open(desk, link);
    else desk.dispatchEvent(new Event("judged"));
  });
}

async function open(desk, link) {
  const task = link.dataset.reopens;
  if (desk.firstElementChild.dataset.task === task) return;
  const part = again(behind().querySelector(`[data-task="${task}"]`)) ?? (await load(link.href));
  if (!part) return;
  const here = desk.firstElementChild;
  if (here.dataset.opened) putAway(here);
  else if (isQuestion(here)) ahead().prepend(here);
  show(desk, part);
}

// A correction is a new version under an id of its own, and its time begins anew.
function again(part) {
  if (!part) return null;
  part.dataset.opened = part.dataset.outcome ?? part.dataset.opened;
  for (const notice of part.querySelectorAll("[data-notice]")) notice.hidden = notice.dataset.notice !== part.dataset.opened;
  part.querySelector("[data-skip]").hidden = true;
  part.querySelector("[data-withdraw]").hidden = part.dataset.opened !== "answered";
  const { client_id, active_ms, wall_ms } = part.querySelector("form").elements;
  client_id.value = newId();
  active_ms.value = wall_ms.value = "";
  return part;
}

async function load(url) {
  const { page } = await fetchPage(url);
  const part = page?.querySelector("#desk > [data-part=question]");
  if (part) await attach(document.adoptNode(part));
  return part;
}
