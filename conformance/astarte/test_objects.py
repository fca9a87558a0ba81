"""Aggregates: several values in one message, whole or in part."""

from __future__ import annotations

import copy
from datetime import datetime, timezone

import bson
import pytest

from harness import values, waiting
from harness.raw import document
from harness.values import assert_same, iso, object_as_json

WHEN = datetime(2026, 1, 2, 3, 4, 5, 679000, tzinfo=timezone.utc)


def rows(realm, device_id, name, path, **params):
    """The objects stored at a base path, without their timestamps."""
    found = realm.read(device_id, name, path, **params)
    return [{key: value for key, value in row.items() if key != "timestamp"} for row in found]


@pytest.mark.parametrize("content", [values.first(), values.second()], ids=["ordinary", "falsy and extreme"])
def test_object_of_every_type_is_stored_exactly(realm, devices, interfaces, content):
    device = devices.connected(realm, interfaces["DeviceObject"])
    name = interfaces.name("DeviceObject")
    device.send_aggregate(name, "/sensor_1", content)
    device.settle()
    assert_same(rows(realm, device.id, name, "/sensor_1"), [object_as_json(content)])


@pytest.mark.parametrize("content", [values.first(), values.second()], ids=["ordinary", "falsy and extreme"])
def test_object_with_explicit_timestamp_keeps_it(realm, devices, interfaces, content):
    device = devices.connected(realm, interfaces["DeviceObjectTimed"])
    name = interfaces.name("DeviceObjectTimed")
    device.send_aggregate(name, "/station/north", content, WHEN)
    device.settle()
    want = {**object_as_json(content), "timestamp": iso(WHEN)}
    assert_same(realm.read(device.id, name, "/station/north"), [want])


def test_order_of_the_keys_does_not_matter(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceObject"])
    name = interfaces.name("DeviceObject")
    device.send_aggregate(name, "/s", dict(reversed(values.first().items())))
    device.settle()
    assert_same(rows(realm, device.id, name, "/s"), [object_as_json(values.first())])


def test_snapshot_of_one_base_path_is_the_list_of_all_objects(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceObjectTimed"])
    name = interfaces.name("DeviceObjectTimed")
    for minute, content in ((1, values.first()), (2, values.second())):
        device.send_aggregate(name, "/station/north", content, WHEN.replace(minute=minute))
    device.settle()
    want = [
        {**object_as_json(values.first()), "timestamp": iso(WHEN.replace(minute=1))},
        {**object_as_json(values.second()), "timestamp": iso(WHEN.replace(minute=2))},
    ]
    assert_same(realm.read(device.id, name), {"station": {"north": want}})
    assert_same(realm.read(device.id, name, limit=1), {"station": {"north": want[1:]}})


def test_snapshot_of_several_base_paths_is_the_newest_object_of_each(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceObjectTimed"])
    name = interfaces.name("DeviceObjectTimed")
    for minute, unit in ((1, "north"), (2, "south"), (3, "north")):
        content = {**values.first(), "integer_endpoint": minute}
        device.send_aggregate(name, f"/station/{unit}", content, WHEN.replace(minute=minute))
    device.settle()
    shown = realm.read(device.id, name)["station"]
    assert {unit: (one["integer_endpoint"], one["timestamp"]) for unit, one in shown.items()} == {
        "north": (3, iso(WHEN.replace(minute=3))),
        "south": (2, iso(WHEN.replace(minute=2))),
    }


def test_nothing_sent_is_an_empty_snapshot_and_an_unknown_path(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceObject"])
    name = interfaces.name("DeviceObject")
    assert realm.read(device.id, name) == {}
    assert realm.appengine.get(realm.at(device.id, name, "/s")).error() == (404, "Path not found")


def test_path_below_or_beside_the_base_is_refused_when_reading(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceObjectTimed"])
    name = interfaces.name("DeviceObjectTimed")
    device.send_aggregate(name, "/station/north", values.first(), WHEN)
    device.settle()
    below = realm.appengine.get(realm.at(device.id, name, "/station/north/integer_endpoint"))
    assert below.error() == (404, "Path not found")
    beside = realm.appengine.get(realm.at(device.id, name, "/elsewhere/north"))
    assert beside.error() == (400, "Endpoint not found")


def test_object_at_qos_0_arrives(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceObjectUnreliable"])
    name = interfaces.name("DeviceObjectUnreliable")
    device.send_aggregate(name, "/sensors", {"a": 1, "b": 2.5})
    waiting.until(lambda: realm.read(device.id, name), "the object of QoS 0")
    assert rows(realm, device.id, name, "/sensors") == [{"a": 1, "b": 2.5}]


def test_object_with_an_empty_base_path(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceObjectFlat"])
    name = interfaces.name("DeviceObjectFlat")
    device.send_aggregate(name, "", {"a": 1, "b": "x"})
    device.settle()
    shown = realm.read(device.id, name)
    assert [{key: one[key] for key in ("a", "b")} for one in shown] == [{"a": 1, "b": "x"}]


def test_device_with_an_older_minor_sends_partial_objects(realm, devices, interfaces):
    """Its own copy of the interface has fewer keys, so to the hub every object of it is a part."""
    older = copy.deepcopy(interfaces["DeviceObject"])
    older["mappings"] = older["mappings"][:3]
    device = devices.connected(realm, older)
    name = interfaces.name("DeviceObject")
    device.send_aggregate(name, "/s", {"double_endpoint": 1.5, "integer_endpoint": 7, "boolean_endpoint": False})
    device.settle()
    (row,) = rows(realm, device.id, name, "/s")
    present = {key: value for key, value in row.items() if value is not None}
    assert_same(present, {"double_endpoint": 1.5, "integer_endpoint": 7, "boolean_endpoint": False})


def test_null_member_is_stored_as_absent(realm, devices, interfaces):
    identity = devices.certified(realm)
    raw = devices.raw(realm, identity).start(interfaces["DeviceObject"])
    name = interfaces.name("DeviceObject")
    raw.send(f"{name}/s", document({"integer_endpoint": 7, "string_endpoint": None}))
    (row,) = rows(realm, identity.device_id, name, "/s")
    assert {key: value for key, value in row.items() if value is not None} == {"integer_endpoint": 7}


def test_object_without_the_v_key_is_the_old_form_and_accepted(realm, devices, interfaces):
    identity = devices.certified(realm)
    raw = devices.raw(realm, identity).start(interfaces["DeviceObjectUnreliable"])
    name = interfaces.name("DeviceObjectUnreliable")
    raw.send(f"{name}/sensors", bson.dumps({"a": 1, "b": 2.5}))
    assert rows(realm, identity.device_id, name, "/sensors") == [{"a": 1, "b": 2.5}]


def test_objects_keep_their_order(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceObject"])
    name = interfaces.name("DeviceObject")
    for number in range(20):
        device.send_aggregate(name, "/s", {**values.first(), "integer_endpoint": number})
    device.settle()
    assert [row["integer_endpoint"] for row in rows(realm, device.id, name, "/s")] == list(range(20))


def test_same_timestamp_on_two_base_paths_is_two_objects(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceObjectTimed"])
    name = interfaces.name("DeviceObjectTimed")
    for unit, number in (("north", 1), ("south", 2)):
        content = {**values.first(), "integer_endpoint": number}
        device.send_aggregate(name, f"/station/{unit}", content, WHEN)
    device.settle()
    assert rows(realm, device.id, name, "/station/north")[0]["integer_endpoint"] == 1
    assert rows(realm, device.id, name, "/station/south")[0]["integer_endpoint"] == 2
