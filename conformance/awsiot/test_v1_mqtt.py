"""AWSIoTPythonSDK as an MQTT client: transports, both qualities of service, queueing over a cut line, refusals."""

from __future__ import annotations

import json
import threading

import pytest
from AWSIoTPythonSDK.exception.AWSIoTExceptions import (
    connectError, connectTimeoutException, publishQueueDisabledException, publishQueueFullException, subackError)
from AWSIoTPythonSDK.MQTTLib import DROP_OLDEST, MQTTv3_1, MQTTv3_1_1

from clients import V5, Inbox, leave, v1

TRANSPORTS = ["mtls", "alpn", "wss"]


def connected(closing, *args, on_message=None, **kwargs):
    client = v1(*args, **kwargs)
    if on_message:  # which the SDK looks at when it connects
        client.onMessage = on_message
    assert client.connect(60)
    closing(client.disconnect)
    return client


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("version", [MQTTv3_1, MQTTv3_1_1])
def test_there_and_back(thing, closing, middle, transport, version):
    client, inbox = connected(closing, thing, transport, protocolType=version), Inbox()
    for qos in (0, 1):
        topic = f"{thing.name}/there/{qos}"
        assert client.subscribe(topic, qos, lambda _, __, message: inbox.put(message.topic, message.payload))
        for payload in ("text", bytearray(b"\x00\xff" * 40), ""):
            assert client.publish(topic, payload, qos)
            want = payload.encode() if isinstance(payload, str) else bytes(payload)
            assert inbox.get() == (topic, want)
        if qos == 0:
            middle(client)
            assert client.publish(topic, "again", qos) and inbox.get() == (topic, b"again")
        assert client.unsubscribe(topic)
        assert client.publish(topic, "nobody listens", qos)
    assert client.publish(f"{thing.name}/last", "word", 1)
    assert inbox.all() == []


def test_asynchronous(thing, closing, middle):
    client, acks, inbox = v1(thing), Inbox(), Inbox()
    assert client.connectAsync(60, ackCallback=lambda mid, code: acks.put("connect", code)) == "CONNECTED"
    closing(client.disconnect)
    assert acks.get() == ("connect", 0)
    mid = client.subscribeAsync("async/" + thing.name, 1, ackCallback=lambda mid, data: acks.put("subscribe", mid, data),
                                messageCallback=lambda _, __, message: inbox.put(message.payload))
    assert acks.get() == ("subscribe", mid, (1,)) or acks.all() == []
    middle(client)
    acks.all()  # a callback of connectAsync is called for each connection
    mids = [client.publishAsync("async/" + thing.name, str(n), 1, ackCallback=lambda mid: acks.put("publish", mid)) for n in range(50)]
    assert [acks.get() for _ in mids] == [("publish", mid) for mid in mids]
    assert [inbox.get() for _ in mids] == [str(n).encode() for n in range(50)]
    mid = client.unsubscribeAsync("async/" + thing.name, ackCallback=lambda mid: acks.put("unsubscribe", mid))
    assert acks.get() == ("unsubscribe", mid)
    assert client.disconnectAsync(ackCallback=lambda mid, code: acks.put("disconnect", code)) == "DISCONNECTED"
    assert acks.get() == ("disconnect", 0)


def test_wildcards_and_order(account, closing, middle):
    listener, speaker = account.thing(), account.thing()
    inbox = Inbox()
    receiver = connected(closing, listener, on_message=lambda message: inbox.put(message.topic, int(message.payload)))
    for filter in (f"{speaker.name}/+/state", f"{speaker.name}/deep/#"):
        assert receiver.subscribe(filter, 1, None)
    sender = connected(closing, speaker)
    for part in (range(50), range(50, 100)):
        for n in part:
            assert sender.publish(f"{speaker.name}/{'deep/down' if n % 2 else 'a/state'}", str(n), 1)
        assert [inbox.get()[1] for _ in part] == list(part)
        if part.start == 0:  # a clean session's messages need not survive the hub, so none is under way
            middle(receiver, sender)


def test_will(account, closing, proxy):
    mortal, mourner = account.thing(), account.thing()
    watcher, inbox = connected(closing, mourner), Inbox()
    assert watcher.subscribe(f"{mortal.name}/will", 1, lambda _, __, message: inbox.put(message.payload))
    client = v1(mortal, port=proxy.port)
    client.configureLastWill(f"{mortal.name}/will", "gone", 1)
    online = Inbox()
    client.onOnline = lambda: online.put(True)
    assert client.connect(60)
    closing(client.disconnect)
    assert online.get()
    proxy.cut()
    assert inbox.get() == b"gone"
    assert online.get()
    assert client.disconnect()
    assert watcher.publish(f"{mortal.name}/will", "after a goodbye there is none", 1)
    assert inbox.get() == b"after a goodbye there is none"


def test_offline_queue_drains_in_order(thing, proxy, closing, account, middle):
    witness, inbox = connected(closing, account.thing()), Inbox()
    assert witness.subscribe(f"{thing.name}/queued", 1, lambda _, __, message: inbox.put(int(message.payload)))
    client, online, offline = v1(thing, port=proxy.port), Inbox(), threading.Event()
    client.configureDrainingFrequency(50)
    client.onOnline, client.onOffline = lambda: online.put(True), offline.set
    assert client.connect(60)
    closing(client.disconnect)
    assert online.get()
    proxy.down()
    assert offline.wait(30)
    assert [client.publish(f"{thing.name}/queued", str(n), 1) for n in range(20)] == [False] * 20
    middle(witness)
    proxy.up()
    assert online.get()
    assert [inbox.get() for _ in range(20)] == list(range(20))


@pytest.mark.parametrize("drop,kept", [(None, range(5)), (DROP_OLDEST, range(3, 8))])
def test_offline_queue_is_limited(thing, proxy, closing, account, middle, drop, kept):
    witness, inbox = connected(closing, account.thing()), Inbox()
    assert witness.subscribe(f"{thing.name}/queued", 1, lambda _, __, message: inbox.put(int(message.payload)))
    client, offline = v1(thing, port=proxy.port), threading.Event()
    client.configureDrainingFrequency(50)
    client.configureOfflinePublishQueueing(5, *([drop] if drop is not None else []))
    client.onOffline = offline.set
    assert client.connect(60)
    closing(client.disconnect)
    proxy.down()
    assert offline.wait(30)
    for n in range(8):
        if n < 5:
            client.publish(f"{thing.name}/queued", str(n), 1)
        else:
            with pytest.raises(publishQueueFullException):
                client.publish(f"{thing.name}/queued", str(n), 1)
    middle(witness)
    proxy.up()
    assert [inbox.get() for _ in kept] == list(kept)


def test_offline_queue_disabled(thing, closing):
    client = v1(thing)
    client.configureOfflinePublishQueueing(0)
    with pytest.raises(publishQueueDisabledException):
        client.publish(f"{thing.name}/x", "never", 1)


def test_resubscribes_after_a_cut(thing, proxy, closing, account):
    speaker = connected(closing, account.thing())
    client, inbox, online = v1(thing, port=proxy.port), Inbox(), Inbox()
    client.onOnline = lambda: online.put(True)
    assert client.connect(60)
    closing(client.disconnect)
    assert online.get()
    assert client.subscribe(f"to/{thing.name}", 1, lambda _, __, message: inbox.put(message.payload))
    for n in range(3):
        proxy.cut()
        assert online.get()
        assert client.publish(f"to/{thing.name}", f"own {n}", 1) in (True, False)  # queued while it subscribes anew
        assert inbox.get() == f"own {n}".encode()
        assert speaker.publish(f"to/{thing.name}", f"other {n}", 1)
        assert inbox.get() == f"other {n}".encode()


def test_persistent_session_keeps_messages(thing, account, closing, middle):
    speaker = connected(closing, account.thing())
    client, inbox = v1(thing, cleanSession=False), Inbox()
    assert client.connect(60)
    assert client.subscribe(f"to/{thing.name}", 1, None)
    assert client.disconnect()
    for n in range(5):
        assert speaker.publish(f"to/{thing.name}", str(n), 1)
    middle(speaker)
    client.onMessage = lambda message: inbox.put(message.payload)
    assert client.connect(60)
    closing(client.disconnect)
    assert [inbox.get() for _ in range(5)] == [str(n).encode() for n in range(5)]


def test_user_name_is_tolerated(thing, closing):
    for change in (lambda c: c.disableMetricsCollection(), lambda c: c.configureUsernamePassword("me?a=b", "secret")):
        client = v1(thing)
        change(client)
        assert client.connect(60)
        assert client.disconnect()


# Refusals

def allow(*statements):
    return {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": f"iot:{action}", "Resource": f"arn:aws:iot:*:*:{resource}"} for action, resource in statements]}


CONNECT = ("Connect", "client/*")


def test_subscribe_is_refused(account, closing, middle):
    thing = account.thing(allow(CONNECT, ("Subscribe", "topicfilter/mine/*")))
    client = connected(closing, thing)
    assert client.subscribe("mine/#", 1, None)
    middle(client)
    with pytest.raises(subackError) as refused:
        client.subscribe("theirs/#", 1, None)
    assert list(refused.value.suback) == [0x80]
    assert client.subscribe("mine/too", 1, None), "a refused subscription ends nothing"


def test_publish_is_refused(account, closing, middle):
    thing = account.thing(allow(CONNECT, ("Publish", "topic/mine/*"), ("Subscribe", "topicfilter/*"), ("Receive", "topic/*")))
    inbox = Inbox()
    witness = connected(closing, account.thing(), on_message=lambda message: inbox.put(message.topic))
    assert witness.subscribe("mine/#", 1, None) and witness.subscribe("theirs/#", 1, None)
    client, offline = v1(thing), threading.Event()
    client.onOffline = offline.set
    assert client.connect(60)
    closing(lambda: leave(client))
    assert client.publish("mine/a", "x", 1)
    assert inbox.get() == "mine/a"  # a clean session does not outlive the hub
    middle(witness, client)
    offline.clear()
    client.publishAsync("theirs/a", "x", 1)
    assert offline.wait(30), "the connection of one who publishes what it may not is closed"
    assert inbox.all() == []


def test_receive_is_refused(account, closing, middle):
    thing = account.thing(allow(CONNECT, ("Subscribe", "topicfilter/*"), ("Publish", "topic/*"), ("Receive", "topic/open/*")))
    inbox = Inbox()
    client = connected(closing, thing, on_message=lambda message: inbox.put(message.topic))
    assert client.subscribe("open/#", 1, None) and client.subscribe("secret/#", 1, None)
    middle(client)
    assert client.publish("secret/a", "x", 1) and client.publish("open/a", "x", 1)
    assert inbox.get() == "open/a"
    assert inbox.all() == []


def test_connect_is_refused_by_the_policy(account, middle):
    thing = account.thing(allow(("Connect", "client/somebody-else")))
    middle()
    client = V5(thing)
    client.client.start()
    assert int(client.ends.failed.get().connack_packet.reason_code) == 0x87
    client.close()


@pytest.mark.parametrize("status", ["INACTIVE", "REVOKED"])
def test_certificate_is_not_active(account, closing, middle, status):
    thing = account.thing()
    account.iot.update_certificate(certificateId=thing.certificate_id, newStatus=status)
    middle()
    client = v1(thing)
    client.configureConnectDisconnectTimeout(2)
    with pytest.raises((connectTimeoutException, connectError, OSError)):
        client.connect(60)
    closing(client.disconnect)


def test_deactivation_ends_the_connection(account, closing, middle):
    thing = account.thing()
    client, offline = v1(thing), threading.Event()
    client.onOffline = offline.set
    assert client.connect(60)
    closing(lambda: leave(client))
    middle(client)
    offline.clear()
    account.iot.update_certificate(certificateId=thing.certificate_id, newStatus="INACTIVE")
    assert offline.wait(30)


def test_lifecycle_events(account, closing):
    inbox, thing = Inbox(), account.thing()
    watcher = connected(closing, account.thing(), on_message=lambda message: inbox.put(message.topic, json.loads(message.payload)))
    assert watcher.subscribe(f"$aws/events/presence/+/{thing.name}", 1, None)
    assert watcher.subscribe(f"$aws/events/subscriptions/+/{thing.name}", 1, None)
    client = v1(thing)
    assert client.connect(60)
    topic, event = inbox.get()
    assert topic == f"$aws/events/presence/connected/{thing.name}"
    assert event["clientId"] == thing.name and event["eventType"] == "connected" and event["versionNumber"] == 0
    assert event["principalIdentifier"] == thing.certificate_id
    assert client.subscribe("some/topic", 1, None)
    topic, subscribed = inbox.get()
    assert topic == f"$aws/events/subscriptions/subscribed/{thing.name}" and subscribed["topics"] == ["some/topic"]
    assert client.disconnect()
    topic, event = inbox.get()
    assert topic == f"$aws/events/presence/disconnected/{thing.name}"
    assert event["disconnectReason"] == "CLIENT_INITIATED_DISCONNECT" and event["clientInitiatedDisconnect"] is True


def test_oversize_payload(thing, account, closing, middle):
    witness, inbox = connected(closing, account.thing()), Inbox()
    assert witness.subscribe(f"{thing.name}/big", 1, lambda _, __, message: inbox.put(len(message.payload)))
    client, offline = v1(thing), threading.Event()
    client.onOffline = offline.set
    assert client.connect(60)
    closing(lambda: leave(client))
    assert client.publish(f"{thing.name}/big", "x" * 131072, 1)
    assert inbox.get() == 131072
    middle(witness, client)
    offline.clear()
    client.publishAsync(f"{thing.name}/big", "x" * 131073, 1)
    assert offline.wait(30)
    assert inbox.all() == []


def test_data_is_kept(thing, hub, closing, middle):
    client = connected(closing, thing)
    assert client.publish(f"{thing.name}/temperature", "21.5", 1)
    middle(client)
    found = json.loads(hub.cli("data", f"aws/dev/{thing.name}", "--json"))
    assert {one["channel"]: one["last"]["value"] for one in found}[f"{thing.name}/temperature"] == 21.5
