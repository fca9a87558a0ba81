"""Options of AppEngine's reading side."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone

import pytest

from harness.values import first, iso, milliseconds

START = datetime(2026, 1, 2, 3, 0, 0, tzinfo=timezone.utc)
COUNT = 10
LONGS = [0, -1, 2**31, 2**52 - 1, 2**52, 2**53, 2**63 - 1, -(2**60), 7, 8]


def at(minute):
    """The timestamp of a sample."""
    return START + timedelta(minutes=minute)


@pytest.fixture(scope="module")
def device(realm, module_devices, interfaces):
    """A device with ten samples of several types and ten objects, a minute apart."""
    one = module_devices.connected(realm, interfaces["DeviceTimed"], interfaces["DeviceObjectTimed"])
    name = interfaces.name("DeviceTimed")
    for minute in range(COUNT):
        when = at(minute)
        one.send(name, "/integer_endpoint", minute, when)
        one.send(name, "/double_endpoint", math.sin(minute), when)
        one.send(name, "/longinteger_endpoint", LONGS[minute], when)
        one.send(name, "/string_endpoint", f"s{minute}", when)
    one.send(name, "/longintegerarray_endpoint", [1, 2**53], at(0))
    one.settle()
    return one


@pytest.fixture(scope="module")
def objects(realm, device, interfaces):
    """The same for objects."""
    name = interfaces.name("DeviceObjectTimed")
    for minute in range(COUNT):
        content = {**first(), "integer_endpoint": minute, "double_endpoint": math.sin(minute)}
        device.send_aggregate(name, "/station/north", content, at(minute))
    device.settle()
    return device


@pytest.fixture
def get(realm, device, interfaces):
    """Read a series of DeviceTimed with these options and return the answer."""
    name = interfaces.name("DeviceTimed")
    return lambda path, **params: realm.appengine.get(realm.at(device.id, name, path), params=params)


@pytest.fixture
def get_objects(realm, objects, interfaces):
    """Read the objects with these options and return the answer."""
    name = interfaces.name("DeviceObjectTimed")
    return lambda **params: realm.appengine.get(realm.at(objects.id, name, "/station/north"), params=params)


RANGES = [
    ({}, list(range(10))),
    ({"since": iso(at(3))}, [3, 4, 5, 6, 7, 8, 9]),
    ({"since_after": iso(at(3))}, [4, 5, 6, 7, 8, 9]),
    ({"to": iso(at(3))}, [0, 1, 2]),
    ({"since": iso(at(3)), "to": iso(at(6))}, [3, 4, 5]),
    ({"since_after": iso(at(3)), "to": iso(at(6))}, [4, 5]),
    ({"limit": 3}, [9, 8, 7]),
    ({"limit": 100}, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
    ({"limit": 3, "to": iso(at(6))}, [5, 4, 3]),
    ({"since": iso(at(3)), "limit": 2}, [3, 4]),
    ({"since_after": iso(at(3)), "limit": 2}, [4, 5]),
    ({"since": "2026-01-02T03:07:00"}, [7, 8, 9]),
    ({"since": "2026-01-02T05:07:00+02:00"}, [7, 8, 9]),
    ({"since": "2026-01-02T03:07:00.001Z"}, [8, 9]),
    ({"retrieve_metadata": "true"}, list(range(10))),
]


@pytest.mark.parametrize(("params", "want"), RANGES, ids=[str(params) for params, _ in RANGES])
def test_range_and_order_of_samples(get, params, want):
    assert get("/integer_endpoint", **params).data == [{"timestamp": iso(at(n)), "value": n} for n in want]


@pytest.mark.parametrize(("params", "want"), RANGES, ids=[str(params) for params, _ in RANGES])
def test_range_and_order_of_objects(get_objects, params, want):
    found = get_objects(**params).data
    assert [(row["integer_endpoint"], row["timestamp"]) for row in found] == [(n, iso(at(n))) for n in want]


@pytest.mark.parametrize("params", [{"since": iso(at(100))}, {"to": iso(at(-1))}], ids=str)
def test_range_without_samples(get, params):
    assert get("/integer_endpoint", **params).error() in ((404, "Path not found"), (200, {"data": []}))


def test_both_lower_bounds_conflict(get):
    answer = get("/integer_endpoint", since=iso(at(1)), since_after=iso(at(1)))
    assert (answer.status, answer.body) == (422, {"errors": {"since_after": ["conflicts already set parameter"]}})


@pytest.mark.parametrize(
    "params",
    [
        {"since": "yesterday"},
        {"since_after": "x"},
        {"to": "x"},
        {"limit": "x"},
        {"limit": -1},
        {"downsample_to": 2},
        {"downsample_to": "x"},
        {"format": "xml"},
        {"keep_milliseconds": "maybe"},
        {"allow_bigintegers": "maybe"},
    ],
    ids=str,
)
def test_bad_option_is_a_field_error(get, params):
    answer = get("/integer_endpoint", **params)
    assert answer.status == 422
    assert list(answer.body["errors"]) == list(params)


def test_longintegers_are_strings_unless_wanted_otherwise(get):
    def series(**params):
        return [row["value"] for row in get("/longinteger_endpoint", **params).data]

    assert series() == [str(value) for value in LONGS]
    assert series(allow_bigintegers="true") == LONGS
    safe = [value if value <= 0xFFFFFFFFFFFFF else str(value) for value in LONGS]
    assert series(allow_safe_bigintegers="true") == safe


def test_long_arrays_follow_the_same_rule(get):
    def value(**params):
        return get("/longintegerarray_endpoint", **params).data[0]["value"]

    assert value() == ["1", str(2**53)]
    assert value(allow_bigintegers="true") == [1, 2**53]
    assert value(allow_safe_bigintegers="true") == [1, str(2**53)]


def test_longintegers_in_objects_follow_the_same_rule(get_objects):
    assert get_objects(limit=1).data[0]["longinteger_endpoint"] == "7"
    assert get_objects(limit=1, allow_bigintegers="true").data[0]["longinteger_endpoint"] == 7


def test_keep_milliseconds(get, get_objects):
    want = [milliseconds(at(minute)) for minute in range(COUNT)]
    assert [row["timestamp"] for row in get("/integer_endpoint", keep_milliseconds="true").data] == want
    assert [row["timestamp"] for row in get_objects(keep_milliseconds="true").data] == want


def test_table_of_samples_names_its_column_after_the_last_level(get):
    answer = get("/integer_endpoint", format="table", to=iso(at(2)))
    assert answer.body == {
        "metadata": {
            "columns": {"timestamp": 0, "integer_endpoint": 1},
            "table_header": ["timestamp", "integer_endpoint"],
        },
        "data": [[iso(at(0)), 0], [iso(at(1)), 1]],
    }


def test_disjoint_tables_of_samples(get):
    answer = get("/integer_endpoint", format="disjoint_tables", to=iso(at(2)))
    assert answer.body == {"data": {"value": [[0, iso(at(0))], [1, iso(at(1))]]}}


def test_structured_is_the_default(get):
    assert get("/integer_endpoint", format="structured").body == get("/integer_endpoint").body


def test_table_of_objects_is_in_alphabetical_order(get_objects):
    answer = get_objects(format="table", to=iso(at(2)))
    (row,) = get_objects(to=iso(at(1))).data
    header = sorted(row)
    assert answer.body["metadata"] == {
        "columns": {key: number for number, key in enumerate(header)},
        "table_header": header,
    }
    assert answer.body["data"][0] == [row[key] for key in header]
    assert len(answer.body["data"]) == 2


def test_disjoint_tables_of_objects(get_objects):
    data = get_objects(format="disjoint_tables", to=iso(at(2))).data
    assert data["integer_endpoint"] == [[0, iso(at(0))], [1, iso(at(1))]]
    assert data["string_endpoint"] == [["hi", iso(at(0))], ["hi", iso(at(1))]]
    assert "timestamp" not in data


@pytest.mark.parametrize("path", ["/integer_endpoint", "/double_endpoint"])
def test_downsampling_keeps_the_ends_and_invents_nothing(get, path):
    whole = get(path).data
    for wanted in (3, 5, 9):
        some = get(path, downsample_to=wanted).data
        assert len(some) == wanted
        assert (some[0], some[-1]) == (whole[0], whole[-1])
        assert all(sample in whole for sample in some)
        assert some == sorted(some, key=lambda sample: sample["timestamp"])


def test_downsampling_to_more_than_there_is_changes_nothing(get):
    assert get("/integer_endpoint", downsample_to=100).data == get("/integer_endpoint").data


def test_downsampling_of_text_is_an_error(get):
    assert get("/string_endpoint", downsample_to=5).status == 422


def test_downsampling_of_objects_needs_a_numeric_key(get_objects):
    some = get_objects(downsample_to=4, downsample_key="double_endpoint").data
    whole = {row["timestamp"]: row["double_endpoint"] for row in get_objects().data}
    assert len(some) == 4
    assert [some[0]["timestamp"], some[-1]["timestamp"]] == [iso(at(0)), iso(at(9))]
    assert all(row["double_endpoint"] == whole[row["timestamp"]] for row in some)
    assert len(get_objects(downsample_to=4).data) == COUNT
    assert len(get_objects(downsample_to=4, downsample_key="nope").data) == COUNT
