"""The hub under test: the built fairlead binary as a process of its own."""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import random
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

from harness import waiting
from harness.rest import Api, Realm, mint

# Descriptors 3 and 4 are where the LISTEN_FDS protocol puts the first two sockets. The shell replaces itself by the hub,
# so $$ is the hub's own process id, which LISTEN_PID has to name.
TAKE_SOCKETS = (
    'exec 3<&"$1" 4<&"$2"; eval "exec $1<&- $2<&-"; shift 2; '
    "export LISTEN_FDS=2 LISTEN_FDNAMES=mqtt:https LISTEN_PID=$$; "
    'exec "$0" "$@"'
)

_running: set[subprocess.Popen] = set()


@atexit.register
def _kill_leftovers() -> None:
    for process in list(_running):
        process.kill()


def _listener(avoid: set[int]) -> socket.socket:
    """A listening socket on a free port of 127.0.0.1 below the range from which the kernel picks ports for clients.

    A client that tries again and again to connect to a closed port of its own machine may get that very port as its
    source and connect to itself; the hub could then not start again.
    """
    for _ in range(200):
        port = random.randrange(20000, 32000)
        if port in avoid:
            continue
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen(128)
        except OSError:
            listener.close()
            continue
        return listener
    raise RuntimeError("no free port between 20000 and 31999 on 127.0.0.1")


class Hub:
    """One hub: a data folder, two ports, and at most one process at a time.

    With hold_sockets the test's process listens on both ports itself and hands the sockets to every hub process it
    starts, as a service manager does; clients that connect while no hub runs wait in the backlog.
    """

    def __init__(self, binary: str, folder: Path, hold_sockets: bool = False):
        self.binary = binary
        self.data_dir = folder / "data"
        self.log = folder / "hub.log"
        self.env: dict[str, str] = {}
        self.process: subprocess.Popen | None = None
        listeners = [_listener(set())]
        listeners.append(_listener({listeners[0].getsockname()[1]}))
        self.mqtt_port, self.https_port = (one.getsockname()[1] for one in listeners)
        self.held: list[int] = []
        for one in listeners:
            if hold_sockets:
                # far from the 3 and 4 of the protocol, so that the shell can put them there in any order
                self.held.append(fcntl.fcntl(one.fileno(), fcntl.F_DUPFD_CLOEXEC, 20))
            one.close()
        folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> "Hub":
        """Start a process and return once it says that it is ready."""
        assert self.process is None, "this hub runs already"
        command = [self.binary, "up", "--data-dir", str(self.data_dir), "--listen", "127.0.0.1"]
        command += ["--https-port", str(self.https_port), "--mqtt-port", str(self.mqtt_port)]
        if self.held:
            command = ["bash", "-c", TAKE_SOCKETS, command[0], *map(str, self.held), *command[1:]]
        environ = {key: value for key, value in os.environ.items() if not key.startswith("LISTEN_")}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environ,
                pass_fds=self.held,
                start_new_session=True,
            )
        _running.add(self.process)
        self._await_ready()
        if not self.env:
            self.env = self._read_env()
        return self

    def _await_ready(self) -> None:
        status = subprocess.Popen(
            [self.binary, "status", "--data-dir", str(self.data_dir), "--wait", "30s"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            waiting.until(
                lambda: status.poll() is not None or self.process.poll() is not None,
                "`fairlead status --wait 30s` to return",
                timeout=40,
            )
            assert self.process.poll() is None, f"the hub ended with {self.process.returncode}:\n{self.log_tail()}"
            assert status.returncode == 0, (
                f"`fairlead status` ended with {status.returncode}: {status.stdout.read()}\n{self.log_tail()}"
            )
        finally:
            if status.poll() is None:
                status.kill()
            status.wait()
            status.stdout.close()

    def _read_env(self) -> dict[str, str]:
        told = subprocess.run(
            [self.binary, "env", "astarte", "--data-dir", str(self.data_dir), "--json"],
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert told.returncode == 0, f"`fairlead env astarte --json` ended with {told.returncode}: {told.stderr}"
        return json.loads(told.stdout)

    def stop(self) -> None:
        """Stop the process in order, as a service manager would, and insist on exit status 0."""
        self.terminate()
        self.wait_stopped()

    def terminate(self) -> None:
        """Ask the process to stop in order, without waiting for it."""
        assert self.alive(), f"the hub does not run:\n{self.log_tail()}"
        self.process.send_signal(signal.SIGTERM)

    def wait_stopped(self) -> None:
        """Wait for the end of a process that was asked to stop."""
        process, self.process = self.process, None
        _running.discard(process)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the hub did not stop within 60 s of SIGTERM:\n{self.log_tail()}") from None
        assert process.returncode == 0, f"the hub ended with {process.returncode} on SIGTERM:\n{self.log_tail()}"

    def kill(self) -> None:
        """kill -9: nothing in the process can react."""
        assert self.alive(), f"the hub does not run:\n{self.log_tail()}"
        process, self.process = self.process, None
        _running.discard(process)
        process.kill()
        process.wait()

    def close(self) -> None:
        """End whatever is left, for the clean-up after a test."""
        if self.process is not None:
            _running.discard(self.process)
            self.process.kill()
            self.process.wait()
            self.process = None
        for descriptor in self.held:
            os.close(descriptor)
        self.held = []

    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def log_tail(self, size: int = 6000) -> str:
        """The end of what all processes of this hub have printed."""
        if not self.log.exists():
            return ""
        return self.log.read_bytes()[-size:].decode("utf-8", "replace")

    def client_env(self) -> dict[str, str]:
        """The environment of a device program: what `fairlead env` says about trust, and no proxy in between."""
        keep = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
            keep[name] = self.env[name]
        return keep

    @property
    def ca(self) -> str:
        """The file with the hub's root certificate."""
        return self.env["FAIRLEAD_CA"]

    def realm(self) -> Realm:
        """The realm that `fairlead up` made for development."""
        key = Path(self.env["ASTARTE_REALM_PRIVATE_KEY"]).read_text("ascii")
        return Realm(self, self.env["ASTARTE_REALM"], key)

    def housekeeping(self, token: str | None = None, **claims: Any) -> Api:
        """The Housekeeping API, by default with a token that may do everything there."""
        key = Path(self.env["ASTARTE_HOUSEKEEPING_PRIVATE_KEY"]).read_text("ascii")
        if token is None:
            token = mint(key, **(claims or {"a_ha": [".*::.*"]}))
        return Api(self.env["ASTARTE_HOUSEKEEPING_URL"] + "/v1", self.ca, token)
