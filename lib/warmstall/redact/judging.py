"""Whether what a rule has found is what it looks like. A wrong yes costs the diagnosis, a wrong no a secret."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from .words import ACCOUNTS, is_common, is_public_host

# Private, loopback, link-local and reserved addresses tell nothing to a stranger; documentation stands for public.
_OPEN_NETWORKS = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3",
    )
)  # fmt: skip
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_VERSION_BEFORE = re.compile(
    r"(?:version|ver|v|driver|release|rel|build|cuda|cudart|cudnn|cublas|rocm|hip|hsa|amdgpu|linux|kernel|darwin|"
    r"runtime|"
    r"python|sdk|api|firmware|bios|vbios|microcode|compute|capability|required|supported|minimum|level|"
    r"lib[a-z0-9+_.-]{0,30})[a-z_]{0,12}[\"'\\]{0,4}\s{0,3}[=:@(\[]{0,2}\s{0,2}[\"'\\]{0,4}[/_-]?\s?$|[=<>~!]=\s?$",
    re.IGNORECASE,
)
_PRODUCT_BEFORE = re.compile(r"(?:^|[\s\"'(;])[A-Z][A-Za-z0-9_.-]{0,40}/$")
_VERSION_AFTER = re.compile(
    r"-(?:microsoft|generic|amd64|arm64|aarch64|x86|rc|beta|alpha|dev|lowlatency|aws|azure|gcp|wsl)"
)
_UNIT = re.compile(r"\.(?:service|socket|scope|slice|target|timer|mount|automount|device|path|swap)$", re.IGNORECASE)
_FILE = re.compile(r"\.(?:png|jpe?g|gif|svg|webp|css|js|ts|py|so|go|json|ya?ml|txt|log|gguf)$", re.IGNORECASE)
_PERSON = re.compile(r"[^\W\d][\w.@+ -]{0,63}\$?")
_DIGEST = re.compile(r"[0-9a-f]{12}|[0-9a-f]{40}|[0-9a-f]{64}|sha256[-:][0-9a-f]+")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\.?")
_PLACEHOLDER = re.compile(
    r"|true|false|yes|no|on|off|none|null|nil|undefined|unset|default|enabled?|disabled?|required|optional|empty|"
    r"missing|invalid|expired|redacted|removed|hidden|masked|string|bytes|str|secret|password|token|<[^<>]*>|"
    r"\[[a-z ]*\]|\{[^{}]*\}|\$\{[^{}]*\}|\$\([^()]*\)|\$[A-Z_][A-Z0-9_]*|%[sdvqr]|%\w+%|\*+|x{3,}|\.+|…|-+",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"(?:[a-z_]+\.)*[a-z_]+[\[(][a-z_., ]*[\])]?|[a-z_]+(?:\.[a-z_]+)+|[a-z]+(?:_[a-z]+)*_(?:key|token|password|secret)"
)
_NUMBER = re.compile(r"-?[0-9][0-9_.,]*(?:e[+-]?[0-9]+)?(?:ms|s|%|[kmgt]i?b?)?", re.IGNORECASE)
# Names whose values are as often numbers: ids of tokens, tests that passed, flags.
_COUNTED = re.compile(r"(?:token|auth|otp|csrf|xsrf|session(?:_?id)?|signature|(?<![a-z])pass)$", re.IGNORECASE)
# These say secret only behind certain words, or as words of their own: `monkey`, `compass`, `key` and `oauth` do not.
_HALF_A_NAME = re.compile(r"(?:key(?:[-_]?id)?|pass|pwd|auth|otp)$", re.IGNORECASE)
_WHOLE_NAME = re.compile(
    r"(?:api|access|secret|private|auth|encryption|signing|master|license|account|subscription|session|shared|service|"
    r"client|app|bot|user|deploy|storage|admin|consumer|webhook|hmac|jwt|aes|rsa|ssh|ssl|tls|gpg|bearer)[-_. ]?"
    r"key(?:[-_]?id)?$|(?:^|[^a-z]|db|user|admin|root|my|smtp|mail|ftp)(?:pass|pwd)$|(?:^|[^a-z])(?:auth|otp)$|"
    r"^-{1,2}key$",
    re.IGNORECASE,
)
# Tokens of a vocabulary and counts of them, and keys that hold nothing back.
_NO_SECRET = re.compile(
    r"(?:^|[._-])(?:bos|eos|eot|eom|eog|pad|unk|sep|cls|mask|stop|image|video|audio|special|next|last|first|new|max|"
    r"min|"
    r"num|n|t|per|control|added|lf|nl|fim|fim[._-]\w+|prompt|completion|total|ms|byte|text|cached?|"
    r"generated)[._ -]?tokens?$|"
    r"(?:public|primary|foreign|sort|partition|group|cache|row|registry|shortcut|hot|host|map|dict|json|"
    r"index)[._ -]?key$",
    re.IGNORECASE,
)
_FOLDER_OF_ITS_OWN = re.compile(r"(?:OLD)?PWD|cwd|(?:^|[._-])(?:by|com|tres|multi|sur|one|two|second|num|n)[._-]?pass$")
_WORTHLESS_SERIALS = re.compile(
    r"n/?a|none|unknown|not (?:specified|available|applicable)|default string|to be filled.*|system serial.*|0+|\[.*\]",
    re.IGNORECASE,
)


def is_public_address(text: str, before: str = "", after: str = "") -> bool:
    """Whether this is an address that the whole internet can tell, and no version number.

    >>> is_public_address("203.0.113.7"), is_public_address("10.0.0.7"), is_public_address("0.13.5.1")
    (True, False, False)
    >>> is_public_address("12.8.4.1", before="driver version "), is_public_address("2001:db8::7")
    (False, True)
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        return address in _GLOBAL_UNICAST
    if any(address in network for network in _OPEN_NETWORKS):
        return False
    before = before[-60:]
    return not (_VERSION_BEFORE.search(before) or _PRODUCT_BEFORE.search(before) or _VERSION_AFTER.match(after))


def is_email(text: str) -> bool:
    """Whether this is somebody's address rather than a unit of systemd, a file or a repository.

    >>> is_email("a.b@mail.example.com"), is_email("user@1000.service"), is_email("git@github.com")
    (True, False, False)
    """
    local = re.split("@|%40", text)[0].lower()
    return not (_UNIT.search(text) or _FILE.search(text) or local in ("git", "hg", "svn", "noreply", "no-reply"))


def is_person(name: str) -> bool:
    """Whether this may be a person's account.

    >>> is_person("alice"), is_person("ubuntu"), is_person("1000"), is_person("true")
    (True, False, False, False)
    """
    return bool(_PERSON.fullmatch(name)) and name.lower() not in ACCOUNTS and not _PLACEHOLDER.fullmatch(name)


@lru_cache(maxsize=4096)
def is_private_host(name: str) -> bool:
    """Whether this names a machine of somebody's: no registry, no service of a compose file, no container's id.

    >>> is_private_host("gpu7.example.com"), is_private_host("github.com"), is_private_host("10.0.0.7")
    (True, False, False)
    """
    if not _HOST.fullmatch(name) or is_public_host(name) or _DIGEST.fullmatch(name) or _PLACEHOLDER.fullmatch(name):
        return False
    # A number is a port or a version, an address has its own rule.
    return not re.fullmatch(r"[0-9.]+", name)


def is_secret(name: str, value: str, quoted: bool = False, loose: bool = False) -> bool:
    """Whether the value of a setting with such a name is a secret. `loose`: prose may stand there as well.

    >>> is_secret("OPENAI_API_KEY", "k3y"), is_secret("eos_token", "</s>"), is_secret("max_token", "4096")
    (True, False, False)
    >>> is_secret("token", "unexpected", loose=True), is_secret("api_key", "os.environ[")
    (False, False)
    """
    if _PLACEHOLDER.fullmatch(value) or _NO_SECRET.search(name) or _FOLDER_OF_ITS_OWN.search(name):
        return False
    environment = name.isupper()
    if not environment and _HALF_A_NAME.search(name) and not _WHOLE_NAME.search(name):
        return False
    if not environment and not quoted and (_CODE.fullmatch(value) or value.lower() == name.lower()):
        return False
    if _COUNTED.search(name) and not environment and (_NUMBER.fullmatch(value) or value.startswith(("<|", "</"))):
        return False
    return not (loose and (len(value) < 4 or (value.isalpha() and (len(value) < 12 or is_common(value)))))


def is_serial(text: str) -> bool:
    """Whether a machine's number tells it from others.

    >>> is_serial("C02XK1JTJG5J"), is_serial("To Be Filled By O.E.M.")
    (True, False)
    """
    return len(text) >= 5 and not _WORTHLESS_SERIALS.fullmatch(text)


def can_go_everywhere(text: str, kind: str) -> bool:
    """Whether a value may be replaced wherever it stands, not only where a rule has found it.

    Never fewer than four characters (six of a secret, ten of a text), never a word that logs are made of, never a
    number that may just as well be a size: a password `root` must not take every path's `root` away.

    >>> can_go_everywhere("hunter22", "password"), can_go_everywhere("root", "password")
    (True, False)
    >>> can_go_everywhere("alice", "user"), can_go_everywhere("al", "user"), can_go_everywhere("llama", "host")
    (True, False, False)
    """
    if is_common(text) or "\n" in text:
        return False
    if kind == "prompt":
        return len(text) >= 24 or (len(text) >= 10 and any(map(str.isdigit, text)) and any(map(str.isalpha, text)))
    if kind in ("address", "email", "home"):
        return True
    if kind in ("user", "host"):
        return len(text) >= 4 and not text.isdigit()
    if text.isdigit():
        return len(text) >= 10
    return len(text) >= 6
