"""Input that the hub has to refuse, sent by the unmodified SDK.

The SDK checks against its own copy of an interface. A device with another copy than the realm's is therefore all it
takes to make it send what the hub must not accept: an ordinary mistake in the field.

Each time: the connection ends, nothing is stored, the SDK comes back by itself and works, and does not send the refused
message again, because it was acknowledged before the connection was closed.
"""

from __future__ import annotations

import copy
import itertools

import pytest

from harness.values import endpoint


def changed(definition, **fields):
    """A copy of an interface with other root fields."""
    return {**copy.deepcopy(definition), **fields}


def retyped(definition, kind, other):
    """A copy in which the endpoint of one type has another type."""
    one = copy.deepcopy(definition)
    for mapping in one["mappings"]:
        if mapping["type"] == kind:
            mapping["type"] = other
    return one


def with_endpoint(definition, path, kind):
    """A copy with one mapping more."""
    one = copy.deepcopy(definition)
    one["mappings"].append({**one["mappings"][0], "endpoint": path, "type": kind})
    return one


@pytest.fixture(scope="module")
def device(realm, module_devices, interfaces):
    """One device for all cases: each leaves it as it was, which is the point."""
    return module_devices.connected(realm, interfaces["DeviceQos"])


_works = itertools.count(1)


@pytest.fixture
def refused(realm, device, interfaces):
    """Give the device this copy of an interface, let send make it publish, and check everything that has to follow."""
    added = []

    def check(definition, send):
        added.append(definition["interface_name"])
        device.add_interface(definition)
        device.settle()
        mark = device.mark()
        send(device)
        device.wait("disconnected", mark, rc=7)
        device.wait("connected", mark)
        device.settle()
        device.assert_alive()
        name, number = interfaces.name("DeviceQos"), next(_works)
        device.send(name, "/unique", number)
        device.settle()
        assert realm.samples(device.id, name, "/unique")[-1] == str(number)
        assert len(device.seen("disconnected", mark)) == 1, "the refused message came again"
        answer = realm.appengine.get(realm.at(device.id, definition["interface_name"]))
        installed = any(one["interface_name"] == definition["interface_name"] for one in interfaces.values())
        if installed and definition["version_major"] == 1:
            assert (answer.status, answer.body) == (200, {"data": {}}), "nothing may be stored"
        else:
            assert answer.error() == (404, "Interface not found")

    yield check
    for name in added:
        device.remove_interface(name)
    device.settle()


WRONG_TYPES = [
    ("integer", "double", 1.5),
    ("integer", "longinteger", 2147483648),
    ("integer", "string", "7"),
    ("boolean", "integer", 1),
    ("string", "binaryblob", b"text"),
    ("binaryblob", "string", "text"),
    ("datetime", "string", "2022-11-22T10:11:21Z"),
    ("longinteger", "double", 7.0),
    ("doublearray", "double", 1.5),
    ("integerarray", "stringarray", ["a"]),
]


@pytest.mark.parametrize(("installed", "sent", "value"), WRONG_TYPES)
def test_wrong_type_as_a_sample(refused, interfaces, installed, sent, value):
    copied, path = retyped(interfaces["DeviceIndividual"], installed, sent), "/" + endpoint(installed)
    name = interfaces.name("DeviceIndividual")
    refused(copied, lambda d: d.send(name, path, value))


def test_wrong_type_as_a_property_leaves_the_old_value(realm, devices, interfaces):
    """The SDK keeps the value that was refused and sends it on every connection: a loop that only the program can end."""
    name = interfaces.name("DeviceProperties")
    device = devices.connected(realm, interfaces["DeviceProperties"])
    device.send(name, "/integer_endpoint", 7)
    device.settle()
    device.add_interface(retyped(interfaces["DeviceProperties"], "integer", "string"))
    device.settle()
    mark = device.mark()
    device.send(name, "/integer_endpoint", "seven")
    device.wait("disconnected", mark, rc=7)
    assert realm.read(device.id, name) == {"integer_endpoint": 7}


def test_unknown_path(refused, interfaces):
    name = interfaces.name("DeviceIndividual")
    copied = with_endpoint(interfaces["DeviceIndividual"], "/no/such/path", "integer")
    refused(copied, lambda d: d.send(name, "/no/such/path", 1))


def test_interface_that_is_not_installed(refused, interfaces):
    name = "org.example.NotInstalledAtAll"
    copied = changed(interfaces["DeviceIndividual"], interface_name=name)
    refused(copied, lambda d: d.send(name, "/integer_endpoint", 1))


def test_major_version_that_is_not_installed(refused, interfaces):
    name = interfaces.name("DeviceIndividual")
    copied = changed(interfaces["DeviceIndividual"], version_major=9)
    refused(copied, lambda d: d.send(name, "/integer_endpoint", 1))


def test_write_on_a_server_owned_datastream(refused, interfaces):
    name = interfaces.name("ServerIndividualUnique")
    copied = changed(interfaces["ServerIndividualUnique"], ownership="device")
    refused(copied, lambda d: d.send(name, "/integer_endpoint", 1))


def test_object_with_a_key_that_the_hub_does_not_know(refused, interfaces):
    name = interfaces.name("DeviceObjectUnreliable")
    copied = with_endpoint(interfaces["DeviceObjectUnreliable"], "/sensors/z", "integer")
    refused(copied, lambda d: d.send_aggregate(name, "/sensors", {"a": 1, "b": 2.0, "z": 3}))


def test_object_with_a_member_of_the_wrong_type_is_refused_whole(refused, interfaces):
    name = interfaces.name("DeviceObjectUnreliable")
    copied = retyped(interfaces["DeviceObjectUnreliable"], "integer", "string")
    refused(copied, lambda d: d.send_aggregate(name, "/sensors", {"a": "x", "b": 2.0}))


def test_object_sent_to_an_individual_interface(refused, interfaces):
    name = interfaces.name("DeviceParametric")
    copied = changed(
        interfaces["DeviceParametric"],
        aggregation="object",
        mappings=[{"endpoint": "/%{room}/temperature/x", "type": "double", "reliability": "unique"}],
    )
    refused(copied, lambda d: d.send_aggregate(name, "/kitchen/temperature", {"x": 1.0}))


def test_scalar_sent_to_an_object_interface(refused, interfaces):
    name = interfaces.name("DeviceObjectUnreliable")
    copied = changed(
        interfaces["DeviceObjectUnreliable"],
        aggregation="individual",
        mappings=[{"endpoint": "/sensors", "type": "integer", "reliability": "unique"}],
    )
    refused(copied, lambda d: d.send(name, "/sensors", 1))


def test_integer_beyond_64_bits_that_the_sdk_encodes_as_another_type(refused, interfaces):
    """The SDK does not bound longintegers: 2^63 goes out as BSON type 0x11, which no server decodes."""
    name = interfaces.name("DeviceIndividual")
    refused(interfaces["DeviceIndividual"], lambda d: d.send(name, "/longinteger_endpoint", 2**63))


@pytest.mark.parametrize(
    ("kind", "value"),
    [("integerarray", [1] * 1025), ("booleanarray", [True] * 1025), ("stringarray", [""] * 1025)],
    ids=["integers", "booleans", "strings"],
)
def test_array_of_more_than_1024_elements(refused, interfaces, kind, value):
    name = interfaces.name("DeviceIndividual")
    refused(interfaces["DeviceIndividual"], lambda d: d.send(name, "/" + endpoint(kind), value))


def test_messages_sent_just_before_the_refused_one_are_stored(realm, device, refused, interfaces):
    name = interfaces.name("DeviceQos")

    def send(device):
        device.do("send_many", interface=name, path="/guaranteed", values=list(range(10)))
        device.send(interfaces.name("DeviceIndividual"), "/no/such/path", 1)

    copied = with_endpoint(interfaces["DeviceIndividual"], "/no/such/path", "integer")
    refused(copied, send)
    assert realm.samples(device.id, name, "/guaranteed") == [str(value) for value in range(10)]
