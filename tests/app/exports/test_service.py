from __future__ import annotations

import csv
import io
import json
import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, insert, select, text

from app.database.engine import read_session, write_session
from app.errors import Invalid
from app.exports.rows import FORMATS, Format, agreement, columns_of
from app.exports.service import ExportQuery, _labels_after, prepare_export, pseudonyms, read_time, stream_export
from app.models import Generation, Label, Project, Prompt, Task, utc_now
from app.prompts.importers import read_upload
from app.prompts.service import PromptRow
from app.quality.exclusion import exclude
from app.web.json_types import json_dumps
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.exports.judging import judge

NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)


def exported(engine: Engine, project: Project, **query: Any) -> str:
    with read_session(engine) as session:
        export = prepare_export(session, session.get_one(Project, project.id), ExportQuery(**query))
    return b"".join(stream_export(engine, export)).decode("utf-8-sig")


def rows(engine: Engine, project: Project, **query: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in exported(engine, project, **query).splitlines()]


def test_a_preference_row_is_what_trl_reads(engine: Engine, project: Project, cast: Cast) -> None:
    with write_session(engine) as session:
        label = judge(session, project, cast.mary, choice="right", strength=2, created_at=NOON)
        left, right = (session.get_one(Generation, n) for n in (label.left_generation_id, label.right_generation_id))
        right.finish_reason = "length"
        asked = session.get_one(Prompt, left.prompt_id)
        asked.external_id, asked.extra = "q-17", {"topic": "貓", "id": 7}
        texts, prompt, ids = (left.text, right.text), asked.messages, (label.id, label.task_id, asked.id, asked.split)
    assert rows(engine, project) == [
        {
            "prompt": prompt,
            "chosen": [{"role": "assistant", "content": texts[1]}],
            "rejected": [{"role": "assistant", "content": texts[0]}],
            "label_id": ids[0],
            "task_id": ids[1],
            "annotator": "annotator-1",
            "strength": 2,
            "soft_label": {"n": 1, "chosen": 1.0, "rejected": 0.0, "tie": 0.0, "both_bad": 0.0},
            "implied": 0,
            "created_at": "2026-03-31T12:00:00.000Z",
            "chosen_checkpoint": project.policy_id,
            "rejected_checkpoint": project.policy_id,
            "chosen_cut": True,
            "rejected_cut": False,
            "chosen_best_of": 1,
            "rejected_best_of": 1,
            "prompt_id": ids[2],
            "external_id": "q-17",
            "split": ids[3],
            "extra": '{"id": 7, "topic": "貓"}',
        }
    ]


@pytest.mark.parametrize("format", ["preference", "kto", "labels"])
def test_an_answer_that_a_reward_model_chose_says_of_how_many(
    engine: Engine, project: Project, cast: Cast, format: Format
) -> None:
    with write_session(engine) as session:
        label = judge(session, project, cast.mary, choice="right")
        chosen = session.get_one(Generation, label.right_generation_id)
        chosen.settings = {**chosen.settings, "best_of": 4, "reward": 7}
    found = rows(engine, project, format=format)
    named = {
        "preference": lambda: [found[0]["chosen_best_of"], found[0]["rejected_best_of"]],
        "kto": lambda: [row["best_of"] for row in found],
        "labels": lambda: [found[0][side]["best_of"] for side in ("right", "left")],
    }
    assert named[format]() == [4, 1]
    header, line = exported(engine, project, format=format, as_="csv").splitlines()[:2]
    assert sum(name.endswith("best_of") for name in header.split(",")) == (1 if format == "kto" else 2)
    assert len(line.split(",")) >= len(header.split(","))


def test_an_answer_that_none_of_ours_wrote_has_no_checkpoint(engine: Engine, project: Project, cast: Cast) -> None:
    with write_session(engine) as session:
        task = factories.make_task(session, project)
        theirs = factories.make_stranger(session, project.id)
        brought = factories.bring_in(session, session.get_one(Prompt, task.prompt_id), theirs, "Brought in.")
        task.second_generation_id = brought.id
        judge(session, project, cast.mary, task, choice="right")
    (row,) = rows(engine, project)
    assert (row["chosen"][0]["content"], row["chosen_checkpoint"]) == ("Brought in.", 0)
    assert row["rejected_checkpoint"] == project.policy_id


def test_ties_and_both_bad_prefer_nothing(engine: Engine, project: Project, cast: Cast) -> None:
    with write_session(engine) as session:
        for choice in ("left", "tie", "both_bad"):
            judge(session, project, cast.mary, choice=choice)
    assert len(rows(engine, project)) == 1
    assert [row["label"] for row in rows(engine, project, format="kto")] == [True, False, False, False]


def test_a_rating_row_shows_every_criterion(engine: Engine, project: Project, cast: Cast) -> None:
    with write_session(engine) as session:
        judge(session, project, cast.mary, overall=4, criteria={"accuracy": 3})
        judge(session, project, cast.mary, choice="left")
    (row,) = rows(engine, project, format="ratings")
    assert (row["overall"], row["criteria"]) == (4, {"fluency": 0, "accuracy": 3})
    assert row["response"][0]["role"] == "assistant"


def test_demonstrations_are_rewrites_and_top_ratings(engine: Engine, project: Project, cast: Cast) -> None:
    with write_session(engine) as session:
        judge(session, project, cast.mary, choice="left", rewrite={"side": "left", "text": "Better."})
        judge(session, project, cast.mary, overall=5)
        judge(session, project, cast.mary, overall=5, rewrite={"side": "response", "text": "Even better."})
        judge(session, project, cast.mary, overall=4)
    found = rows(engine, project, format="sft")
    assert [row["source"] for row in found] == ["rewrite", "rating", "rewrite"]
    assert [row["messages"][-1]["content"] for row in found][::2] == ["Better.", "Even better."]
    assert [message["role"] for message in found[0]["messages"]] == ["user", "assistant"]


def test_a_correction_replaces_what_it_corrects_except_where_everything_is_shown(
    engine: Engine, project: Project, cast: Cast
) -> None:
    with write_session(engine) as session:
        first = judge(session, project, cast.mary, choice="left")
        task = session.get_one(Task, first.task_id)
        second = judge(session, project, cast.mary, task, choice="right", supersedes=first)
        first_id, second_id = first.id, second.id
    assert [row["label_id"] for row in rows(engine, project)] == [second_id]
    everything = rows(engine, project, format="labels")
    assert [(row["label_id"], row["version"], row["current"]) for row in everything] == [
        (first_id, 1, False),
        (second_id, 2, True),
    ]
    assert everything[1]["supersedes_label_id"] == first_id


def test_surplus_labels_appear_only_where_everything_is_shown(engine: Engine, project: Project, cast: Cast) -> None:
    with write_session(engine) as session:
        judge(session, project, cast.mary, choice="left", surplus=True)
    assert rows(engine, project) == []
    assert [row["surplus"] for row in rows(engine, project, format="labels")] == [True]


def test_everything_shows_what_was_said_of_criteria_and_flags(engine: Engine, project: Project, cast: Cast) -> None:
    flags = {"left": ["untrue", "unsafe"], "right": []}
    with write_session(engine) as session:
        judge(session, project, cast.mary, choice="left", criteria={"accuracy": "right"}, flags=flags)
        judge(session, project, cast.mary, overall=2, criteria={"accuracy": 4}, flags={"response": ["broken"]})
    one, two = rows(engine, project, format="labels")
    unsaid = {"choice": "", "score": 0}
    assert one["criteria"] == {"fluency": unsaid, "accuracy": {"choice": "right", "score": 0}}
    assert two["criteria"] == {"fluency": unsaid, "accuracy": {"choice": "", "score": 4}}
    assert (one["flags"], two["flags"]) == ({"left": "untrue, unsafe", "right": ""}, {"left": "broken", "right": ""})


def test_everything_names_criteria_that_are_no_longer_asked_for(engine: Engine, project: Project, cast: Cast) -> None:
    with write_session(engine) as session:
        found = session.get_one(Project, project.id)
        found.criteria, found.retired = found.criteria[:1], {**found.retired, "criteria": found.criteria[1:]}
        judge(session, project, cast.mary, overall=2, criteria={"accuracy": 4})
    (row,) = rows(engine, project, format="labels")
    assert row["criteria"]["accuracy"]["score"] == 4


def shape(value: Any) -> Any:
    """A value's type as a data set library sees it. What is null or empty has none, so it fails here."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        (one,) = {json.dumps(shape(item)) for item in value}
        return [one]
    assert value is not None
    return type(value).__name__


@pytest.mark.parametrize("format", FORMATS)
def test_a_column_has_one_type_in_every_row_and_every_file(engine: Engine, project: Project, cast: Cast, format: Any) -> None:
    rewrites: Any = [{"side": "left", "text": "Better."}, {"side": "response", "text": "Better."}]
    with write_session(engine) as session:
        judge(session, project, cast.mary, choice="left", rewrite=rewrites[0] if format == "sft" else None)
        judge(session, project, cast.mary, overall=5)
        judge(session, project, cast.mary, order=[[1]])
    bare = {json.dumps(shape(row)) for row in rows(engine, project, format=format)}
    with write_session(engine) as session:
        for prompt in session.scalars(select(Prompt)):
            prompt.external_id, prompt.extra = "q", {"topic": [1]}
        said: Any = {"wall_ms": 9, "active_ms": 8, "comment": "Well.", "reward_checkpoint_id": project.policy_id}
        first = judge(session, project, cast.mary, choice="tie", criteria={"fluency": "tie"}, flags={"left": ["broken"]}, **said)
        task = session.get_one(Task, first.task_id)
        judge(session, project, cast.mary, task, choice="right", strength=2, rewrite=rewrites[0], supersedes=first, **said)
        judge(session, project, cast.mary, overall=5, criteria={"fluency": 3, "accuracy": 1}, rewrite=rewrites[1], **said)
        judge(session, project, cast.mary, order=[[2], [1, 3]], last=[4], **said)
    full = {json.dumps(shape(row)) for row in rows(engine, project, format=format)}
    assert len(full) == 1
    assert bare == full


def test_since_is_included_and_until_is_not(engine: Engine, project: Project, cast: Cast) -> None:
    with write_session(engine) as session:
        for hours in range(4):
            judge(session, project, cast.mary, choice="left", created_at=NOON + timedelta(hours=hours))
    found = rows(engine, project, since=NOON + timedelta(hours=1), until=NOON + timedelta(hours=3))
    assert [row["created_at"][11:13] for row in found] == ["13", "14"]


def test_a_split_can_be_asked_for(engine: Engine, project: Project, cast: Cast) -> None:
    with write_session(engine) as session:
        label = judge(session, project, cast.mary, choice="left")
        task = session.get_one(Task, label.task_id)
        session.get_one(Prompt, task.prompt_id).split = "holdout"
        judge(session, project, cast.mary, choice="left")
    assert len(rows(engine, project, split="holdout")) == 1
    assert len(rows(engine, project)) == 2


def test_agreement_is_about_answers_and_not_about_sides(engine: Engine, project: Project, cast: Cast) -> None:
    with write_session(engine) as session:
        agreed = judge(session, project, cast.mary, choice="left")
        judge(session, project, cast.alan, session.get_one(Task, agreed.task_id), choice="right", swapped=True)
        torn = judge(session, project, cast.mary, choice="left")
        judge(session, project, cast.alan, session.get_one(Task, torn.task_id), choice="left", swapped=True)
        agreed_task = agreed.task_id
    assert len(rows(engine, project)) == 4
    assert {row["task_id"] for row in rows(engine, project, min_agreement=0.51)} == {agreed_task}
    assert len(rows(engine, project, min_agreement=0.5)) == 4
    with write_session(engine) as session:
        exclude(session, session.get_one(Project, project.id), cast.alan, "Guessed.", cast.grace)
    assert len(rows(engine, project, min_agreement=1)) == 2, "whose labels train nothing says nothing of how far others agree"


def test_agreement_is_the_share_of_the_most_frequent_verdict() -> None:
    assert agreement([7, 7, "tie"]) == pytest.approx(2 / 3)
    assert agreement(["both_bad"]) == 1


def test_other_projects_are_not_in_it(engine: Engine, project: Project, cast: Cast) -> None:
    with write_session(engine) as session:
        other = session.get_one(Project, cast.other)
        judge(session, other, cast.eve, choice="left")
    assert rows(engine, project, format="labels") == []


def test_annotators_have_names_that_last_and_say_nothing(engine: Engine, project: Project, cast: Cast) -> None:
    with write_session(engine) as session:
        for person in (cast.alan, cast.mary, cast.alan):
            judge(session, project, person, choice="left")
    with read_session(engine) as session:
        assert pseudonyms(session, project.id) == {cast.alan: "annotator-1", cast.mary: "annotator-2"}
    assert [row["annotator"] for row in rows(engine, project)] == ["annotator-1", "annotator-2", "annotator-1"]
    assert "Mary" not in exported(engine, project, format="labels")


@pytest.mark.parametrize("format", FORMATS)
def test_the_csv_fills_its_header(engine: Engine, project: Project, cast: Cast, format: Any) -> None:
    with write_session(engine) as session:
        judge(session, project, cast.mary, choice="left", rewrite={"side": "left", "text": "=1+1"}, comment="-1\n@sum")
        judge(session, project, cast.mary, overall=5, criteria={"accuracy": 4}, flags={"response": ["broken"]})
        judge(session, project, cast.mary, order=[[2], [1, 3]])
    table = list(csv.DictReader(io.StringIO(exported(engine, project, format=format, as_="csv"), newline="")))
    lines = rows(engine, project, format=format)
    assert len(table) == len(lines) > 0
    assert list(table[0]) == columns_of(format, ["fluency", "accuracy"])
    for name in ("label_id", "annotator", "created_at"):
        assert [row[name] for row in table] == [str(row[name]) for row in lines]
    if format == "labels":
        assert (table[0]["rewrite_text"], table[0]["comment"]) == ("'=1+1", "'-1\n'@sum")
        assert (table[1]["criteria"], table[1]["flags"]) == ("accuracy: 4", "left: broken")


def test_csv_begins_with_the_mark_that_tells_a_spreadsheet_its_script(engine: Engine, project: Project, cast: Cast) -> None:
    with write_session(engine) as session:
        label = judge(session, project, cast.mary, overall=5, comment="很好。")
        session.get_one(Generation, label.left_generation_id).text = "天空是藍色的。"
    with read_session(engine) as session:
        table, lines = (prepare_export(session, project, ExportQuery(format="labels", as_=as_)) for as_ in ("csv", "jsonl"))
    made = b"".join(stream_export(engine, table))
    assert made.startswith("\ufefflabel_id,".encode())
    assert made.count("\ufeff".encode()) == 1
    assert "天空是藍色的。" in made.decode("utf-8-sig")
    assert not b"".join(stream_export(engine, lines)).startswith("\ufeff".encode())


@pytest.mark.parametrize("content", ["Why?", "=1+1;-2\n\t@三\n'- ‘天空’\t+", "sep=;"])
def test_an_export_of_preferences_is_an_import_of_its_prompts(engine: Engine, project: Project, cast: Cast, content: str) -> None:
    with write_session(engine) as session:
        label = judge(session, project, cast.mary, choice="left", strength=1)
        asked = session.get_one(Task, label.task_id).prompt_id
        messages = [{"role": "user", "content": content}]
        session.get_one(Prompt, asked).messages = messages
    for as_ in ("jsonl", "csv"):
        with read_session(engine) as session:
            export = prepare_export(session, project, ExportQuery(as_=as_))
        (row,) = read_upload(b"".join(stream_export(engine, export)))
        assert isinstance(row, PromptRow)
        assert row.messages == messages


def test_the_same_bytes_twice_and_another_etag_after_another_label(engine: Engine, project: Project, cast: Cast) -> None:
    with write_session(engine) as session:
        judge(session, project, cast.mary, choice="left")
    with read_session(engine) as session:
        export = prepare_export(session, project, ExportQuery(format="labels"))
        again = prepare_export(session, project, ExportQuery(format="labels"))
        csv_export = prepare_export(session, project, ExportQuery(format="labels", as_="csv"))
    before = b"".join(stream_export(engine, export))
    assert export.etag == again.etag != csv_export.etag
    with write_session(engine) as session:
        first = session.scalars(select(Label)).one()
        judge(session, project, cast.mary, session.get_one(Task, first.task_id), choice="right", supersedes=first)
    with read_session(engine) as session:
        assert prepare_export(session, project, ExportQuery(format="labels")).etag != export.etag
    # An export that was fixed before the correction still says what it said, though the row's `current` has changed.
    assert b"".join(stream_export(engine, export)) == before


def test_times_are_dates_or_have_a_zone() -> None:
    assert read_time("2026-03-31", "since") == datetime(2026, 3, 31, tzinfo=UTC)
    assert read_time("2026-03-31T14:00:00+02:00", "since") == NOON
    assert read_time("", "since") is None
    for wrong in ("2026-03-31T12:00:00", "yesterday", "2026-13-01", "0001-01-01T00:00:00+14:00", "9" * 40):
        with pytest.raises(Invalid, match="since"):
            read_time(wrong, "since")


def many_labels(engine: Engine, project: Project, annotator_id: int, count: int) -> None:
    answer = "A plain sentence that is repeated until it looks like an answer. " * 6
    with write_session(engine) as session:
        prompt = factories.make_prompt(session, project.id)
        run = factories.make_run(session, project.id)
        answers = [
            factories.make_generation(
                session, prompt, project.policy_id or 0, f"{number} {answer}", run_id=run.id, number=number
            ).id
            for number in range(2)
        ]
        task = {"project_id": project.id, "prompt_id": prompt.id, "kind": "comparison", "purpose": "train"}
        task |= {"first_generation_id": answers[0], "second_generation_id": answers[1], "served_reason": "random"}
        session.execute(insert(Task), [task | {"id": 1000 + n, "created_at": utc_now()} for n in range(count)])
        label = {"project_id": project.id, "annotator_id": annotator_id, "kind": "comparison", "choice": "left", "version": 1}
        label |= {"guideline_version": 1, "interface_version": "1", "served_reason": "random", "created_at": utc_now()}
        label |= {"left_generation_id": answers[0], "right_generation_id": answers[1], "payload_hash": "0", "criteria": {}}
        session.execute(insert(Label), [label | {"task_id": 1000 + n, "client_id": str(n)} for n in range(count)])


def export_cost(engine: Engine, project: Project, **query: Any) -> tuple[int, float, float]:
    """Rows, seconds and the peak of allocated memory in MiB; the bytes are thrown away as a network would take them."""
    with read_session(engine) as session:
        export = prepare_export(session, project, ExportQuery(**query))
    started = time.perf_counter()
    lines = sum(chunk.count(b"\n") for chunk in stream_export(engine, export))
    seconds = time.perf_counter() - started
    tracemalloc.start()
    for _ in stream_export(engine, export):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return lines, seconds, peak / 2**20


def test_memory_does_not_grow_with_the_export(engine: Engine, project: Project, cast: Cast) -> None:
    many_labels(engine, project, cast.mary, 2500)
    lines, seconds, peak_mib = export_cost(engine, project)
    assert lines == 2500
    assert seconds < 5
    # A chunk of 500 labels takes about 3 MiB; all 2500 rows at once would take over 12.
    assert peak_mib < 8


def test_a_chunk_reads_its_own_labels_alone(engine: Engine, project: Project) -> None:
    with read_session(engine) as session:
        export = prepare_export(session, project, ExportQuery())
        statement = _labels_after(export, 5).compile(engine, compile_kwargs={"literal_binds": True})
        plan = [row[3] for row in session.execute(text(f"EXPLAIN QUERY PLAN {statement}"))]
    assert plan[0] == "SEARCH labels USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"
    assert not any("TEMP B-TREE" in step or "SCAN" in step for step in plan)


@given(st.text(), st.integers(0, 2**62))
def test_the_fast_encoder_writes_what_the_plain_one_does(said: str, number: int) -> None:
    row = {"prompt": [{"role": "user", "content": said}], "label": True, "label_id": number, said: [said, ""]}
    assert orjson.dumps(row).decode() == json_dumps(row)


@pytest.mark.nightly
@pytest.mark.parametrize("as_", ["jsonl", "csv"])
def test_fifty_thousand_labels_take_seconds_and_little_memory(engine: Engine, project: Project, cast: Cast, as_: Any) -> None:
    many_labels(engine, project, cast.mary, 50_000)
    lines, seconds, peak_mib = export_cost(engine, project, as_=as_, min_agreement=0.5)
    print(f"{lines} rows, {seconds:.1f} s, {peak_mib:.1f} MiB")
    assert lines == 50_000 + (as_ == "csv")
    assert seconds < 60
    assert peak_mib < 10


def test_answers_about_the_rubric_come_in_the_words_that_were_answered(engine: Engine, project: Project, cast: Cast) -> None:
    item = {"key": "sourced", "name": "Is there a source?", "description": "", "required": False}
    with write_session(engine) as session:
        found = session.get_one(Project, project.id)
        found.rubric = [item | {"version": 2, "earlier": ["Sourced?"], "since": "2026-01-01T00:00:00+00:00"}]
        judge(session, project, cast.mary, overall=4, rubric={"sourced": {"version": 1, "response": "yes"}})
        judge(session, project, cast.mary, choice="left", rubric={"sourced": {"version": 2, "left": "no", "right": "cannot_say"}})
        judge(session, project, cast.mary, choice="left")
        session.expire_all()
        project = session.get_one(Project, project.id)
        session.expunge(project)
    (rated,) = rows(engine, project, format="ratings")
    assert rated["rubric"] == {"sourced": {"question": "Sourced?", "response": "yes"}}
    _, compared, unsaid = rows(engine, project, format="labels")
    said = {"question": "Is there a source?", "left": "no", "right": "cannot_say", "response": ""}
    assert compared["rubric"]["sourced"] == said
    assert set(unsaid["rubric"]["sourced"].values()) == {""}
    table = exported(engine, project, format="labels", as_="csv")
    assert "sourced: yes" in table
    assert "sourced: left no, right cannot_say" in table
