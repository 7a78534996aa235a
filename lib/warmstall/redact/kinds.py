"""Kinds of secrets: the names of `--keep`, and what their tokens begin with."""

from __future__ import annotations

# In the order of how much they give away.
KINDS: dict[str, str] = {
    "api-key": "Keys and tokens whose shape tells what they are: sk-…, hf_…, ghp_…, AKIA…, xoxb-…, a JWT.",
    "password": "Values whose name says password, secret, token or key, in settings, JSON, and options of commands.",
    "environment": "Variables whose name ends in KEY, TOKEN, SECRET, PASSWORD or CREDENTIALS.",
    "header": "What Authorization headers carry: bearer tokens, basic credentials.",
    "cookie": "What Cookie and Set-Cookie headers carry.",
    "url": "User names and passwords inside URLs: of proxies, databases, repositories.",
    "query": "Parameters of URLs that sign or authorize.",
    "private-key": "Private keys in PEM, and keys of SSH.",
    "prompt": "Prompts, messages, answers, and bodies of requests.",
    "email": "E-mail addresses.",
    "address": "Public IPv4 and IPv6 addresses; private, link-local and loopback ones stay.",
    "user": "Accounts of people, in paths, settings, tables of processes and prompts of shells.",
    "home": "Home folders outside of the usual places, as the host tells them.",
    "host": "Names of machines, in the journal, in URLs and in settings; registries and vendors stay.",
    "serial": "Serial numbers and machine ids.",
}
# Of all others: secret-….
_PREFIXES = frozenset(("prompt", "email", "address", "user", "home", "host", "serial"))


def prefix_of(kind: str) -> str:
    """What the tokens of a kind begin with.

    >>> prefix_of("user"), prefix_of("api-key")
    ('user', 'secret')
    """
    return kind if kind in _PREFIXES else "secret"
