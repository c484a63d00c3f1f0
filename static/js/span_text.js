// Passages of a text. A mark is {start, end, reason}: places count Unicode code points from 0, as the server counts. A stretch is
// {start, end} in the units of JavaScript's strings, where an emoji has two.
const SHOWN = /[\p{L}\p{N}\p{S}\p{Extended_Pictographic}]/u;

export const pointsTo = (text, unit) => [...text.slice(0, unit)].length;

export function unitsTo(text, point) {
  let units = 0;
  for (const sign of text) {
    if (point-- <= 0) break;
    units += sign.length;
  }
  return units;
}

// A stretch without the space around it, and with both halves of an emoji; none where nothing is left.
export function trimmed(text, { start, end }) {
  const isLow = (at) => /[\udc00-\udfff]/.test(text[at] ?? "") && /[\ud800-\udbff]/.test(text[at - 1] ?? "");
  while (start < end && /\s/.test(text[start])) start++;
  while (end > start && /\s/.test(text[end - 1])) end--;
  if (start === end) return null;
  return { start: start - isLow(start), end: end + isLow(end) };
}

export const marked = (text, { start, end }, reason) => ({ start: pointsTo(text, start), end: pointsTo(text, end), reason });

export const quoteOf = (text, mark) => text.slice(unitsTo(text, mark.start), unitsTo(text, mark.end));

// With a mark more; those of its reason that it touches become one with it.
export function withMark(marks, mark) {
  const joined = marks.filter((one) => one.reason === mark.reason && one.start < mark.end && mark.start < one.end);
  const start = Math.min(mark.start, ...joined.map((one) => one.start));
  const end = Math.max(mark.end, ...joined.map((one) => one.end));
  return [...marks.filter((one) => !joined.includes(one)), { ...mark, start, end }].sort((one, other) => one.start - other.start || one.end - other.end);
}

// Words ("word") or sentences ("sentence") as stretches, in any script.
export function stretches(text, granularity) {
  const parts = [...new Intl.Segmenter(undefined, { granularity }).segment(text)].filter(({ segment }) => SHOWN.test(segment));
  return parts.map(({ index, segment }) => trimmed(text, { start: index, end: index + segment.length }));
}

// The next stretch from here, or the one before; at the edge of the text the one that is there.
export function step(found, from, forward) {
  if (!from) return forward ? found[0] : found.at(-1);
  return (forward ? found.find((one) => one.end > from.end) : found.findLast((one) => one.start < from.start)) ?? from;
}

export const hull = (one, other) => ({ start: Math.min(one.start, other.start), end: Math.max(one.end, other.end) });

// The text in pieces [text, marks on it, marks that end with it].
export function pieces(text, marks) {
  const cuts = [...new Set([0, text.length, ...marks.flatMap(({ start, end }) => [unitsTo(text, start), unitsTo(text, end)])])];
  cuts.sort((one, other) => one - other);
  return cuts.slice(1).map((end, at) => {
    const start = cuts[at];
    const [from, to] = [pointsTo(text, start), pointsTo(text, end)];
    const on = marks.filter((mark) => mark.start < to && from < mark.end);
    return [text.slice(start, end), on, on.filter((mark) => mark.end === to)];
  });
}
