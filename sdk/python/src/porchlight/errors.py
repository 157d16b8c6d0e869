"""The exceptions that calls raise."""

from __future__ import annotations

import ssl
from typing import Any

_TEMPORARY = frozenset({408, 425, 429})


class PorchlightError(Exception):
    """The base of the errors of this package."""


class NoResponse(PorchlightError):
    """There was no complete response. The request may have taken effect."""

    @property
    def temporary(self) -> bool:
        """Whether the same request may succeed later: not if the certificate is refused."""
        return not isinstance(self.__cause__, ssl.SSLCertVerificationError)


class Problem(PorchlightError):
    """An answer other than success, in the words of its problem document."""

    status: int
    code: str  # such as "user-not-found"; "1001" for an error of Zoom's API
    document: dict[str, Any]  # the whole body
    retry_after: float  # seconds, from the server; 0 if it gave none

    def __init__(self, status: int, document: dict[str, Any], retry_after: float = 0) -> None:
        words = next((document[name] for name in ("detail", "title", "message", "reason") if document.get(name)), None)
        super().__init__(words or f"The server answered with status {status}.")
        self.status = status
        self.document = document
        kind = document.get("type") or document.get("code") or document.get("error") or ""
        self.code = str(kind).rsplit("/", 1)[-1]
        self.retry_after = retry_after

    @property
    def temporary(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status >= 500 or self.status in _TEMPORARY
