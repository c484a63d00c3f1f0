"""One label, two labels: a count agrees with its noun, in what is written and on the pages that show it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.language import catalogues
from app.models import Project
from app.practice import authoring
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.exports.judging import judge
from tests.app.language.test_translations import Reader
from tests.app.practice.test_service import COMPARISON
from tests.app.tour import PAGES, furnish

AsUser = Callable[[str], TestClient]

COUNTED = (
    "labels|answers|prompts|tasks|people|comparisons|ratings|messages|lines|runs|steps|rounds|verdicts|pairs|ties|updates"
    "|seconds|minutes|hours|days|cells|columns|members|policies|projects|checkpoints|keys|invitations|flags|criteria|texts"
    "|versions|folders|files|rewrites|annotators|questions|entries"
)
BEFORE_A_NOUN = re.compile(rf"%\((\w+)\)s (?:[a-z-]+ ){{0,2}}(?:{COUNTED})\b|\b(?:are|were) %\((\w+)\)s|n = %\((\w+)\)s")
BOUNDS = {"enough", "most", "longest", "least", "fewest", "max_length", "min_length"}  # none of which is ever 1
OTHERS = {"minutes", "num"}  # ten minutes; hours with a fraction: 1.5 at least
ONE_OF_MANY = re.compile(
    rf"(?<![\d.,:/-])\b1 (?:more |new |open |other |different |further |held-out |practice )?(?:{COUNTED})\b"
    r"|\b(?:are|were|have) 1\b(?![.,\d])|\(n = 1\)"
)


def disagreeing(sentence: str) -> list[str]:
    places = [next(filter(None, found.groups())) for found in BEFORE_A_NOUN.finditer(sentence)]
    return [place for place in places if place not in BOUNDS | OTHERS]


def test_a_count_that_cannot_agree_is_seen() -> None:
    assert disagreeing("%(missing)s more labels, then a round") == ["missing"]
    assert disagreeing("There are %(count)s of them") == ["count"]
    assert disagreeing("%(share)s (n = %(n)s)") == ["n"]
    assert disagreeing("Over %(updates)s; at most %(most)s labels; run %(number)s works") == []
    assert ONE_OF_MANY.search("1 labels")
    assert ONE_OF_MANY.search("There are 1 label.")
    assert not ONE_OF_MANY.search("21 labels, 1 label, 0.1 steps, 1:1 labels")


def test_sentences_that_count_have_a_form_for_one() -> None:
    wrong = [
        message.id
        for message in catalogues.catalogue("zh-Hant")
        if isinstance(message.id, str)
        and disagreeing(message.id)
        and any(path.startswith(("app/", "templates/")) for path, _line in message.locations)
    ]
    assert wrong == []


def words_of(html: str) -> Iterator[str]:
    """The page's own words, piece by piece and, where sentences are made of pieces, one after the other."""
    reader = Reader()
    reader.feed(html)
    yield " ".join(reader.words)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_pages_of_a_project_count_what_there_is(
    as_user: AsUser, engine: Engine, cast: Cast, settings: Settings, count: int
) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.other)
        project.practice_tasks, project.triggers_on, project.trigger_labels = count, True, count or None
        project.queue_low_mark = 1
        for number in range(count):
            judge(session, project, cast.eve, choice="left", active_ms=1000, comment="Short.")
            judge(session, project, cast.eve, overall=number + 1, active_ms=1000)
            factories.make_task(session, project)
            authoring.add_task(session, project, COMPARISON, cast.ada)
            person = factories.make_user(session, f"Person {number}")
            factories.make_membership(session, person.id, project.id, "annotator")
    pages = [path for path in PAGES if path.startswith("/projects/demo") and "{" not in path]
    ada, wrong = as_user("Ada"), []
    for path in pages:
        reply = ada.get(path.replace("/demo", "/other"), follow_redirects=True)
        assert reply.status_code == 200, path
        wrong += [f"{path}: {found[0]}" for text in words_of(reply.text) for found in ONE_OF_MANY.finditer(text)]
    assert wrong == []


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_every_page_counts_what_there_is(as_user: AsUser, engine: Engine, cast: Cast, settings: Settings) -> None:
    with write_session(engine) as session:
        ids = furnish(session, cast, settings)
    ada = as_user("Ada")
    wrong = [
        f"{path}: {found[0]}"
        for path in PAGES
        for text in words_of(ada.get(path.format(**ids), follow_redirects=True).text)
        for found in ONE_OF_MANY.finditer(text)
    ]
    assert wrong == []


@pytest.mark.parametrize("language", ["en", "zh-TW"])
def test_no_two_places_of_the_navigation_have_one_name(as_user: AsUser, cast: Cast, language: str) -> None:
    page = as_user("Ada").get("/projects/demo/guidelines", headers={"accept-language": language}).text
    places = re.findall(r"<li><a[^>]*>([^<]+)</a></li>", page.partition('<nav class="nav"')[2].partition("</nav>")[0])
    assert len(places) > 10
    assert len(set(places)) == len(places)
