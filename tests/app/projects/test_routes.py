from __future__ import annotations

import html
import re
from collections.abc import Callable

from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.projects.service import get_project
from tests.app import factories

Browser = Callable[[str], TestClient]
SETTINGS = "/projects/demo/settings"


def form_of(page: str) -> dict[str, str]:
    """What a browser would send back if the person changed nothing."""
    words: dict[str, str] = {}
    for tag in re.findall(r"<input [^>]*>", page):
        values = {key: html.unescape(value) for key, value in re.findall(r'([a-z-]+)="([^"]*)"', tag)}
        if "name" in values and (values.get("type") != "checkbox" or " checked" in tag):
            words[values["name"]] = values.get("value", "")
    for name, text in re.findall(r'<textarea [^>]*name="([^"]+)"[^>]*>\n(.*?)</textarea>', page, re.S):
        words[name] = html.unescape(text)
    for name, inner in re.findall(r'<select [^>]*name="([^"]+)"[^>]*>(.*?)</select>', page, re.S):
        chosen = re.search(r'value="([^"]*)" selected', inner) or re.search(r'value="([^"]*)"', inner)
        words[name] = html.unescape(chosen.group(1)) if chosen else ""
    return words


def test_saving_the_page_as_it_is_changes_nothing(as_user: Browser, engine: Engine) -> None:
    browser = as_user("Grace")
    with write_session(engine) as session:
        project = get_project(session, "demo")
        project.training, project.trigger_hours, project.rating_share = {"ppo": {"learning_rate": 0.000123456789}}, 0.5, 0.29
    with read_session(engine) as session:
        before = {name: value for name, value in vars(get_project(session, "demo")).items() if not name.startswith("_")}
    words = form_of(browser.get(SETTINGS).text)
    assert words["training.ppo.learning_rate"] == "0.000123456789"
    assert browser.post(SETTINGS, data=words).status_code == 303
    with read_session(engine) as session:
        after = {name: value for name, value in vars(get_project(session, "demo")).items() if not name.startswith("_")}
    defaults = {"per_prompt": 2, "temperature": 0.7, "max_new_tokens": 64, "batch_size": 16, "dtype": "auto", "seed": 0}
    assert after == before | {"sampling": defaults, "training": {"ppo": {"learning_rate": 0.000123456789}, "reward": {}}}


def test_what_a_person_changes_is_saved(as_user: Browser, engine: Engine) -> None:
    browser = as_user("Grace")
    words = form_of(browser.get(SETTINGS).text) | {
        "name": "Demo two",
        "triggers_on": "on",
        "trigger_labels": "25",
        "sampling.temperature": "1.1",
        "training.reward.method": "head",
        "training.ppo.adaptive_kl": "off",
    }
    reply = browser.post(SETTINGS, data=words, follow_redirects=True)
    assert "Saved." in reply.text
    with read_session(engine) as session:
        project = get_project(session, "demo")
        assert (project.name, project.triggers_on, project.trigger_labels) == ("Demo two", True, 25)
        assert project.sampling["temperature"] == 1.1
        assert project.training == {"reward": {"method": "head"}, "ppo": {"adaptive_kl": False}}


def test_a_refused_form_keeps_what_was_typed_and_says_why_at_the_field(as_user: Browser, engine: Engine) -> None:
    browser = as_user("Grace")
    words = form_of(browser.get(SETTINGS).text) | {"name": "Kept <words>", "trigger_labels": "two", "training.ppo.clip": "-1"}
    reply = browser.post(SETTINGS, data=words)
    assert reply.status_code == 422
    assert form_of(reply.text)["name"] == "Kept <words>"
    assert form_of(reply.text)["trigger_labels"] == "two"
    assert re.search(r'id="trigger_labels-error">This must be a whole number from 1 to 1,000,000', reply.text)
    assert re.search(r'id="training.ppo.clip-error">This must be more than 0', reply.text)
    with read_session(engine) as session:
        assert get_project(session, "demo").name == "Demo"


def test_the_base_model_is_no_field_once_there_are_answers(as_user: Browser, engine: Engine) -> None:
    browser = as_user("owner")
    assert 'name="base_model"' in browser.get(SETTINGS).text
    assert 'name="base_model"' not in as_user("Grace").get(SETTINGS).text, "only the owner chooses it"
    with write_session(engine) as session:
        factories.make_run(session, get_project(session, "demo").id)
    page = browser.get(SETTINGS).text
    assert 'name="base_model"' not in page
    assert "models/tiny" in page


def test_the_owner_makes_a_project_and_goes_on_to_its_prompts(as_user: Browser) -> None:
    browser = as_user("owner")
    reply = browser.post("/projects", data={"name": "Poems", "base_model": "org/model"})
    assert (reply.status_code, reply.headers["location"]) == (303, "/projects/poems/prompts/import")
    assert "Now give it prompts." in browser.get("/projects/poems/prompts/import").text
    assert "Harmlessness" in browser.get("/projects/poems/settings/questions").text


def test_a_model_that_is_not_there_is_refused_at_its_field(as_user: Browser) -> None:
    reply = as_user("owner").post("/projects", data={"name": "Poems", "base_model": "/nowhere"})
    assert reply.status_code == 422
    assert re.search(r'id="base_model-error">This is neither a folder', reply.text)
    assert 'value="Poems"' in reply.text
