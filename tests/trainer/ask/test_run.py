"""The ask run against a real HTTP server: what is kept, what is asked again, what is left out, and what ends the run."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.contract.outside.chat_server import Reply, Served, by_another_name, echo, no, says, serving
from trainer.__main__ import main
from trainer.ask.run import run
from trainer.contract.english import english
from trainer.contract.folder import Cancelled, Refused, RunFolder, Unanswered, read_jsonl
from trainer.contract.messages import from_json


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def folder_of(
    path: Path, there: Served | str, prompts: int = 3, config: dict[str, Any] | None = None, **inputs: Any
) -> RunFolder:
    path.mkdir(exist_ok=True)
    address = there if isinstance(there, str) else there.address
    inputs = {"address": address, "model": "m", "key_variable": None, "own_network": True, **inputs}
    settings = {"per_prompt": 1, "max_new_tokens": 9, "at_once": 2, "timeout_s": 5, **(config or {})}
    (path / "run.json").write_text(json.dumps({"kind": "ask", "config": settings, "inputs": inputs}))
    rows = [
        {"prompt_id": number, "messages": [{"role": "user", "content": f"Question {number}"}]} for number in range(1, prompts + 1)
    ]
    (path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return RunFolder(path)


def written(folder: RunFolder) -> dict[tuple[int, int], str]:
    return {(row["prompt_id"], row["index"]): row["text"] for row in read_jsonl(folder.file("generations.jsonl"))}


def result(folder: RunFolder) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(folder.file("result.json").read_text())
    return found


def test_every_prompt_is_answered_and_what_it_cost_is_counted(tmp_path: Path) -> None:
    prices = {"prompt_tokens": 2.0, "answer_tokens": 10.0}
    with serving() as there:
        folder = folder_of(tmp_path / "run", there, config={"per_prompt": 2}, usd_per_million=prices)
        run(folder)
    assert written(folder) == {(prompt, index): f"You said: Question {prompt}" for prompt in (1, 2, 3) for index in (0, 1)}
    done = result(folder)
    assert {name: done[name] for name in ("status", "generations", "prompt_tokens", "answer_tokens")} == {
        "status": "done",
        "generations": 6,
        "prompt_tokens": 42,
        "answer_tokens": 30,
    }
    assert done["cost_usd"] == pytest.approx((42 * 2 + 30 * 10) / 1e6)
    row = next(read_jsonl(folder.file("generations.jsonl")))
    assert (row["seed"], row["token_ids"], row["finish_reason"]) == (None, None, "eos")
    assert set(there.paths) == {"/v1/chat/completions"}
    assert {one["max_tokens"] for one in there.asked} == {9}


def test_the_key_comes_from_the_variable_that_is_named_and_stands_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "s3cret\n")
    with serving() as there:
        folder = folder_of(tmp_path / "run", there, key_variable="SOME_API_KEY")
        run(folder)
    assert {one["Authorization"] for one in there.headers} == {"Bearer s3cret"}
    assert all("s3cret" not in path.read_text() for path in folder.path.iterdir())
    monkeypatch.delenv("SOME_API_KEY")
    with pytest.raises(Refused, match="SOME_API_KEY, which holds the key, is not set"):
        run(folder_of(tmp_path / "other", there, key_variable="SOME_API_KEY"))


def test_what_may_pass_is_asked_again_and_not_before_the_other_side_wants_it(tmp_path: Path) -> None:
    def busy_first(body: dict[str, Any], number: int) -> Reply:
        return no(429, headers={"Retry-After": "1"}) if number == 1 else no(503) if number == 2 else echo(body)

    with serving(busy_first) as there:
        folder = folder_of(tmp_path / "run", there, config={"at_once": 1})
        run(folder, waits_s=(0.05, 0.05))
    assert len(written(folder)) == 3
    assert len(there.asked) == 5
    assert there.at[1] - there.at[0] >= 0.95, "nobody is asked meanwhile, the other prompts neither"


def test_a_pace_that_is_too_fast_stops_all_questions_for_a_while_and_costs_no_prompt(tmp_path: Path) -> None:
    """The other side answers two questions in each fifth of a second, and says nothing of when it wants the next."""
    taken: Counter[int] = Counter()
    taking = threading.Lock()

    def two_at_a_time(body: dict[str, Any], _number: int) -> Reply:
        with taking:
            taken[window := int(time.monotonic() * 5)] += 1
            return echo(body) if taken[window] <= 2 else no(429)

    with serving(two_at_a_time) as there:
        folder = folder_of(tmp_path / "run", there, prompts=16, config={"at_once": 8})
        run(folder, waits_s=(0.2, 0.2))
    assert len(written(folder)) == 16
    with serving(lambda body, number: no(503) if number == 1 else echo(body)) as there:
        run(folder_of(tmp_path / "other", there, config={"at_once": 1}))
    assert there.at[1] - there.at[0] >= 0.95, "nobody is asked meanwhile, the other prompts neither"


def test_one_bad_prompt_is_left_out_and_named(tmp_path: Path) -> None:
    def picky(body: dict[str, Any], number: int) -> Reply:
        asked = body["messages"][-1]["content"]
        return {"Question 2": no(400, "too rude"), "Question 3": says(""), "Question 4": no(500)}.get(asked) or echo(body)

    with serving(picky) as there:
        folder = folder_of(tmp_path / "run", there, prompts=6, config={"at_once": 1})
        run(folder, waits_s=(0.01,))
    assert sorted(written(folder)) == [(1, 0), (5, 0), (6, 0)]
    done = result(folder)
    assert (done["unanswered_prompts"], sorted(done["unanswered_prompt_ids"])) == (3, [2, 3, 4])
    assert "too rude" in english(from_json(done["reason"]))
    assert done["prompt_tokens"] == 4 * 7, "an empty answer is paid for, too"


@pytest.mark.parametrize("status", [401, 403, 404, 302])
def test_what_every_prompt_would_get_ends_the_run_at_once(tmp_path: Path, status: int) -> None:
    elsewhere = no(status, "wrong", {"Location": "/elsewhere"})
    with serving(lambda _body, _number: elsewhere) as there, pytest.raises(Refused) as end:
        run(folder_of(tmp_path / "run", there, prompts=50))
    assert str(status) in str(end.value)
    assert len(there.asked) <= 4
    assert set(there.paths) == {"/v1/chat/completions"}, "nobody is sent elsewhere"


def test_nobody_there_ends_the_run_after_as_many_tries_and_done_again_it_goes_on(tmp_path: Path) -> None:
    def gone_after_two(body: dict[str, Any], number: int) -> Reply:
        return echo(body) if number <= 2 else no(502)

    with serving(gone_after_two) as there:
        folder = folder_of(tmp_path / "run", there, prompts=9, config={"at_once": 1})
        with pytest.raises(Unanswered, match="tried 2 times"):
            run(folder, waits_s=(0.01,))
    assert len(written(folder)) == 2
    with serving() as again:
        folder = folder_of(tmp_path / "run", again, prompts=9)
        run(folder)
    assert len(again.asked) == 7, "what is there is not asked again"
    assert len(written(folder)) == 9
    assert result(folder)["answer_tokens"] == 45


def test_who_wants_a_long_pause_ends_the_run(tmp_path: Path) -> None:
    later = no(429, headers={"Retry-After": "7200"})
    with serving(lambda _body, _number: later) as there, pytest.raises(Unanswered, match="left alone for 120 minutes"):
        run(folder_of(tmp_path / "run", there))


def test_an_answer_that_never_comes_is_asked_for_again(tmp_path: Path) -> None:
    end = threading.Event()

    def slow_first(body: dict[str, Any], number: int) -> Reply:
        if number == 1:
            end.wait(20)
        return echo(body)

    with serving(slow_first) as there:
        folder = folder_of(tmp_path / "run", there, prompts=1, config={"timeout_s": 1})
        run(folder, waits_s=(0.01,))
        end.set()
    assert len(there.asked) == 2
    assert written(folder) == {(1, 0): "You said: Question 1"}


def test_a_cancel_is_obeyed_within_a_second_and_says_what_was_spent(tmp_path: Path) -> None:
    end = threading.Event()

    def slow(body: dict[str, Any], number: int) -> Reply:
        if number > 2:
            end.wait(20)
        return echo(body)

    with serving(slow) as there:
        folder = folder_of(tmp_path / "run", there, prompts=9, config={"timeout_s": 60})

        def cancel() -> None:
            while len(there.asked) < 4:
                time.sleep(0.02)
            folder.file("cancel").touch()

        threading.Thread(target=cancel).start()
        began = time.monotonic()
        with pytest.raises(Cancelled) as stop:
            run(folder)
        assert time.monotonic() - began < 2
        end.set()
    assert stop.value.figures["answer_tokens"] == 10


def test_a_machine_that_may_not_be_asked_is_told_nothing(tmp_path: Path) -> None:
    """The name looked harmless when it was registered, and leads to this machine now."""
    with serving() as there, pytest.raises(Refused, match="No model is asked at such an address"):
        run(folder_of(tmp_path / "run", by_another_name(there), own_network=False))
    assert there.asked == []


def test_an_address_of_earlier_rules_is_asked_no_more(tmp_path: Path) -> None:
    with serving() as there, pytest.raises(Refused, match="a percent sign in its host"):
        run(folder_of(tmp_path / "run", there.address.replace("127.0.0.1", "localhos%74")))
    assert there.asked == []


def test_a_key_that_no_header_can_hold_is_said_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "s3cret\ns3cret")
    with serving() as there:
        folder = folder_of(tmp_path / "run", there, key_variable="SOME_API_KEY")
        done = subprocess.run(
            [sys.executable, "-m", "trainer", "ask", str(folder.path)], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    assert "SOME_API_KEY, which holds the key, has more in it" in english(from_json(result(folder)["reason"]))
    assert b"s3cret" not in done.stdout + done.stderr
    assert all("s3cret" not in path.read_text() for path in folder.path.iterdir())


def test_the_newer_name_of_the_length_limit_is_used_once_it_is_asked_for(tmp_path: Path) -> None:
    def new(body: dict[str, Any], _number: int) -> Reply:
        return no(400, "'max_tokens' is not supported, use 'max_completion_tokens'") if "max_tokens" in body else echo(body)

    with serving(new) as there:
        folder = folder_of(tmp_path / "run", there, config={"at_once": 1})
        run(folder)
    assert len(written(folder)) == 3
    assert ["max_completion_tokens" in one for one in there.asked] == [False, True, True, True]


def test_it_is_a_run_as_every_other_is(tmp_path: Path) -> None:
    """`python -m trainer ask RUN_DIR`: done, done already, and refused with a reason."""
    with serving() as there:
        folder_of(tmp_path / "run", there)
        assert main(["ask", str(tmp_path / "run")]) == 0
        assert main(["ask", str(tmp_path / "run")]) == 0
    assert len(there.asked) == 3
    folder_of(tmp_path / "bad", there, key_variable="NOT_SET_API_KEY")
    assert main(["ask", str(tmp_path / "bad")]) == 2
    assert "NOT_SET_API_KEY" in (tmp_path / "bad" / "result.json").read_text()


def test_nothing_of_it_loads_torch() -> None:
    loaded = "import sys, trainer.__main__, trainer.ask.run; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], check=False).returncode == 0
