from __future__ import annotations

import re
from collections.abc import Callable

from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import read_session
from app.models import Project
from app.prompts.search import PromptFilter, find_prompts
from app.prompts.service import count_prompts

Browser = Callable[[str], TestClient]
IMPORT = "/projects/demo/prompts/import"


def test_pasted_lines_become_prompts_and_the_page_says_how_many(as_user: Browser) -> None:
    browser = as_user("Grace")
    reply = browser.post(IMPORT, data={"pasted": "Why do cats purr?\nWhy <b>not</b>?", "format": "text"}, follow_redirects=True)
    assert reply.status_code == 200
    assert "Imported 2 prompts." in reply.text
    assert "Why do cats purr?" in reply.text
    assert "Why &lt;b&gt;not&lt;/b&gt;?" in reply.text
    again = browser.post(IMPORT, data={"pasted": "Why do cats purr?", "format": "text"}, follow_redirects=True)
    assert "1 prompt was there already." in again.text


def test_an_uploaded_file_is_read_by_its_name(as_user: Browser, engine: Engine, project: Project) -> None:
    file = ("prompts.csv", b"prompt,external_id\nOne?,a\nTwo?,b\n", "text/csv")
    reply = as_user("Grace").post(IMPORT, data={"format": "auto", "pasted": ""}, files={"file": file})
    assert reply.status_code == 303
    with read_session(engine) as session:
        assert {prompt.external_id for prompt in find_prompts(session, project.id, PromptFilter())} == {"a", "b"}


def test_a_bad_line_is_shown_with_its_number_and_the_text_is_kept(as_user: Browser, engine: Engine, project: Project) -> None:
    reply = as_user("Grace").post(IMPORT, data={"pasted": '{"text": "Good?"}\n{"txt": "Bad?"}', "format": "jsonl"})
    assert reply.status_code == 422
    assert "Nothing was imported: 1 line cannot be used." in reply.text
    assert re.search(r'<td class="number">2</td><td>Give either text or messages; there is only &#34;txt&#34;', reply.text)
    assert "{&#34;txt&#34;: &#34;Bad?&#34;}" in reply.text
    with read_session(engine) as session:
        assert count_prompts(session, project.id).train + count_prompts(session, project.id).holdout == 0


def test_leaving_out_bad_lines_says_which(as_user: Browser) -> None:
    data = {"pasted": '{"text": "Good?"}\n{}', "format": "jsonl", "skip_bad_lines": "on"}
    reply = as_user("Grace").post(IMPORT, data=data, follow_redirects=True)
    assert "Imported 1 prompt. Left out 1 bad line: 2." in reply.text


def test_an_empty_form_says_what_is_missing(as_user: Browser) -> None:
    reply = as_user("Grace").post(IMPORT, data={"pasted": "  ", "format": "auto"})
    assert reply.status_code == 422
    assert "choose a file or paste prompts" in reply.text


def test_a_project_without_prompts_says_what_to_do_next(as_user: Browser) -> None:
    reply = as_user("Grace").get("/projects/demo/prompts")
    assert "No prompts here yet" in reply.text
    assert f'href="{IMPORT}"' in reply.text


def test_a_prompt_is_put_away_from_the_list(as_user: Browser) -> None:
    browser = as_user("Grace")
    browser.post(IMPORT, data={"pasted": "Only one?", "format": "text"})
    page = re.search(r'href="(/prompts/\d+)"', browser.get("/projects/demo/prompts").text)
    assert page is not None
    assert f'action="{page.group(1)}/archive"' in browser.get(page.group(1)).text
    browser.post(f"{page.group(1)}/archive")
    assert "Only one?" not in browser.get("/projects/demo/prompts").text
    assert "Only one?" in browser.get("/projects/demo/prompts?view=archived").text


def test_the_list_goes_on_behind_a_link(as_user: Browser) -> None:
    browser = as_user("Grace")
    browser.post(IMPORT, data={"pasted": "\n".join(f"Question {number}?" for number in range(60)), "format": "text"})
    first = browser.get("/projects/demo/prompts").text
    older = re.search(r'href="(/projects/demo/prompts\?[^"]*cursor=\d+)"', first)
    assert older is not None
    second = browser.get(older.group(1).replace("&amp;", "&")).text
    assert "Question 59?" in first
    assert "Question 0?" not in first
    assert "Question 0?" in second


def test_near_twins_are_said_listed_and_put_away_together(as_user: Browser, engine: Engine, project: Project) -> None:
    browser = as_user("Grace")
    pasted = "Why do cats purr when they sleep on a chair?\nWhy do cats purr when they sleep on the chair?\nName a fish."
    reply = browser.post(IMPORT, data={"pasted": pasted, "format": "text"}, follow_redirects=True)
    assert "imported all the same: 1 prompt (line 2 is like line 1)." in reply.text
    shown = browser.get("/projects/demo/prompts?near=twin").text
    assert shown.count('name="id"') == 1
    twin, near = re.findall(r"/prompts/(\d+)\">nearly prompt", shown)[0], re.findall(r'name="id" value="(\d+)"', shown)[0]
    assert f'It says nearly the same as <a href="/prompts/{twin}">prompt {twin}</a>.' in browser.get(f"/prompts/{near}").text
    token = re.findall(r'name="csrf" value="([^"]+)"', shown)
    away = browser.post("/projects/demo/prompts/archive?near=twin", data={"all": "on", "csrf": token[:1]}, follow_redirects=True)
    assert "Put away: 1 prompt." in away.text
    with read_session(engine) as session:
        assert count_prompts(session, project.id).archived == 1
