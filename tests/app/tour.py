"""One of everything to look at, and the address of every page that shows it."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.assignment.audiences import audience
from app.chats import service as chats
from app.chats import turns
from app.contenders.service import contenders_alone
from app.feedback.service import About, Said, give
from app.labels.verdict import Rewrite, Verdict
from app.models import EvaluationCandidate, Label, Membership, Project, Prompt, Run, Task, utc_now
from app.quality.adjudication import service as adjudication
from app.serving.warm_process import Answer
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.coverage.drawn import draw
from tests.app.exports.judging import judge
from tests.app.quality.adjudication.differing import differ, dispute_of
from tests.app.rounds import told
from trainer.contract.coverage.clusters import Cluster
from trainer.contract.messages import Message

PAGES = (
    "/",
    "/projects/demo",
    "/projects/other",
    "/projects/new",
    "/account",
    "/account/keys",
    "/people",
    "/account/second-factor",
    "/account/events",
    "/projects/demo/annotate",
    "/projects/demo/annotate?task={ranked}",
    "/projects/demo/guidelines",
    "/projects/demo/labels",
    "/labels/{label}",
    "/projects/demo/people",
    "/projects/demo/audit",
    "/audit",
    "/webhooks",
    "/projects/demo/settings",
    "/projects/demo/settings/questions",
    "/projects/demo/settings/guidelines",
    "/projects/demo/settings/practice",
    "/projects/demo/settings/practice/new",
    "/projects/demo/settings/preview",
    "/projects/demo/settings/removal",
    "/projects/archived",
    "/projects/demo/work",
    "/styleguide",
    "/projects/demo/prompts",
    "/projects/demo/prompts/import",
    "/projects/demo/prompts/proposed",
    "/projects/demo/prompts/coverage",
    "/projects/demo/prompts?cluster={map}.1",
    "/projects/demo/feedback",
    "/projects/demo/chats",
    "/chats/{chat}",
    "/chats/{answered_chat}",
    "/projects/demo/answers/import",
    "/prompts/{prompt}",
    "/projects/demo/export",
    "/projects/demo/rounds",
    "/projects/demo/rounds/new",
    "/projects/demo/preference",
    "/projects/demo/sft",
    "/projects/demo/checkpoints",
    "/projects/demo/leaderboard",
    "/projects/demo/leaderboard/side-by-side",
    "/projects/demo/leaderboard/side-by-side?one={before}&other={after}",
    "/projects/demo/evaluations",
    "/evaluations/{evaluation}",
    "/projects/demo/agreement",
    "/projects/demo/annotators/{judge}",
    "/projects/demo/gold?task={task}",
    "/projects/demo/hours",
    "/projects/demo/queue",
    "/projects/demo/disputes",
    "/projects/demo/disputes/{dispute}",
    "/projects/demo/contenders",
    "/projects/demo/playground",
    "/outside-models",
    "/rounds/{round}",
    "/rounds/{live_round}",
    "/runs/{ppo}",
    "/runs/{live}",
    "/runs/{failed}",
    "/checkpoints/{candidate}",
    "/checkpoints/{reward}",
    "/no-such-page",
)


def furnish(session: Session, cast: Cast, settings: Settings) -> dict[str, int]:
    """A project with labels, a finished round, a round in PPO and a run that failed; the ids that PAGES ask for."""
    project = session.get_one(Project, cast.demo)
    first = told.tell(session, project, settings.runs, state="done")
    second = told.tell(session, project, settings.runs, state="ppo", number=2)
    live = session.get_one(Run, second.ppo)
    live.state, live.step, live.total, live.eta_s, live.ended_at = "running", 3, 24, 600.0, None
    for _ in range(3):
        factories.make_task(session, project)
    label = judge(session, project, cast.mary, choice="left", comment="Clearer.")
    ranked = judge(session, project, cast.ada, order=[[2], [1, 4]], last=[3])
    failed = factories.make_run(session, project.id, state="failed", message=Message("worker_died"), ended_at=utc_now())
    told.a_worker(session)
    project.chat_on, project.hours_budget = True, 40.0
    about = About(
        project.id, first.candidate, [{"role": "user", "content": "Is it <b>far</b>?"}], "Very far.\nI think.", None, "demo"
    )
    give(session, about, Said(str(uuid.uuid4()), "down", True, "Very far.\n384,400 km.", "Be exact."), cast.grace)
    give(session, about, Said(str(uuid.uuid4()), "up", True), cast.grace)
    talks = [_talk(session, project, cast.ada, choice) for choice in ("both_bad", "")]
    contenders = contenders_alone(session, [project.policy_id or 0, first.candidate])
    _assign(session, project, cast)
    return {
        "map": _map_prompts(session, project, settings),
        "evaluation": _evaluation(session, project, contenders[first.candidate]),
        "before": contenders[project.policy_id or 0],
        "after": contenders[first.candidate],
        "chat": talks[0],
        "answered_chat": talks[1],
        "version": project.guideline_version,
        "label": label.id,
        "judge": cast.mary,
        "dispute": _dispute(session, project, cast),
        "task": label.task_id,
        "ranked": ranked.task_id,
        "prompt": session.scalars(select(Task.prompt_id)).first() or 0,
        "round": first.round,
        "live_round": second.round,
        "ppo": first.ppo,
        "live": second.ppo,
        "failed": failed.id,
        "candidate": first.candidate,
        "reward": first.reward,
    }


def _assign(session: Session, project: Project, cast: Cast) -> None:
    """A prompt that is for Mary, and one that is for nobody; the second says nearly what the first, held out, says."""
    marked: list[int] = []
    for language, skills in (("zh-Hant", ["law"]), ("de", [])):
        marks: dict[str, Any] = {
            "language": language,
            "tags": ["short"],
            "skills": skills,
            "audience": audience(language, skills),
        }
        twin = {"twin_id": marked[0]} if marked else {"split": "holdout"}
        marked.append(factories.make_prompt(session, project.id, **marks, **twin).id)
    project.audiences = ["de", "zh-Hant law"]
    for member in session.scalars(select(Membership).where(Membership.project_id == project.id)):
        member.languages, member.skills = ["en", "zh-Hant"], ["law"] if member.user_id == cast.mary else []


def _map_prompts(session: Session, project: Project, settings: Settings) -> int:
    """A map of all prompts but the newest, drawn by a run of its own; the run."""
    prompts = session.scalars(select(Prompt.id).where(Prompt.project_id == project.id).order_by(Prompt.id)).all()[:-1]
    clusters = Cluster(tuple(prompts[1:]), ("sky", "天空", "blue")), Cluster(tuple(prompts[:1]))
    return draw(session, project.id, settings.runs, *clusters)


def _dispute(session: Session, project: Project, cast: Cast) -> int:
    """What Mary and Alan differ on; Mary is asked to look again."""
    task = differ(session, project, {cast.mary: {"choice": "tie", "comment": "Both."}, cast.alan: {"choice": "both_bad"}})
    dispute = dispute_of(session, task.id)
    assert dispute is not None
    labels = session.scalars(select(Label.id).where(Label.task_id == task.id, Label.annotator_id == cast.mary))
    adjudication.send_back(session, project, dispute.id, labels.one(), "Is the *date* right?", cast.ada)
    return dispute.id


def _evaluation(session: Session, project: Project, candidate: int) -> int:
    """One that people judge, while the month's budget holds it back; its id."""
    project.month_evaluation_labels = 0
    made = factories.make_evaluation(session, project.id, state="open", opened_at=utc_now())
    session.add(EvaluationCandidate(evaluation_id=made.id, contender_id=candidate))
    session.flush()
    return made.id


def _talk(session: Session, project: Project, person: int, choice: str) -> int:
    """A talk of one turn, chosen from or yet to be; its id."""
    chat = chats.start(session, project.id, person, str(uuid.uuid4()))
    asked = turns.say(session, chat.id, person, str(uuid.uuid4()), "Is the *moon* <b>far</b>?")
    turns.keep(session, asked, (Answer("Very far.", "eos", 2, [1, 2]), Answer("It is not", "length", 2, [3, 4])))
    if choice:
        verdict = Verdict(str(uuid.uuid4()), choice=choice, rewrite=Rewrite("left", "384,400 km."))
        turns.choose(session, chat.id, person, 1, verdict, interface="chat 1", now=utc_now())
    return chat.id
