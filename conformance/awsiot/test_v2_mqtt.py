"""awsiotsdk as an MQTT client, 3.1.1 and 5: transports, sessions, what the service says no to."""

from __future__ import annotations

import json

import pytest
from awscrt import mqtt5
from awscrt.exceptions import AwsCrtError

from clients import PATIENCE, V3, V5, until

TRANSPORTS = ["mtls", "alpn", "wss"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_v3_there_and_back(thing, closing, middle, transport):
    client = V3(thing, transport)
    assert client.connect()["session_present"] is False
    closing(client.close)
    for qos in (0, 1):
        assert client.subscribe(f"{thing.name}/{qos}", qos) == qos
        client.publish(f"{thing.name}/{qos}", "hello", qos)
        assert client.inbox.get() == (f"{thing.name}/{qos}", b"hello")
        if qos == 0:
            middle(client)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_v5_there_and_back(thing, closing, middle, transport):
    client = V5(thing, transport)
    told = client.connect()
    closing(client.close)
    assert told.connack_packet.maximum_qos == mqtt5.QoS.AT_LEAST_ONCE
    assert told.connack_packet.topic_alias_maximum == 8
    assert told.connack_packet.subscription_identifiers_available is False
    assert told.negotiated_settings.server_keep_alive_sec == 30
    assert client.subscribe(f"{thing.name}/#") == [1]
    middle(client)
    properties = {
        "payload_format_indicator": mqtt5.PayloadFormatIndicator.AWS_MQTT5_PFI_UTF8, "content_type": "text/plain",
        "response_topic": "reply/here", "correlation_data": b"\x00\x01",
        "user_properties": [mqtt5.UserProperty("b", "2"), mqtt5.UserProperty("a", "1")],
    }
    assert client.publish(f"{thing.name}/x", "hello", message_expiry_interval_sec=60, **properties) == 0
    got = client.inbox.get()
    assert (got.topic, got.payload, got.content_type, got.response_topic) == (f"{thing.name}/x", b"hello", "text/plain", "reply/here")
    assert got.correlation_data in (b"\x00\x01", "\x00\x01")  # as what it comes depends on the release of awscrt
    assert [(one.name, one.value) for one in got.user_properties] == [("b", "2"), ("a", "1")]
    assert 0 <= got.message_expiry_interval_sec <= 60


def test_v3_session_is_resumed(thing, account, closing, middle):
    speaker = V3(account.thing())
    speaker.connect()
    closing(speaker.close)
    first = V3(thing, clean_session=False)
    assert first.connect()["session_present"] is False
    assert first.subscribe(f"to/{thing.name}") == 1
    first.close()
    speaker.publish(f"to/{thing.name}", "kept")
    middle(speaker)
    second = V3(thing, clean_session=False)
    second.connection.on_message(second._received)
    assert second.connect()["session_present"] is True
    closing(second.close)
    assert second.inbox.get() == (f"to/{thing.name}", b"kept")


def test_v5_session_is_resumed(thing, account, closing, middle):
    speaker = V3(account.thing())
    speaker.connect()
    closing(speaker.close)
    options = {
        "session_behavior": mqtt5.ClientSessionBehaviorType.REJOIN_ALWAYS,
        "connect_options": mqtt5.ConnectPacket(client_id=thing.name, keep_alive_interval_sec=30, session_expiry_interval_sec=600),
    }
    first = V5(thing, **options)
    first.connect()
    assert first.subscribe(f"to/{thing.name}") == [1]
    first.close()
    speaker.publish(f"to/{thing.name}", "kept")
    middle(speaker)
    second = V5(thing, **options)
    assert second.connect().connack_packet.session_present is True
    closing(second.close)
    assert second.inbox.get().payload == b"kept"


def test_sessions_of_versions_are_apart(thing, account):
    """A session that was made over MQTT 3.1.1 is none for MQTT 5."""
    old = V3(thing, clean_session=False)
    old.connect()
    old.subscribe(f"{thing.name}/a")
    old.close()
    again = V3(thing, clean_session=False)
    assert again.connect()["session_present"] is True
    again.close()
    new = V5(thing, session_behavior=mqtt5.ClientSessionBehaviorType.REJOIN_ALWAYS, connect_options=mqtt5.ConnectPacket(
        client_id=thing.name, keep_alive_interval_sec=30, session_expiry_interval_sec=600))
    assert new.connect().connack_packet.session_present is False
    new.close()
    last = V3(thing, clean_session=False)
    assert last.connect()["session_present"] is False
    last.close()


def test_v5_longer_sessions_are_shortened(thing, closing):
    client = V5(thing, connect_options=mqtt5.ConnectPacket(
        client_id=thing.name, keep_alive_interval_sec=30, session_expiry_interval_sec=0xFFFFFFFE))
    told = client.connect().negotiated_settings
    closing(client.close)
    assert told.session_expiry_interval_sec <= 7 * 24 * 3600


def test_newest_wins(thing, closing, middle):
    first, second = V5(thing), V5(thing)
    first.connect()
    middle(first)
    first.ends.disconnected.all()
    second.connect()
    closing(second.close)
    assert int(first.ends.disconnected.get().disconnect_packet.reason_code) == 0x8E
    first.client.stop()


def test_retained(thing, account, closing, middle):
    one = V5(thing)
    one.connect()
    closing(one.close)
    assert one.publish(f"{thing.name}/kept", "v", retain=True) == 0
    middle(one)
    late = V5(account.thing())
    late.connect()
    closing(late.close)
    assert late.subscribe(f"{thing.name}/#") == [1]
    assert late.publish("nothing/else", "x") == 0
    assert late.inbox.all() == [], "wildcards bring no retained messages"
    assert late.subscribe(f"{thing.name}/kept") == [1]
    got = late.inbox.get()
    assert got.payload == b"v" and got.retain is True


def test_shared_subscription(thing, account, closing, middle):
    members = [V5(account.thing()) for _ in range(2)]
    for one in members:
        one.connect()
        closing(one.close)
        assert one.subscribe(f"$share/crew/{thing.name}/#") == [1]
    sender = V5(thing)
    sender.connect()
    closing(sender.close)
    middle(*members, sender)
    for n in range(40):
        assert sender.publish(f"{thing.name}/x", str(n)) == 0
    got: list[int] = []
    until(lambda: got.extend(int(p.payload) for m in members for p in m.inbox.all()) or len(got) >= 40, "all messages")
    assert sorted(got) == list(range(40))


def allow(*statements):
    return {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": f"iot:{action}", "Resource": f"arn:aws:iot:*:*:{resource}"} for action, resource in statements]}


def test_v5_is_told_what_it_may_not(account, closing, middle):
    thing = account.thing(allow(("Connect", "client/*"), ("Publish", "topic/mine/*"), ("Subscribe", "topicfilter/mine/*")))
    client = V5(thing)
    client.connect()
    closing(client.close)
    assert client.publish("mine/a", "x") == 0
    middle(client)
    assert client.publish("theirs/a", "x") == 0x87
    assert client.publish("mine/a", "x", retain=True) == 0x87, "to retain is a permission of its own"
    assert client.subscribe("mine/#", "theirs/#") == [1, 0x87]
    assert client.publish("mine/b", "x") == 0, "the connection goes on"


def test_v5_policy_variables(account, closing, middle):
    thing = account.thing(allow(("Connect", "client/${iot:Connection.Thing.ThingName}"),
                                ("Publish", "topic/of/${iot:Connection.Thing.ThingName}/*")))
    client = V5(thing)
    client.connect()
    closing(client.close)
    assert client.publish(f"of/{thing.name}/a", "x") == 0
    middle(client)
    assert client.publish("of/another/a", "x") == 0x87
    stranger = V5(thing, connect_options=mqtt5.ConnectPacket(client_id="somebody", keep_alive_interval_sec=30))
    stranger.client.start()
    assert int(stranger.ends.failed.get().connack_packet.reason_code) == 0x87
    stranger.close()


def test_v5_policy_change_takes_effect(account, closing, middle):
    name = account.name("policy")
    account.iot.create_policy(policyName=name, policyDocument=json.dumps(allow(("Connect", "client/*"))))
    thing = account.thing(allow(("Connect", "client/*")))
    account.iot.attach_policy(policyName=name, target=thing.arn)
    client = V5(thing)
    client.connect()
    closing(client.close)
    assert client.publish("now/allowed", "x") == 0x87
    account.iot.create_policy_version(policyName=name, policyDocument=json.dumps(allow(("Publish", "topic/now/*"))), setAsDefault=True)
    middle(client)
    until(lambda: client.publish("now/allowed", "x") == 0, "the new version of the policy")


def test_v3_refused_connect_is_an_error(account):
    client = V3(account.thing(allow(("Connect", "client/nobody"))))
    with pytest.raises(AwsCrtError):
        client.connect()


def test_v5_reserved_topics(thing, closing, middle):
    client = V5(thing)
    client.connect()
    closing(client.close)
    assert client.publish(f"$aws/things/{thing.name}/shadow/get", "{}") == 0
    middle(client)
    assert client.publish("$aws/rules/some_rule/any/topic", "{}") == 0, "basic ingest"
    client.ends.disconnected.all()
    client.client.publish(mqtt5.PublishPacket(topic="$aws/nothing/here", payload="x", qos=mqtt5.QoS.AT_LEAST_ONCE))
    assert client.ends.disconnected.get()
