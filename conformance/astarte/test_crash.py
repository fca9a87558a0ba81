"""kill -9 of hub and device program at once, under load: nothing that was acknowledged may be missing.

Known to be acknowledged: a message of the device when its PUBACK or PUBCOMP had arrived at the SDK's MQTT client, a REST
write when its 200 had arrived here.
"""

from __future__ import annotations

import threading
from collections import Counter

import pytest
import requests

from harness import waiting

ROUNDS = 3


class Writer:
    """Writes ascending numbers through AppEngine until the hub is gone, and remembers which were answered with 200."""

    def __init__(self, realm, path, first):
        self.realm = realm
        self.path = path
        self.number = first
        self.answered = []
        self.refused = []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while True:
            try:
                answer = self.realm.appengine.put(self.path, self.number)
            except requests.exceptions.RequestException:
                return
            if answer.status != 200:
                self.refused.append(answer)
                return
            self.answered.append(self.number)
            self.number += 1

    def join(self):
        self.thread.join(waiting.DEADLINE)
        assert not self.thread.is_alive() and not self.refused, self.refused


@pytest.fixture
def crashed(make_hub, devices, interfaces):
    """A hub and a device with everything that the rounds use."""
    hub = make_hub()
    realm = hub.realm()
    return hub, realm, devices.identity(realm)


def start_program(devices, realm, identity, interfaces):
    """A new process of the device."""
    names = "DeviceQos", "DeviceProperties", "ServerProperties", "ServerIndividualUnreliable"
    return devices.program(realm, identity, *(interfaces[name] for name in names)).connect()


def round_of_load(hub, realm, device, interfaces, first, device_dies_first):
    """Load hub and device, kill both, and return the writers."""
    data, props = interfaces.name("DeviceQos"), interfaces.name("DeviceProperties")
    targets = [[data, "/guaranteed"], [data, "/unique"], [props, "/longinteger_endpoint", 10]]
    device.do("start_load", targets=targets, interval=0.001, first=first)
    writers = [
        Writer(realm, realm.at(device.id, interfaces.name(name), "/longinteger_endpoint"), first)
        for name in ("ServerProperties", "ServerIndividualUnreliable")
    ]
    waiting.until(
        lambda: len(device.acknowledged(data, "/unique")) >= 100 and all(len(w.answered) >= 20 for w in writers),
        "the load to be under way",
        timeout=60,
    )
    for victim in (device, hub) if device_dies_first else (hub, device):
        victim.kill()
    for writer in writers:
        writer.join()
    return writers


def check_messages(realm, device, name, first):
    """Everything acknowledged is stored, and nothing is stored twice: this client never repeated anything."""
    for path in ("/guaranteed", "/unique"):
        stored = [int(value) for value in realm.samples(device.id, name, path)]
        this_round = [value for value in stored if value >= first]
        acknowledged = device.acknowledged(name, path)
        missing = sorted(set(acknowledged) - set(this_round))
        assert not missing, f"{path}: {len(missing)} of {len(acknowledged)} acknowledged are lost: {missing[:20]}"
        doubled = [value for value, count in Counter(stored).items() if count > 1]
        assert not doubled, f"{path}: stored twice: {doubled[:20]}"
        assert this_round == list(range(first, first + len(this_round))), f"{path}: a gap or another order"


def test_nothing_acknowledged_is_missing_after_kill_9_of_everything(crashed, devices, interfaces):
    hub, realm, identity = crashed
    data, props = interfaces.name("DeviceQos"), interfaces.name("DeviceProperties")
    for number in range(ROUNDS):
        first = number * 1_000_000 + 1
        device = start_program(devices, realm, identity, interfaces)
        writers = round_of_load(hub, realm, device, interfaces, first, device_dies_first=number % 2 == 0)
        hub.start()
        assert realm.device(identity.device_id)["connected"] is False
        check_messages(realm, device, data, first)
        last_set = device.acknowledged(props, "/longinteger_endpoint")[-1]
        assert realm.read(identity.device_id, props, "/longinteger_endpoint") >= last_set
        check_writes(realm, identity.device_id, interfaces, *writers)


def check_writes(realm, device_id, interfaces, properties, samples):
    """Everything that a writer was told to be done is there; at most the one write without an answer is there besides."""
    shown = realm.read(device_id, interfaces.name("ServerProperties"), "/longinteger_endpoint")
    assert shown in (properties.answered[-1], properties.answered[-1] + 1)
    name = interfaces.name("ServerIndividualUnreliable")
    stored = [int(value) for value in realm.samples(device_id, name, "/longinteger_endpoint")]
    of_this_round = [value for value in stored if value >= samples.answered[0]]
    assert of_this_round[: len(samples.answered)] == samples.answered
    assert of_this_round[len(samples.answered) :] in ([], [samples.answered[-1] + 1])


def test_device_and_hub_agree_after_both_were_killed(crashed, devices, interfaces):
    hub, realm, identity = crashed
    device = start_program(devices, realm, identity, interfaces)
    round_of_load(hub, realm, device, interfaces, 1, device_dies_first=False)
    hub.start()
    again = start_program(devices, realm, identity, interfaces)
    props, server = interfaces.name("DeviceProperties"), interfaces.name("ServerProperties")
    path = "/longinteger_endpoint"
    shown = realm.read(identity.device_id, server, path)
    assert again.data(server, path) == shown
    kept = again.properties()
    assert kept[server, path] == shown
    assert realm.read(identity.device_id, props, path) == kept[props, path]
    again.send(interfaces.name("DeviceQos"), "/unique", 2**40)
    again.settle()
    assert realm.samples(identity.device_id, interfaces.name("DeviceQos"), "/unique")[-1] == str(2**40)
    again.assert_alive()


def test_management_writes_survive_kill_9_right_after_their_answer(make_hub, devices):
    hub = make_hub()
    for number in range(3):
        realm = hub.realm()
        one = {
            "interface_name": f"org.example.crash{number}.Interface",
            "version_major": 0,
            "version_minor": 1,
            "type": "datastream",
            "ownership": "device",
            "mappings": [{"endpoint": "/value", "type": "integer"}],
        }
        realm.install(one)
        identity = devices.identity(realm)
        gone = devices.identity(realm)
        assert realm.pairing.delete(f"agent/devices/{gone.device_id}").status == 204
        hub.kill()
        hub.start()
        assert realm.management.get(f"interfaces/{one['interface_name']}/0").data == one
        assert realm.as_device(identity).get("").data["status"] == "pending"
        assert realm.as_device(gone).get("").error() == (403, "Forbidden")
        assert realm.management.delete(f"interfaces/{one['interface_name']}/0").status == 204
        hub.kill()
        hub.start()
        assert realm.management.get(f"interfaces/{one['interface_name']}/0").status == 404
