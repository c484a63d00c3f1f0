// Keeps an unfinished verdict in the browser, so that a reload, a crash or a sign-out loses nothing.
const KEPT_DAYS = 14;

export function connect(form) {
  const key = `tastemaker.draft.${form.dataset.person}.${form.dataset.task}`;
  restore(form, key);
  const save = () => localStorage.setItem(key, JSON.stringify({ at: Date.now(), fields: fieldsOf(form) }));
  form.addEventListener("input", save);
  form.addEventListener("saved", () => localStorage.removeItem(key));
  forgetOld();
}

function fieldsOf(form) {
  const unkept = ["csrf_token", "client_id", "active_ms"];
  return [...new FormData(form)].filter(([name, value]) => !unkept.includes(name) && value !== "");
}

function restore(form, key) {
  const draft = read(key);
  if (!draft) return;
  for (const box of form.querySelectorAll("[type=radio], [type=checkbox]")) {
    box.checked = draft.fields.some(([name, value]) => name === box.name && value === box.value);
  }
  for (const box of form.querySelectorAll("textarea")) {
    box.value = draft.fields.find(([name]) => name === box.name)?.[1] ?? "";
    if (box.value) box.closest("details")?.setAttribute("open", "");
  }
}

function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

function forgetOld() {
  const oldest = Date.now() - KEPT_DAYS * 86400000;
  for (const key of Object.keys(localStorage)) {
    if (key.startsWith("tastemaker.draft.") && !(read(key)?.at > oldest)) localStorage.removeItem(key);
  }
}
