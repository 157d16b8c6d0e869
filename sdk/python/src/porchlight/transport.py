"""One exchange over HTTP, with connections that are kept for the next one."""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import json
import socket
import ssl
import threading
import time
import urllib.parse
from email.message import Message
from typing import Any, Iterator

from .errors import NoResponse, Problem

Headers = dict[str, str]

BROKEN = (OSError, http.client.HTTPException, json.JSONDecodeError, UnicodeDecodeError)
"""What is raised if a connection was lost, or an answer cut short."""


class Transport:
    """Connects to one server. Several threads can use it at once."""

    def __init__(self, base_url: str, timeout: float, context: ssl.SSLContext | None) -> None:
        url = urllib.parse.urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
            raise ValueError(f"{base_url!r} is not the URL of a server: expected a form such as https://presence.example.com")
        self._host, self._port = url.hostname, url.port
        self._context = (context or ssl.create_default_context()) if url.scheme == "https" else None
        self._prefix = url.path.rstrip("/")
        self._timeout = timeout
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        self._closed = False

    def exchange(self, method: str, path: str, body: bytes | None, headers: Headers) -> tuple[Any, Message]:
        """The JSON of the answer, or None if it has none, and its headers."""
        connection, used = self._take()
        try:
            response = self._send(connection, method, path, body, headers)
            data = response.read()
            self._keep(connection)
            return json.loads(data) if data else None, response.headers
        except BROKEN as err:
            connection.close()
            if used and isinstance(err, ConnectionError):  # it was idle for too long
                self._drop_idle()
                return self.exchange(method, path, body, headers)
            raise NoResponse(f"No response to {method} {path}: {err}") from err
        except BaseException:
            connection.close()
            raise

    def stream(self, path: str, headers: Headers) -> Stream:
        """Opens a stream of lines, on a connection of its own."""
        connection = self._connect()
        try:
            connection.connect()
            sock: socket.socket = connection.sock
            return Stream(connection, sock, self._send(connection, "GET", path, None, headers))
        except BROKEN as err:
            connection.close()
            raise NoResponse(f"No response to GET {path}: {err}") from err
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        with self._lock:
            self._closed = True
        self._drop_idle()

    def _drop_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        if self._context is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._context)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None, headers: Headers
    ) -> http.client.HTTPResponse:
        """Sends the request, and returns the response if that is a success."""
        connection.request(method, self._prefix + path, body, headers)
        response = connection.getresponse()
        if 200 <= response.status < 300:
            return response
        try:
            document = json.loads(response.read())
        except ValueError:
            document = {}
        raise Problem(response.status, document if isinstance(document, dict) else {}, retry_after(response.headers.get("Retry-After")))

    def _take(self) -> tuple[http.client.HTTPConnection, bool]:
        """A connection, and whether it was used before."""
        with self._lock:
            if self._idle:
                return self._idle.pop(), True
        return self._connect(), False

    def _keep(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()


class Stream:
    """A response that is read line by line, as it comes."""

    def __init__(self, connection: http.client.HTTPConnection, sock: socket.socket, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._socket = sock
        self._response = response

    def lines(self) -> Iterator[str]:
        """The lines without their ends. A line that is cut short is left out."""
        while (line := self._response.readline()).endswith(b"\n"):
            yield line.rstrip(b"\r\n").decode()

    def expect_within(self, seconds: float) -> None:
        """Sets how long a read waits for data before it fails."""
        self._socket.settimeout(seconds)

    def interrupt(self) -> None:
        """Makes a read in another thread end."""
        with contextlib.suppress(OSError):  # it has ended already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._response.close()
        self._connection.close()


def retry_after(text: str | None) -> float:
    """The seconds of the header Retry-After, which has a number or a time."""
    if not text:
        return 0
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0
