"""What each wall must see when it is breached, and what none of them may call a breach: files by their path."""

from __future__ import annotations

from tests.house.circles import circles, circles_of_rooms, rooms_that_enter_by_the_window
from tests.house.layers import (
    app_files_that_compute,
    app_files_that_know_the_trainer,
    rewards_that_ppo_tells_apart,
    services_that_know_status_numbers,
    services_that_know_the_web,
    trainer_files_that_know_the_app,
    trainer_rooms_that_know_too_much,
)
from tests.house.mirrors import (
    MOST_MODULES,
    crowded_rooms,
    modules_told_of_that_are_not_there,
    modules_without_a_mirror,
    modules_without_a_row,
    rooms_without_a_word,
    rows_without_a_module,
)
from tests.house.patterns import dangerous_calls, devices_named_elsewhere, templates_that_reach_out, writers_of_the_audit_trail

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
    (modules_told_of_that_are_not_there, {"app/x/a.py": '"""As `gone.py` says."""\n'}),
    (modules_told_of_that_are_not_there, {"trainer/x/a.py": "x = 1  # see trainer/y/a.py\n"}),
    (modules_told_of_that_are_not_there, {"trainer/x/a.py": '"""What `trainer.y.Thing` does."""\n'}),
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
    (devices_named_elsewhere, {"trainer/lm/generate.py": 'mask = torch.zeros(3, device="cuda:0")\n'}),
    (devices_named_elsewhere, {"trainer/ppo/run.py": "def late():\n    return scores.cpu()\n"}),
    (writers_of_the_audit_trail, {"app/prompts/service.py": "from app.models import AuditEntry\n"}),
]

ALLOWED: dict[str, str] = {
    "app/prompts/routes.py": "from app.web.pages import render\nfrom app.queue import make_tasks\n",
    "app/prompts/service.py": "from app.database.engine import Session\nfrom app.queue.claim import claim_next\n",
    "app/queue/claim.py": "import sqlalchemy\n",
    "app/rounds/service.py": "from trainer.contract.config import PPOConfig\n",
    "trainer/worker/freeze.py": "from app.models import Run\n",
    "trainer/ppo/run.py": "import torch\nfrom trainer.lm import forward\nfrom trainer.ppo import learner\n",
    "trainer/lm/machine/device.py": 'import torch\n\nHOST = torch.device("cpu")\n',
    "trainer/__main__.py": "from trainer.reward.scorer import load_scorer\n",
    "tests/trainer/test_main.py": "",
    "templates/a.html": '<script type="module" src="x.js"></script>{{ row.name }}{{ session_count }}',
    "static/js/a.js": "element.textContent = text;\n",
}
