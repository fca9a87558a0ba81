"""Datastreams that belong to the server: written through AppEngine, received by the SDK."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from harness import waiting
from harness.raw import Message, document
from harness.values import assert_same, as_json, endpoint, object_as_json, server_cases, server_object

RELIABILITIES = ["Unreliable", "Guaranteed", "Unique"]
QOS = {"Unreliable": 0, "Guaranteed": 1, "Unique": 2}


@pytest.fixture(scope="module")
def device(realm, module_devices, interfaces):
    server_owned = (one for one in interfaces.values() if one["ownership"] == "server")
    return module_devices.connected(realm, *server_owned)


def write(realm, device_id, name, path, value, method="POST"):
    """Write a value and return the answer."""
    return realm.appengine.call(method, realm.at(device_id, name, path), value)


@pytest.mark.parametrize("reliability", RELIABILITIES)
@pytest.mark.parametrize("case", server_cases(), ids=lambda case: case.name)
def test_individual_value_is_received_with_its_python_type(realm, device, interfaces, reliability, case):
    name, path = interfaces.name(f"ServerIndividual{reliability}"), "/" + endpoint(case.kind)
    mark = device.mark()
    answer = write(realm, device.id, name, path, case.posted)
    assert (answer.status, answer.body) == (200, {"data": case.posted})
    assert_same(device.data(name, path, mark), case.received)
    assert_same(realm.samples(device.id, name, path)[-1], as_json(case.kind, case.received))
    device.assert_alive()


@pytest.mark.parametrize("reliability", RELIABILITIES)
@pytest.mark.parametrize("index", [0, 1], ids=["ordinary", "next"])
def test_object_is_received_with_its_python_types(realm, device, interfaces, reliability, index):
    name, path = interfaces.name(f"ServerObject{reliability}"), f"/sensor_{index}"
    posted, received = server_object(index)
    mark = device.mark()
    answer = write(realm, device.id, name, path, posted)
    assert (answer.status, answer.body) == (200, {"data": posted})
    assert_same(device.data(name, path, mark), received)
    row = realm.read(device.id, name, path)[-1]
    row.pop("timestamp")
    assert_same(row, object_as_json(received))
    device.assert_alive()


@pytest.mark.parametrize("reliability", RELIABILITIES)
def test_partial_object_is_received_as_such(realm, device, interfaces, reliability):
    name = interfaces.name(f"ServerObject{reliability}")
    mark = device.mark()
    posted = {"integer_endpoint": 5, "string_endpoint": "part"}
    assert write(realm, device.id, name, "/part", posted).status == 200
    assert_same(device.data(name, "/part", mark), posted)
    device.assert_alive()


def test_put_and_post_are_the_same(realm, device, interfaces):
    name = interfaces.name("ServerIndividualUnique")
    mark = device.mark()
    assert write(realm, device.id, name, "/integer_endpoint", 41, "PUT").status == 200
    assert device.data(name, "/integer_endpoint", mark) == 41


def test_parametric_path_is_received(realm, device, interfaces):
    name = interfaces.name("ServerParametric")
    mark = device.mark()
    assert write(realm, device.id, name, "/kitchen/command", "open").status == 200
    assert device.data(name, "/kitchen/command", mark) == "open"


def test_values_arrive_in_the_order_written(realm, device, interfaces):
    name, path = interfaces.name("ServerIndividualUnique"), "/integer_endpoint"
    mark = device.mark()
    for value in range(100, 150):
        assert write(realm, device.id, name, path, value).status == 200
    waiting.until(lambda: len(device.seen("data", mark)) >= 50, "50 values")
    assert [int(e["value"]["int"]) for e in device.seen("data", mark)] == list(range(100, 150))


def test_large_value_is_received_whole(realm, device, interfaces):
    name = interfaces.name("ServerIndividualUnique")
    mark = device.mark()
    assert write(realm, device.id, name, "/string_endpoint", "ä" * 30000).status == 200
    assert device.data(name, "/string_endpoint", mark) == "ä" * 30000


def test_stored_timestamp_is_now(realm, device, interfaces):
    name = interfaces.name("ServerIndividualGuaranteed")
    assert write(realm, device.id, name, "/boolean_endpoint", True).status == 200
    shown = realm.read(device.id, name, "/boolean_endpoint")[-1]["timestamp"]
    stored = datetime.fromisoformat(shown.replace("Z", "+00:00"))
    assert abs(datetime.now(timezone.utc) - stored) < timedelta(minutes=1)


@pytest.mark.parametrize("reliability", RELIABILITIES)
def test_quality_of_service_on_the_wire_is_the_reliability(realm, devices, interfaces, reliability):
    individual, whole = interfaces[f"ServerIndividual{reliability}"], interfaces[f"ServerObject{reliability}"]
    identity = devices.certified(realm)
    raw = devices.raw(realm, identity).start(individual, whole)
    raw.wait_messages(1)  # the purge list that answers emptyCache
    name, objects = individual["interface_name"], whole["interface_name"]
    write(realm, identity.device_id, name, "/integer_endpoint", 7)
    write(realm, identity.device_id, objects, "/s", {"integer_endpoint": 7})
    assert raw.wait_messages(3)[1:] == [
        Message(f"{raw.base}/{name}/integer_endpoint", document(7), QOS[reliability], False),
        Message(f"{raw.base}/{objects}/s", document({"integer_endpoint": 7}), QOS[reliability], False),
    ]


@pytest.mark.parametrize("case", server_cases(), ids=lambda case: case.name)
def test_bytes_on_the_wire_are_the_ones_that_every_sdk_reads(realm, wire_device, interfaces, case):
    """Only {"v": ...}; double always as 0x01; integers as int32 when they fit, else int64; binary subtype 0."""
    raw, name = wire_device, interfaces.name("ServerIndividualUnique")
    before = len(raw.messages)
    device_id = raw.base.split("/")[1]
    assert write(realm, device_id, name, "/" + endpoint(case.kind), case.posted).status == 200
    message = raw.wait_messages(before + 1)[-1]
    assert message.payload.hex() == document(case.received).hex()


@pytest.fixture(scope="module")
def wire_device(realm, module_devices, interfaces):
    raw = module_devices.raw(realm, module_devices.certified(realm)).start(interfaces["ServerIndividualUnique"])
    raw.wait_messages(1)
    return raw


def offline(realm, devices, *definitions):
    """A device that has been connected and is not any more; returns its id."""
    device = devices.connected(realm, *definitions)
    device.disconnect()
    waiting.until(lambda: realm.device(device.id)["connected"] is False, "connected to become false")
    return device.id


@pytest.mark.parametrize("form", ["Individual", "Object"])
@pytest.mark.parametrize("reliability", ["Guaranteed", "Unique"])
def test_reliable_data_for_an_offline_device_is_refused_and_not_stored(realm, devices, interfaces, reliability, form):
    definition = interfaces[f"Server{form}{reliability}"]
    device_id, name = offline(realm, devices, definition), definition["interface_name"]
    path, value = ("/integer_endpoint", 7) if form == "Individual" else ("/s", {"integer_endpoint": 7})
    assert write(realm, device_id, name, path, value).error() == (503, "Cannot push to device")
    assert realm.read(device_id, name) == {}


@pytest.mark.parametrize("form", ["Individual", "Object"])
def test_unreliable_data_for_an_offline_device_is_stored_only(realm, devices, interfaces, form):
    definition = interfaces[f"Server{form}Unreliable"]
    device_id, name = offline(realm, devices, definition), definition["interface_name"]
    path, value = ("/integer_endpoint", 7) if form == "Individual" else ("/s", {"integer_endpoint": 7})
    answer = write(realm, device_id, name, path, value)
    assert (answer.status, answer.body) == (200, {"data": value})
    shown = realm.read(device_id, name, path)
    assert [one.get("value", one.get("integer_endpoint")) for one in shown] == [7]


def test_reliable_data_for_a_device_that_has_not_subscribed_is_refused(realm, devices, interfaces):
    identity = devices.certified(realm)
    raw = devices.raw(realm, identity).connect()
    raw.declare(interfaces["ServerIndividualUnique"])
    name = interfaces.name("ServerIndividualUnique")
    answer = write(realm, identity.device_id, name, "/integer_endpoint", 7)
    assert answer.error() == (503, "Cannot push to device")


@pytest.mark.parametrize("reliability", ["Guaranteed", "Unique"])
def test_kept_session_takes_reliable_data_while_offline(realm, devices, interfaces, reliability):
    definition = interfaces[f"ServerIndividual{reliability}"]
    identity, name = devices.certified(realm), definition["interface_name"]
    raw = devices.raw(realm, identity, client_id="kept", clean=False).start(definition)
    raw.wait_messages(1)
    raw.stop()
    waiting.until(lambda: realm.device(identity.device_id)["connected"] is False, "connected to become false")
    for value in (1, 2, 3):
        assert write(realm, identity.device_id, name, "/integer_endpoint", value).status == 200
    again = devices.raw(realm, identity, client_id="kept", clean=False).connect()
    assert again.session_present is True
    assert again.wait_messages(3) == [
        Message(f"{again.base}/{name}/integer_endpoint", document(value), QOS[reliability], False)
        for value in (1, 2, 3)
    ]
    assert realm.samples(identity.device_id, name, "/integer_endpoint") == [1, 2, 3]


def test_lost_network_in_a_kept_session_loses_nothing(realm, devices, interfaces):
    definition = interfaces["ServerIndividualUnique"]
    identity, name = devices.certified(realm), definition["interface_name"]
    raw = devices.raw(realm, identity, client_id="kept", clean=False).start(definition)
    raw.wait_messages(1)
    raw.drop()
    assert write(realm, identity.device_id, name, "/integer_endpoint", 1).status == 200
    again = devices.raw(realm, identity, client_id="kept", clean=False).connect()
    assert [m.payload for m in again.wait_messages(1)] == [document(1)]
