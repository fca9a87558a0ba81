"""The list of devices, its pages, and the device object."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlparse

import pytest

from harness import waiting
from harness.rest import create_realm

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture(scope="module")
def filled(hub, module_devices):
    """A realm with five registered devices, and their ids."""
    realm = create_realm(hub)
    return realm, {module_devices.identity(realm).device_id for _ in range(5)}


def pages(realm, **params):
    """All pages from the first on: follow links.next until there is none."""
    found = []
    while True:
        answer = realm.appengine.get("devices", params=params)
        found.append(answer.body)
        following = answer.body["links"].get("next")
        if following is None:
            return found
        params = {**params, **parse_qs(urlparse(following).query)}
        assert len(found) < 20, "the pages do not end"


def test_empty_realm(new_realm):
    answer = new_realm().appengine.get("devices")
    assert answer.data == []
    assert "next" not in answer.body["links"]


def test_all_devices_on_one_page(filled):
    realm, ids = filled
    answer = realm.appengine.get("devices")
    assert set(answer.data) == ids and len(answer.data) == 5
    links = answer.body["links"]
    assert list(links) == ["self"]
    assert urlparse(links["self"]).path == f"/v1/{realm.name}/devices"


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_pages_hold_every_device_once(filled, limit):
    realm, ids = filled
    found = [page["data"] for page in pages(realm, limit=limit)]
    assert all(len(page) == limit for page in found[:-1]) and len(found[-1]) < limit
    together = [device_id for page in found for device_id in page]
    assert set(together) == ids and len(together) == 5


def test_links_are_relative_to_the_service_and_carry_the_options(filled):
    realm, _ = filled
    links = realm.appengine.get("devices", params={"limit": 2, "details": "true"}).body["links"]
    assert set(links) == {"self", "next"}
    for link in links.values():
        assert urlparse(link).path == f"/v1/{realm.name}/devices"
    following = parse_qs(urlparse(links["next"]).query)
    assert following["limit"] == ["2"]
    assert re.fullmatch(r"-?\d+", following["from_token"][0])


def test_full_last_page_is_followed_by_an_empty_one(filled):
    realm, ids = filled
    first, last = pages(realm, limit=5)
    assert set(first["data"]) == ids
    assert last["data"] == []


def test_details_are_device_objects(filled):
    realm, ids = filled
    found = realm.appengine.get("devices", params={"details": "true"}).data
    assert {one["id"] for one in found} == ids
    for one in found:
        assert one == realm.device(one["id"])
    assert set(realm.appengine.get("devices", params={"details": "false"}).data) == ids


@pytest.mark.parametrize(
    "params", [{"limit": 0}, {"limit": -1}, {"limit": "x"}, {"from_token": "x"}, {"details": "maybe"}], ids=str
)
def test_bad_option(filled, params):
    realm, _ = filled
    answer = realm.appengine.get("devices", params=params)
    assert answer.status == 422
    assert list(answer.body["errors"]) == list(params)


def test_object_of_a_device_that_was_never_connected(realm, devices):
    identity = devices.identity(realm)
    shown = realm.device(identity.device_id)
    assert TIME.fullmatch(shown.pop("first_registration"))
    assert shown == {
        "id": identity.device_id,
        "connected": False,
        "introspection": {},
        "total_received_msgs": 0,
        "total_received_bytes": 0,
        "last_connection": None,
        "last_disconnection": None,
        "last_seen_ip": None,
        "last_credentials_request_ip": None,
        "credentials_inhibited": False,
        "first_credentials_request": None,
        "aliases": {},
        "attributes": {},
        "groups": [],
        "previous_interfaces": [],
        "deletion_in_progress": False,
    }


def test_object_of_a_device_that_came_and_went(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceQos"])
    device.disconnect()
    waiting.until(lambda: realm.device(device.id)["connected"] is False, "connected to become false")
    shown = realm.device(device.id)
    times = "first_registration", "first_credentials_request", "last_connection", "last_disconnection"
    assert all(TIME.fullmatch(shown[name]) for name in times), shown
    assert [shown[name] for name in times] == sorted(shown[name] for name in times)
    assert shown["last_seen_ip"] == shown["last_credentials_request_ip"] == "127.0.0.1"
    assert list(shown["introspection"]) == [interfaces.name("DeviceQos")]


def test_connected_devices_are_told_apart_in_the_list(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceQos"])
    idle = devices.identity(realm)
    found = {one["id"]: one["connected"] for page in pages(realm, details="true", limit=50) for one in page["data"]}
    assert found[device.id] is True
    assert found[idle.device_id] is False
