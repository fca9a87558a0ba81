"""Eclipse Paho for Python, in all three versions, over TLS and over WebSocket."""

import time

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.subscribeoptions import SubscribeOptions

from paho_client import V5, V31, V311, Client, Refused, properties

VERSIONS = pytest.mark.parametrize("version", [V31, V311, V5], ids=["3.1", "3.1.1", "5"])
TRANSPORTS = pytest.mark.parametrize("transport", ["tcp", "websockets"])


@VERSIONS
@TRANSPORTS
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_there_and_back(hub, device, version, transport, qos):
    with Client(hub, device, version, transport, client_id="there").connect() as client:
        client.subscribe(device.topic("#"), qos)
        for n in range(50):
            client.publish(device.topic("count"), f"{n}", qos)
        got = [client.receive() for _ in range(50)]
    assert [message.payload for message in got] == [b"%d" % n for n in range(50)]
    assert {(message.qos, message.retain, message.topic) for message in got} == {(qos, False, device.topic("count"))}
    assert hub.values(device)[device.topic("count")] == 49


@VERSIONS
def test_large_message(hub, device, version):
    payload = bytes(range(256)) * 800  # 200 KiB
    with Client(hub, device, version, "websockets", client_id="large").connect() as client:
        client.subscribe(device.topic("#"), 1)
        client.publish(device.topic("large"), payload, 1)
        assert client.receive().payload == payload


@VERSIONS
def test_session_waits(hub, device, version):
    """What comes while the client is away waits for it, in order."""
    lasting = {"SessionExpiryInterval": 600} if version == V5 else {}
    with Client(hub, device, version, client_id="waits", clean=False).connect(**lasting) as client:
        assert not client.session_present
        client.subscribe([(device.topic("a/#"), 1), (device.topic("b/#"), 2)])
    with Client(hub, device, version, client_id="other").connect() as other:
        for n in range(20):
            other.publish(device.topic(f"{'ab'[n % 2]}/x"), f"{n}", 2)
    with Client(hub, device, version, client_id="waits", clean=False).connect(**lasting) as client:
        assert client.session_present or version == V31  # whose CONNACK does not say it
        got = [client.receive() for _ in range(20)]
    # Paho shows a message of QoS 2 when it is released, so the two QoS overtake each other; see 4.6.
    for qos in (1, 2):
        seen = [message.payload for message in got if message.qos == qos]
        assert seen == [b"%d" % n for n in range(qos - 1, 20, 2)]


@VERSIONS
def test_retained(hub, device, version):
    with Client(hub, device, version, client_id="retained").connect() as client:
        client.publish(device.topic("r/a"), "1", 1, retain=True)
        client.publish(device.topic("r/a"), "2", 1, retain=True)
        client.publish(device.topic("r/b"), "3", 1, retain=True)
        client.publish(device.topic("r/b"), None, 1, retain=True)
        client.subscribe(device.topic("r/#"), 1)
        client.publish(device.topic("r/end"), "end", 1)
        got = [client.receive(), client.receive()]
    assert [(message.payload, message.retain) for message in got] == [(b"2", True), (b"end", False)]


@VERSIONS
def test_will(hub, device, version):
    with Client(hub, device, version, client_id="watcher").connect() as watcher:
        watcher.subscribe(device.topic("#"), 2)
        mortal = Client(hub, device, version, client_id="mortal")
        mortal.mqtt.will_set(device.topic("gone"), "farewell", 2)
        mortal.connect()
        mortal.vanish()
        message = watcher.receive()
        assert (message.topic, message.payload, message.qos) == (device.topic("gone"), b"farewell", 2)
        # no will after a goodbye
        polite = Client(hub, device, version, client_id="polite")
        polite.mqtt.will_set(device.topic("gone"), "never", 2)
        with polite.connect():
            pass
        watcher.publish(device.topic("end"), "end", 1)
        assert watcher.receive().payload == b"end"


@VERSIONS
def test_wrong_password(hub, device, version):
    with pytest.raises(Refused) as refused:
        Client(hub, device, version, client_id="wrong", password="no").connect()
    # Paho translates the codes of 3.x into those of 5: bad user name or password.
    assert refused.value.args[0].value == 134


@VERSIONS
def test_anothers_topics(hub, make_device, version):
    """A device sees and disturbs nobody but itself."""
    mine, other = make_device(), make_device()
    with Client(hub, mine, version, client_id="watcher").connect() as watcher:
        watcher.subscribe(mine.topic("#"), 1)
        with Client(hub, other, version, client_id="watcher").connect() as intruder:  # the same client id
            codes = intruder.subscribe([(mine.topic("#"), 1), ("#", 1), (other.topic("#"), 1)])
            if version != V31:  # whose SUBACK knows no refusal
                assert [code.value for code in codes] == ([135, 135, 1] if version == V5 else [128, 128, 1])
            intruder.publish(other.topic("x"), "mine", 1)
            assert intruder.receive().topic == other.topic("x")
            intruder.mqtt.publish(mine.topic("x"), "intruded", 1)
            if version == V5:
                assert intruder._answers.get(timeout=60)[1].value == 135
        watcher.publish(mine.topic("end"), "end", 1)
        assert watcher.receive().payload == b"end"


@VERSIONS
def test_takeover(hub, device, version):
    first = Client(hub, device, version, client_id="one").connect()
    with Client(hub, device, version, client_id="one").connect() as second:
        reason = first.ended()
        if version == V5:
            assert reason.value == 0x8E
        first.mqtt.loop_stop()
        second.subscribe(device.topic("#"), 0)


@VERSIONS
def test_keep_alive(hub, device, version):
    """A client that goes silent is given up after one and a half times its keep-alive, and its will is published."""
    with Client(hub, device, version, client_id="watcher").connect() as watcher:
        watcher.subscribe(device.topic("#"), 1)
        silent = Client(hub, device, version, client_id="silent")
        silent.mqtt.will_set(device.topic("gone"), "silent", 1)
        started = time.monotonic()
        silent.connect(keepalive=1)
        silent.mqtt.loop_stop()
        assert watcher.receive().payload == b"silent"
        assert time.monotonic() - started > 1.4
        silent.mqtt.socket().close()


def test_properties(hub, device):
    """Version 5: what the sender says of a message reaches the receiver, in order, also through a session that waits."""
    with Client(hub, device, V5, client_id="waits", clean=False).connect(SessionExpiryInterval=600) as client:
        client.subscribe(device.topic("#"), options=SubscribeOptions(1), properties=properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=7))
    said = {
        "PayloadFormatIndicator": 1, "ContentType": "application/json", "ResponseTopic": device.topic("answer"),
        "CorrelationData": b"\x00\x01", "UserProperty": [("b", "2"), ("a", "1"), ("b", "3")], "MessageExpiryInterval": 600,
    }
    with Client(hub, device, V5, client_id="other").connect() as other:
        other.publish(device.topic("request"), '{"x": 1}', 1, **said)
    with Client(hub, device, V5, client_id="waits", clean=False).connect(SessionExpiryInterval=600) as client:
        got = client.receive().properties
    assert 500 <= got.MessageExpiryInterval <= 600
    assert (got.PayloadFormatIndicator, got.ContentType, got.ResponseTopic, got.CorrelationData) == (1, "application/json", said["ResponseTopic"], b"\x00\x01")
    assert got.UserProperty == said["UserProperty"]
    assert got.SubscriptionIdentifier == [7]


def test_connack(hub, device):
    with Client(hub, device, V5, client_id="").connect(ReceiveMaximum=10) as client:
        assert client.connack.AssignedClientIdentifier
        assert client.connack.ReceiveMaximum > 0
        assert client.connack.MaximumPacketSize > 0


def test_message_expiry(hub, device):
    """A message that waited for too long is not delivered."""
    with Client(hub, device, V5, client_id="waits", clean=False).connect(SessionExpiryInterval=600) as client:
        client.subscribe(device.topic("#"), 1)
    with Client(hub, device, V5, client_id="other").connect() as other:
        other.publish(device.topic("short"), "short", 1, MessageExpiryInterval=1)
        other.publish(device.topic("long"), "long", 1, MessageExpiryInterval=600)
    time.sleep(1.5)  # the clock that counts is the hub's
    with Client(hub, device, V5, client_id="waits", clean=False).connect(SessionExpiryInterval=600) as client:
        assert client.receive().payload == b"long"


def test_session_expiry(hub, device):
    with Client(hub, device, V5, client_id="short", clean=False).connect(SessionExpiryInterval=600) as client:
        client.subscribe(device.topic("#"), 1)
    with Client(hub, device, V5, client_id="short", clean=False).connect(SessionExpiryInterval=1) as client:
        assert client.session_present
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:  # nobody may touch it, or it lives on
        time.sleep(2)
        with Client(hub, device, V5, client_id="short", clean=False).connect(SessionExpiryInterval=1) as client:
            if not client.session_present:
                return
    pytest.fail("the session has not expired")


def test_subscription_options(hub, device):
    with Client(hub, device, V5, client_id="options").connect() as client:
        client.publish(device.topic("a"), "kept", 1, retain=True)
        client.subscribe(device.topic("a"), options=SubscribeOptions(1, noLocal=True, retainHandling=2))
        client.publish(device.topic("a"), "own", 1)
        with Client(hub, device, V5, client_id="other").connect() as other:
            other.publish(device.topic("a"), "other", 1, retain=True)
        message = client.receive()
        assert (message.payload, message.retain) == (b"other", False)
        client.subscribe(device.topic("a"), options=SubscribeOptions(1, retainAsPublished=True, retainHandling=0))
        message = client.receive()
        assert (message.payload, message.retain) == (b"other", True)


def test_shared_subscription(hub, device):
    """Each message reaches one member of the group, and all take part."""
    members = [Client(hub, device, V5, client_id=f"member-{n}").connect() for n in range(3)]
    for member in members:
        member.subscribe(f"$share/group/{device.topic('work')}", 1)
    with Client(hub, device, V5, client_id="boss").connect() as boss:
        for n in range(90):
            boss.publish(device.topic("work"), f"{n}", 1)
    got: list[list[int]] = [[] for _ in members]
    deadline = time.monotonic() + 60
    while sum(map(len, got)) < 90 and time.monotonic() < deadline:
        for n, member in enumerate(members):
            while not member.messages.empty():
                got[n].append(int(member.receive().payload))
        time.sleep(0.01)
    assert sorted(sum(got, [])) == list(range(90))
    assert all(got)
    for member in members:
        with member:
            pass


@VERSIONS
@pytest.mark.parametrize("orderly", [True, False], ids=["stopped", "killed"])
def test_restart(own_hub, version, orderly):
    """Sessions, queues, retained messages and wills outlive the hub."""
    hub = own_hub
    device = hub.device()
    lasting = {"SessionExpiryInterval": 600} if version == V5 else {}
    with Client(hub, device, version, client_id="waits", clean=False).connect(**lasting) as client:
        client.subscribe(device.topic("#"), 2)
    sender = Client(hub, device, version, client_id="sender")
    sender.mqtt.will_set(device.topic("will"), "will", 1)
    sender.connect()
    for n in range(10):
        sender.publish(device.topic("q"), f"{n}", n % 2 + 1)
    sender.publish(device.topic("kept"), "kept", 1, retain=True)
    if orderly:
        assert hub.stop() == 0
    else:
        hub.kill()
    sender.mqtt.loop_stop()
    hub.start()
    with Client(hub, device, version, client_id="waits", clean=False).connect(**lasting) as client:
        assert client.session_present or version == V31
        got = [client.receive() for _ in range(12)]
    for qos in (1, 2):
        seen = [message.payload for message in got if (message.topic, message.qos) == (device.topic("q"), qos)]
        assert seen == [b"%d" % n for n in range(qos - 1, 10, 2)]
    assert [message.payload for message in got if message.topic != device.topic("q")] == [b"kept", b"will"]
    with Client(hub, device, version, client_id="new").connect() as client:
        client.subscribe(device.topic("kept"), 1)
        message = client.receive()
        assert (message.payload, message.retain) == (b"kept", True)
