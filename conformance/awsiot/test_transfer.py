"""Certificates that go from one account to another one: boto3 for both, and a device that connects afterwards."""

from __future__ import annotations

import itertools
import json

import pytest

from clients import V5, Thing, until
from test_jobs import refused

_numbers = itertools.count(222_222_222_222)


@pytest.fixture
def other(hub):
    """Another account: its number, and boto3's client for it."""
    number = str(next(_numbers))
    hub.cli("tenant", "add", number)
    key = json.loads(hub.cli("aws", "key", "add", "test", "--tenant", number, "--json"))
    return number, hub.boto("iot", aws_access_key_id=key["id"], aws_secret_access_key=key["secret"])


@pytest.fixture
def spare(account) -> Thing:
    """An inactive certificate without policies."""
    made = account.iot.create_keys_and_certificate()
    return account.files(account.name("thing"), made["certificatePem"], made["keyPair"]["PrivateKey"], made["certificateArn"])


def status(iot, certificate) -> str:
    return iot.describe_certificate(certificateId=certificate)["certificateDescription"]["status"]


def test_accepted(account, other, spare, closing, middle):
    number, theirs = other
    iot, one = account.iot, spare.certificate_id
    made = iot.transfer_certificate(certificateId=one, targetAwsAccount=number, transferMessage="for you")
    assert made["transferredCertificateArn"].endswith(f":{number}:cert/{one}")
    middle()
    assert [(c["certificateId"], c["transferredTo"]) for c in iot.list_outgoing_certificates()["outgoingCertificates"] if c["certificateId"] == one] == [(one, number)]
    assert status(iot, one) == status(theirs, one) == "PENDING_TRANSFER"
    assert refused(iot.update_certificate, certificateId=one, newStatus="ACTIVE") == "CertificateStateException"
    assert refused(theirs.update_certificate, certificateId=one, newStatus="ACTIVE") == "CertificateStateException"
    theirs.accept_certificate_transfer(certificateId=one, setAsActive=True)
    assert refused(iot.describe_certificate, certificateId=one) == "ResourceNotFoundException"
    description = theirs.describe_certificate(certificateId=one)["certificateDescription"]
    assert (description["status"], description["ownedBy"]) == ("ACTIVE", number)
    assert description["transferData"]["transferMessage"] == "for you" and description["transferData"]["acceptDate"]
    assert refused(theirs.accept_certificate_transfer, certificateId=one) == "TransferAlreadyCompletedException"
    theirs.create_policy(policyName="all", policyDocument=json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}))
    theirs.create_thing(thingName=spare.name)
    arn = description["certificateArn"]
    theirs.attach_policy(policyName="all", target=arn)
    theirs.attach_thing_principal(thingName=spare.name, principal=arn)
    client = V5(spare)
    client.connect()
    closing(client.close)
    until(lambda: theirs.get_thing_connectivity_data(thingName=spare.name)["connected"], "the device in the other account")


def test_rejected_and_cancelled(account, other, spare, middle):
    number, theirs = other
    iot, one = account.iot, spare.certificate_id
    iot.transfer_certificate(certificateId=one, targetAwsAccount=number)
    assert refused(iot.transfer_certificate, certificateId=one, targetAwsAccount=number) == "TransferConflictException"
    middle()
    theirs.reject_certificate_transfer(certificateId=one, rejectReason="no")
    assert refused(theirs.describe_certificate, certificateId=one) == "ResourceNotFoundException"
    assert iot.describe_certificate(certificateId=one)["certificateDescription"]["transferData"]["rejectReason"] == "no"
    iot.transfer_certificate(certificateId=one, targetAwsAccount=number)
    iot.cancel_certificate_transfer(certificateId=one)
    assert refused(theirs.accept_certificate_transfer, certificateId=one) == "ResourceNotFoundException"
    assert status(iot, one) == "INACTIVE"


def test_what_cannot_be_transferred(account, other, spare):
    number, theirs = other
    iot, one = account.iot, spare.certificate_id
    assert refused(iot.transfer_certificate, certificateId=one, targetAwsAccount="1" * 12) == "InvalidRequestException"
    assert refused(theirs.transfer_certificate, certificateId=one, targetAwsAccount=number) == "ResourceNotFoundException"
    iot.attach_policy(policyName=account.policy(), target=spare.arn)
    assert refused(iot.transfer_certificate, certificateId=one, targetAwsAccount=number) == "TransferConflictException"
    device = account.thing()
    assert refused(iot.transfer_certificate, certificateId=device.certificate_id, targetAwsAccount=number) == "CertificateStateException"
