// Keeps the seats of the task in hand and of those ahead while somebody is there. A seat that went to somebody else meanwhile is
// said so, or given up when its task was not seen yet.
import { ahead, isQuestion } from "./desk_parts.js";
import { post } from "./token.js";

export function connect(desk) {
  const leaseMs = Number(desk.dataset.leaseS) * 1000;
  let active = false;
  for (const name of ["keydown", "pointerdown", "wheel", "touchmove"]) {
    document.addEventListener(name, () => (active = true), { passive: true });
  }
  setInterval(() => {
    if (active) [desk.firstElementChild, ...ahead().children].forEach((part) => renew(desk, part));
    active = false;
  }, 0.3 * leaseMs);
  // One that waited long may have lost its seat.
  desk.addEventListener("shown", ({ target }) => Date.now() - target.dataset.fetchedAt > 0.5 * leaseMs && renew(desk, target));
}

async function renew(desk, part) {
  if (!isQuestion(part) || part.dataset.opened) return;
  const reply = await post(`/api/v1/tasks/${part.dataset.task}/renew`);
  if (reply?.status === 200) part.dataset.leaseUntil = JSON.parse(reply.text).lease_until; // which lease to give back
  if (reply?.status !== 409) return;
  if (part.dataset.seen !== undefined) part.querySelector("[data-notice=late]").hidden = false;
  else part.remove(), desk.dispatchEvent(new Event("look"));
}
