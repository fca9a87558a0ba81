"""What a device has sent so far, counted by the hub: exactly, and at once."""

from __future__ import annotations

import bson
import pytest

from harness.raw import document, introspection

EMPTY_PURGE_LIST = 12  # bytes: header and zlib of nothing
PURGE_PATH = len("/producer/properties")


def totals(realm, device_id):
    """Messages and bytes of the device in all."""
    shown = realm.device(device_id)
    return shown["total_received_msgs"], shown["total_received_bytes"]


def exchanged(realm, device_id, name):
    """Messages and bytes of one interface."""
    shown = realm.device(device_id)["introspection"][name]
    return shown["exchanged_msgs"], shown["exchanged_bytes"]


def size(name, path, payload):
    """What a data message counts."""
    return len(name) + len(path) + len(payload)


def test_handshake_of_the_sdk_counts_two_messages(realm, devices, interfaces):
    """Introspection and purge list count, emptyCache does not."""
    device = devices.connected(realm, interfaces["DeviceQos"])
    want = 2, len(introspection(interfaces["DeviceQos"])) + EMPTY_PURGE_LIST + PURGE_PATH
    assert totals(realm, device.id) == want
    assert exchanged(realm, device.id, interfaces.name("DeviceQos")) == (0, 0)


def test_data_counts_payload_interface_and_path(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceQos"], interfaces["DeviceProperties"])
    messages, received = totals(realm, device.id)
    name, props = interfaces.name("DeviceQos"), interfaces.name("DeviceProperties")
    device.send(name, "/guaranteed", 1)
    device.send(name, "/unique", 2**40)
    device.send(props, "/string_endpoint", "hello")
    device.unset_property(props, "/string_endpoint")
    device.settle()
    data = size(name, "/guaranteed", bson.dumps({"v": 1})) + size(name, "/unique", bson.dumps({"v": 2**40}))
    properties = size(props, "/string_endpoint", bson.dumps({"v": "hello"})) + size(props, "/string_endpoint", b"")
    assert exchanged(realm, device.id, name) == (2, data)
    assert exchanged(realm, device.id, props) == (2, properties)
    assert totals(realm, device.id) == (messages + 4, received + data + properties)


def test_removed_interface_keeps_its_counts_in_the_previous_ones(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceQos"], interfaces["HotDeviceData"])
    name = interfaces.name("HotDeviceData")
    device.send(name, "/value", 7)
    device.settle()
    device.remove_interface(name)
    device.settle()
    (previous,) = realm.device(device.id)["previous_interfaces"]
    assert previous == {
        "name": name,
        "major": 1,
        "minor": 0,
        "exchanged_msgs": 1,
        "exchanged_bytes": size(name, "/value", bson.dumps({"v": 7})),
    }


REFUSED = {
    "wrong type": ("DeviceQos", "/unique", document("x"), 1),
    "unknown path": ("DeviceQos", "/nope", document(1), 1),
    "unset not allowed": ("DevicePropertiesFixed", "/integer_endpoint", b"", 0),
}


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_refused_message_counts_for_the_device_only(realm, devices, interfaces, case):
    short, path, payload, counted = REFUSED[case]
    name, identity = interfaces.name(short), devices.certified(realm)
    raw = devices.raw(realm, identity).start(interfaces[short])
    raw.send("control/producer/properties", b"\0\0\0\0")
    messages, _ = totals(realm, identity.device_id)
    raw.publish(name + path, payload)
    raw.wait_closed()
    assert totals(realm, identity.device_id)[0] == messages + counted
    assert exchanged(realm, identity.device_id, name) == (0, 0)


def test_unset_on_a_datastream_does_not_count(realm, devices, interfaces):
    identity = devices.certified(realm)
    raw = devices.raw(realm, identity).start(interfaces["DeviceQos"])
    before = totals(realm, identity.device_id)
    raw.send(interfaces.name("DeviceQos") + "/unique", b"")
    assert totals(realm, identity.device_id) == before


def test_counts_survive_a_reconnection(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceQos"])
    name = interfaces.name("DeviceQos")
    device.send(name, "/unique", 1)
    device.settle()
    before = exchanged(realm, device.id, name)
    messages, _ = totals(realm, device.id)
    device.disconnect()
    device.connect()
    assert exchanged(realm, device.id, name) == before
    assert totals(realm, device.id)[0] == messages + 2
