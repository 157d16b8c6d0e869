"""Watches everyone, and sets the notes that standard input asks for, over a connection with
faults. It prints one line of JSON for each event, and for each note that was set."""

import json
import os
import sys
import threading
from typing import Any

from porchlight import Client, Gone, Presence, Snapshot

client = Client(os.environ["URL"], os.environ["TOKEN"], retry_for=120)
watch = client.watch(everyone=True, longest_wait=0.05)


def show(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def fields(presence: Presence) -> dict[str, Any]:
    return {"user": presence.user, "note": presence.note, "revision": presence.revision}


def write() -> None:
    try:
        for line in sys.stdin:
            asked = json.loads(line)
            client.set_note(asked["user"], asked["note"])
            show({"type": "written", "note": asked["note"]})
    finally:
        watch.close()


threading.Thread(target=write).start()
for event in watch:
    match event:
        case Snapshot():
            show({"type": "snapshot", "presences": [fields(p) for p in event.presences]})
        case Presence():
            show({"type": "presence", **fields(event)})
        case Gone():
            show({"type": "gone", "user": event.user})
