// What scripts say, in the reader's language: the page brings its translations. `%(name)s` is filled in from `values`.
const words = JSON.parse(document.querySelector("meta[name=words]")?.content || "{}");
const plurals = new Intl.PluralRules(document.documentElement.lang);

export function _(text, values = {}) {
  return fill(words[text] ?? text, values);
}

// English has two forms and is written in the source; a translation brings as many as its language has, "other" last.
export function ngettext(one, many, number, values = {}) {
  const forms = words[one] ?? [one, many];
  const at = plurals.resolvedOptions().pluralCategories.indexOf(plurals.select(number));
  return fill(forms[at] ?? forms.at(-1), { num: number, ...values });
}

function fill(text, values) {
  return text.replace(/%(?:\((\w+)\)s|%)/g, (mark, name) => (name ? values[name] : "%"));
}
