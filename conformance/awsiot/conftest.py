"""Fixtures: one hub for most tests, hubs of their own for those that restart them; things, each with a certificate."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Callable, Iterator

import boto3
import pytest
from botocore.config import Config

import hub as hubprocess
from clients import Thing, back
from proxy import Proxy

ANYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["iot:*", "greengrass:*"], "Resource": "*"}]}


class Hub(hubprocess.Hub):
    """A hub, and its development account as boto3 sees it."""

    tunnel: Proxy | None = None

    def start(self) -> "Hub":
        super().start()
        self.variables = self.env("aws")
        self.host = "localhost"
        self.region = self.variables["AWS_DEFAULT_REGION"]
        self.root_ca = self.variables["AWS_IOT_ROOT_CA"]
        # The v1 SDK reads the region out of the host name when it signs; the name need not resolve, see clients.v1.
        self.tunnel = self.tunnel or Proxy(self.https_port, connect=True)
        self.signing_host = f"dev.iot.{self.region}.amazonaws.localhost"
        return self

    def boto(self, service: str, **changes):
        """A boto3 client, with nothing but what `fairlead env aws` prints."""
        named = {
            "endpoint_url": self.variables["AWS_ENDPOINT_URL"], "region_name": self.region, "verify": self.variables["AWS_CA_BUNDLE"],
            "aws_access_key_id": self.variables["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": self.variables["AWS_SECRET_ACCESS_KEY"],
            "config": Config(retries={"max_attempts": 1}),
        }
        return boto3.client(service, **(named | changes))


class Account:
    """Makes what tests need in an account, with boto3; each name is used once."""

    _numbers = itertools.count(1)

    def __init__(self, hub: Hub, folder: Path):
        self.hub, self.folder = hub, folder
        self.iot, self.data, self.jobs = hub.boto("iot"), hub.boto("iot-data"), hub.boto("iot-jobs-data")

    def name(self, kind: str) -> str:
        return f"{kind}-{next(self._numbers)}-{os.getpid()}"

    def policy(self, document: dict | None = None) -> str:
        name = self.name("policy")
        self.iot.create_policy(policyName=name, policyDocument=json.dumps(document or ANYTHING))
        return name

    def thing(self, policy: dict | None = None, name: str | None = None) -> Thing:
        """A thing with an active certificate of its own, which has the policy."""
        name = name or self.name("thing")
        self.iot.create_thing(thingName=name)
        made = self.iot.create_keys_and_certificate(setAsActive=True)
        self.iot.attach_policy(policyName=self.policy(policy), target=made["certificateArn"])
        self.iot.attach_thing_principal(thingName=name, principal=made["certificateArn"])
        return self.files(name, made["certificatePem"], made["keyPair"]["PrivateKey"], made["certificateArn"])

    def files(self, name: str, certificate: str, key: str, arn: str = "") -> Thing:
        stem = self.folder / self.name("credentials")
        stem.with_suffix(".pem").write_text(certificate)
        stem.with_suffix(".key").write_text(key)
        return Thing(self.hub, name, str(stem.with_suffix(".pem")), str(stem.with_suffix(".key")), arn)


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """The hub that most tests share."""
    one = Hub(hubprocess.binary(), tmp_path_factory.mktemp("hub")).start()
    yield one
    one.close()


@pytest.fixture(scope="session")
def account(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Account:
    return Account(hub, tmp_path_factory.mktemp("account"))


@pytest.fixture
def iot(account: Account):
    return account.iot


@pytest.fixture
def thing(account: Account) -> Thing:
    return account.thing()


@pytest.fixture(params=["undisturbed", "restarted", "killed"])
def middle(request, hub: Hub) -> Callable:
    """What happens in the middle of a scenario: nothing, or the hub ends in order and comes again, or it is killed.
    It returns when the clients that are named are back."""

    def happens(*clients) -> None:
        if request.param == "undisturbed":
            return
        hub.restart(crash=request.param == "killed")
        for one in clients:
            back(one)

    return happens


@pytest.fixture
def proxy(hub: Hub) -> Iterator[Proxy]:
    """A line to the hub's MQTT port that can be cut."""
    one = Proxy(hub.mqtt_port)
    yield one
    one.close()


@pytest.fixture
def closing() -> Iterator[Callable]:
    """Notes what is to be called at the end of the test, last first; failures there are of no interest."""
    calls: list[Callable] = []
    yield calls.append
    for call in reversed(calls):
        try:
            call()
        except Exception:  # noqa: BLE001: a client that was cut off may not be able to say goodbye
            pass
