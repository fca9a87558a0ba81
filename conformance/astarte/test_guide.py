"""What `fairlead up` prints for newcomers works when it is pasted."""

import json
import os
import subprocess
import sys
from pathlib import Path

from harness.hub import Hub

PROGRAM = Path(__file__).parents[2] / "cmd" / "fairlead" / "guide" / "astarte_device.py"


def test_the_printed_program_and_the_printed_curl(hub: Hub) -> None:
    assert PROGRAM.read_text("utf-8") in hub.log.read_text("utf-8"), "`fairlead up` has not printed the program"
    environ = {**os.environ, **hub.env}
    device = subprocess.run(
        [sys.executable, "-"], input=PROGRAM.read_text("utf-8"), env=environ, capture_output=True, text=True, timeout=60
    )
    assert device.returncode == 0, device.stderr
    said, command = device.stdout.split("\n", 1)
    assert said.endswith("has sent 21.5; to read it back:")
    read = subprocess.run(["bash", "-c", command], env=environ, capture_output=True, text=True, timeout=60)
    assert read.returncode == 0, read.stderr
    assert json.loads(read.stdout)["data"]["kitchen"]["celsius"]["value"] == 21.5
