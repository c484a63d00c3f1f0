"""Two people have the same form open: nobody undoes what the other saved, and nobody is asked about what only one changed."""

from __future__ import annotations

import pytest

from app.errors import Conflict
from app.web.forms import SEEN, edit_of, refuse_clashes, seen_of

OPENED = {"name": "Demo", "labels": "25", "on": "on"}


def test_only_what_the_person_changed_is_written() -> None:
    sent = OPENED | {"name": "Mine", SEEN: seen_of(OPENED)}
    edit = edit_of(sent, OPENED | {"labels": "40"})
    assert (edit.changed, edit.clashes) == ({"name": "Mine"}, {})
    assert edit.shown == {"name": "Mine", "labels": "40", "on": "on"}
    refuse_clashes(edit)


def test_a_field_that_both_changed_is_refused_with_both_values() -> None:
    edit = edit_of(OPENED | {"name": "Mine", SEEN: seen_of(OPENED)}, OPENED | {"name": "Theirs"})
    with pytest.raises(Conflict) as refusal:
        refuse_clashes(edit)
    assert refusal.value.fields == {"name": "Somebody changed this meanwhile. Theirs: “Theirs”. Yours: “Mine”."}
    assert edit.shown["name"] == "Mine", "what was typed is kept"


def test_a_page_that_showed_the_clash_saves_knowingly() -> None:
    now = OPENED | {"name": "Theirs"}
    refuse_clashes(edit_of(OPENED | {"name": "Mine", SEEN: seen_of(now)}, now))


def test_two_who_changed_the_same_to_the_same_agree() -> None:
    refuse_clashes(edit_of(OPENED | {"name": "Both", SEEN: seen_of(OPENED)}, OPENED | {"name": "Both"}))


def test_a_box_without_its_tick_comes_empty() -> None:
    sent = {name: text for name, text in OPENED.items() if name != "on"} | {SEEN: seen_of(OPENED)}
    assert edit_of(sent, OPENED).changed == {"on": ""}


def test_line_ends_of_a_browser_are_no_change() -> None:
    assert edit_of({"text": "a\r\nb", SEEN: seen_of({"text": "a\nb"})}, {"text": "a\nb"}).changed == {}


@pytest.mark.parametrize("seen", ["", "?", "[1]", "[" * 100_000, '{"name": 3}'])
def test_a_form_without_digests_of_ours_was_opened_this_moment(seen: str) -> None:
    edit = edit_of(OPENED | {"labels": "40", SEEN: seen}, OPENED)
    assert edit.changed["labels"] == "40"
    refuse_clashes(edit)


def test_a_long_text_is_cut_in_the_sentence() -> None:
    edit = edit_of({"text": "m" * 5_000, SEEN: seen_of({"text": ""})}, {"text": "t" * 5_000})
    with pytest.raises(Conflict) as refusal:
        refuse_clashes(edit)
    assert len(refusal.value.fields["text"]) < 500
