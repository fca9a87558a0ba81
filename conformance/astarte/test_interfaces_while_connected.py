"""Interfaces added and removed while the device is connected."""

from __future__ import annotations

import pytest

from harness import waiting
from harness.device import DeviceError


def names(realm, device):
    """The interfaces that AppEngine lists for the device."""
    return set(realm.appengine.get(f"devices/{device.id}/interfaces").data)


@pytest.fixture
def device(realm, devices, interfaces):
    return devices.connected(realm, interfaces["DeviceQos"])


def test_added_device_owned_interface_takes_data(realm, device, interfaces):
    name = interfaces.name("HotDeviceData")
    device.add_interface(interfaces["HotDeviceData"])
    device.send(name, "/value", 7)
    device.settle()
    assert names(realm, device) == {interfaces.name("DeviceQos"), name}
    assert realm.samples(device.id, name, "/value") == [7]
    assert not device.seen("disconnected")


def test_added_server_owned_interface_receives_data(realm, device, interfaces):
    name = interfaces.name("HotServerData")
    device.add_interface(interfaces["HotServerData"])
    device.settle()
    assert realm.appengine.post(realm.at(device.id, name, "/value"), 7).status == 200
    assert device.data(name, "/value") == 7


def test_added_server_owned_properties_are_received(realm, device, interfaces):
    name = interfaces.name("HotServerProperties")
    device.add_interface(interfaces["HotServerProperties"])
    device.settle()
    assert realm.appengine.put(realm.at(device.id, name, "/value"), 7).status == 200
    assert device.data(name, "/value") == 7
    assert device.properties() == {(name, "/value"): 7}


def test_data_for_an_interface_that_is_not_declared_yet_is_refused(realm, device, interfaces):
    name = interfaces.name("HotServerData")
    answer = realm.appengine.post(realm.at(device.id, name, "/value"), 7)
    assert answer.error() == (404, "Interface not found in device introspection")


@pytest.mark.parametrize("short", ["HotDeviceData", "HotServerData", "HotDeviceProperties", "HotServerProperties"])
def test_removed_interface_is_not_served_any_more(realm, device, interfaces, short):
    name = interfaces.name(short)
    device.add_interface(interfaces[short])
    device.settle()
    assert realm.read(device.id, name) == {}
    device.remove_interface(name)
    device.settle()
    answer = realm.appengine.get(realm.at(device.id, name))
    assert answer.error() == (404, "Interface not found in device introspection")
    assert names(realm, device) == {interfaces.name("DeviceQos")}
    (previous,) = realm.device(device.id)["previous_interfaces"]
    assert (previous["name"], previous["major"], previous["minor"]) == (name, 1, 0)
    assert not device.seen("disconnected")


@pytest.mark.parametrize("short", ["HotServerData", "HotServerProperties"])
def test_removed_server_owned_interface_takes_no_more_data(realm, device, interfaces, short):
    name = interfaces.name(short)
    device.add_interface(interfaces[short])
    device.settle()
    device.remove_interface(name)
    device.settle()
    answer = realm.appengine.post(realm.at(device.id, name, "/value"), 7)
    assert answer.error() == (404, "Interface not found in device introspection")
    with pytest.raises(waiting.Timeout):
        device.data(name, "/value", timeout=waiting.QUIET)


def test_data_of_a_removed_interface_is_back_when_the_interface_comes_back(realm, device, interfaces):
    name = interfaces.name("HotDeviceData")
    device.add_interface(interfaces["HotDeviceData"])
    device.send(name, "/value", 7)
    device.settle()
    device.remove_interface(name)
    device.settle()
    device.add_interface(interfaces["HotDeviceData"])
    device.settle()
    assert realm.samples(device.id, name, "/value") == [7]
    assert realm.device(device.id)["previous_interfaces"] == []


def test_server_property_of_an_interface_that_comes_back_arrives_with_the_next_connection(realm, device, interfaces):
    name = interfaces.name("HotServerProperties")
    device.add_interface(interfaces["HotServerProperties"])
    device.settle()
    assert realm.appengine.put(realm.at(device.id, name, "/value"), 7).status == 200
    device.data(name, "/value")
    device.remove_interface(name)
    device.settle()
    assert device.properties() == {}
    device.add_interface(interfaces["HotServerProperties"])
    device.settle()
    device.disconnect()
    mark = device.mark()
    device.connect()
    assert device.data(name, "/value", mark) == 7


def test_interface_added_after_a_kick_is_declared(realm, device, devices, interfaces):
    mark = device.mark()
    devices.raw(realm, device.identity).connect().stop()
    device.wait("connected", mark)
    device.settle()
    device.add_interface(interfaces["HotDeviceData"])
    device.settle()
    assert names(realm, device) == {interfaces.name("DeviceQos"), interfaces.name("HotDeviceData")}


def test_newer_minor_declared_while_connected_replaces_the_older(realm, device, interfaces):
    newer = {**interfaces["DeviceQos"], "version_minor": 1}
    device.add_interface(newer)
    device.settle()
    shown = realm.device(device.id)["introspection"][interfaces.name("DeviceQos")]
    assert (shown["major"], shown["minor"]) == (1, 1)
    device.send(interfaces.name("DeviceQos"), "/unique", 7)
    device.settle()
    assert realm.samples(device.id, interfaces.name("DeviceQos"), "/unique") == ["7"]


def test_removing_an_unknown_interface_is_refused_by_the_sdk(device):
    with pytest.raises(DeviceError) as caught:
        device.remove_interface("org.example.Nope")
    assert caught.value.type == "InterfaceNotFoundError"
