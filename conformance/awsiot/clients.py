"""The official clients, each behind a few lines that let a test wait for what it expects."""

from __future__ import annotations

import json
import queue
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Callable

import pytest
from AWSIoTPythonSDK.core.protocol.internal.clients import ClientStatus
from AWSIoTPythonSDK.MQTTLib import AWSIoTMQTTClient, AWSIoTMQTTShadowClient, AWSIoTMQTTThingJobsClient
from awscrt import auth, http, mqtt, mqtt5
from awscrt.mqtt_request_response import SubscriptionStatusEventType
from awsiot import ServiceStreamOptions, V2ServiceException, mqtt5_client_builder, mqtt_connection_builder

PATIENCE = 30  # seconds; how long to wait for what has to come


@dataclass
class Thing:
    """A thing, or just a certificate, and the hub that knows it."""

    hub: Any
    name: str
    certificate: str  # a file
    key: str  # a file
    arn: str = ""  # of the certificate

    @property
    def certificate_id(self) -> str:
        return self.arn.rpartition("/")[2]


class Inbox:
    """What came in, in order; any callback of the SDKs may put something in."""

    def __init__(self) -> None:
        self._queue: queue.Queue = queue.Queue()

    def put(self, *what: Any) -> None:
        self._queue.put(what[0] if len(what) == 1 else what)

    def get(self, timeout: float = PATIENCE) -> Any:
        return self._queue.get(timeout=timeout)

    def all(self) -> list[Any]:
        """What is there now."""
        found = []
        while not self._queue.empty():
            found.append(self._queue.get_nowait())
        return found


def until(condition: Callable[[], Any], what: str, timeout: float = PATIENCE) -> Any:
    """Wait until a condition holds, and return its value."""
    end = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {timeout} s in vain for {what}"
        time.sleep(0.02)
    return value


# The first generation: AWSIoTPythonSDK.

def v1(thing: Thing, transport: str = "mtls", kind: Callable = AWSIoTMQTTClient, client_id: str | None = None,
       port: int | None = None, **options: Any):
    """A client that is configured and not connected. transport is "mtls", "alpn" or "wss"."""
    hub, web = thing.hub, transport == "wss"
    client = kind(client_id or thing.name, useWebsocket=web, **options)
    if transport == "mtls":
        client.configureEndpoint(hub.host, port or hub.mqtt_port)
    elif transport == "alpn":
        client.configureEndpoint(hub.host, 443)  # turns ALPN on, and nothing turns it off again
        client.configureEndpoint(hub.host, port or hub.https_port)
    else:
        client.configureEndpoint(hub.signing_host, port or hub.https_port)
        client.configureIAMCredentials(hub.variables["AWS_ACCESS_KEY_ID"], hub.variables["AWS_SECRET_ACCESS_KEY"])
        client.configureSocketFactory(lambda: socket.create_connection(("127.0.0.1", port or hub.https_port), timeout=10))
    if web:
        client.configureCredentials(hub.root_ca)
    else:
        client.configureCredentials(hub.root_ca, thing.key, thing.certificate)
    client.configureConnectDisconnectTimeout(PATIENCE)
    client.configureMQTTOperationTimeout(PATIENCE)
    client.configureAutoReconnectBackoffTime(1, 1, 5)
    client.onlines = []  # one for each connection, unless the test puts something else there
    client.onOnline = lambda: client.onlines.append(True)
    return client


def leave(client: AWSIoTMQTTClient) -> None:
    """Disconnect a client that may be offline, which it would wait for."""
    client.configureConnectDisconnectTimeout(1)
    client.disconnect()


def v1_shadow(thing: Thing, **options: Any) -> AWSIoTMQTTShadowClient:
    return v1(thing, kind=AWSIoTMQTTShadowClient, **options)


def v1_jobs(thing: Thing, **options: Any) -> AWSIoTMQTTThingJobsClient:
    def make(client_id: str, **more: Any) -> AWSIoTMQTTThingJobsClient:
        return AWSIoTMQTTThingJobsClient(client_id, thing.name, QoS=1, **more)

    return v1(thing, kind=make, **options)


def v1_back(client) -> None:
    """Wait until a client has connected a second time, and sends at once what it is given."""
    core = getattr(client, "getMQTTConnection", lambda: client)()._mqtt_core
    until(lambda: len(client.onlines) > 1 and core._client_status.get_status() == ClientStatus.STABLE, "the v1 client to be back")


# The second generation: awsiotsdk on awscrt.

def _material(thing: Thing, transport: str) -> tuple[str, dict[str, Any]]:
    hub = thing.hub
    named = {"endpoint": hub.host, "ca_filepath": hub.root_ca, "client_id": thing.name}
    if transport == "wss":
        keys = auth.AwsCredentialsProvider.new_static(hub.variables["AWS_ACCESS_KEY_ID"], hub.variables["AWS_SECRET_ACCESS_KEY"])
        return "websockets_with_default_aws_signing", named | {
            "port": hub.https_port, "region": hub.region, "credentials_provider": keys}
    named |= {"port": hub.mqtt_port, "cert_filepath": thing.certificate, "pri_key_filepath": thing.key}
    if transport == "alpn":  # which these builders use with port 443 only
        named |= {"port": 443, "http_proxy_options": http.HttpProxyOptions("127.0.0.1", hub.tunnel.port)}
    return "mtls_from_path", named


class V3:
    """MQTT 3.1.1 of the second generation, connected."""

    def __init__(self, thing: Thing, transport: str = "mtls", **options: Any):
        builder, named = _material(thing, transport)
        self.inbox = Inbox()
        self.interrupted, self.resumed, self.subscribed = Inbox(), Inbox(), False
        named |= {
            "clean_session": True,
            "keep_alive_secs": 30,
            "reconnect_min_timeout_secs": 1,
            "reconnect_max_timeout_secs": 1,
            "on_connection_interrupted": lambda connection, error, **_: self.interrupted.put(error),
            "on_connection_resumed": lambda connection, return_code, session_present, **_: self.resumed.put(session_present),
        }
        self.connection: mqtt.Connection = getattr(mqtt_connection_builder, builder)(**(named | options))

    def connect(self) -> dict:
        return self.connection.connect().result(PATIENCE)

    def subscribe(self, topic: str, qos: int = 1) -> int:
        future, _ = self.connection.subscribe(topic, mqtt.QoS(qos), self._received)
        self.subscribed = True
        return int(future.result(PATIENCE)["qos"])

    def _received(self, topic: str, payload: bytes, **_: Any) -> None:
        self.inbox.put(topic, payload)

    def publish(self, topic: str, payload: Any, qos: int = 1, retain: bool = False) -> None:
        text = payload if isinstance(payload, (str, bytes)) else json.dumps(payload)
        self.connection.publish(topic, text, mqtt.QoS(qos), retain)[0].result(PATIENCE)

    def back(self) -> None:
        """Wait until it is connected again, with what it had subscribed to."""
        if not self.resumed.get() and self.subscribed:  # without any topic, this call's future never ends
            self.connection.resubscribe_existing_topics()[0].result(PATIENCE)

    def close(self) -> None:
        self.connection.disconnect().result(PATIENCE)


@dataclass
class Ends:
    """How a connection of MQTT 5 began and ended."""

    connected: Inbox = field(default_factory=Inbox)
    failed: Inbox = field(default_factory=Inbox)
    disconnected: Inbox = field(default_factory=Inbox)
    stopped: threading.Event = field(default_factory=threading.Event)


class V5:
    """MQTT 5 of the second generation. The client is started by start and by connect."""

    def __init__(self, thing: Thing, transport: str = "mtls", **options: Any):
        builder, named = _material(thing, transport)
        named.pop("client_id")
        self.inbox, self.ends, self.subscribed = Inbox(), Ends(), []
        packet = options.pop("connect_options", None) or mqtt5.ConnectPacket(client_id=thing.name, keep_alive_interval_sec=30)
        self.client: mqtt5.Client = getattr(mqtt5_client_builder, builder)(**(named | {
            "connect_options": packet,
            "on_publish_received": lambda data: self.inbox.put(data.publish_packet),
            "on_lifecycle_connection_success": lambda data: self.ends.connected.put(data),
            "on_lifecycle_connection_failure": lambda data: self.ends.failed.put(data),
            "on_lifecycle_disconnection": lambda data: self.ends.disconnected.put(data),
            "on_lifecycle_stopped": lambda data: self.ends.stopped.set(),
            "min_reconnect_delay_ms": 100, "max_reconnect_delay_ms": 1000,
        } | options))

    def connect(self) -> mqtt5.LifecycleConnectSuccessData:
        self.client.start()
        return self.ends.connected.get()

    def back(self) -> None:
        """Wait until it is connected again, with what it had subscribed to."""
        if not self.ends.connected.get().connack_packet.session_present:
            for packet in self.subscribed:
                self.client.subscribe(packet).result(PATIENCE)

    def subscribe(self, *filters: str, qos: int = 1, **options: Any) -> list[int]:
        packet = mqtt5.SubscribePacket([mqtt5.Subscription(one, mqtt5.QoS(qos), **options) for one in filters])
        self.subscribed.append(packet)
        return [int(code) for code in self.client.subscribe(packet).result(PATIENCE).reason_codes]

    def publish(self, topic: str, payload: Any = b"", qos: int = 1, **options: Any) -> int:
        """Publish, and return the reason code of the acknowledgement; 0 for QoS 0."""
        text = payload if isinstance(payload, (str, bytes)) else json.dumps(payload)
        done = self.client.publish(mqtt5.PublishPacket(topic=topic, payload=text, qos=mqtt5.QoS(qos), **options)).result(PATIENCE)
        return int(done.puback.reason_code) if done.puback else 0

    def close(self) -> None:
        self.client.stop()
        assert self.ends.stopped.wait(PATIENCE)


def back(client: Any) -> None:
    """Wait until a client of either generation is connected again, or what watch has opened is established again."""
    client.back() if hasattr(client, "back") else v1_back(client)


# The service clients of the second generation.

def watch(create: Callable, request: Any) -> Inbox:
    """Open a stream of a service client, wait until it is established, and return what comes on it."""
    events, states = Inbox(), Inbox()
    stream = create(request, ServiceStreamOptions(incoming_event_listener=events.put, subscription_status_listener=states.put))
    stream.open()
    events.back = lambda: until(
        lambda: SubscriptionStatusEventType.SUBSCRIPTION_ESTABLISHED in [one.type for one in states.all()], "the stream to be established")
    events.back()
    events.stream = stream  # streams end when they are forgotten
    return events


def rejected(call: Callable, request: Any) -> Any:
    """What the service answers to a request that it must refuse."""
    with pytest.raises(V2ServiceException) as refused:
        call(request).result(PATIENCE)
    return refused.value.modeled_error
