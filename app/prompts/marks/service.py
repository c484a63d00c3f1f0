"""Giving many prompts a language, tags and skills, or taking them away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, select

from app.assignment.audiences import MOST_SKILLS, MOST_TAGS, audience, checked_language, checked_skills, checked_tags
from app.assignment.people import forget_audiences, note_audiences
from app.database import audit
from app.database.engine import read_session, write_session
from app.database.slices import ASKED_AT_ONCE, Slices
from app.database.taking_turns import hold
from app.errors import Invalid
from app.language.languages import _
from app.models import Project, Prompt
from app.models.values import Unusable
from app.projects.service import hold_open
from app.prompts.search import PromptFilter, conditions


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of each; checked by `change_of`."""

    language: str | None = None  # an empty one takes it away; none leaves it
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()
    add_skills: tuple[str, ...] = ()
    remove_skills: tuple[str, ...] = ()

    def language_of(self, prompt: Prompt) -> str | None:
        return prompt.language if self.language is None else self.language or None

    def tags_of(self, prompt: Prompt) -> list[str]:
        return sorted({*prompt.tags, *self.add_tags} - {*self.remove_tags})

    def skills_of(self, prompt: Prompt) -> list[str]:
        return sorted({*prompt.skills, *self.add_skills} - {*self.remove_skills})


def change_of(given: dict[str, Any]) -> Change:
    """Raises Invalid with a sentence per field, and where there is nothing to do."""
    checks = {"language": _language, "add_tags": checked_tags, "remove_tags": checked_tags}
    checks |= {"add_skills": checked_skills, "remove_skills": checked_skills}
    clean: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, check in checks.items():
        if given.get(name) is None:
            continue
        try:
            found = check(given[name])
        except Unusable as problem:
            problems[name] = str(problem)
        else:
            clean[name] = found if isinstance(found, str) else tuple(found)
    if problems:
        raise Invalid(_("This cannot be used. Nothing was changed."), problems)
    if not any(value or name == "language" for name, value in clean.items()):
        raise Invalid(_("Say what is to change: a language, or tags or skills to add or to take away."))
    return Change(**clean)


def _language(value: Any) -> str:
    return checked_language(value) if value != "" else ""


def mark(engine: Engine, project_id: int, chosen: Sequence[int] | PromptFilter, change: Change, by: int | None) -> int:
    """Change these prompts, or all that fit a filter, in slices; how many changed. What ends in between is gone on with by doing
    it again. Raises Invalid where one of them would have more than a prompt may have: those before it are changed.
    """
    ids = _ids(engine, project_id, chosen)
    slices, changed = Slices(engine), 0
    for some in slices.of(ids):
        with slices.write() as session:
            project = hold_open(session, project_id)
            these = session.scalars(select(Prompt).where(Prompt.project_id == project_id, Prompt.id.in_(some)))
            changes = list(_changes(these, change))
            note_audiences(session, project, {word for _prompt, values in changes if (word := values["audience"]) is not None})
            for prompt, values in changes:
                for name, value in values.items():
                    setattr(prompt, name, value)
            if changes and not changed:
                audit.record(session, by, "prompts.marked", f"{len(ids)} prompts", {"prompts": len(ids)}, project_id)
            changed += len(changes)
    if changed:
        with write_session(engine) as session:
            forget_audiences(session, hold(session, session.get_one(Project, project_id)))
    return changed


def _ids(engine: Engine, project_id: int, chosen: Sequence[int] | PromptFilter) -> list[int]:
    if isinstance(chosen, PromptFilter):
        narrowed: list[list[Any]] = [conditions(project_id, chosen)]
    else:
        narrowed = [[Prompt.id.in_(chosen[at : at + ASKED_AT_ONCE])] for at in range(0, len(chosen), ASKED_AT_ONCE)]
    with read_session(engine) as session:
        mine = select(Prompt.id).where(Prompt.project_id == project_id).order_by(Prompt.id)
        return [found for one in narrowed for found in session.scalars(mine.where(*one))]


def _changes(prompts: Any, change: Change) -> Iterator[tuple[Prompt, dict[str, Any]]]:
    for prompt in prompts:
        language, tags, skills = change.language_of(prompt), change.tags_of(prompt), change.skills_of(prompt)
        if len(tags) > MOST_TAGS or len(skills) > MOST_SKILLS:
            raise Invalid(
                _(
                    "Prompt %(number)s would have more than %(tags)s tags or %(skills)s skills.",
                    number=prompt.id,
                    tags=MOST_TAGS,
                    skills=MOST_SKILLS,
                )
            )
        if (language, tags, skills) != (prompt.language, list(prompt.tags), list(prompt.skills)):
            yield prompt, {"language": language, "tags": tags, "skills": skills, "audience": audience(language, skills)}
