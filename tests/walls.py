"""The walls between the rooms (docs/architecture.md), each shown to fall when it is breached.

Imports are read from the source, wherever in a file they stand, so that one hidden inside a function counts too.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MACHINERY = (
    "web",
    "database",
    "language",
    "texts",
    "models",
)  # what every room stands on; the rooms of the product are the others

# Of the web: what speaks HTTP or draws pages. In a room these are its routes, its API and the shapes of their forms.
WEB_PACKAGES = ("fastapi", "starlette", "jinja2", "uvicorn")
WEB_MODULES = (
    "app.web.pages",
    "app.main",
    "app.web.gate",
    "app.web.error_replies",
    "app.web.headers",
    "app.web.origin",
    "app.serve",
)
EDGES = ("routes", "api", "forms", "bodies", "dependencies")
DOORS = ("routes", "api", "cli")  # of a room: what nobody but app/main.py and app/cli.py may open

# The web process is one of them; the other is allowed everything in the app that is no web.
TRAINER_PLACES_THAT_KNOW_THE_APP = ("trainer/worker/",)

START_CPU_S = 3.0  # of `import app.main`, on a machine that also runs other tests; bench/RESULTS.md says what an idle one takes
START_MODULES = 1000  # which do not depend on the machine


@dataclass(frozen=True)
class Import:
    """One import: the importing file, the dotted module (and name) it takes, and the line."""

    path: Path
    module: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.module}"


def imports_of(root: Path, *folders: str) -> Iterator[Import]:
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            short = path.relative_to(root)
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Import):
                    for alias in node.names:
                        yield Import(short, alias.name, node.lineno)
                elif isinstance(node, ast.ImportFrom):
                    base = _absolute(node, short)
                    for alias in node.names:
                        yield Import(short, f"{base}.{alias.name}", node.lineno)


def _absolute(node: ast.ImportFrom, path: Path) -> str:
    package = list(path.parent.parts)[: len(path.parent.parts) - node.level + 1] if node.level else []
    return ".".join([*package, *([node.module] if node.module else [])])


def inside(module: str, *names: str) -> bool:
    return any(module == name or module.startswith(name + ".") for name in names)


def room_of(path: Path) -> str | None:
    return path.parts[1] if path.parts[0] == "app" and len(path.parts) > 2 and path.parts[1] not in MACHINERY else None


def is_edge(name: str) -> bool:
    """Whether a file of a room (by its name without .py) belongs to its web side: routes.py, label_routes.py, api.py, ..."""
    return name in EDGES or any(name.endswith("_" + edge) for edge in EDGES)


# Wall 1: routes and api -> service -> models, database


def services_that_know_the_web(root: Path) -> list[str]:
    found = []
    for one in imports_of(root, "app"):
        if room_of(one.path) is None or is_edge(one.path.stem):
            continue
        if inside(one.module, *WEB_PACKAGES, *WEB_MODULES):
            found.append(str(one))
    return found


def services_that_know_status_numbers(root: Path) -> list[str]:
    """A service raises a refusal by name; its number is in app/errors.py."""
    found = []
    for path in sorted((root / "app").rglob("*.py")):
        short = path.relative_to(root)
        if room_of(short) is None or is_edge(short.stem):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [node.arg] if isinstance(node, ast.keyword) else []
            if "status_code" in names:
                found.append(f"{short}:{getattr(node, 'lineno', 0)} sets a status code")
    return found


# Wall 2: a room may call another room's service, never its routes; no circle of modules and no circle of rooms


def rooms_that_enter_by_the_window(root: Path) -> list[str]:
    """Another room's pages and calls are nobody's but its own; its forms and bodies are for the web side of rooms alone."""
    found = []
    for one in imports_of(root, "app"):
        parts = one.module.split(".")
        theirs = parts[1] if len(parts) > 2 and parts[0] == "app" and parts[1] not in MACHINERY else None
        mine = room_of(one.path)
        if not mine or not theirs or theirs == mine:
            continue
        if _is_door(parts[2]) or (is_edge(parts[2]) and not is_edge(one.path.stem)):
            found.append(str(one))
    return found


def _is_door(name: str) -> bool:
    return name in DOORS or any(name.endswith("_" + door) for door in DOORS)


def circles(root: Path) -> list[str]:
    """Circles between modules: two files that need each other have no order in which to be read."""
    modules = {_module(path.relative_to(root)) for folder in ("app", "trainer") for path in (root / folder).rglob("*.py")}
    graph: dict[str, set[str]] = {module: set() for module in modules}
    for one, target in _edges(root, modules):
        graph[_module(one.path)].add(target)
    return [" -> ".join(circle) for circle in _circles_in(graph)]


def circles_of_rooms(root: Path) -> list[str]:
    """Circles between rooms, and between a room and a door: what stands on what is one order for the whole house."""
    modules = {_module(path.relative_to(root)) for folder in ("app", "trainer") for path in (root / folder).rglob("*.py")}
    graph: dict[str, set[str]] = {_room(module): set() for module in modules}
    for one, target in _edges(root, modules):
        if _room(target) != _room(_module(one.path)):
            graph[_room(_module(one.path))].add(_room(target))
    return [" -> ".join(circle) for circle in _circles_in(graph)]


def _edges(root: Path, modules: set[str]) -> Iterator[tuple[Import, str]]:
    for one in imports_of(root, "app", "trainer"):
        target = one.module if one.module in modules else one.module.rpartition(".")[0]
        if target in modules and target != _module(one.path):
            yield one, target


def _room(module: str) -> str:
    """app.labels.record -> app.labels; a door is a room of its own."""
    return ".".join(module.split(".")[:2])


def _module(path: Path) -> str:
    parts = list(path.with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _circles_in(graph: dict[str, set[str]]) -> list[list[str]]:
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> None:
        if module in trail:
            found.append([*trail[trail.index(module) :], module])
            return
        if module in done:
            return
        for target in sorted(graph[module]):
            visit(target, [*trail, module])
        done.add(module)

    for module in sorted(graph):
        visit(module, [])
    return found


# Walls 3 and 4: between the app and the trainer


def app_files_that_know_the_trainer(root: Path) -> list[str]:
    return [
        str(one)
        for one in imports_of(root, "app")
        if inside(one.module, "trainer") and not inside(one.module, "trainer.contract")
    ]


def app_files_that_compute(root: Path) -> list[str]:
    return [str(one) for one in imports_of(root, "app") if inside(one.module, "torch", "transformers", "peft", "safetensors")]


def trainer_files_that_know_the_app(root: Path) -> list[str]:
    return [
        str(one)
        for one in imports_of(root, "trainer")
        if inside(one.module, "app", "sqlalchemy") and not one.path.as_posix().startswith(TRAINER_PLACES_THAT_KNOW_THE_APP)
    ]


# Wall 5: inside the trainer

MAY_KNOW: dict[str, frozenset[str]] = {
    "contract": frozenset(),
    "files": frozenset({"contract"}),
    "lm": frozenset({"contract", "files"}),
    "reward": frozenset({"contract", "files", "lm"}),
    "ppo": frozenset({"contract", "files", "lm"}),  # a reward by one protocol; trainer/__main__.py hands it one
    "sft": frozenset({"contract", "files", "lm"}),
    "sample": frozenset({"contract", "files", "lm", "reward"}),
    "export": frozenset({"contract", "files", "lm", "reward"}),
    "worker": frozenset({"contract"}),
}


def trainer_rooms_that_know_too_much(root: Path) -> list[str]:
    """A room of the trainer knows the rooms it stands on and no other; a room without a line in the table may know none."""
    found = []
    for one in imports_of(root, "trainer"):
        theirs = one.module.split(".")[1] if inside(one.module, "trainer") and "." in one.module else None
        mine = one.path.parts[1] if len(one.path.parts) > 2 else None
        if mine and theirs and theirs != mine and theirs not in MAY_KNOW.get(mine, ()):
            found.append(str(one))
    return found


def rewards_that_ppo_tells_apart(root: Path) -> list[str]:
    """PPO knows a reward by one protocol, so it never asks of what class a thing is."""
    return [
        f"{path.relative_to(root)}:{node.lineno} asks for a class"
        for path in sorted((root / "trainer" / "ppo").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Name) and node.id in ("isinstance", "issubclass")
    ]


# Wall 6: templates receive values; they never query


def templates_that_reach_out(root: Path) -> list[str]:
    """A template calls nothing that could query, and is never told to trust what it shows."""
    found = []
    for path in sorted((root / "templates").rglob("*.html")):
        text = path.read_text("utf-8")
        for pattern, what in (
            (r"\b(session|engine|db|connection)\s*\.\s*(execute|scalar|scalars|get|query|connect)\b", "queries"),
            (r"request\.(app|state|scope)\b", "reaches into the application"),
            (r"\|\s*safe\b", "trusts a value"),
            (r"<script(?![^>]*\bsrc=)[^>]*>|\sstyle=|\son[a-z]+=", "holds a script or style"),
        ):
            if re.search(pattern, text):
                found.append(f"{path.relative_to(root)} {what}")
    return found


# Wall 7: every module has its row in docs/architecture.md, and its mirror in tests/ or a stated reason

MOST_MODULES = 14  # in one folder, so that a look at it tells what is there

# Modules whose work is seen only through another's, and the file of tests/ that looks at it there.
TESTED_ELSEWHERE = {
    "app/accounts/api.py": "app/accounts/test_keys.py",
    "app/accounts/forms.py": "app/accounts/test_sign_in.py",
    "app/accounts/language_routes.py": "app/language/test_languages.py",
    "app/accounts/people_api.py": "app/accounts/test_people.py",
    "app/accounts/people_routes.py": "app/accounts/test_people.py",
    "app/audit/api.py": "app/audit/test_routes.py",
    "app/audit/sentences.py": "app/audit/test_routes.py",
    "app/accounts/routes.py": "app/accounts/test_sign_in.py",
    "app/accounts/service.py": "app/accounts/test_sign_in.py",
    "app/accounts/throttle.py": "app/accounts/test_sign_in.py",
    "app/cli.py": "app/test_start.py",
    "app/database/audit.py": "app/accounts/test_people.py",
    "app/errors.py": "app/web/test_hostile.py",
    "app/exports/rows.py": "app/exports/test_service.py",
    "app/guidelines/api.py": "app/guidelines/test_service.py",
    "app/guidelines/routes.py": "app/guidelines/test_service.py",
    "app/labels/bodies.py": "app/labels/test_api.py",
    "app/labels/history_routes.py": "app/labels/test_routes.py",
    "app/language/catalogues.py": "app/language/test_translations.py",
    "app/language/run_messages.py": "app/language/test_translations.py",
    "app/main.py": "app/web/test_permissions.py",
    "app/models/base.py": "app/database/test_upgrade.py",
    "app/models/people.py": "app/database/test_upgrade.py",
    "app/models/practice.py": "app/database/test_upgrade.py",
    "app/models/projects.py": "app/database/test_upgrade.py",
    "app/models/rounds.py": "app/database/test_upgrade.py",
    "app/models/tasks.py": "app/database/test_upgrade.py",
    "app/models/criteria.py": "app/projects/test_question_routes.py",
    "app/models/values.py": "app/projects/test_service.py",
    "app/overview/my_work_api.py": "app/overview/test_my_work.py",
    "app/overview/my_work_routes.py": "app/overview/test_my_work.py",
    "app/overview/routes.py": "app/overview/test_service.py",
    "app/practice/api.py": "app/practice/test_service.py",
    "app/practice/routes.py": "app/practice/test_service.py",
    "app/practice/settings_routes.py": "app/practice/test_service.py",
    "app/practice/authoring_routes.py": "app/practice/test_authoring.py",
    "app/projects/checks.py": "app/projects/test_service.py",
    "app/projects/forms.py": "app/projects/test_routes.py",
    "app/projects/question_forms.py": "app/projects/test_question_routes.py",
    "app/queue/api.py": "app/labels/test_api.py",
    "app/queue/bodies.py": "app/labels/test_api.py",
    "app/queue/dependencies.py": "app/labels/test_api.py",
    "app/queue/lease.py": "app/queue/test_claim.py",
    "app/removal/api.py": "app/removal/test_deletion.py",
    "app/removal/bodies.py": "app/removal/test_deletion.py",
    "app/removal/routes.py": "app/removal/test_deletion.py",
    "app/rounds/bodies.py": "app/rounds/test_api.py",
    "app/rounds/round_story.py": "app/rounds/test_routes.py",
    "app/rounds/sft_routes.py": "app/rounds/test_routes.py",
    "app/rounds/triggers.py": "app/rounds/test_service.py",
    "app/runs/api.py": "app/rounds/test_api.py",
    "app/runs/bodies.py": "app/rounds/test_api.py",
    "app/runs/checkpoints.py": "app/rounds/test_service.py",
    "app/runs/routes.py": "app/rounds/test_routes.py",
    "app/runs/run_files.py": "app/rounds/test_api.py",
    "app/runs/runs.py": "app/rounds/test_service.py",
    "app/runs/usable_labels.py": "app/rounds/test_service.py",
    "app/serve.py": "app/test_start.py",
    "app/shipped.py": "test_wheel.py",
    "app/settings.py": "app/test_start.py",
    "app/texts/highlighting.py": "app/texts/test_safe_html.py",
    "app/web/error_replies.py": "app/web/test_hostile.py",
    "app/web/field_errors.py": "app/language/test_translations.py",
    "app/web/forms.py": "app/projects/test_routes.py",
    "app/web/gate.py": "app/web/test_permissions.py",
    "app/web/health.py": "app/test_start.py",
    "app/web/json_types.py": "app/web/test_hostile.py",
    "app/web/last_used.py": "app/web/test_security.py",
    "app/web/origin.py": "app/web/test_hostile.py",
    "trainer/lm/decoders/decoder.py": "trainer/lm/decoders/test_ways.py",
    "trainer/lm/decoders/fused.py": "trainer/lm/test_generate.py",
    "trainer/lm/decoders/own_forward.py": "trainer/lm/decoders/test_ways.py",
    "trainer/lm/decoders/make_decoder.py": "trainer/lm/test_generate.py",
    "trainer/lm/recorded_states.py": "trainer/lm/test_generate.py",
    "trainer/ppo/evaluate_rollout.py": "trainer/ppo/test_updates.py",
    "trainer/ppo/report.py": "trainer/ppo/test_updates.py",
    "trainer/ppo/reward.py": "trainer/ppo/test_updates.py",
    "trainer/ppo/rollout.py": "trainer/ppo/test_updates.py",
    "trainer/ppo/safe_state.py": "trainer/ppo/test_updates.py",
    "trainer/ppo/learner.py": "trainer/ppo/test_run.py",
    "trainer/reward/head/fitting.py": "trainer/reward/head/test_model.py",
    "trainer/reward/head/label_rows.py": "trainer/reward/head/test_model.py",
    "trainer/reward/head/posterior.py": "trainer/reward/head/test_model.py",
    "trainer/reward/head/prior_scales.py": "trainer/reward/head/test_model.py",
    "trainer/reward/head_files.py": "trainer/reward/test_scorer.py",
    "trainer/reward/save.py": "trainer/reward/test_run.py",
    "trainer/export/distil.py": "trainer/export/test_run.py",
    "trainer/files/tensorboard.py": "trainer/files/test_metrics.py",
    "trainer/contract/ppo_config.py": "trainer/contract/test_config.py",
    "trainer/contract/reward_config.py": "trainer/contract/test_config.py",
    "trainer/contract/sample_config.py": "trainer/contract/test_config.py",
    "trainer/contract/setting.py": "trainer/contract/test_config.py",
    "trainer/contract/sft_config.py": "trainer/contract/test_config.py",
}


def modules_without_a_row(root: Path) -> list[str]:
    page = (root / "docs" / "architecture.md").read_text("utf-8") if (root / "docs" / "architecture.md").exists() else ""
    rows = {heading: set(re.findall(r"^\| `([\w.]+)`", text, re.M)) for heading, text in _sections(page)}
    return [
        f"{path} has no row in docs/architecture.md"
        for path in _modules(root)
        if path.name not in rows.get(path.parent.as_posix() + "/", ())
    ]


def rows_without_a_module(root: Path) -> list[str]:
    page = (root / "docs" / "architecture.md").read_text("utf-8") if (root / "docs" / "architecture.md").exists() else ""
    return [
        f"docs/architecture.md tells of {heading}{name}, which is not there"
        for heading, text in _sections(page)
        for name in re.findall(r"^\| `([\w.]+\.py)`", text, re.M)
        if not (root / heading / name).is_file()
    ]


def _sections(page: str) -> Iterator[tuple[str, str]]:
    """(folder, text) of each section about a folder."""
    parts = re.split(r"^### `([\w/]+/)`.*$", page, flags=re.M)
    yield from zip(parts[1::2], (part.split("\n## ")[0] for part in parts[2::2]), strict=True)


def _modules(root: Path) -> list[Path]:
    """Every module but the `__init__.py` of rooms, which are the rooms' own descriptions."""
    found = [path for folder in ("app", "trainer") for path in sorted((root / folder).rglob("*.py"))]
    return [path.relative_to(root) for path in found if path.name != "__init__.py"]


def modules_without_a_mirror(root: Path) -> list[str]:
    found = []
    for path in _modules(root):
        mirror = Path("tests") / path.parent / f"test_{path.stem.strip('_')}.py"
        elsewhere = TESTED_ELSEWHERE.get(path.as_posix())
        if not (root / mirror).is_file() and not (elsewhere and (root / "tests" / elsewhere).is_file()):
            found.append(f"{path} has neither {mirror} nor a file named in TESTED_ELSEWHERE")
    return found


def crowded_rooms(root: Path) -> list[str]:
    counts: dict[str, int] = {}
    for path in _modules(root):
        counts[path.parent.as_posix()] = counts.get(path.parent.as_posix(), 0) + 1
    return [f"{folder} holds {count} modules" for folder, count in counts.items() if count > MOST_MODULES]


def rooms_without_a_word(root: Path) -> list[str]:
    """A room says what it owns and what it refuses to know, in the docstring of its `__init__.py`."""
    found = []
    for folder in sorted({path.parent for path in _modules(root)}):
        init = root / folder / "__init__.py"
        if not init.exists() or len((ast.get_docstring(ast.parse(init.read_text("utf-8"))) or "").split("\n\n")) < 2:
            found.append(f"{folder}/__init__.py does not say what the room owns and what it refuses to know")
    return found


# Patterns that are never used


def dangerous_calls(root: Path) -> list[str]:
    found = []
    for folder in ("app", "trainer"):
        for path in sorted((root / folder).rglob("*.py")):
            text = path.read_text("utf-8")
            for pattern in (
                r"\bimport pickle\b",
                r"\btorch\.load\(",
                r"trust_remote_code\s*=\s*True",
                r"\btext\(\s*f[\"']",
                r"\beval\(",
            ):
                found += [
                    f"{path.relative_to(root)}: {hit.group()}" for hit in re.finditer(pattern, text) if hit.group() != "eval("
                ]
    for path in sorted((root / "static").rglob("*.js")):
        for pattern in (r"\.innerHTML\b", r"\.outerHTML\b", r"insertAdjacentHTML", r"document\.write", r"\beval\("):
            found += [f"{path.relative_to(root)}: {hit.group()}" for hit in re.finditer(pattern, path.read_text("utf-8"))]
    return found


def writers_of_the_audit_trail(root: Path) -> list[str]:
    """Only app/database/audit.py touches the table, and it only adds."""
    return [
        str(one)
        for one in imports_of(root, "app", "trainer")
        if one.module == "app.models.AuditEntry" and one.path.as_posix() != "app/database/audit.py"
    ]


WALLS = [
    services_that_know_the_web,
    services_that_know_status_numbers,
    rooms_that_enter_by_the_window,
    circles,
    circles_of_rooms,
    app_files_that_know_the_trainer,
    app_files_that_compute,
    trainer_files_that_know_the_app,
    trainer_rooms_that_know_too_much,
    rewards_that_ppo_tells_apart,
    templates_that_reach_out,
    modules_without_a_row,
    rows_without_a_module,
    modules_without_a_mirror,
    crowded_rooms,
    rooms_without_a_word,
    dangerous_calls,
    writers_of_the_audit_trail,
]


@pytest.mark.parametrize("wall", WALLS, ids=lambda wall: wall.__name__)
def test_the_wall_stands(wall) -> None:  # type: ignore[no-untyped-def]
    assert wall(ROOT) == []


# Each wall falls when it is breached

BREACHES = [
    (services_that_know_the_web, {"app/prompts/service.py": "from fastapi import Request\n"}),
    (services_that_know_the_web, {"app/prompts/claim.py": "def late():\n    import starlette.responses\n"}),
    (services_that_know_the_web, {"app/prompts/service.py": "from app.web.pages import render\n"}),
    (services_that_know_the_web, {"app/prompts/service.py": "from ..web.pages import render\n"}),
    (services_that_know_status_numbers, {"app/prompts/service.py": "answer(status_code=404)\n"}),
    (rooms_that_enter_by_the_window, {"app/prompts/service.py": "from app.labels.routes import router\n"}),
    (rooms_that_enter_by_the_window, {"app/prompts/routes.py": "from app.labels.api import submit\n"}),
    (
        circles,
        {
            "app/prompts/service.py": "from app.labels import history\n",
            "app/labels/history.py": "import app.prompts.service\n",
        },
    ),
    (app_files_that_know_the_trainer, {"app/rounds/service.py": "from trainer.ppo.run import train\n"}),
    (app_files_that_know_the_trainer, {"app/rounds/service.py": "import trainer\n"}),
    (app_files_that_compute, {"app/rounds/service.py": "def late():\n    import torch.nn\n"}),
    (trainer_files_that_know_the_app, {"trainer/ppo/run.py": "from app.models import Run\n"}),
    (trainer_files_that_know_the_app, {"trainer/reward/run.py": "def late():\n    from app import db\n"}),
    (rooms_that_enter_by_the_window, {"app/prompts/service.py": "from app.labels.bodies import LabelIn\n"}),
    (rooms_that_enter_by_the_window, {"app/prompts/service.py": "from app.exports import cli\n"}),
    (
        circles,
        {
            "trainer/lm/decoders/make_decoder.py": "from trainer.lm import forward\n",
            "trainer/lm/forward.py": "def late():\n    import trainer.lm.decoders.make_decoder\n",
        },
    ),
    (
        circles_of_rooms,
        {
            "app/prompts/service.py": "from app.labels import history\n",
            "app/labels/history.py": "",
            "app/labels/record.py": "import app.prompts.other\n",
            "app/prompts/other.py": "",
        },
    ),
    (trainer_rooms_that_know_too_much, {"trainer/lm/decoders/make_decoder.py": "from trainer.reward.scorer import Scorer\n"}),
    (trainer_rooms_that_know_too_much, {"trainer/contract/config.py": "def late():\n    import trainer.files.metrics\n"}),
    (trainer_rooms_that_know_too_much, {"trainer/reward/run.py": "from trainer.ppo import losses\n"}),
    (trainer_rooms_that_know_too_much, {"trainer/attic/old.py": "from trainer.lm import forward\n"}),
    (modules_without_a_row, {"app/prompts/new.py": ""}),
    (
        modules_without_a_row,
        {"docs/architecture.md": "### `app/x/`\n\n| `new.py` | says |\n", "app/x/new.py": "", "app/y/new.py": ""},
    ),
    (rows_without_a_module, {"docs/architecture.md": "### `app/x/`\n\n| `gone.py` | says |\n"}),
    (modules_without_a_mirror, {"app/prompts/new.py": "", "tests/app/other/test_new.py": ""}),
    (modules_without_a_mirror, {"app/queue/lease.py": ""}),
    (crowded_rooms, {f"app/x/m{number}.py": "" for number in range(MOST_MODULES + 1)}),
    (rooms_without_a_word, {"app/x/__init__.py": '"""What it owns."""\n', "app/x/a.py": ""}),
    (
        trainer_rooms_that_know_too_much,
        {"trainer/ppo/run.py": "def late():\n    from trainer.reward.scorer import load_scorer\n"},
    ),
    (rewards_that_ppo_tells_apart, {"trainer/ppo/run.py": "if isinstance(reward, Rule):\n    pass\n"}),
    (templates_that_reach_out, {"templates/a.html": "{{ session.execute(query) }}"}),
    (templates_that_reach_out, {"templates/a.html": "{{ request.app.state.engine }}"}),
    (templates_that_reach_out, {"templates/a.html": "{{ text | safe }}"}),
    (templates_that_reach_out, {"templates/a.html": '<p style="color: red">'}),
    (templates_that_reach_out, {"templates/a.html": "<script>alert(1)</script>"}),
    (templates_that_reach_out, {"templates/a.html": '<button onclick="go()">'}),
    (dangerous_calls, {"trainer/files/checkpoint.py": "torch.load(path)\n"}),
    (dangerous_calls, {"app/x.py": "import pickle\n"}),
    (dangerous_calls, {"app/x.py": 'session.execute(text(f"SELECT {name}"))\n'}),
    (dangerous_calls, {"static/js/x.js": "element.innerHTML = text;\n"}),
    (writers_of_the_audit_trail, {"app/prompts/service.py": "from app.models import AuditEntry\n"}),
]


@pytest.mark.parametrize(
    ("wall", "files"), BREACHES, ids=lambda given: given.__name__ if callable(given) else " ".join(list(given)[:2])
)
def test_a_breach_is_seen(wall, files: dict[str, str], tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for folder in ("app", "trainer", "templates", "static"):
        (tmp_path / folder).mkdir()
    assert wall(tmp_path) == []
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert len(wall(tmp_path)) == 1


def test_what_is_allowed_is_not_called_a_breach(tmp_path: Path) -> None:
    allowed: dict[str, str] = {
        "app/prompts/routes.py": "from app.web.pages import render\nfrom app.queue import make_tasks\n",
        "app/prompts/service.py": "from app.database.engine import Session\nfrom app.queue.claim import claim_next\n",
        "app/queue/claim.py": "import sqlalchemy\n",
        "app/rounds/service.py": "from trainer.contract.config import PPOConfig\n",
        "trainer/worker/freeze.py": "from app.models import Run\n",
        "trainer/ppo/run.py": "import torch\nfrom trainer.lm import forward\nfrom trainer.ppo import learner\n",
        "trainer/__main__.py": "from trainer.reward.scorer import load_scorer\n",
        "tests/trainer/test_main.py": "",
        "templates/a.html": '<script type="module" src="x.js"></script>{{ row.name }}{{ session_count }}',
        "static/js/a.js": "element.textContent = text;\n",
    }
    for name in [path for path in allowed if path.endswith(".py")]:
        folder, file = name.rsplit("/", 1)
        allowed[f"tests/{folder}/test_{file}"] = ""
        allowed[f"{folder}/__init__.py"] = '"""What it owns.\n\nWhat it refuses to know.\n"""\n'
        row = f"### `{folder}/`\n\n| `{file}` | says |\n"
        page = allowed.get("docs/architecture.md", "")
        allowed["docs/architecture.md"] = page.replace(f"### `{folder}/`\n\n", row) if f"`{folder}/`" in page else page + row
    for name, text in allowed.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert {wall.__name__: wall(tmp_path) for wall in WALLS if wall(tmp_path)} == {}


# The web process starts light


def test_the_web_process_starts_quickly_without_torch_and_with_one_sqlite() -> None:
    """In subprocesses, because this one may have loaded anything. The best of three, because others use the processor, too."""
    heavy = "{'torch', 'transformers', 'peft', 'numpy', 'scipy', 'sqlite3', '_sqlite3', 'alembic'}"
    code = f"import sys, time; import app.main; print(len(sys.modules), time.process_time(), *sorted({heavy} & set(sys.modules)))"
    seconds = []
    for _ in range(3):
        told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        modules, cpu_s, *loaded = told.stdout.split()
        assert loaded == []
        assert int(modules) < START_MODULES
        seconds.append(float(cpu_s))
    assert min(seconds) < START_CPU_S


def test_the_check_for_heavy_modules_sees_them() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import sys, sqlite3; print('sqlite3' in sys.modules)"], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "True"
