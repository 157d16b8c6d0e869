"""The calls by name."""

from __future__ import annotations

import json
import ssl
import time
import urllib.parse
import uuid
from datetime import datetime, timedelta
from email.message import Message
from types import TracebackType
from typing import Any, Callable, Iterator, Sequence, TypeVar

from .backoff import LONGEST_WAIT, Backoff
from .credentials import Token
from .errors import NoResponse, Problem
from .records import Claim, Claimable, Listed, Presence, Presences, Status, User, ZoomPresence, instant
from .transport import Headers, Stream, Transport
from .watch import Watch

_TEMPORARY = frozenset({429, 502, 503, 504, 507})  # the server has refused the request for now
_T = TypeVar("_T")


class Client:
    """Calls one server. A user is an id, an e-mail address or "me".

    timeout bounds each read and write of an attempt, in seconds. retry_for is for how long a
    call is repeated while the server cannot be reached or refuses it for now; 0 means never.
    context has the certificates to trust, if they are not those of the system.
    """

    def __init__(
        self, base_url: str, token: Token, *, timeout: float = 15, retry_for: float = 30, context: ssl.SSLContext | None = None
    ) -> None:
        if not token:
            raise ValueError("no access token: give a token, or ClientCredentials")
        self._transport = Transport(base_url, timeout, context)
        self._token = token
        self._retry_for = retry_for

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections. Watches end by themselves or by their own close."""
        self._transport.close()

    def presence(self, user: str, *, at_least: str = "", strong: bool = False) -> Presence:
        """Reads the presence of a user. The read sees everything up to the cursor at_least, of a
        write or of anything that was read; a strong one sees every write that was answered
        before it began."""
        answer = self.request("GET", _with_query(_path(user, "presence"), _fresh(at_least, strong)))
        return Presence.parse(answer, answer["cursor"])

    def query(self, users: Sequence[str], *, at_least: str = "", strong: bool = False) -> Presences:
        """Reads the presence of up to 10,000 users. at_least and strong are as in presence."""
        path = _with_query("/v1/presence/query", _fresh(at_least, strong))
        answer = self.request("POST", path, {"users": list(users)})
        return Presences([Presence.parse(p) for p in answer["presences"]], answer["unknown"], answer["cursor"])

    def list(
        self, *, status: Sequence[Status] = (), group: str = "", at_least: str = "", strong: bool = False
    ) -> Iterator[Listed]:
        """Lists the active users with their presence. at_least and strong are as in presence."""
        query = {"status": ",".join(status), "group": group, **_fresh(at_least, strong)}
        return map(Listed.parse, self._all("/v1/presence", query, "presences"))

    def set_status(
        self, user: str, status: Claimable, *, note: str | None = None,
        until: datetime | None = None, duration: float | timedelta | None = None,
    ) -> Presence:
        """Sets the user's own choice, which takes precedence over most claims. duration is in
        seconds from now, instead of until."""
        return self.set_claim(user, "manual", source="manual", status=status, note=note, until=until, duration=duration)

    def clear_status(self, user: str) -> str:
        """Returns the cursor of the write, as do end_claim and clear_note."""
        return self.end_claim(user, "manual")

    def claims(self, user: str) -> Iterator[Claim]:
        return map(Claim.parse, self._all(_path(user, "claims"), {}, "claims"))

    def set_claim(
        self, user: str, id: str, *, source: str, status: Claimable, note: str | None = None,
        since: datetime | None = None, until: datetime | None = None, duration: float | timedelta | None = None,
    ) -> Presence:
        """Makes a claim, or replaces the one with the same id. Returns what the user then shows."""
        if isinstance(duration, timedelta):
            duration = duration.total_seconds()
        seconds = None if duration is None else round(duration)
        body = {
            "source": source, "status": status, "note": note, "since": _text(since), "until": _text(until),
            "duration_seconds": seconds,
        }
        answer, cursor = self._write("PUT", _path(user, "claims", id), body)
        return Presence.parse(answer["presence"], cursor)

    def end_claim(self, user: str, id: str) -> str:
        return self._write("DELETE", _path(user, "claims", id))[1]

    def set_note(self, user: str, text: str, *, until: datetime | None = None) -> Presence:
        """Sets the user's own note, which is shown if the winning claim has none."""
        answer, cursor = self._write("PUT", _path(user, "note"), {"text": text, "until": _text(until)})
        return Presence.parse(answer["presence"], cursor)

    def clear_note(self, user: str) -> str:
        return self._write("DELETE", _path(user, "note"))[1]

    def user(self, user: str) -> User:
        """Reads a user of the directory, such as the one with an e-mail address."""
        return User.parse(self.request("GET", _path(user)))

    def zoom_status(self, user: str) -> ZoomPresence:
        """Zoom's GET presence_status."""
        answer = self.request("GET", _zoom(user))
        return ZoomPresence(answer["status"], instant(answer.get("end_time")), answer.get("remaining_time"))

    def set_zoom_status(self, user: str, status: str, *, minutes: int | None = None) -> None:
        """Zoom's PUT presence_status, in Zoom's words. minutes is for do-not-disturb."""
        self.request("PUT", _zoom(user), {"status": status, "duration": minutes})

    def watch(
        self, *, users: Sequence[str] = (), contacts: bool = False, everyone: bool = False, group: str = "",
        cursor: str = "", longest_wait: float = LONGEST_WAIT,
    ) -> Watch:
        """Follows users. See Watch."""
        query = {"users": ",".join(users), "contacts": _flag(contacts), "everyone": _flag(everyone), "group": group}
        return Watch(self._open_stream, query, cursor, longest_wait)

    def request(self, method: str, path: str, body: dict[str, Any] | None = None, headers: Headers | None = None) -> Any:
        """Sends any request, and returns the JSON of the answer. It repeats what is refused for
        now or gets no answer. A key makes the server carry out a write once, however often it
        comes. Members of the body that are None are left out."""
        return self._exchange(method, path, body, headers)[0]

    def _write(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[Any, str]:
        """The answer of a write to a user's claims or note, and its cursor."""
        answer, headers = self._exchange(method, path, body)
        return answer, headers.get("Presence-Cursor", "")

    def _exchange(
        self, method: str, path: str, body: dict[str, Any] | None = None, headers: Headers | None = None
    ) -> tuple[Any, Message]:
        given = {"Accept": "application/json", **(headers or {})}
        if method != "GET":
            given.setdefault("Idempotency-Key", uuid.uuid4().hex)
        data = None
        if body is not None:
            data = json.dumps({name: value for name, value in body.items() if value is not None}).encode()
            given["Content-Type"] = "application/json"

        def attempt(token: Headers) -> tuple[Any, Message]:
            return self._transport.exchange(method, path, data, {**given, **token})

        backoff = Backoff()
        deadline = time.monotonic() + self._retry_for
        while True:
            try:
                return self._authorized(attempt)
            except (Problem, NoResponse) as err:
                wait = backoff.next(err.retry_after if isinstance(err, Problem) else 0)
                lasting = err.status not in _TEMPORARY if isinstance(err, Problem) else not err.temporary
                if lasting or time.monotonic() + wait > deadline:
                    raise
            time.sleep(wait)

    def _open_stream(self, path: str) -> Stream:
        return self._authorized(lambda token: self._transport.stream(path, {"Accept": "text/event-stream", **token}))

    def _authorized(self, attempt: Callable[[Headers], _T]) -> _T:
        """Makes an attempt, and another one if the server refuses the token and there is another."""
        token = self._token if isinstance(self._token, str) else self._token(None)
        try:
            return attempt({"Authorization": "Bearer " + token})
        except Problem as err:
            if err.status != 401 or isinstance(self._token, str):
                raise
            other = self._token(token)
            if other == token:
                raise
        return attempt({"Authorization": "Bearer " + other})

    def _all(self, path: str, query: dict[str, str], member: str) -> Iterator[dict[str, Any]]:
        where: dict[str, str] = {}
        while True:
            page = self.request("GET", _with_query(path, {**query, **where}))
            yield from page[member]
            if page.get("next_page_token"):
                where = {"page_token": page["next_page_token"]}
            elif page.get("next"):
                where = {"after": page["next"]}
            else:
                return


def _with_query(path: str, query: dict[str, str]) -> str:
    given = {name: value for name, value in query.items() if value}
    return path + ("?" + urllib.parse.urlencode(given) if given else "")


def _fresh(at_least: str, strong: bool) -> dict[str, str]:
    return {"at_least": at_least, "consistency": "strong" if strong else ""}


def _path(user: str, *rest: str) -> str:
    return "/v1/users/" + "/".join(urllib.parse.quote(part, safe="") for part in (user, *rest))


def _zoom(user: str) -> str:
    return f"/v2/users/{urllib.parse.quote(user, safe='')}/presence_status"


def _flag(value: bool) -> str:
    return "true" if value else ""


def _text(at: datetime | None) -> str | None:
    """A time without a zone is local, as everywhere in Python."""
    return None if at is None else at.astimezone().isoformat(timespec="milliseconds")
