// The difference of two texts by words: pieces [kind, text] in order, kind "same", "out" or "in". Words as the reader's language
// has them, so that Chinese is compared by words too.
const MOST_CELLS = 1e6; // of one table below: some hundredths of a second; what is larger is parted first
const MOST_WORK = 6e6; // in all, whatever is compared; what is left then is shown as one change
const PER_WORD = 20; // work of looking for places to part at, in cells

export function wordDiff(before, after) {
  const [a, b] = [wordsOf(before), wordsOf(after)];
  let head = 0;
  let tail = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  while (tail < a.length - head && tail < b.length - head && a.at(-1 - tail) === b.at(-1 - tail)) tail++;
  const middle = aligned(a.slice(head, a.length - tail), b.slice(head, b.length - tail));
  const pieces = [...a.slice(0, head).map(same), ...middle, ...a.slice(a.length - tail).map(same)];
  return joined(pieces);
}

const same = (word) => ["same", word];
const segmenter = new Intl.Segmenter(undefined, { granularity: "word" });
const wordsOf = (text) => Array.from(segmenter.segment(text), ({ segment }) => segment);

// By a table where there is room for one, else parted at words that each side has just once.
function aligned(a, b, work = { left: MOST_WORK }) {
  const cells = (a.length + 1) * (b.length + 1);
  if (cells <= Math.min(MOST_CELLS, work.left)) {
    work.left -= cells;
    return byTable(a, b);
  }
  work.left -= PER_WORD * (a.length + b.length);
  const stays = work.left > 0 ? sameOnce(a, b) : [];
  if (stays.length === 0) return [["out", a.join("")], ["in", b.join("")]];
  const pieces = [];
  let [i, j] = [0, 0];
  for (const [nextI, nextJ] of [...stays, [a.length, b.length]]) {
    for (const piece of aligned(a.slice(i, nextI), b.slice(j, nextJ), work)) pieces.push(piece);
    if (nextI < a.length) pieces.push(same(a[nextI]));
    [i, j] = [nextI + 1, nextJ + 1];
  }
  return pieces;
}

// Places [i, j] of words that stand once in a and once in b, as many as are in the same order in both (the patience of solitaire).
function sameOnce(a, b) {
  const [inA, inB] = [places(a), places(b)];
  const shared = [...inA].filter(([word, i]) => i >= 0 && inB.get(word) >= 0).map(([word, i]) => ({ i, j: inB.get(word), before: null }));
  const tops = [];
  for (const place of shared) {
    let [low, high] = [0, tops.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (tops[middle].j < place.j) low = middle + 1;
      else high = middle;
    }
    place.before = tops[low - 1] ?? null;
    tops[low] = place;
  }
  const found = [];
  for (let place = tops.at(-1); place; place = place.before) found.push([place.i, place.j]);
  return found.reverse();
}

// Where each word stands; -1 for one that stands more than once.
function places(words) {
  const found = new Map();
  words.forEach((word, at) => found.set(word, found.has(word) ? -1 : at));
  return found;
}

// By the longest common subsequence: length[i][j] is that of a from i and b from j.
function byTable(a, b) {
  const width = b.length + 1;
  const length = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      const at = i * width + j;
      length[at] = a[i] === b[j] ? length[at + width + 1] + 1 : Math.max(length[at + width], length[at + 1]);
    }
  }
  const pieces = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) pieces.push(same(a[i++])), j++;
    else if (j === b.length || (i < a.length && length[(i + 1) * width + j] >= length[i * width + j + 1])) pieces.push(["out", a[i++]]);
    else pieces.push(["in", b[j++]]);
  }
  return pieces;
}

// Neighbours of one kind become one piece; between two that stay, what goes stands before what comes. Where whole phrases changed,
// the space between their words stays by chance: it goes and comes with them, so that each phrase can be read.
function joined(pieces) {
  const runs = [];
  for (const [kind, text] of pieces.flatMap((piece, at) => (byChance(pieces, at) ? [["out", piece[1]], ["in", piece[1]]] : [piece]))) {
    if (!text) continue;
    const last = runs.at(-1);
    const other = runs.at(-2);
    if (last?.[0] === kind) last[1] += text;
    else if (kind === "out" && last?.[0] === "in" && other?.[0] === "out") other[1] += text;
    else runs.push([kind, text]);
  }
  return runs;
}

function byChance(pieces, at) {
  const [before, after] = [pieces[at - 1], pieces[at + 1]];
  return pieces[at][0] === "same" && !pieces[at][1].trim() && !pieces[at][1].includes("\n") && changed(before) && changed(after);
}

const changed = (piece) => piece !== undefined && piece[0] !== "same";
