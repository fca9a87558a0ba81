"""The credentials provider: role aliases made with boto3, credentials fetched by awscrt's X.509 provider, and used over WebSocket and HTTPS."""

from __future__ import annotations

import http.client
import json
import ssl
from datetime import datetime, timedelta, timezone

import pytest
from awscrt import auth, exceptions, http as crt_http, io

from clients import PATIENCE, V3, V5, Thing
from test_jobs import refused

ROLE = "arn:aws:iam::123456789012:role/devices"


@pytest.fixture
def alias(account) -> str:
    name = account.name("alias")
    account.iot.create_role_alias(roleAlias=name, roleArn=ROLE, credentialDurationSeconds=900, tags=[{"Key": "k", "Value": "v"}])
    return name


@pytest.fixture
def device(account, alias) -> Thing:
    """A thing that may ask for credentials, connect as itself, and publish to and read topics of its own."""
    def allow(action, *resources):
        return {"Effect": "Allow", "Action": action, "Resource": ["arn:aws:iot:*:*:" + one for one in resources]}

    return account.thing({"Version": "2012-10-17", "Statement": [
        allow("iot:AssumeRoleWithCertificate", "rolealias/" + alias),
        allow("iot:Connect", "client/${iot:Connection.Thing.ThingName}"),
        allow(["iot:Publish", "iot:Receive"], "topic/own/*"),
        allow("iot:Subscribe", "topicfilter/own/*"),
    ]})


def provider(thing: Thing, alias: str, name: str | None = None) -> auth.AwsCredentialsProvider:
    options = io.TlsContextOptions.create_client_with_mtls_from_path(thing.certificate, thing.key)
    options.override_default_trust_store_from_path(None, thing.hub.root_ca)
    endpoint = thing.hub.boto("iot").describe_endpoint(endpointType="iot:CredentialProvider")["endpointAddress"]
    return auth.AwsCredentialsProvider.new_x509(
        endpoint=endpoint, thing_name=name or thing.name, role_alias=alias, tls_ctx=io.ClientTlsContext(options),
        http_proxy_options=crt_http.HttpProxyOptions("127.0.0.1", thing.hub.tunnel.port))  # it knows no port but 443


def fetch(thing: Thing, alias: str, **headers: str) -> tuple[int, dict]:
    """Ask as curl would."""
    context = ssl.create_default_context(cafile=thing.hub.root_ca)
    context.load_cert_chain(thing.certificate, thing.key)
    connection = http.client.HTTPSConnection(thing.hub.host, thing.hub.https_port, context=context, timeout=PATIENCE)
    connection.request("GET", f"/role-aliases/{alias}/credentials", headers=headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def test_role_aliases(account, alias, middle):
    iot = account.iot
    middle()
    described = iot.describe_role_alias(roleAlias=alias)["roleAliasDescription"]
    assert (described["roleArn"], described["credentialDurationSeconds"]) == (ROLE, 900)
    assert iot.list_tags_for_resource(resourceArn=described["roleAliasArn"])["tags"] == [{"Key": "k", "Value": "v"}]
    assert alias in [one for page in iot.get_paginator("list_role_aliases").paginate() for one in page["roleAliases"]]
    assert refused(iot.create_role_alias, roleAlias=alias, roleArn=ROLE) == "ResourceAlreadyExistsException"
    iot.update_role_alias(roleAlias=alias, credentialDurationSeconds=3600)
    assert iot.describe_role_alias(roleAlias=alias)["roleAliasDescription"]["credentialDurationSeconds"] == 3600
    iot.delete_role_alias(roleAlias=alias)
    assert refused(iot.describe_role_alias, roleAlias=alias) == "ResourceNotFoundException"


@pytest.mark.parametrize("kind", [V3, V5], ids=["3.1.1", "5"])
def test_websocket_signed_with_lent_credentials(account, alias, device, closing, kind, middle):
    client = kind(device, "wss", credentials_provider=provider(device, alias))
    client.connect()
    closing(client.close)
    client.subscribe("own/+")
    middle(client)
    client.publish("own/temp", {"v": 1})
    message = client.inbox.get()
    assert json.loads(message[1] if kind is V3 else message.payload) == {"v": 1}


def test_no_more_than_the_certificate(account, alias, device, closing):
    client = V5(device, "wss", credentials_provider=provider(device, alias))
    client.connect()
    closing(client.close)
    assert client.publish("others/temp", "x") == 0x87
    other = V5(Thing(device.hub, device.name + "-2", device.certificate, device.key), "wss", credentials_provider=provider(device, alias))
    other.client.start()
    closing(other.close)
    other.ends.failed.get()
    account.iot.update_certificate(certificateId=device.certificate_id, newStatus="INACTIVE")
    client.ends.disconnected.get()


def test_boto3_with_lent_credentials(account, alias, device, middle):
    lent = provider(device, alias).get_credentials().result(PATIENCE)
    keys = {"aws_access_key_id": lent.access_key_id, "aws_secret_access_key": lent.secret_access_key, "aws_session_token": lent.session_token}
    assert lent.access_key_id.startswith("ASIA")
    middle()
    data, iot = device.hub.boto("iot-data", **keys), device.hub.boto("iot", **keys)
    data.publish(topic="own/temp", payload=b"x")
    identity = device.hub.boto("sts", **keys).get_caller_identity()
    assert identity["Arn"].endswith(f":assumed-role/device/{device.certificate_id}")
    assert refused(data.publish, topic="others/temp", payload=b"x") == "ForbiddenException"
    assert refused(data.get_thing_shadow, thingName=device.name) == "ForbiddenException"
    for call, named in ((iot.list_things, {}), (iot.create_thing, {"thingName": account.name("thing")}),
                        (iot.attach_policy, {"policyName": account.policy(), "target": device.arn})):
        assert refused(call, **named) == "ForbiddenException"
    forged = device.hub.boto("iot-data", **(keys | {"aws_session_token": lent.session_token[:-4] + "AAAA"}))
    assert refused(forged.publish, topic="own/temp", payload=b"x") == "UnrecognizedClientException"
    account.iot.update_certificate(certificateId=device.certificate_id, newStatus="INACTIVE")
    assert refused(data.publish, topic="own/temp", payload=b"x") == "ForbiddenException"


def test_what_the_provider_answers(account, alias, device):
    status, answer = fetch(device, alias, **{"x-amzn-iot-thingname": device.name})
    assert status == 200 and set(answer["credentials"]) == {"accessKeyId", "secretAccessKey", "sessionToken", "expiration"}
    expires = datetime.strptime(answer["credentials"]["expiration"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    assert abs(expires - datetime.now(timezone.utc) - timedelta(seconds=900)) < timedelta(minutes=5)
    assert fetch(device, alias)[0] == 200, "the name of the thing may be left out"
    for name in (account.name("thing"), account.thing().name):
        status, answer = fetch(device, alias, **{"x-amzn-iot-thingname": name})
        assert (status, answer["message"]) == (403, "Invalid thing name passed")
    assert fetch(device, account.name("alias"))[0] == 403, "which no policy allows"
    assert fetch(account.thing(), account.name("alias"))[0] == 404
    with pytest.raises(exceptions.AwsCrtError):
        provider(device, alias, name=account.name("thing")).get_credentials().result(PATIENCE)
    account.iot.update_certificate(certificateId=device.certificate_id, newStatus="INACTIVE")
    assert fetch(device, alias)[0] == 403
