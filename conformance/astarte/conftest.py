"""Fixtures: one hub for most tests, hubs of their own for those that stop or kill them, devices, interfaces."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest
from astarte.device import generate_random_device_id
from astarte.device.pairing_handler import obtain_device_certificate

from harness.device import Device
from harness.hub import Hub
from harness.raw import RawDevice
from harness.rest import Identity, Realm, create_realm

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
PREFIX = "org.fairlead.conformance."

# Everything whose log is worth a look when a test fails.
_logs: list[Hub | Device] = []


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    """Add what hub and devices have printed to the report of a failed test."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for one in _logs:
            if one.log.exists():
                report.sections.append((f"end of {one.log.name}", one.log_tail()))


class Interfaces(dict):
    """The definitions in interfaces/, by their name without the common prefix."""

    def name(self, short: str) -> str:
        """The full interface name."""
        return self[short]["interface_name"]


@pytest.fixture(scope="session")
def interfaces() -> Interfaces:
    definitions = (json.loads(file.read_text("utf-8")) for file in sorted((HERE / "interfaces").glob("*.json")))
    return Interfaces({one["interface_name"].removeprefix(PREFIX): one for one in definitions})


@pytest.fixture(scope="session")
def binary() -> str:
    path = Path(os.environ.get("FAIRLEAD_BIN") or REPOSITORY / "bin" / "fairlead")
    if not os.access(path, os.X_OK):
        pytest.exit(f"{path} is not an executable: build the hub first or name it in FAIRLEAD_BIN", returncode=4)
    return str(path.resolve())


@pytest.fixture(scope="session")
def hub(binary: str, interfaces: Interfaces, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """The hub that most tests share, with all interfaces installed in its development realm."""
    one = Hub(binary, tmp_path_factory.mktemp("hub"))
    _logs.append(one)
    one.start()
    with pytest.MonkeyPatch.context() as patch:
        # the SDK's pairing functions are also called in this process; they take their trust from the environment
        for name, value in one.client_env().items():
            patch.setenv(name, value)
        for definition in interfaces.values():
            one.realm().install(definition)
        yield one
        assert one.alive(), f"the hub ended during the tests:\n{one.log_tail()}"
        one.stop()
    log = one.log.read_text("utf-8", "replace")
    assert "panic:" not in log and "DATA RACE" not in log, one.log_tail(20000)


@pytest.fixture(scope="session")
def realm(hub: Hub) -> Realm:
    """The development realm of the shared hub."""
    return hub.realm()


@pytest.fixture
def make_hub(binary: str, interfaces: Interfaces, tmp_path: Path) -> Iterator[Callable[..., Hub]]:
    """Start a hub of the test's own, with all interfaces installed."""
    made: list[Hub] = []

    def make(hold_sockets: bool = False) -> Hub:
        one = Hub(binary, tmp_path / f"hub-{len(made)}", hold_sockets)
        made.append(one)
        _logs.append(one)
        one.start()
        for definition in interfaces.values():
            one.realm().install(definition)
        return one

    yield make
    for one in made:
        one.close()
        _logs.remove(one)


class Devices:
    """Registers devices and starts device programs, and ends them all in the end."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.programs: list[Device] = []
        self.connections: list[RawDevice] = []
        self.count = itertools.count()

    def identity(self, realm: Realm, **extra: Any) -> Identity:
        """Register a new device."""
        device_id = generate_random_device_id()
        return realm.register(device_id, self.folder / f"device-{next(self.count)}", **extra)

    def program(self, realm: Realm, identity: Identity, *definitions: dict) -> Device:
        """Start a device program with these interfaces; it does not connect yet."""
        log = self.folder / f"device-{next(self.count)}.log"
        one = Device(identity, realm.hub.client_env(), log)
        self.programs.append(one)
        _logs.append(one)
        for definition in definitions:
            one.add_interface(definition)
        return one

    def connected(self, realm: Realm, *definitions: dict) -> Device:
        """Register a new device, start its program and connect it."""
        return self.program(realm, self.identity(realm), *definitions).connect()

    def certified(self, realm: Realm) -> Identity:
        """Register a new device and let the SDK fetch its certificate, for raw connections."""
        identity = self.identity(realm)
        identity.crypto.mkdir(parents=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("REQUESTS_CA_BUNDLE", realm.hub.ca)
            obtain_device_certificate(
                identity.device_id, identity.realm, identity.secret, identity.pairing_url, str(identity.crypto), False
            )
        return identity

    def raw(self, realm: Realm, identity: Identity, **options: Any) -> RawDevice:
        """A raw MQTT connection for a certified device; it does not connect yet."""
        one = RawDevice(realm, identity, **options)
        self.connections.append(one)
        return one

    def close(self) -> None:
        """End all programs and connections."""
        for connection in self.connections:
            connection.stop()
        for program in self.programs:
            program.close()
            _logs.remove(program)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[Devices]:
    """Devices that end with the test."""
    one = Devices(tmp_path / "devices")
    one.folder.mkdir()
    yield one
    one.close()


@pytest.fixture(scope="module")
def module_devices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devices]:
    """Devices that serve all tests of a file."""
    one = Devices(tmp_path_factory.mktemp("devices"))
    yield one
    one.close()


@pytest.fixture
def new_realm(hub: Hub, request: pytest.FixtureRequest) -> Callable[..., Realm]:
    """Create a realm of its own through Housekeeping, with a key of the wanted kind."""
    return lambda kind="ec", **extra: create_realm(hub, kind, **extra)
