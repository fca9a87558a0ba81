"""Python values as JSON without losing their type.

The device program and the tests are two processes that talk in JSON lines. Plain JSON would turn bytes and datetimes into
text and -0.0 or 2**63 into something else, and a test that wants to know the exact Python type could not see it.
"""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any


def encode(value: Any) -> dict:
    """Return a JSON object with one member whose name is the exact type of value."""
    kind = type(value)
    if value is None:
        return {"none": True}
    if kind is bool:
        return {"bool": value}
    if kind is int:
        return {"int": str(value)}
    if kind is float:
        return {"float": value.hex()}
    if kind is str:
        return {"str": value}
    if kind is bytes:
        return {"bytes": base64.b64encode(value).decode("ascii")}
    if kind is datetime:
        return {"datetime": value.isoformat()}
    if kind is list:
        return {"list": [encode(item) for item in value]}
    if kind is dict:
        return {"dict": {key: encode(item) for key, item in value.items()}}
    return {"other": f"{kind.__module__}.{kind.__qualname__} {value!r}"}


def decode(tagged: dict) -> Any:
    """Reverse encode."""
    ((kind, data),) = tagged.items()
    if kind == "none":
        return None
    if kind in ("bool", "str"):
        return data
    if kind == "int":
        return int(data)
    if kind == "float":
        return float.fromhex(data)
    if kind == "bytes":
        return base64.b64decode(data)
    if kind == "datetime":
        return datetime.fromisoformat(data)
    if kind == "list":
        return [decode(item) for item in data]
    if kind == "dict":
        return {key: decode(item) for key, item in data.items()}
    raise AssertionError(f"a value of a type that no test expects: {data}")
