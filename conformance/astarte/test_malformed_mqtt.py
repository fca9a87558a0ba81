"""Packets that break the rules of MQTT itself: the hub ends that connection, and only that one."""

from __future__ import annotations

import struct

import pytest

from harness.raw import Wire, document, packet, text

NAME = "org.fairlead.conformance.DeviceIndividual"


@pytest.fixture(scope="module")
def identity(realm, module_devices):
    return module_devices.certified(realm)


@pytest.fixture
def wire(realm, identity):
    with Wire(realm, identity) as one:
        yield one


def publish(identity, first, path=b"/integer_endpoint", packet_id=b"\0\1"):
    """A PUBLISH to the device's own interface with this first byte."""
    topic = f"{identity.realm}/{identity.device_id}/{NAME}".encode() + path
    return packet(first, text(topic) + packet_id + document(7))


PUBLISHES = {
    "QoS 3": lambda i: publish(i, 0x36),
    "packet id 0": lambda i: publish(i, 0x32, packet_id=b"\0\0"),
    "DUP at QoS 0": lambda i: publish(i, 0x38, packet_id=b""),
    "topic with +": lambda i: publish(i, 0x32, path=b"/+"),
    "topic with #": lambda i: publish(i, 0x32, path=b"/#"),
    "topic not UTF-8": lambda i: publish(i, 0x32, path=b"/\xff"),
    "topic with a surrogate": lambda i: publish(i, 0x32, path=b"/\xed\xa0\x80"),
    "topic with NUL": lambda i: publish(i, 0x32, path=b"/a\0b"),
    "empty topic": lambda i: packet(0x32, text(b"") + b"\0\1" + document(7)),
    "topic longer than the packet": lambda i: packet(0x32, struct.pack(">H", 9999) + b"a"),
    "nothing in it": lambda i: packet(0x32, b""),
}

OTHERS = {
    "second CONNECT": Wire.CONNECT,
    "reserved packet type 0": packet(0x00, b""),
    "reserved packet type 15": packet(0xF0, b""),
    "server's packet CONNACK": packet(0x20, b"\0\0"),
    "server's packet SUBACK": packet(0x90, b"\0\1\0"),
    "SUBSCRIBE with wrong flags": packet(0x80, b"\0\1" + text(b"a") + b"\0"),
    "SUBSCRIBE without filters": packet(0x82, b"\0\1"),
    "SUBSCRIBE at QoS 3": packet(0x82, b"\0\1" + text(b"a") + b"\3"),
    "SUBSCRIBE with packet id 0": packet(0x82, b"\0\0" + text(b"a") + b"\0"),
    "SUBSCRIBE with a misplaced #": packet(0x82, b"\0\1" + text(b"a/#/b") + b"\0"),
    "UNSUBSCRIBE without filters": packet(0xA2, b"\0\1"),
    "PUBREL with wrong flags": packet(0x60, b"\0\1"),
    "PINGREQ with a body": packet(0xC0, b"\0"),
    "length of five bytes": bytes.fromhex("30ffffffff7f"),
}

CONNECTS = {
    "other packet first": packet(0xC0, b""),
    "protocol name wrong": packet(0x10, text(b"MQTX") + b"\x04\x02\0\x3c" + text(b"")),
    "reserved flag": packet(0x10, text(b"MQTT") + b"\x04\x03\0\x3c" + text(b"")),
    "will QoS without will": packet(0x10, text(b"MQTT") + b"\x04\x0a\0\x3c" + text(b"")),
    "password without user name": packet(0x10, text(b"MQTT") + b"\x04\x42\0\x3c" + text(b"") + text(b"x")),
    "cut short": packet(0x10, text(b"MQTT") + b"\x04\x02"),
    "trailing bytes": packet(0x10, text(b"MQTT") + b"\x04\x02\0\x3c" + text(b"") + b"more"),
    "text": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 50 + b"\r\n",
}


@pytest.mark.parametrize("case", PUBLISHES, ids=str)
def test_malformed_publish_ends_the_connection_and_stores_nothing(realm, identity, wire, case):
    wire.connect()
    wire.send(PUBLISHES[case](identity))
    assert wire.ends()
    answer = realm.appengine.get(realm.at(identity.device_id, NAME))
    assert answer.error() == (404, "Interface not found in device introspection")


@pytest.mark.parametrize("case", OTHERS, ids=str)
def test_malformed_packet_ends_the_connection(wire, case):
    wire.connect()
    wire.send(OTHERS[case])
    assert wire.ends()


@pytest.mark.parametrize("case", CONNECTS, ids=str)
def test_malformed_start_ends_the_connection_without_sign_in(realm, identity, wire, case):
    wire.send(CONNECTS[case])
    answer = wire.read(4)
    assert answer != Wire.CONNACK
    assert wire.ends()


def test_unknown_protocol_level_is_answered_with_code_1(wire):
    wire.send(packet(0x10, text(b"MQTT") + b"\x09\x02\0\x3c" + text(b"")))
    assert wire.read(4) == bytes.fromhex("20020001")
    assert wire.ends()


def test_empty_client_id_without_clean_session_is_answered_with_code_2(wire):
    wire.send(packet(0x10, text(b"MQTT") + b"\x04\x00\0\x3c" + text(b"")))
    assert wire.read(4) == bytes.fromhex("20020002")
    assert wire.ends()


def test_packet_that_arrives_in_single_bytes_is_read(realm, devices, interfaces):
    identity = devices.certified(realm)
    with Wire(realm, identity) as wire:
        wire.connect()
        base = f"{identity.realm}/{identity.device_id}"
        sent = packet(0x32, text(base.encode()) + b"\0\1" + f"{NAME}:1:0".encode())
        sent += packet(0x32, text(f"{base}/{NAME}/integer_endpoint".encode()) + b"\0\2" + document(7))
        for one in sent:
            wire.send(bytes([one]))
        assert wire.read(8) == bytes.fromhex("4002000140020002")
        assert realm.samples(identity.device_id, NAME, "/integer_endpoint") == [7]


def test_repeated_message_of_qos_2_is_stored_once(realm, devices):
    """The client repeats the PUBLISH within the session, because PUBREC was late: exactly once is what QoS 2 means."""
    identity = devices.certified(realm)
    with Wire(realm, identity) as wire:
        wire.connect()
        base = f"{identity.realm}/{identity.device_id}"
        wire.send(packet(0x32, text(base.encode()) + b"\0\1" + f"{NAME}:1:0".encode()))
        assert wire.read(4) == bytes.fromhex("40020001")
        body = text(f"{base}/{NAME}/integer_endpoint".encode()) + b"\0\7" + document(7)
        wire.send(packet(0x34, body) + packet(0x3C, body))
        assert wire.read(8) == bytes.fromhex("5002000750020007")
        wire.send(packet(0x62, b"\0\7") * 2)
        assert wire.read(8) == bytes.fromhex("7002000770020007")
        assert realm.samples(identity.device_id, NAME, "/integer_endpoint") == [7]


def test_message_with_dup_and_an_unknown_packet_id_is_ordinary(realm, devices):
    """The SDK repeats what was not completed on its next connection, whose session is new."""
    identity = devices.certified(realm)
    with Wire(realm, identity) as wire:
        wire.connect()
        base = f"{identity.realm}/{identity.device_id}"
        wire.send(packet(0x32, text(base.encode()) + b"\0\1" + f"{NAME}:1:0".encode()))
        assert wire.read(4) == bytes.fromhex("40020001")
        body = text(f"{base}/{NAME}/integer_endpoint".encode()) + b"\0\x63" + document(7)
        wire.send(packet(0x3C, body))
        assert wire.read(4) == bytes.fromhex("50020063")
        wire.send(packet(0x62, b"\0\x63"))
        assert wire.read(4) == bytes.fromhex("70020063")
        assert realm.samples(identity.device_id, NAME, "/integer_endpoint") == [7]
