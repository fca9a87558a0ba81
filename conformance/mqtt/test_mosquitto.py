"""mosquitto_pub and mosquitto_sub, as people try a hub first."""

import json
import subprocess

import pytest

VERSIONS = pytest.mark.parametrize("version", ["mqttv31", "mqttv311", "mqttv5"])


def secured(hub, device):
    return ["--cafile", hub.ca, "-h", "localhost", "-p", str(hub.mqtt_port), "-u", device.name, "-P", device.password]


def run(*arguments):
    return subprocess.run([str(one) for one in arguments], capture_output=True, text=True, timeout=90)


def subscribed(*arguments):
    """Start mosquitto_sub and return once the hub has granted its subscription."""
    process = subprocess.Popen(["stdbuf", "-oL", "mosquitto_sub", "-d", *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("Subscribed"):
            return process
    raise AssertionError(f"mosquitto_sub ended with {process.wait()}")


@VERSIONS
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_pub_and_sub(hub, device, version, qos):
    watcher = subscribed(*secured(hub, device), "-V", version, "-q", qos, "-t", device.topic("#"), "-C", 3, "-v", "-W", 15)
    for n in range(3):
        done = run("mosquitto_pub", *secured(hub, device), "-V", version, "-q", qos, "-t", device.topic("room/temp"), "-m", f"{n}.5")
        assert done.returncode == 0, done.stderr
    seen = [line for line in watcher.stdout.read().splitlines() if line.startswith(device.name)]
    assert watcher.wait(20) == 0
    assert seen == [f"{device.topic('room/temp')} {n}.5" for n in range(3)]


@VERSIONS
def test_visible_to_operators(hub, device, version):
    """The device is in `fairlead device list`, its data in `fairlead data`."""
    done = run("mosquitto_pub", *secured(hub, device), "-V", version, "-q", 1, "-t", device.topic("room/temp"), "-m", "21.5")
    assert done.returncode == 0, done.stderr
    listed = json.loads(hub.cli("device", "list", "--json"))
    assert device.name in [one["id"] for one in listed if one["dialect"] == "mqtt"]
    assert hub.values(device) == {device.topic("room/temp"): 21.5}


def test_wrong_password(hub, device):
    done = run("mosquitto_pub", *secured(hub, device), "-P", "no", "-t", device.topic("x"), "-m", "1")
    assert done.returncode == 4 or done.returncode == 5, done.stderr
    assert "not authorised" in done.stderr or "bad user name or password" in done.stderr.lower()
    assert "password" in hub.cli("device", "why", f"mqtt/dev/{device.name}")


def test_wrong_authority(hub, device, tmp_path):
    """A client that does not trust the hub is told by its own library, and the operator by the hub."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    assert run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", 1, "-subj", "/CN=other").returncode == 0
    done = run("mosquitto_pub", "--cafile", cert, "-h", "localhost", "-p", hub.mqtt_port, "-u", device.name, "-P", device.password, "-t", "x", "-m", "1")
    assert done.returncode != 0


def test_anonymous_on_the_plain_port(hub):
    """--mqtt-plain-port and --mqtt-anonymous: no certificate, no password, every topic."""
    plain = ["-h", "127.0.0.1", "-p", hub.plain_port]
    watcher = subscribed(*plain, "-t", "any/#", "-q", 1, "-C", 1, "-v", "-W", 15)
    done = run("mosquitto_pub", *plain, "-i", "nobody", "-q", 1, "-t", "any/topic", "-m", "hello")
    assert done.returncode == 0, done.stderr
    assert "any/topic hello" in watcher.stdout.read()
    assert watcher.wait(20) == 0


def test_request_and_response(hub, device):
    """mosquitto_rr: version 5's response topic and correlation data."""
    answering = subscribed(*secured(hub, device), "-V", "mqttv5", "-t", device.topic("ask"), "-C", 1, "-W", 15, "-F", "%R %p")
    asking = subprocess.Popen(
        ["mosquitto_rr", *secured(hub, device), "-V", "mqttv5", "-t", device.topic("ask"), "-e", device.topic("answer"), "-m", "why", "-W", "15"],
        stdout=subprocess.PIPE, text=True)
    lines = answering.stdout.read().splitlines()
    assert f"{device.topic('answer')} why" in lines
    run("mosquitto_pub", *secured(hub, device), "-V", "mqttv5", "-t", device.topic("answer"), "-m", "because")
    assert asking.communicate(timeout=60)[0].strip() == "because"
