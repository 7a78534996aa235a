"""What may be repeated of a server's words and of its address: no text of a user, no key and no password."""

from __future__ import annotations

from urllib.parse import urlsplit

from ..errors import ParameterError

_LONGEST = 200
# So many characters of a prompt in an error are a quotation, not a coincidence.
_QUOTED = 24


def told(text: object, private: str = "", secret: str = "") -> str:
    """What a server said of an error: one short line, without a key and without what it quotes of the prompt.

    >>> told("cannot parse 'What does our contract with X say?'", private="What does our contract with X say?")
    "cannot parse '…'"
    """
    line = " ".join(str(text).split())
    if secret:
        line = line.replace(secret, "…")
    line = "".join(letter for letter in line if letter.isprintable())[: 2 * _LONGEST]
    plain, at, kept = " ".join(private.split()), 0, ""
    while at < len(line):
        if len(window := line[at : at + _QUOTED]) == _QUOTED and window in plain:
            length = _QUOTED
            while at + length < len(line) and line[at : at + length + 1] in plain:
                length += 1
            at, kept = at + length, kept + "…"
        else:
            at, kept = at + 1, kept + line[at]
    return kept if len(kept) <= _LONGEST else kept[: _LONGEST - 1] + "…"


def refuse_user_information(url: str, what: str) -> None:
    """Raises ParameterError, which does not quote it, for an address that names a user or a password.

    >>> try:
    ...     refuse_user_information("http://ann:secret@10.0.0.2:8000", "[store] url")
    ... except ParameterError as error:
    ...     print(str(error).partition(";")[0])
    [store] url names a user or a password before the host
    """
    try:
        place = urlsplit(url if "//" in url else f"//{url}").netloc
    except ValueError:  # what cannot be read may hold one all the same
        place = url
    if "@" in place:
        raise ParameterError(
            f"{what} names a user or a password before the host; expected only scheme, host and port, such as "
            "http://127.0.0.1:8000."
        )
