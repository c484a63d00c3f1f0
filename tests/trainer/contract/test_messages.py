import math

import pytest

from trainer.contract.messages import Message, as_json, as_text, from_json, from_text, reason_of

NESTED = Message("crashed_silently", times=3, ending=Message("killed", signal="SIGKILL"))


def test_a_message_knows_its_arguments_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="no message 'policy_of_rond'"):
        Message("policy_of_rond", number=3)
    with pytest.raises(ValueError, match=r"takes \['number'\], not \[\]"):
        Message("policy_of_round")
    with pytest.raises(ValueError, match="not"):
        Message("policy_of_round", number=3, of="demo")
    with pytest.raises(ValueError, match="text, a number or a message"):
        Message("policy_of_round", number=True)


@pytest.mark.parametrize("message", [Message("done"), Message("policy_of_round", number=3), NESTED])
def test_a_message_travels_as_json(message: Message) -> None:
    assert from_json(as_json(message)) == message
    assert from_text(as_text(message)) == message


def test_a_sentence_of_an_earlier_version_is_kept_as_it_was_written() -> None:
    assert from_text("KL reached 31 nats") == Message("written", text="KL reached 31 nats")
    assert from_text('{"code": broken') == Message("written", text='{"code": broken')
    assert reason_of({"reason": "all updates are done"}) == Message("written", text="all updates are done")
    assert reason_of({"status": "done"}) is None


def test_a_code_of_another_version_still_says_what_it_holds() -> None:
    assert from_json({"code": "moon", "arguments": {"phase": 3}}) == Message("written", text="moon: phase=3")
    assert from_json({"code": "policy_of_round", "arguments": {"no": 3}}) == Message("written", text="policy_of_round: no=3")
    assert from_json({"code": "moon", "arguments": {}}) == Message("written", text="moon")


def test_a_number_that_json_does_not_have_becomes_text() -> None:
    told = as_json(Message("must_leave_room", most=math.nan))
    assert told["arguments"] == {"most": "nan"}
    assert from_json(told).arguments == {"most": "nan"}
