"""Ray's job API over HTTP, as its dashboard has it: submit a job, look at one, stop one.

Plain requests instead of Ray's own client: they have a time limit, which a worker needs that says every few seconds that it
lives, and Ray has to be installed on the cluster's nodes alone (docs/decisions/0063).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from httpx2 import Client, HTTPError, InvalidURL, Response, Timeout

ENDED: Final = frozenset({"STOPPED", "SUCCEEDED", "FAILED"})
NO_ROOM: Final = "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"  # it waited as long as Ray lets a job wait, a quarter of an hour by default
OWN: Final = {"CPU": "entrypoint_num_cpus", "GPU": "entrypoint_num_gpus", "memory": "entrypoint_memory"}
CONNECT_S: Final = 3.0
ANSWER_S: Final = 8.0  # together well under the half minute after which a silent worker has lost its run


class Silent(Exception):
    """The cluster does not answer, or not as one that does its work: to be asked again later."""


class Unsubmittable(Exception):
    """The cluster does not take this job, whenever it is asked."""


@dataclass(frozen=True, slots=True)
class Job:
    """What Ray says of a job."""

    status: str  # PENDING, RUNNING, or one of ENDED
    error_type: str | None
    message: str


class Jobs:
    """Of the cluster with this dashboard."""

    def __init__(self, address: str, token: str = "") -> None:
        self.address = address
        # No proxy of the environment: the cluster stands in the installation's own network.
        self._client = Client(
            base_url=address.rstrip("/") + "/api/jobs/",
            headers={"authorization": f"Bearer {token}"} if token else {},
            timeout=Timeout(ANSWER_S, connect=CONNECT_S),
            follow_redirects=False,
            trust_env=False,
        )

    def submit(self, job: str, command: str, resources: Mapping[str, float], environment: Mapping[str, str]) -> None:
        """Have the command run where these resources are free. To ask twice for one job is to ask once.

        Everybody who may see the dashboard sees the command and the environment.
        """
        asked: dict[str, Any] = {OWN[name]: amount for name, amount in resources.items() if name in OWN}
        if "entrypoint_memory" in asked:
            asked["entrypoint_memory"] = int(asked["entrypoint_memory"])
        others = {name: amount for name, amount in resources.items() if name not in OWN}
        answer = self._ask(
            "POST",
            "",
            {
                "submission_id": job,
                "entrypoint": command,
                "runtime_env": {"env_vars": dict(environment)},
                "entrypoint_resources": others,
                **asked,
            },
        )
        if answer.status_code == 200 or f"{job} already exists" in answer.text:
            return
        if answer.status_code == 400:
            raise Unsubmittable(_said(answer))
        raise Silent(_said(answer))

    def look(self, job: str) -> Job | None:
        """None for one that the cluster does not know, or has forgotten."""
        answer = self._ask("GET", job)
        if answer.status_code == 404:
            return None
        try:
            found = answer.json()
            return Job(found["status"], found.get("error_type"), str(found.get("message") or ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Silent(_said(answer)) from None

    def stop(self, job: str) -> None:
        """Have it told to end. One that has ended, or is not known, needs nothing."""
        answer = self._ask("POST", f"{job}/stop")
        if answer.status_code not in (200, 404):
            raise Silent(_said(answer))

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Response:
        try:
            answer = self._client.request(method, path, json=body)
        except (HTTPError, InvalidURL, OSError) as error:
            raise Silent(f"{type(error).__name__} {error}".strip()) from None
        if answer.status_code in (401, 403):
            raise Silent(_said(answer))
        return answer


def _said(answer: Response) -> str:
    """The status and the last line of the answer: of a traceback the one that says what was wrong."""
    lines = [line.strip() for line in answer.text.splitlines() if line.strip(" .")]
    return f"{answer.status_code} {lines[-1][:300] if lines else ''}".strip()
