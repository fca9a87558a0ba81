"""What the Astarte conformance tests stand on: the hub as a process, its REST APIs, device programs, raw MQTT."""
