"""Who may do what: tokens, claims and realms on all four APIs, and what is open to everybody."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from harness.rest import EVERYTHING, Api, mint, new_key, public_pem

APIS = ["pairing", "management", "appengine", "housekeeping"]
CLAIM = {"pairing": "a_pa", "management": "a_rma", "appengine": "a_aea", "housekeeping": "a_ha"}

# One request for each API that any token with full rights may send.
REQUEST = {
    "pairing": ("POST", "agent/devices"),
    "management": ("GET", "interfaces"),
    "appengine": ("GET", "devices"),
    "housekeeping": ("GET", "realms"),
}


@pytest.fixture
def ask(realm, hub):
    """Send the request of an API with this token and return the answer."""

    def send(name, token, **kwargs):
        api = hub.housekeeping() if name == "housekeeping" else getattr(realm, name)
        method, path = REQUEST[name]
        if method == "POST":
            kwargs.setdefault("data", {})
        return api.with_token(token).call(method, path, **kwargs)

    return send


@pytest.fixture
def key(realm, hub):
    """The private key that signs for an API."""

    def of(name):
        if name == "housekeeping":
            with open(hub.env["ASTARTE_HOUSEKEEPING_PRIVATE_KEY"], encoding="ascii") as file:
                return file.read()
        return realm.key

    return of


def allowed(name, answer):
    """Whether the request got past the authorisation."""
    return answer.status == (422 if name == "pairing" else 200)


@pytest.mark.parametrize("name", APIS)
def test_full_claim_is_allowed(ask, key, name):
    assert allowed(name, ask(name, mint(key(name), **{CLAIM[name]: EVERYTHING})))


@pytest.mark.parametrize("name", APIS)
def test_missing_token(ask, name):
    assert ask(name, None).error() == (401, "Missing authorization token")


@pytest.mark.parametrize("name", APIS)
@pytest.mark.parametrize("token", ["nonsense", "a.b.c", ""], ids=["no dots", "three parts", "empty"])
def test_undecodable_token(ask, name, token):
    status, detail = ask(name, token).error()
    assert status == 401
    assert detail == "Invalid JWT token" if token else detail in ("Invalid JWT token", "Missing authorization token")


@pytest.mark.parametrize("name", APIS)
def test_token_of_a_stranger(ask, name):
    for kind in ("ec", "rsa"):
        token = mint(new_key(kind), **{CLAIM[name]: EVERYTHING})
        assert ask(name, token).error() == (401, "Invalid JWT token"), kind


@pytest.mark.parametrize("name", APIS)
def test_expired_token(ask, key, name):
    token = mint(key(name), lifetime=-60, **{CLAIM[name]: EVERYTHING})
    assert ask(name, token).error() == (401, "Invalid JWT token")


@pytest.mark.parametrize("name", APIS)
def test_token_that_is_not_valid_yet(ask, key, name):
    token = mint(key(name), nbf=2**32, **{CLAIM[name]: EVERYTHING})
    assert ask(name, token).error() == (401, "Invalid JWT token")


@pytest.mark.parametrize("name", APIS)
def test_algorithm_none_is_refused(ask, name):
    token = jwt.encode({CLAIM[name]: EVERYTHING}, None, algorithm="none")
    assert ask(name, token).error() == (401, "Invalid JWT token")


@pytest.mark.parametrize("name", APIS)
def test_public_key_used_as_a_shared_secret_is_refused(ask, key, name):
    """The old trick: HS256 with the public key, which everybody may know, as the secret."""
    private = serialization.load_pem_private_key(key(name).encode(), None)
    der = private.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    for secret in (der, public_pem(key(name)).encode(), b""):
        token = hs256({CLAIM[name]: EVERYTHING}, secret)
        assert ask(name, token).error() == (401, "Invalid JWT token")


def hs256(payload, secret):
    """An HS256 token by hand: PyJWT refuses a public key as the secret."""

    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(payload).encode())
    return (signed + b"." + part(hmac.new(secret, signed, hashlib.sha256).digest())).decode()


@pytest.mark.parametrize("name", APIS)
@pytest.mark.parametrize("claims", ["none", "other", "empty", "not a list"])
def test_token_without_a_fitting_claim(ask, key, realm, name, claims):
    other = {CLAIM[one]: EVERYTHING for one in APIS if one != name}
    payload = {"none": {}, "other": other, "empty": {CLAIM[name]: []}, "not a list": {CLAIM[name]: ".*::.*"}}[claims]
    method, path = REQUEST[name]
    base = "/v1" if name == "housekeeping" else f"/v1/{realm.name}"
    detail = f"Unauthorized access to {method} {base}/{path}. Please verify your permissions"
    assert ask(name, mint(key(name), **payload)).error() == (403, detail)


@pytest.mark.parametrize(
    ("entry", "want"),
    [
        (".*::.*", True),
        ("GET::devices", True),
        ("GET::dev.*", True),
        ("GET|POST::devices", True),
        ("GET:anything:devices", True),
        ("^GET$::^devices$", True),
        ("POST::devices", False),
        ("GET::device", False),
        ("GET::evices", False),
        ("GET::/devices", False),
        ("GET::devices/.*", False),
        ("get::devices", False),
        ("G::devices", False),
        ("GET:devices", False),
        ("GET", False),
        ("", False),
        ("GET::(", False),
        ("(::devices", False),
    ],
)
def test_claim_entries_are_anchored_patterns_for_method_and_path(ask, key, entry, want):
    assert (ask("appengine", mint(key("appengine"), a_aea=[entry])).status == 200) is want


def test_one_fitting_entry_among_bad_ones_suffices(ask, key):
    entries = ["nonsense", "GET::(", "POST::x", "GET::devices"]
    assert ask("appengine", mint(key("appengine"), a_aea=entries)).status == 200


def test_path_pattern_may_contain_colons(realm, devices):
    identity = devices.identity(realm)
    for entry, want in (("GET::devices/(?:.*)", 200), ("GET::devices/[^:]*", 200), ("GET::devices/a:b", 403)):
        api = realm.appengine.with_token(realm.token(a_aea=[entry]))
        assert api.get(f"devices/{identity.device_id}").status == want, entry


def test_query_is_not_part_of_the_matched_path(ask, key):
    answer = ask("appengine", mint(key("appengine"), a_aea=["GET::devices"]), params={"limit": 1})
    assert answer.status == 200


def test_permission_for_one_device_does_not_open_another(realm, devices, interfaces):
    one, other = devices.identity(realm), devices.identity(realm)
    api = realm.appengine.with_token(realm.token(a_aea=[f".*::devices/{one.device_id}.*"]))
    assert api.get(f"devices/{one.device_id}").status == 200
    detail = f"Unauthorized access to GET /v1/{realm.name}/devices/{other.device_id}. Please verify your permissions"
    assert api.get(f"devices/{other.device_id}").error() == (403, detail)


@pytest.mark.parametrize(
    ("name", "want"),
    [("pairing", (403, "Forbidden")), ("management", (403, "Forbidden")), ("appengine", (401, "Invalid JWT token"))],
)
def test_unknown_realm(realm, name, want):
    api = getattr(realm, name)
    method, path = REQUEST[name]
    elsewhere = Api(api.base.rsplit("/", 1)[0] + "/nosuchrealm", api.ca, api.token)
    assert elsewhere.call(method, path, {} if method == "POST" else ...).error() == want


@pytest.mark.parametrize("name", ["pairing", "management", "appengine"])
def test_token_of_another_realm(realm, new_realm, name):
    other = new_realm()
    method, path = REQUEST[name]
    token = realm.token(**{CLAIM[name]: EVERYTHING})
    answer = getattr(other, name).with_token(token).call(method, path, {} if method == "POST" else ...)
    assert answer.error() == (401, "Invalid JWT token")


def test_realm_key_is_not_the_housekeeping_key(realm, hub):
    token = realm.token(a_ha=EVERYTHING)
    assert hub.housekeeping(token).get("realms").error() == (401, "Invalid JWT token")


@pytest.mark.parametrize("variable", ["PAIRING", "REALM_MANAGEMENT", "APPENGINE", "HOUSEKEEPING"])
def test_health_is_open_and_empty_and_version_is_told(hub, variable):
    root = Api(hub.env[f"ASTARTE_{variable}_URL"], hub.ca, None)
    health = root.get("health")
    assert (health.status, health.text) == (200, "")
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", root.get("version").data)


@pytest.mark.parametrize("name", APIS)
def test_answers_are_json_in_utf8(ask, key, name):
    for token in (mint(key(name), **{CLAIM[name]: EVERYTHING}), None, "nonsense"):
        answer = ask(name, token)
        assert answer.headers["content-type"].lower().replace(" ", "") == "application/json;charset=utf-8"


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("pairing", "Page not found"),
        ("management", "Not found"),
        ("appengine", "Not found"),
        ("housekeeping", "Page not found"),
    ],
)
def test_unknown_route(realm, hub, name, detail):
    api = hub.housekeeping() if name == "housekeeping" else getattr(realm, name)
    assert api.get("no/such/route").error() == (404, detail)


@pytest.mark.parametrize(
    ("name", "path"), [("pairing", "agent/devices"), ("management", "interfaces"), ("housekeeping", "realms")]
)
@pytest.mark.parametrize("body", [b"{", b'{"other": 1}', b"[]", b'"text"'], ids=["cut", "no data", "array", "text"])
def test_body_that_is_not_the_envelope(realm, hub, name, path, body):
    api = hub.housekeeping() if name == "housekeeping" else getattr(realm, name)
    answer = api.post(path, headers={"Content-Type": "application/json"}, data_bytes=body)
    assert answer.error() == (400, "Bad request")


def test_secrets_of_devices_are_no_tokens_and_tokens_no_secrets(realm, devices):
    identity = devices.identity(realm)
    assert realm.appengine.with_token(identity.secret).get("devices").error() == (401, "Invalid JWT token")
    token = realm.token(a_pa=EVERYTHING)
    assert realm.as_device(identity).with_token(token).get("").error() == (403, "Forbidden")
