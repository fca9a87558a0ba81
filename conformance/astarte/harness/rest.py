"""The REST APIs of the hub, spoken plainly: nothing here knows the SDK."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

if TYPE_CHECKING:
    from harness.hub import Hub

# A device or agent asks again after 30 s; nothing that these tests do may take that long.
TIMEOUT = 60

EVERYTHING = [".*::.*"]


def new_key(kind: str = "ec") -> str:
    """A fresh private key in PEM: "ec" is P-256, "ec384", "ec521" the other curves, "rsa" has 2048 bits."""
    curves = {"ec": ec.SECP256R1, "ec384": ec.SECP384R1, "ec521": ec.SECP521R1}
    if kind == "rsa":
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    else:
        key = ec.generate_private_key(curves[kind]())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode("ascii")


def public_pem(private_pem: str) -> str:
    """The public half of a private key, as Housekeeping wants it."""
    key = serialization.load_pem_private_key(private_pem.encode("ascii"), None)
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode("ascii")
    )


def algorithm(private_pem: str) -> str:
    """The JWT algorithm that goes with a private key."""
    key = serialization.load_pem_private_key(private_pem.encode("ascii"), None)
    if isinstance(key, rsa.RSAPrivateKey):
        return "RS256"
    return {256: "ES256", 384: "ES384", 521: "ES512"}[key.curve.key_size]


def mint(private_pem: str, alg: str | None = None, lifetime: int | None = 3600, **claims: Any) -> str:
    """A token signed with a private key; lifetime None leaves exp out, a negative one makes an expired token."""
    now = int(time.time())
    payload = {"iat": now, **claims}
    if lifetime is not None:
        payload["exp"] = now + lifetime
    return jwt.encode(payload, private_pem, algorithm=alg or algorithm(private_pem))


def parse(text: str) -> Any:
    """JSON, with the sign of a zero that was written as -0 kept."""
    return json.loads(text, parse_int=lambda digits: -0.0 if digits == "-0" else int(digits))


@dataclass
class Answer:
    """An HTTP answer as the tests look at it. body is None when the answer has none."""

    status: int
    body: Any
    headers: Any = field(repr=False)
    text: str = field(repr=False)

    @property
    def data(self) -> Any:
        """The payload of a 200 or 201; anything else fails the test."""
        assert self.status in (200, 201), f"answer was {self.status}: {self.text}"
        assert isinstance(self.body, dict) and "data" in self.body, f"no data in {self.text!r}"
        return self.body["data"]

    def error(self) -> tuple[int, Any]:
        """Status and error detail, to be compared in one go."""
        body = self.body
        if isinstance(body, dict) and list(body) == ["errors"] and list(body["errors"]) == ["detail"]:
            return self.status, body["errors"]["detail"]
        return self.status, body


class Api:
    """One API below one base URL, with one token (None: no Authorization header)."""

    def __init__(self, base: str, ca: str, token: str | None):
        self.base = base
        self.ca = ca
        self.token = token
        self.session = requests.Session()
        self.session.trust_env = False

    def with_token(self, token: str | None) -> "Api":
        """The same API for somebody else."""
        return Api(self.base, self.ca, token)

    def call(
        self,
        method: str,
        path: str,
        data: Any = ...,
        headers: dict | None = None,
        data_bytes: bytes | None = None,
        **kwargs: Any,
    ) -> Answer:
        """Send a request; data goes into the usual {"data": ...}, data_bytes as it is, other keywords to requests."""
        sent = {"Authorization": f"Bearer {self.token}"} if self.token is not None else {}
        if data is not ...:
            kwargs["json"] = {"data": data}
        if data_bytes is not None:
            kwargs["data"] = data_bytes
        response = self.session.request(
            method,
            f"{self.base}/{path}" if path else self.base,
            headers={**sent, **(headers or {})},
            verify=self.ca,
            timeout=TIMEOUT,
            allow_redirects=False,
            **kwargs,
        )
        body = None
        if response.content:
            try:
                body = parse(response.text)
            except ValueError:
                raise AssertionError(f"{method} {response.url}: {response.status_code}, not JSON: {response.text!r}")
        return Answer(response.status_code, body, response.headers, response.text)

    def get(self, path: str, **kwargs: Any) -> Answer:
        return self.call("GET", path, **kwargs)

    def post(self, path: str, data: Any = ..., **kwargs: Any) -> Answer:
        return self.call("POST", path, data, **kwargs)

    def put(self, path: str, data: Any = ..., **kwargs: Any) -> Answer:
        return self.call("PUT", path, data, **kwargs)

    def patch(self, path: str, data: Any = ..., **kwargs: Any) -> Answer:
        return self.call("PATCH", path, data, **kwargs)

    def delete(self, path: str, **kwargs: Any) -> Answer:
        return self.call("DELETE", path, **kwargs)


@dataclass
class Identity:
    """A registered device: what a device program has to know, and the folder in which the SDK keeps its things."""

    device_id: str
    realm: str
    secret: str
    pairing_url: str
    folder: Path

    @property
    def crypto(self) -> Path:
        """Where the SDK keeps device.key and device.crt."""
        return self.folder / self.device_id / "crypto"

    @property
    def database(self) -> Path:
        """The SDK's property store."""
        return self.folder / self.device_id / "caching" / "astarte.db"


class Realm:
    """One realm seen by somebody who has its private key."""

    def __init__(self, hub: "Hub", name: str, key: str):
        self.hub = hub
        self.name = name
        self.key = key
        env = hub.env
        self.pairing_url = env["ASTARTE_PAIRING_URL"]
        token = mint(key, a_pa=EVERYTHING, a_rma=EVERYTHING, a_aea=EVERYTHING)
        self.pairing = Api(f"{self.pairing_url}/v1/{name}", hub.ca, token)
        self.management = Api(f"{env['ASTARTE_REALM_MANAGEMENT_URL']}/v1/{name}", hub.ca, token)
        self.appengine = Api(f"{env['ASTARTE_APPENGINE_URL']}/v1/{name}", hub.ca, token)

    def token(self, **claims: Any) -> str:
        """A token of this realm."""
        return mint(self.key, **claims)

    def install(self, definition: dict) -> None:
        """Install an interface and return when it is there."""
        answer = self.management.post("interfaces", definition, params={"async_operation": "false"})
        assert answer.status == 201, f"install {definition['interface_name']}: {answer}{answer.text}"

    def register(self, device_id: str, folder: Path, **extra: Any) -> Identity:
        """Register a device through Pairing."""
        secret = self.pairing.post("agent/devices", {"hw_id": device_id, **extra}).data["credentials_secret"]
        folder.mkdir(parents=True, exist_ok=True)
        return Identity(device_id, self.name, secret, self.pairing_url, folder)

    def as_device(self, identity: Identity) -> Api:
        """Pairing's device endpoints, with the device's own secret."""
        return Api(f"{self.pairing.base}/devices/{identity.device_id}", self.hub.ca, identity.secret)

    def device(self, device_id: str) -> dict:
        """The device object of AppEngine."""
        return self.appengine.get(f"devices/{device_id}").data

    def at(self, device_id: str, interface: str, path: str = "") -> str:
        """The AppEngine path of an interface of a device, or of a path in it."""
        return f"devices/{device_id}/interfaces/{interface}{path}"

    def read(self, device_id: str, interface: str, path: str = "", **params: Any) -> Any:
        """What AppEngine shows there."""
        return self.appengine.get(self.at(device_id, interface, path), params=params).data

    def samples(self, device_id: str, interface: str, path: str, **params: Any) -> list:
        """The values of a series without their timestamps; none at all is an empty list."""
        answer = self.appengine.get(self.at(device_id, interface, path), params=params)
        if answer.status == 404:
            assert answer.error() == (404, "Path not found"), answer
            return []
        return [sample["value"] for sample in answer.data]


_realm_numbers = itertools.count(1)


def create_realm(hub: "Hub", kind: str = "ec", **extra: Any) -> Realm:
    """Create a realm with a fresh key of a kind through Housekeeping and return it."""
    name, key = f"conformance{next(_realm_numbers)}", new_key(kind)
    answer = hub.housekeeping().post(
        "realms",
        {"realm_name": name, "jwt_public_key_pem": public_pem(key), **extra},
        params={"async_operation": "false"},
    )
    assert answer.status == 201, answer.text
    return Realm(hub, name, key)
