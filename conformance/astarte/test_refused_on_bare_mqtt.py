"""Input that only a broken or hostile device would send, on a bare MQTT connection with the device's own certificate.

By Astarte's rules the hub acknowledges the message (a client would otherwise repeat it for ever), discards it, ends the
connection and forgets the session. The exceptions have tests of their own.
"""

from __future__ import annotations

import struct
import zlib

import pytest

from harness import waiting
from harness.raw import document, introspection, purge_list
from harness.values import endpoint

INTEGER = "/integer_endpoint"


def bson(elements: bytes, length: int | None = None, end: bytes = b"\0") -> bytes:
    """A BSON document from raw elements; length None writes the right one."""
    size = 4 + len(elements) + len(end)
    return struct.pack("<i", size if length is None else length) + elements + end


SEVEN = b"\x10v\0" + struct.pack("<i", 7)

# Payloads on DeviceIndividual: name -> (mapping type, payload).
UNDECODABLE = {
    "one byte": ("integer", b"\x00"),
    "text": ("integer", b"hello"),
    "cut short": ("integer", bson(SEVEN)[:-4]),
    "length too large": ("integer", bson(SEVEN, 13)),
    "length too small": ("integer", bson(SEVEN, 11)),
    "length negative": ("integer", bson(SEVEN, -1)),
    "length of two gigabytes": ("integer", bson(SEVEN, 2**31 - 1)),
    "trailing byte": ("integer", bson(SEVEN) + b"\0"),
    "no terminator": ("integer", bson(SEVEN, end=b"\x01")),
    "object id": ("integer", bson(b"\x07v\0" + bytes(12))),
    "undefined": ("integer", bson(b"\x06v\0")),
    "regular expression": ("string", bson(b"\x0bv\0a\0\0")),
    "timestamp type": ("longinteger", bson(b"\x11v\0" + struct.pack("<q", 7))),
    "decimal128": ("double", bson(b"\x13v\0" + bytes(16))),
    "min key": ("integer", bson(b"\xffv\0")),
    "boolean 2": ("boolean", bson(b"\x08v\0\x02")),
    "string longer than the document": ("string", bson(b"\x02v\0" + struct.pack("<i", 100) + b"hi\0")),
    "string of length 0": ("string", bson(b"\x02v\0" + struct.pack("<i", 0) + b"\0")),
    "string without terminator": ("string", bson(b"\x02v\0" + struct.pack("<i", 3) + b"hix")),
    "binary of negative length": ("binaryblob", bson(b"\x05v\0" + struct.pack("<i", -1) + b"\0\x01")),
    "array with a gap": (
        "integerarray",
        bson(b"\x04v\0" + bson(b"\x100\0" + struct.pack("<i", 1) + b"\x102\0" + struct.pack("<i", 2))),
    ),
    "array keys not numbers": ("integerarray", bson(b"\x04v\0" + bson(b"\x10a\0" + struct.pack("<i", 1)))),
    "key without terminator": ("integer", bson(b"\x10vvvv", end=b"")),
    "nested beyond the document": ("integer", bson(b"\x03v\0" + struct.pack("<i", 1000) + b"\0")),
}

WRONG_VALUES = {
    "string for integer": ("integer", document("7")),
    "double for integer": ("integer", document(7.0)),
    "boolean for integer": ("integer", document(True)),
    "integer beyond 32 bits": ("integer", document(2**31)),
    "integer for boolean": ("boolean", document(1)),
    "integer for string": ("string", document(7)),
    "binary for string": ("string", document(b"text")),
    "invalid UTF-8 in a string": ("string", bson(b"\x02v\0" + struct.pack("<i", 2) + b"\xff\0")),
    "string for binaryblob": ("binaryblob", document("text")),
    "string for datetime": ("datetime", document("2022-11-22T10:11:21Z")),
    "not a number": ("double", bson(b"\x01v\0" + struct.pack("<d", float("nan")))),
    "infinity": ("double", bson(b"\x01v\0" + struct.pack("<d", float("inf")))),
    "scalar for array": ("integerarray", document(7)),
    "array for scalar": ("integer", document([7])),
    "array with one wrong element": ("integerarray", document([1, 2, "x"])),
    "array with a null": ("stringarray", document(["a", None])),
    "document for scalar": ("integer", document({"a": 1})),
    "1025 elements": ("booleanarray", document([True] * 1025)),
}


@pytest.fixture(scope="module")
def identity(realm, module_devices):
    """One device for all cases: each leaves nothing behind, which is the point."""
    return module_devices.certified(realm)


@pytest.fixture
def raw(realm, devices, identity, interfaces):
    names = "DeviceIndividual", "DeviceObject", "DevicePropertiesFixed", "ServerIndividualUnique", "ServerProperties"
    return devices.raw(realm, identity).start(*(interfaces[name] for name in names))


def check_refused(realm, devices, identity, raw, mid):
    """The message was acknowledged, the connection has ended, and the device may come back with an empty session."""
    raw.wait_closed()
    assert raw.is_done(mid), "the message has to be acknowledged before the connection ends"
    waiting.until(lambda: realm.device(identity.device_id)["connected"] is False, "connected to become false")
    again = devices.raw(realm, identity).connect()
    assert again.session_present is False
    again.stop()


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("case", UNDECODABLE, ids=str)
def test_undecodable_bson(realm, devices, identity, interfaces, raw, case, qos):
    kind, payload = UNDECODABLE[case]
    name = interfaces.name("DeviceIndividual")
    mid = raw.publish(f"{name}/{endpoint(kind)}", payload, qos)
    check_refused(realm, devices, identity, raw, mid)
    assert realm.read(identity.device_id, name) == {}


@pytest.mark.parametrize("case", WRONG_VALUES, ids=str)
def test_wrong_value(realm, devices, identity, interfaces, raw, case):
    kind, payload = WRONG_VALUES[case]
    name = interfaces.name("DeviceIndividual")
    mid = raw.publish(f"{name}/{endpoint(kind)}", payload)
    check_refused(realm, devices, identity, raw, mid)
    assert realm.read(identity.device_id, name) == {}


PATHS = {
    "unknown path": "DeviceIndividual/nope",
    "path too deep": "DeviceIndividual/integer_endpoint/deeper",
    "no path": "DeviceIndividual",
    "double slash": "DeviceIndividual//integer_endpoint",
    "trailing slash": "DeviceIndividual/integer_endpoint/",
    "other case": "DeviceIndividual/Integer_Endpoint",
    "member of an object": "DeviceObject/s/integer_endpoint",
    "object base missing": "DeviceObject",
    "parameter as a level": "DeviceObject/%{sensor}",
    "server-owned datastream": "ServerIndividualUnique/integer_endpoint",
    "server-owned property": "ServerProperties/integer_endpoint",
    "not in the introspection": "DeviceQos/unique",
}


@pytest.mark.parametrize("case", PATHS, ids=str)
def test_topic_where_nothing_may_be_written(realm, devices, identity, interfaces, raw, case):
    mid = raw.publish("org.fairlead.conformance." + PATHS[case], document(7))
    check_refused(realm, devices, identity, raw, mid)
    for name in ("DeviceIndividual", "ServerIndividualUnique", "ServerProperties"):
        answer = realm.appengine.get(realm.at(identity.device_id, interfaces.name(name)))
        assert answer.body == {"data": {}}, (name, answer)


def test_unknown_interface(realm, devices, identity, raw):
    mid = raw.publish("org.example.Unknown/x", document(7))
    check_refused(realm, devices, identity, raw, mid)


@pytest.mark.parametrize(
    "payload",
    [document(7), document(None), b"", document({"integer_endpoint": "x"}), document({"nope": 1}), document([1])],
    ids=["scalar", "null", "empty", "wrong type of a member", "unknown key", "array"],
)
def test_bad_object(realm, devices, identity, interfaces, raw, payload):
    name = interfaces.name("DeviceObject")
    mid = raw.publish(f"{name}/s", payload)
    check_refused(realm, devices, identity, raw, mid)
    assert realm.read(identity.device_id, name) == {}


def test_refused_object_does_not_apply_its_good_members(realm, devices, identity, interfaces, raw):
    name = interfaces.name("DeviceObject")
    mid = raw.publish(f"{name}/s", document({"double_endpoint": 1.5, "integer_endpoint": "x"}))
    check_refused(realm, devices, identity, raw, mid)
    assert realm.read(identity.device_id, name) == {}


INTROSPECTIONS = {
    "not the form": b"nonsense",
    "two parts": b"org.example.A:1",
    "four parts": b"org.example.A:1:0:0",
    "trailing separator": b"org.example.A:1:0;",
    "empty item": b"org.example.A:1:0;;org.example.B:1:0",
    "version not a number": b"org.example.A:one:0",
    "negative version": b"org.example.A:1:-1",
    "bad name": b"org..example:1:0",
    "name with a slash": b"org/example:1:0",
    "one good and one bad": b"org.example.A:1:0;org.example.B",
    "not UTF-8": b"org.example.\xff:1:0",
}


@pytest.mark.parametrize("case", INTROSPECTIONS, ids=str)
def test_bad_introspection_leaves_the_old_one(realm, devices, identity, raw, case):
    before = realm.device(identity.device_id)["introspection"]
    mid = raw.publish("", INTROSPECTIONS[case])
    check_refused(realm, devices, identity, raw, mid)
    after = realm.device(identity.device_id)["introspection"]
    assert {name: (one["major"], one["minor"]) for name, one in after.items()} == {
        name: (one["major"], one["minor"]) for name, one in before.items()
    }


PURGE_LISTS = {
    "empty payload": b"",
    "three bytes": b"\0\0\0",
    "not zlib": b"\0\0\0\x05hello",
    "cut short": purge_list(["org.example.A/x"])[:-6],
    "not UTF-8": b"\0\0\0\x01" + zlib.compress(b"\xff"),
    "too large when inflated": b"\0\0\0\0" + zlib.compress(b"a" * 10485761, 9),
}


@pytest.mark.parametrize("case", PURGE_LISTS, ids=str)
def test_bad_purge_list_deletes_nothing(realm, devices, identity, interfaces, raw, case):
    name = interfaces.name("DevicePropertiesFixed")
    raw.send(name + INTEGER, document(7))
    mid = raw.publish("control/producer/properties", PURGE_LISTS[case])
    check_refused(realm, devices, identity, raw, mid)
    assert realm.read(identity.device_id, name) == {"integer_endpoint": 7}


def test_unset_where_it_is_not_allowed_keeps_the_value(realm, devices, identity, interfaces, raw):
    name = interfaces.name("DevicePropertiesFixed")
    raw.send(name + INTEGER, document(7))
    mid = raw.publish(name + INTEGER, b"")
    check_refused(realm, devices, identity, raw, mid)
    assert realm.read(identity.device_id, name) == {"integer_endpoint": 7}


@pytest.mark.parametrize("payload", [b"", document(None)], ids=["empty", "null"])
def test_unset_on_a_datastream_is_ignored_and_keeps_the_connection(realm, devices, identity, interfaces, raw, payload):
    name = interfaces.name("DeviceIndividual")
    raw.send(name + INTEGER, payload)
    raw.declare(interfaces["DeviceIndividual"])
    assert not raw.closed
    assert realm.read(identity.device_id, name) == {}


@pytest.mark.parametrize("topic", ["control/other", "control/consumer/properties", "control", "capabilities"])
def test_unexpected_control_message(realm, devices, identity, raw, topic):
    mid = raw.publish(topic, b"\xff\xff")
    check_refused(realm, devices, identity, raw, mid)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_publish_outside_the_own_topic_ends_the_connection_without_acknowledgement(
    realm, devices, identity, interfaces, raw, qos
):
    other = devices.certified(realm)
    victim = devices.raw(realm, other).start(interfaces["DeviceIndividual"])
    name = interfaces.name("DeviceIndividual")
    mid = raw.publish_absolute(f"{victim.base}/{name}{INTEGER}", document(7), qos)
    raw.wait_closed()
    assert qos == 0 or not raw.is_done(mid)
    assert realm.read(other.device_id, name) == {}
    victim.barrier(interfaces["DeviceIndividual"])
    devices.raw(realm, identity).connect().barrier(interfaces["DeviceIndividual"])


@pytest.mark.parametrize("topic", ["other/topic", "$SYS/x", "{realm}", "{realm}/{device}x/a/b"])
def test_publish_on_any_foreign_topic_ends_the_connection(realm, devices, identity, raw, topic):
    raw.publish_absolute(topic.format(realm=identity.realm, device=identity.device_id), document(7), 1)
    raw.wait_closed()


def test_subscribe_outside_the_own_topic_is_refused_and_the_rest_granted(realm, devices, identity, interfaces, raw):
    other = devices.certified(realm)
    name = interfaces.name("ServerIndividualUnique")
    foreign = [f"{identity.realm}/{other.device_id}/#", "#", "+/+/#", f"{identity.realm}/+/#", "$SYS/#"]
    assert raw.subscribe(*foreign, f"{raw.base}/{name}/#") == [0x80] * len(foreign) + [2]
    victim = devices.raw(realm, other).start(interfaces["ServerIndividualUnique"])
    victim.wait_messages(1)
    before = len(raw.messages)
    assert realm.appengine.post(realm.at(other.device_id, name, INTEGER), 7).status == 200
    victim.wait_messages(2)
    raw.barrier(interfaces["ServerIndividualUnique"])
    assert [m for m in raw.messages[before:] if other.device_id in m.topic] == []


def test_device_may_subscribe_to_everything_of_its_own(raw):
    assert raw.subscribe(f"{raw.base}/#", raw.base) == [2, 2]


@pytest.mark.parametrize("size", [70_000, 1_000_000])
def test_message_beyond_65535_bytes_ends_the_connection(realm, devices, identity, interfaces, raw, size):
    name = interfaces.name("DeviceIndividual")
    raw.publish(f"{name}/string_endpoint", document("x" * size), 1)
    raw.wait_closed()
    assert realm.read(identity.device_id, name) == {}
    devices.raw(realm, identity).connect().barrier(interfaces["DeviceIndividual"])


def test_timestamp_of_another_type_is_ignored_and_the_value_taken(realm, devices, interfaces):
    identity = devices.certified(realm)
    raw = devices.raw(realm, identity).start(interfaces["DeviceIndividual"])
    name = interfaces.name("DeviceIndividual")
    raw.send(name + INTEGER, document(7, t="yesterday"))
    raw.send(name + INTEGER, document(8, m={"any": "metadata"}))
    assert realm.samples(identity.device_id, name, INTEGER) == [7, 8]


def test_integers_are_accepted_where_doubles_and_longs_are_wanted(realm, devices, interfaces):
    identity = devices.certified(realm)
    raw = devices.raw(realm, identity).start(interfaces["DeviceIndividual"])
    name = interfaces.name("DeviceIndividual")
    raw.send(f"{name}/double_endpoint", document(7))
    raw.send(f"{name}/longinteger_endpoint", bson(b"\x12v\0" + struct.pack("<q", 7)))
    raw.send(f"{name}/integer_endpoint", bson(b"\x12v\0" + struct.pack("<q", 7)))
    raw.send(f"{name}/datetime_endpoint", document(1669111881000))
    assert realm.samples(identity.device_id, name, "/double_endpoint") == [7]
    assert realm.samples(identity.device_id, name, "/longinteger_endpoint") == ["7"]
    assert realm.samples(identity.device_id, name, "/integer_endpoint") == [7]
    assert realm.samples(identity.device_id, name, "/datetime_endpoint") == ["2022-11-22T10:11:21.000Z"]


def test_level_of_quality_is_not_enforced(realm, devices, interfaces):
    identity = devices.certified(realm)
    raw = devices.raw(realm, identity).start(interfaces["DeviceQos"])
    name = interfaces.name("DeviceQos")
    raw.send(f"{name}/unique", document(1), 1)
    raw.send(f"{name}/unreliable", document(2), 2)
    assert realm.samples(identity.device_id, name, "/unique") == ["1"]
    assert realm.samples(identity.device_id, name, "/unreliable") == ["2"]


def test_kept_session_is_forgotten_after_a_refusal(realm, devices, interfaces):
    identity = devices.certified(realm)
    definition = interfaces["ServerIndividualUnique"]
    raw = devices.raw(realm, identity, client_id="kept", clean=False).start(definition)
    raw.publish("org.example.Unknown/x", document(7))
    raw.wait_closed()
    answer = realm.appengine.post(realm.at(identity.device_id, definition["interface_name"], INTEGER), 7)
    assert answer.error() == (503, "Cannot push to device")
    assert devices.raw(realm, identity, client_id="kept", clean=False).connect().session_present is False


def test_refused_device_disturbs_no_other(realm, devices, interfaces):
    bystander = devices.connected(realm, interfaces["DeviceQos"])
    identity = devices.certified(realm)
    for _ in range(5):
        raw = devices.raw(realm, identity).start(interfaces["DeviceQos"])
        raw.publish(f"{interfaces.name('DeviceQos')}/nope", document(7))
        raw.wait_closed()
    bystander.send(interfaces.name("DeviceQos"), "/unique", 1)
    bystander.settle()
    assert not bystander.seen("disconnected")


def test_introspection_helper_writes_what_the_sdk_writes(interfaces):
    name = interfaces.name("DeviceQos")
    assert introspection(interfaces["DeviceQos"]) == f"{name}:1:0".encode()
