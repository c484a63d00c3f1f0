"""The space around what is put into a Chinese sentence."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from markupsafe import Markup

from app.language import languages, spacing
from app.language.languages import SOURCE
from app.language.run_messages import told
from app.web.pages import environment
from trainer.contract.messages import Message


@pytest.fixture
def chinese() -> Iterator[None]:
    languages.use("zh-Hant")
    yield
    languages.use(SOURCE)


@pytest.mark.parametrize(
    ("sentence", "value", "said"),
    [
        ("還要 %(x)s。", "大約 3 分鐘", "還要大約 3 分鐘。"),
        ("還要%(x)s。", "3 分", "還要 3 分。"),
        ("在 %(x)s 之後", "2 則訊息", "在 2 則訊息之後"),
        ("由%(x)s開始", "Ada", "由 Ada 開始"),
        ("由 %(x)s 開始", "林怡君", "由林怡君開始"),
        ("有 %(x)s 一致", "71%", "有 71% 一致"),
        ("%(x)s紀錄的最後一行", "它當掉了。", "它當掉了。紀錄的最後一行"),
        ("%(x)s。", "Ada", "Ada。"),
        ("「%(x)s」在這裡", "Ada", "「Ada」在這裡"),
        ("第 %(x)s 輪", 3, "第 3 輪"),
        ("取消 %(x)s 的身分", "", "取消  的身分"),
    ],
)
def test_a_value_is_set_apart_as_what_it_is_asks_for(sentence: str, value: object, said: str) -> None:
    assert spacing.put(sentence, {"x": value}) == said


def test_tags_do_not_hide_what_stands_beside_a_value() -> None:
    sentence = Markup('還要 <b>%(x)s</b> 才到 <a href="%(url)s">%(y)s</a> 那裡')
    time = Markup('<time title="3 月">大約 3 分鐘</time>')
    said = spacing.put(sentence, {"x": time, "url": "/runs/3", "y": "<Ada>"})
    assert said == Markup('還要<b><time title="3 月">大約 3 分鐘</time></b>才到 <a href="/runs/3">&lt;Ada&gt;</a> 那裡')
    assert isinstance(said, Markup)


def test_what_runs_say_is_set_apart_too(chinese: None) -> None:
    assert told(Message("policy_of_round", number=3)) == "第 3 輪的策略模型"


def test_sentences_of_a_page_follow_each_other_without_a_space(chinese: None) -> None:
    page = environment().from_string('<p><b>{{ _("Saved.") }}</b> {{ _("Starting.") }} <b>Ada</b> {{ _("Save") }} x</p>')
    assert spacing.settled(page.render()) == "<p><b>已儲存。</b>正在開始。<b>Ada</b> 儲存 x</p>"


def test_nor_has_a_joined_sentence_a_space_after_it(chinese: None) -> None:
    page = environment().from_string('{{ ["沒有", "等候"] | sentence }} {{ _("Saved.") }} {{ ["<"] | sentence }}')
    assert spacing.settled(page.render()) == "沒有；等候。已儲存。&lt;。"


def test_english_keeps_its_spaces() -> None:
    page = environment().from_string('<p>{{ _("Saved.") }} {{ _("about %(num)s hours", num="2") }}</p>')
    assert spacing.settled(page.render()) == "<p>Saved. about 2 hours</p>"
