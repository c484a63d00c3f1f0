// On a narrow screen the navigation scrolls sideways: bring the place where the reader is into sight.
export function connect(nav) {
  const here = nav.querySelector("[aria-current]");
  if (here) nav.scrollLeft = here.offsetLeft - (nav.clientWidth - here.offsetWidth) / 2;
}
