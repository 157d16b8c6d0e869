"""The Python client of Porchlight, a self-hosted presence server.

It uses the standard library only. A Client can be used by several threads.
"""

from .client import Client
from .credentials import ClientCredentials, Token
from .errors import NoResponse, PorchlightError, Problem
from .records import Claim, Claimable, Gone, Listed, Presence, Presences, Snapshot, Status, User, ZoomPresence
from .watch import Event, Watch

__all__ = [
    "Claim", "Claimable", "Client", "ClientCredentials", "Event", "Gone", "Listed", "NoResponse", "PorchlightError",
    "Presence", "Presences", "Problem", "Snapshot", "Status", "Token", "User", "Watch", "ZoomPresence",
]
