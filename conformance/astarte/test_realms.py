"""Realms through Housekeeping."""

from __future__ import annotations

import itertools

import pytest
from astarte.device import generate_random_device_id, register_device_with_jwt_token

from harness.rest import EVERYTHING, Realm, new_key, public_pem

_numbers = itertools.count(1)


def fresh_name():
    """A realm name that no other test uses."""
    return f"realms{next(_numbers)}"


@pytest.fixture
def housekeeping(hub):
    return hub.housekeeping()


@pytest.mark.parametrize("kind", ["ec", "ec384", "ec521", "rsa"])
def test_created_realm_is_listed_shown_and_works(hub, housekeeping, kind):
    name, key = fresh_name(), new_key(kind)
    answer = housekeeping.post("realms", {"realm_name": name, "jwt_public_key_pem": public_pem(key)})
    assert answer.status == 201
    assert answer.headers["location"].endswith(f"/v1/realms/{name}")
    assert answer.data["realm_name"] == name
    assert name in housekeeping.get("realms").data
    shown = housekeeping.get(f"realms/{name}").data
    assert shown["realm_name"] == name
    assert shown["jwt_public_key_pem"].strip() == public_pem(key).strip()
    assert shown["device_registration_limit"] is None
    assert shown["datastream_maximum_storage_retention"] is None
    realm = Realm(hub, name, key)
    device_id = generate_random_device_id()
    register_device_with_jwt_token(device_id, name, realm.token(a_pa=EVERYTHING), realm.pairing_url)
    assert realm.appengine.get("devices").data == [device_id]
    assert realm.management.get("interfaces").data == []


@pytest.mark.parametrize("wait", ["true", "false"])
def test_realm_is_there_as_soon_as_the_answer(hub, housekeeping, wait):
    name, key = fresh_name(), new_key()
    answer = housekeeping.post(
        "realms",
        {"realm_name": name, "jwt_public_key_pem": public_pem(key)},
        params={"async_operation": wait},
    )
    assert answer.status == 201
    assert Realm(hub, name, key).management.get("interfaces").data == []


def test_replication_fields_are_accepted_and_shown(housekeeping):
    name = fresh_name()
    body = {
        "realm_name": name,
        "jwt_public_key_pem": public_pem(new_key()),
        "replication_class": "SimpleStrategy",
        "replication_factor": 1,
    }
    assert housekeeping.post("realms", body).status == 201
    shown = housekeeping.get(f"realms/{name}").data
    assert (shown["replication_class"], shown["replication_factor"]) == ("SimpleStrategy", 1)


def test_existing_realm(housekeeping, realm):
    answer = housekeeping.post("realms", {"realm_name": realm.name, "jwt_public_key_pem": public_pem(new_key())})
    assert answer.error() == (409, "Realm already exists")
    assert realm.appengine.get("devices").status == 200, "the old key has to stay"


def test_unknown_realm(housekeeping):
    assert housekeeping.get("realms/nosuchrealm").error() == (404, "realm not found")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "can't be blank"),
        ("Upper", "is invalid"),
        ("1digit", "is invalid"),
        ("with_underscore", "is invalid"),
        ("with-hyphen", "is invalid"),
        ("x" * 49, "is invalid"),
        ("line\nbreak", "is invalid"),
        ("trailing\n", "is invalid"),
        ("astarte", "is reserved"),
        ("system", "is reserved"),
    ],
)
def test_bad_name(housekeeping, name, text):
    answer = housekeeping.post("realms", {"realm_name": name, "jwt_public_key_pem": public_pem(new_key())})
    assert (answer.status, answer.body) == (422, {"errors": {"realm_name": [text]}})


def test_longest_name(housekeeping):
    name = "x" * 48
    answer = housekeeping.post("realms", {"realm_name": name, "jwt_public_key_pem": public_pem(new_key())})
    assert answer.status == 201


@pytest.mark.parametrize("pem", ["nonsense", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_bad_key(housekeeping, pem):
    answer = housekeeping.post("realms", {"realm_name": fresh_name(), "jwt_public_key_pem": pem})
    assert (answer.status, answer.body) == (
        422,
        {"errors": {"jwt_public_key_pem": ["is not a valid PEM public key"]}},
    )


def test_private_key_in_place_of_the_public_one(housekeeping):
    answer = housekeeping.post("realms", {"realm_name": fresh_name(), "jwt_public_key_pem": new_key()})
    assert (answer.status, answer.body) == (
        422,
        {"errors": {"jwt_public_key_pem": ["is not a valid PEM public key"]}},
    )


def test_same_device_in_two_realms_is_two_devices(devices, realm, new_realm, interfaces):
    other = new_realm()
    other.install(interfaces["DeviceQos"])
    name, device_id = interfaces.name("DeviceQos"), generate_random_device_id()
    programs = []
    for value, one in enumerate((realm, other)):
        identity = one.register(device_id, devices.folder / one.name)
        program = devices.program(one, identity, interfaces["DeviceQos"]).connect()
        program.send(name, "/unique", value)
        program.settle()
        programs.append(program)
    assert realm.samples(device_id, name, "/unique") == ["0"]
    assert other.samples(device_id, name, "/unique") == ["1"]
    assert not any(program.seen("disconnected") for program in programs)


def test_device_of_one_realm_does_not_publish_into_another(devices, realm, new_realm, interfaces):
    other = new_realm()
    other.install(interfaces["DeviceQos"])
    device_id = generate_random_device_id()
    other.register(
        device_id,
        devices.folder / "other",
        initial_introspection={
            interfaces.name("DeviceQos"): {"major": 1, "minor": 0},
        },
    )
    raw = devices.raw(realm, devices.certified(realm)).connect()
    raw.publish_absolute(f"{other.name}/{device_id}/{interfaces.name('DeviceQos')}/unique", b"", 1)
    raw.wait_closed()
    assert other.samples(device_id, interfaces.name("DeviceQos"), "/unique") == []
