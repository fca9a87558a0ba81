"""Fixtures: one hub for most tests, hubs of their own for those that kill them; devices, each with its own prefix."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent


def free_port() -> int:
    """A free port below the range from which the kernel picks ports for clients, so that the hub can take it again."""
    while True:
        with socket.socket() as one:
            try:
                port = random.randrange(20000, 32000)
                one.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


@dataclass
class Device:
    """A plain device: what `fairlead device add` has printed."""

    name: str
    password: str

    def topic(self, rest: str) -> str:
        return f"{self.name}/{rest}"


class Hub:
    """`fairlead up` on a folder and ports of its own."""

    def __init__(self, binary: str, folder: Path):
        self.binary, self.data_dir, self.log = binary, folder / "data", folder / "hub.log"
        self.mqtt_port, self.https_port, self.plain_port = free_port(), free_port(), free_port()
        self.process: subprocess.Popen | None = None
        self._names = (f"device-{n}" for n in itertools.count(1))
        folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> "Hub":
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.binary, "up", "--data-dir", self.data_dir, "--https-port", str(self.https_port),
                 "--mqtt-port", str(self.mqtt_port), "--mqtt-plain-port", str(self.plain_port), "--mqtt-anonymous"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )
        self.cli("status", "--wait", "30s")
        self.ca = json.loads(self.cli("env", "mqtt", "--json"))["FAIRLEAD_CA"]
        return self

    def cli(self, *arguments: str) -> str:
        done = subprocess.run([self.binary, *arguments, "--data-dir", str(self.data_dir)],
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"fairlead {' '.join(arguments)}: {done.stderr}\n{self.tail()}"
        return done.stdout

    def device(self) -> Device:
        """A new device, made as an operator makes one."""
        name = next(self._names)
        made = json.loads(self.cli("device", "add", name, "--json"))
        return Device(name, made["password"])

    def values(self, device: Device) -> dict[str, Any]:
        """The last value of each channel, as `fairlead data` shows it."""
        return {one["channel"]: one["last"]["value"] for one in json.loads(self.cli("data", f"mqtt/dev/{device.name}", "--json"))}

    def kill(self) -> None:
        """End the process as a crash does."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def tail(self) -> str:
        return self.log.read_text("utf-8", "replace")[-8000:]


@pytest.fixture(scope="session")
def binary() -> str:
    path = Path(os.environ.get("FAIRLEAD_BIN") or REPOSITORY / "bin" / "fairlead")
    if not os.access(path, os.X_OK):
        pytest.exit(f"{path} is not an executable: build the hub first or name it in FAIRLEAD_BIN", returncode=4)
    return str(path.resolve())


@pytest.fixture(scope="session")
def hub(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """The hub that most tests share."""
    one = Hub(binary, tmp_path_factory.mktemp("hub")).start()
    yield one
    assert one.process.poll() is None, f"the hub ended during the tests:\n{one.tail()}"
    assert one.stop() == 0, one.tail()
    log = one.log.read_text("utf-8", "replace")
    assert "panic" not in log and "DATA RACE" not in log, one.tail()


@pytest.fixture
def own_hub(binary: str, tmp_path: Path) -> Iterator[Hub]:
    """A hub that the test may kill."""
    one = Hub(binary, tmp_path).start()
    yield one
    if one.process.poll() is None:
        one.kill()


@pytest.fixture
def device(hub: Hub) -> Device:
    return hub.device()


@pytest.fixture
def make_device(hub: Hub) -> Callable[[], Device]:
    return hub.device
