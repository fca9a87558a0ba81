"""Samples that the SDK sends one by one: every type, every boundary, every reliability, with and without timestamp."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from harness import values, waiting
from harness.device import DeviceError
from harness.values import VALUES, as_json, assert_same, endpoint, iso, ordinary

UTC = timezone.utc
WHEN = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@pytest.fixture(scope="module")
def device(realm, module_devices, interfaces):
    names = ("DeviceIndividual", "DeviceTimed", "DeviceQos", "DeviceParametric")
    return module_devices.connected(realm, *(interfaces[name] for name in names))


@pytest.mark.parametrize("case", ordinary(), ids=lambda case: case.name)
def test_value_is_stored_exactly(realm, device, interfaces, case):
    name, path = interfaces.name("DeviceIndividual"), "/" + endpoint(case.kind)
    device.send(name, path, case.value)
    device.settle()
    # acknowledged means stored and visible: read once, at once
    assert_same(realm.samples(device.id, name, path)[-1], as_json(case.kind, case.value))


@pytest.mark.parametrize("case", ordinary(), ids=lambda case: case.name)
def test_value_with_explicit_timestamp_keeps_both(realm, device, interfaces, case):
    name, path = interfaces.name("DeviceTimed"), "/" + endpoint(case.kind)
    when = WHEN + timedelta(minutes=int(case.name.rsplit("_", 1)[1]))
    device.send(name, path, case.value, when)
    device.settle()
    series = realm.read(device.id, name, path, since=iso(when), to=iso(when + timedelta(seconds=1)))
    assert_same(series, [{"timestamp": iso(when), "value": as_json(case.kind, case.value)}])


@pytest.fixture(scope="module")
def fresh_device(realm, module_devices, interfaces):
    return module_devices.connected(realm, interfaces["DeviceTimed"])


@pytest.mark.parametrize("kind", list(VALUES))
def test_snapshot_shows_the_last_sample_with_both_timestamps(realm, fresh_device, interfaces, kind):
    device = fresh_device
    name, path = interfaces.name("DeviceTimed"), "/" + endpoint(kind)
    device.send(name, path, VALUES[kind][1], WHEN)
    device.send(name, path, VALUES[kind][0], WHEN + timedelta(seconds=1))
    device.settle()
    leaf = realm.read(device.id, name)[endpoint(kind)]
    assert sorted(leaf) == ["reception_timestamp", "timestamp", "value"]
    assert leaf["timestamp"] == iso(WHEN + timedelta(seconds=1))
    assert_same(leaf["value"], as_json(kind, VALUES[kind][0], longs=int))
    received = datetime.fromisoformat(leaf["reception_timestamp"].replace("Z", "+00:00"))
    assert abs(datetime.now(UTC) - received) < timedelta(minutes=1)


@pytest.mark.parametrize(("kind", "value"), values.MAY_BE_REFUSED)
def test_smallest_integers_are_stored_exactly_or_refused_whole(realm, devices, interfaces, kind, value):
    """Astarte refuses them, a hub may take them; what may not happen is another value."""
    device = devices.connected(realm, interfaces["DeviceIndividual"])
    name, path = interfaces.name("DeviceIndividual"), "/" + endpoint(kind)
    mark = device.mark()
    device.send(name, path, value)
    device.wait_where(
        lambda e: e["event"] == "disconnected" or (e["event"] == "acknowledged" and e["topic"].endswith(path)),
        "an acknowledgement or a disconnection",
        mark,
    )
    stored = realm.samples(device.id, name, path)
    if stored:
        assert_same(stored, [as_json(kind, value)])
        assert not device.seen("disconnected")
    else:
        device.wait("disconnected", mark, rc=7)
        device.wait("connected", mark)


def test_empty_blob_means_unset_is_not_stored_and_does_not_disconnect(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceIndividual"])
    name, path = interfaces.name("DeviceIndividual"), "/binaryblob_endpoint"
    device.send(name, path, b"")
    device.send(name, path, b"x")
    device.settle()
    assert realm.samples(device.id, name, path) == ["eA=="]
    assert not device.seen("disconnected")


def test_empty_blob_with_timestamp_is_a_value(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceTimed"])
    name, path = interfaces.name("DeviceTimed"), "/binaryblob_endpoint"
    device.send(name, path, b"", WHEN)
    device.settle()
    # {"v": <empty binary>, "t": ...} lacks "m", so only the rule for v and t applies: it is a value
    assert realm.read(device.id, name, path) == [{"timestamp": iso(WHEN), "value": ""}]


@pytest.mark.parametrize(
    ("when", "shown"),
    [
        (datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05.000Z"),
        (datetime(2026, 1, 2, 5, 4, 5, tzinfo=timezone(timedelta(hours=2))), "2026-01-02T03:04:05.000Z"),
        (datetime(1970, 1, 1, tzinfo=UTC), "1970-01-01T00:00:00.000Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), "2026-01-02T03:04:05.679Z"),
    ],
    ids=["naive is UTC", "with offset", "epoch", "rounded to milliseconds"],
)
def test_explicit_timestamp_forms(realm, devices, interfaces, when, shown):
    device = devices.connected(realm, interfaces["DeviceTimed"])
    name = interfaces.name("DeviceTimed")
    device.send(name, "/integer_endpoint", 1, when)
    device.settle()
    assert realm.read(device.id, name, "/integer_endpoint") == [{"timestamp": shown, "value": 1}]


def test_samples_are_ordered_by_their_own_timestamp(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceTimed"])
    name = interfaces.name("DeviceTimed")
    for minute in (3, 1, 2):
        device.send(name, "/integer_endpoint", minute, WHEN.replace(minute=minute))
    device.settle()
    assert realm.samples(device.id, name, "/integer_endpoint") == [1, 2, 3]
    assert realm.read(device.id, name)["integer_endpoint"]["value"] == 3


@pytest.mark.parametrize("path", ["/unreliable", "/guaranteed", "/unique"])
def test_three_hundred_samples_arrive_once_and_in_order(realm, device, interfaces, path):
    name, sent = interfaces.name("DeviceQos"), list(range(300))
    device.do("send_many", interface=name, path=path, values=sent)
    device.settle()
    want = [str(value) for value in sent]
    if path == "/unreliable":
        waiting.until_equal(lambda: realm.samples(device.id, name, path), want, "the samples of QoS 0")
    assert realm.samples(device.id, name, path) == want


def test_parametric_paths_are_separate_series(realm, device, interfaces):
    name = interfaces.name("DeviceParametric")
    device.send(name, "/kitchen/temperature", 20.5)
    device.send(name, "/cellar/temperature", 12.25)
    device.send(name, "/kitchen/name", "Küche")
    device.send(name, "/kitchen/box/upper_1/weight", 3)
    device.settle()
    assert realm.samples(device.id, name, "/kitchen/temperature") == [20.5]
    assert realm.samples(device.id, name, "/cellar/temperature") == [12.25]
    shown = realm.read(device.id, name)
    assert shown["kitchen"]["temperature"]["value"] == 20.5
    assert shown["kitchen"]["name"]["value"] == "Küche"
    assert shown["kitchen"]["box"]["upper_1"]["weight"]["value"] == 3
    assert shown["cellar"]["temperature"]["value"] == 12.25


def test_large_string_and_blob_and_arrays_are_stored_whole(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceIndividual"])
    name = interfaces.name("DeviceIndividual")
    large = {
        "string": "ä" * 30000,
        "binaryblob": bytes(range(256)) * 200,
        "integerarray": list(range(1024)),
        "stringarray": ["x" * 50] * 1000,
        "doublearray": [0.1 * n for n in range(1024)],
    }
    for kind, value in large.items():
        device.send(name, "/" + endpoint(kind), value)
    device.settle()
    for kind, value in large.items():
        assert_same(realm.samples(device.id, name, "/" + endpoint(kind)), [as_json(kind, value)])


def test_interface_with_nothing_sent_is_an_empty_snapshot_and_an_unknown_series(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceIndividual"])
    name = interfaces.name("DeviceIndividual")
    assert realm.read(device.id, name) == {}
    answer = realm.appengine.get(realm.at(device.id, name, "/double_endpoint"))
    assert answer.error() == (404, "Path not found")


@pytest.mark.parametrize(
    ("interface", "path", "value", "when", "error"),
    [
        ("DeviceIndividual", "/double_endpoint", 7, None, "ValidationError"),
        ("DeviceIndividual", "/integer_endpoint", 2147483648, None, "ValidationError"),
        ("DeviceIndividual", "/nope", 1, None, "ValidationError"),
        ("DeviceIndividual", "/integer_endpoint", 1, WHEN, "ValidationError"),
        ("DeviceTimed", "/integer_endpoint", 1, None, "ValidationError"),
        ("Unknown", "/nope", 1, None, "InterfaceNotFoundError"),
    ],
)
def test_what_the_sdk_refuses_itself_never_reaches_the_hub(
    realm, device, interfaces, interface, path, value, when, error
):
    before = realm.device(device.id)["total_received_msgs"]
    name = interfaces.name(interface) if interface in interfaces else "org.example.Unknown"
    with pytest.raises(DeviceError) as caught:
        device.send(name, path, value, when)
    assert caught.value.type == error
    assert realm.device(device.id)["total_received_msgs"] == before
