"""A running device program, from the test's side."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Callable

from astarte.device.database import AstarteDatabaseSQLite

from harness import tagged, waiting
from harness.rest import Identity

PROGRAM = Path(__file__).resolve().parent.parent / "device_program.py"


class DeviceError(Exception):
    """The SDK raised an exception in the device program: its type, its text, and the answer's body if it carries one."""

    def __init__(self, error: dict):
        super().__init__(f"{error['type']}: {error['text']}")
        self.type = error["type"].rsplit(".", 1)[-1]
        self.text = error["text"]
        self.body = error["body"]


class Device:
    """One device program. Events are kept in order; waiting for one looks from the last mark on."""

    def __init__(self, identity: Identity, environ: dict[str, str], log: Path):
        self.identity = identity
        self.log = log
        self.events: list[dict] = []
        self.answers: dict[int, dict] = {}
        self.changed = threading.Condition()
        self.ended = False
        self.number = 0
        config = {
            "device_id": identity.device_id,
            "realm": identity.realm,
            "secret": identity.secret,
            "pairing_url": identity.pairing_url,
            "folder": str(identity.folder),
        }
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM), json.dumps(config)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environ,
                start_new_session=True,
            )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.wait("started")

    @property
    def id(self) -> str:
        """The device id."""
        return self.identity.device_id

    def _read(self) -> None:
        for line in self.process.stdout:
            if not line.endswith(b"\n"):
                break  # killed in the middle of a line
            message = json.loads(line)
            with self.changed:
                if "id" in message:
                    self.answers[message["id"]] = message
                else:
                    self.events.append(message)
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def do(self, command: str, timeout: float = 60, **arguments: Any) -> Any:
        """Send a command and return its result; an exception of the SDK becomes DeviceError."""
        self.number += 1
        number = self.number
        line = json.dumps({"id": number, "do": command, **arguments}) + "\n"
        self.process.stdin.write(line.encode("utf-8"))
        self.process.stdin.flush()
        with self.changed:
            self.changed.wait_for(lambda: number in self.answers or self.ended, timeout)
            assert number in self.answers, f"no answer to {command}:\n{self.log_tail()}"
            answer = self.answers.pop(number)
        if "error" in answer:
            raise DeviceError(answer["error"])
        return answer["result"]

    def mark(self) -> int:
        """The point in the events from which a later wait is to look."""
        with self.changed:
            return len(self.events)

    def wait(self, event: str, since: int = 0, timeout: float = waiting.DEADLINE, **fields: Any) -> dict:
        """Wait for an event with these fields and return it."""
        return self.wait_where(
            lambda e: e["event"] == event and all(e.get(key) == value for key, value in fields.items()),
            f"event {event} {fields or ''}",
            since,
            timeout,
        )

    def wait_where(
        self, wanted: Callable[[dict], bool], what: str, since: int = 0, timeout: float = waiting.DEADLINE
    ) -> dict:
        """Wait for the first event after the mark since for which wanted is true; nothing comes once the SDK has died."""
        end = time.monotonic() + timeout
        with self.changed:
            while True:
                for event in self.events[since:]:
                    if wanted(event):
                        return event
                left = end - time.monotonic()
                dead = any(event["event"] == "thread_died" for event in self.events)
                if left <= 0 or self.ended or dead:
                    raise waiting.Timeout(
                        f"waited for {what} at device {self.id}; since then came {self.events[since:]}\n{self.log_tail()}"
                    )
                self.changed.wait(left)

    def seen(self, event: str, since: int = 0) -> list[dict]:
        """The events of a kind that have come since the mark."""
        with self.changed:
            return [e for e in self.events[since:] if e["event"] == event]

    def connect(self) -> "Device":
        """Connect, and return when the SDK has called on_connected and its handshake messages are acknowledged."""
        since = self.mark()
        self.do("connect")
        self.wait("connected", since)
        self.settle()
        return self

    def disconnect(self) -> None:
        """Disconnect, and return when the SDK has called on_disconnected for it."""
        since = self.mark()
        self.do("disconnect")
        self.wait("disconnected", since, rc=0)

    def is_connected(self) -> bool:
        """What the SDK says of itself."""
        return self.do("is_connected")

    def add_interface(self, definition: dict) -> None:
        self.do("add_interface", definition=definition)

    def remove_interface(self, name: str) -> None:
        self.do("remove_interface", name=name)

    def send(self, interface: str, path: str, value: Any, timestamp: datetime | None = None) -> None:
        self._send("send", interface, path, value, timestamp)

    def send_aggregate(self, interface: str, path: str, value: dict, timestamp: datetime | None = None) -> None:
        self._send("send_aggregate", interface, path, value, timestamp)

    def _send(self, command: str, interface: str, path: str, value: Any, timestamp: datetime | None) -> None:
        when = timestamp.isoformat() if timestamp else None
        self.do(command, interface=interface, path=path, value=tagged.encode(value), timestamp=when)

    def unset_property(self, interface: str, path: str) -> None:
        self.do("unset_property", interface=interface, path=path)

    def settle(self, timeout: float = waiting.DEADLINE) -> None:
        """Wait until every message of QoS 1 and 2 is acknowledged: from then on AppEngine has to show it."""
        waiting.until(lambda: not self.do("outstanding"), "the hub to acknowledge everything", timeout)

    def data(self, interface: str, path: str, since: int = 0, timeout: float = waiting.DEADLINE) -> Any:
        """Wait for the next data on this path and return the Python value that the SDK's callback got."""
        event = self.wait("data", since, timeout, interface=interface, path=path)
        return tagged.decode(event["value"])

    def acknowledged(self, interface: str, path: str) -> list[Any]:
        """The values sent there whose PUBACK or PUBCOMP has arrived, in that order."""
        topic = f"{self.identity.realm}/{self.id}/{interface}{path}"
        return [tagged.decode(e["value"]) for e in self.seen("acknowledged") if e["topic"] == topic]

    def repeatable(self, interface: str, path: str) -> set[Any]:
        """The values sent there that were not acknowledged when a connection ended: the client may have sent them twice."""
        topic = f"{self.identity.realm}/{self.id}/{interface}{path}"
        lost = [m for e in self.seen("disconnected") for m in e["outstanding"]]
        return {tagged.decode(m["value"]) for m in lost if m["topic"] == topic}

    def assert_alive(self) -> None:
        """Fail if the SDK's network thread has died, which the SDK itself does not report."""
        dead = self.seen("thread_died")
        assert not dead, f"the SDK's network thread died of {dead}\n{self.log_tail()}"

    def properties(self) -> dict[tuple[str, str], Any]:
        """What the SDK keeps in its property store, read with the SDK's own class."""
        rows = AstarteDatabaseSQLite(self.identity.database).load_all_props()
        return {(interface, path): value for interface, _major, path, value in rows}

    def kill(self) -> None:
        """kill -9; events that were written before are still read."""
        self.process.kill()
        self.process.wait()
        self.reader.join(waiting.DEADLINE)
        self.process.stdin.close()
        self.process.stdout.close()

    def close(self) -> None:
        """End the program if it runs."""
        if self.process.poll() is None:
            self.kill()

    def log_tail(self, size: int = 3000) -> str:
        """The end of what the program has logged."""
        return self.log.read_bytes()[-size:].decode("utf-8", "replace")
