// 1 to 5 score the marked row, and the mark walks on to the next one; the arrows up and down mark another one. The marked row is the
// one with the focus.
export function connect(desk) {
  const rows = () => [...desk.querySelectorAll("[data-row]")];
  const mark = (row) => rows().forEach((other) => other.toggleAttribute("data-marked", other === row));
  const marked = () => rows().find((row) => row.hasAttribute("data-marked")) ?? rows()[0];
  const begin = () => mark(rows()[0]);
  desk.addEventListener("shown", begin);
  desk.addEventListener("focusin", (event) => mark(event.target.closest("[data-row]") ?? marked()));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || document.querySelector("dialog[open]")) return;
    if (!marked() || marked().closest("[inert]")) return;
    if (event.target.closest("textarea, input:not([type=radio], [type=checkbox]), [data-enter]")) return;
    const here = marked();
    const walk = (steps) => go(rows()[rows().indexOf(here) + steps]);
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (/^[1-5]$/.test(event.key) && !event.repeat) choose(here, event.key), walk(1);
    else if (step && !event.target.closest(".reading, .conversation")) walk(step);
    else return;
    event.preventDefault();
  });
  begin();
}

function choose(row, score) {
  const button = row.querySelector(`input[value="${score}"]`);
  button.focus({ preventScroll: true });
  button.click();
}

function go(row) {
  if (!row) return;
  (row.querySelector("input:checked") ?? row.querySelector("input")).focus();
  row.scrollIntoView({ block: "nearest" });
}
