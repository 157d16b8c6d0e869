"""A watch: the presence of users and its changes, over server-sent events.

docs/streaming.md describes the protocol.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
from types import TracebackType
from typing import Any, Callable, Iterator, Union

from .backoff import Backoff
from .errors import NoResponse, Problem
from .records import Gone, Presence, Snapshot
from .transport import BROKEN, Stream

Event = Union[Snapshot, Presence, Gone]
Frame = dict[str, Any]


class Watch:
    """An iterator of what happens to users from now on.

    Each event is a Snapshot, which replaces all that is known; a Presence, when a user changed
    or was added; or Gone. The watch reconnects and resumes by itself, until close is called,
    or the server refuses it for good: then the Problem is raised. A certificate that cannot
    be verified ends it with NoResponse. It can be iterated once.
    """

    cursor: str
    """Where another watch of the same users can resume. It covers every event before the
    one that was taken last."""

    def __init__(self, open_stream: Callable[[str], Stream], query: dict[str, str], cursor: str, longest_wait: float) -> None:
        self.cursor = cursor
        self._open = open_stream
        self._query = query
        self._backoff = Backoff(longest_wait)
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._stream: Stream | None = None
        self._revisions: dict[str, int] = {}  # by user: a version can come twice
        self._names: dict[str, str] = {}  # the user of each e-mail address that was asked for
        self._parts: list[Frame] = []  # of a snapshot that is not complete
        self._events = self._run()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        return next(self._events)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the iteration, also while another thread waits in it."""
        self._closed.set()
        with self._lock:
            if self._stream is not None:
                self._stream.interrupt()

    def _run(self) -> Iterator[Event]:
        asked = fixed_wait = 0.0
        while not self._closed.is_set():
            opened = time.monotonic()
            stable_after = float("inf")  # seconds after which the connection was good
            asked = fixed_wait = 0.0
            self._parts = []
            try:
                for frame in self._frames():
                    if frame["type"] == "hello":
                        stable_after = frame["ping_seconds"]
                    elif frame["type"] == "close":
                        fixed_wait = _wait(frame)
                    yield from self._handle(frame)
                    if frame.get("cursor") and not frame.get("more"):
                        self.cursor = frame["cursor"]  # after the events were handled
            except (Problem, NoResponse) as err:  # of the stream, or of the request for a token
                if not err.temporary:
                    raise
                asked = err.retry_after if isinstance(err, Problem) else 0
            except BROKEN:
                pass
            if time.monotonic() - opened >= stable_after:
                self._backoff.reset()
            self._closed.wait(fixed_wait or self._backoff.next(asked))

    def _frames(self) -> Iterator[Frame]:
        """The frames of one connection."""
        query = {name: value for name, value in {**self._query, "cursor": self.cursor}.items() if value}
        stream = self._open("/v1/stream?" + urllib.parse.urlencode(query))
        with self._lock:
            self._stream = stream
        try:
            if self._closed.is_set():
                return
            data: list[str] = []
            for line in stream.lines():
                if line.startswith("data:"):
                    data.append(line[len("data:"):])
                elif line == "" and data:
                    frame: Frame = json.loads("\n".join(data))
                    data = []
                    if frame["type"] == "hello":
                        stream.expect_within(2 * frame["ping_seconds"])
                    yield frame
        finally:
            with self._lock:
                self._stream = None
            stream.close()

    def _handle(self, frame: Frame) -> Iterator[Event]:
        kind = frame["type"]
        if kind == "reset":  # a complete snapshot follows
            self.cursor = ""
            self._revisions.clear()
        elif kind == "snapshot":
            yield from self._partial(frame) if frame.get("partial") else self._complete(frame)
        elif kind == "presence":
            yield from self._presence(frame)
        elif kind == "gone":
            yield self._gone(frame["user"], frame["reason"])
        elif kind == "error":
            raise Problem(400, {"type": frame["code"], "detail": frame["detail"]})

    def _complete(self, frame: Frame) -> Iterator[Event]:
        self._parts.append(frame)
        if frame.get("more"):
            return
        presences = [Presence.parse(p) for part in self._parts for p in part.get("presences") or ()]
        unknown = [name for part in self._parts for name in part.get("unknown") or ()]
        self._parts = []
        self._revisions = {p.user: p.revision for p in presences}
        self._names.update((p.asked_as, p.user) for p in presences if p.asked_as)
        yield Snapshot(presences, unknown)

    def _partial(self, frame: Frame) -> Iterator[Event]:
        for user in frame.get("gone") or ():
            yield self._gone(user, "")
        for name in frame.get("unknown") or ():
            user = self._names.get(name, name)
            if user in self._revisions:
                yield self._gone(user, "deleted")
        for given in frame.get("presences") or ():
            yield from self._presence(given)

    def _presence(self, given: Frame) -> Iterator[Event]:
        presence = Presence.parse(given)
        if presence.asked_as:
            self._names[presence.asked_as] = presence.user
        if self._revisions.get(presence.user, -1) < presence.revision:
            self._revisions[presence.user] = presence.revision
            yield presence

    def _gone(self, user: str, reason: str) -> Gone:
        self._revisions.pop(user, None)
        return Gone(user, reason)


def _wait(frame: Frame) -> float:
    """What a close frame asks for. A token that is no longer valid is refused at the next
    attempt, with the reason."""
    if frame["close_code"] > 3500:
        raise Problem(403, {"type": frame["reason"], "detail": f"The server closed the stream ({frame['reason']})."})
    return float(frame.get("retry_ms") or 0) / 1000
