// Attaches behaviours to the page: <div data-connect="refresh"> imports ./refresh.js and calls its connect(element).
// The page works before any of this arrives.
export async function attach(root) {
  const elements = [...root.querySelectorAll("[data-connect]")];
  if (root instanceof Element && root.matches("[data-connect]")) elements.unshift(root);
  await Promise.all(elements.flatMap((element) => element.dataset.connect.split(" ").map((name) => connect(element, name))));
}

async function connect(element, name) {
  if (!/^[a-z][a-z0-9_-]*$/.test(name)) throw new Error(`not the name of a behaviour: ${name}`);
  const module = await import(`./${name}.js`);
  await module.connect(element);
}

attach(document);
