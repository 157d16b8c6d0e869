"""A program that uses every call of the Python SDK. mypy --strict checks it; then it runs
against the demo."""

import os
import threading
from datetime import datetime, timedelta, timezone

from porchlight import Client, ClientCredentials, Event, Gone, NoResponse, Presence, Problem, Snapshot

url, token = os.environ["PORCHLIGHT_URL"], os.environ["PORCHLIGHT_TOKEN"]
credentials = ClientCredentials(
    url, os.environ["PORCHLIGHT_ACCOUNT_ID"], os.environ["PORCHLIGHT_CLIENT_ID"], os.environ["PORCHLIGHT_CLIENT_SECRET"]
)
bruno = "bruno.castellanos@example.com"

with Client(url, credentials, timeout=60) as client:
    # Statuses, notes and claims.
    shown: Presence = client.set_status(bruno, "busy", note="Writing", duration=timedelta(minutes=90))
    assert shown.status == "busy" and shown.until is not None and shown.until > datetime.now(timezone.utc)
    assert client.presence(bruno, at_least=shown.cursor).note == "Writing"
    client.set_claim(bruno, "meeting-1", source="meeting", status="in_meeting", until=datetime.now() + timedelta(minutes=1))
    assert sorted(claim.id for claim in client.claims(bruno)) == ["manual", "meeting-1"]
    cursors = [client.end_claim(bruno, "meeting-1"), client.clear_status(bruno)]
    assert client.set_note(bruno, "In Türkiye 😀").note == "In Türkiye 😀"
    cursors.append(client.clear_note(bruno))
    assert client.presence(bruno, strong=True).note == ""
    for cursor in cursors:
        assert cursor and client.query([bruno], at_least=cursor, strong=True).unknown == []
        assert list(client.list(at_least=cursor))
    try:
        client.presence(bruno, at_least="forged")
        raise AssertionError("a cursor that was not issued")
    except Problem as problem:
        assert problem.code == "cursor-invalid"

    # Users by e-mail address, many users, lists.
    user = client.user(bruno)
    assert user.email == bruno
    answer = client.query([user.id, bruno, "nobody@example.com"])
    assert [p.user for p in answer.presences] == [user.id, user.id] and answer.unknown == ["nobody@example.com"]
    listed = [each.presence.status for each in client.list(status=["available", "busy"])]
    assert listed and set(listed) <= {"available", "busy"}

    # Zoom's calls. There is no time to wait for the minute between two updates.
    client.set_zoom_status(bruno, "Do_Not_Disturb", minutes=20)
    assert client.zoom_status(bruno).status == "Do_Not_Disturb"
    try:
        with Client(url, token, retry_for=0) as impatient:
            impatient.set_zoom_status(bruno, "Away")
        raise AssertionError("a second update within the minute")
    except Problem as problem:
        assert problem.status == 429 and problem.code == "429" and problem.retry_after > 1

    # Errors.
    try:
        client.presence("nobody@example.com")
        raise AssertionError("the presence of nobody")
    except Problem as problem:
        assert problem.code == "user-not-found" and not problem.temporary and problem.document["what_to_do"]
    try:
        Client("http://127.0.0.1:1", token, retry_for=0).presence("me")
        raise AssertionError("an answer from no server")
    except NoResponse:
        pass

    # A token that the server refuses is replaced once.
    asked: list[str | None] = []

    def renewing(refused: str | None) -> str:
        asked.append(refused)
        return token if refused else "stale"

    with Client(url, renewing) as other:
        assert other.user(bruno).id == user.id
    assert asked == [None, "stale"]

    # A watch: what is now, a change, its resumption, and its end from another thread.
    def describe(event: Event) -> str:
        match event:
            case Snapshot():
                return f"snapshot of {len(event.presences)}, unknown {','.join(event.unknown)}"
            case Presence():
                return event.note
            case Gone():
                return "gone"

    users = [bruno, "nobody@example.com"]
    seen: list[str] = []
    with client.watch(users=users) as watch:
        for event in watch:
            seen.append(describe(event))
            if isinstance(event, Snapshot):
                client.set_status(bruno, "busy", note="first")
            else:
                threading.Thread(target=watch.close).start()
    client.set_status(bruno, "busy", note="second")
    with client.watch(users=users, cursor=watch.cursor) as resumed:
        for event in resumed:
            seen.append(describe(event))
            if seen[-1] == "second":
                break
    assert [text for text in seen if text != "first"] == ["snapshot of 1, unknown nobody@example.com", "second"], seen
    try:
        for event in Client(url, "stale").watch(everyone=True):
            raise AssertionError("a watch with a stale token")
    except Problem as problem:
        assert problem.code == "invalid-token"

credentials.close()
print("done")
