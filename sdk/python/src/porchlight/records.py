"""What the server answers, as immutable records."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Claimable = Literal[
    "available", "away", "busy", "do_not_disturb", "in_calendar_event", "in_meeting", "presenting", "on_call", "out_of_office"
]
Status = Literal[Claimable, "offline"]


def instant(text: str | None) -> datetime | None:
    """Parses a time in the format of RFC 3339."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


@dataclass(frozen=True)
class Presence:
    """What the caller may see of a user. From a watch: the user changed, or was added."""

    user: str
    status: Status
    note: str
    since: datetime | None
    until: datetime | None
    revision: int
    asked_as: str = ""  # the e-mail address or "me" by which the user was named
    cursor: str = field(default="", compare=False)  # of the read or of the write; "" in lists and watches

    @classmethod
    def parse(cls, given: dict[str, Any], cursor: str = "") -> Presence:
        return cls(
            given["user"], given["status"], given["note"], instant(given["since"]), instant(given["until"]),
            given["revision"], given.get("asked_as", ""), cursor,
        )


@dataclass(frozen=True)
class Presences:
    """The answer to a query, in its order."""

    presences: list[Presence]
    unknown: list[str]  # as asked
    cursor: str


@dataclass(frozen=True)
class Listed:
    """A user of a list, with the presence."""

    display_name: str
    email: str
    groups: list[str]
    presence: Presence

    @classmethod
    def parse(cls, given: dict[str, Any]) -> Listed:
        return cls(given["display_name"], given["email"], given["groups"], Presence.parse(given))


@dataclass(frozen=True)
class Snapshot:
    """Of a watch: it replaces all that is known."""

    presences: list[Presence]
    unknown: list[str]  # users who do not exist, as named


@dataclass(frozen=True)
class Gone:
    """Of a watch: the user is no longer followed."""

    user: str
    reason: str  # "" if it happened while there was no connection


@dataclass(frozen=True)
class Claim:
    id: str
    source: str
    status: Status
    note: str
    since: datetime | None
    until: datetime | None
    app: str  # that made it; "" for the user's own

    @classmethod
    def parse(cls, given: dict[str, Any]) -> Claim:
        return cls(
            given["id"], given["source"], given["status"], given["note"], instant(given["since"]), instant(given["until"]),
            given["app"],
        )


@dataclass(frozen=True)
class User:
    """A user of the directory."""

    id: str
    email: str
    first_name: str
    last_name: str
    display_name: str
    department: str
    groups: list[str]
    active: bool
    role: str
    external_id: str

    @classmethod
    def parse(cls, given: dict[str, Any]) -> User:
        return cls(**{name: given[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class ZoomPresence:
    """A user's status in Zoom's words."""

    status: str
    end_time: datetime | None  # of one's own do-not-disturb
    remaining_time: int | None  # in seconds
