// 1 to 5 score the marked row, y, n and c answer the marked question of the rubric, and the mark walks on to the next row; the arrows
// up and down mark another one. The marked row is the one with the focus.
const ANSWERS = { y: "yes", n: "no", c: "cannot_say" };

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
    const here = meant(event.key, marked(), rows());
    const walk = (steps) => go(rows()[rows().indexOf(here) + steps]);
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (buttonOf(here, event.key)) event.repeat || (choose(here, event.key), walk(1));
    else if (step && !event.target.closest(".reading, .conversation")) walk(step);
    else return;
    event.preventDefault();
  });
  begin();
}

// The marked row; where it takes no such answer, the first question of the rubric that is open, for its keys alone.
function meant(key, marked, rows) {
  if (!(key in ANSWERS) || buttonOf(marked, key)) return marked;
  const asked = rows.filter((row) => buttonOf(row, key));
  return asked.find((row) => !row.querySelector("input:checked")) ?? asked[0] ?? marked;
}

const buttonOf = (row, key) => row.querySelector(`input[value="${CSS.escape(ANSWERS[key] ?? key)}"]`);

function choose(row, key) {
  const button = buttonOf(row, key);
  button.focus({ preventScroll: true });
  button.click();
}

function go(row) {
  if (!row) return;
  (row.querySelector("input:checked") ?? row.querySelector("input")).focus();
  row.scrollIntoView({ block: "nearest" });
}
