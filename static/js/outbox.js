// Shows whether everything is saved, and sends what is not, again and again until it is acknowledged.
import { drop, pending, send } from "./pending.js";

const LONGEST_WAIT_MS = 30000;

export function connect(output) {
  const { person } = output.dataset;
  const flush = once(() => sendAll(output, person));
  output.addEventListener("flush", flush);
  window.addEventListener("online", flush);
  window.addEventListener("beforeunload", (event) => {
    if (pending(person).length && output.dataset.state === "waiting") event.preventDefault();
  });
  flush();
}

async function sendAll(output, person) {
  for (let waitMs = 1000; pending(person).length; waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS)) {
    for (const entry of pending(person)) {
      const result = await send(person, entry);
      if (result.state === "waiting") {
        const count = pending(person).length;
        show(output, "waiting", `Hang on, ${count === 1 ? "a verdict is" : `${count} verdicts are`} not saved yet. ${result.why} Trying again.`);
        break;
      }
      drop(person, entry);
      waitMs = 500;
      if (result.state === "refused") show(output, "refused", `A verdict could not be saved. ${result.why}`);
      document.dispatchEvent(new CustomEvent("verdict", { detail: { entry, result } }));
    }
    if (pending(person).length) await Promise.race([pause(waitMs), woken()]);
  }
  if (output.dataset.state !== "refused") show(output, "saved", "All saved");
}

function show(output, state, words) {
  output.dataset.state = state;
  if (output.textContent !== words) output.textContent = words;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const woken = () => new Promise((resolve) => window.addEventListener("online", resolve, { once: true }));

// One run at a time; a call during a run is served by that run.
function once(work) {
  let running = null;
  return () => (running ??= work().finally(() => (running = null)));
}
