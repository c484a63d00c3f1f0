"""A real Ray cluster on this machine, as small as it gets: a head and other nodes, each of which can be killed like a machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import psutil
from httpx2 import Client, HTTPError

from trainer.contract.environment import die_with

TOKEN: Final = "a-token-of-the-tests-0123456789abcdef"
PATIENCE_S: Final = 120.0
ENVIRONMENT: Final = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": TOKEN,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "120",
    "RAY_JOB_START_TIMEOUT_SECONDS": "45",  # that a job may wait for room
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_memory_usage_threshold": "0.99",  # other tests use the machine's memory, too
    "A_SECRET_OF_THE_NODE_KEY": "hunter2",
}
# Of the test's own process: a job that inherited these would not be told by the executor.
NOT_FOR_NODES: Final = ("TASTEMAKER_THREADS", "OMP_NUM_THREADS")


class Cluster:
    """A head, with one processor to give unless said otherwise; `add()` brings further nodes."""

    def __init__(self, processors: int = 1) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short: the names of sockets are
        from ray.util import get_node_ip_address  # only the nightly tests need Ray (requirements-ray.txt)

        self._ip = get_node_ip_address()
        self._log = (self._folder / "cluster.log").open("ab")
        self._nodes: list[subprocess.Popen[bytes]] = []
        self._port, dashboard, agent, client = _free_ports(4)
        self.address = f"http://127.0.0.1:{dashboard}"
        own = [f"--port={self._port}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"]
        place = [f"--temp-dir={self._folder / 'ray'}", f"--dashboard-agent-listen-port={agent}"]
        self.head = self._start("--head", *own, *place, f"--num-cpus={processors}")
        self.client = Client(base_url=self.address, headers={"authorization": f"Bearer {TOKEN}"}, timeout=30, trust_env=False)

    def add(self, processors: int = 1) -> subprocess.Popen[bytes]:
        """Another node, which is there some seconds later."""
        _wait_until(lambda: _answers(self._ip, self._port), self)
        (agent,) = _free_ports(1)
        where = f"--address={self._ip}:{self._port}"
        return self._start(where, f"--dashboard-agent-listen-port={agent}", f"--num-cpus={processors}")

    def wait(self) -> None:
        """Until jobs can be submitted."""
        _wait_until(self._takes_jobs, self)

    def wait_for_nodes(self, count: int) -> None:
        """Until so many are there, the head among them. Two that begin on one machine at the same moment take the same names."""
        _wait_until(lambda: self._alive() == count, self)

    def node_of(self, job: str) -> subprocess.Popen[bytes]:
        """The node on which a job is at work."""
        for node in self._nodes:
            if any(job in one for process in _family(node.pid) for one in _command(process)):
                return node
        raise AssertionError(f"no node works on {job}\n{self.said()}")

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """All at once that this node is, as if somebody had pulled its plug."""
        family = _family(node.pid)
        for process in family:
            if process.is_running():
                process.suspend()
        for process in [*family, *(one for one in _family(node.pid) if one not in family)]:
            if process.is_running():
                process.kill()
        node.wait()

    def close(self) -> None:
        self.client.close()
        for node in reversed(self._nodes):
            if node.poll() is None:
                self.kill(node)
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def said(self) -> str:
        return (self._folder / "cluster.log").read_text(encoding="utf-8", errors="replace")[-4000:]

    def _start(self, *options: str) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            "--block",
            "--disable-usage-stats",
            "--object-store-memory=80000000",
        ]
        told = {name: value for name, value in os.environ.items() if name not in NOT_FOR_NODES} | ENVIRONMENT
        parent = os.getpid()
        node = subprocess.Popen(
            [*command, f"--node-ip-address={self._ip}", *options],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=told,
            start_new_session=True,
            preexec_fn=lambda: die_with(parent),
        )
        self._nodes.append(node)
        return node

    def _alive(self) -> int:
        try:
            nodes = self.client.get("/api/v0/nodes").json()["data"]["result"]["result"]
        except (HTTPError, ValueError, KeyError, TypeError):
            return 0
        return sum(node["state"] == "ALIVE" for node in nodes)

    def _takes_jobs(self) -> bool:
        try:
            return self.client.get("/api/jobs/").status_code == 200
        except HTTPError:
            return False


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _answers(host: str, port: int) -> bool:
    with closing(socket.socket()) as one:
        one.settimeout(1)
        return one.connect_ex((host, port)) == 0


def _wait_until(met: Callable[[], bool], cluster: Cluster) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        assert cluster.head.poll() is None, cluster.said()
        assert time.monotonic() < deadline, cluster.said()
        time.sleep(0.1)


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
