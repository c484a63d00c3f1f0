"""Nothing is left in English for a reader of another language: the catalogues are complete, and so is every page."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from babel.messages.catalog import Message
from jinja2 import nodes
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.guidelines.starting_point import guidelines
from app.language import catalogues, formats, languages
from app.language.languages import LANGUAGES, LOCALES, SOURCE
from app.settings import Settings
from app.web.pages import TEMPLATES, environment
from app.web.permissions import RULES
from tests.app.conftest import CAST, Cast
from tests.app.tour import PAGES, furnish

AsUser = Callable[[str], TestClient]
OTHERS = [language for language in LANGUAGES if language != SOURCE]


@pytest.fixture
def chinese() -> Iterator[None]:
    languages.use("zh-Hant")
    yield
    languages.use(SOURCE)


# The catalogues


@pytest.mark.parametrize("language", OTHERS)
def test_a_catalogue_holds_every_sentence_of_the_source_and_no_other(language: str) -> None:
    """`python -m app.language.catalogues` brings it there."""
    path = LOCALES / f"{language}.po"
    assert path.read_bytes() == catalogues.written(catalogues.merged(language))


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_is_translated_with_the_same_places_and_the_same_markup(language: str) -> None:
    catalog = catalogues.catalogue(language)
    wrong = [problem for message in catalog if message.id for problem in problems(message, catalog.num_plurals)]
    assert wrong == []


def problems(message: Message, plurals: int) -> Iterator[str]:
    """What is wrong with one translation: nothing there, unsure, or other places and other tags than its source has."""
    forms = [form or "" for form in (message.string if isinstance(message.string, list | tuple) else [message.string])]
    source = message.id[-1] if isinstance(message.id, list | tuple) else message.id
    if message.fuzzy or not all(forms) or (isinstance(message.id, list | tuple) and len(forms) != plurals):
        yield f"not translated: {source}"
        return
    for form in forms:
        for what in (r"%\(\w+\)s", r"<[^>]*>", r"%%"):
            if sorted(re.findall(what, str(form))) != sorted(re.findall(what, str(source))):
                yield f"{source} -> {form}"


def test_a_translation_that_lost_a_place_is_seen() -> None:
    assert list(problems(Message("%(left)s left", "還剩"), 1))
    assert list(problems(Message("<b>left</b>", "還剩"), 1))
    assert list(problems(Message("left", ""), 1))
    assert not list(problems(Message("%(left)s left", "還剩 %(left)s"), 1))


# One word per thing: what must not stand for it, and the right word.
GLOSSARY = {
    "標籤": "標註",
    "標注": "標註",
    "筆標註": "則標註",
    "指南": "準則",
    "提示詞": "提示",
    "個提示": "則提示",
    "練習任務": "練習題",
    "撤回": "收回",
    "候選策略": "候選模型",
    "稽核記錄": "稽核紀錄",
    "這個安裝": "這套系統",
    "用戶": "使用者",
    "默認": "預設",
    "設置": "設定",
    "詞元": "token",
    "可不填": "選填",
    "這個領域": "術語",
    "回到起點": "回到首頁",
    "要是": "必須是",  # it reads as "if"
}
HALF_WIDTH = re.compile("[\u4e00-\u9fff] ?[,;:!?()](?![a-z])|[,;!?()] ?[\u4e00-\u9fff]")
LOOSE = re.compile(r"[。！？：；，、）」]\s+\S|\S\s+[。！？：；，、（「）」]")  # such a sign brings its own space


def in_chinese(place: str = "") -> Iterator[tuple[str, str]]:
    """Every sentence with its translation, something else in its places, and the lines of the page that is shipped."""
    for message in catalogues.catalogue("zh-Hant"):
        if message.id:
            source = message.id if isinstance(message.id, str) else message.id[-1]
            form = message.string[0] if isinstance(message.string, list | tuple) else message.string or ""
            yield source, re.sub(r"%\(\w+\)s|`[^`]*`", place, re.sub("<[^>]*>", "", form))
    yield from ((f"shipped: {line}", line) for line in guidelines("zh-Hant").splitlines())


def test_one_thing_has_one_word() -> None:
    wrong = [(source, word) for source, text in in_chinese() for word in GLOSSARY if word in text.replace("樣式指南", "")]
    assert wrong == []
    for thing, other, words in (("criteri", "guideline", "準則"), ("guideline", "criteri", "評分項目")):
        mixed = [source for source, text in in_chinese() if words in text and other not in source.lower()]
        assert [source for source in mixed if thing in source.lower()] == []


def test_chinese_sentences_have_full_width_punctuation() -> None:
    assert [(source, text) for source, text in in_chinese() if HALF_WIDTH.search(text)] == []


def test_full_width_punctuation_has_no_space_beside_it() -> None:
    assert [(source, text) for source, text in in_chinese(place="A") if LOOSE.search(text)] == []


def test_no_sentence_is_there_twice_in_a_translation() -> None:
    parts = {source: [part for part in re.split("[。？！；]", text) if len(part) > 5] for source, text in in_chinese()}
    assert [source for source, found in parts.items() if len(found) != len(set(found))] == []


# The source


def test_templates_translate_literals_only() -> None:
    """What `_` returns counts as HTML, so a name or an answer given to it would, too. A variable goes through `| known`."""
    asked = [
        f"{path.name}:{call.lineno}"
        for path in TEMPLATES.rglob("*.html")
        for call in environment().parse(path.read_text()).find_all(nodes.Call)
        if isinstance(call.node, nodes.Name) and call.node.name in ("_", "gettext", "ngettext")
        if not isinstance(call.args[0], nodes.Const)
    ]
    assert asked == []


def test_what_a_template_keeps_for_later_readers_is_in_no_language() -> None:
    """A template that others import is evaluated once, in the language of its first reader; macros are evaluated each time."""
    kept = [
        f"{path.name}:{set_.lineno}"
        for path in TEMPLATES.rglob("_*.html")
        for set_ in environment().parse(path.read_text()).body
        if isinstance(set_, nodes.Assign)
        if path.name != "_nav.html"  # included, not imported
        if any(isinstance(call.node, nodes.Name) and call.node.name == "_" for call in set_.find_all(nodes.Call))
    ]
    assert kept == []


def test_a_filter_speaks_to_each_reader_even_of_what_never_changes(chinese: None) -> None:
    languages.use(SOURCE)
    page = environment().from_string("{{ 5400 | duration }}")
    assert page.render() == "1 h 30 min"
    languages.use("zh-Hant")
    assert page.render() == "1 小時 30 分"


def test_sentences_have_no_values_baked_in() -> None:
    """`_(f"...")` would look for a sentence that no catalogue can hold."""
    baked = [
        f"{path.name}:{call.lineno}"
        for path in (LOCALES.parent / "app").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ("_", "N_", "ngettext")
        if call.args and isinstance(call.args[0], ast.JoinedStr)
    ]
    assert baked == []


# The pages

NAMES = {*CAST, "Demo", "Other"}
SAME_EVERYWHERE = {
    *("Tastemaker", "English", "PPO", "KL", "JSON Lines", "CSV", "SHA-256", "Beta", "Gamma", "A", "B", "UTC", "nats"),
    *("base", "float32", "bfloat16"),
    *(
        "beta",
        "token",
        "GAE",
        "RLOO",
        "GRPO",
        "DPO",
        "KTO",
        "REINFORCE",
        "LoRA",
        "SimpleLM",
        "LSTM",
        "BPE",
        "clear",
        "rare",
        "px",
        "MiB",
    ),
}
DATA = ("code", "pre", "kbd", "samp", "script", "style", "svg")
WITHIN = ("strong", "time", "em", "b")  # tags around words of a sentence
VOID = {"input", "meta", "link", "img", "br", "hr", "source", "path", "line", "ellipse", "circle"}
SPOKEN = ("title", "alt", "aria-label", "placeholder")
CJK = re.compile("[\u4e00-\u9fff]")
LATIN = re.compile("[A-Za-z]{2,}")
CODED = re.compile(r"#[0-9a-f]{6}|rgb\([^)]*\)|var\([^)]*\)|--[a-z-]+|annotator-\d+")  # on the style guide, and pseudonyms


class Reader(HTMLParser):
    """The words of a page that are ours: not what stands in code, and not what somebody wrote (`dir="auto"`, `lang`)."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._inside: list[bool] = [True]  # per open element: are its words ours?

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        ours = self._inside[-1] and tag not in DATA and "dir" not in values and ("lang" not in values or tag == "html")
        ours = ours or tag == "html"
        if ours:
            self.words += [text for name in SPOKEN if (text := values.get(name))]
        if tag not in VOID:
            self._inside.append(ours)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if self._inside[-1] and data.strip():
            self.words.append(" ".join(data.split()))


def english(html: str) -> list[str]:
    """Words of the page that no one translated."""
    reader = Reader()
    reader.feed(html)
    return [text for text in reader.words if not CJK.search(text) and LATIN.search(text) and _said_by_us(text)]


def apart(html: str) -> list[str]:
    """Words of the page with a space between two Chinese signs, or after a full-width stop."""
    reader = Reader()
    reader.feed(re.sub(rf"</?(?:{'|'.join(WITHIN)})\b[^>]*>", "", html))
    return [text for text in reader.words if re.search("[\u4e00-\u9fff] [\u4e00-\u9fff]|[。！？：；，、）」] ", text)]


def _said_by_us(text: str) -> bool:
    left = CODED.sub(" ", text)
    for name in sorted(NAMES | SAME_EVERYWHERE, key=len, reverse=True):
        left = re.sub(rf"\b{re.escape(name)}\b", " ", left)
    return LATIN.search(left) is not None


def test_the_reader_sees_what_is_left_in_english() -> None:
    page = (
        '<html lang="x"><p title="Hello there">你好</p><p>Not yet</p><p dir="auto">Theirs</p><code>ls -l</code><p>PPO</p></html>'
    )
    assert english(page) == ["Hello there", "Not yet"]


def test_a_space_between_chinese_words_is_seen() -> None:
    page = "<p>還要 <strong>大約 3 分鐘</strong></p><p>好。 又好。</p><p>第 3 輪</p><p dir='auto'>王 小明</p>"
    assert apart(page) == ["還要 大約 3 分鐘", "好。 又好。"]


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_every_page_is_in_chinese(as_user: AsUser, engine: Engine, cast: Cast, settings: Settings) -> None:
    with write_session(engine) as session:
        ids = furnish(session, cast, settings)
    ada = as_user("Ada")
    left = []
    for path in PAGES:
        reply = ada.get(path.format(**ids), headers={"accept-language": "zh-TW"}, follow_redirects=True)
        assert '<html lang="zh-Hant"' in reply.text, path
        left += [f"{path}: {text}" for text in english(reply.text) + apart(reply.text)]
    assert sorted(set(left)) == []


def test_pages_of_visitors_are_in_chinese(visitor: TestClient) -> None:
    for path in ("/sign-in", "/invitations/gone", "/password/gone"):
        assert english(visitor.get(path, headers={"accept-language": "zh-TW"}).text) == []


@pytest.mark.nightly
def test_every_page_is_on_the_tour() -> None:
    """A new page is walked through, in every language, theme and width, as soon as it has a rule."""
    asked_for = {re.sub(r"\{\w+\}", "*", page.replace("demo", "*")) for page in PAGES}
    elsewhere = ("/charts/", "/export/file", "/sign-in", "/invitations/", "/password/", "/guidelines/", "/practice")
    missing = [
        path
        for method, path in RULES
        if method == "GET" and not path.startswith("/api/") and not any(part in path for part in elsewhere)
        if re.sub(r"\{\w+\}", "*", path) not in asked_for
    ]
    assert missing == []


# Numbers and times

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_times_and_numbers_follow_the_reader(chinese: None) -> None:
    assert ">3 分鐘前<" in formats.ago(NOW - timedelta(minutes=3), NOW)
    assert ">2 小時後<" in formats.ago(NOW + timedelta(hours=2), NOW)
    assert 'title="2026年3月1日 12:00:00 UTC"' in formats.ago(NOW, NOW)
    assert formats.day(NOW) == "2026年3月1日"
    assert formats.duration(125) == "2 分 5 秒"
    assert formats.count(1, "label") == "1 則標註"
    assert formats.count(2140, "label") == "2,140 則標註"
    assert formats.number(-1234.5) == "−1,234"
