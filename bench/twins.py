"""What looking for near-twins adds to an import: `--prompts` in two imports, one in twenty nearly an earlier one; then ten more.

python -m bench.twins --prompts 100000
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

from sqlalchemy import update

from app.database.engine import make_engine, write_session
from app.models import Project, Prompt
from app.prompts.service import PromptRow, import_prompts
from app.prompts.twins.service import look
from bench.stage import say
from tests.app import factories

WORDS, LEAST, MOST = 20_000, 6, 60  # of the vocabulary, and of a prompt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=100_000)
    most = parser.parse_args().prompts
    draw = random.Random(0)
    texts = _texts(draw, most + 10)
    with tempfile.TemporaryDirectory() as folder:
        engine = make_engine(f"sqlite:///{Path(folder) / 'tastemaker.db'}")
        Project.metadata.create_all(engine)
        with write_session(engine) as session:
            project = factories.make_project(session).id
        for start, end in ((0, most // 2), (most // 2, most), (most, most + 10)):
            rows = [PromptRow(line, [{"role": "user", "content": text}]) for line, text in enumerate(texts[start:end], 1)]
            began = time.perf_counter()
            near = len(import_prompts(engine, project, rows).near)
            took_s = time.perf_counter() - began
            with write_session(engine) as session:
                session.execute(update(Prompt).where(Prompt.id > start).values(sketch=None, twin_id=None))
            began = time.perf_counter()
            look(engine, project)
            looking_s = time.perf_counter() - began
            say(f"{end - start} prompts into {start}: {took_s:.1f} s, {looking_s:.1f} s of it looking; {near} near-twins")
        engine.dispose()


def _texts(draw: random.Random, many: int) -> list[str]:
    words = ["".join(draw.choices("etaoinshrdlu", k=draw.randint(2, 9))) for _ in range(WORDS)]
    texts: list[str] = []
    while len(texts) < many:
        if texts and draw.random() < 0.05:
            texts.append(f"{draw.choice(texts)} {draw.choice(words)}")
        else:
            texts.append(" ".join(draw.choices(words, k=draw.randint(LEAST, MOST))))
    return texts


if __name__ == "__main__":
    main()
