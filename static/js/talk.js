// A talk without page loads: what is said is answered piece by piece, and after each step the page's own #talk stands in place. What
// was said or chosen is kept in the browser until the server has it, and goes out again by itself: it knows what it has by its id.
import { attach } from "./main.js";
import { fetchPage } from "./fetch_page.js";
import { read, send } from "./talk_stream.js";
import { forget } from "./draft.js";
import { flagsOf, spansOf } from "./verdict.js";

const LONGEST_WAIT_MS = 8000;

export function connect(talk) {
  const key = `tastemaker.talk.${talk.dataset.person}.${talk.dataset.chat}`;
  const go = once(() => goOn(talk, key));
  talk.addEventListener("submit", (event) => {
    event.preventDefault();
    const step = stepOf(event.target, event.submitter);
    if (!step) return;
    localStorage.setItem(key, JSON.stringify(step));
    go();
  });
  talk.addEventListener("keydown", enterSends);
  window.addEventListener("online", go);
  if (localStorage.getItem(key)) go();
  else rest(talk);
}

// What the form asks for, as the API takes it; none where a box is empty.
function stepOf(form, submitter) {
  const data = new FormData(form, submitter);
  const given = Object.fromEntries(data);
  if (form.dataset.kind === "say") {
    if (!given.text.trim()) return null;
    const other = form.dataset.asked !== undefined && given.text !== form.elements.text.defaultValue;
    return { kind: "say", body: { client_id: other ? form.elements.client_id.dataset.other : given.client_id, text: given.text } };
  }
  const { client_id, turn, choice, comment } = given;
  const body = { client_id, turn: Number(turn), choice, comment, flags: flagsOf(data) };
  const spans = spansOf(data);
  if (spans) body.spans = spans;
  if (given.strength && ["left", "right"].includes(choice)) body.strength = Number(given.strength);
  if (given.choice === "both_bad") {
    if (!given.words.trim()) return form.elements.words.focus();
    body.words = given.words;
  }
  for (const name of ["active_ms", "wall_ms"]) if (given[name]) body[name] = Number(given[name]);
  return { kind: "choice", task: form.dataset.task, body };
}

// Enter sends from inside a box of what is said, Shift and Enter begin a line; not while a sign is being composed.
function enterSends(event) {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || !event.target.matches("#text, #words")) return;
  event.preventDefault();
  const { form } = event.target;
  form.requestSubmit(form.querySelector("[value=both_bad]") ?? undefined);
}

// Until the server has what is kept: an answer that does not come is asked for again, what is refused is told. It is kept until the
// page shows what came of it: a page that is loaded again meanwhile may have been drawn before.
async function goOn(talk, key) {
  for (let waitMs = 500, kept; (kept = localStorage.getItem(key)); waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS)) {
    const step = JSON.parse(kept);
    const sent = step.kind === "say" ? read(talk, step.body, grow(talk, step.body.text)) : send(talk, step.body);
    const { state, why } = await sent;
    if (state === "waiting") {
      tell(talk, why);
      await woken(waitMs);
      continue;
    }
    if (state === "done" && step.task) forget(talk, step.task);
    await redraw(talk);
    if (localStorage.getItem(key) === kept) localStorage.removeItem(key);
    rest(talk);
    if (state === "refused") tell(talk, why, step);
  }
}

// What was said stands there at once, and two panes that fill.
function grow(talk, text) {
  talk.querySelector("[data-growing-now]")?.remove();
  for (const form of talk.querySelectorAll("form, .talk__question, :scope > .panes, :scope > .quiet")) form.hidden = true;
  const turns = talk.querySelector(".talk__turns");
  if (talk.querySelector("[data-asked]")) turns.lastElementChild?.remove();
  talk.querySelector("[data-asked]")?.removeAttribute("data-asked");
  const growing = document.createElement("div");
  growing.dataset.growingNow = "";
  growing.append(talk.querySelector("[data-growing]").content.cloneNode(true));
  growing.querySelector(".talk__said .reading").textContent = text;
  for (const part of growing.querySelectorAll("[id]")) part.id = `${part.id}-now`;
  for (const part of growing.querySelectorAll("[aria-labelledby]")) part.setAttribute("aria-labelledby", `${part.getAttribute("aria-labelledby")}-now`);
  turns.after(growing);
  growing.scrollIntoView({ block: "end" });
  return growing;
}

async function redraw(talk) {
  for (let waitMs = 500; ; waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS)) {
    const { page } = await fetchPage(location.pathname);
    const fresh = page?.getElementById("talk");
    if (fresh) {
      talk.replaceChildren(...document.adoptNode(fresh).childNodes);
      await Promise.all([...talk.querySelectorAll("[data-connect]")].map((part) => attach(part)));
      talk.dispatchEvent(new Event("shown"));
      return;
    }
    tell(talk, talk.querySelector("[data-notice]").dataset.noAnswer);
    await woken(waitMs);
  }
}

function rest(talk) {
  const place = talk.querySelector("[data-focus]");
  place?.focus({ preventScroll: true });
  talk.lastElementChild.previousElementSibling?.scrollIntoView({ block: "nearest" });
}

function tell(talk, why, step) {
  const notice = talk.querySelector("[data-notice]");
  notice.textContent = why;
  notice.hidden = false;
  const box = talk.querySelector(step?.kind === "say" ? "#text" : "#words");
  if (box && step) box.value ||= step.body.text ?? step.body.words ?? "";
}

const woken = (ms) => new Promise((resolve) => {
  setTimeout(resolve, ms);
  window.addEventListener("online", resolve, { once: true });
});

// One run at a time; a call during a run is served by that run.
function once(work) {
  let running = null;
  return () => (running ??= work().finally(() => (running = null)));
}
