"""A reward at an address: asked over real HTTP, again where it may pass, and refused with one sentence where it may not."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any

import pytest

from tests.trainer.outside.reward_server import Answering, letters_a, scores, serving
from trainer.contract.english import english
from trainer.contract.folder import Cancelled, Unanswered
from trainer.outside.address import ANSWERS_AT_ONCE, BYTES_AT_ONCE, MOST_BYTES, Address

PROMPTS = [
    [{"role": "user", "content": "Say a."}],
    [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "東"}],
]
ANSWERS = ["banana", "東西"]


def never() -> None:
    pass


def ask(address: Address, prompts: Any = PROMPTS, answers: Any = ANSWERS) -> list[float]:
    return address(prompts, answers, never)


def refused(address: Address) -> str:
    with pytest.raises(Unanswered) as ended:
        ask(address)
    return english(ended.value.message)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def test_conversations_and_answers_go_there_and_scores_come_back_in_their_order() -> None:
    with serving() as there:
        assert ask(Address("tone", there.url)) == [3.0, 0.0]
    assert there.asked == [{"prompts": PROMPTS, "answers": ANSWERS}]
    assert there.headers[0]["Content-Type"] == "application/json"
    assert "Authorization" not in there.headers[0]


def test_a_key_goes_along() -> None:
    with serving() as there:
        ask(Address("tone", there.url, "s3cret"))
    assert there.headers[0]["Authorization"] == "Bearer s3cret"


def test_many_answers_and_large_ones_go_in_several_requests() -> None:
    answers = ["a" * (index % 3) for index in range(2 * ANSWERS_AT_ONCE + 1)]
    with serving() as there:
        assert ask(Address("tone", there.url), PROMPTS[:1] * len(answers), answers) == [
            index % 3 for index in range(len(answers))
        ]
        assert [len(one["answers"]) for one in there.asked] == [ANSWERS_AT_ONCE, ANSWERS_AT_ONCE, 1]
        long = ["b" * (BYTES_AT_ONCE // 2 + 1)] * 2 + ["a"]
        assert ask(Address("tone", there.url), PROMPTS[:1] * 3, long) == [0, 0, 1]
    assert [len(one["answers"]) for one in there.asked[3:]] == [1, 2]


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_what_may_pass_is_tried_again_and_what_does_not_is_told_with_the_times(status: int) -> None:
    def twice_busy(body: dict[str, Any], number: int) -> tuple[int, bytes]:
        return letters_a(body) if number > 2 else (status, b"busy")

    with serving(twice_busy) as there:
        assert ask(Address("tone", there.url, waits_s=(0, 0))) == [3.0, 0.0]
        assert len(there.asked) == 3
    with serving(lambda _body, _number: (status, b"busy")) as there:
        told = refused(Address("tone", there.url, waits_s=(0, 0)))
    assert told == f"The reward tone could not be asked, tried 3 times: It replied with status {status}."
    assert len(there.asked) == 3


def test_waits_grow_and_are_kept() -> None:
    with serving(lambda body, number: letters_a(body) if number == 3 else (500, b"")) as there:
        began = time.monotonic()
        ask(Address("tone", there.url, waits_s=(0.1, 0.4)))
    assert 0.5 <= time.monotonic() - began < 5


def test_nobody_at_the_address_is_said_without_the_address() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/secret"
    told = refused(Address("tone", url, waits_s=(0,)))
    assert told.startswith("The reward tone could not be asked, tried 2 times: ")
    assert "refused" in told
    assert "secret" not in told


def test_a_slow_one_is_given_up_in_time_and_asked_again() -> None:
    def slow_at_first(body: dict[str, Any], number: int) -> tuple[int, bytes]:
        time.sleep(3 if number in (1, 3) else 0)
        return letters_a(body)

    with serving(slow_at_first) as there:
        began = time.monotonic()
        assert ask(Address("tone", there.url, timeout_s=0.3, waits_s=(0,))) == [3.0, 0.0]
        assert time.monotonic() - began < 2.5
        told = refused(Address("tone", there.url, timeout_s=0.25, waits_s=()))
    assert told == "The reward tone could not be asked, tried 1 times: No reply came within 0.25 seconds."


def test_a_server_that_replies_byte_by_byte_holds_up_nothing() -> None:
    stopping = threading.Event()

    def drip() -> None:
        connection, _peer = listening.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while not stopping.wait(0.05):
                connection.sendall(b" ")

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        dripping = threading.Thread(target=drip)
        dripping.start()
        began = time.monotonic()
        told = refused(Address("tone", f"http://127.0.0.1:{listening.getsockname()[1]}/", timeout_s=0.5, waits_s=()))
        assert 0.5 <= time.monotonic() - began < 3
        stopping.set()
        dripping.join()
    assert told == "The reward tone could not be asked, tried 1 times: No reply came within 0.5 seconds."


def test_a_wish_to_cancel_is_heard_while_it_is_slow() -> None:
    asked = 0

    def stop_soon() -> None:
        nonlocal asked
        asked += 1
        if asked > 2:
            raise Cancelled

    def slow(body: dict[str, Any], _number: int) -> tuple[int, bytes]:
        time.sleep(2)
        return letters_a(body)

    with serving(slow) as there:
        began = time.monotonic()
        with pytest.raises(Cancelled):
            Address("tone", there.url)(PROMPTS, ANSWERS, stop_soon)
        assert time.monotonic() - began < 1.5


def reply(status: int, body: bytes) -> Answering:
    return lambda _asked, _number: (status, body)


@pytest.mark.parametrize(
    ("answering", "sentence"),
    [
        (lambda _b, _n: scores([1.0]), "The reward tone gave 1 scores for 2 answers."),
        (lambda _b, _n: scores([1.0, 2.0, 3.0]), "The reward tone gave 3 scores for 2 answers."),
        (lambda _b, _n: scores([1.0, float("nan")]), "The reward tone gave a score that is no finite number."),
        (lambda _b, _n: scores([float("inf"), 1.0]), "The reward tone gave a score that is no finite number."),
        (reply(200, b'{"scores": [1, 1e400]}'), "The reward tone gave a score that is no finite number."),
        (reply(200, b'{"scores": [1, 1' + b"0" * 400 + b"]}"), "The reward tone gave a score that is no finite number."),
        (lambda _b, _n: scores([1.0, None]), "The reward tone did not reply with a list of numbers."),
        (lambda _b, _n: scores([1.0, True]), "The reward tone did not reply with a list of numbers."),
        (lambda _b, _n: scores(["1", "2"]), "The reward tone did not reply with a list of numbers."),
        (reply(200, b"{}"), "The reward tone did not reply with a list of numbers."),
        (reply(200, b'{"scores": "12"}'), "The reward tone did not reply with a list of numbers."),
        (reply(200, b"[1, 2]"), "The reward tone did not reply with a list of numbers."),
        (reply(200, b"<html>"), "The reward tone did not reply with a list of numbers."),
        (reply(200, b"\xff"), "The reward tone did not reply with a list of numbers."),
        (reply(200, b"[" * 100_000), "The reward tone did not reply with a list of numbers."),
        (reply(200, b" " * (MOST_BYTES + 1)), f"The reward tone replied with more than {MOST_BYTES:,} bytes."),
        (reply(401, b"no"), "The reward tone could not be asked: It replied with status 401."),
        (reply(404, b"no"), "The reward tone could not be asked: It replied with status 404."),
    ],
)
def test_what_is_no_answer_ends_at_once_with_a_sentence(answering: Answering, sentence: str) -> None:
    with serving(answering) as there:
        assert refused(Address("tone", there.url)) == sentence
    assert len(there.asked) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirection_is_followed(status: int) -> None:
    with serving() as elsewhere, serving(reply(status, b""), elsewhere.url) as there:
        told = refused(Address("tone", there.url, "key", waits_s=()))
    assert told == f"The reward tone could not be asked: It replied with status {status}."
    assert elsewhere.asked == []
