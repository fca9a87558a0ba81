"""Waiting for something to become true: always a condition and a deadline, never a fixed sleep."""

from __future__ import annotations

import time
from typing import Callable, TypeVar

T = TypeVar("T")

# How long anything that has to happen may take. Generous, because CI machines are slow and a passing test never uses it up.
DEADLINE = 60.0

# How long a thing that must *not* happen is watched for. Every use costs this time, so tests prefer
# to prove the absence by something that would come later in order (see raw.RawDevice.barrier).
QUIET = 0.5


class Timeout(AssertionError):
    """The condition did not become true in time."""


def until(condition: Callable[[], T], what: str, timeout: float = DEADLINE, interval: float = 0.02) -> T:
    """Return the first truthy value of condition(); raise Timeout, naming what was awaited, after timeout seconds."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise Timeout(f"waited {timeout:g} s for {what}; last value was {value!r}")
        time.sleep(interval)


def until_equal(read: Callable[[], T], want: T, what: str, timeout: float = DEADLINE) -> None:
    """Wait until read() equals want; the error shows the last value that was read."""
    end = time.monotonic() + timeout
    while True:
        got = read()
        if got == want:
            return
        if time.monotonic() >= end:
            raise Timeout(f"waited {timeout:g} s for {what}:\n got {got!r}\nwant {want!r}")
        time.sleep(0.02)
