// The playground's form: each contender's answer grows in a pane of its own, and its score stands below it once it is there.
import { noticeSession } from "./session.js";
import { token } from "./token.js";

export function connect(form) {
  let stopping = null; // ends what still streams when another prompt is played
  form.addEventListener("submit", (event) => {
    if (event.submitter?.hasAttribute("formaction")) return;
    event.preventDefault();
    const sent = new FormData(form);
    const who = sent.getAll("who");
    const problem = form.querySelector("fieldset [data-problem]");
    problem.hidden = who.length >= 1 && who.length <= Number(form.dataset.most);
    problem.textContent = problem.hidden ? "" : form.dataset.tooMany;
    if (!problem.hidden) return;
    stopping?.abort();
    stopping = new AbortController();
    const panes = who.map((key, index) => paneOf(form, key, index + 1));
    form.querySelector("[data-panes]").replaceChildren(...panes);
    form.querySelector("[data-answers]").hidden = false;
    who.forEach((key, index) => stream(form, sent, key, panes[index], stopping.signal));
  });
}

function paneOf(form, key, place) {
  const template = form.querySelector(`template[data-pane="${CSS.escape(key)}"]`);
  const pane = template.content.cloneNode(true).firstElementChild;
  for (const input of pane.querySelectorAll("input[data-field]")) input.name = `answer.${place}.${input.dataset.field}`;
  const pick = pane.querySelector("[data-pick] input");
  pick.id = `pick-${place}`;
  pick.value = String(place);
  pane.querySelector("[data-pick] label").htmlFor = pick.id;
  keep(pane, "who", key);
  return pane;
}

async function stream(form, sent, key, pane, signal) {
  const body = new FormData();
  for (const name of ["prompt", "max_tokens", "temperature"]) body.set(name, sent.get(name));
  body.set("who", key);
  const state = pane.querySelector("[data-state]");
  state.textContent = form.dataset.writing;
  try {
    const reply = await fetch(form.dataset.answer, { method: "POST", body, signal, headers: { "X-CSRF-Token": token() } });
    noticeSession(reply.status, reply.url);
    if (!reply.ok) throw new Error(String(reply.status));
    let ended = false;
    for await (const event of events(reply.body)) {
      show(form, pane, event);
      ended ||= Boolean(event.finish_reason || event.problem);
    }
    if (!ended) throw new Error("it broke off");
    state.textContent = "";
  } catch (error) {
    if (signal.aborted) return;
    state.textContent = "";
    tell(pane, form.dataset.lost);
  }
}

function show(form, pane, event) {
  const text = pane.querySelector("[data-text]");
  if (event.text) text.textContent += event.text;
  if (event.finish_reason) {
    keep(pane, "text", text.textContent);
    keep(pane, "seed", event.seed ?? "");
    keep(pane, "finish_reason", event.finish_reason);
    pane.querySelector("[data-cut]").hidden = event.finish_reason !== "length";
    pane.querySelector("[data-pick]").hidden = text.textContent.trim() === "";
    pane.querySelector("[data-state]").textContent = form.dataset.scoring;
  }
  if (event.score !== undefined) {
    const words = new Intl.NumberFormat(document.documentElement.lang, { maximumFractionDigits: 2, minimumFractionDigits: 2 });
    pane.querySelector("[data-score]").hidden = false;
    pane.querySelector("[data-value]").textContent = words.format(event.score);
    pane.querySelector("[data-doubt]").hidden = event.deviation === null;
    if (event.deviation !== null) pane.querySelector("[data-deviation]").textContent = words.format(event.deviation);
  }
  if (event.problem) tell(pane, event.problem);
}

function tell(pane, words) {
  const problem = pane.querySelector("[data-problem]");
  problem.textContent = words;
  problem.hidden = false;
}

function keep(pane, name, value) {
  pane.querySelector(`input[data-field="${name}"]`).value = value;
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part.replace(/^data: /, ""));
  }
}
