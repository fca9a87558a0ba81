"""Certificates through Pairing: credentials, info and verify, with the SDK's own functions."""

from __future__ import annotations

import re
import ssl
from datetime import datetime, timedelta, timezone

import pytest
from astarte.device import APIError, AuthorizationError, generate_random_device_id
from astarte.device import crypto, pairing_handler
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from harness.device import DeviceError
from harness.raw import RawDevice, broker

CREDENTIALS = "protocols/astarte_mqtt_v1/credentials"
VERIFY = CREDENTIALS + "/verify"


def arguments(identity):
    """What the SDK's pairing functions take first."""
    return identity.device_id, identity.realm, identity.secret, identity.pairing_url


def obtain(identity):
    """Fetch a certificate with the SDK and return it."""
    identity.crypto.mkdir(parents=True, exist_ok=True)
    pairing_handler.obtain_device_certificate(*arguments(identity), str(identity.crypto), False)
    return x509.load_pem_x509_certificate((identity.crypto / "device.crt").read_bytes())


def info(identity):
    """Ask for the transport information with the SDK."""
    return pairing_handler.obtain_device_transport_information(*arguments(identity), False)


def verify(identity, pem):
    """Ask with the SDK whether a certificate is valid."""
    return pairing_handler.verify_device_certificate(*arguments(identity), False, pem)


def csr_of(key, common_name="whatever"):
    """A signing request in PEM."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def stranger():
    """A certificate of a CA that the hub does not know."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stranger")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def test_certificate_names_realm_and_device(realm, devices):
    identity = devices.identity(realm)
    certificate = obtain(identity)
    (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert name.value == f"{realm.name}/{identity.device_id}"


def test_certificate_is_for_a_client_and_lasts_for_weeks(realm, devices):
    certificate = obtain(devices.identity(realm))
    now = datetime.now(timezone.utc)
    assert certificate.not_valid_before_utc < now - timedelta(minutes=1), "a slow device clock would refuse it"
    assert now + timedelta(days=7) < certificate.not_valid_after_utc < now + timedelta(days=400)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    constraints = [one.value for one in certificate.extensions if one.oid == x509.BasicConstraints.oid]
    assert not any(one.ca for one in constraints)


def test_answer_holds_exactly_one_certificate(realm, devices):
    identity = devices.identity(realm)
    csr = csr_of(ec.generate_private_key(ec.SECP256R1()))
    answer = realm.as_device(identity).post(CREDENTIALS, {"csr": csr})
    assert answer.status == 201
    assert list(answer.data) == ["client_crt"]
    assert answer.data["client_crt"].count("-----BEGIN ") == 1


def test_requested_common_name_is_ignored(realm, devices):
    identity = devices.identity(realm)
    csr = csr_of(ec.generate_private_key(ec.SECP256R1()), "other/device")
    pem = realm.as_device(identity).post(CREDENTIALS, {"csr": csr}).data["client_crt"]
    (name,) = x509.load_pem_x509_certificate(pem.encode()).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert name.value == f"{realm.name}/{identity.device_id}"


def test_rsa_key_is_accepted_and_connects(realm, devices, hub):
    identity = devices.identity(realm)
    identity.crypto.mkdir(parents=True)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = realm.as_device(identity).post(CREDENTIALS, {"csr": csr_of(key)}).data["client_crt"]
    (identity.crypto / "device.crt").write_text(pem)
    (identity.crypto / "device.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    devices.raw(realm, identity).connect()


def test_info_says_pending_then_confirmed(realm, devices):
    identity = devices.identity(realm)
    assert info(identity)["status"] == "pending"
    obtain(identity)
    assert info(identity)["status"] == "confirmed"


def test_info_has_version_and_a_broker_url_with_host_and_port(realm, devices, hub):
    identity = devices.identity(realm)
    answer = info(identity)
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", answer["version"])
    assert list(answer["protocols"]) == ["astarte_mqtt_v1"]
    host, port = broker(realm, identity)
    assert host and port == hub.mqtt_port


def test_first_credentials_request_is_remembered(realm, devices):
    identity = devices.identity(realm)
    obtain(identity)
    first = realm.device(identity.device_id)["first_credentials_request"]
    assert first is not None
    obtain(identity)
    shown = realm.device(identity.device_id)
    assert shown["first_credentials_request"] == first
    assert shown["last_credentials_request_ip"] == "127.0.0.1"


def test_verify_accepts_the_issued_certificate(realm, devices):
    identity = devices.identity(realm)
    obtain(identity)
    assert verify(identity, (identity.crypto / "device.crt").read_text()) is True
    assert crypto.device_has_certificate(*arguments(identity), False, str(identity.crypto)) is True


def test_verify_answer_has_the_documented_form(realm, devices):
    identity = devices.identity(realm)
    obtain(identity)
    pem = (identity.crypto / "device.crt").read_text()
    answer = realm.as_device(identity).post(VERIFY, {"client_crt": pem})
    assert answer.status == 200
    assert answer.data["valid"] is True
    for key in ("timestamp", "until"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z", answer.data[key]), answer.data


def test_superseded_certificate_still_verifies_and_connects(realm, devices):
    """Answering false for a certificate that the broker accepts would break the SDK for good."""
    identity = devices.identity(realm)
    obtain(identity)
    old = (identity.crypto / "device.crt").read_text()
    obtain(identity)
    assert (identity.crypto / "device.crt").read_text() != old
    assert verify(identity, old) is True
    (identity.crypto / "device.crt").write_text(old)
    devices.raw(realm, identity).connect()


@pytest.mark.parametrize("pem", ["no PEM at all", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_verify_of_garbage_is_not_valid(realm, devices, pem):
    identity = devices.identity(realm)
    answer = realm.as_device(identity).post(VERIFY, {"client_crt": pem})
    assert (answer.data["valid"], answer.data["cause"]) == (False, "INVALID")


def test_verify_of_a_foreign_certificate_is_not_valid(realm, devices):
    identity = devices.identity(realm)
    _, certificate = stranger()
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    assert verify(identity, pem) is False
    answer = realm.as_device(devices.identity(realm)).post(VERIFY, {"client_crt": pem})
    assert answer.data["valid"] is False
    assert answer.data["cause"] in ("INVALID_ISSUER", "INVALID_SIGNATURE", "INVALID")
    assert "details" in answer.data


@pytest.mark.parametrize(
    ("path", "data", "errors"),
    [
        (CREDENTIALS, {"csr": ""}, {"csr": ["can't be blank"]}),
        (CREDENTIALS, {}, {"csr": ["can't be blank"]}),
        (CREDENTIALS, {"csr": "nonsense"}, {"csr": ["is not a valid PEM CSR"]}),
        (VERIFY, {"client_crt": ""}, {"client_crt": ["can't be blank"]}),
        (VERIFY, {}, {"client_crt": ["can't be blank"]}),
    ],
    ids=["empty csr", "no csr", "csr is not PEM", "empty certificate", "no certificate"],
)
def test_bad_body_is_a_field_error(realm, devices, path, data, errors):
    answer = realm.as_device(devices.identity(realm)).post(path, data)
    assert (answer.status, answer.body) == (422, {"errors": errors})


def test_csr_with_a_broken_signature_is_refused(realm, devices):
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.load_pem_x509_csr(csr_of(key).encode())
    der = bytearray(request.public_bytes(serialization.Encoding.DER))
    der[der.index(b"whatever")] ^= 1  # changes the signed name, not the structure
    broken = ssl.DER_cert_to_PEM_cert(bytes(der)).replace("CERTIFICATE", "CERTIFICATE REQUEST")
    identity = devices.identity(realm)
    assert realm.as_device(identity).post(CREDENTIALS, {"csr": broken}).status == 422
    assert info(identity)["status"] == "pending"


def test_wrong_secret_raises_authorization_error(realm, devices, tmp_path):
    identity = devices.identity(realm)
    bad = (identity.device_id, identity.realm, "A" * 43 + "=", identity.pairing_url)
    for ask in (
        lambda: pairing_handler.obtain_device_certificate(*bad, str(tmp_path), False),
        lambda: pairing_handler.obtain_device_transport_information(*bad, False),
        lambda: pairing_handler.verify_device_certificate(*bad, False, "x"),
    ):
        with pytest.raises(AuthorizationError) as caught:
            ask()
        assert caught.value.body == {"errors": {"detail": "Forbidden"}}


def test_missing_or_unfit_authorization_header_is_unauthorized(realm, devices):
    device = realm.as_device(devices.identity(realm))
    assert device.with_token(None).get("").error() == (401, "Unauthorized")
    assert device.with_token(None).get("", headers={"Authorization": "Basic abc"}).error() == (401, "Unauthorized")


def test_authorization_scheme_is_matched_loosely(realm, devices):
    device = realm.as_device(devices.identity(realm))
    for scheme in ("bearer", "BEARER", "Bearer:", "bearer: "):
        answer = device.with_token(None).get("", headers={"Authorization": f"{scheme} {device.token}"})
        assert answer.status == 200, scheme


def test_unknown_device_raises_api_error(realm):
    with pytest.raises(APIError) as caught:
        pairing_handler.obtain_device_transport_information(
            generate_random_device_id(), realm.name, "A" * 43 + "=", realm.pairing_url, False
        )
    assert caught.value.body == {"errors": {"detail": "Device not found"}}


def test_secret_of_one_device_does_not_open_another(realm, devices):
    one, other = devices.identity(realm), devices.identity(realm)
    assert realm.as_device(one).with_token(other.secret).get("").error() == (403, "Forbidden")


def test_unregistered_device_raises_authorization_error_and_cannot_start(realm, devices, interfaces):
    identity = devices.identity(realm)
    obtain(identity)
    assert realm.pairing.delete(f"agent/devices/{identity.device_id}").status == 204
    with pytest.raises(AuthorizationError) as caught:
        info(identity)
    assert caught.value.body == {"errors": {"detail": "Forbidden"}}
    program = devices.program(realm, identity, interfaces["DeviceQos"])
    with pytest.raises(DeviceError) as refused:
        program.connect()
    assert refused.value.type == "AuthorizationError"
    assert refused.value.body == {"errors": {"detail": "Forbidden"}}


def test_unregister_leaves_the_live_session_alone(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceQos"])
    assert realm.pairing.delete(f"agent/devices/{device.id}").status == 204
    name = interfaces.name("DeviceQos")
    device.send(name, "/unique", 1)
    device.settle()
    assert realm.samples(device.id, name, "/unique") == ["1"]
    assert not device.seen("disconnected")


def test_certificate_of_a_foreign_ca_does_not_connect(realm, devices, hub):
    identity = devices.identity(realm)
    identity.crypto.mkdir(parents=True)
    key, certificate = stranger()
    (identity.crypto / "device.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (identity.crypto / "device.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    with pytest.raises(Exception) as caught:
        RawDevice(realm, identity).connect()
    # TLS 1.3 tells a client only after its handshake: then the connection ends before CONNACK
    assert isinstance(caught.value, (ssl.SSLError, OSError)), caught.value
    assert realm.device(identity.device_id)["connected"] is False
