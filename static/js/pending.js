// Verdicts that are not acknowledged yet, and those that were refused, kept in the browser under the person who gave them; and how
// one is sent. An entry is an envelope of verdict.js.
import { renewToken, token } from "./token.js";

export const pending = (person) => read(`tastemaker.outbox.${person}`);
export const refused = (person) => read(`tastemaker.refused.${person}`);
export const keep = (person, entry) => write(`tastemaker.outbox.${person}`, entry.id, entry);
export const drop = (person, entry) => write(`tastemaker.outbox.${person}`, entry.id);
export const refuse = (person, entry, why) => write(`tastemaker.refused.${person}`, entry.id, { ...entry, why });
export const dismiss = (person, id) => write(`tastemaker.refused.${person}`, id);

function read(key) {
  try {
    const entries = JSON.parse(localStorage.getItem(key)) ?? [];
    return entries.map((entry) => ({ id: entry.body.client_id, path: "label", words: "", about: "", ...entry })); // of older pages
  } catch {
    return [];
  }
}

function write(key, id, entry) {
  const entries = read(key).filter((other) => other.id !== id);
  if (entry) entries.push(entry);
  if (entries.length) localStorage.setItem(key, JSON.stringify(entries));
  else localStorage.removeItem(key);
}

// Sends one verdict of this person: "saved"; "refused", when sending it again cannot help; "waiting" when it can. `why` is in the
// server's words, or names the words of the page: noAnswer, signIn, notAccepted. The server knows a client_id it has seen, so
// sending twice stores once.
export async function send(person, entry) {
  let reply, text;
  try {
    reply = await fetch(`/api/v1/tasks/${entry.task}/${entry.path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRF-Token": token() },
      body: JSON.stringify(entry.body),
      signal: AbortSignal.timeout(15000),
    });
    text = await reply.text(); // an unread reply would hold its connection
  } catch {
    return { state: "waiting", names: "noAnswer" };
  }
  if (reply.ok) return { state: "saved" };
  if (reply.status === 401 || reply.status === 403) {
    renewToken(person);
    return { state: "waiting", names: "signIn" };
  }
  const problem = parsed(text);
  const why = [problem.detail, ...(problem.errors ?? []).map((error) => error.message)].filter(Boolean).join(" ");
  return { state: [404, 409, 410, 422].includes(reply.status) ? "refused" : "waiting", why, names: "notAccepted" };
}

function parsed(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}
