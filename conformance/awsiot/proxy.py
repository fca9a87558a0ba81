"""A line that breaks: a TCP proxy on loopback."""

from __future__ import annotations

import socket
import threading


class Proxy:
    """Forwards to a port of 127.0.0.1, and cuts when it is told to. With connect it is an HTTP proxy whose clients may ask for
    any host and port, and get that one: for clients that insist on port 443."""

    def __init__(self, target: int, connect: bool = False):
        self.connect = connect
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
                if self.connect:
                    _answer(near)
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


def _answer(near: socket.socket) -> None:
    """Take a CONNECT request, up to its empty line."""
    near.settimeout(10)
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        if not (more := near.recv(1)) or len(request) > 4096:
            raise OSError("no CONNECT request")
        request += more
    assert request.startswith(b"CONNECT "), request
    near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
    near.settimeout(None)


def _end(pair: tuple[socket.socket, socket.socket]) -> None:
    for one in pair:
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        one.close()
