// One step of a talk over the API: {state: "done"}; "refused", with the server's words, where sending it again cannot help;
// "waiting", where it can.
import { noticeSession } from "./session.js";
import { token } from "./token.js";

const words = (talk) => talk.querySelector("[data-notice]").dataset;

// Says something, and lets both panes grow by what comes.
export async function read(talk, body, growing) {
  try {
    const reply = await post(`/api/v1/chats/${talk.dataset.chat}/turns`, body);
    if (!reply.ok) return await refusal(talk, reply);
    const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = "", piece = await reader.read(); !piece.done; piece = await reader.read()) {
      const events = (text + piece.value).split("\n\n");
      text = events.pop();
      for (const event of events.map((one) => JSON.parse(one.slice("data: ".length)))) {
        if (event.done) return { state: "done" };
        if (event.error) return outcome(talk, event.error.status, event.error.detail);
        for (const side of ["left", "right"]) growing.querySelector(`[data-side=${side}]`).append(event[side] ?? "");
      }
    }
  } catch {
    // said below
  }
  return { state: "waiting", why: words(talk).noAnswer };
}

// Sends what was chosen.
export async function send(talk, body) {
  try {
    const reply = await post(`/api/v1/chats/${talk.dataset.chat}/choice`, body, AbortSignal.timeout(15000));
    if (!reply.ok) return await refusal(talk, reply);
    await reply.text(); // an unread reply would hold its connection
    return { state: "done" };
  } catch {
    return { state: "waiting", why: words(talk).noAnswer };
  }
}

function post(url, body, signal) {
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": token() };
  return fetch(url, { method: "POST", headers, body: JSON.stringify(body), signal });
}

async function refusal(talk, reply) {
  const problem = await reply.json().catch(() => ({}));
  noticeSession(reply.status);
  return outcome(talk, reply.status, [problem.detail, ...(problem.errors ?? []).map((error) => error.message)].filter(Boolean).join(" "));
}

function outcome(talk, status, why) {
  if (status === 401 || status === 403) return { state: "waiting", why: words(talk).signIn };
  if ([400, 404, 409, 410, 413, 422].includes(status)) return { state: "refused", why };
  return { state: "waiting", why: `${why} ${words(talk).away}` };
}
