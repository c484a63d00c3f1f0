import { noticeSession } from "./session.js";

// The form token of this page, which every script that changes something sends along.
export function token() {
  return document.querySelector("meta[name=csrf-token]").content;
}

// Whoever signed in again in another tab has a new form token; a fresh copy of this page carries it. It is taken over only when
// it is the same person: a verdict must never be sent as somebody else.
export function renewToken(person) {
  const request = new XMLHttpRequest();
  request.open("GET", location.href);
  request.responseType = "document";
  request.onload = () => {
    const fresh = request.response?.querySelector("meta[name=csrf-token]");
    const samePerson = request.response?.querySelector("[data-person]")?.dataset.person === person;
    if (fresh && samePerson) document.querySelector("meta[name=csrf-token]").content = fresh.content;
  };
  request.send();
}

// A call that asks for something to be done: the reply's status and text, or null when none came.
export function post(url, options) {
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": token() };
  // An unread reply would hold its connection.
  const read = async (reply) => ({ status: noticeSession(reply.status), text: await reply.text() });
  return fetch(url, { method: "POST", headers, ...options }).then(read).catch(() => null);
}
