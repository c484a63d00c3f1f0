// Verdicts that are not acknowledged yet, kept in the browser under the person who gave them; and how one is sent.
import { renewToken, token } from "./token.js";

const key = (person) => `tastemaker.outbox.${person}`;

export function pending(person) {
  try {
    return JSON.parse(localStorage.getItem(key(person))) ?? [];
  } catch {
    return [];
  }
}

export function keep(person, entry) {
  const others = pending(person).filter((other) => other.body.client_id !== entry.body.client_id);
  localStorage.setItem(key(person), JSON.stringify([...others, entry]));
}

export function drop(person, entry) {
  const left = pending(person).filter((other) => other.body.client_id !== entry.body.client_id);
  if (left.length) localStorage.setItem(key(person), JSON.stringify(left));
  else localStorage.removeItem(key(person));
}

// Sends one verdict of this person. "saved"; "refused" with the reason, when sending it again cannot help; "waiting" when it can.
// The server knows a client_id it has seen, so sending twice stores once.
export async function send(person, entry) {
  let reply, text;
  try {
    reply = await fetch(`/api/v1/tasks/${entry.task}/label`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRF-Token": token() },
      body: JSON.stringify(entry.body),
      signal: AbortSignal.timeout(15000),
    });
    text = await reply.text(); // an unread reply would hold its connection
  } catch {
    return { state: "waiting", why: "The network or the server does not answer." };
  }
  if (reply.ok) return { state: "saved" };
  const problem = parsed(text);
  const sentences = (problem.errors ?? []).map((error) => error.message);
  const why = [problem.detail ?? "It was not accepted.", ...sentences].join(" ");
  if ([404, 409, 410, 422].includes(reply.status)) return { state: "refused", why };
  if (reply.status !== 401 && reply.status !== 403) return { state: "waiting", why };
  renewToken(person);
  return { state: "waiting", why: "Sign in again as yourself in another tab; it is kept here." };
}

function parsed(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}
