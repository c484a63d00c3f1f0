"""Hostile texts on the pages that show them, all three hundred: nothing of theirs is markup, and no page takes long."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser

import pytest
from sqlalchemy import Engine, func, select
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.guidelines.service import MAX_GUIDELINES, guideline
from app.models import Generation, Project, Prompt, Round, Run
from app.settings import Settings
from tests.app import factories, hostile
from tests.app.conftest import Cast
from tests.app.exports.judging import judge
from tests.app.rounds import told
from trainer.contract.messages import Message

AsUser = Callable[[str], TestClient]


@pytest.fixture(autouse=True)
def spared_collector() -> Iterator[None]:
    """A process that runs many tests has much to look through; a server's collector leaves what was there at the start alone."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


SLOWEST_S = 0.5  # of this process, for a whole page: a slow machine takes .2 where a fast one takes .08
HIDDEN = set("\u202e\u202d\u2066\u2069\u200b\ufeff\u00ad\x1b")
TAGS_OF_TEXT = {
    *("p", "ul", "ol", "li", "blockquote", "pre", "code", "em", "strong", "s", "hr", "br", "wbr", "span"),
    *("table", "thead", "tbody", "tr", "th", "td", "div"),
}


class Seen(HTMLParser):
    """The tags of a page with the names of their attributes, and the addresses in them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[tuple[str, str]] = set()
        self.addresses: set[str] = set()
        self.hidden: set[str] = set()
        self._edited = False  # inside of a box, a text is what was written, to the sign

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags |= {(tag, name) for name, _ in attrs} or {(tag, "")}
        self.addresses |= {value or "" for name, value in attrs if name in ("href", "src", "srcset", "action", "formaction")}
        self._edited = tag == "textarea"

    def handle_data(self, data: str) -> None:
        if not self._edited:
            self.hidden |= set(data) & HIDDEN


def seen(html: str) -> Seen:
    reader = Seen()
    reader.feed(html)
    reader.close()
    return reader


def write_everywhere(engine: Engine, cast: Cast, text: str, display: str) -> tuple[int, int]:
    """A comparison whose prompt, answers, rewrite and comment are that text: the ids of its task and of its label."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.text_display = display
        task = factories.make_task(session, project, seats=2)
        prompt = session.get_one(Prompt, task.prompt_id)
        prompt.messages = [{"role": "user", "content": text}]
        for generation_id in (task.first_generation_id, task.second_generation_id):
            session.get_one(Generation, generation_id).text = text
        rewrite = {"side": "left", "text": text}
        label = judge(session, project, cast.alan, task, choice="left", comment=text, rewrite=rewrite)
        return task.id, label.id


def faults(html: str, harmless: Seen) -> list[str]:
    """What a page with a hostile text has that the same page with a harmless one does not."""
    found = seen(html)
    new = {
        (tag, name) for tag, name in found.tags - harmless.tags if tag not in TAGS_OF_TEXT or name not in ("", "class", "title")
    }
    elsewhere = {address for address in found.addresses if not address.startswith(("/", "#", "?"))}
    return [*map(str, new), *elsewhere, *map(ascii, found.hidden)]


def plain_page(browser: TestClient, address: str) -> Seen:
    return seen(browser.get(address).text)


def test_the_check_sees_what_gets_through(engine: Engine, cast: Cast) -> None:
    harmless = seen('<main><p class="x">a</p><a href="/b">b</a></main>')
    for got_through in ("<script>x</script>", "<p onclick=x>", "<img src=/x>", '<a href="javascript:x">', "a\u202eb"):
        assert faults(f'<main><p class="x">a</p>{got_through}</main>', harmless), got_through
    assert not faults('<main><p class="x">a</p><pre><code class="language-python">x</code></pre></main>', harmless)


@pytest.mark.parametrize("display", ["markdown", pytest.param("written", marks=pytest.mark.nightly)])
def test_every_hostile_text_is_text_on_a_label_s_page(as_user: AsUser, engine: Engine, cast: Cast, display: str) -> None:
    """The page that shows most: the prompt, both answers, the rewrite and the comment."""
    alan = as_user("Alan")
    _, label = write_everywhere(engine, cast, "A *harmless* text.", display)
    harmless = plain_page(alan, f"/labels/{label}")
    wrong = []
    for number, text in enumerate(hostile.payloads()):
        _, label = write_everywhere(engine, cast, text, display)
        began = time.process_time()
        reply = alan.get(f"/labels/{label}")
        took_s = time.process_time() - began
        assert reply.status_code == 200
        wrong += [f"{number} {text[:60]!r}: {fault}" for fault in faults(reply.text, harmless)]
        if took_s > SLOWEST_S:
            wrong.append(f"{number} {text[:60]!r}: {took_s:.3f} s")
    assert wrong == []


@pytest.mark.parametrize("page", ["/projects/demo/annotate", "/projects/demo/labels", "/projects/demo/prompts"])
def test_hostile_texts_are_text_on_every_other_page_that_lists_or_asks(
    client: TestClient, engine: Engine, cast: Cast, page: str
) -> None:
    write_everywhere(engine, cast, "A *harmless* text.", "markdown")
    harmless = plain_page(client, page)
    wrong = []
    for text in hostile.sample(30):
        write_everywhere(engine, cast, text, "markdown")
        began = time.process_time()
        reply = client.get(page)
        took_s = time.process_time() - began
        wrong += [f"{text[:60]!r}: {fault}" for fault in faults(reply.text, harmless)]
        if took_s > SLOWEST_S:
            wrong.append(f"{text[:60]!r}: {took_s:.3f} s")
        if page.endswith("annotate"):  # give it back, so that the next one is asked
            session_task = reply.text.partition('data-task="')[2].partition('"')[0]
            client.post(f"/tasks/{session_task}/skip", data={"csrf_token": client.headers["x-csrf-token"]})
    assert wrong == []


# The pages of rounds and of the guidelines


def tell_everywhere(engine: Engine, cast: Cast, settings: Settings, text: str) -> dict[str, str]:
    """A round and a run whose prompts, answers, samples, log and message are that text: the addresses of their pages."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.text_display = "markdown"
        number = session.scalars(select(func.count()).select_from(Round)).one() + 1
        told_ids = told.tell(session, project, settings.runs, number=number)
        run = session.get_one(Run, told_ids.ppo)
        run.message = Message("written", text=text[:1000])
        folder = settings.runs / str(run.id)
        rows = [json.loads(line) | {"text": text} for line in (folder / "samples.jsonl").read_text("utf-8").splitlines()]
        (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        (folder / "log.txt").write_text(text, "utf-8")
        for prompt in session.scalars(select(Prompt).where(Prompt.split == "holdout")):
            prompt.messages = [{"role": "user", "content": text}]
        for generation in session.scalars(select(Generation)):
            generation.text = text
        return {"round": f"/rounds/{told_ids.round}", "run": f"/runs/{run.id}", "sample": f"/runs/{told_ids.sample}"}


def test_hostile_texts_are_text_on_the_pages_of_rounds_and_runs(
    client: TestClient, engine: Engine, cast: Cast, settings: Settings
) -> None:
    addresses = tell_everywhere(engine, cast, settings, "A *harmless* text.")
    harmless = {page: plain_page(client, address) for page, address in addresses.items()}
    wrong = []
    for text in hostile.sample(12):
        for page, address in tell_everywhere(engine, cast, settings, text).items():
            began = time.process_time()
            reply = client.get(address)
            took_s = time.process_time() - began
            assert reply.status_code == 200
            assert "harmless" not in reply.text
            wrong += [f"{page}: {text[:60]!r}: {fault}" for fault in faults(reply.text, harmless[page])]
            if took_s > SLOWEST_S:
                wrong.append(f"{page}: {text[:60]!r}: {took_s:.3f} s")
    assert wrong == []


def test_hostile_guidelines_are_text_to_annotators_and_in_the_editor(as_user: AsUser, engine: Engine, cast: Cast) -> None:
    """Whoever writes them is trusted with links; scripts, pictures and what hides are none of theirs either."""
    mary, grace, editor = as_user("Mary"), as_user("Grace"), "/projects/demo/settings/guidelines"
    pages = {"/projects/demo/guidelines": mary, editor: grace, "/projects/demo/annotate": mary}
    with write_session(engine) as session:
        factories.make_task(session, session.get_one(Project, cast.demo))
        guideline(session, session.get_one(Project, cast.demo)).text = "See [here](https://example.org/harmless) for *more*."
    harmless = {page: plain_page(browser, page) for page, browser in pages.items()}
    wrong = []
    for text in hostile.sample(12):
        with write_session(engine) as session:
            guideline(session, session.get_one(Project, cast.demo)).text = text[:MAX_GUIDELINES].strip()  # as saving does
        for page, browser in pages.items():
            began = time.process_time()
            reply = browser.get(page)
            took_s = time.process_time() - began
            found = [fault for fault in faults(reply.text, harmless[page]) if not fault.startswith(("https://", "mailto:"))]
            wrong += [f"{page}: {text[:60]!r}: {fault}" for fault in found]
            if took_s > SLOWEST_S:
                wrong.append(f"{page}: {text[:60]!r}: {took_s:.3f} s")
    assert wrong == []
