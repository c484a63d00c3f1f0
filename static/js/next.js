// Fetches the next task ahead, and with it how things stand. A seat that was fetched and not used is given back.
import { attach } from "./main.js";
import { fetchPage } from "./fetch_page.js";
import { ahead, isQuestion, pointUndo, show } from "./desk_parts.js";
import { pending } from "./pending.js";
import { post, renewToken } from "./token.js";

const TRY_AGAIN_MS = 3000;
let waiting; // one timer for the page, however many ask

export function connect(desk) {
  const look = () => fill(desk);
  desk.addEventListener("look", look);
  document.addEventListener("verdict", look);
  window.addEventListener("online", look);
  window.addEventListener("pagehide", giveBack);
  look();
}

// One question at a time; who asks meanwhile is served by one more.
async function fill(desk) {
  if (desk.dataset.asking) return void (desk.dataset.asking = "again");
  desk.dataset.asking = "once";
  const came = await ask(desk);
  const again = desk.dataset.asking === "again";
  delete desk.dataset.asking;
  clearTimeout(waiting);
  if (again) fill(desk);
  else if (!came) waiting = setTimeout(() => fill(desk), TRY_AGAIN_MS);
}

// Whether an answer came and stands where it belongs. A behaviour of a part may fail to arrive: then it is asked for again.
async function ask(desk) {
  const { status, page } = await fetchPage(desk.dataset.next, asked(desk));
  if (status === 401 || status === 403) renewToken(desk.dataset.person);
  try {
    if (page) await take(desk, page);
  } catch {
    return false;
  }
  return page !== null;
}

function asked(desk) {
  const here = [desk.firstElementChild, ...ahead().children].map((part) => part.dataset.task).filter(Boolean);
  const form = new URLSearchParams({ wanted: ahead().firstElementChild ? "no" : "yes" });
  for (const task of new Set([...here, ...pending(desk.dataset.person).map((entry) => entry.task)])) form.append("besides", task);
  return form;
}

async function take(desk, page) {
  for (const id of ["progress", "last-verdicts"]) {
    const fresh = page.getElementById(id);
    if (fresh && !fresh.isEqualNode(document.getElementById(id))) document.getElementById(id).replaceWith(document.adoptNode(fresh));
  }
  pointUndo(desk.firstElementChild);
  const part = page.querySelector("#desk > [data-part]");
  if (!part) return;
  document.adoptNode(part);
  part.dataset.fetchedAt = Date.now();
  await attach(part);
  const here = desk.firstElementChild;
  if (isQuestion(here)) {
    if (isQuestion(part)) ahead().append(part);
  } else if (here.dataset.part !== part.dataset.part) show(desk, part);
  else if (here.textContent !== part.textContent) here.replaceChildren(...part.childNodes);
}

function giveBack() {
  for (const part of ahead().querySelectorAll("[data-task]:not([data-seen])")) {
    const body = JSON.stringify({ lease_until: part.dataset.leaseUntil }); // one that another tab has renewed goes on
    post(`/api/v1/tasks/${part.dataset.task}/return`, { body, keepalive: true });
  }
}
