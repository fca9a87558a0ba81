"""The hub under test, as a process of its own; for the suites whose clients are written in Python."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def binary() -> str:
    """The built program."""
    path = Path(os.environ.get("FAIRLEAD_BIN") or REPOSITORY / "bin" / "fairlead")
    if not os.access(path, os.X_OK):
        pytest.exit(f"{path} is not an executable: build the hub first or name it in FAIRLEAD_BIN", returncode=4)
    return str(path.resolve())


def free_port() -> int:
    """A free port below the range from which the kernel picks ports for clients, so that the hub can take it again."""
    while True:
        with socket.socket() as one:
            try:
                port = random.randrange(20000, 32000)
                one.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Hub:
    """`fairlead up` on a folder and ports of its own."""

    def __init__(self, program: str, folder: Path, *options: str):
        self.program, self.data_dir, self.log, self.options = program, folder / "data", folder / "hub.log", options
        self.mqtt_port, self.https_port = free_port(), free_port()
        self.process: subprocess.Popen | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> "Hub":
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.program, "up", "--data-dir", self.data_dir, "--https-port", str(self.https_port),
                 "--mqtt-port", str(self.mqtt_port), *self.options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )
        self.cli("status", "--wait", "30s")
        return self

    def cli(self, *arguments: str) -> str:
        done = subprocess.run([self.program, *arguments, "--data-dir", str(self.data_dir)],
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"fairlead {' '.join(arguments)}: {done.stderr}\n{self.tail()}"
        return done.stdout

    def env(self, platform: str) -> dict[str, str]:
        """What `fairlead env` prints."""
        return json.loads(self.cli("env", platform, "--json"))

    def kill(self) -> None:
        """End the process as a crash does."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def restart(self, crash: bool = False) -> None:
        if crash:
            self.kill()
        else:
            assert self.stop() == 0, self.tail()
        self.start()

    def close(self) -> None:
        """Stop the hub in order and insist that nothing went wrong in it."""
        assert self.process.poll() is None, f"the hub ended during the tests:\n{self.tail()}"
        assert self.stop() == 0, self.tail()
        log = self.log.read_text("utf-8", "replace")
        assert "panic" not in log and "DATA RACE" not in log, self.tail()

    def tail(self) -> str:
        return self.log.read_text("utf-8", "replace")[-8000:]
