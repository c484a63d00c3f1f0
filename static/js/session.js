// Who was signed out meanwhile is told so, with a link that signs in and comes back here. What is not saved waits in the outbox.
const notice = () => document.getElementById("signed-out");

export const isSignedOut = () => notice()?.hidden === false;

// Every reply says how it stands: 401, or the page to sign in on, where another one was asked for.
export function noticeSession(status, url = "") {
  const out = status === 401 || (url !== "" && new URL(url, location.href).pathname === "/sign-in");
  if (notice() && (out || (status >= 200 && status < 300))) notice().hidden = !out;
  return out ? 401 : status;
}
