// The difference of two texts by words: pieces [kind, text] in order, kind "same", "out" or "in". Words as the reader's language
// has them, so that Chinese is compared by words too.
const MOST_CELLS = 1e6; // of the table below: a second of arithmetic at most; a larger change is shown as one

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

// By the longest common subsequence: length[i][j] is that of a from i and b from j.
function aligned(a, b) {
  if (a.length * b.length > MOST_CELLS) return [["out", a.join("")], ["in", b.join("")]];
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

// Neighbours of one kind become one piece; between two that stay, what goes stands before what comes.
function joined(pieces) {
  const runs = [];
  for (const [kind, text] of pieces) {
    if (!text) continue;
    const last = runs.at(-1);
    const other = runs.at(-2);
    if (last?.[0] === kind) last[1] += text;
    else if (kind === "out" && last?.[0] === "in" && other?.[0] === "out") other[1] += text;
    else runs.push([kind, text]);
  }
  return runs;
}
