// Passages of an answer are marked with a reason. While the tool below a pane is open, the pane shows the answer as it was written,
// and whatever is selected in it gets the reason whose button is pressed. Opened by its key, the pane takes the arrows: word by word,
// sentence by sentence, Shift extends, a number names the reason. What is marked stands as JSON in the field that the form sends.
import { draw, select, selectedIn } from "./span_places.js";
import { hull, marked, quoteOf, step, stretches, trimmed, unitsTo, withMark } from "./span_text.js";

const ARROWS = { ArrowRight: ["word", true], ArrowLeft: ["word", false], ArrowDown: ["sentence", true], ArrowUp: ["sentence", false] };
const REASON_KEYS = /^[0-9=-]$/;
const shownBefore = new WeakMap(); // pane -> what the server drew in it
const standing = new WeakMap(); // tool -> {picked, anchor, at}: stretches of its text

export function connect(desk) {
  const tools = () => [...desk.querySelectorAll("[data-marks]")];
  const look = () => tools().forEach(show);
  for (const event of ["shown", "restored"]) desk.addEventListener(event, look, { capture: true });
  desk.addEventListener("toggle", ({ target }) => target.matches("[data-marks]") && show(target), { capture: true });
  desk.addEventListener("click", clicked);
  desk.addEventListener("mousedown", (event) => {
    if (event.target.closest("[data-marks] button")) event.preventDefault(); // so that the selection stays, and Enter saves
  });
  desk.addEventListener("keydown", (event) => {
    const tool = tools().find((one) => paneOf(one) === event.target && isByKeys(one));
    if (tool && pressed(tool, event)) event.stopPropagation(), event.preventDefault();
  });
  desk.addEventListener("focusout", ({ target }) => tools().forEach((tool) => paneOf(tool) === target && byKeys(tool, false)));
  desk.addEventListener("click", ({ target }) => tools().forEach((tool) => paneOf(tool).contains(target) && letGo(tool)));
  desk.addEventListener("pointerup", ({ target }) => setTimeout(() => tools().forEach((tool) => openFor(tool, target))));
  document.addEventListener("selectionchange", () => tools().forEach(follow));
  look();
}

const paneOf = (tool) => tool.closest(".pane").querySelector(".pane__text");
const fieldOf = (tool) => tool.querySelector("textarea");
const textOf = (tool) => JSON.parse(fieldOf(tool).dataset.text);
const marksOf = (tool) => JSON.parse(fieldOf(tool).value || "[]");
const isByKeys = (tool) => paneOf(tool).getAttribute("role") === "application";
const say = (tool, words) => (tool.querySelector("output").textContent = words);
const short = (text) => (text.length > 160 ? `${text.slice(0, 80)} … ${text.slice(-80)}` : text);

function wordsOf(tool, { reason }) {
  const button = tool.querySelector(`[data-reason="${CSS.escape(reason)}"]`);
  return button ? button.dataset : { said: reason, tone: "bad" };
}

// The pane, and the list of what is marked in it.
function show(tool) {
  const pane = paneOf(tool);
  if (!tool.open) {
    if (shownBefore.has(pane)) pane.replaceChildren(...shownBefore.get(pane));
    shownBefore.delete(pane);
    return;
  }
  if (pane.querySelector("mark[data-only]")) tool.closest("form").querySelector("[data-connect=compare]").click();
  const selected = shownBefore.has(pane) && selectedIn(pane);
  if (!shownBefore.has(pane)) shownBefore.set(pane, [...pane.childNodes]);
  draw(pane, textOf(tool), marksOf(tool), (mark) => wordsOf(tool, mark));
  if (selected) select(pane, selected);
  const entry = tool.querySelector("template").content.firstElementChild;
  const entries = marksOf(tool).map((mark, at) => {
    const item = entry.cloneNode(true);
    item.querySelector("[data-why]").textContent = wordsOf(tool, mark).said;
    item.querySelector("q").textContent = short(quoteOf(textOf(tool), mark));
    item.querySelector("button").dataset.unmark = at;
    return item;
  });
  tool.querySelector("ul").replaceChildren(...entries);
}

// A key or Enter on the tool's name asks for the keys, a pointer only for the tool. tool.js opens it before this is told.
function clicked(event) {
  const tool = event.target.closest("[data-marks]");
  if (!tool) return;
  const { reason, unmark } = event.target.closest("button")?.dataset ?? {};
  if (reason) return mark(tool, reason);
  if (unmark) return takeOff(tool, Number(unmark), event.detail === 0);
  if (!event.target.closest("summary")) return;
  const opened = event.defaultPrevented;
  if (!opened && (event.detail > 0 || isByKeys(tool))) return;
  event.preventDefault();
  show(tool);
  if (event.detail === 0) byKeys(tool, true);
}

function byKeys(tool, on) {
  const pane = paneOf(tool);
  if (on === isByKeys(tool)) return;
  pane.setAttribute("role", on ? "application" : "group");
  pane.toggleAttribute("data-by-keys", on);
  if (!on) return pane.removeAttribute("aria-describedby");
  pane.setAttribute("aria-describedby", tool.querySelector("p").id);
  pane.focus();
  const begun = standing.get(tool)?.picked;
  move(tool, begun ?? step(stretches(textOf(tool), "word"), null, true), false);
}

// Whether the key meant something here.
function pressed(tool, event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return false;
  const [granularity, forward] = ARROWS[event.key] ?? [];
  if (granularity) move(tool, step(stretches(textOf(tool), granularity), standing.get(tool)?.at, forward), event.shiftKey);
  else if (REASON_KEYS.test(event.key)) event.repeat || mark(tool, tool.querySelector(`[data-key="${event.key}"]`)?.dataset.reason);
  else if (["Delete", "Backspace"].includes(event.key)) unmarkPicked(tool);
  else if (event.key === "Escape") return paneOf(tool).blur(), false;
  else return false;
  return true;
}

function move(tool, to, extends_) {
  if (!to) return;
  const before = standing.get(tool);
  const anchor = (extends_ && before?.anchor) || to;
  const picked = hull(anchor, to);
  standing.set(tool, { picked, anchor, at: to });
  select(paneOf(tool), picked);
  getSelection().focusNode.parentElement.scrollIntoView({ block: "nearest" });
  say(tool, `${tool.dataset.selected} “${short(textOf(tool).slice(picked.start, picked.end))}”`);
}

// What a pointer or a finger selects is what a button marks.
function follow(tool) {
  const found = tool.open && selectedIn(paneOf(tool));
  const picked = found && trimmed(textOf(tool), found);
  const before = standing.get(tool)?.picked;
  if (!picked || (before?.start === picked.start && before.end === picked.end)) return;
  standing.set(tool, { picked, anchor: picked, at: picked });
  say(tool, `${tool.dataset.selected} “${short(textOf(tool).slice(picked.start, picked.end))}”`);
}

// A click into the text that selects nothing takes the selection back.
function letGo(tool) {
  if (getSelection().isCollapsed && standing.delete(tool)) say(tool, "");
}

// Words selected by the mouse in a pane that shows every sign open its tool.
function openFor(tool, target) {
  const pane = paneOf(tool);
  if (tool.open || !pane.contains(target) || pane.textContent !== textOf(tool)) return;
  const found = selectedIn(pane);
  if (!found) return;
  tool.open = true;
  show(tool);
  select(pane, found);
}

function mark(tool, reason) {
  const { picked } = standing.get(tool) ?? {};
  if (!reason || !picked) return say(tool, reason ? tool.dataset.nothing : tool.dataset.none);
  const made = marked(textOf(tool), picked, reason);
  const all = withMark(marksOf(tool), made);
  if (all.length > tool.dataset.most) return say(tool, tool.dataset.full);
  keep(tool, all);
  select(paneOf(tool), picked);
  say(tool, `${wordsOf(tool, made).said}: “${short(quoteOf(textOf(tool), made))}”`);
}

function takeOff(tool, place, isByKey) {
  keep(tool, marksOf(tool).filter((_, at) => at !== place));
  const left = tool.querySelectorAll("[data-unmark]");
  if (isByKey) (left[Math.min(place, left.length - 1)] ?? tool.querySelector("summary")).focus();
}

function unmarkPicked(tool) {
  const { picked } = standing.get(tool) ?? {};
  const text = textOf(tool);
  const apart = (one) => !picked || unitsTo(text, one.end) <= picked.start || picked.end <= unitsTo(text, one.start);
  keep(tool, marksOf(tool).filter(apart));
  if (picked) select(paneOf(tool), picked);
}

function keep(tool, marks) {
  const field = fieldOf(tool);
  const quoted = marks.map(({ start, end, reason }) => ({ start, end, reason, quote: quoteOf(textOf(tool), { start, end }) }));
  field.value = marks.length ? JSON.stringify(quoted) : "";
  field.dispatchEvent(new Event("input", { bubbles: true }));
  show(tool);
  say(tool, "");
}
