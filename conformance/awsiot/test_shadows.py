"""Device shadows, through the v1 shadow client, the v2 service client over MQTT 3.1.1 and 5, and boto3."""

from __future__ import annotations

import json
import threading

import pytest
from awscrt.mqtt_request_response import ClientOptions
from awsiot import iotshadow
from botocore.exceptions import ClientError

from clients import PATIENCE, V3, V5, Inbox, rejected, until, v1, v1_shadow, watch


def v1_handler(closing, thing, persistent=True):
    client = v1_shadow(thing)
    assert client.connect(60)
    closing(client.disconnect)
    shadow = client.createShadowHandlerWithName(thing.name, persistent)
    shadow.client = client
    return shadow


class Answers(Inbox):
    """Takes callbacks of the v1 shadow client."""

    def __call__(self, payload: str, status: str, token: str) -> None:
        self.put(status, payload, token)


def test_v1_life(thing, closing, middle):
    shadow, answers = v1_handler(closing, thing), Answers()
    token = shadow.shadowGet(answers, PATIENCE)
    status, payload, got = answers.get()
    assert (status, got) == ("rejected", token)
    assert json.loads(payload)["code"] == 404
    assert json.loads(payload)["message"] == f"No shadow exists with name: '{thing.name}'"
    token = shadow.shadowUpdate(json.dumps({"state": {"desired": {"led": "on"}, "reported": {"led": "off", "n": 1.0}}}), answers, PATIENCE)
    status, payload, got = answers.get()
    assert (status, got) == ("accepted", token)
    document = json.loads(payload)
    assert document["version"] == 1 and document["state"] == {"desired": {"led": "on"}, "reported": {"led": "off", "n": 1.0}}
    middle(shadow.client)
    shadow.shadowGet(answers, PATIENCE)
    status, payload, _ = answers.get()
    document = json.loads(payload)
    assert status == "accepted" and document["state"]["delta"] == {"led": "on"} and document["version"] == 1
    shadow.shadowDelete(answers, PATIENCE)
    status, payload, _ = answers.get()
    assert status == "accepted" and json.loads(payload)["version"] == 1


def test_v1_delta(thing, account, closing, middle):
    shadow, deltas, answers = v1_handler(closing, thing), Answers(), Answers()
    shadow.shadowRegisterDeltaCallback(deltas)
    account.data.update_thing_shadow(thingName=thing.name, payload=json.dumps({"state": {"desired": {"color": "red"}}}))
    status, payload, _ = deltas.get()
    assert status == f"delta/{thing.name}"
    assert json.loads(payload)["state"] == {"color": "red"} and json.loads(payload)["version"] == 1
    shadow.shadowUpdate(json.dumps({"state": {"reported": {"color": "red"}}}), answers, PATIENCE)
    assert answers.get()[0] == "accepted"
    middle(shadow.client)
    account.data.update_thing_shadow(thingName=thing.name, payload=json.dumps({"state": {"desired": {"color": "blue"}}}))
    _, payload, _ = deltas.get()
    assert json.loads(payload)["state"] == {"color": "blue"} and json.loads(payload)["version"] == 3
    shadow.shadowUnregisterDeltaCallback()


def test_v1_not_persistent(thing, closing, middle):
    shadow, answers = v1_handler(closing, thing, persistent=False), Answers()
    for n in (1, 2):
        shadow.shadowUpdate(json.dumps({"state": {"reported": {"n": n}}}), answers, PATIENCE)
        status, payload, _ = answers.get()
        assert status == "accepted" and json.loads(payload)["version"] == n
        # It unsubscribes on a thread of its own, which must not be cut off.
        until(lambda: not any("_doNonPersistentUnsubscribe" in one.name for one in threading.enumerate()), "the end of the subscription")
        if n == 1:
            middle(shadow.client)


@pytest.mark.parametrize("body,code,message", [
    ({"state": 5}, 400, "State node must be an object"),
    ({"state": {"desired": 1}}, 400, "Desired node must be an object"),
    ({"state": {"reported": []}}, 400, "Reported node must be an object"),
    ({"state": {"delta": {}}}, 400, "State contains an invalid node"),
    ({}, 400, "Missing required node: state"),
    ({"state": {"reported": {"a": 1}}, "version": "x"}, 400, "Invalid version"),
    ({"state": {"reported": {"a": 1}}, "version": 99}, 409, "Version conflict"),
    ({"state": {"reported": {"a": "x" * 9000}}}, 413, "The payload exceeds the maximum size allowed"),
])
def test_v1_refusals(thing, account, closing, body, code, message):
    shadow, answers = v1_handler(closing, thing), Answers()
    account.data.update_thing_shadow(thingName=thing.name, payload=json.dumps({"state": {"reported": {"kept": True}}}))
    shadow.shadowUpdate(json.dumps(body), answers, PATIENCE)
    status, payload, _ = answers.get()
    assert status == "rejected"
    assert (json.loads(payload)["code"], json.loads(payload)["message"]) == (code, message)
    found = json.load(account.data.get_thing_shadow(thingName=thing.name)["payload"])
    assert found["version"] == 1 and found["state"] == {"reported": {"kept": True}}


def test_malformed_json(thing, closing, middle):
    client, inbox = v1(thing), Inbox()
    assert client.connect(60)
    closing(client.disconnect)
    topic = f"$aws/things/{thing.name}/shadow/update"
    assert client.subscribe(topic + "/rejected", 1, lambda _, __, message: inbox.put(json.loads(message.payload)))
    middle(client)
    assert client.publish(topic, '{"state": ', 1)
    got = inbox.get()
    assert (got["code"], got["message"]) == (400, "Invalid JSON") and "clientToken" not in got


# The second generation

@pytest.fixture(params=[V3, V5], ids=["3.1.1", "5"])
def device(request, thing, closing):
    """A connected device, its thing, and the shadow client on it."""
    one = request.param(thing)
    one.connect()
    closing(one.close)
    one.thing = thing
    one.shadows = iotshadow.IotShadowClientV2(one.connection if request.param is V3 else one.client, ClientOptions(2, 4, 30))
    return one


def test_v2_classic(device, middle):
    name, shadows = device.thing.name, device.shadows
    error = rejected(shadows.get_shadow, iotshadow.GetShadowRequest(thing_name=name))
    assert error.code == 404
    deltas = watch(shadows.create_shadow_delta_updated_stream, iotshadow.ShadowDeltaUpdatedSubscriptionRequest(thing_name=name))
    updates = watch(shadows.create_shadow_updated_stream, iotshadow.ShadowUpdatedSubscriptionRequest(thing_name=name))
    told = shadows.update_shadow(iotshadow.UpdateShadowRequest(
        thing_name=name, state=iotshadow.ShadowState(desired={"a": {"b": 1}, "l": [1, 2]}, reported={"a": {"b": 2}}))).result(PATIENCE)
    assert told.version == 1 and told.state.desired == {"a": {"b": 1}, "l": [1, 2]}
    delta = deltas.get()
    assert delta.state == {"a": {"b": 1}, "l": [1, 2]} and delta.version == 1
    update = updates.get()
    assert update.current.version == 1 and update.current.state.reported == {"a": {"b": 2}}
    assert update.previous is None or update.previous.state is None
    middle(device)
    got = shadows.get_shadow(iotshadow.GetShadowRequest(thing_name=name)).result(PATIENCE)
    assert got.version == 1 and got.state.delta == {"a": {"b": 1}, "l": [1, 2]}
    error = rejected(shadows.update_shadow, iotshadow.UpdateShadowRequest(
        thing_name=name, version=7, state=iotshadow.ShadowState(reported={"x": 1})))
    assert (error.code, error.message) == (409, "Version conflict")
    shadows.delete_shadow(iotshadow.DeleteShadowRequest(thing_name=name)).result(PATIENCE)
    assert rejected(shadows.get_shadow, iotshadow.GetShadowRequest(thing_name=name)).code == 404
    told = shadows.update_shadow(iotshadow.UpdateShadowRequest(
        thing_name=name, state=iotshadow.ShadowState(reported={"again": 1}))).result(PATIENCE)
    assert told.version > 1, "numbers are not used twice"


def test_v2_named(device, account, middle):
    name, shadows = device.thing.name, device.shadows
    deltas = watch(shadows.create_named_shadow_delta_updated_stream,
                   iotshadow.NamedShadowDeltaUpdatedSubscriptionRequest(thing_name=name, shadow_name="config"))
    error = rejected(shadows.get_named_shadow, iotshadow.GetNamedShadowRequest(thing_name=name, shadow_name="config"))
    assert (error.code, error.message) == (404, f"No shadow exists with name: '{name}~config'")
    middle(device, deltas)
    shadows.update_named_shadow(iotshadow.UpdateNamedShadowRequest(
        thing_name=name, shadow_name="config", state=iotshadow.ShadowState(desired={"rate": 5}))).result(PATIENCE)
    assert deltas.get().state == {"rate": 5}
    assert account.data.list_named_shadows_for_thing(thingName=name)["results"] == ["config"]
    got = json.load(account.data.get_thing_shadow(thingName=name, shadowName="config")["payload"])
    assert got["state"] == {"desired": {"rate": 5}, "delta": {"rate": 5}}
    shadows.delete_named_shadow(iotshadow.DeleteNamedShadowRequest(thing_name=name, shadow_name="config")).result(PATIENCE)
    assert account.data.list_named_shadows_for_thing(thingName=name)["results"] == []


def test_v2_many_requests(device, middle):
    name, shadows = device.thing.name, device.shadows
    for n in range(1, 16):
        told = shadows.update_shadow(iotshadow.UpdateShadowRequest(
            thing_name=name, state=iotshadow.ShadowState(reported={"n": n}))).result(PATIENCE)
        assert told.version == n
        if n == 8:
            middle(device)


# boto3, and a device that listens

def test_rest_life(account, thing, middle):
    data = account.data
    with pytest.raises(ClientError) as missing:
        data.get_thing_shadow(thingName=thing.name)
    assert missing.value.response["Error"]["Code"] == "ResourceNotFoundException"
    told = json.load(data.update_thing_shadow(thingName=thing.name, payload='{"state":{"desired":{"a":1}},"clientToken":"t"}')["payload"])
    assert told["version"] == 1 and told["clientToken"] == "t"
    middle()
    with pytest.raises(ClientError) as conflict:
        data.update_thing_shadow(thingName=thing.name, payload='{"state":{"desired":{"a":2}},"version":5}')
    assert conflict.value.response["Error"]["Code"] == "ConflictException"
    with pytest.raises(ClientError) as invalid:
        data.update_thing_shadow(thingName=thing.name, payload="{")
    assert invalid.value.response["Error"]["Code"] == "InvalidRequestException"
    with pytest.raises(ClientError) as large:
        data.update_thing_shadow(thingName=thing.name, payload=json.dumps({"state": {"desired": {"a": "x" * 9000}}}))
    assert large.value.response["Error"]["Code"] == "RequestEntityTooLargeException"
    assert json.load(data.get_thing_shadow(thingName=thing.name)["payload"])["version"] == 1
    assert json.load(data.delete_thing_shadow(thingName=thing.name)["payload"])["version"] == 1


def test_rest_tells_devices(account, thing, closing, middle):
    client = V3(thing)
    client.connect()
    closing(client.close)
    client.subscribe(f"$aws/things/{thing.name}/shadow/#")
    account.data.update_thing_shadow(thingName=thing.name, payload='{"state":{"desired":{"a":1}}}')
    prefix = f"$aws/things/{thing.name}/shadow/update/"
    assert {client.inbox.get()[0] for _ in range(3)} == {prefix + "accepted", prefix + "delta", prefix + "documents"}
    middle(client)
    account.data.get_thing_shadow(thingName=thing.name)
    account.data.delete_thing_shadow(thingName=thing.name)
    assert client.inbox.get()[0] == f"$aws/things/{thing.name}/shadow/delete/accepted"


def test_operator_changes_the_desired_state(hub, thing, closing, middle):
    """What an operator sets in the admin API arrives as a delta."""
    client = V3(thing)
    client.connect()
    closing(client.close)
    client.subscribe(f"$aws/things/{thing.name}/shadow/update/delta")
    middle(client)
    hub.cli("device", "desire", f"aws/dev/{thing.name}", '{"setpoint": 21}')
    topic, payload = client.inbox.get()
    assert json.loads(payload)["state"] == {"setpoint": 21}
