// Shows whether everything is saved and lists what is not; sends it, again and again, until it is acknowledged or refused. What was
// refused stays in the list until somebody dismisses it. The words are attributes of the element.
import { dismiss, drop, pending, refuse, refused, send } from "./pending.js";
import { isSignedOut } from "./session.js";

const SLOW_MS = 400;
const LONGEST_WAIT_MS = 8000;

export function connect(box) {
  const { person } = box.dataset;
  const flush = once(() => sendAll(box, person));
  box.addEventListener("flush", flush);
  box.addEventListener("click", (event) => {
    if (event.target.dataset.dismiss === undefined) return;
    dismiss(person, event.target.closest("li").dataset.id);
    draw(box, standing(box, person), box.dataset.why);
  });
  window.addEventListener("online", flush);
  window.addEventListener("beforeunload", (event) => {
    if (pending(person).length && box.dataset.state === "waiting" && !isSignedOut()) event.preventDefault(); // who signs in comes back
  });
  draw(box, standing(box, person));
  flush();
}

async function sendAll(box, person) {
  const slow = setTimeout(() => draw(box, box.dataset.state === "waiting" ? "waiting" : "saving", box.dataset.why), SLOW_MS);
  for (let waitMs = 500; pending(person).length; waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS)) {
    const why = await sendRound(box, person);
    if (why === null) continue;
    draw(box, "waiting", why);
    await Promise.race([pause(waitMs), woken(box)]);
  }
  clearTimeout(slow);
  draw(box, "saved");
}

// How things are while nothing is being sent: saved only where nothing waits.
function standing(box, person) {
  if (!pending(person).length) return "saved";
  return box.dataset.state === "waiting" ? "waiting" : "saving";
}

// Each task's in their order; null when all went, else why the first one did not. What the server cannot store now holds back what
// else was said of its task, and nothing more; no answer, or a sign-in that is over, holds back all.
async function sendRound(box, person) {
  const held = new Map();
  for (const entry of pending(person)) {
    if (held.has(entry.task)) continue;
    const result = await send(person, entry);
    const why = result.why || box.dataset[result.names];
    if (result.state === "waiting") {
      held.set(entry.task, why);
      if (result.names !== "notAccepted") break;
      continue;
    }
    if (result.state === "refused") refuse(person, entry, why);
    drop(person, entry);
    document.dispatchEvent(new CustomEvent("verdict", { detail: { entry, result } }));
  }
  return held.size ? [...held.values()][0] : null;
}

function draw(box, state, why = "") {
  const words = box.dataset;
  const [unsaved, lost] = [state === "saved" ? [] : pending(words.person), refused(words.person)];
  const sentences = { saved: lost.length ? `${words.refused} ${lost.length}.` : words.saved, saving: words.saving };
  const sentence = sentences[state] ?? `${words.waiting} ${unsaved.length}. ${why} ${words.again}`;
  Object.assign(words, { state: state === "saved" && lost.length ? "refused" : state, why });
  const output = box.querySelector("output");
  if (output.textContent !== sentence) output.textContent = sentence;
  const listed = [...(state === "waiting" ? unsaved : []), ...lost];
  box.querySelector("ul").replaceChildren(...listed.map((entry) => drawn(box, entry)));
}

function drawn(box, entry) {
  const item = box.querySelector("template").content.firstElementChild.cloneNode(true);
  const link = item.querySelector("a");
  link.textContent = entry.words || entry.task;
  link.href = `${box.dataset.page}?task=${entry.task}`;
  link.dataset.reopens = item.dataset.task = entry.task;
  item.dataset.id = entry.id;
  item.querySelector("[data-about]").textContent = entry.about;
  item.querySelector("[data-why]").textContent = entry.why ?? "";
  item.querySelector("button").hidden = !entry.why;
  return item;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const woken = (box) => new Promise((resolve) => {
  window.addEventListener("online", resolve, { once: true });
  box.addEventListener("flush", resolve, { once: true });
});

// One run at a time; a call during a run is served by that run.
function once(work) {
  let running = null;
  return () => (running ??= work().finally(() => (running = null)));
}
