// The form token of this page, which every script that changes something sends along.
export function token() {
  return document.querySelector("meta[name=csrf-token]").content;
}

// Whoever signed in again in another tab has a new form token; a fresh copy of this page carries it.
export function renewToken() {
  const request = new XMLHttpRequest();
  request.open("GET", location.href);
  request.responseType = "document";
  request.onload = () => {
    const fresh = request.response?.querySelector("meta[name=csrf-token]");
    if (fresh) document.querySelector("meta[name=csrf-token]").content = fresh.content;
  };
  request.send();
}
