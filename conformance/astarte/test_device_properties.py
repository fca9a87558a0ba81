"""Properties that belong to the device: set, unset, kept, sent again, and forgotten."""

from __future__ import annotations

import zlib

import pytest

from harness.device import DeviceError
from harness.raw import document, purge_list
from harness.values import VALUES, as_json, assert_same, endpoint, ordinary


@pytest.fixture(scope="module")
def device(realm, module_devices, interfaces):
    names = ("DeviceProperties", "DevicePropertiesFixed")
    return module_devices.connected(realm, *(interfaces[name] for name in names))


@pytest.mark.parametrize("interface", ["DeviceProperties", "DevicePropertiesFixed"])
@pytest.mark.parametrize("case", ordinary(), ids=lambda case: case.name)
def test_set_value_is_shown_exactly(realm, device, interfaces, interface, case):
    name, path = interfaces.name(interface), "/" + endpoint(case.kind)
    device.send(name, path, case.value)
    device.settle()
    assert_same(realm.read(device.id, name)[endpoint(case.kind)], as_json(case.kind, case.value, longs=int))


@pytest.mark.parametrize("kind", list(VALUES))
def test_unset_removes_the_value(realm, device, interfaces, kind):
    name, path = interfaces.name("DeviceProperties"), "/" + endpoint(kind)
    device.send(name, path, VALUES[kind][0])
    device.settle()
    assert endpoint(kind) in realm.read(device.id, name)
    device.unset_property(name, path)
    device.settle()
    assert endpoint(kind) not in realm.read(device.id, name)
    assert realm.read(device.id, name, path) == {}


def test_unset_of_what_is_not_set_is_nothing(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceProperties"])
    name = interfaces.name("DeviceProperties")
    device.unset_property(name, "/integer_endpoint")
    device.settle()
    assert realm.read(device.id, name) == {}
    assert not device.seen("disconnected")


def test_nothing_set_is_an_empty_tree_and_an_empty_path(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceProperties"])
    name = interfaces.name("DeviceProperties")
    assert realm.read(device.id, name) == {}
    assert realm.read(device.id, name, "/integer_endpoint") == {}
    answer = realm.appengine.get(realm.at(device.id, name, "/nope"))
    assert answer.error() == (400, "Endpoint not found")


def test_single_value_and_subtree_are_served_by_path(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DevicePropertiesParametric"])
    name = interfaces.name("DevicePropertiesParametric")
    device.send(name, "/kitchen/target", 21.5)
    device.send(name, "/kitchen/enable", True)
    device.send(name, "/cellar/enable", False)
    device.settle()
    assert_same(
        realm.read(device.id, name),
        {"kitchen": {"target": 21.5, "enable": True}, "cellar": {"enable": False}},
    )
    assert_same(realm.read(device.id, name, "/kitchen"), {"target": 21.5, "enable": True})
    assert_same(realm.read(device.id, name, "/cellar/enable"), False)


def test_last_of_many_sets_stays(realm, device, interfaces):
    name = interfaces.name("DeviceProperties")
    device.do("send_many", interface=name, path="/integer_endpoint", values=list(range(1, 101)))
    device.settle()
    assert realm.read(device.id, name, "/integer_endpoint") == 100


def test_values_stay_while_the_device_is_away_and_after_it_returns(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceProperties"])
    name = interfaces.name("DeviceProperties")
    for kind, many in VALUES.items():
        device.send(name, "/" + endpoint(kind), many[0])
    device.settle()
    want = {endpoint(kind): as_json(kind, many[0], longs=int) for kind, many in VALUES.items()}
    device.disconnect()
    assert_same(realm.read(device.id, name), want)
    device.connect()
    assert_same(realm.read(device.id, name), want)


def test_quirk_falsy_properties_are_lost_when_the_sdk_reconnects(realm, devices, interfaces):
    """The SDK does not keep falsy values, so its purge list leaves them out, and the hub has to delete them."""
    device = devices.connected(realm, interfaces["DeviceProperties"])
    name = interfaces.name("DeviceProperties")
    falsy = {"integer": 0, "double": 0.0, "boolean": False, "string": "", "integerarray": []}
    for kind, value in falsy.items():
        device.send(name, "/" + endpoint(kind), value)
    device.send(name, "/longinteger_endpoint", 7)
    device.settle()
    assert_same(
        realm.read(device.id, name),
        {**{endpoint(kind): value for kind, value in falsy.items()}, "longinteger_endpoint": 7},
    )
    device.disconnect()
    device.connect()
    assert realm.read(device.id, name) == {"longinteger_endpoint": 7}


def test_properties_that_are_not_sent_again_are_deleted(realm, devices, interfaces):
    """A device that lost its storage comes back: its empty purge list clears what the hub still has."""
    device = devices.connected(realm, interfaces["DeviceProperties"], interfaces["DevicePropertiesFixed"])
    for short in ("DeviceProperties", "DevicePropertiesFixed"):
        device.send(interfaces.name(short), "/integer_endpoint", 7)
    device.settle()
    device.kill()
    device.identity.database.unlink()
    again = devices.program(
        realm, device.identity, interfaces["DeviceProperties"], interfaces["DevicePropertiesFixed"]
    ).connect()
    assert realm.read(again.id, interfaces.name("DeviceProperties")) == {}
    assert realm.read(again.id, interfaces.name("DevicePropertiesFixed")) == {}


def test_property_unset_before_the_crash_does_not_come_back(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceProperties"])
    name = interfaces.name("DeviceProperties")
    device.send(name, "/integer_endpoint", 7)
    device.send(name, "/string_endpoint", "stays")
    device.unset_property(name, "/integer_endpoint")
    device.settle()
    device.kill()
    devices.program(realm, device.identity, interfaces["DeviceProperties"]).connect()
    assert realm.read(device.id, name) == {"string_endpoint": "stays"}


def test_purge_list_leaves_server_owned_properties_alone(realm, devices, interfaces):
    definitions = interfaces["DeviceProperties"], interfaces["ServerProperties"]
    device = devices.connected(realm, *definitions)
    server = interfaces.name("ServerProperties")
    assert realm.appengine.put(realm.at(device.id, server, "/integer_endpoint"), 7).status == 200
    device.disconnect()
    device.connect()
    assert realm.read(device.id, server) == {"integer_endpoint": 7}


def test_sdk_lets_an_unset_through_that_the_hub_refuses(realm, devices, interfaces):
    """Quirk of the SDK: it sends the unset although allow_unset is false. The stored value stays."""
    device = devices.connected(realm, interfaces["DevicePropertiesFixed"])
    name = interfaces.name("DevicePropertiesFixed")
    device.send(name, "/integer_endpoint", 7)
    device.settle()
    mark = device.mark()
    device.unset_property(name, "/integer_endpoint")
    device.wait("disconnected", mark, rc=7)
    assert realm.read(device.id, name) == {"integer_endpoint": 7}
    device.wait("connected", mark)
    device.settle()
    device.assert_alive()
    # and now it goes all the same: the SDK has deleted its own copy, so the purge list does not name it
    assert realm.read(device.id, name) == {}


def test_offline_set_is_refused_by_the_sdk_itself(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceProperties"])
    name = interfaces.name("DeviceProperties")
    device.disconnect()
    with pytest.raises(DeviceError) as caught:
        device.send(name, "/integer_endpoint", 7)
    assert caught.value.type == "DeviceDisconnectedError"
    device.connect()
    assert realm.read(device.id, name) == {}


class TestPurgeListForms:
    """What a device may write on control/producer/properties, sent on a bare connection."""

    @pytest.fixture
    def raw(self, realm, devices, interfaces):
        one = devices.raw(realm, devices.certified(realm)).start(interfaces["DeviceProperties"])
        for kind in ("integer", "longinteger"):
            one.send(f"{interfaces.name('DeviceProperties')}/{endpoint(kind)}", document(7))
        return one

    def shown(self, realm, interfaces, raw):
        """The properties that are left."""
        return realm.read(raw.base.split("/")[1], interfaces.name("DeviceProperties"))

    @pytest.mark.parametrize("header", [None, 0, 0xFFFFFFFF], ids=["right", "zero", "absurd"])
    def test_header_is_not_looked_at(self, realm, interfaces, raw, header):
        kept = f"{interfaces.name('DeviceProperties')}/integer_endpoint"
        raw.send("control/producer/properties", purge_list([kept], header))
        assert self.shown(realm, interfaces, raw) == {"integer_endpoint": 7}

    def test_four_zero_bytes_mean_that_nothing_is_set(self, realm, interfaces, raw):
        raw.send("control/producer/properties", b"\0\0\0\0")
        assert self.shown(realm, interfaces, raw) == {}

    @pytest.mark.parametrize(
        "payload",
        [bytes.fromhex("00000000789c030000000001"), bytes.fromhex("00000000789c010000ffff00000001")],
        ids=["Python and Rust", "Go"],
    )
    def test_empty_lists_of_the_official_sdks(self, realm, interfaces, raw, payload):
        raw.send("control/producer/properties", payload)
        assert self.shown(realm, interfaces, raw) == {}

    def test_foreign_and_malformed_items_are_ignored(self, realm, interfaces, raw):
        kept = f"{interfaces.name('DeviceProperties')}/integer_endpoint"
        raw.send("control/producer/properties", purge_list(["org.example.Unknown/x", "no_slash", kept]))
        assert self.shown(realm, interfaces, raw) == {"integer_endpoint": 7}

    def test_stream_of_other_compression_levels_is_read(self, realm, interfaces, raw):
        kept = f"{interfaces.name('DeviceProperties')}/longinteger_endpoint".encode()
        for level in (0, 1, 9):
            raw.send("control/producer/properties", b"\0\0\0\0" + zlib.compress(kept, level))
        assert self.shown(realm, interfaces, raw) == {"longinteger_endpoint": 7}


def test_set_after_a_kick_keeps_the_last_value(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceProperties"])
    name = interfaces.name("DeviceProperties")
    device.send(name, "/integer_endpoint", 1)
    device.settle()
    mark = device.mark()
    devices.raw(realm, device.identity).connect().stop()
    device.wait("disconnected", mark, rc=7)
    device.wait("connected", mark)
    device.settle()
    device.send(name, "/integer_endpoint", 2)
    device.settle()
    assert realm.read(device.id, name) == {"integer_endpoint": 2}
