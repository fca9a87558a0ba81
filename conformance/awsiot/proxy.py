"""A line that breaks: a TCP proxy on loopback."""

from __future__ import annotations

import socket
import threading


class Proxy:
    """Forwards to a port of 127.0.0.1, and cuts when it is told to."""

    def __init__(self, target: int):
        self.target, self._pairs, self._lock = target, set(), threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port, self._up, self.accepted = self._listener.getsockname()[1], True, 0
        threading.Thread(target=self._accept, daemon=True).start()

    def down(self) -> None:
        """Cut every connection, and each new one, until up is called."""
        with self._lock:
            self._up = False
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            _end(pair)

    def up(self) -> None:
        with self._lock:
            self._up = True

    def cut(self) -> None:
        """Cut every connection; new ones get through."""
        self.down()
        self.up()

    def close(self) -> None:
        self._listener.close()
        self.down()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target), timeout=10)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            pair = (near, far)
            with self._lock:
                up = self._up
                if up:
                    self._pairs.add(pair)
                    self.accepted += 1
            if not up:
                _end(pair)
                continue
            for source, sink in (pair, pair[::-1]):
                threading.Thread(target=self._pump, args=(source, sink, pair), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, pair: tuple) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        with self._lock:
            self._pairs.discard(pair)
        _end(pair)


def _end(pair: tuple[socket.socket, socket.socket]) -> None:
    for one in pair:
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        one.close()
