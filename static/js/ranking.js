// Puts answers in order by keys: a number gives its answer the next place, or takes it off; "=" makes the next one equal to the last.
// The places stand in the form's own lists, which work without this.
export function connect(answers) {
  const form = answers.closest("form");
  const lists = [...answers.querySelectorAll("select[data-number]")];
  const equal = form.querySelector("[data-equals]");
  const allBad = form.elements.all_bad;
  const changed = (list) => list.dispatchEvent(new Event("input", { bubbles: true }));
  const places = () => lists.map((list) => Number(list.value)).filter(Boolean);
  const press = (on) => equal.setAttribute("aria-pressed", String(on));

  const put = (list) => {
    const last = Math.max(0, ...places());
    const next = equal.getAttribute("aria-pressed") === "true" && last ? last : last + 1;
    list.value = list.value ? "" : String(next);
    press(false);
    changed(list);
  };
  const clear = () => {
    for (const list of lists) list.value = "";
    allBad.checked = false;
    changed(lists[0]);
  };
  const say = () => {
    if (allBad.checked) for (const list of lists) list.value = "";
    const placed = lists.some((list) => list.value) || allBad.checked;
    allBad.setCustomValidity(placed ? "" : answers.dataset.nothing);
    form.querySelector("[data-order]").textContent = wordsOf(form) || answers.dataset.nothing;
  };

  for (const button of answers.querySelectorAll("[data-place]"))
    button.addEventListener("click", () => {
      allBad.checked = false;
      put(lists.find((list) => list.dataset.number === button.dataset.place));
    });
  for (const list of lists) list.addEventListener("change", () => (allBad.checked = false));
  equal.addEventListener("click", () => press(equal.getAttribute("aria-pressed") !== "true"));
  form.querySelector("[data-clear]").addEventListener("click", clear);
  form.addEventListener("input", say);
  form.addEventListener("change", say);
  form.addEventListener("restored", say); // from a draft
  say();
}

// {ranking, last, all_bad} as the API takes it.
export function rankingOf(form) {
  const data = new FormData(form);
  if (data.get("all_bad")) return { ranking: [], last: [], all_bad: true };
  const groups = new Map();
  const last = [];
  for (const [name, place] of data) {
    if (!name.startsWith("place.") || !place) continue;
    const number = Number(name.slice("place.".length));
    if (place === "last") last.push(number);
    else groups.set(Number(place), [...(groups.get(Number(place)) ?? []), number]);
  }
  const ranking = [...groups].sort(([one], [other]) => one - other).map(([, group]) => group);
  return { ranking, last, all_bad: false };
}

// "2 > 1 = 4 > … > 3"
export function wordsOf(form) {
  const { ranking, last, all_bad: allBad } = rankingOf(form);
  if (allBad) return form.querySelector("[data-all-bad]").dataset.allBad;
  const groups = ranking.map((group) => group.join(" = "));
  if (!groups.length && !last.length) return "";
  const size = form.querySelectorAll("select[data-number]").length;
  if (ranking.flat().length + last.length < size) groups.push("…");
  if (last.length) groups.push(last.join(" = "));
  return groups.join(" > ");
}
