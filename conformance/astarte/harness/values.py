"""The values that travel: for every mapping type the ordinary one and the boundaries, and how each looks in JSON.

The device-owned values are those of testdata/vectors/astarte/bson.json, in its order; test_vectors.py compares them
with the bytes in there, so that neither side can drift.
"""

from __future__ import annotations

import base64
import calendar
import math
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

UTC = timezone.utc
MOMENT = datetime(2022, 11, 22, 10, 11, 21, tzinfo=UTC)

# The first value of each type is the ordinary one; falsy and extreme ones follow.
VALUES: dict[str, list[Any]] = {
    "double": [1.5, -0.0, 1e308],
    "integer": [7, -1, 2147483647, -2147483648],
    "boolean": [True, False],
    "longinteger": [7, 2147483648, 2**55, 2**63 - 1, -(2**63)],
    "string": ["hi", "", "äß世😀", "a\x00b"],
    "binaryblob": [b"\x01\x02", b""],
    "datetime": [
        MOMENT,
        datetime(2022, 11, 22, 10, 11, 21, 123456, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC),
        datetime(2022, 11, 22, 12, 11, 21, tzinfo=timezone(timedelta(hours=2))),
        datetime(2022, 11, 22, 10, 11, 21),
    ],
    "doublearray": [[1.5, 2.5], []],
    "integerarray": [[1, -2], []],
    "booleanarray": [[True, False], []],
    "longintegerarray": [[1, 2147483648], []],
    "stringarray": [["a", "ä"], []],
    "binaryblobarray": [[b"\x01", b""], []],
    "datetimearray": [[MOMENT], []],
}

TYPES = list(VALUES)

# What Astarte's own server refuses although the SDK sends it: the smallest integers (reference: magnitude at most 2^31-1 and
# 2^63-1). A hub may accept them, so they have a test of their own.
MAY_BE_REFUSED = [("integer", -2147483648), ("longinteger", -(2**63))]

# On the wire an empty binary as the whole value means "unset": it never becomes a sample.
MEANS_UNSET = ("binaryblob", b"")


def endpoint(kind: str) -> str:
    """The endpoint of a mapping type in the test interfaces, without its leading slash."""
    return f"{kind}_endpoint"


class Case(NamedTuple):
    """One value of one mapping type; name is that of its vector."""

    name: str
    kind: str
    value: Any


def cases() -> list[Case]:
    """Every value of VALUES, named as in the vectors."""
    return [Case(f"{kind}_{n}", kind, value) for kind, many in VALUES.items() for n, value in enumerate(many)]


def ordinary() -> list[Case]:
    """The cases whose value any hub stores as it is, also where the whole payload is the value."""
    special = [*MAY_BE_REFUSED, MEANS_UNSET]
    return [case for case in cases() if (case.kind, case.value) not in special]


def first() -> dict[str, Any]:
    """An object with the ordinary value of every type."""
    return {endpoint(kind): many[0] for kind, many in VALUES.items()}


def second() -> dict[str, Any]:
    """An object with another, mostly falsy value of every type."""
    return {endpoint(kind): many[1] for kind, many in VALUES.items()}


def milliseconds(moment: datetime) -> int:
    """Milliseconds since the epoch, rounded as the SDK's BSON codec rounds; a naive datetime counts as UTC."""
    return int(round(calendar.timegm(moment.utctimetuple()) * 1000 + moment.microsecond / 1000.0))


def iso(moment: datetime) -> str:
    """The form in which AppEngine shows a datetime: UTC, milliseconds, Z."""
    rounded = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds(moment))
    return rounded.strftime("%Y-%m-%dT%H:%M:%S.") + f"{rounded.microsecond // 1000:03d}Z"


def as_json(kind: str, value: Any, longs: type = str) -> Any:
    """The value as AppEngine has to show it; longs is str in series and objects, int in property trees and snapshots."""
    if kind.endswith("array"):
        return [as_json(kind[: -len("array")], item, longs) for item in value]
    if kind == "longinteger":
        return longs(value)
    if kind == "binaryblob":
        return base64.b64encode(value).decode("ascii")
    if kind == "datetime":
        return iso(value)
    return value


def object_as_json(values: dict[str, Any]) -> dict[str, Any]:
    """An object of the test interfaces as AppEngine has to show it, without its timestamp."""
    return {key: as_json(key[: -len("_endpoint")], value) for key, value in values.items()}


def same(got: Any, want: Any) -> bool:
    """Whether two values are equal and of the same types all the way down.

    A double may be written as 1 or 1.0 in JSON, so an int is accepted where a float is wanted; the sign of zero counts.
    """
    if type(want) is float:
        if type(got) not in (int, float):
            return False
        return float(got) == want and math.copysign(1, got) == math.copysign(1, want)
    if type(got) is not type(want):
        return False
    if type(want) is list:
        return len(got) == len(want) and all(same(g, w) for g, w in zip(got, want))
    if type(want) is dict:
        return got.keys() == want.keys() and all(same(got[key], want[key]) for key in want)
    if type(want) is datetime:
        return got == want and (got.tzinfo is None) == (want.tzinfo is None)
    return got == want


def assert_same(got: Any, want: Any) -> None:
    """Fail, showing both with their types, unless same(got, want)."""
    assert same(got, want), f"\n got {_typed(got)}\nwant {_typed(want)}"


def _typed(value: Any) -> str:
    return f"{type(value).__name__} {value!r}"


# What a program writes through AppEngine, and what the SDK's callback has to get for it.
SERVER_VALUES: dict[str, list[tuple[Any, Any]]] = {
    "double": [(1.5, 1.5), (7, 7.0), (0, 0.0), (-2.25e-300, -2.25e-300)],
    "integer": [(7, 7), (0, 0), (-1, -1), (2147483647, 2147483647)],
    "boolean": [(True, True), (False, False)],
    "longinteger": [(7, 7), (0, 0), ("-5", -5), (2147483648, 2147483648), ("9223372036854775807", 2**63 - 1)],
    "string": [("hi", "hi"), ("", ""), ("äß世😀", "äß世😀")],
    "binaryblob": [("AQI=", b"\x01\x02"), ("", b"")],
    "datetime": [
        ("2022-11-22T10:11:21.000Z", MOMENT),
        ("2022-11-22 10:11:21+00:00", MOMENT),
        ("2022-11-22T12:11:21+02:00", MOMENT),
        (1669111881000, MOMENT),
        ("1969-12-31T23:59:59.999Z", datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)),
    ],
    "doublearray": [([1.5, 2], [1.5, 2.0]), ([], [])],
    "integerarray": [([1, -2, 0], [1, -2, 0]), ([], [])],
    "booleanarray": [([True, False], [True, False]), ([], [])],
    "longintegerarray": [([1, "2147483648"], [1, 2147483648]), ([], [])],
    "stringarray": [(["a", "", "ä"], ["a", "", "ä"]), ([], [])],
    "binaryblobarray": [(["AQ==", ""], [b"\x01", b""]), ([], [])],
    "datetimearray": [(["2022-11-22T10:11:21Z"], [MOMENT]), ([], [])],
}


class ServerCase(NamedTuple):
    """One value written by a program, and what the device has to receive."""

    name: str
    kind: str
    posted: Any
    received: Any


def server_cases() -> list[ServerCase]:
    """Every value of SERVER_VALUES."""
    return [
        ServerCase(f"{kind}_{n}", kind, posted, received)
        for kind, many in SERVER_VALUES.items()
        for n, (posted, received) in enumerate(many)
    ]


def server_object(index: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """An object of every type as posted, and as received: 0 is the ordinary one, 1 the next value of each type."""
    posted = {endpoint(kind): many[index][0] for kind, many in SERVER_VALUES.items()}
    received = {endpoint(kind): many[index][1] for kind, many in SERVER_VALUES.items()}
    return posted, received
