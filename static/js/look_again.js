// <div id="waiting" data-connect="look_again" data-seconds="5">: asks for the page again while it can be seen; shows how far
// the model is, and goes to the task as soon as there is one.
export function connect(element) {
  setInterval(() => {
    if (document.visibilityState === "visible") look(element);
  }, Number(element.dataset.seconds) * 1000);
}

function look(element) {
  const request = new XMLHttpRequest(); // parses the page without running its scripts
  request.open("GET", location.href);
  request.responseType = "document";
  request.timeout = 20000;
  request.onload = () => {
    const fresh = request.response?.getElementById(element.id);
    if (request.status === 200 && !fresh) location.reload();
    if (fresh && fresh.textContent !== element.textContent) element.replaceChildren(...document.adoptNode(fresh).childNodes);
  };
  request.send();
}
