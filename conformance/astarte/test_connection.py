"""Connecting, being connected, and losing the connection."""

from __future__ import annotations

import socket
import ssl

import pytest

from harness import waiting
from harness.device import DeviceError
from harness.raw import Refused, broker, introspection, trust


def versions(shown):
    """The introspection of a device object as {name: (major, minor)}."""
    return {name: (one["major"], one["minor"]) for name, one in shown["introspection"].items()}


def test_sdk_connects_with_its_empty_client_id_and_is_shown_connected_at_once(realm, devices, interfaces):
    device = devices.program(realm, devices.identity(realm), interfaces["DeviceQos"])
    device.do("connect")
    device.wait("connected")
    shown = realm.device(device.id)
    assert shown["connected"] is True
    assert shown["last_connection"] is not None
    assert shown["last_disconnection"] is None
    assert shown["last_seen_ip"] == "127.0.0.1"
    assert device.is_connected() is True


def test_introspection_is_shown_after_on_connected(realm, devices, interfaces):
    device = devices.program(realm, devices.identity(realm), interfaces["DeviceQos"], interfaces["ServerProperties"])
    device.do("connect")
    device.wait("connected")
    want = {interfaces.name("DeviceQos"): (1, 0), interfaces.name("ServerProperties"): (1, 0)}
    waiting.until_equal(lambda: versions(realm.device(device.id)), want, "the introspection")
    assert sorted(realm.appengine.get(f"devices/{device.id}/interfaces").data) == sorted(want)


def test_introspection_is_complete_once_acknowledged(realm, devices, interfaces):
    device = devices.connected(realm, *interfaces.values())
    assert versions(realm.device(device.id)) == {one["interface_name"]: (1, 0) for one in interfaces.values()}


def test_device_without_interfaces_connects(realm, devices):
    device = devices.connected(realm)
    shown = realm.device(device.id)
    assert (shown["connected"], shown["introspection"]) == (True, {})
    assert realm.appengine.get(f"devices/{device.id}/interfaces").data == []


def test_two_devices_with_the_same_empty_client_id_are_two_sessions(realm, devices, interfaces):
    one, two = (devices.connected(realm, interfaces["DeviceQos"]) for _ in range(2))
    name = interfaces.name("DeviceQos")
    for device, value in ((one, 1), (two, 2)):
        device.send(name, "/unique", value)
        device.settle()
    assert realm.samples(one.id, name, "/unique") == ["1"]
    assert realm.samples(two.id, name, "/unique") == ["2"]
    assert not one.seen("disconnected") and not two.seen("disconnected")


def test_requested_disconnect_is_rc_0_and_shown(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceQos"])
    device.disconnect()
    assert [e["rc"] for e in device.seen("disconnected")] == [0]
    waiting.until(lambda: realm.device(device.id)["connected"] is False, "connected to become false")
    assert realm.device(device.id)["last_disconnection"] is not None
    with pytest.raises(DeviceError) as caught:
        device.send(interfaces.name("DeviceQos"), "/unique", 1)
    assert caught.value.type == "DeviceDisconnectedError"


def test_same_object_connects_again(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceQos"])
    device.disconnect()
    device.connect()
    name = interfaces.name("DeviceQos")
    device.send(name, "/unique", 7)
    device.settle()
    assert realm.samples(device.id, name, "/unique") == ["7"]


def test_second_process_connects_with_the_stored_certificate(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceQos"])
    certificate = (device.identity.crypto / "device.crt").read_bytes()
    device.kill()
    again = devices.program(realm, device.identity, interfaces["DeviceQos"]).connect()
    assert (device.identity.crypto / "device.crt").read_bytes() == certificate
    assert realm.device(again.id)["connected"] is True


def test_killed_device_program_is_shown_disconnected(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceQos"])
    device.kill()
    waiting.until(lambda: realm.device(device.id)["connected"] is False, "connected to become false")


def test_sdk_comes_back_by_itself_after_a_kick(realm, devices, interfaces):
    """A second connection with the device's certificate takes over; when the SDK returns, it takes over in turn."""
    device = devices.connected(realm, interfaces["DeviceQos"])
    mark = device.mark()
    raw = devices.raw(realm, device.identity).connect()
    device.wait("disconnected", mark, rc=7)
    device.wait("connected", mark)
    raw.wait_closed("the SDK to take over again")
    device.settle()
    device.assert_alive()
    name = interfaces.name("DeviceQos")
    device.send(name, "/unique", 1)
    device.settle()
    assert realm.samples(device.id, name, "/unique") == ["1"]
    assert realm.device(device.id)["connected"] is True


def test_takeover_ends_with_connected_true(realm, devices):
    identity = devices.certified(realm)
    old = devices.raw(realm, identity).connect()
    new = devices.raw(realm, identity).connect()
    old.wait_closed("the older connection to end")
    new.barrier()
    assert realm.device(identity.device_id)["connected"] is True


def test_sdk_comes_back_three_times_in_a_row(realm, devices, interfaces):
    device = devices.connected(realm, interfaces["DeviceQos"])
    for _ in range(3):
        mark = device.mark()
        devices.raw(realm, device.identity).connect().stop()
        device.wait("disconnected", mark, rc=7)
        device.wait("connected", mark)
    device.settle()
    device.assert_alive()


def test_session_is_keyed_by_the_certificate_not_by_the_client_id(realm, devices):
    identity = devices.certified(realm)
    first = devices.raw(realm, identity, client_id="one", clean=False).connect()
    assert first.session_present is False
    first.subscribe(f"{first.base}/control/consumer/properties")
    first.stop()
    second = devices.raw(realm, identity, client_id="two", clean=False).connect()
    assert second.session_present is True


def test_clean_session_forgets_the_kept_one(realm, devices):
    identity = devices.certified(realm)
    devices.raw(realm, identity, client_id="one", clean=False).connect().stop()
    clean = devices.raw(realm, identity).connect()
    assert clean.session_present is False
    clean.stop()
    again = devices.raw(realm, identity, client_id="one", clean=False).connect()
    assert again.session_present is False


def test_connection_without_certificate_is_refused(realm, devices, hub):
    identity = devices.certified(realm)
    with pytest.raises((Refused, OSError)):
        devices.raw(realm, identity, context=trust(hub.ca)).connect()
    assert realm.device(identity.device_id)["connected"] is False


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_tls_versions_of_the_sdk_are_served(realm, devices, hub, version):
    identity = devices.certified(realm)
    context = trust(hub.ca)
    context.load_cert_chain(identity.crypto / "device.crt", identity.crypto / "device.key")
    context.minimum_version = context.maximum_version = version
    devices.raw(realm, identity, context=context).connect().barrier()


def test_strict_checks_of_current_python_accept_the_server_certificate(realm, devices, hub):
    """Python 3.13 checks X.509 strictly by default: key usage and key identifiers have to be there."""
    identity = devices.certified(realm)
    context = trust(hub.ca)
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_cert_chain(identity.crypto / "device.crt", identity.crypto / "device.key")
    devices.raw(realm, identity, context=context).connect()
    with socket.create_connection(("127.0.0.1", hub.https_port), 10) as plain:
        context.wrap_socket(plain, server_hostname="localhost").close()


def test_plain_text_on_the_tls_port_is_closed_and_harms_nobody(realm, devices, interfaces):
    """What the SDK sends after it was told that its certificate is not valid."""
    device = devices.connected(realm, interfaces["DeviceQos"])
    address = broker(realm, device.identity)
    for _ in range(20):
        with socket.create_connection(address, 10) as plain:
            plain.settimeout(10)
            plain.sendall(bytes.fromhex("100c00044d5154540402003c0000"))
            try:
                while plain.recv(1024):  # a TLS alert at most, then the end
                    pass
            except ConnectionResetError:
                pass
    device.send(interfaces.name("DeviceQos"), "/unique", 1)
    device.settle()
    assert not device.seen("disconnected")


def test_introspection_of_interfaces_that_are_not_installed_keeps_the_device_connected(realm, devices, interfaces):
    """The realm installs an interface later than the device declares it; emptyCache skips it (hub decision)."""
    identity = devices.certified(realm)
    raw = devices.raw(realm, identity)
    unknown = {"interface_name": "org.example.NotInstalled", "version_major": 0, "version_minor": 3}
    raw.start(interfaces["DeviceQos"], {**unknown, "ownership": "device"})
    raw.barrier(interfaces["DeviceQos"], unknown)
    assert versions(realm.device(identity.device_id)) == {
        interfaces.name("DeviceQos"): (1, 0),
        "org.example.NotInstalled": (0, 3),
    }


def test_duplicate_names_in_the_introspection_the_last_wins(realm, devices, interfaces):
    identity = devices.certified(realm)
    raw = devices.raw(realm, identity).connect()
    raw.send("", b"org.example.Twice:1:0;org.example.Twice:2:5")
    assert versions(realm.device(identity.device_id)) == {"org.example.Twice": (2, 5)}


def test_new_introspection_replaces_the_old_one_at_any_time(realm, devices, interfaces):
    identity = devices.certified(realm)
    raw = devices.raw(realm, identity).connect()
    raw.send("", introspection(interfaces["DeviceQos"], interfaces["HotDeviceData"]))
    raw.send("", introspection(interfaces["HotDeviceData"]))
    shown = realm.device(identity.device_id)
    assert versions(shown) == {interfaces.name("HotDeviceData"): (1, 0)}
    (previous,) = shown["previous_interfaces"]
    assert (previous["name"], previous["major"], previous["minor"]) == (interfaces.name("DeviceQos"), 1, 0)
