"""The control plane, through boto3 and the AWS CLI: what comes back, what is refused with which exception."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from awscrt import mqtt5
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from certificates import Authority, request
from clients import V5, Inbox, until, v1

POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}


def refused(call, **named):
    with pytest.raises(ClientError) as error:
        call(**named)
    return error.value.response["Error"]["Code"]


def test_endpoints(iot, hub):
    for kind in ("iot:Data-ATS", "iot:Data", "iot:Jobs", "iot:CredentialProvider"):
        address = iot.describe_endpoint(endpointType=kind)["endpointAddress"]
        assert "/" not in address and "." in address or address == "localhost"


def test_things(account, middle):
    iot, name = account.iot, account.name("thing")
    made = iot.create_thing(thingName=name, attributePayload={"attributes": {"room": "a", "floor": "1"}})
    assert made["thingName"] == name and made["thingArn"].endswith(f":thing/{name}")
    assert iot.create_thing(thingName=name, attributePayload={"attributes": {"room": "a", "floor": "1"}})["thingId"] == made["thingId"]
    assert refused(iot.create_thing, thingName=name, attributePayload={"attributes": {"room": "b"}}) == "ResourceAlreadyExistsException"
    got = iot.describe_thing(thingName=name)
    assert (got["version"], got["attributes"], got["defaultClientId"]) == (1, {"room": "a", "floor": "1"}, name)
    iot.update_thing(thingName=name, attributePayload={"attributes": {"room": "b"}, "merge": True}, expectedVersion=1)
    assert iot.describe_thing(thingName=name)["attributes"] == {"room": "b", "floor": "1"}
    middle()
    assert refused(iot.update_thing, thingName=name, expectedVersion=1) == "VersionConflictException"
    iot.update_thing(thingName=name, attributePayload={"attributes": {"room": "c"}})
    got = iot.describe_thing(thingName=name)
    assert (got["version"], got["attributes"]) == (3, {"room": "c"})
    assert [t["thingName"] for t in iot.list_things(attributeName="room", attributeValue="c", maxResults=250)["things"]].count(name) == 1
    iot.delete_thing(thingName=name)
    assert refused(iot.describe_thing, thingName=name) == "ResourceNotFoundException"
    assert refused(iot.create_thing, thingName="no spaces allowed") == "InvalidRequestException"
    assert refused(iot.create_thing, thingName=account.name("thing"), attributePayload={"attributes": {k: "1" for k in "abcd"}}) == "InvalidRequestException"


def test_paging(account, middle):
    iot, prefix = account.iot, account.name("page")
    names = [f"{prefix}-{n:03}" for n in range(30)]
    for name in names:
        iot.create_thing(thingName=name, attributePayload={"attributes": {"page": prefix}})
    found: list[str] = []
    for page in iot.get_paginator("list_things").paginate(attributeName="page", attributeValue=prefix, PaginationConfig={"PageSize": 7}):
        assert len(page["things"]) <= 7
        found += [t["thingName"] for t in page["things"]]
        if len(found) == 14:
            middle()
    assert sorted(found) == names


def test_types_and_groups(account, middle):
    iot, kind, thing = account.iot, account.name("type"), account.name("thing")
    iot.create_thing_type(thingTypeName=kind, thingTypeProperties={"thingTypeDescription": "d", "searchableAttributes": ["a"]})
    iot.create_thing(thingName=thing, thingTypeName=kind)
    assert iot.describe_thing(thingName=thing)["thingTypeName"] == kind
    assert refused(iot.delete_thing_type, thingTypeName=kind) == "InvalidRequestException"
    iot.deprecate_thing_type(thingTypeName=kind)
    assert iot.describe_thing_type(thingTypeName=kind)["thingTypeMetadata"]["deprecated"] is True
    assert refused(iot.create_thing, thingName=account.name("thing"), thingTypeName=kind) == "InvalidRequestException"
    assert refused(iot.create_thing, thingName=account.name("thing"), thingTypeName="no-such-type") == "ResourceNotFoundException"
    parent, child = account.name("group"), account.name("group")
    iot.create_thing_group(thingGroupName=parent)
    iot.create_thing_group(thingGroupName=child, parentGroupName=parent)
    iot.add_thing_to_thing_group(thingGroupName=child, thingName=thing)
    middle()
    assert iot.list_things_in_thing_group(thingGroupName=child)["things"] == [thing]
    assert iot.list_things_in_thing_group(thingGroupName=parent)["things"] == []
    assert iot.list_things_in_thing_group(thingGroupName=parent, recursive=True)["things"] == [thing]
    assert [g["groupName"] for g in iot.list_thing_groups_for_thing(thingName=thing)["thingGroups"]] == [child]
    got = iot.describe_thing_group(thingGroupName=child)["thingGroupMetadata"]
    assert got["parentGroupName"] == parent and [g["groupName"] for g in got["rootToParentThingGroups"]] == [parent]
    assert refused(iot.delete_thing_group, thingGroupName=parent) == "InvalidRequestException"
    iot.remove_thing_from_thing_group(thingGroupName=child, thingName=thing)
    iot.delete_thing_group(thingGroupName=child)
    iot.delete_thing_group(thingGroupName=parent)
    assert refused(iot.describe_thing_group, thingGroupName=child) == "ResourceNotFoundException"


def test_certificates(account, middle):
    iot = account.iot
    made = iot.create_keys_and_certificate(setAsActive=True)
    identity, arn = made["certificateId"], made["certificateArn"]
    assert len(identity) == 64 and arn.endswith(f":cert/{identity}") and "PRIVATE KEY" in made["keyPair"]["PrivateKey"]
    got = iot.describe_certificate(certificateId=identity)["certificateDescription"]
    assert got["status"] == "ACTIVE" and got["certificatePem"] == made["certificatePem"]
    assert isinstance(got["creationDate"], datetime.datetime) and got["validity"]["notAfter"] > got["validity"]["notBefore"]
    thing = account.name("thing")
    iot.create_thing(thingName=thing)
    iot.attach_thing_principal(thingName=thing, principal=arn)
    middle()
    assert iot.list_thing_principals(thingName=thing)["principals"] == [arn]
    assert iot.list_principal_things(principal=arn)["things"] == [thing]
    assert refused(iot.delete_certificate, certificateId=identity) == "CertificateStateException"
    iot.update_certificate(certificateId=identity, newStatus="INACTIVE")
    assert refused(iot.delete_certificate, certificateId=identity) == "DeleteConflictException"
    assert refused(iot.delete_thing, thingName=thing) == "InvalidRequestException"
    iot.detach_thing_principal(thingName=thing, principal=arn)
    iot.delete_certificate(certificateId=identity)
    assert refused(iot.describe_certificate, certificateId=identity) == "ResourceNotFoundException"
    iot.delete_thing(thingName=thing)
    key, csr = request("device")
    signed = iot.create_certificate_from_csr(certificateSigningRequest=csr, setAsActive=False)
    assert iot.describe_certificate(certificateId=signed["certificateId"])["certificateDescription"]["status"] == "INACTIVE"
    assert refused(iot.create_certificate_from_csr, certificateSigningRequest="nonsense") == "InvalidRequestException"


def connects(account, thing) -> bool:
    client = V5(thing)
    client.connect()
    answer = client.publish("a/b", "x") == 0
    client.close()
    return answer


def test_foreign_certificates(account, middle):
    """One without its authority, and one of a registered authority."""
    iot, ours = account.iot, Authority("somebody's own")
    certificate, key = ours.issue("gadget")
    told = iot.register_certificate_without_ca(certificatePem=certificate, status="ACTIVE")
    assert refused(iot.register_certificate_without_ca, certificatePem=certificate, status="ACTIVE") == "ResourceAlreadyExistsException"
    iot.attach_policy(policyName=account.policy(), target=told["certificateArn"])
    assert connects(account, account.files(account.name("gadget"), certificate, key))

    middle()
    code = iot.get_registration_code()["registrationCode"]
    assert len(code) == 64 and iot.get_registration_code()["registrationCode"] == code
    wrong, _ = ours.issue("not the code")
    assert refused(iot.register_ca_certificate, caCertificate=ours.pem, verificationCertificate=wrong) == "RegistrationCodeValidationException"
    proof, _ = ours.issue(code)
    authority = iot.register_ca_certificate(caCertificate=ours.pem, verificationCertificate=proof, setAsActive=True)
    certificate, key = ours.issue("another gadget")
    told = iot.register_certificate(certificatePem=certificate, caCertificatePem=ours.pem, status="ACTIVE")
    iot.attach_policy(policyName=account.policy(), target=told["certificateArn"])
    assert connects(account, account.files(account.name("gadget"), certificate, key))
    listed = iot.list_certificates_by_ca(caCertificateId=authority["certificateId"])["certificates"]
    assert told["certificateId"] in [one["certificateId"] for one in listed]
    stranger, _ = Authority("unknown").issue("x")
    assert refused(iot.register_certificate, certificatePem=stranger, caCertificatePem=ours.pem) == "CertificateValidationException"


def test_just_in_time_registration(account, closing, middle):
    iot, ours = account.iot, Authority("just in time")
    proof, _ = ours.issue(iot.get_registration_code()["registrationCode"])
    authority = iot.register_ca_certificate(caCertificate=ours.pem, verificationCertificate=proof, setAsActive=True, allowAutoRegistration=True)
    witness, inbox = v1(account.thing()), Inbox()
    assert witness.connect(60)
    closing(witness.disconnect)
    assert witness.subscribe(f"$aws/events/certificates/registered/{authority['certificateId']}", 1,
                             lambda _, __, message: inbox.put(json.loads(message.payload)))
    certificate, key = ours.issue("newcomer")
    device = V5(account.files(account.name("newcomer"), certificate, key))
    device.client.start()
    closing(device.close)
    event = inbox.get()
    assert event["certificateStatus"] == "PENDING_ACTIVATION"
    middle(witness)
    described = iot.describe_certificate(certificateId=event["certificateId"])["certificateDescription"]
    assert described["status"] == "PENDING_ACTIVATION" and described["caCertificateId"] == authority["certificateId"]
    iot.attach_policy(policyName=account.policy(), target=described["certificateArn"])
    iot.update_certificate(certificateId=event["certificateId"], newStatus="ACTIVE")
    device.ends.connected.get()


def test_just_in_time_provisioning(account, closing, middle):
    iot, ours = account.iot, Authority("just in time, by template")
    template = {
        "Parameters": {"AWS::IoT::Certificate::CommonName": {"Type": "String"}, "AWS::IoT::Certificate::Id": {"Type": "String"}},
        "Resources": {
            "thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Ref": "AWS::IoT::Certificate::CommonName"}}},
            "certificate": {"Type": "AWS::IoT::Certificate", "Properties": {
                "CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "ACTIVE"}},
            "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": account.policy()}},
        },
    }
    proof, _ = ours.issue(iot.get_registration_code()["registrationCode"])
    iot.register_ca_certificate(
        caCertificate=ours.pem, verificationCertificate=proof, setAsActive=True, allowAutoRegistration=True,
        registrationConfig={"templateBody": json.dumps(template), "roleArn": "arn:aws:iam::123456789012:role/provisioning"})
    middle()
    name = account.name("jitp")
    certificate, key = ours.issue(name)
    device = V5(account.files(name, certificate, key))
    device.connect()
    closing(device.close)
    assert iot.describe_thing(thingName=name)["thingName"] == name


def test_policies(account, middle):
    iot, name = account.iot, account.name("policy")
    assert refused(iot.create_policy, policyName=name, policyDocument="{") == "MalformedPolicyException"
    assert refused(iot.create_policy, policyName=name, policyDocument='{"Version":"2012-10-17","Statement":[{"Effect":"Maybe"}]}') == "MalformedPolicyException"
    made = iot.create_policy(policyName=name, policyDocument=json.dumps(POLICY))
    assert made["policyVersionId"] == "1"
    assert refused(iot.create_policy, policyName=name, policyDocument=json.dumps(POLICY)) == "ResourceAlreadyExistsException"
    for version in range(2, 6):
        assert iot.create_policy_version(policyName=name, policyDocument=json.dumps(POLICY))["policyVersionId"] == str(version)
    assert refused(iot.create_policy_version, policyName=name, policyDocument=json.dumps(POLICY)) == "VersionsLimitExceededException"
    assert refused(iot.delete_policy_version, policyName=name, policyVersionId="1") == "InvalidRequestException"
    iot.set_default_policy_version(policyName=name, policyVersionId="3")
    middle()
    assert iot.get_policy(policyName=name)["defaultVersionId"] == "3"
    assert [v["isDefaultVersion"] for v in iot.list_policy_versions(policyName=name)["policyVersions"]].count(True) == 1
    arn = iot.create_keys_and_certificate(setAsActive=True)["certificateArn"]
    iot.attach_policy(policyName=name, target=arn)
    iot.attach_policy(policyName=name, target=arn)
    assert iot.list_targets_for_policy(policyName=name)["targets"] == [arn]
    assert [p["policyName"] for p in iot.list_attached_policies(target=arn)["policies"]] == [name]
    assert refused(iot.delete_policy, policyName=name) == "DeleteConflictException"
    iot.detach_policy(policyName=name, target=arn)
    assert refused(iot.delete_policy, policyName=name) == "DeleteConflictException", "it has more than one version"
    for version in ("1", "2", "4", "5"):
        iot.delete_policy_version(policyName=name, policyVersionId=version)
    iot.delete_policy(policyName=name)
    assert refused(iot.get_policy, policyName=name) == "ResourceNotFoundException"


def test_search(account, middle):
    iot, room = account.iot, account.name("room")
    names = sorted(account.name("thing") for _ in range(3))
    for name in names:
        iot.create_thing(thingName=name, attributePayload={"attributes": {"room": room}})
    middle()
    found = iot.search_index(queryString=f"attributes.room:{room}")["things"]
    assert sorted(one["thingName"] for one in found) == names
    assert [one["thingName"] for one in iot.search_index(queryString=f"thingName:{names[0]}")["things"]] == [names[0]]


def test_retained_and_published_over_http(account, thing, closing, middle):
    client = V5(thing)
    client.connect()
    closing(client.close)
    client.subscribe(f"{thing.name}/#")
    account.data.publish(topic=f"{thing.name}/kept", qos=1, retain=True, payload=b"\x00v", contentType="x/y",
                         userProperties=json.dumps([{"a": "1"}]))
    got = client.inbox.get()
    assert (got.topic, got.payload, got.content_type) == (f"{thing.name}/kept", b"\x00v", "x/y")
    assert [(p.name, p.value) for p in got.user_properties] == [("a", "1")]
    middle(client)
    kept = account.data.get_retained_message(topic=f"{thing.name}/kept")
    assert kept["payload"] == b"\x00v" and kept["qos"] == 1
    topics = [t["topic"] for page in account.data.get_paginator("list_retained_messages").paginate() for t in page["retainedTopics"]]
    assert f"{thing.name}/kept" in topics
    account.data.publish(topic=f"{thing.name}/kept", retain=True, payload=b"")
    assert refused(account.data.get_retained_message, topic=f"{thing.name}/kept") == "ResourceNotFoundException"
    assert refused(account.data.publish, topic="a/+/b", payload=b"") == "InvalidRequestException"


def test_connections(account, thing, closing, middle):
    client = V5(thing)
    client.connect()
    closing(client.close)
    client.subscribe(f"{thing.name}/#", qos=0)
    got = account.data.get_connection(clientId=thing.name)
    assert (got["connected"], got["cleanSession"], got["sessionExpiry"]) == (True, True, 0)
    assert account.data.list_subscriptions(clientId=thing.name)["subscriptions"] == [{"topicFilter": f"{thing.name}/#", "qos": 0}]
    middle(client)
    client.ends.disconnected.all()
    account.data.delete_connection(clientId=thing.name)
    assert int(client.ends.disconnected.get().disconnect_packet.reason_code) == 0x98
    assert refused(account.data.delete_connection, clientId="nobody-has-this") == "ResourceNotFoundException"


def test_connections_that_have_ended(account, thing, closing, middle):
    """What is left of a connection, and a will that nobody wants."""
    watcher = V5(account.thing())
    watcher.connect()
    closing(watcher.close)
    watcher.subscribe(f"{thing.name}/will")
    will = mqtt5.PublishPacket(topic=f"{thing.name}/will", payload="gone", qos=mqtt5.QoS.AT_LEAST_ONCE)

    def end(**options):
        client = V5(thing, connect_options=mqtt5.ConnectPacket(
            client_id=thing.name, keep_alive_interval_sec=30, session_expiry_interval_sec=600, will=will), min_reconnect_delay_ms=60_000, max_reconnect_delay_ms=60_000)
        client.connect()
        account.data.delete_connection(clientId=thing.name, **options)
        client.ends.disconnected.get()
        client.close()

    end(preventWillMessage=True)
    watcher.publish(f"{thing.name}/will", "meanwhile")
    end()
    assert [watcher.inbox.get().payload for _ in range(2)] == [b"meanwhile", b"gone"]
    middle(watcher)
    got = until(lambda: (state := account.data.get_connection(clientId=thing.name))["connected"] is False and state, "the end of the connection")
    assert got["sessionExpiry"] == 600 and "connectedSince" not in got
    assert abs(got["disconnectedSince"] / 1000 - time.time()) < 600
    assert got.get("disconnectReason", "API_INITIATED_DISCONNECT") == "API_INITIATED_DISCONNECT"  # which a restart makes forget


def test_who_am_i(hub, iot):
    """What people ask first."""
    got = hub.boto("sts").get_caller_identity()
    assert iot.create_thing(thingName="anything")["thingArn"].split(":")[4] == got["Account"]
    assert got["Arn"].startswith(f"arn:aws:iam::{got['Account']}:user/") and got["UserId"].startswith("AIDA")
    assert refused(hub.boto("sts", aws_secret_access_key="wrong").get_caller_identity) == "SignatureDoesNotMatch"
    assert refused(hub.boto("sts", aws_access_key_id="AKIDNOBODYKNOWSTHIS").get_caller_identity) == "InvalidClientTokenId"
    assert refused(hub.boto("sts").get_session_token) == "InvalidAction"


def test_wrong_signatures(hub):
    secret = hub.boto("iot", aws_secret_access_key="wrong")
    assert refused(secret.list_things) in ("InvalidSignatureException", "SignatureDoesNotMatch")
    assert refused(hub.boto("iot", aws_access_key_id="AKIDNOBODYKNOWSTHIS").list_things) in ("UnrecognizedClientException", "InvalidClientTokenId")
    assert refused(hub.boto("iot-data", aws_secret_access_key="wrong").get_thing_shadow, thingName="x")
    assert refused(hub.boto("iot", config=Config(signature_version=UNSIGNED)).list_things) == "MissingAuthenticationTokenException"


def test_the_command_line(hub, tmp_path):
    """The AWS CLI, with the very lines that `fairlead env aws` prints."""
    program = Path(sys.executable).parent / "aws"
    script = "\n".join([f'eval "$({hub.program} env aws --data-dir {hub.data_dir})"',
                        f"{program} iot create-thing --thing-name from-cli", f"{program} iot list-things --output json",
                        f"{program} sts get-caller-identity --query Arn --output text",
                        f"{program} iot describe-thing --thing-name nobody-here"])
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert "from-cli" in done.stdout and "arn:aws:iam::" in done.stdout
    assert "ResourceNotFoundException" in done.stderr and done.returncode != 0
