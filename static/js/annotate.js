// Saves the verdict through the outbox and goes on once it is acknowledged. Without this the form posts itself.
import { keep } from "./pending.js";
import { token } from "./token.js";
import { bodyOf } from "./verdict.js";

export function connect(form) {
  form.addEventListener("submit", (event) => {
    if (event.submitter?.hasAttribute("formaction")) return; // skip
    if (form.dataset.sent || twoRewrites(form)) return event.preventDefault();
    const body = bodyOf(form);
    keep(form.dataset.person, { task: form.dataset.task, body });
    event.preventDefault(); // not before it is kept: if that fails, the form posts itself
    form.dataset.sent = body.client_id;
    document.querySelector(".save-state").textContent = "Saving";
    document.querySelector(".save-state").dispatchEvent(new Event("flush"));
  });
  document.addEventListener("verdict", ({ detail: { entry, result } }) => {
    if (entry.body.client_id !== form.dataset.sent) return;
    if (result.state === "saved") {
      form.dispatchEvent(new Event("saved"));
      location.assign(form.dataset.next);
    } else {
      delete form.dataset.sent;
      form.elements.client_id.value = crypto.randomUUID();
    }
  });
  document.addEventListener("keydown", (event) => saveOnEnter(form, event));
  renewWhileActive(form);
}

// Enter saves, unless it means something where the focus is.
function saveOnEnter(form, event) {
  if (event.key !== "Enter" || event.repeat || event.isComposing || document.querySelector("dialog[open]")) return;
  if (event.target.closest("a, button, summary, textarea, select")) return;
  event.preventDefault();
  form.requestSubmit();
}

function twoRewrites(form) {
  const boxes = [...form.querySelectorAll("textarea[name^='rewrite.']")].filter((box) => box.value.trim());
  boxes[1]?.setCustomValidity("Rewrite one answer, not both.");
  if (boxes[1]) boxes[1].reportValidity();
  boxes[1]?.addEventListener("input", () => boxes[1].setCustomValidity(""), { once: true });
  return boxes.length > 1;
}

function renewWhileActive(form) {
  let active = false;
  for (const name of ["keydown", "pointerdown", "wheel", "touchmove"]) document.addEventListener(name, () => (active = true), { passive: true });
  setInterval(() => {
    if (active) renew(form.dataset.task);
    active = false;
  }, Number(form.dataset.leaseS) * 300);
}

async function renew(task) {
  const reply = await fetch(`/api/v1/tasks/${task}/renew`, { method: "POST", headers: { "X-CSRF-Token": token() } }).catch(() => null);
  await reply?.text(); // an unread reply would hold its connection
}
