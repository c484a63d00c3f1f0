"""Keeping the catalogues in `locales/` complete: `python -m app.language.catalogues` finds what is said and merges it into each.

Sentences are found in Python (`_`, `ngettext`, `N_`), in templates (`{% trans %}`, `_`), in the help of the training settings
and in the table of messages; what scripts say stands in attributes of the page. A new sentence is left without a translation,
and a test fails until somebody writes one: the words of an old sentence are never guessed into a new one.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from app.language.languages import LANGUAGES, LOCALES, SOURCE
from trainer.contract.config import CONFIGS
from trainer.contract.sentences import SENTENCES
from trainer.contract.setting import GROUPS, SHARE, settings_of

ROOT: Final = LOCALES.parent
KEYWORDS: Final = {"_": None, "gettext": None, "N_": None, "ngettext": (1, 2), "N_plural": (1, 2)}
TEMPLATES: Final = {"trimmed": "true", "trim_blocks": "true", "lstrip_blocks": "true", "silent": "false"}
METHODS: Final = (("app", "**.py", "python"), ("templates", "**.html", "jinja2"))

Text = str | tuple[str, ...]  # a sentence, or its singular and plural


def said() -> dict[Text, list[str]]:
    """Every sentence of the source, with the files that say it."""
    files: dict[Text, dict[str, None]] = defaultdict(dict)
    for folder, pattern, method in METHODS:
        found = extract_from_dir(ROOT / folder, [(pattern, method)], {pattern: TEMPLATES}, keywords=KEYWORDS)
        for file, _line, text, _comments, _context in found:
            files[text][f"{folder}/{Path(file).as_posix()}"] = None
    for text in _settings():
        files[text]["trainer/contract/setting.py"] = None
    for text in SENTENCES.values():
        files[text]["trainer/contract/sentences.py"] = None
    return {text: list(places) for text, places in files.items()}


def _settings() -> Iterator[str]:
    """What a person reads on and beside a training setting."""
    yield from GROUPS.values()
    for config in CONFIGS.values():
        for one in settings_of(config).values():
            unit = [one.unit] if one.unit not in ("", SHARE) else []
            yield from (one.label, one.help, *unit, *one.choices.values())


def catalogue(language: str) -> Catalog:
    """The catalogue of that language as it lies in `locales/`; an empty one where there is none."""
    path = LOCALES / f"{language}.po"
    if not path.exists():
        return Catalog(locale=language.replace("-", "_"), fuzzy=False)
    with path.open("rb") as file:
        return read_po(file, locale=language.replace("-", "_"), abort_invalid=True)


def merged(language: str) -> Catalog:
    """That catalogue with exactly the sentences of the source, in the order of its files, keeping what is translated."""
    old = catalogue(language)
    new = Catalog(
        locale=old.locale,
        header_comment=old.header_comment,
        project="Tastemaker",
        version="1",
        msgid_bugs_address="",
        last_translator=old.last_translator,
        language_team=old.language_team,
        creation_date=old.creation_date,
        revision_date=old.revision_date,
        fuzzy=False,
    )
    for text, files in said().items():
        known = old.get(text if isinstance(text, str) else text[0])
        kept = known is not None and known.id == text
        new.add(
            text,
            known.string if known and kept else None,
            [(file, 0) for file in files],
            user_comments=known.user_comments if known and kept else (),
        )
    return new


def written(catalog: Catalog) -> bytes:
    """The catalogue as a file: no line numbers and no dates, so that a change shows only what changed."""
    file = io.BytesIO()
    write_po(file, catalog, width=130, include_lineno=False)
    return file.getvalue()


def main() -> None:
    LOCALES.mkdir(exist_ok=True)
    for language in LANGUAGES:
        if language != SOURCE:
            fresh = merged(language)
            (LOCALES / f"{language}.po").write_bytes(written(fresh))
            missing = sum(1 for message in fresh if message.id and not all(_forms(message.string)))
            print(f"{language}: {len(fresh)} sentences, {missing} without a translation")


def _forms(string: object) -> tuple[object, ...]:
    return string if isinstance(string, tuple) else (string,)


if __name__ == "__main__":
    main()
