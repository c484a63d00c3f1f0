"""Which variables hold keys of models outside, and that a key no header can hold is refused without being said."""

from __future__ import annotations

import pytest

from trainer.contract.outside.key import KEY_VARIABLE, UnusableKey, key_of


def test_only_variables_called_like_keys_of_models_hold_one() -> None:
    assert KEY_VARIABLE.fullmatch("OPENAI_API_KEY")
    for other in ("TASTEMAKER_DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "openai_api_key", "API_KEY", "A B_API_KEY", "X_API_KEY\n"):
        assert not KEY_VARIABLE.fullmatch(other)


def test_a_key_is_what_stands_between_spaces_and_line_ends() -> None:
    assert key_of({"X_API_KEY": " s3cret\r\n"}, "X_API_KEY") == "s3cret"
    assert key_of({"X_API_KEY": "\n"}, "X_API_KEY") is None
    assert key_of({}, "X_API_KEY") is None
    assert key_of({"X_API_KEY": "s3cret"}, None) is None


@pytest.mark.parametrize("held", ["s3cret\ns3cret", "s3cr\u00e9t", "s3cret\x00"])
def test_what_no_header_can_hold_is_refused_by_the_name_of_its_variable(held: str) -> None:
    with pytest.raises(UnusableKey) as refused:
        key_of({"X_API_KEY": held}, "X_API_KEY")
    assert "X_API_KEY" in str(refused.value)
    assert "s3cr" not in str(refused.value)
