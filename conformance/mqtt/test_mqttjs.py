"""MQTT.js for Node, in all three versions, over TLS and over WebSocket."""

import json
import os
import subprocess

import pytest

CASES = pytest.mark.parametrize(
    ("scheme", "version"),
    [(scheme, version) for scheme in ("mqtts", "wss") for version in (3, 4, 5)],
    ids=[f"{scheme}-{name}" for scheme in ("tls", "websocket") for name in ("3.1", "3.1.1", "5")],
)


def run(hub, device, scheme, version, steps, **options):
    """One connection; what it has seen."""
    url = f"wss://localhost:{hub.https_port}/mqtt" if scheme == "wss" else f"mqtts://localhost:{hub.mqtt_port}"
    options = {"protocolVersion": version, "username": device.name, "password": device.password, "clientId": "js", **options}
    if version == 3:
        options["protocolId"] = "MQIsdp"
    task = {"url": url, "ca": hub.ca, "options": options, "steps": steps}
    done = subprocess.run(["node", os.environ["MQTTJS_CLIENT"], json.dumps(task)], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr + hub.tail()
    return json.loads(done.stdout)


@CASES
def test_there_and_back(hub, device, scheme, version):
    steps = [["subscribe", device.topic("#"), {"qos": 2}]]
    steps += [["publish", device.topic("x"), f"{n}", {"qos": n % 3}] for n in range(12)]
    seen = run(hub, device, scheme, version, [*steps, ["wait", 12]])
    assert seen["granted"] == [2]
    assert [(one["payload"], one["qos"]) for one in seen["messages"]] == [(f"{n}", n % 3) for n in range(12)]
    assert hub.values(device)[device.topic("x")] == 11


@CASES
def test_session_waits(hub, device, scheme, version):
    lasting = {"clean": False, **({"properties": {"sessionExpiryInterval": 600}} if version == 5 else {})}
    run(hub, device, scheme, version, [["subscribe", device.topic("#"), {"qos": 1}]], **lasting)
    run(hub, device, scheme, version, [["publish", device.topic("x"), f"{n}", {"qos": 1}] for n in range(5)], clientId="other")
    seen = run(hub, device, scheme, version, [["wait", 5]], **lasting)
    assert seen["connack"]["sessionPresent"] is (version != 3)  # whose CONNACK does not say it
    assert [one["payload"] for one in seen["messages"]] == [f"{n}" for n in range(5)]


@CASES
def test_will_and_retained(hub, device, scheme, version):
    will = {"topic": device.topic("gone"), "payload": "farewell", "qos": 1, "retain": True}
    run(hub, device, scheme, version, [["vanish"]], will=will)
    seen = run(hub, device, scheme, version, [["subscribe", device.topic("gone"), {"qos": 1}], ["wait", 1]])
    assert [(one["payload"], one["retain"]) for one in seen["messages"]] == [("farewell", True)]


@CASES
def test_wrong_password(hub, device, scheme, version):
    assert run(hub, device, scheme, version, [], password="no")["code"] == (134 if version == 5 else 4)


@pytest.mark.parametrize("scheme", ["mqtts", "wss"])
def test_properties(hub, device, scheme):
    said = {
        "payloadFormatIndicator": True, "contentType": "text/plain", "responseTopic": device.topic("answer"),
        "userProperties": {"a": ["1", "2"], "b": "3"}, "messageExpiryInterval": 60,
    }
    steps = [
        ["subscribe", device.topic("#"), {"qos": 1, "properties": {"subscriptionIdentifier": 268435455}}],
        ["publish", device.topic("x"), "hello", {"qos": 1, "properties": said}],
        ["publish", device.topic("x"), "again", {"qos": 1, "properties": {**said, "topicAlias": 1}}],
        ["wait", 2],
    ]
    seen = run(hub, device, scheme, 5, steps, properties={"topicAliasMaximum": 10, "receiveMaximum": 1})
    for one in seen["messages"]:
        got = one["properties"]
        assert got["subscriptionIdentifier"] == 268435455
        assert {key: got[key] for key in said} == said
    assert [one["payload"] for one in seen["messages"]] == ["hello", "again"]


def test_alpn(hub, device):
    """Plain MQTT on the HTTPS port, chosen by ALPN."""
    steps = [["subscribe", device.topic("#"), {"qos": 1}], ["publish", device.topic("x"), "1", {"qos": 1}], ["wait", 1]]
    seen = run(hub, device, "mqtts", 5, steps, port=hub.https_port, ALPNProtocols=["mqtt"])
    assert [one["payload"] for one in seen["messages"]] == ["1"]
