"""What AppEngine answers when a program asks for something that cannot be: status and text, exactly."""

from __future__ import annotations

import pytest
from astarte.device import generate_random_device_id

from harness import waiting

WRITE = ["POST", "PUT"]


@pytest.fixture(scope="module")
def device(realm, module_devices, interfaces):
    device_and_server = (one for name, one in interfaces.items() if not name.startswith("Hot"))
    return module_devices.connected(realm, *device_and_server)


@pytest.fixture
def write(realm, device, interfaces):
    """Write on an interface of the device and return the answer; afterwards nothing may have reached the device."""
    mark = device.mark()

    def call(method, short, path, value=...):
        return realm.appengine.call(method, realm.at(device.id, interfaces.name(short), path), value)

    yield call
    with pytest.raises(waiting.Timeout):
        device.wait("data", mark, timeout=0.05)
    device.assert_alive()


def unexpected(kind):
    """The body for a value of another type."""
    return {"errors": {"detail": "Unexpected value type", "expected_type": kind}}


@pytest.mark.parametrize("method", WRITE)
@pytest.mark.parametrize(
    ("short", "path"),
    [
        ("DeviceIndividual", "/integer_endpoint"),
        ("DeviceProperties", "/integer_endpoint"),
        ("DeviceObject", "/s"),
    ],
)
def test_write_on_a_device_owned_interface(write, method, short, path):
    answer = write(method, short, path, {} if short == "DeviceObject" else 7)
    assert answer.error() == (405, "Cannot write to device owned resource")


@pytest.mark.parametrize("short", ["DeviceIndividual", "DeviceProperties", "DeviceObject"])
def test_delete_on_a_device_owned_interface(write, short):
    assert write("DELETE", short, "/integer_endpoint").error() == (405, "Cannot write to device owned resource")


@pytest.mark.parametrize("method", WRITE)
@pytest.mark.parametrize("short", ["ServerIndividualUnique", "ServerProperties"])
def test_write_on_an_unknown_path(write, method, short):
    assert write(method, short, "/no/such/path", 7).error() == (400, "Endpoint not found")


def test_delete_on_an_unknown_path(write):
    assert write("DELETE", "ServerProperties", "/no/such/path").error() == (400, "Endpoint not found")


@pytest.mark.parametrize("method", WRITE)
def test_write_on_a_part_of_a_path(write, method):
    answer = write(method, "ServerParametric", "/kitchen/box", 7)
    assert answer.error() == (405, "Cannot write to read-only resource")


def test_delete_on_a_part_of_a_path(write):
    answer = write("DELETE", "ServerParametric", "/kitchen/box")
    assert answer.error() == (405, "Cannot write to read-only resource")


@pytest.mark.parametrize("path", ["/a/b", "/s/integer_endpoint"], ids=["too deep", "a member"])
def test_write_of_an_object_beside_its_base_path(write, path):
    answer = write("POST", "ServerObjectUnique", path, {"integer_endpoint": 7})
    assert answer.error() == (404, "Mapping not found")


WRONG = [
    ("double", "1.5"),
    ("double", True),
    ("double", [1.5]),
    ("integer", 1.5),
    ("integer", "7"),
    ("integer", 2147483648),
    ("integer", True),
    ("boolean", 1),
    ("boolean", "true"),
    ("longinteger", "seven"),
    ("longinteger", 1.5),
    ("longinteger", "9223372036854775808"),
    ("string", 7),
    ("binaryblob", "not base64!"),
    ("binaryblob", "AQI"),
    ("binaryblob", 7),
    ("datetime", "yesterday"),
    ("datetime", "2022-11-22T10:11:21"),
    ("datetime", True),
    ("integerarray", 7),
    ("integerarray", [1, "2"]),
    ("doublearray", [1.5, None]),
    ("stringarray", ["a", 1]),
    ("binaryblobarray", ["AQI"]),
    ("datetimearray", ["2022-11-22"]),
    ("integer", {"a": 1}),
]


@pytest.mark.parametrize(("kind", "value"), WRONG, ids=[f"{kind} {value!r}" for kind, value in WRONG])
@pytest.mark.parametrize("short", ["ServerIndividualUnique", "ServerProperties"])
def test_value_of_another_type(write, short, kind, value):
    answer = write("POST", short, f"/{kind}_endpoint", value)
    assert (answer.status, answer.body) == (422, unexpected(kind))


def test_value_of_another_type_in_an_object(write):
    answer = write("POST", "ServerObjectUnique", "/s", {"string_endpoint": "x", "integer_endpoint": "7"})
    assert (answer.status, answer.body) == (422, unexpected("integer"))


@pytest.mark.parametrize("value", [7, "x", [1], True], ids=repr)
def test_something_else_than_an_object(write, value):
    answer = write("POST", "ServerObjectUnique", "/s", value)
    assert (answer.status, answer.body) == (422, unexpected("object"))


def test_unknown_key_in_an_object(write):
    answer = write("POST", "ServerObjectUnique", "/s", {"integer_endpoint": 7, "nope": 1})
    assert answer.error() == (400, "Unexpected object key")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("string", "x" * 65537),
        ("binaryblob", "AAAA" * 21846),
        ("integerarray", [1] * 1025),
        ("booleanarray", [True] * 1025),
    ],
    ids=["string", "binaryblob", "integers", "booleans"],
)
def test_value_that_is_too_large(write, kind, value):
    answer = write("POST", "ServerIndividualUnique", f"/{kind}_endpoint", value)
    assert answer.error() == (422, "Value size exceeds size limits")


@pytest.mark.parametrize("short", ["ServerPropertiesFixed", "ServerIndividualUnique"])
def test_delete_where_unset_is_not_allowed(write, short):
    assert write("DELETE", short, "/integer_endpoint").error() == (422, "Unset not allowed")


def test_delete_of_an_object(write):
    assert write("DELETE", "ServerObjectUnique", "/s").error() == (422, "Unset not allowed")


@pytest.mark.parametrize("short", ["ServerPropertiesFixed", "ServerIndividualUnique"])
def test_null_where_unset_is_not_allowed(write, short):
    """Astarte is described both ways: null is a value of another type, and null is an unset."""
    answer = write("POST", short, "/integer_endpoint", None)
    assert answer.status == 422
    assert answer.body in (unexpected("integer"), {"errors": {"detail": "Unset not allowed"}})


def test_refused_write_stores_nothing(realm, device, interfaces, write):
    name = interfaces.name("ServerObjectGuaranteed")
    write("POST", "ServerObjectGuaranteed", "/s", {"string_endpoint": "x", "integer_endpoint": "7"})
    write("POST", "ServerObjectGuaranteed", "/s", {"string_endpoint": "x", "nope": 7})
    assert realm.read(device.id, name) == {}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_interface_outside_the_introspection(realm, device, interfaces, method):
    value = ... if method in ("GET", "DELETE") else 7
    answer = realm.appengine.call(method, realm.at(device.id, interfaces.name("HotServerData"), "/value"), value)
    assert answer.error() == (404, "Interface not found in device introspection")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_unknown_device(realm, interfaces, method):
    value = ... if method in ("GET", "DELETE") else 7
    path = realm.at(generate_random_device_id(), interfaces.name("ServerProperties"), "/integer_endpoint")
    assert realm.appengine.call(method, path, value).error() == (404, "Device not found")


@pytest.mark.parametrize("path", ["", "/interfaces", "/interfaces/org.example.X", "/interfaces/org.example.X/a"])
def test_undecodable_device_id(realm, path):
    assert realm.appengine.get(f"devices/nonsense{path}").error() == (400, "Bad request")


@pytest.mark.parametrize("path", ["", "/interfaces"])
def test_unknown_device_in_every_view(realm, path):
    assert realm.appengine.get(f"devices/{generate_random_device_id()}{path}").error() == (404, "Device not found")


@pytest.mark.parametrize("short", ["DeviceIndividual", "DeviceProperties", "DeviceObject", "ServerProperties"])
def test_reading_an_unknown_path(realm, device, interfaces, short):
    answer = realm.appengine.get(realm.at(device.id, interfaces.name(short), "/no/such/path"))
    assert answer.error() == (400, "Endpoint not found")


def test_unknown_route(realm):
    assert realm.appengine.get("nothing/here").error() == (404, "Not found")


@pytest.mark.parametrize("body", [b"{", b"", b"[]", b'{"value": 7}'], ids=["cut", "empty", "array", "no data"])
def test_body_that_is_not_the_envelope(realm, device, interfaces, body):
    path = realm.at(device.id, interfaces.name("ServerProperties"), "/integer_endpoint")
    answer = realm.appengine.post(path, headers={"Content-Type": "application/json"}, data_bytes=body)
    assert answer.error() == (400, "Bad request")


def test_body_of_another_type(realm, device, interfaces):
    path = realm.at(device.id, interfaces.name("ServerProperties"), "/integer_endpoint")
    answer = realm.appengine.post(path, headers={"Content-Type": "text/plain"}, data_bytes=b'{"data": 7}')
    assert answer.status == 415


def test_answer_in_another_type_is_not_acceptable(realm, device):
    assert realm.appengine.get(f"devices/{device.id}", headers={"Accept": "text/html"}).status == 406
    for accept in ("*/*", "application/json", "text/html, */*;q=0.1"):
        assert realm.appengine.get(f"devices/{device.id}", headers={"Accept": accept}).status == 200, accept


def test_duplicate_slashes_are_tolerated(realm, device):
    assert realm.appengine.get(f"/devices/{device.id}").data["id"] == device.id
