// Keeps an element current: asks for the page again and puts the fresh element of the same id in place.
import { attach } from "./main.js";
import { fetchPage } from "./fetch_page.js";
import { isSignedOut } from "./session.js";

export function connect(element) {
  const seconds = Number(element.dataset.refreshSeconds);
  setTimeout(() => whenSeen(() => load(element)), seconds * 1000);
}

async function load(element) {
  if (isBusy(element)) return connect(element);
  const { page } = await fetchPage(location.href);
  const fresh = page?.getElementById(element.id);
  if (fresh && !isBusy(element)) replace(element, document.adoptNode(fresh));
  else late(element, fresh);
}

function replace(element, fresh) {
  const focused = element.contains(document.activeElement) ? document.activeElement.id : "";
  for (const open of element.querySelectorAll("details[open][id]")) {
    const same = fresh.querySelector(`#${CSS.escape(open.id)}`);
    if (same) same.open = true;
  }
  element.replaceWith(fresh);
  attach(fresh);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

// Says so when the server does not answer, and goes on trying.
function late(element, fresh) {
  const note = element.querySelector("[data-refresh-note]");
  if (note && !fresh && !isSignedOut()) note.textContent = note.dataset.late.replace("{time}", new Date().toLocaleTimeString(document.documentElement.lang));
  connect(element);
}

// Somebody fills in a form, or reads in a list that would close under them.
function isBusy(element) {
  const active = document.activeElement;
  return element.contains(active) && (active.matches("input, select, textarea") || active.closest(".confirm[open]") !== null);
}

function whenSeen(act) {
  if (!document.hidden) return act();
  document.addEventListener("visibilitychange", act, { once: true });
}
