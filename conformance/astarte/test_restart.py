"""The hub stops and starts again, in order or by kill -9, and the running SDK comes back by itself.

The SDK asks Pairing whether its certificate is valid a few milliseconds after it lost its connection, and gives up for
good if that one request fails. So an orderly stop closes MQTT first and answers HTTP a little longer, and a crash
is survived where somebody else (a service manager; here the test) holds the listening sockets.
"""

from __future__ import annotations

import subprocess
import threading
from collections import Counter

import pytest

from harness import waiting
from harness.raw import Message, document
from harness.values import VALUES, endpoint, first

# How long an SDK may need: its back-off is 1, 2, 4, 8 seconds.
BACK = 60


def check_load(realm, device, name, path, accepted):
    """Nothing that the SDK accepted is missing, nothing is there twice or out of order but what the client repeated."""
    stored = [int(value) for value in realm.samples(device.id, name, path)]
    repeated = device.repeatable(name, path)
    missing = sorted(set(accepted) - set(stored))
    assert not missing, f"{path}: {len(missing)} of {len(accepted)} values are lost: {missing[:20]}"
    doubled = {value for value, count in Counter(stored).items() if count > 1}
    assert doubled <= repeated, f"{path}: stored twice without being repeated: {sorted(doubled - repeated)[:20]}"
    once = [value for value in stored if value not in repeated]
    assert once == sorted(once), f"{path}: out of order"
    assert set(device.acknowledged(name, path)) <= set(stored)


def restart_under_load(hub, devices, interfaces, restart, times=1):
    """Let a device send, restart the hub, let the device go on, and check that nothing is lost."""
    realm, name = hub.realm(), interfaces.name("DeviceQos")
    device = devices.connected(realm, interfaces["DeviceQos"], interfaces["ServerProperties"])
    device.do("start_load", targets=[[name, "/guaranteed"], [name, "/unique"]], interval=0.003)
    waiting.until(lambda: len(device.acknowledged(name, "/unique")) >= 50, "the load to be under way", BACK)
    start = device.mark()
    for _ in range(times):
        mark = device.mark()
        restart(hub)
        device.wait("disconnected", mark, rc=7)
        device.wait("connected", mark, BACK)
    before = len(device.acknowledged(name, "/unique"))
    waiting.until(lambda: len(device.acknowledged(name, "/unique")) >= before + 50, "the load to go on", BACK)
    accepted = device.do("stop_load")
    device.settle(BACK)
    device.assert_alive()
    assert len(accepted) >= 100
    for path in ("/guaranteed", "/unique"):
        check_load(realm, device, name, path, accepted)
    server = interfaces.name("ServerProperties")
    assert realm.appengine.put(realm.at(device.id, server, "/integer_endpoint"), 7).status == 200
    assert device.data(server, "/integer_endpoint", start) == 7


def in_order(hub):
    hub.stop()
    hub.start()


def by_kill(hub):
    hub.kill()
    hub.start()


def test_running_sdk_comes_back_after_an_orderly_restart(make_hub, devices, interfaces):
    restart_under_load(make_hub(), devices, interfaces, in_order)


def test_running_sdk_comes_back_after_an_orderly_restart_with_held_sockets(make_hub, devices, interfaces):
    restart_under_load(make_hub(hold_sockets=True), devices, interfaces, in_order)


@pytest.mark.parametrize("times", [1, 3])
def test_running_sdk_comes_back_after_kill_9_with_held_sockets(make_hub, devices, interfaces, times):
    restart_under_load(make_hub(hold_sockets=True), devices, interfaces, by_kill, times)


def test_idle_sdk_comes_back_too_and_gets_what_was_set_meanwhile(make_hub, devices, interfaces):
    hub = make_hub(hold_sockets=True)
    realm, server = hub.realm(), interfaces.name("ServerProperties")
    device = devices.connected(realm, interfaces["ServerProperties"])
    mark = device.mark()
    hub.kill()
    device.wait("disconnected", mark, rc=7)
    hub.start()
    assert realm.appengine.put(realm.at(device.id, server, "/integer_endpoint"), 7).status == 200
    assert device.data(server, "/integer_endpoint", mark, BACK) == 7
    device.assert_alive()


def test_quirk_sdk_gives_up_when_pairing_is_unreachable_after_a_kick(make_hub, devices, interfaces):
    """Why held sockets matter: without them a killed hub loses every running Python device until its program restarts."""
    hub = make_hub()
    realm = hub.realm()
    device = devices.connected(realm, interfaces["DeviceQos"])
    hub.kill()
    died = device.wait("thread_died")
    assert died["type"] == "requests.exceptions.ConnectionError"
    assert device.is_connected() is False
    hub.start()
    device.kill()
    devices.program(realm, device.identity, interfaces["DeviceQos"]).connect()
    assert realm.device(device.id)["connected"] is True


def test_orderly_stop_closes_mqtt_first_and_answers_pairing_a_little_longer(make_hub, devices):
    hub = make_hub()
    realm = hub.realm()
    identity = devices.certified(realm)
    raw = devices.raw(realm, identity).connect()
    pem = (identity.crypto / "device.crt").read_text()
    hub.terminate()
    raw.wait_closed("MQTT to be closed")
    answer = realm.as_device(identity).post("protocols/astarte_mqtt_v1/credentials/verify", {"client_crt": pem})
    assert answer.data["valid"] is True
    hub.wait_stopped()


def test_request_sent_while_no_hub_runs_is_answered_by_the_next_one(make_hub):
    hub = make_hub(hold_sockets=True)
    realm = hub.realm()
    hub.kill()
    answers = []
    asking = threading.Thread(target=lambda: answers.append(realm.appengine.get("devices")))
    asking.start()
    hub.start()
    asking.join(waiting.DEADLINE)
    assert [answer.status for answer in answers] == [200]


def everything(hub, realm, device_ids):
    """All that the REST APIs show."""
    shown = {
        "realms": sorted(hub.housekeeping().get("realms").data),
        "interfaces": sorted(realm.management.get("interfaces").data),
        "devices": sorted(realm.appengine.get("devices").data),
    }
    for name in shown["interfaces"]:
        shown[name] = realm.management.get(f"interfaces/{name}/1").data
    for device_id in device_ids:
        shown[device_id] = realm.device(device_id)
        for name in realm.appengine.get(f"devices/{device_id}/interfaces").data:
            shown[device_id, name] = realm.read(device_id, name)
    return shown


@pytest.mark.parametrize("restart", [in_order, by_kill])
def test_all_state_is_the_same_after_a_restart(make_hub, devices, interfaces, restart):
    hub = make_hub()
    realm = hub.realm()
    names = "DeviceIndividual", "DeviceObject", "DeviceProperties", "ServerProperties", "ServerIndividualUnreliable"
    device = devices.connected(realm, *(interfaces[name] for name in names))
    for kind, many in VALUES.items():
        device.send(interfaces.name("DeviceIndividual"), "/" + endpoint(kind), many[0])
        device.send(interfaces.name("DeviceProperties"), "/" + endpoint(kind), many[0])
    device.send_aggregate(interfaces.name("DeviceObject"), "/s", first())
    device.settle()
    for name, value in (("ServerProperties", 7), ("ServerIndividualUnreliable", 8)):
        path = realm.at(device.id, interfaces.name(name), "/integer_endpoint")
        assert realm.appengine.put(path, value).status == 200
    device.disconnect()
    waiting.until(lambda: realm.device(device.id)["connected"] is False, "connected to become false")
    other = devices.identity(realm)
    before = everything(hub, realm, [device.id, other.device_id])
    restart(hub)
    assert everything(hub, realm, [device.id, other.device_id]) == before
    # the same secret, certificate, realm key and CA are still good
    mark = device.mark()
    device.connect()
    assert device.data(interfaces.name("ServerProperties"), "/integer_endpoint", mark) == 7
    assert realm.as_device(other).get("").data["status"] == "pending"


@pytest.mark.parametrize("restart", [in_order, by_kill])
def test_kept_session_and_its_queue_survive(make_hub, devices, interfaces, restart):
    hub = make_hub()
    realm, definition = hub.realm(), interfaces["ServerIndividualUnique"]
    identity, name = devices.certified(realm), definition["interface_name"]
    raw = devices.raw(realm, identity, client_id="kept", clean=False).start(definition)
    raw.wait_messages(1)
    raw.stop()
    waiting.until(lambda: realm.device(identity.device_id)["connected"] is False, "connected to become false")
    path = realm.at(identity.device_id, name, "/integer_endpoint")
    for value in (1, 2):
        assert realm.appengine.post(path, value).status == 200
    restart(hub)
    assert realm.appengine.post(path, 3).status == 200
    again = devices.raw(realm, identity, client_id="kept", clean=False).connect()
    assert again.session_present is True
    assert again.wait_messages(3) == [
        Message(f"{again.base}/{name}/integer_endpoint", document(value), 2, False) for value in (1, 2, 3)
    ]


@pytest.mark.parametrize("restart", [in_order, by_kill])
def test_device_that_was_connected_is_not_shown_connected_by_the_next_hub(make_hub, devices, restart):
    hub = make_hub()
    realm = hub.realm()
    identity = devices.certified(realm)
    raw = devices.raw(realm, identity).connect()
    restart(hub)
    raw.wait_closed()
    shown = realm.device(identity.device_id)
    assert shown["connected"] is False
    assert shown["last_disconnection"] is not None


def test_second_up_on_the_same_folder_is_refused_and_leaves_the_first_alone(make_hub):
    hub = make_hub()
    command = [hub.binary, "up", "--data-dir", str(hub.data_dir), "--listen", "127.0.0.1"]
    command += ["--https-port", str(hub.https_port + 1), "--mqtt-port", str(hub.mqtt_port + 1)]
    second = subprocess.run(command, capture_output=True, timeout=30)
    assert second.returncode not in (0, 2), second  # 2 is what a panic of Go ends with
    assert hub.realm().appengine.get("devices").status == 200
