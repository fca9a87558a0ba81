"""Fleet provisioning with the v2 identity client, and Greengrass discovery with both generations."""

from __future__ import annotations

import json

import pytest
from awscrt import io
from awscrt.mqtt_request_response import ClientOptions
from awsiot import greengrass_discovery, iotidentity
from AWSIoTPythonSDK.core.greengrass.discovery.providers import DiscoveryInfoProvider
from AWSIoTPythonSDK.exception.AWSIoTExceptions import DiscoveryDataNotFoundException, DiscoveryFailure, DiscoveryUnauthorizedException

from certificates import request
from clients import PATIENCE, V3, V5, rejected

TEMPLATE = {
    "Parameters": {"SerialNumber": {"Type": "String"}, "AWS::IoT::Certificate::Id": {"Type": "String"}},
    "Resources": {
        "thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Fn::Join": ["", ["dev-", {"Ref": "SerialNumber"}]]}}},
        "certificate": {"Type": "AWS::IoT::Certificate", "Properties": {
            "CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "Active"}},
        "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": None}},
    },
    "DeviceConfiguration": {"region": "here"},
}


@pytest.fixture(scope="module")
def template(account):
    name = account.name("fleet")
    body = json.loads(json.dumps(TEMPLATE))
    body["Resources"]["policy"]["Properties"]["PolicyName"] = account.policy()
    account.iot.create_provisioning_template(
        templateName=name, templateBody=json.dumps(body), enabled=True, provisioningRoleArn="arn:aws:iam::123456789012:role/provisioning")
    return name


@pytest.fixture(params=[V3, V5], ids=["3.1.1", "5"])
def identity(request, account, template, closing):
    """The identity client, on a connection with a claim certificate that may do nothing else."""
    claim = account.thing({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"},
        {"Effect": "Allow", "Action": ["iot:Publish", "iot:Receive"], "Resource": [
            "arn:aws:iot:*:*:topic/$aws/certificates/*", f"arn:aws:iot:*:*:topic/$aws/provisioning-templates/{template}/provision/*"]},
        {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": [
            "arn:aws:iot:*:*:topicfilter/$aws/certificates/*",
            f"arn:aws:iot:*:*:topicfilter/$aws/provisioning-templates/{template}/provision/*"]}]})
    one = request.param(claim)
    one.connect()
    closing(one.close)
    identity = iotidentity.IotIdentityClientV2(one.connection if request.param is V3 else one.client, ClientOptions(2, 4, 30))
    identity.device = one
    return identity


def register(identity, template, token, serial):
    return identity.register_thing(iotidentity.RegisterThingRequest(
        template_name=template, certificate_ownership_token=token, parameters={"SerialNumber": serial})).result(PATIENCE)


def works(thing):
    device = V5(thing)
    device.connect()
    assert device.publish("hello", "x") == 0
    device.close()


def test_by_keys(identity, account, template, middle):
    made = identity.create_keys_and_certificate(iotidentity.CreateKeysAndCertificateRequest()).result(PATIENCE)
    assert account.iot.describe_certificate(certificateId=made.certificate_id)["certificateDescription"]["status"] == "PENDING_ACTIVATION"
    serial = account.name("sn")
    middle(identity.device)
    told = register(identity, template, made.certificate_ownership_token, serial)
    assert told.thing_name == f"dev-{serial}" and told.device_configuration == {"region": "here"}
    works(account.files(told.thing_name, made.certificate_pem, made.private_key))


def test_by_request(identity, account, template, middle):
    key, csr = request("device")
    made = identity.create_certificate_from_csr(iotidentity.CreateCertificateFromCsrRequest(certificate_signing_request=csr)).result(PATIENCE)
    middle(identity.device)
    told = register(identity, template, made.certificate_ownership_token, account.name("sn"))
    works(account.files(told.thing_name, made.certificate_pem, key))


def test_refusals(identity, template, middle):
    error = rejected(identity.create_certificate_from_csr, iotidentity.CreateCertificateFromCsrRequest(certificate_signing_request="nonsense"))
    assert error.status_code == 400
    error = rejected(identity.register_thing, iotidentity.RegisterThingRequest(
        template_name=template, certificate_ownership_token="not-a-token", parameters={"SerialNumber": "1"}))
    assert error.status_code == 400 and error.error_code == "InvalidCertificateOwnershipToken"
    made = identity.create_keys_and_certificate(iotidentity.CreateKeysAndCertificateRequest()).result(PATIENCE)
    middle(identity.device)
    error = rejected(identity.register_thing, iotidentity.RegisterThingRequest(
        template_name=template, certificate_ownership_token=made.certificate_ownership_token, parameters={}))
    assert error.status_code == 400


# Greengrass discovery. Groups are what an administrator writes.

def discover(hub, thing, name=None, port=None):
    provider = DiscoveryInfoProvider()
    provider.configureEndpoint(hub.host, port or hub.https_port)
    provider.configureCredentials(hub.root_ca, thing.certificate, thing.key)
    provider.configureTimeout(PATIENCE)
    return provider.discover(name or thing.name)


def test_discovery(hub, account, thing, tmp_path, middle):
    core, group = account.thing(), account.name("greengrass")
    ways = [{"id": "lan", "host": "192.0.2.4", "port": 8883}]
    (tmp_path / "group.json").write_text(json.dumps({"cores": [{"thing": core.name, "ways": ways}], "devices": [thing.name]}))
    hub.cli("aws", "greengrass", "set", group, str(tmp_path / "group.json"))
    middle()
    told = discover(hub, thing)
    cores, authorities = told.getAllCores(), told.getAllCas()
    assert [one.coreThingArn.rpartition("/")[2] for one in cores] == [core.name]
    assert [(i.host, i.port) for i in cores[0].connectivityInfoList] == [("192.0.2.4", 8883)]
    assert [(identity, pem.startswith("-----BEGIN CERTIFICATE-----")) for identity, pem in authorities] == [(group, True)]
    context = io.TlsContextOptions.create_client_with_mtls_from_path(thing.certificate, thing.key)
    context.override_default_trust_store_from_path(None, hub.root_ca)
    client = greengrass_discovery.DiscoveryClient(
        io.ClientBootstrap.get_or_create_static_default(), io.SocketOptions(), io.ClientTlsContext(context), hub.region, gg_server_name=hub.host)
    client.port = hub.https_port
    found = client.discover(thing.name).result(PATIENCE)
    assert [g.gg_group_id for g in found.gg_groups] == [group]
    assert found.gg_groups[0].cores[0].connectivity[0].host_address == "192.0.2.4"


def test_discovery_refusals(hub, account, thing, middle):
    with pytest.raises(DiscoveryDataNotFoundException):
        discover(hub, thing)
    middle()
    nobody = account.thing({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]})
    with pytest.raises((DiscoveryFailure, DiscoveryUnauthorizedException)):
        discover(hub, nobody)
