// A rewrite starts from the answer as it is and shows, while one writes, what goes and what comes. A box that changed nothing is
// emptied, so that it does not count as a rewrite.
import { wordDiff } from "./word_diff.js";

const ELEMENTS = { same: "span", out: "del", in: "ins" };

export function connect(details) {
  const box = details.querySelector("textarea");
  const { original } = box.dataset;
  const same = () => plain(box.value) === plain(original);
  const tidy = () => {
    if (same()) box.value = "";
  };
  const place = details.querySelector("[data-diff]");
  const compare = () => {
    const wasHidden = place.hidden;
    draw(place, box.value && !same() ? wordDiff(plain(original), plain(box.value)) : []);
    if (wasHidden && !place.hidden && document.activeElement === box) details.scrollIntoView({ block: "nearest" });
  };
  details.addEventListener("toggle", () => {
    if (!details.open) tidy();
    compare();
  });
  box.addEventListener("focus", () => (box.value ||= original));
  box.addEventListener("input", soon(compare));
  box.form.addEventListener("submit", tidy, { capture: true });
  compare();
}

const plain = (text) => text.replaceAll("\r\n", "\n").trim();

function draw(place, pieces) {
  place.hidden = pieces.length === 0;
  place.replaceChildren(
    ...pieces.map(([kind, text]) => {
      const element = document.createElement(ELEMENTS[kind]);
      element.textContent = text;
      return element;
    }),
  );
}

// At most once a frame.
function soon(work) {
  let asked = false;
  return () => {
    if (!asked) requestAnimationFrame(() => ((asked = false), work()));
    asked = true;
  };
}
