"""Access tokens."""

from __future__ import annotations

import base64
import ssl
import threading
import time
import urllib.parse
from typing import Callable, Union

from .transport import Transport

Token = Union[str, Callable[[Union[str, None]], str]]
"""An access token, or a function that returns one. The argument is None, or a token that the
server refused: then it returns another one."""


class ClientCredentials:
    """Gets account-level tokens with an app's id and secret. It keeps the newest token and
    gets another one before that expires."""

    def __init__(
        self, base_url: str, account_id: str, client_id: str, client_secret: str, *,
        timeout: float = 15, context: ssl.SSLContext | None = None,
    ) -> None:
        self._transport = Transport(base_url, timeout, context)
        pair = urllib.parse.quote(client_id, safe="") + ":" + urllib.parse.quote(client_secret, safe="")
        self._headers = {
            "Authorization": "Basic " + base64.b64encode(pair.encode()).decode(),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        self._body = urllib.parse.urlencode({"grant_type": "account_credentials", "account_id": account_id}).encode()
        self._lock = threading.Lock()  # held during a request, so that there is one at a time
        self._token = ""
        self._renew_at = 0.0

    def __call__(self, refused: str | None = None) -> str:
        with self._lock:
            if self._token in ("", refused) or time.monotonic() >= self._renew_at:
                asked = time.monotonic()
                granted, _ = self._transport.exchange("POST", "/oauth/token", self._body, self._headers)
                lasts = float(granted["expires_in"])
                self._token, self._renew_at = str(granted["access_token"]), asked + lasts - min(60, lasts / 10)
            return self._token

    def close(self) -> None:
        """Closes the connection."""
        self._transport.close()
