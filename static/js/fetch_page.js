// Asks for a page, by POST where a form is given: {status, page}, the page parsed without running its scripts. Trusted Types forbid
// the other ways to parse.
import { noticeSession } from "./session.js";
import { token } from "./token.js";

export function fetchPage(url, form) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open(form ? "POST" : "GET", url);
    request.responseType = "document";
    request.timeout = 20000;
    if (form) request.setRequestHeader("X-CSRF-Token", token());
    request.onloadend = () => {
      const status = noticeSession(request.status, request.responseURL);
      resolve({ status, page: status === 200 ? request.response : null });
    };
    request.send(form);
  });
}
