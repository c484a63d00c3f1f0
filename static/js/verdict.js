import { rankingOf, wordsOf } from "./ranking.js";

// The annotating form as the API takes it, in an envelope for the outbox: {id, task, path, body, words, about}. A field of several
// parts has a dot in its name: criteria.accuracy, flags.left, rubric.sourced.left. What is
// marked is a list as JSON.
export function verdictOf(form, task) {
  const body = bodyOf(form);
  const chosen = form.querySelector("[name=choice]:checked, [name=overall]:checked");
  const words = form.dataset.kind === "ranking" ? wordsOf(form) : chosen.dataset.words;
  return { id: body.client_id, task, path: "label", body, words, about: aboutOf(form) };
}

export function skipOf(form, task, button) {
  const data = new FormData(form);
  const reason = [data.get("reason"), data.get("reason_words")?.trim()].filter(Boolean).join(": ");
  return { id: `skip-${task}`, task, path: "skip", body: { reason }, words: button.dataset.words, about: aboutOf(form) };
}

export function withdrawalOf(form, task, button) {
  const id = newId();
  return { id, task, path: "withdraw", body: { client_id: id }, words: button.dataset.words, about: aboutOf(form) };
}

// A random UUID; crypto.randomUUID is missing where the page does not come over TLS.
export function newId() {
  const hex = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12})$/, "$1-$2-4$3-8$4-$5");
}

function bodyOf(form) {
  const data = new FormData(form);
  const rating = form.dataset.kind === "rating";
  const body = { client_id: data.get("client_id"), comment: data.get("comment") ?? "" };
  const number = (name) => (data.get(name) ? Number(data.get(name)) : null);
  if (form.dataset.kind === "ranking") return rankingBody(form, data, body, number);
  if (rating) body.overall = number("overall");
  else body.choice = data.get("choice");
  if (["left", "right"].includes(body.choice)) body.strength = number("strength");
  body.active_ms = number("active_ms");
  body.wall_ms = number("wall_ms");
  body.criteria = Object.fromEntries(parts(data, "criteria").map(([key, value]) => [key, rating ? Number(value) : value]));
  body.rubric = rubricOf(data);
  const spans = spansOf(data);
  if (spans) body.spans = spans;
  const flags = flagsOf(data);
  body.flags = rating ? (flags.response ?? []) : flags;
  const [rewrite] = parts(data, "rewrite");
  if (rewrite) body.rewrite = rating ? rewrite[1] : { side: rewrite[0], text: rewrite[1] };
  return body;
}

function rankingBody(form, data, body, number) {
  const time = { active_ms: number("active_ms"), wall_ms: number("wall_ms") };
  return { ...body, ...rankingOf(form), ...time, flags: flagsOf(data) };
}

// By question what was said about each answer, and the version of it that the page showed.
function rubricOf(data) {
  const said = {};
  for (const [name, value] of parts(data, "rubric")) {
    const [key, part] = name.split(".");
    (said[key] ??= {})[part] = part === "version" ? Number(value) : value;
  }
  return Object.fromEntries(Object.entries(said).filter(([, answers]) => Object.keys(answers).length > 1));
}

// By side what is marked, and the version of each reason that the page offered; none where it offered none.
export function spansOf(data) {
  const spans = { reasons: {} };
  for (const [name, value] of parts(data, "spans")) {
    if (name.startsWith("reasons.")) spans.reasons[name.slice("reasons.".length)] = Number(value);
    else spans[name] = JSON.parse(value);
  }
  return Object.keys(spans.reasons).length ? spans : null;
}

// Keys of the flags that are ticked, by side.
export function flagsOf(data) {
  const flags = {};
  for (const [side, flag] of parts(data, "flags")) (flags[side] ??= []).push(flag);
  return flags;
}

function parts(data, field) {
  const start = `${field}.`;
  const found = [...data].filter(([name, value]) => name.startsWith(start) && value.trim() !== "");
  return found.map(([name, value]) => [name.slice(start.length), value.replaceAll("\r\n", "\n")]);
}

const aboutOf = (form) => form.querySelector(".conversation__turn:last-child .reading")?.textContent.slice(0, 80) ?? "";
