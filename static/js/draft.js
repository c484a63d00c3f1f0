// Keeps an unfinished verdict in the browser, so that a reload, a crash or a sign-out loses nothing.
const KEPT_DAYS = 14;
const MOST_KEPT = 20; // a browser keeps so much and no more, and verdicts that are still to be sent need room in it, too

const keyOf = (desk, task) => `tastemaker.draft.${desk.dataset.person}.${task}`;

// A task on the desk, or the choice of a talk, which is a form itself.
export function connect(desk) {
  const key = (task) => keyOf(desk, task);
  const here = () => desk.querySelector(":scope > [data-task]");
  const recall = () => here() && restore(here(), read(key(here().dataset.task)));
  desk.addEventListener("shown", recall);
  desk.addEventListener("shown", () => forgetOld());
  desk.addEventListener("recall", recall); // another tab wrote in it since
  desk.addEventListener("input", (event) => {
    if (!here()) return;
    const draft = { at: Date.now(), fields: fieldsOf(event.target.form) };
    keep(key(here().dataset.task), JSON.stringify(draft));
  });
  document.addEventListener("verdict", ({ detail: { entry, result } }) => {
    if (result.state === "saved") localStorage.removeItem(key(entry.task));
  });
  recall();
  forgetOld();
}

export function forget(desk, task) {
  localStorage.removeItem(keyOf(desk, task));
}

function fieldsOf(form) {
  return [...new FormData(form)].filter(([name, value]) => !["csrf_token", "client_id"].includes(name) && value !== "");
}

function restore(part, draft) {
  if (!draft) return;
  const form = part.matches("form") ? part : part.querySelector("form");
  const texts = part.dataset.opened ? "textarea, .input" : "textarea, .input, [name$=_ms]"; // a correction has its own time
  const valueOf = (name) => draft.fields.find(([other]) => name === other)?.[1] ?? "";
  const boxes = [...form.elements]; // some stand beside it
  for (const box of boxes.filter((one) => one.matches("[type=radio], [type=checkbox]"))) {
    box.checked = draft.fields.some(([name, value]) => name === box.name && value === box.value);
    if (box.checked) box.closest("details")?.setAttribute("open", "");
  }
  for (const box of boxes.filter((one) => one.matches(texts))) {
    box.value = valueOf(box.name);
    if (box.value) box.closest("details")?.setAttribute("open", "");
  }
  form.dispatchEvent(new Event("restored"));
}

function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

function keep(key, draft) {
  try {
    localStorage.setItem(key, draft);
  } catch {
    forgetOld(1); // it is full
    localStorage.setItem(key, draft);
  }
}

function forgetOld(most = MOST_KEPT) {
  const oldest = Date.now() - KEPT_DAYS * 86400000;
  const drafts = Object.keys(localStorage).filter((key) => key.startsWith("tastemaker.draft."));
  const at = Object.fromEntries(drafts.map((key) => [key, read(key)?.at ?? 0]));
  drafts.sort((one, other) => at[other] - at[one]);
  for (const key of drafts.filter((key, index) => index >= most || at[key] < oldest)) localStorage.removeItem(key);
}
