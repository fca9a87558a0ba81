"""The values of these tests are those of the captured vectors: needs no hub."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import bson
import pytest

from harness.values import cases

VECTORS = Path(__file__).resolve().parents[2] / "testdata" / "vectors" / "astarte" / "bson.json"


def vectors() -> dict[str, str]:
    """The captured payloads of individual samples, by name."""
    rows = json.loads(VECTORS.read_text("utf-8"))
    return {row["name"]: row["hex"] for row in rows if row["name"].startswith("individual_")}


def test_every_captured_boundary_value_is_among_the_tested_values():
    assert {f"individual_{case.name}" for case in cases()} == set(vectors())


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_pinned_codec_encodes_value_to_the_captured_bytes(case):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a datetime without a zone is one of the cases
        assert bson.dumps({"v": case.value}).hex() == vectors()[f"individual_{case.name}"]
