"""A device on bare MQTT: the paho client with a device's key and certificate, to send what the SDK would never send."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import zlib
from dataclasses import dataclass
from typing import Any, Iterable
from urllib.parse import urlparse

import bson
import paho.mqtt.client as mqtt

from harness import waiting
from harness.rest import Identity, Realm


class Refused(Exception):
    """The broker answered CONNECT with another code than 0."""

    def __init__(self, code: int):
        super().__init__(f"CONNACK {code}")
        self.code = code


@dataclass(frozen=True)
class Message:
    """A message that the hub sent."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


def broker(realm: Realm, identity: Identity) -> tuple[str, int]:
    """Where Pairing tells this device to connect."""
    info = realm.as_device(identity).get("").data
    url = urlparse(info["protocols"]["astarte_mqtt_v1"]["broker_url"])
    assert url.scheme == "mqtts" and url.hostname and url.port, url
    return url.hostname, url.port


# What Pairing told each device: asking costs the hub a slow hash, and it does not change.
_addresses: dict[str, tuple[str, int]] = {}


def trust(ca: str) -> ssl.SSLContext:
    """A client context that trusts only the hub, with no certificate of its own."""
    return ssl.create_default_context(cafile=ca)


def document(value: Any, **more: Any) -> bytes:
    """The BSON payload of a value as the SDK encodes it."""
    return bson.dumps({"v": value, **more})


def purge_list(paths: Iterable[str], header: int | None = None) -> bytes:
    """A purge list; header None writes the right length."""
    text = ";".join(paths).encode("utf-8")
    return struct.pack(">I", len(text) if header is None else header) + zlib.compress(text)


class RawDevice:
    """One MQTT connection. It never connects again by itself."""

    def __init__(self, realm: Realm, identity: Identity, client_id: str = "", clean: bool = True, context: Any = None):
        self.base = f"{identity.realm}/{identity.device_id}"
        if identity.device_id not in _addresses:
            _addresses[identity.device_id] = broker(realm, identity)
        self.address = _addresses[identity.device_id]
        self.changed = threading.Condition()
        self.connack: int | None = None
        self.session_present = False
        self.closed = False
        self.done: set[int] = set()
        self.granted: dict[int, list[int]] = {}
        self.messages: list[Message] = []
        if context is None:
            context = trust(realm.hub.ca)
            context.load_cert_chain(identity.crypto / "device.crt", identity.crypto / "device.key")
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=clean,
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        self.client.tls_set_context(context)
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        self.client.on_publish = self._on_publish
        self.client.on_subscribe = self._on_subscribe
        self.client.on_message = self._on_message

    def _on_connect(self, _client: Any, _data: Any, flags: Any, reason: Any, _properties: Any) -> None:
        # paho shows the codes of 3.1.1 in the clothes of version 5; 0x80 and above is a refusal
        with self.changed:
            self.session_present = flags.session_present
            self.connack = reason.value
            self.changed.notify_all()

    def _on_disconnect(self, *_args: Any) -> None:
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def _on_publish(self, _client: Any, _data: Any, mid: int, _reason: Any, _properties: Any) -> None:
        with self.changed:
            self.done.add(mid)
            self.changed.notify_all()

    def _on_subscribe(self, _client: Any, _data: Any, mid: int, reasons: Any, _properties: Any) -> None:
        with self.changed:
            self.granted[mid] = [reason.value for reason in reasons]
            self.changed.notify_all()

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        with self.changed:
            self.messages.append(Message(message.topic, message.payload, message.qos, message.retain))
            self.changed.notify_all()

    def _wait(self, condition: Any, what: str, timeout: float = waiting.DEADLINE) -> None:
        with self.changed:
            if not self.changed.wait_for(condition, timeout):
                raise waiting.Timeout(f"waited {timeout:g} s for {what} on the raw connection of {self.base}")

    def connect(self) -> "RawDevice":
        """Connect and wait for CONNACK; Refused for another code than 0, ssl.SSLError or OSError when TLS fails."""
        self.client.connect(*self.address, keepalive=60)
        self.client.loop_start()
        self._wait(lambda: self.connack is not None or self.closed, "CONNACK")
        if self.connack is None:
            raise OSError("the connection ended before CONNACK")
        if self.connack != 0:
            raise Refused(self.connack)
        return self

    def publish(self, topic: str, payload: bytes, qos: int = 2) -> int:
        """Send a message below the device's base topic ("" is the base topic itself) and return its packet id."""
        return self.publish_absolute(f"{self.base}/{topic}" if topic else self.base, payload, qos)

    def publish_absolute(self, topic: str, payload: bytes, qos: int = 2) -> int:
        """Send a message on any topic."""
        return self.client.publish(topic, payload, qos).mid

    def wait_done(self, mid: int) -> None:
        """Wait for PUBACK or PUBCOMP."""
        self._wait(lambda: mid in self.done, f"the acknowledgement of packet {mid}")

    def is_done(self, mid: int) -> bool:
        """Whether PUBACK or PUBCOMP has arrived."""
        with self.changed:
            return mid in self.done

    def send(self, topic: str, payload: bytes, qos: int = 2) -> None:
        """Publish and wait for the acknowledgement."""
        mid = self.publish(topic, payload, qos)
        self.wait_done(mid)

    def subscribe(self, *filters: str) -> list[int]:
        """Subscribe at QoS 2 to absolute filters, in one packet, and return the codes of the SUBACK."""
        _, mid = self.client.subscribe([(one, 2) for one in filters])
        self._wait(lambda: mid in self.granted, "SUBACK")
        return self.granted[mid]

    def declare(self, *definitions: dict) -> None:
        """Publish the introspection and wait for its acknowledgement."""
        self.send("", introspection(*definitions))

    def start(self, *definitions: dict) -> "RawDevice":
        """Connect and do what a device does at the start of a session without properties."""
        self.connect()
        filters = [f"{self.base}/control/consumer/properties"]
        filters += [f"{self.base}/{d['interface_name']}/#" for d in definitions if d["ownership"] == "server"]
        assert self.subscribe(*filters) == [2] * len(filters)
        self.declare(*definitions)
        self.send("control/emptyCache", b"1")
        return self

    def barrier(self, *definitions: dict) -> None:
        """Prove that the connection lives and that everything sent before has been dealt with.

        Messages of one device are handled in order, so the acknowledgement of an introspection that changes nothing
        comes after any reaction to an earlier message.
        """
        self.declare(*definitions)
        assert not self.closed

    def wait_closed(self, what: str = "the hub to disconnect the device") -> None:
        """Wait until the hub has ended the connection."""
        self._wait(lambda: self.closed, what)

    def wait_messages(self, count: int) -> list[Message]:
        """Wait for that many messages in all and return them."""
        self._wait(lambda: len(self.messages) >= count, f"{count} messages; has {self.messages}")
        return list(self.messages)

    def stop(self) -> None:
        """DISCONNECT, if connected, and end the network thread."""
        self.client.disconnect()
        self.client.loop_stop()

    def drop(self) -> None:
        """End the TCP connection without DISCONNECT, as a device that loses its network."""
        sock = self.client.socket()
        if sock is not None:
            sock.close()
        self.client.loop_stop()


def introspection(*definitions: dict) -> bytes:
    """The introspection message for these interfaces."""
    items = (f"{d['interface_name']}:{d['version_major']}:{d['version_minor']}" for d in definitions)
    return ";".join(items).encode("ascii")


class Wire:
    """A TLS connection to the MQTT port that sends bytes as they are, for what no client library will write."""

    # CONNECT of the official SDK: MQTT 3.1.1, clean session, keep-alive 60, empty client id
    CONNECT = bytes.fromhex("100c00044d5154540402003c0000")
    CONNACK = bytes.fromhex("20020000")

    def __init__(self, realm: Realm, identity: Identity):
        context = trust(realm.hub.ca)
        context.load_cert_chain(identity.crypto / "device.crt", identity.crypto / "device.key")
        address = broker(realm, identity)
        self.socket = context.wrap_socket(
            socket.create_connection(address, waiting.DEADLINE), server_hostname=address[0]
        )
        self.socket.settimeout(waiting.DEADLINE)

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: Any) -> None:
        self.socket.close()

    def send(self, packet: bytes) -> None:
        """Write bytes."""
        self.socket.sendall(packet)

    def read(self, count: int) -> bytes:
        """Read exactly so many bytes, fewer if the connection ends."""
        got = b""
        while len(got) < count:
            try:
                more = self.socket.recv(count - len(got))
            except (ConnectionResetError, ssl.SSLEOFError):
                break
            if not more:
                break
            got += more
        return got

    def connect(self) -> "Wire":
        """Sign in as the SDK does."""
        self.send(self.CONNECT)
        assert self.read(4) == self.CONNACK
        return self

    def ends(self) -> bool:
        """Whether the hub ends the connection without sending anything more."""
        return self.read(1) == b""


def packet(first: int, body: bytes) -> bytes:
    """An MQTT packet of less than 16 KiB."""
    length = len(body)
    return bytes([first]) + (bytes([length]) if length < 128 else bytes([length % 128 | 0x80, length // 128])) + body


def text(value: bytes) -> bytes:
    """An MQTT string."""
    return struct.pack(">H", len(value)) + value
