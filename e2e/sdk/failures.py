"""Meets servers that fail: see TestSDKFailures."""

import os

from porchlight import Client, ClientCredentials, NoResponse, Problem

url, untrusted = os.environ["URL"], os.environ["UNTRUSTED"]

for kind in ["null", "[]", '"text"', "3", "{}", "no JSON"]:
    try:
        Client(url, "token").presence(kind)
        raise AssertionError(kind)
    except Problem as problem:
        assert problem.status == 404 and str(problem) == "The server answered with status 404.", (kind, problem)

for address in ["", "presence.example.com", "localhost:8080", "ftp://presence.example.com", "https://", "https://presence.example.com?x"]:
    try:
        Client(address, "token")
        raise AssertionError(address)
    except ValueError as err:
        assert "is not the URL of a server" in str(err), err

for attempt in (lambda: next(Client(untrusted, "token").watch(everyone=True)), lambda: Client(untrusted, "token").presence("me")):
    try:
        attempt()
        raise AssertionError("a certificate that nobody trusts")
    except NoResponse as err:
        assert not err.temporary and "certificate" in str(err).lower(), err

# The first request for a token gets no answer. The stream is then refused for good.
credentials = ClientCredentials(url, "account", "id", "secret")
try:
    next(Client(url, credentials).watch(everyone=True, longest_wait=0.01))
    raise AssertionError("a watch that is refused")
except Problem as problem:
    assert problem.status == 403, problem
print("done")
