"""The style guide shows what there is: every token of the sheet, every macro of the components."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from app.web.pages import STATIC, TEMPLATES
from app.web.styleguide import tokens

AsUser = Callable[[str], TestClient]
COMPONENTS = sorted(path.name for path in (TEMPLATES / "components").glob("[!_]*.html"))


@pytest.mark.parametrize("name", COMPONENTS)
def test_every_component_is_shown(name: str) -> None:
    guide = (TEMPLATES / "styleguide.html").read_text("utf-8")
    macros = re.findall(r"{% macro ([a-z]\w*)\(", (TEMPLATES / "components" / name).read_text("utf-8"))
    shown = [macro for macro in macros if re.search(rf"{{[{{%] *(call )?{macro}\(|\b{macro}\(", guide.partition("block main")[2])]
    assert macros
    assert shown == macros


def test_every_colour_of_the_sheet_has_a_swatch(as_user: AsUser) -> None:
    page = as_user("owner").get("/styleguide").text
    sheet = (STATIC / "css" / "tokens.css").read_text("utf-8")
    colours = re.findall(r"--([a-z0-9-]+): (?:light-dark|var)\(", sheet)
    assert len(colours) > 30
    assert [name for name in colours if f'fill="var(--{name})"' not in page] == []


def test_a_token_says_both_themes_and_its_size() -> None:
    accent = next(token for token in tokens()["raw"] if token.name == "accent-600")
    assert (accent.light, accent.dark) == ("#27548a", "#8db6e6")
    assert {token.name: token.px for token in tokens()["spaces"]}["space-2"] == 16
    assert {token.name: token.px for token in tokens()["sizes"]}["size-reading"] == 17


def test_admins_and_the_owner_see_it(as_user: AsUser) -> None:
    assert [as_user(who).get("/styleguide").status_code for who in ("owner", "Grace", "Eve", "Alan", "Mary")] == [
        *(200, 200, 200),
        *(403, 403),
    ]
