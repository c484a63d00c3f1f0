// The annotating form as the API takes it. A field of several parts has a dot in its name: criteria.accuracy, flags.left.
export function bodyOf(form) {
  const data = new FormData(form);
  const rating = form.dataset.kind === "rating";
  const body = { client_id: data.get("client_id"), comment: data.get("comment") ?? "" };
  const number = (name) => (data.get(name) ? Number(data.get(name)) : null);
  if (rating) body.overall = number("overall");
  else body.choice = data.get("choice");
  if (["left", "right"].includes(body.choice)) body.strength = number("strength");
  body.active_ms = number("active_ms");
  body.criteria = Object.fromEntries(parts(data, "criteria").map(([key, value]) => [key, rating ? Number(value) : value]));
  const flags = {};
  for (const [side, flag] of parts(data, "flags")) (flags[side] ??= []).push(flag);
  body.flags = rating ? (flags.response ?? []) : flags;
  const [rewrite] = parts(data, "rewrite");
  if (rewrite) body.rewrite = rating ? rewrite[1] : { side: rewrite[0], text: rewrite[1] };
  return body;
}

function parts(data, field) {
  const start = `${field}.`;
  const found = [...data].filter(([name, value]) => name.startsWith(start) && value.trim() !== "");
  return found.map(([name, value]) => [name.slice(start.length), value.replaceAll("\r\n", "\n")]);
}
