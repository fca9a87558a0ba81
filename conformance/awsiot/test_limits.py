"""What the service has for each second, on a hub that was asked for it."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest
from awscrt import mqtt5
from awscrt.exceptions import AwsCrtError

import hub as hubprocess
from clients import PATIENCE, V3, V5, until
from conftest import Account, Hub

QUOTA_EXCEEDED = 0x97


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Account]:
    """An account of a hub with the limits of the service."""
    one = Hub(hubprocess.binary(), tmp_path, "--aws-service-limits").start()
    yield Account(one, tmp_path)
    one.close()


def burst(client: V5, topic: str, count: int) -> list[int]:
    """Publish at once, and return the reason codes."""
    packets = [mqtt5.PublishPacket(topic=topic, payload=str(n), qos=mqtt5.QoS.AT_LEAST_ONCE) for n in range(count)]
    futures = [client.client.publish(packet) for packet in packets]
    return [int(one.result(PATIENCE).puback.reason_code) for one in futures]


def unthrottled(thing) -> V5:
    """A client that does not keep to the limits by itself."""
    return V5(thing, extended_validation_and_flow_control_options=mqtt5.ExtendedValidationAndFlowControlOptions.NONE)


def test_messages(limited, closing):
    thing = limited.thing()
    client = unthrottled(thing)
    client.connect()
    closing(client.close)
    client.ends.disconnected.all()
    codes: list[int] = []

    def refused() -> bool:
        codes.extend(burst(client, "a", 300))
        return QUOTA_EXCEEDED in codes

    until(refused, "a message beyond the limit")
    assert codes[:100] == [0] * 100 and set(codes) == {0, QUOTA_EXCEEDED}
    assert not client.ends.disconnected.all(), "the connection ended"
    until(lambda: client.publish("a", "again") == 0, "room for another message")


def test_connects(limited):
    thing = limited.thing()

    def refused() -> bool:
        client = V3(thing)
        try:
            client.connect()
        except AwsCrtError:
            return True
        client.close()
        return False

    until(refused, "a connection that comes too soon")
    until(lambda: not refused(), "a connection that does not")


def test_not_limited(account, thing, closing):
    """That is for those who ask for it."""
    client = unthrottled(thing)
    client.connect()
    closing(client.close)
    assert set(burst(client, "a", 300)) == {0}
