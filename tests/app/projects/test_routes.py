from __future__ import annotations

import html
import re
from collections.abc import Callable

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.projects.service import get_project
from tests.app import factories
from tests.trainer.outside.conftest import address, package
from tests.trainer.outside.installed_reward import NAMES

__all__ = ["address", "package"]

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
    assert after == before


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
    assert re.search(r'id="training.ppo.clip-error">This must lie between 0.001 and 10', reply.text)
    with read_session(engine) as session:
        assert get_project(session, "demo").name == "Demo"


def test_everything_that_is_wrong_is_said_at_once_in_the_labels_words(as_user: Browser, engine: Engine) -> None:
    browser = as_user("Grace")
    wrong = {
        "name": " ",
        "sampling.temperature": "50",
        "sampling.max_new_tokens": "1000000",
        "trigger_hours": "0",
        "training.ppo.learning_rate": "1000",
        "training.reward.judge_share": "80",
        "training.reward.criteria_weights.accuracy": "lots",
        "triggers_on": "on",
    }
    reply = browser.post(SETTINGS, data=form_of(browser.get(SETTINGS).text) | wrong)
    assert reply.status_code == 422
    told = html.unescape(reply.text)
    for sentence in (
        "Name: Give the project a name.",
        "Variety: This must lie between 0.01 and 2.",
        "Longest answer: This must lie between 1 and 32,768.",
        "After this many hours: This must be a number from 0.1 to 8,784.",
        "Learning rate: This must lie between 1e-09 and 1.",
        "Labels kept for an independent check: This must lie between 0% and 50%.",
        "Accuracy: This must be a number from 0 to 100.",
    ):
        assert f">{sentence}<" in told, sentence
    assert "<details open" in reply.text.replace(' class="experts"', ""), "what is wrong behind the disclosure is seen"
    assert re.search(r"\w_\w+:", re.sub(r"<[^>]*>", "", told)) is None, "no name of the code"
    again = browser.post(SETTINGS, data=form_of(reply.text))
    assert again.status_code == 422, "what was typed is still there, and still wrong"


def test_no_name_of_the_code_stands_on_the_page(as_user: Browser) -> None:
    page = as_user("Grace").get(SETTINGS).text
    said = re.sub(r"<[^>]*>", "\n", page.partition("<main")[2])
    assert re.findall(r"\b[a-z]+_[a-z_]+\b", said) == []


def test_two_who_changed_different_settings_both_keep_theirs(as_user: Browser, engine: Engine) -> None:
    browser = as_user("Grace")
    opened = form_of(browser.get(SETTINGS).text)
    theirs = {"sampling.temperature": "1.1", "training.ppo.updates": "20", "triggers_on": "on", "trigger_labels": "40"}
    assert browser.post(SETTINGS, data=opened | theirs).status_code == 303
    mine = {"name": "Mine", "sampling.per_prompt": "3", "training.ppo.episodes": "64", "training.reward.method": "head"}
    assert browser.post(SETTINGS, data=opened | mine).status_code == 303
    with read_session(engine) as session:
        project = get_project(session, "demo")
        assert (project.name, project.triggers_on, project.trigger_labels) == ("Mine", True, 40)
        assert (project.sampling["temperature"], project.sampling["per_prompt"]) == (1.1, 3)
        assert project.training == {"ppo": {"updates": 20, "episodes": 64}, "reward": {"method": "head"}}


def test_a_setting_that_both_changed_is_shown_with_both_values(as_user: Browser, engine: Engine) -> None:
    browser = as_user("Grace")
    opened = form_of(browser.get(SETTINGS).text)
    theirs = {"training.ppo.length_control": "off", "training.reward.judge_share": "10"}
    assert browser.post(SETTINGS, data=opened | theirs).status_code == 303
    refused = browser.post(SETTINGS, data=opened | {"training.ppo.length_control": "residual", "name": "Mine"})
    assert refused.status_code == 409
    told = html.unescape(refused.text)
    both = "Theirs: “Let it change”. Yours: “Take what length alone earns out of the score”."
    assert f"Length of answers: Somebody changed this meanwhile. {both}" in told
    assert form_of(refused.text)["training.reward.judge_share"] == "10", "theirs, where I changed nothing"
    with read_session(engine) as session:
        assert get_project(session, "demo").name == "Demo"
    assert browser.post(SETTINGS, data=form_of(refused.text)).status_code == 303
    with read_session(engine) as session:
        training = get_project(session, "demo").training
        assert (training["ppo"]["length_control"], training["reward"]["judge_share"]) == ("residual", 0.1)


def test_a_setting_put_back_to_its_default_follows_the_default_again(as_user: Browser, engine: Engine) -> None:
    browser = as_user("Grace")
    with write_session(engine) as session:
        get_project(session, "demo").training = {"ppo": {"clip": 0.3, "epochs": 2}, "reward": {"judge_share": 0.1}}
    back = {"training.ppo.clip": "0.2", "training.ppo.epochs": "", "training.reward.judge_share": "0"}
    assert browser.post(SETTINGS, data=form_of(browser.get(SETTINGS).text) | back).status_code == 303
    with read_session(engine) as session:
        assert get_project(session, "demo").training == {"ppo": {}, "reward": {}}


def test_training_writes_answers_as_people_read_them_until_it_is_told_otherwise(as_user: Browser, engine: Engine) -> None:
    browser = as_user("Grace")
    words = form_of(browser.get(SETTINGS).text) | {"sampling.max_new_tokens": "200", "sampling.temperature": "0.9"}
    assert browser.post(SETTINGS, data=words).status_code == 303
    words = form_of(browser.get(SETTINGS).text)
    assert (words["training.ppo.max_new_tokens"], words["training.ppo.temperature"]) == ("200", "0.9")
    with read_session(engine) as session:
        assert get_project(session, "demo").training == {}


def test_what_counts_is_a_number_beside_each_criterion(as_user: Browser, engine: Engine) -> None:
    browser = as_user("Grace")
    words = form_of(browser.get(SETTINGS).text)
    weights = "training.reward.criteria_weights"
    assert {name.removeprefix(f"{weights}."): text for name, text in words.items() if name.startswith(weights)} == {
        "overall": "1",
        "fluency": "0",
        "accuracy": "0",
    }
    assert browser.post(SETTINGS, data=words | {f"{weights}.accuracy": "0.5"}).status_code == 303
    with read_session(engine) as session:
        assert get_project(session, "demo").training["reward"] == {"criteria_weights": "overall=1, accuracy=0.5"}
    zero = {f"{weights}.{key}": "0" for key in ("overall", "fluency", "accuracy")}
    refused = browser.post(SETTINGS, data=form_of(browser.get(SETTINGS).text) | zero)
    assert "What the model is rewarded for: At least one weight must be more than 0." in html.unescape(refused.text)


def test_rewards_outside_of_the_model_are_no_field_where_nobody_offers_one(as_user: Browser) -> None:
    page = as_user("Grace").get(SETTINGS).text
    assert "Rewards outside of the model" not in page
    assert not [name for name in form_of(page) if name.startswith("training.ppo.outside")]


@pytest.mark.usefixtures("package", "address")
def test_each_reward_that_is_offered_has_a_weight(as_user: Browser, engine: Engine) -> None:
    browser = as_user("Grace")
    outside = "training.ppo.outside"
    page = browser.get(SETTINGS).text
    words = form_of(page)
    assert {name.removeprefix(f"{outside}."): text for name, text in words.items() if name.startswith(outside)} == dict.fromkeys(
        (*NAMES, "gone", "tone"), "0"
    )
    assert "s3cret" not in page
    assert "tone.example.org" not in page
    assert browser.post(SETTINGS, data=words | {f"{outside}.tone": "0.5", f"{outside}.even": "2"}).status_code == 303
    with read_session(engine) as session:
        assert get_project(session, "demo").training["ppo"] == {"outside": "even=2, tone=0.5"}
    words = form_of(browser.get(SETTINGS).text)
    refused = html.unescape(browser.post(SETTINGS, data=words | {f"{outside}.tone": "11"}).text)
    assert "tone: This must be a number from 0 to 10." in refused
    assert browser.post(SETTINGS, data=words | {f"{outside}.tone": "0", f"{outside}.even": ""}).status_code == 303
    with read_session(engine) as session:
        assert get_project(session, "demo").training["ppo"] == {}


def test_a_reward_that_is_offered_no_more_can_be_put_to_0(as_user: Browser, engine: Engine) -> None:
    browser = as_user("Grace")
    with write_session(engine) as session:
        get_project(session, "demo").training = {"ppo": {"outside": "tone=1"}}
    words = form_of(browser.get(SETTINGS).text)
    assert words["training.ppo.outside.tone"] == "1"
    refused = html.unescape(browser.post(SETTINGS, data=words | {"training.ppo.updates": "3"}).text)
    assert "Rewards outside of the model: Nobody offers a reward called tone here." in refused
    assert browser.post(SETTINGS, data=words | {"training.ppo.outside.tone": "0"}).status_code == 303
    assert "Rewards outside of the model" not in browser.get(SETTINGS).text


def test_the_base_model_is_no_field_once_there_are_answers(as_user: Browser, engine: Engine) -> None:
    browser = as_user("owner")
    assert 'name="base_model"' in browser.get(SETTINGS).text
    assert 'name="base_model"' not in as_user("Grace").get(SETTINGS).text, "only the owner chooses it"
    with write_session(engine) as session:
        factories.make_run(session, get_project(session, "demo").id, state="running")
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
