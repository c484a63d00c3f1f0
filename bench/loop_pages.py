"""The pages of the loop after many rounds: `python bench/loop_pages.py [--labels 1000000] [--rounds 50] [--data FOLDER]`.

On the verdicts and contenders of `bench/leaderboard.py`: so many rounds with their runs, checkpoints, frozen labels and
evaluations are made by hand, each evaluation of 400 of the verdicts, and 300,000 thumbs beside the answers kept for them. Then
every page of it is asked of a server, a few times: seconds to the last byte, and the server's own processor seconds, which
neighbours bend less. The last line on stdout is one JSON object.
"""

from __future__ import annotations

import os.path
import sys

if __name__ == "__main__":
    sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import json
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.contenders.service import contender_of
from app.database.engine import make_engine, write_session
from app.evaluation.leaderboard.tally import keep_counting
from app.models import Checkpoint, Contender, Evaluation, EvaluationCandidate, EvaluationTask, Project, Round, Run, utc_now
from app.runs.lineage import label_index
from app.runs.run_files import run_folder
from bench import leaderboard
from bench.grown import sign_in
from bench.stage import SLUG, say, serving, sqlite_in
from trainer.contract.folder import digest_of
from trainer.contract.messages import Message

ASKED: Final = 3  # times of each page
JUDGED: Final = 400  # verdicts of an evaluation
FEEDBACK: Final = 300_000  # thumbs with their texts; every third waits for an admin
FIRST_PROMPT: Final = 1_000_000  # as bench/leaderboard.py numbers them


def add_rounds(data: Path, labels: int, rounds: int) -> None:
    """One after the other, each from all labels so far."""
    engine = make_engine(sqlite_in(data))
    with write_session(engine) as session:
        project = session.get_one(Project, 1)
        for number in range(1, rounds + 1):
            learned = labels * number // rounds
            run = _add_round(session, project, number, learned)
            _freeze(data, run, learned, rows=learned if number == rounds else 1)
    engine.dispose()
    say(f"{rounds} rounds")


def add_feedback(data: Path, count: int) -> None:
    """Thumbs of one key, each about an answer that was kept, with a talk of about a kilobyte."""
    engine = make_engine(sqlite_in(data))
    with write_session(engine) as session:
        policy_id = session.get_one(Project, 1).policy_id
        talk = json.dumps([{"role": "user", "content": "What do you make of this? " * 20}])
        given = {"count": count, "policy": policy_id, "talk": talk, "words": "That depends on whom you ask. " * 15}
        session.execute(text(_KEPT), given)
        session.execute(text(_FEEDBACK), given)
    engine.dispose()
    say(f"{count} thumbs")


_NUMBERS: Final = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count) "
_KEPT: Final = (
    "INSERT INTO kept_answers (id, project_id, policy_id, completion_id, number, messages, text, token_ids, settings, seed, "
    "finish_reason, kept_by, kept_at) "
    + _NUMBERS
    + "SELECT i, 1, :policy, 'chatcmpl-' || i, 0, :talk, :words, '[1, 2, 3]', '{}', i, 'eos', 1, '2026-01-01 00:00:00' FROM n"
)
_FEEDBACK: Final = (
    "INSERT INTO feedback (id, project_id, given_by, client_id, payload_hash, policy_id, answer_id, thumb, consent, messages, "
    "text, comment, created_at, accepted, decided_by, decided_at) "
    + _NUMBERS
    + "SELECT i, 1, 1, 'client-' || i, i, :policy, i, CASE i % 4 WHEN 0 THEN 'down' ELSE 'up' END, 1, :talk, :words, '', "
    "'2026-01-01 00:00:00', CASE i % 3 WHEN 0 THEN NULL ELSE 0 END, CASE i % 3 WHEN 0 THEN NULL ELSE 1 END, "
    "CASE i % 3 WHEN 0 THEN NULL ELSE '2026-01-02 00:00:00' END FROM n"
)


def _add_round(session: Session, project: Project, number: int, learned: int) -> Run:
    """Its reward run, whose labels are to be frozen."""
    began = utc_now() - timedelta(days=60 - number)
    before = session.get_one(Checkpoint, project.policy_id)
    round_ = Round(
        project_id=1, number=number, trigger="labels", label_count=learned, start_policy_id=before.id, started_at=began
    )
    round_.state, round_.decision, round_.decided_at, round_.ended_at = "done", "promoted", began, began
    session.add(round_)
    session.flush()
    runs = [_run(session, round_, kind, began) for kind in ("reward", "ppo", "sample")]
    name = Message("reward_of_round", number=number)
    reward = Checkpoint(project_id=1, kind="reward", name=name, parent_id=before.id, run_id=runs[0].id, source="models/reward")
    name = Message("policy_of_round", number=number)
    policy = Checkpoint(project_id=1, kind="policy", name=name, parent_id=before.id, run_id=runs[1].id, source="models/policy")
    session.add_all([reward, policy])
    session.flush()
    runs[1].inputs, runs[2].inputs = {"reward": reward.id, "start": before.id}, {"checkpoint": policy.id, "split": "holdout"}
    policy.promoted_at, project.policy_id, project.previous_policy_id = began, policy.id, before.id
    round_.reward_id, round_.candidate_id = reward.id, policy.id
    _evaluate(session, round_, before, policy, number)
    runs[1].config, runs[1].result = {"reference": "base"}, {"kl_nats_per_answer": number / 2}
    _take_for(session, policy, reward)
    session.flush()
    return runs[0]


def _take_for(session: Session, policy: Checkpoint, reward: Checkpoint) -> None:
    """One more of the contenders whose verdicts there are becomes best of four of it: how far that went is known."""
    stranger = session.scalars(select(Contender).where(Contender.kind == "imported").order_by(Contender.id).limit(1)).first()
    if stranger is not None:
        stranger.kind, stranger.name, stranger.checkpoint_id = "best_of", None, policy.id
        stranger.best_of, stranger.reward_id = 4, reward.id


def _run(session: Session, round_: Round, kind: str, began: Any) -> Run:
    run = Run(project_id=1, round_id=round_.id, kind=kind, state="done", config={}, message=Message("done"))
    run.started_at = run.ended_at = run.queued_at = began
    session.add(run)
    session.flush()
    return run


def _freeze(data: Path, run: Run, learned: int, *, rows: int) -> None:
    """The index by which a label is found in it is whole; its file has so many rows, the newest round's as many as labels."""
    folder = run_folder(data / "runs", run.id)
    folder.mkdir(parents=True)
    row = json.dumps({"prompt": "x" * 60, "chosen": "y" * 60, "rejected": "z" * 60}) + "\n"
    (folder / "preferences.jsonl").write_text(row * rows)
    (folder / "ratings.jsonl").write_text("")
    label_index.write(folder, range(1, learned + 1))
    run.label_digest, run.label_count = digest_of(folder, "preferences.jsonl", "ratings.jsonl"), learned


def _evaluate(session: Session, round_: Round, before: Checkpoint, policy: Checkpoint, number: int) -> None:
    baseline, contender = contender_of(session, before), contender_of(session, policy)
    track = [[count, 0.5 - 0.4 / count, min(1.0, 0.6 + 0.4 / count)] for count in range(1, 101)]
    figures = {
        "units": 100,
        "verdicts": JUDGED,
        "people": 8,
        "mean": 0.6,
        "lower": 0.52,
        "upper": 0.68,
        "saved": 0,
        "track": track,
    }
    evaluation = Evaluation(project_id=1, round_id=round_.id, baseline_id=baseline.id, budget=JUDGED, error=0.05, flag_margin=0.1)
    evaluation.overlap, evaluation.pairs, evaluation.prompt_ids = 1, 4, list(range(FIRST_PROMPT, FIRST_PROMPT + JUDGED // 4))
    evaluation.state, evaluation.decision, evaluation.winner_id = "decided", "promoted", contender.id
    evaluation.reason = Message("people_prefer_it", accuracy=0.6, low=0.52, high=0.68, count=JUDGED, people=8)
    session.add(evaluation)
    session.flush()
    standing = {"promotes": True, "rejects": False, "spent": False, "worse_flags": [], "open_flags": [], "flags_since": {}}
    candidate = EvaluationCandidate(evaluation_id=evaluation.id, contender_id=contender.id, standing=figures | standing)
    session.add(candidate)
    session.flush()
    session.add_all(
        EvaluationTask(
            candidate_id=candidate.id,
            task_id=(number - 1) * JUDGED + pair + 1,
            prompt_id=FIRST_PROMPT + pair // 4,
            place=pair // 4,
            pair=pair % 4,
        )
        for pair in range(JUDGED)
    )


def addresses(data: Path) -> dict[str, str]:
    """Every page of it, the newest and largest of each kind."""
    engine = make_engine(sqlite_in(data))
    root = f"/projects/{SLUG}"
    with write_session(engine) as session:
        one, other = session.scalars(select(Contender.id).where(Contender.kind == "best_of").order_by(Contender.id).limit(2))
        round_ = session.scalars(select(Round).order_by(Round.id.desc()).limit(1)).one()
        evaluation = session.scalars(select(Evaluation).order_by(Evaluation.id.desc()).limit(1)).one()
        candidate = session.scalars(select(EvaluationCandidate.id).order_by(EvaluationCandidate.id.desc()).limit(1)).one()
        found = {
            "leaderboard": f"{root}/leaderboard",
            "leaderboard without length": f"{root}/leaderboard?length=without",
            "frontier": f"{root}/leaderboard/frontier.svg",
            "side by side": f"{root}/leaderboard/side-by-side?one={one}&other={other}",
            "rounds": f"{root}/rounds",
            "round": f"/rounds/{round_.id}",
            "evaluations": f"{root}/evaluations",
            "evaluation": f"/evaluations/{evaluation.id}",
            "interval": f"/evaluations/{evaluation.id}/interval.svg?candidate={candidate}",
            "label and what learned from it": "/labels/1",
            "policy and its data": f"/checkpoints/{round_.candidate_id}",
            "reward and its data": f"/checkpoints/{round_.reward_id}",
            "data over the API": f"/api/v1/checkpoints/{round_.candidate_id}/data",
            "contenders": f"{root}/contenders",
            "feedback": f"{root}/feedback",
            "my work": f"{root}/work",
            "overview": root,
        }
    engine.dispose()
    return found


def measure(data: Path) -> dict[str, list[float]]:
    """Of each page the median of seconds to the last byte, and processor seconds of the server; after one page that loads."""
    engine = make_engine(sqlite_in(data))
    while keep_counting(engine, 1, 1.0):
        pass
    engine.dispose()
    cookie, found = sign_in(data), {}
    with serving(data) as server:
        leaderboard.seconds_of(server.port, cookie, f"/projects/{SLUG}/leaderboard")
        for name, address in addresses(data).items():
            cpu_s = server.cpu_s()
            took = sorted(leaderboard.seconds_of(server.port, cookie, address) for _ in range(ASKED))
            found[name] = [took[ASKED // 2], round((server.cpu_s() - cpu_s) / ASKED, 3)]
            say(f"{took[ASKED // 2]:7.3f} s, processor {found[name][1]:6.3f} s  {name}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--data", type=Path, help="kept, and used as it is where it was filled before")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tastemaker-loop-") as folder:
        data = given.data or Path(folder)
        if not (data / "tastemaker.db").exists():
            leaderboard.make(data, given.labels)
            add_rounds(data, given.labels, given.rounds)
            add_feedback(data, FEEDBACK)
        print(json.dumps({"bench": "loop_pages", "labels": given.labels, "rounds": given.rounds, "pages": measure(data)}))


if __name__ == "__main__":
    main()
