"""A client of Eclipse Paho that waits: every step returns when its answer is there."""

from __future__ import annotations

import queue
import threading
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

V31, V311, V5 = MQTTProtocolVersion.MQTTv31, MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5
TIMEOUT = 60


def properties(kind: int, **values: Any) -> Properties:
    """Properties of a packet: properties(PacketTypes.PUBLISH, ContentType="text/plain")."""
    made = Properties(kind)
    for name, value in values.items():
        setattr(made, name, value)
    return made


class Refused(Exception):
    """CONNACK said no; args[0] is Paho's reason code."""


class Client:
    """One MQTT client. A context manager that disconnects in order."""

    def __init__(self, hub: Any, device: Any, version: MQTTProtocolVersion = V311, transport: str = "tcp",
                 client_id: str = "", clean: bool = True, password: str | None = None):
        self.hub, self.version, self.clean, self.transport = hub, version, clean, transport
        extra = {} if version == V5 else {"clean_session": clean}
        self.mqtt = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=version, transport=transport, **extra)
        self.mqtt.username_pw_set(device.name, device.password if password is None else password)
        self.mqtt.tls_set(ca_certs=hub.ca)
        self.messages: queue.Queue = queue.Queue()
        self._answers: queue.Queue = queue.Queue()
        self._ended = threading.Event()
        self.end_reason: Any = None
        self.mqtt.on_connect = lambda _c, _u, flags, reason, props: self._answers.put((flags, reason, props))
        self.mqtt.on_subscribe = lambda _c, _u, _m, reasons, _p: self._answers.put(reasons)
        self.mqtt.on_unsubscribe = lambda _c, _u, _m, reasons, _p: self._answers.put(reasons)
        self.mqtt.on_publish = lambda _c, _u, mid, reason, _p: self._answers.put((mid, reason))
        self.mqtt.on_message = lambda _c, _u, message: self.messages.put(message)
        self.mqtt.on_disconnect = self._disconnected

    def _disconnected(self, _client: Any, _user: Any, _flags: Any, reason: Any, _props: Any) -> None:
        self.end_reason = reason
        self._ended.set()

    def connect(self, keepalive: int = 60, **values: Any) -> "Client":
        """values are properties of CONNECT (version 5)."""
        extra = {}
        if self.version == V5:
            extra = {"clean_start": self.clean, "properties": properties(PacketTypes.CONNECT, **values)}
        port = self.hub.https_port if self.transport == "websockets" else self.hub.mqtt_port
        self.mqtt.connect("localhost", port, keepalive, **extra)
        self.mqtt.loop_start()
        flags, self.reason, self.connack = self._answers.get(timeout=TIMEOUT)
        if self.reason.is_failure:
            self.mqtt.loop_stop()
            raise Refused(self.reason)
        self.session_present = flags.session_present
        return self

    def subscribe(self, *args: Any, **named: Any) -> list:
        result, _ = self.mqtt.subscribe(*args, **named)
        assert result == paho.MQTT_ERR_SUCCESS
        return self._answers.get(timeout=TIMEOUT)

    def unsubscribe(self, *args: Any) -> list:
        self.mqtt.unsubscribe(*args)
        return self._answers.get(timeout=TIMEOUT)

    def publish(self, topic: str, payload: Any, qos: int = 1, retain: bool = False, **values: Any) -> Any:
        """Returns the reason code of the acknowledgement. values are properties of PUBLISH (version 5)."""
        extra = {"properties": properties(PacketTypes.PUBLISH, **values)} if values else {}
        info = self.mqtt.publish(topic, payload, qos, retain, **extra)
        mid, reason = self._answers.get(timeout=TIMEOUT)
        assert mid == info.mid
        return reason

    def receive(self, timeout: float = TIMEOUT) -> Any:
        return self.messages.get(timeout=timeout)

    def silent(self) -> bool:
        """Whether nothing is left to receive; true after a round trip of our own has come back."""
        return self.messages.empty()

    def vanish(self) -> None:
        """Close the socket without DISCONNECT, as a lost network does."""
        self.mqtt.on_socket_close = None
        self.mqtt.reconnect_delay_set(3600, 3600)
        sock = self.mqtt.socket()
        self.mqtt.loop_stop()
        sock.close()

    def ended(self) -> Any:
        """The reason that the hub, or the network, gave for the end."""
        assert self._ended.wait(TIMEOUT), "the connection has not ended"
        return self.end_reason

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: Any) -> None:
        self.mqtt.disconnect()
        self.mqtt.loop_stop()
