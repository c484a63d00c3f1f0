// Verdicts that are not acknowledged yet, and those that were refused, kept in the browser under the person who gave them; and how
// one is sent. An entry is an envelope of verdict.js.
import { noticeSession } from "./session.js";
import { renewToken, token } from "./token.js";

export const pending = (person) => read(`tastemaker.outbox.${person}`);
export const refused = (person) => read(`tastemaker.refused.${person}`);
export const keep = (person, entry) => write(`tastemaker.outbox.${person}`, entry);
export const drop = (person, entry) => localStorage.removeItem(`tastemaker.outbox.${person}.${entry.id}`);
export const refuse = (person, entry, why) => write(`tastemaker.refused.${person}`, { ...entry, why });
export const dismiss = (person, id) => localStorage.removeItem(`tastemaker.refused.${person}.${id}`);

// One key for each entry: of one list under one key, two tabs would each write what they know over what the other added.
function write(list, entry) {
  localStorage.setItem(`${list}.${entry.id}`, JSON.stringify({ at: performance.timeOrigin + performance.now(), ...entry }));
}

// In the order in which they were given.
function read(list) {
  splitOld(list);
  const keys = Object.keys(localStorage).filter((key) => key.startsWith(`${list}.`));
  const entries = keys.map((key) => parsed(localStorage.getItem(key))).filter((entry) => entry.id);
  return entries.sort((one, other) => one.at - other.at);
}

// A list under one key, as older pages kept it, becomes its entries.
function splitOld(list) {
  const old = localStorage.getItem(list);
  if (old === null) return;
  for (const [at, entry] of [parsed(old)].flat().entries()) {
    if (entry.body) write(list, { id: entry.body.client_id, path: "label", words: "", about: "", at, ...entry });
  }
  localStorage.removeItem(list);
}

// Sends one verdict of this person: "saved"; "refused", when sending it again cannot help; "waiting" when it can. `why` is in the
// server's words, or names the words of the page: noAnswer, signIn, asYourself, notAccepted. The server knows a client_id it has seen, so
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
  noticeSession(reply.status);
  if (reply.ok) return { state: "saved" };
  if (reply.status === 401 || reply.status === 403) {
    renewToken(person);
    return { state: "waiting", names: reply.status === 401 ? "signIn" : "asYourself" };
  }
  const problem = parsed(text);
  const why = [problem.detail, ...(problem.errors ?? []).map((error) => error.message)].filter(Boolean).join(" ");
  return { state: [400, 404, 409, 410, 413, 422].includes(reply.status) ? "refused" : "waiting", why, names: "notAccepted" };
}

function parsed(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}
