"""Fixtures: one hub for most tests, hubs of their own for those that kill them; devices, each with its own prefix."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

import hub as hubprocess


@dataclass
class Device:
    """A plain device: what `fairlead device add` has printed."""

    name: str
    password: str

    def topic(self, rest: str) -> str:
        return f"{self.name}/{rest}"


class Hub(hubprocess.Hub):
    """A hub with a plain TCP port, too."""

    def __init__(self, binary: str, folder: Path):
        self.plain_port = hubprocess.free_port()
        super().__init__(binary, folder, "--mqtt-plain-port", str(self.plain_port), "--mqtt-anonymous")
        self._names = (f"device-{n}" for n in itertools.count(1))

    def start(self) -> "Hub":
        super().start()
        self.ca = self.env("mqtt")["FAIRLEAD_CA"]
        return self

    def device(self) -> Device:
        """A new device, made as an operator makes one."""
        name = next(self._names)
        made = json.loads(self.cli("device", "add", name, "--json"))
        return Device(name, made["password"])

    def values(self, device: Device) -> dict[str, Any]:
        """The last value of each channel, as `fairlead data` shows it."""
        return {one["channel"]: one["last"]["value"] for one in json.loads(self.cli("data", f"mqtt/dev/{device.name}", "--json"))}


@pytest.fixture(scope="session")
def binary() -> str:
    return hubprocess.binary()


@pytest.fixture(scope="session")
def hub(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """The hub that most tests share."""
    one = Hub(binary, tmp_path_factory.mktemp("hub")).start()
    yield one
    one.close()


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
