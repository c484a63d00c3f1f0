"""A whole installation in a folder of its own: database, web process, worker, first admin, keys. Driven over HTTP only."""

from __future__ import annotations

import contextlib
import io
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
SLUG = "demo"
DEFAULT_MODEL = ROOT / "data" / "models" / "smollm2-135m-instruct"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def default_model(folder: Path) -> Path:
    """SmolLM2 as `make run` installs it; converted into `folder` where that has not happened yet."""
    if (DEFAULT_MODEL / "manifest.json").exists():
        return DEFAULT_MODEL
    out = folder / "smollm2-135m-instruct"
    say("Converting SmolLM2-135M-Instruct (about a minute)")
    subprocess.run([sys.executable, "-m", "trainer.lm.loading", "convert", str(out)], cwd=ROOT, check=True, stdout=sys.stderr)
    return out


def simple_model(folder: Path, code: Path = ROOT) -> Path:
    """A SimpleLM trained for a few seconds on the project's own texts: the field in miniature, for smoke tests.

    `code`: the clone that trains it, which may be of an earlier version.
    """
    run = folder / "simple"
    if (run / "checkpoint" / "manifest.json").exists():  # of an earlier call
        return run / "checkpoint"
    run.mkdir(parents=True)
    texts = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "app/projects/demo_guidelines.md"]
    (run / "text.txt").write_text("\n\n".join(path.read_text("utf-8") for path in texts if path.exists()), "utf-8")
    (run / "run.json").write_text('{"kind": "sft", "config": {"epochs": 8}, "inputs": {"base": null}}')
    say("Training a SimpleLM")
    subprocess.run([sys.executable, "-m", "trainer", "sft", str(run)], cwd=code, check=True, stdout=sys.stderr)
    return run / "checkpoint"


def first_version(place: Path) -> tuple[Path, str]:
    """The program as it was when the first change of the first schema had yet to come, and its commit."""
    log = ["git", "log", "--first-parent", "--diff-filter=A", "--reverse", "--format=%H", "--", "migrations/versions"]
    added = subprocess.run(log, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    if len(added) < 2:
        raise SystemExit("The first version is taken out of git, and this clone does not go back to it: git fetch --unshallow")
    parse = ["git", "rev-parse", "--short", f"{added[1]}~1"]
    commit = subprocess.run(parse, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
    packed = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(place, filter="data")
    return place, commit


class Installation:
    """`tastemaker serve` and `tastemaker work` as processes on a data folder, and an admin who talks to them."""

    def __init__(self, data: Path, model: Path, database: str = "", code: Path = ROOT) -> None:
        """`database`: the URL of one that lies elsewhere, shared by several of these. `code`: the clone whose program it runs."""
        self.data = data
        self._code = code
        self.url = f"http://127.0.0.1:{_free_port()}"
        self._environment = os.environ | {
            "TASTEMAKER_DATA": str(data),
            "TASTEMAKER_PORT": self.url.rpartition(":")[2],
            "TASTEMAKER_BASE_MODEL": str(model.resolve()),
        }
        if database:
            self._environment["TASTEMAKER_DATABASE_URL"] = database
        data.mkdir(parents=True, exist_ok=True)
        self.log = data.with_name(f"{data.name}.log")  # not in it: a start refuses a folder that holds what is none of its own
        self._log = self.log.open("ab")
        self._web: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None
        self._whole: subprocess.Popen[bytes] | None = None
        self.api = httpx.Client(base_url=f"{self.url}/api/v1", timeout=60)

    def start_web(self) -> None:
        """Returns when it answers."""
        self._web = self._start("serve")
        self._answers(self._web, within_s=60)

    def start_whole(self) -> None:
        """`make run`, as a user types it: it sets up what is missing, then web process and worker. Returns when it answers."""
        self._whole = subprocess.Popen(
            ["make", "run"], cwd=self._code, env=self._environment, stdout=self._log, stderr=self._log, start_new_session=True
        )
        self._answers(self._whole, within_s=1800)

    def _answers(self, process: subprocess.Popen[bytes], within_s: float) -> None:
        """Wait until `process` answers requests. Raises RuntimeError when it ends before, or takes too long."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                if self.api.get("/health").status_code == 200:
                    return
            except httpx.TransportError:
                pass  # not listening yet
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the web process did not start; see {self.log}")
            time.sleep(0.2)

    def start_worker(self) -> None:
        self.worker = self._start("work")

    def stop_web(self) -> None:
        """As whoever looks after it would: SIGTERM, and it ends what it has begun."""
        _stop(self._web)

    def stop_worker(self) -> None:
        _stop(self.worker)

    def kill_web(self) -> None:
        _kill(self._web)

    def kill_worker(self) -> None:
        _kill(self.worker)

    def ended_by_themselves(self) -> list[str]:
        """Which of its processes have ended that nobody killed: "web", "worker"."""
        processes = {"web": self._web, "worker": self.worker}
        return [name for name, process in processes.items() if process is not None and process.poll() is not None]

    def rss_mib(self) -> dict[str, tuple[int, float]]:
        """Of each process that runs: its number, and the memory it has now. A run is a process of its own, and not counted."""
        found = {}
        for name, process in {"web": self._web, "worker": self.worker}.items():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if process is not None and process.poll() is None:
                    kib = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
                    if kib is not None:
                        found[name] = process.pid, int(kib[1]) / 1024
        return found

    def run(self, *arguments: str) -> bytes:
        """What another command of the program prints. Raises RuntimeError with what it said when it fails."""
        done = subprocess.run(self._command(*arguments), cwd=self._code, env=self._environment, capture_output=True)
        if done.returncode:
            raise RuntimeError(f"tastemaker {' '.join(arguments)} ended with {done.returncode}: {done.stderr.decode()}")
        return done.stdout

    def sign_in(self) -> None:
        """Become the first admin through the one-time link, and keep a key of every scope for `api`."""
        printed = self.run("admin-link").decode()
        found = re.search(r"/invitations/[\w-]+", printed)
        if found is None:
            raise RuntimeError(f"no link in: {printed}")
        with httpx.Client(base_url=self.url, follow_redirects=True, timeout=60) as browser:
            form = browser.get(found[0]).text
            token = re.search(r'name="csrf_token" value="([^"]+)"', form)
            assert token is not None, form
            person = {"name": "Bench", "email": "bench@example.org", "password": secrets.token_urlsafe(16)}
            browser.post(found[0], data={"csrf_token": token[1], **person}).raise_for_status()
            page = browser.get("/account/keys").text
            header = re.search(r'<meta name="csrf-token" content="([^"]+)"', page)
            assert header is not None, page
            browser.headers["x-csrf-token"] = header[1]
            users = browser.get("/api/v1/users").raise_for_status().json()["items"]
            mine = next(user["id"] for user in users if user["email"] == person["email"])
            self.key = _new_key(browser, "/api/v1", mine, "annotate", "export", "admin")

    @property
    def key(self) -> str:
        """The admin's API key; settable, because a copy of a data folder knows the keys of the folder it is a copy of."""
        return self.api.headers["authorization"].removeprefix("Bearer ")

    @key.setter
    def key(self, key: str) -> None:
        self.api.headers["authorization"] = f"Bearer {key}"

    def annotators(self, count: int) -> list[str]:
        """So many people who may annotate the demo project; their keys."""
        keys = []
        for number in range(count):
            person = {
                "name": f"Annotator {number}",
                "email": f"annotator{number}@example.org",
                "role": "annotator",
                "projects": [SLUG],
            }
            user = self.send("POST", "/users", json=person)
            keys.append(_new_key(self.api, "", user["id"], "annotate"))
        return keys

    def send(self, method: str, path: str, **arguments: Any) -> Any:
        """The reply's JSON. Raises RuntimeError with what the server said, when it refused."""
        reply = self.api.request(method, path, **arguments)
        if reply.is_error:
            raise RuntimeError(f"{method} {path} was answered {reply.status_code}: {reply.text}")
        return reply.json()

    def pages(self, path: str, **query: Any) -> list[Any]:
        """Every item of a list."""
        items: list[Any] = []
        cursor: str | None = None
        while True:
            page = self.send("GET", path, params={**query, "limit": 500} | ({"cursor": cursor} if cursor else {}))
            items += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return items

    def sample(self, checkpoint: int, split: str, **settings: Any) -> int:
        """Queue a sample run; its id."""
        config = {"checkpoint": checkpoint, "split": split, **settings}
        run_id: int = self.send("POST", f"/projects/{SLUG}/runs", json={"kind": "sample", "config": config})["id"]
        return run_id

    def wait(self, path: str, ended: frozenset[str], patience_s: float) -> Any:
        """The run or round once its state is one of `ended`, saying meanwhile what it does. Raises RuntimeError after so long."""
        deadline = time.monotonic() + patience_s
        said = ""
        while time.monotonic() < deadline:
            found = self.send("GET", path)
            if found["state"] in ended:
                return found
            doing = _doing(found)
            if doing != said:
                say(f"  {doing}")
                said = doing
            time.sleep(1)
        raise RuntimeError(f"{path} did not end within {patience_s:.0f} s")

    def stop(self) -> None:
        for process in (self.worker, self._web):
            _stop(process)
        if self._whole is not None and self._whole.poll() is None:
            os.killpg(self._whole.pid, signal.SIGTERM)  # make and what it started, which stops both processes in order
            self._whole.wait(120)
        self.api.close()
        self._log.close()

    def _start(self, command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command(command), cwd=self._code, env=self._environment, stdout=self._log, stderr=self._log)

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "app.cli", *arguments]


def patiently(ask: Callable[[], Any]) -> Any:
    """What it answers, once there is somebody to answer: tries again for two minutes while nothing listens, or it is busy."""
    deadline = time.monotonic() + 120
    while True:
        try:
            return ask()
        except (httpx.TransportError, RuntimeError) as error:
            busy = isinstance(error, httpx.TransportError) or "was answered 503" in str(error)
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _stop(process: subprocess.Popen[bytes] | None) -> None:
    """SIGTERM, and after 40 s SIGKILL."""
    if process is not None and process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _kill(process: subprocess.Popen[bytes] | None) -> None:
    """kill -9: no handler runs, nothing is saved."""
    assert process is not None
    process.kill()
    process.wait()


def _doing(found: dict[str, Any]) -> str:
    runs = found.get("runs") or [found]
    current = next((run for run in runs if run["state"] == "running"), runs[-1])
    return f"{current['kind']} {current['step']}/{current['total']} {current['message']}"


def _new_key(client: httpx.Client, prefix: str, user_id: int, *scopes: str) -> str:
    reply = client.post(f"{prefix}/users/{user_id}/keys", json={"scopes": list(scopes), "expires_in_days": 2}).raise_for_status()
    key: str = reply.json()["key"]
    return key


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
