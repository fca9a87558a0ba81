"""Registering devices through Pairing, with the SDK's own functions."""

from __future__ import annotations

import base64
import os
import uuid

import pytest
import requests
from astarte.device import (
    APIError,
    AuthorizationError,
    DeviceAlreadyRegisteredError,
    JWTGenerationError,
    generate_device_id,
    generate_random_device_id,
    register_device_with_jwt_token,
    register_device_with_private_key,
)

from harness.rest import EVERYTHING, mint, new_key

NAMESPACE = uuid.UUID("f79ad91f-c638-4889-ae74-9d001a3b4cf8")


def register(realm, device_id, token=None, url=None):
    """Register with the SDK's function and a token of the realm."""
    token = token or realm.token(a_pa=EVERYTHING)
    return register_device_with_jwt_token(device_id, realm.name, token, url or realm.pairing_url)


def test_with_token_returns_a_secret_of_32_random_bytes(realm):
    first, second = (register(realm, generate_random_device_id()) for _ in range(2))
    assert len(base64.b64decode(first, validate=True)) == 32
    assert len(first) == 44
    assert first != second


def test_registered_device_is_shown_before_it_ever_connects(realm):
    device_id = generate_random_device_id()
    register(realm, device_id)
    shown = realm.device(device_id)
    assert shown["id"] == device_id
    assert shown["connected"] is False
    assert shown["first_registration"] is not None
    assert shown["first_credentials_request"] is None
    assert shown["introspection"] == {}


def test_deterministic_id_of_the_sdk_is_accepted(realm):
    device_id = generate_device_id(NAMESPACE, "sn-0001")
    assert device_id == "Vi3j3M8YVpOPyuzqk8sg5A"
    register(realm, device_id)
    assert realm.device(device_id)["id"] == device_id


def test_base_url_with_trailing_slash_is_tolerated(realm):
    assert len(register(realm, generate_random_device_id(), url=realm.pairing_url + "/")) == 44


@pytest.mark.parametrize("kind", ["ec", "ec384", "ec521", "rsa"])
def test_token_signed_with_each_kind_of_realm_key_is_accepted(new_realm, kind):
    realm = new_realm(kind)
    assert len(register(realm, generate_random_device_id())) == 44


def test_pss_token_of_an_rsa_realm_is_accepted(new_realm):
    realm = new_realm("rsa")
    for alg in ("PS256", "PS384", "PS512", "RS384", "RS512"):
        token = mint(realm.key, alg=alg, a_pa=EVERYTHING)
        assert len(register(realm, generate_random_device_id(), token)) == 44, alg


def test_token_without_expiry_is_valid(realm):
    token = realm.token(lifetime=None, a_pa=EVERYTHING)
    assert len(register(realm, generate_random_device_id(), token)) == 44


def test_quirk_sdk_cannot_register_with_rsa_private_key_under_pyjwt_2(new_realm, tmp_path):
    """The SDK calls decode() on what PyJWT 2 returns as text; nothing is sent, so no hub can help."""
    realm, device_id = new_realm("rsa"), generate_random_device_id()
    (tmp_path / "realm.pem").write_text(realm.key)
    with pytest.raises(AttributeError, match="'str' object has no attribute 'decode'"):
        register_device_with_private_key(device_id, realm.name, str(tmp_path / "realm.pem"), realm.pairing_url, False)
    assert realm.appengine.get(f"devices/{device_id}").error() == (404, "Device not found")
    # what the function would have sent is accepted
    token = mint(realm.key, alg="RS256", lifetime=30, a_pa=[".*::.*"])
    assert len(register(realm, device_id, token)) == 44


def test_quirk_sdk_cannot_register_with_ec_private_key(new_realm, tmp_path):
    realm = new_realm("ec")
    (tmp_path / "realm.pem").write_text(realm.key)
    with pytest.raises(JWTGenerationError):
        register_device_with_private_key(
            generate_random_device_id(), realm.name, str(tmp_path / "realm.pem"), realm.pairing_url, False
        )


def test_again_before_first_credentials_gives_a_new_secret_and_voids_the_old(realm, devices):
    identity = devices.identity(realm)
    again = register(realm, identity.device_id)
    assert again != identity.secret
    assert realm.as_device(identity).get("").error() == (403, "Forbidden")
    assert realm.as_device(identity).with_token(again).get("").status == 200


def test_again_before_first_credentials_keeps_the_first_registration_time(realm, devices):
    identity = devices.identity(realm)
    before = realm.device(identity.device_id)["first_registration"]
    register(realm, identity.device_id)
    assert realm.device(identity.device_id)["first_registration"] == before


def test_again_after_first_credentials_raises_already_registered(realm, devices):
    identity = devices.certified(realm)
    with pytest.raises(DeviceAlreadyRegisteredError):
        register(realm, identity.device_id)
    answer = realm.pairing.post("agent/devices", {"hw_id": identity.device_id})
    assert answer.error() == (422, "Device already registered")
    assert realm.as_device(identity).get("").status == 200


def test_initial_introspection_is_shown_before_the_first_connection(realm, devices):
    wanted = {"org.example.Temps": {"major": 1, "minor": 0}, "org.example.Config": {"major": 0, "minor": 3}}
    identity = devices.identity(realm, initial_introspection=wanted)
    shown = realm.device(identity.device_id)["introspection"]
    assert {name: {k: one[k] for k in ("major", "minor")} for name, one in shown.items()} == wanted


@pytest.mark.parametrize(
    ("introspection", "text"),
    [
        ({"org.example.T": {"major": 1}}, "has invalid format for interface org.example.T"),
        ({"org.example.T": {"major": -1, "minor": 0}}, "has negative versions in interface org.example.T"),
    ],
)
def test_bad_initial_introspection_is_a_field_error(realm, introspection, text):
    answer = realm.pairing.post(
        "agent/devices", {"hw_id": generate_random_device_id(), "initial_introspection": introspection}
    )
    assert (answer.status, answer.body) == (422, {"errors": {"initial_introspection": [text]}})


@pytest.mark.parametrize(
    "device_id",
    ["short", "Vi3j3M8YVpOPyuzqk8sg5", "Vi3j3M8YVpOPyuzqk8sg+A", "Vi3j3M8YVpOPyuzqk8sg/A", "ä" * 22],
    ids=["short", "21 characters", "plus", "slash", "not ASCII"],
)
def test_bad_id_is_a_field_error_that_the_sdk_takes_for_already_registered(realm, device_id):
    """Quirk of the SDK: every 422 becomes DeviceAlreadyRegisteredError, whatever it says."""
    with pytest.raises(DeviceAlreadyRegisteredError):
        register(realm, device_id)
    answer = realm.pairing.post("agent/devices", {"hw_id": device_id})
    assert (answer.status, answer.body) == (
        422,
        {"errors": {"hw_id": ["is not a valid base64 encoded 128 bits id"]}},
    )


@pytest.mark.parametrize("data", [{}, {"hw_id": ""}, {"hw_id": None}], ids=["missing", "empty", "null"])
def test_blank_id_is_a_field_error(realm, data):
    answer = realm.pairing.post("agent/devices", data)
    assert (answer.status, answer.body) == (422, {"errors": {"hw_id": ["can't be blank"]}})


def test_body_without_data_is_a_bad_request(realm):
    answer = realm.pairing.post("agent/devices", json={"hw_id": generate_random_device_id()})
    assert answer.error() == (400, "Bad request")


def test_extended_id_stands_for_its_first_16_bytes(realm):
    raw = os.urandom(24)
    extended = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    canonical = base64.urlsafe_b64encode(raw[:16]).rstrip(b"=").decode()
    register(realm, extended)
    assert realm.device(canonical)["id"] == canonical
    assert realm.appengine.get(f"devices/{extended}").error() == (400, "Bad request")


def test_id_with_stray_last_bits_or_padding_is_the_same_device(realm, devices):
    raw = b"\x00" * 8 + os.urandom(8)
    canonical = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    stray = canonical[:-1] + alphabet[alphabet.index(canonical[-1]) + 1]
    register(realm, stray)
    for form in (canonical, stray, canonical + "=="):
        assert realm.device(form)["id"] == canonical, form


def test_forged_token_raises_authorization_error(realm):
    token = mint(new_key(), a_pa=EVERYTHING)
    with pytest.raises(AuthorizationError) as caught:
        register(realm, generate_random_device_id(), token)
    assert caught.value.body == {"errors": {"detail": "Invalid JWT token"}}


def test_expired_token_raises_authorization_error(realm):
    with pytest.raises(AuthorizationError) as caught:
        register(realm, generate_random_device_id(), realm.token(lifetime=-60, a_pa=EVERYTHING))
    assert caught.value.body == {"errors": {"detail": "Invalid JWT token"}}


@pytest.mark.parametrize(
    "claims",
    [{}, {"a_aea": EVERYTHING}, {"a_pa": ["GET::.*"]}, {"a_pa": ["POST::agent/device"]}],
    ids=["no claim", "claim of another API", "other method", "pattern is anchored"],
)
def test_token_without_permission_raises_authorization_error(realm, claims):
    with pytest.raises(AuthorizationError) as caught:
        register(realm, generate_random_device_id(), realm.token(**claims))
    detail = f"Unauthorized access to POST /v1/{realm.name}/agent/devices. Please verify your permissions"
    assert caught.value.body == {"errors": {"detail": detail}}


def test_unknown_realm_raises_authorization_error(realm):
    token = realm.token(a_pa=EVERYTHING)
    with pytest.raises(AuthorizationError) as caught:
        register_device_with_jwt_token(generate_random_device_id(), "nosuchrealm", token, realm.pairing_url)
    assert caught.value.body == {"errors": {"detail": "Forbidden"}}


def test_token_of_one_realm_does_not_register_in_another(realm, new_realm):
    other = new_realm()
    with pytest.raises(AuthorizationError) as caught:
        register(other, generate_random_device_id(), realm.token(a_pa=EVERYTHING))
    assert caught.value.body == {"errors": {"detail": "Invalid JWT token"}}


def test_wrong_base_path_raises_api_error_from_a_json_body(realm):
    with pytest.raises(APIError) as caught:
        register(realm, generate_random_device_id(), url=realm.pairing_url + "/v1/nothing")
    assert caught.value.body == {"errors": {"detail": "Page not found"}}


def test_registration_limit_counts_only_new_ids(new_realm, devices):
    realm = new_realm(device_registration_limit=1)
    identity = devices.identity(realm)
    answer = realm.pairing.post("agent/devices", {"hw_id": generate_random_device_id()})
    assert answer.error() == (422, "Device registration limit reached")
    assert len(register(realm, identity.device_id)) == 44


def test_unregister_voids_the_secret_and_allows_registering_again(realm, devices):
    identity = devices.certified(realm)
    assert realm.pairing.delete(f"agent/devices/{identity.device_id}").status == 204
    assert realm.as_device(identity).get("").error() == (403, "Forbidden")
    assert realm.device(identity.device_id)["first_credentials_request"] is None
    secret = register(realm, identity.device_id)
    assert realm.as_device(identity).with_token(secret).get("").data["status"] == "pending"


def test_unregister_of_unknown_or_bad_id(realm):
    answer = realm.pairing.delete(f"agent/devices/{generate_random_device_id()}")
    assert answer.error() == (404, "Device not found")
    assert realm.pairing.delete("agent/devices/nonsense").error() == (400, "Bad request")


def test_untrusted_certificate_of_the_hub_stops_the_sdk(realm, monkeypatch, tmp_path):
    """The trust that `fairlead env` hands out is needed: the hub's certificate is not accepted without it."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(requests.exceptions.SSLError):
        register(realm, generate_random_device_id())
