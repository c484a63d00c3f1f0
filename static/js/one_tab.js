// One task open in two tabs: the one that came later says so and rests, until somebody chooses to work there instead. Tabs of one
// person talk over a channel: "mine" asks whether another has the task, "held" is a yes, "taken" ends the other's turn, "left" says
// that the task was judged.
import { isQuestion } from "./desk_parts.js";
import { newId } from "./verdict.js";

const ANSWER_MS = 500;

export function connect(desk) {
  const channel = new BroadcastChannel(`tastemaker.desk.${desk.dataset.person}`);
  const notice = document.getElementById("elsewhere");
  const tab = newId();
  let part, since, silence;
  const say = (what, more) => isQuestion(part) && channel.postMessage({ what, tab, since, task: part.dataset.task, ...more });
  const rest = (held) => {
    clearTimeout(silence);
    desk.inert = held;
    notice.hidden = !held;
  };
  const ask = () => {
    say("mine");
    if (desk.inert) silence = setTimeout(rest, ANSWER_MS, false); // the other tab is gone
  };
  const shown = () => {
    if (part?.dataset.judgedAt && !desk.inert) say("left");
    part = desk.firstElementChild;
    since = Date.now();
    rest(false);
    ask();
  };
  const answers = {
    mine: (other) => (isOlder({ since, tab }, other) ? desk.inert || say("held", { to: other.tab }) : rest(true)),
    held: (other) => other.to === tab && rest(true),
    taken: () => rest(true),
    left: () => desk.inert && (rest(false), desk.dispatchEvent(new Event("judged"))),
  };
  channel.onmessage = ({ data }) => isQuestion(part) && data.task === part.dataset.task && answers[data.what](data);
  notice.querySelector("button").addEventListener("click", () => {
    rest(false);
    since = -Date.now(); // the last one to choose is the oldest
    say("taken");
    part.dispatchEvent(new Event("recall", { bubbles: true }));
  });
  desk.addEventListener("shown", shown);
  window.addEventListener("focus", ask);
  document.addEventListener("visibilitychange", () => document.hidden || ask());
  shown();
}

const isOlder = (one, other) => one.since < other.since || (one.since === other.since && one.tab < other.tab);
