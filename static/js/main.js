// Attaches behaviours to the page: <div data-connect="refresh"> imports ./refresh.js and calls its connect(element).
// The page works before any of this arrives.
const TRIES = 4; // of a part that is asked for again by who wanted it; those of the page itself are tried until they come
const LONGEST_WAIT_MS = 8000;

export async function attach(root, tries = TRIES) {
  const elements = [...root.querySelectorAll("[data-connect]")];
  if (root instanceof Element && root.matches("[data-connect]")) elements.unshift(root);
  await Promise.all(elements.flatMap((element) => element.dataset.connect.split(" ").map((name) => connect(element, name, tries))));
}

async function connect(element, name, tries) {
  if (!/^[a-z][a-z0-9_-]*$/.test(name)) throw new Error(`not the name of a behaviour: ${name}`);
  const module = await load(name, tries);
  await module.connect(element);
}

const missed = new Map(); // of each behaviour: how often it did not come

// A browser may remember that a module did not come, by its address: another try asks under one that was never asked for.
async function load(name, tries) {
  for (let tried = 1; ; tried++) {
    const before = missed.get(name) ?? 0;
    try {
      return await import(before === 0 ? `./${name}.js` : `./${name}.js?try=${before + 1}`);
    } catch (error) {
      missed.set(name, before + 1);
      if (tried >= tries) throw error;
      await new Promise((resolve) => setTimeout(resolve, Math.min(250 * 2 ** tried, LONGEST_WAIT_MS)));
    }
  }
}

attach(document, Infinity);
