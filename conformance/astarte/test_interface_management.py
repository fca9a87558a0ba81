"""Interfaces through Realm Management: install, show, update, delete, and everything that is refused."""

from __future__ import annotations

import copy
import itertools

import pytest

from harness.values import TYPES, endpoint

_numbers = itertools.count(1)


def definition(**fields):
    """A small device-owned datastream with a name that no other test uses."""
    return {
        "interface_name": f"org.example.test{next(_numbers)}.Interface",
        "version_major": 0,
        "version_minor": 1,
        "type": "datastream",
        "ownership": "device",
        "mappings": [{"endpoint": "/value", "type": "integer"}],
        **fields,
    }


def path(one, major=...):
    """The path of an interface, or of one major of it."""
    return f"interfaces/{one['interface_name']}/{one['version_major'] if major is ... else major}"


@pytest.fixture(scope="module")
def api(realm):
    return realm.management


def install(api, one, **params):
    """POST a definition and return the answer."""
    return api.post("interfaces", one, params=params)


@pytest.mark.parametrize("wait", [{}, {"async_operation": "false"}, {"async_operation": "true"}], ids=str)
def test_installed_interface_is_listed_and_shown_at_once(api, wait):
    one = definition()
    answer = install(api, one, **wait)
    assert (answer.status, answer.text) == (201, "")
    assert answer.headers["location"].endswith(f"/interfaces/{one['interface_name']}/0")
    assert one["interface_name"] in api.get("interfaces").data
    assert api.get(f"interfaces/{one['interface_name']}").data == [0]
    assert api.get(path(one)).data == one


def test_all_conformance_interfaces_come_back_as_installed(api, interfaces):
    assert {one["interface_name"] for one in interfaces.values()} <= set(api.get("interfaces").data)
    for one in interfaces.values():
        assert api.get(path(one)).data == one


def test_every_field_is_kept_and_defaults_are_left_out(api):
    one = definition(
        aggregation="object",
        description="what it is",
        doc="much more of it",
        mappings=[
            {
                "endpoint": f"/%{{sensor}}/{endpoint(kind)}",
                "type": kind,
                "reliability": "guaranteed",
                "retention": "stored",
                "expiry": 120,
                "database_retention_policy": "use_ttl",
                "database_retention_ttl": 3600,
                "explicit_timestamp": True,
                "description": f"a {kind}",
                "doc": f"a {kind}, with more words",
            }
            for kind in TYPES
        ],
    )
    assert install(api, one).status == 201
    assert api.get(path(one)).data == one
    spelled = definition(
        aggregation="individual",
        mappings=[
            {
                "endpoint": "/value",
                "type": "integer",
                "reliability": "unreliable",
                "retention": "discard",
                "expiry": 0,
                "database_retention_policy": "no_ttl",
                "allow_unset": False,
                "explicit_timestamp": False,
            }
        ],
    )
    assert install(api, spelled).status == 201
    del spelled["aggregation"]
    spelled["mappings"] = [{"endpoint": "/value", "type": "integer"}]
    assert api.get(path(spelled)).data == spelled


def test_unknown_keys_are_ignored(api):
    one = definition(unknown="x")
    one["mappings"][0]["other"] = 1
    assert install(api, one).status == 201


def test_two_majors_live_side_by_side(api):
    one = definition(version_major=1, version_minor=0)
    two = {**copy.deepcopy(one), "version_major": 2, "type": "properties"}
    assert install(api, one).status == 201
    assert install(api, two).status == 201
    assert sorted(api.get(f"interfaces/{one['interface_name']}").data) == [1, 2]
    assert api.get(path(two)).data["type"] == "properties"


def test_same_major_again(api):
    one = definition()
    assert install(api, one).status == 201
    assert install(api, one).error() == (409, "Interface already exists")
    assert install(api, {**one, "version_minor": 2}).error() == (409, "Interface already exists")


@pytest.mark.parametrize("other", ["org.example.collide{0}.INTERFACE", "org.example.col-lide{0}.Interface"])
def test_name_that_differs_only_in_case_or_hyphens(api, other):
    number = next(_numbers)
    assert install(api, definition(interface_name=f"org.example.collide{number}.Interface")).status == 201
    assert install(api, definition(interface_name=other.format(number))).error() == (
        409,
        "Interface name collision detected. Make sure that the difference between two interface names is not "
        "limited to the casing or the presence of hyphens.",
    )


def test_unknown_interface_and_major(api):
    one = definition()
    assert api.get(f"interfaces/{one['interface_name']}").error() == (404, "Interface not found")
    assert api.get(path(one)).error() == (404, "Interface not found")
    assert install(api, one).status == 201
    assert api.get(path(one, 7)).error() == (404, "Interface not found")
    assert api.get(path(one, "x")).error() == (404, "Invalid major version")


ROOT_ERRORS = [
    ({"interface_name": "has space"}, {"interface_name": ["has invalid format"]}),
    ({"interface_name": "1org.example"}, {"interface_name": ["has invalid format"]}),
    ({"interface_name": "org.example.with-hyphen"}, {"interface_name": ["has invalid format"]}),
    ({"interface_name": "org..example"}, {"interface_name": ["has invalid format"]}),
    ({"interface_name": None}, {"interface_name": ["can't be blank"]}),
    ({"interface_name": "a" * 129}, {"interface_name": ["should be at most 128 character(s)"]}),
    ({"version_major": -1}, {"version_major": ["must be greater than or equal to 0"]}),
    ({"version_minor": 0}, {"version_minor": ["must be > 0 if major_version is 0"]}),
    ({"version_major": "x"}, {"version_major": ["is invalid"]}),
    ({"type": "other"}, {"type": ["is invalid"]}),
    ({"type": None}, {"type": ["can't be blank"]}),
    ({"ownership": "nobody"}, {"ownership": ["is invalid"]}),
    ({"aggregation": "heap"}, {"aggregation": ["is invalid"]}),
    (
        {"type": "properties", "aggregation": "object"},
        {"aggregation": ["must be individual for properties interfaces"]},
    ),
    ({"mappings": None}, {"mappings": ["can't be blank"]}),
]


@pytest.mark.parametrize(("fields", "errors"), ROOT_ERRORS, ids=[str(fields)[:60] for fields, _ in ROOT_ERRORS])
def test_bad_root_field(api, fields, errors):
    answer = install(api, definition(**fields))
    assert (answer.status, answer.body) == (422, {"errors": errors})


def test_no_mappings_at_all(api):
    answer = install(api, definition(mappings=[]))
    assert answer.status == 422
    texts = "can't be blank", "should have at least 1 item(s)"
    assert answer.body in [{"errors": {"mappings": [text]}} for text in texts]


MAPPING_ERRORS = [
    ({"endpoint": "value"}, {"endpoint": ["has invalid format"]}),
    ({"endpoint": "/a//b"}, {"endpoint": ["has invalid format"]}),
    ({"endpoint": "/1"}, {"endpoint": ["has invalid format"]}),
    ({"endpoint": "/a-b"}, {"endpoint": ["has invalid format"]}),
    ({"endpoint": "/x%{y}"}, {"endpoint": ["has invalid format"]}),
    ({"endpoint": None}, {"endpoint": ["can't be blank"]}),
    ({"type": "float"}, {"type": ["is invalid"]}),
    ({"type": None}, {"type": ["can't be blank"]}),
    ({"reliability": "best"}, {"reliability": ["is invalid"]}),
    ({"expiry": -1}, {"expiry": ["must be greater than or equal to 0"]}),
    ({"allow_unset": True}, {"allow_unset": ["must be blank"]}),
    (
        {"database_retention_policy": "use_ttl"},
        {"database_retention_ttl": ["must be set if database_retention_policy is use_ttl"]},
    ),
    (
        {"database_retention_policy": "use_ttl", "database_retention_ttl": 59},
        {"database_retention_ttl": ["must be greater than or equal to 60"]},
    ),
    (
        {"database_retention_policy": "use_ttl", "database_retention_ttl": 630720000},
        {"database_retention_ttl": ["must be less than 630720000"]},
    ),
]


@pytest.mark.parametrize(("fields", "errors"), MAPPING_ERRORS, ids=[str(fields) for fields, _ in MAPPING_ERRORS])
def test_bad_mapping_field_is_told_in_its_place(api, fields, errors):
    one = definition()
    one["mappings"] = [{"endpoint": "/good", "type": "integer"}, {"endpoint": "/value", "type": "integer", **fields}]
    answer = install(api, one)
    assert (answer.status, answer.body) == (422, {"errors": {"mappings": [{}, errors]}})


@pytest.mark.parametrize("fields", [{"reliability": "unique"}, {"explicit_timestamp": True}, {"retention": "stored"}])
def test_datastream_fields_on_properties_must_be_blank_or_default(api, fields):
    ((name, _),) = fields.items()
    one = definition(type="properties")
    one["mappings"][0].update(fields)
    answer = install(api, one)
    assert (answer.status, answer.body) == (422, {"errors": {"mappings": [{name: ["must be blank"]}]}})
    one["mappings"][0].update({"reliability": "unreliable", "explicit_timestamp": False, "retention": "discard"})
    assert install(api, one).status == 201


def mappings(*endpoints, **fields):
    """Integer mappings with these endpoints."""
    return [{"endpoint": one, "type": "integer", **fields} for one in endpoints]


@pytest.mark.parametrize(
    "endpoints", [("/a", "/a"), ("/a", "/A"), ("/%{x}/a", "/%{y}/A")], ids=["same", "case", "parameter names"]
)
def test_conflicting_endpoints(api, endpoints):
    answer = install(api, definition(mappings=mappings(*endpoints)))
    assert (answer.status, answer.body) == (422, {"errors": {"mappings": ["contain conflicting endpoints"]}})


@pytest.mark.parametrize(
    "fields", [{"reliability": "unique"}, {"retention": "stored"}, {"expiry": 5}, {"explicit_timestamp": True}], ids=str
)
def test_object_with_conflicting_attributes(api, fields):
    one = definition(aggregation="object", mappings=mappings("/s/a") + mappings("/s/b", **fields))
    answer = install(api, one)
    assert (answer.status, answer.body) == (422, {"errors": {"mappings": ["contain conflicting attributes"]}})


@pytest.mark.parametrize("endpoints", [("/s/a", "/t/b"), ("/s/a", "/s/t/b"), ("/%{x}/a", "/%{y}/b")], ids=str)
def test_object_without_a_common_prefix(api, endpoints):
    one = definition(aggregation="object", mappings=mappings(*endpoints))
    answer = install(api, one)
    text = "must have the same prefix in endpoints"
    assert (answer.status, answer.body) == (422, {"errors": {"mappings": [text]}})


@pytest.mark.parametrize("endpoints", [("/%{x}/v", "/room/v"), ("/a", "/a/b"), ("/a/b", "/a")], ids=str)
def test_overlapping_endpoints(api, endpoints):
    answer = install(api, definition(mappings=mappings(*endpoints)))
    assert answer.error() == (422, "Overlapping endpoints in interface mappings")


@pytest.mark.parametrize("endpoints", [("/%{a}/x", "/%{b}/y"), ("/%{a}/x", "/room/y"), ("/a", "/b/c")], ids=str)
def test_endpoints_that_do_not_overlap(api, endpoints):
    assert install(api, definition(mappings=mappings(*endpoints))).status == 201


def test_1024_mappings_are_allowed_and_1025_are_not(api):
    many = mappings(*(f"/m{number}" for number in range(1024)))
    assert install(api, definition(mappings=many)).status == 201
    answer = install(api, definition(mappings=many + mappings("/more")))
    assert (answer.status, answer.body) == (422, {"errors": {"mappings": ["should have at most 1024 item(s)"]}})


def test_refused_interface_leaves_no_trace(api):
    one = definition(mappings=mappings("/a", "/a/b"))
    assert install(api, one).status == 422
    assert one["interface_name"] not in api.get("interfaces").data


class TestMinorUpdate:
    """PUT with a higher minor version."""

    @pytest.fixture
    def one(self, api):
        one = definition(version_major=1, version_minor=2, mappings=mappings("/a", "/b"))
        assert install(api, one).status == 201
        return one

    def put(self, api, one, minor=3, **fields):
        body = {**copy.deepcopy(one), "version_minor": minor, **fields}
        return body, api.put(path(one), body)

    def test_new_mapping_is_shown(self, api, one):
        body, answer = self.put(api, one, mappings=one["mappings"] + mappings("/c"))
        assert (answer.status, answer.text) == (204, "")
        assert api.get(path(one)).data == body
        assert api.get(f"interfaces/{one['interface_name']}").data == [1]

    @pytest.mark.parametrize(
        "fields",
        [{"doc": "x"}, {"description": "x"}, {"explicit_timestamp": True}, {"retention": "stored"}, {"expiry": 9}],
    )
    def test_allowed_changes_of_a_mapping(self, api, one, fields):
        body, answer = self.put(api, one, mappings=[{**one["mappings"][0], **fields}, one["mappings"][1]])
        assert answer.status == 204
        assert api.get(path(one)).data == body

    @pytest.mark.parametrize("fields", [{"type": "string"}, {"reliability": "unique"}])
    def test_other_changes_of_a_mapping(self, api, one, fields):
        _, answer = self.put(api, one, mappings=[{**one["mappings"][0], **fields}, one["mappings"][1]])
        assert answer.error() == (409, "Interface update contains incompatible endpoint changes")

    def test_missing_endpoint(self, api, one):
        _, answer = self.put(api, one, mappings=one["mappings"][:1] + mappings("/c"))
        assert answer.error() == (409, "Interface update has missing endpoints")

    def test_same_minor(self, api, one):
        assert self.put(api, one, 2)[1].error() == (409, "Interface minor version was not increased")

    def test_lower_minor(self, api, one):
        assert self.put(api, one, 1)[1].error() == (409, "Interface downgrade not allowed")

    @pytest.mark.parametrize("fields", [{"type": "properties"}, {"ownership": "server"}, {"aggregation": "object"}])
    def test_changed_kind(self, api, one, fields):
        assert self.put(api, one, **fields)[1].error() == (409, "Invalid update")

    def test_other_name_or_major_than_in_the_path(self, api, one):
        text = "Interface name doesn't match the one in the interface json"
        assert self.put(api, one, interface_name="org.example.Other")[1].error() == (409, text)
        text = "Interface major version doesn't match the one in the interface json"
        assert self.put(api, one, version_major=2)[1].error() == (409, text)

    def test_major_that_is_not_installed_or_no_number(self, api, one):
        body = {**one, "version_major": 7, "version_minor": 9}
        assert api.put(path(one, 7), body).error() == (404, "Interface major not found")
        assert api.put(path(one, "x"), body).error() == (404, "Invalid major version")

    def test_new_mapping_that_overlaps(self, api, one):
        _, answer = self.put(api, one, mappings=one["mappings"] + mappings("/a/c"))
        assert answer.error() == (422, "Overlapping endpoints in interface mappings")

    def test_refused_update_changes_nothing(self, api, one):
        self.put(api, one, mappings=one["mappings"] + mappings("/a/c"))
        assert api.get(path(one)).data == one

    def test_running_device_may_use_the_new_mapping_at_once(self, realm, api, devices, one):
        newer, _ = self.put(api, one, mappings=one["mappings"] + mappings("/c", reliability="unique"))
        device = devices.connected(realm, {**newer, "version_minor": 2})
        device.send(one["interface_name"], "/c", 1)
        device.settle()
        newest = {**newer, "version_minor": 4, "mappings": newer["mappings"] + mappings("/d", reliability="unique")}
        assert api.put(path(one), newest).status == 204
        device.add_interface({**newest, "version_minor": 2})  # the same version, so that only the mapping is new
        device.send(one["interface_name"], "/d", 2)
        device.settle()
        assert realm.samples(device.id, one["interface_name"], "/c") == [1]
        assert realm.samples(device.id, one["interface_name"], "/d") == [2]
        assert not device.seen("disconnected")


class TestDelete:
    """DELETE of a draft."""

    def test_draft_goes(self, api):
        one = definition()
        install(api, one)
        answer = api.delete(path(one))
        assert (answer.status, answer.text) == (204, "")
        assert api.get(path(one)).error() == (404, "Interface not found")
        assert one["interface_name"] not in api.get("interfaces").data
        assert install(api, one).status == 201, "the name is free again"

    def test_released_major_stays(self, api):
        one = definition(version_major=1, version_minor=0)
        install(api, one)
        assert api.delete(path(one)).error() == (403, "Interface can't be deleted")
        assert api.get(path(one)).status == 200

    def test_unknown_draft(self, api):
        assert api.delete(path(definition())).error() == (404, "Interface not found")
        assert api.delete(path(definition(), "x")).error() == (404, "Invalid major version")

    def test_draft_in_use_by_a_device_stays_until_the_device_drops_it(self, realm, api, devices):
        one = definition()
        install(api, one)
        device = devices.connected(realm, one)
        text = "Interface can't be deleted since it's currently used"
        assert api.delete(path(one)).error() == (403, text)
        device.disconnect()
        assert api.delete(path(one)).error() == (403, text)
        device.connect()
        device.remove_interface(one["interface_name"])
        device.settle()
        assert api.delete(path(one)).status == 204


def test_interface_installed_after_the_device_declared_it_works_at_once(realm, api, devices):
    one = definition()
    one["mappings"][0]["reliability"] = "unique"
    device = devices.connected(realm, one)
    assert install(api, one).status == 201
    device.send(one["interface_name"], "/value", 7)
    device.settle()
    assert realm.samples(device.id, one["interface_name"], "/value") == [7]
    assert not device.seen("disconnected")
