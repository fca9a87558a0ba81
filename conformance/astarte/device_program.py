"""A device: the official SDK in a process of its own, told what to do over standard input.

One JSON object a line in each direction. A command is {"id": 1, "do": "send", ...}; its answer {"id": 1, "result": ...} or
{"id": 1, "error": {"type": ..., "text": ...}}. What happens by itself is {"event": ...}: connected, disconnected, data,
acknowledged (PUBACK or PUBCOMP has arrived), thread_died. The program ends with its standard input.

A process of its own, because a test has to be able to kill it, and because the SDK reads SSL_CERT_FILE and
REQUESTS_CA_BUNDLE from its environment. The SDK itself is not touched; only the public on_publish callback of the paho
client inside it is set, since the SDK does not say when a message was acknowledged.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
import traceback
from datetime import datetime
from typing import Any

import bson
from astarte.device import DeviceMqtt
from astarte.device.exceptions import DeviceDisconnectedError

from harness import tagged


class Program:
    """The device and what it tells."""

    def __init__(self, config: dict):
        self.output = threading.Lock()
        self.load: threading.Thread | None = None
        self.loading = False
        self.accepted: list[int] = []
        self.device = DeviceMqtt(
            config["device_id"],
            config["realm"],
            config["secret"],
            config["pairing_url"],
            config["folder"],
        )
        self.device.set_events_callbacks(
            on_connected=lambda _device: self.tell(event="connected"),
            on_data_received=self.on_data,
            on_disconnected=self.on_disconnected,
        )
        self.paho = self.device._DeviceMqtt__mqtt_client
        self.paho.on_publish = self.on_publish
        threading.excepthook = self.on_thread_death

    def tell(self, **line: Any) -> None:
        """Write one line, whole, whatever thread it comes from."""
        text = json.dumps(line) + "\n"
        with self.output:
            sys.stdout.write(text)
            sys.stdout.flush()

    def describe(self, message: Any) -> dict:
        """A message that the SDK has handed to paho."""
        try:
            value = tagged.encode(bson.loads(message.payload)["v"])
        except Exception:  # a handshake message or an unset: not BSON
            value = None
        return {"topic": message.topic, "qos": message.qos, "value": value}

    def outstanding(self) -> list[dict]:
        """Messages of QoS 1 and 2 that are not acknowledged yet, sent or waiting for their turn."""
        return [self.describe(message) for message in list(self.paho._out_messages.values())]

    def on_publish(self, _client: Any, _userdata: Any, mid: int) -> None:
        message = self.paho._out_messages.get(mid)
        if message is not None and message.qos > 0:  # at QoS 0 the callback only says that it was written
            self.tell(event="acknowledged", **self.describe(message))

    def on_data(self, _device: DeviceMqtt, interface: str, path: str, payload: Any) -> None:
        self.tell(event="data", interface=interface, path=path, value=tagged.encode(payload))

    def on_disconnected(self, _device: DeviceMqtt, rc: int) -> None:
        self.tell(event="disconnected", rc=int(rc), outstanding=self.outstanding())

    def on_thread_death(self, what: threading.ExceptHookArgs) -> None:
        text = "".join(traceback.format_exception(what.exc_type, what.exc_value, what.exc_traceback))
        logging.error("thread died: %s", text)
        kind = f"{what.exc_type.__module__}.{what.exc_type.__qualname__}"
        self.tell(event="thread_died", type=kind, text=str(what.exc_value))

    def do_add_interface(self, definition: dict) -> None:
        self.device.add_interface_from_json(definition)

    def do_remove_interface(self, name: str) -> None:
        self.device.remove_interface(name)

    def do_connect(self) -> None:
        self.device.connect()

    def do_disconnect(self) -> None:
        self.device.disconnect()

    def do_is_connected(self) -> bool:
        return self.device.is_connected()

    def do_send(self, interface: str, path: str, value: dict, timestamp: str | None = None) -> None:
        when = datetime.fromisoformat(timestamp) if timestamp else None
        self.device.send(interface, path, tagged.decode(value), when)

    def do_send_many(self, interface: str, path: str, values: list[int]) -> None:
        for value in values:
            self.device.send(interface, path, value)

    def do_send_aggregate(self, interface: str, path: str, value: dict, timestamp: str | None = None) -> None:
        when = datetime.fromisoformat(timestamp) if timestamp else None
        self.device.send_aggregate(interface, path, tagged.decode(value), when)

    def do_unset_property(self, interface: str, path: str) -> None:
        self.device.unset_property(interface, path)

    def do_outstanding(self) -> list[dict]:
        return self.outstanding()

    def do_start_load(self, targets: list[list], interval: float, first: int = 1) -> None:
        """Send first, first+1, first+2, ... to every target until it is stopped.

        A target is (interface, path), or (interface, path, n) to send only every n-th value there: the SDK writes each
        property into its own database first, which would otherwise set the pace of everything.
        """
        self.accepted = []
        self.loading = True
        self.load = threading.Thread(target=self.run_load, args=(targets, interval, first), daemon=True)
        self.load.start()

    def run_load(self, targets: list[list[str]], interval: float, value: int) -> None:
        while self.loading:
            for interface, path, *every in targets:
                while self.loading and not (every and value % every[0]):
                    try:
                        self.device.send(interface, path, value)
                        break
                    except DeviceDisconnectedError:
                        time.sleep(0.02)
            if self.loading:
                self.accepted.append(value)
                value += 1
            time.sleep(interval)

    def do_stop_load(self) -> list[int]:
        """End the load and return the values that the SDK accepted for every target."""
        self.loading = False
        self.load.join(30)
        return self.accepted

    def serve(self) -> None:
        """Obey until standard input ends."""
        for line in sys.stdin:
            command = json.loads(line)
            number, name = command.pop("id"), command.pop("do")
            try:
                result = getattr(self, f"do_{name}")(**command)
            except Exception as error:
                kind = f"{type(error).__module__}.{type(error).__qualname__}"
                self.tell(id=number, error={"type": kind, "text": str(error), "body": getattr(error, "body", None)})
            else:
                self.tell(id=number, result=result)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    program = Program(json.loads(sys.argv[1]))
    program.tell(event="started")
    program.serve()
    os._exit(0)  # paho's thread is not a daemon and would keep the process


if __name__ == "__main__":
    main()
