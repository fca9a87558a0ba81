"""Properties that belong to the server: set and unset through AppEngine, kept by the SDK, synchronised on connection."""

from __future__ import annotations

import struct
import zlib

import pytest

from harness import waiting
from harness.raw import Message, document
from harness.values import SERVER_VALUES, VALUES, as_json, assert_same, endpoint, server_cases


@pytest.fixture(scope="module")
def device(realm, module_devices, interfaces):
    return module_devices.connected(realm, interfaces["ServerProperties"], interfaces["ServerPropertiesFixed"])


def put(realm, device_id, name, path, value):
    """Set a property, which has to succeed and echo the value."""
    answer = realm.appengine.put(realm.at(device_id, name, path), value)
    assert (answer.status, answer.body) == (200, {"data": value})


def unset(realm, device_id, name, path):
    """Unset a property, which has to succeed with an empty answer."""
    answer = realm.appengine.delete(realm.at(device_id, name, path))
    assert (answer.status, answer.text) == (204, "")


@pytest.mark.parametrize("interface", ["ServerProperties", "ServerPropertiesFixed"])
@pytest.mark.parametrize("case", server_cases(), ids=lambda case: case.name)
def test_set_value_is_received_kept_and_shown(realm, device, interfaces, interface, case):
    name, path = interfaces.name(interface), "/" + endpoint(case.kind)
    mark = device.mark()
    put(realm, device.id, name, path, case.posted)
    assert_same(device.data(name, path, mark), case.received)
    assert_same(realm.read(device.id, name, path), as_json(case.kind, case.received, longs=int))
    kept = device.properties()
    if case.received:
        assert_same(kept[name, path], case.received)
    else:  # quirk of the SDK: it does not keep falsy values
        assert (name, path) not in kept
    device.assert_alive()


@pytest.mark.parametrize("kind", list(VALUES))
def test_unset_is_received_as_none_and_forgotten(realm, device, interfaces, kind):
    name, path = interfaces.name("ServerProperties"), "/" + endpoint(kind)
    mark = device.mark()
    put(realm, device.id, name, path, SERVER_VALUES[kind][0][0])
    device.data(name, path, mark)
    mark = device.mark()
    unset(realm, device.id, name, path)
    assert device.data(name, path, mark) is None
    assert (name, path) not in device.properties()
    assert realm.read(device.id, name, path) == {}


def test_unset_of_what_is_not_set_succeeds(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["ServerProperties"])
    unset(realm, device.id, interfaces.name("ServerProperties"), "/integer_endpoint")


def test_set_while_offline_arrives_on_connect(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["ServerProperties"])
    name = interfaces.name("ServerProperties")
    device.disconnect()
    for kind, many in SERVER_VALUES.items():
        put(realm, device.id, name, "/" + endpoint(kind), many[0][0])
    mark = device.mark()
    device.connect()
    for kind, many in SERVER_VALUES.items():
        assert_same(device.data(name, "/" + endpoint(kind), mark), many[0][1])
    assert len(device.seen("data", mark)) == len(SERVER_VALUES)
    device.assert_alive()


def test_only_the_last_of_several_offline_sets_arrives(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["ServerProperties"])
    name = interfaces.name("ServerProperties")
    device.disconnect()
    for value in (1, 2, 3):
        put(realm, device.id, name, "/integer_endpoint", value)
    put(realm, device.id, name, "/string_endpoint", "last")
    mark = device.mark()
    device.connect()
    device.data(name, "/string_endpoint", mark)
    waiting.until(lambda: len(device.seen("data", mark)) >= 2, "both properties")
    values = [e["value"] for e in device.seen("data", mark) if e["path"] == "/integer_endpoint"]
    assert values == [{"int": "3"}]


def test_set_before_the_first_connection_arrives(realm, devices, interfaces):
    name = interfaces.name("ServerProperties")
    identity = devices.identity(realm, initial_introspection={name: {"major": 1, "minor": 0}})
    put(realm, identity.device_id, name, "/integer_endpoint", 7)
    device = devices.program(realm, identity, interfaces["ServerProperties"]).connect()
    assert device.data(name, "/integer_endpoint") == 7


def test_removed_while_offline_vanishes_from_the_device(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["ServerProperties"])
    name = interfaces.name("ServerProperties")
    for path in ("/integer_endpoint", "/string_endpoint"):
        put(realm, device.id, name, path, 7 if path.startswith("/i") else "stays")
        device.data(name, path)
    assert set(device.properties()) == {(name, "/integer_endpoint"), (name, "/string_endpoint")}
    device.disconnect()
    unset(realm, device.id, name, "/integer_endpoint")
    device.connect()
    waiting.until_equal(device.properties, {(name, "/string_endpoint"): "stays"}, "the purge list to take effect")
    device.assert_alive()


def test_all_removed_while_offline_all_vanish(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["ServerProperties"])
    name = interfaces.name("ServerProperties")
    put(realm, device.id, name, "/integer_endpoint", 7)
    device.data(name, "/integer_endpoint")
    device.disconnect()
    unset(realm, device.id, name, "/integer_endpoint")
    device.connect()
    waiting.until_equal(device.properties, {}, "the empty purge list to take effect")
    device.assert_alive()


def test_device_that_lost_its_storage_gets_everything_again(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["ServerProperties"])
    name = interfaces.name("ServerProperties")
    put(realm, device.id, name, "/integer_endpoint", 7)
    device.data(name, "/integer_endpoint")
    device.kill()
    device.identity.database.unlink()
    again = devices.program(realm, device.identity, interfaces["ServerProperties"]).connect()
    assert again.data(name, "/integer_endpoint") == 7
    assert again.properties() == {(name, "/integer_endpoint"): 7}


def test_set_and_unset_reach_a_device_after_a_kick(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["ServerProperties"])
    name = interfaces.name("ServerProperties")
    mark = device.mark()
    devices.raw(realm, device.identity).connect().stop()
    device.wait("disconnected", mark, rc=7)
    put(realm, device.id, name, "/integer_endpoint", 9)
    device.wait("connected", mark)
    assert device.data(name, "/integer_endpoint", mark) == 9
    device.settle()
    mark = device.mark()
    unset(realm, device.id, name, "/integer_endpoint")
    assert device.data(name, "/integer_endpoint", mark) is None


class TestEmptyCacheOnTheWire:
    """What the hub sends in answer to control/emptyCache."""

    def connect(self, realm, devices, interfaces, *shorts):
        raw = devices.raw(realm, devices.certified(realm)).start(*(interfaces[short] for short in shorts))
        raw.wait_messages(1)  # the purge list of the first time
        return raw

    def again(self, raw):
        """Ask once more and return what comes."""
        before = len(raw.messages)
        raw.send("control/emptyCache", b"1")
        return before

    def test_nothing_set_is_an_empty_list_that_every_sdk_reads(self, realm, devices, interfaces):
        raw = self.connect(realm, devices, interfaces, "ServerProperties")
        (message,) = raw.wait_messages(1)
        assert (message.topic, message.qos, message.retain) == (f"{raw.base}/control/consumer/properties", 2, False)
        assert message.payload[:4] == b"\0\0\0\0"
        assert zlib.decompress(message.payload[4:]) == b""

    def test_list_names_what_is_set_with_its_true_length_then_come_the_values(self, realm, devices, interfaces):
        raw = self.connect(realm, devices, interfaces, "ServerProperties", "ServerPropertiesFixed")
        device_id = raw.base.split("/")[1]
        want = []
        for short, path, value in (
            ("ServerProperties", "/integer_endpoint", 7),
            ("ServerProperties", "/string_endpoint", "hi"),
            ("ServerPropertiesFixed", "/boolean_endpoint", False),
        ):
            put(realm, device_id, interfaces.name(short), path, value)
            want.append((interfaces.name(short) + path, value))
        raw.wait_messages(4)
        before = self.again(raw)
        purge, *rest = raw.wait_messages(before + 4)[before:]
        assert purge.topic == f"{raw.base}/control/consumer/properties"
        text = zlib.decompress(purge.payload[4:])
        assert struct.unpack(">I", purge.payload[:4]) == (len(text),)
        assert sorted(text.decode().split(";")) == sorted(full for full, _ in want)
        expected = [Message(f"{raw.base}/{full}", document(value), 2, False) for full, value in want]
        assert sorted(rest, key=lambda m: m.topic) == sorted(expected, key=lambda m: m.topic)

    def test_interfaces_outside_the_introspection_are_not_named(self, realm, devices, interfaces):
        raw = self.connect(realm, devices, interfaces, "ServerProperties", "ServerPropertiesFixed")
        device_id = raw.base.split("/")[1]
        put(realm, device_id, interfaces.name("ServerProperties"), "/integer_endpoint", 7)
        put(realm, device_id, interfaces.name("ServerPropertiesFixed"), "/integer_endpoint", 8)
        raw.wait_messages(3)
        raw.declare(interfaces["ServerProperties"])
        before = self.again(raw)
        purge, value = raw.wait_messages(before + 2)[before:]
        assert zlib.decompress(purge.payload[4:]).decode() == f"{interfaces.name('ServerProperties')}/integer_endpoint"
        assert value.payload == document(7)

    def test_content_of_empty_cache_is_not_looked_at(self, realm, devices, interfaces):
        raw = self.connect(realm, devices, interfaces, "ServerProperties")
        raw.send("control/emptyCache", b"anything at all")
        raw.wait_messages(2)
        raw.barrier(interfaces["ServerProperties"])

    def test_unset_is_a_zero_length_payload_of_qos_2(self, realm, devices, interfaces):
        raw = self.connect(realm, devices, interfaces, "ServerProperties")
        name, device_id = interfaces.name("ServerProperties"), raw.base.split("/")[1]
        put(realm, device_id, name, "/integer_endpoint", 7)
        unset(realm, device_id, name, "/integer_endpoint")
        assert raw.wait_messages(3)[1:] == [
            Message(f"{raw.base}/{name}/integer_endpoint", document(7), 2, False),
            Message(f"{raw.base}/{name}/integer_endpoint", b"", 2, False),
        ]
