// Attaches behaviours to the page: <div data-connect="refresh"> imports ./refresh.js and calls its connect(element).
// The page works before any of this arrives.
const TRIES = 4;

export async function attach(root) {
  const elements = [...root.querySelectorAll("[data-connect]")];
  if (root instanceof Element && root.matches("[data-connect]")) elements.unshift(root);
  await Promise.all(elements.flatMap((element) => element.dataset.connect.split(" ").map((name) => connect(element, name))));
}

async function connect(element, name) {
  if (!/^[a-z][a-z0-9_-]*$/.test(name)) throw new Error(`not the name of a behaviour: ${name}`);
  const module = await load(name);
  await module.connect(element);
}

// A browser may remember that a module did not come, by its address: another try asks under another one.
async function load(name) {
  for (let tries = 1; ; tries++) {
    try {
      return await import(tries === 1 ? `./${name}.js` : `./${name}.js?try=${tries}`);
    } catch (error) {
      if (tries === TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, 250 * 2 ** tries));
    }
  }
}

attach(document);
