"""From what people said of several answers at once to a reward model: labels of the database that are rankings alone, the frozen
folder, and the run as the worker starts it.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.models import Generation, Project, Prompt, RankedAnswer, Task
from app.queue.given import ask_about
from app.rounds import service
from app.runs.checkpoints import get_checkpoint
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.exports.judging import judge
from tests.trainer.reward.reward_runs import WORDS, result_of
from trainer.contract.folder import RunFolder, read_jsonl
from trainer.lm.loading import load_backbone
from trainer.reward.scorer import load_scorer
from trainer.worker import freeze

ROOT = Path(__file__).resolve().parents[3]
PROMPTS = 30


@pytest.fixture
def ranked(session: Session, demo: Project, cast: Cast, simple_lm_folder: Path) -> Project:
    """Answers of random words, four to each prompt, put in order by somebody who likes the moon."""
    demo.base_model = str(simple_lm_folder)
    assert demo.policy_id is not None
    get_checkpoint(session, demo.policy_id).source = str(simple_lm_folder)
    tokenizer = load_backbone(str(simple_lm_folder)).tokenizer
    draw, asked = random.Random(0), []
    for number in range(PROMPTS):
        prompt = factories.make_prompt(session, demo.id, f"Say something, please: {number}")
        texts = [" ".join(draw.choice(WORDS) for _ in range(draw.randint(3, 9))) for _ in range(4)]
        asked.append(tuple(_write(session, prompt, demo.policy_id, text, tokenizer) for text in texts))
    for task_id in ask_about(session, demo, asked, cast.grace):
        moons = [text.count("moon") for text in _texts(session, task_id)]
        order = [[place for place, n in enumerate(moons, start=1) if n == level] for level in sorted({*moons}, reverse=True)]
        judge(session, demo, cast.mary, session.get_one(Task, task_id), order=order)
    return demo


def _write(session: Session, prompt: Prompt, policy_id: int, text: str, tokenizer: Any) -> int:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return factories.make_generation(session, prompt, policy_id, text, token_ids=ids).id


def _texts(session: Session, task_id: int) -> list[str]:
    answers = select(Generation.text).join(RankedAnswer, RankedAnswer.generation_id == Generation.id)
    return list(session.scalars(answers.where(RankedAnswer.task_id == task_id).order_by(RankedAnswer.number)))


def test_a_reward_is_learned_from_rankings_alone(
    session: Session, engine: Engine, settings: Settings, ranked: Project, cast: Cast
) -> None:
    config = {"folds": 3, "reliability": "off", "judge_min_labels": 1000}
    run = service.queue_run(session, ranked, "reward", config, {}, cast.grace)
    session.commit()
    prepared = freeze.prepare(engine, settings, run.id)
    freeze.publish(prepared)
    folder = RunFolder(prepared.folder)

    command = [sys.executable, "-m", "trainer", "reward", str(folder.path)]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"TASTEMAKER_THREADS": "1"}, check=True, capture_output=True)

    result = result_of(folder)
    assert prepared.label_count == PROMPTS == len(list(read_jsonl(folder.file("rankings.jsonl"))))
    assert (result["status"], result["rankings"], result["labels"]) == ("done", PROMPTS, PROMPTS)
    assert result["ranking_pairs"] > 2 * PROMPTS
    assert result["ranking_accuracy"] > 0.8
    assert result["gate_passed"] is True
    assert "rankings.jsonl" in json.loads(folder.file("checkpoint/manifest.json").read_text("utf-8"))["inputs"]
    asked = [{"role": "user", "content": "Say something, please: 1000"}]
    scores = load_scorer(folder.file("checkpoint")).score_texts([(asked, "moon the moon"), (asked, "rain the sea")])
    assert scores[0] > scores[1]
