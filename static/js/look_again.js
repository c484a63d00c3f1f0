// <div data-connect="look_again" data-seconds="5">: while it is seen, has the desk look for a task every so often.
export function connect(element) {
  const timer = setInterval(() => {
    if (!element.isConnected) clearInterval(timer);
    else if (document.visibilityState === "visible") element.dispatchEvent(new Event("look", { bubbles: true }));
  }, Number(element.dataset.seconds) * 1000);
}
