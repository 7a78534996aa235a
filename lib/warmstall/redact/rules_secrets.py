"""Rules for what opens doors: keys, headers, credentials in URLs, and values whose name says secret."""

from __future__ import annotations

import re

from .forms import WORD_STARTS
from .judging import is_person, is_private_host, is_secret
from .rule import Rule

_HOST_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?"
# The last word of a name that says secret; whether the whole name does is judged where it is found.
_SECRET_WORD = (
    r"(?:pass(?:word|wd|phrase|wort|code)?|pwd|secret|token|credentials?|auth|otp|jwt|[cx]srf|session_?id|"
    r"key(?:[-_]?id)?|connection_?string)"
)
# As a hint: behind a token there is something else than a number, and a key is not just called `key`.
_SECRET_HINT = (
    r"(?:(?:passw(?:or)?d|passphrase|passwort|passcode|pass|pwd|secret|credentials?|auth|otp|jwt|[cx]srf|session_?id|"
    r"[a-z0-9_.-]key(?:[-_]?id)?|(?:api|access|secret|private|license) key|connection_?string)"
    r"[\\\"']{0,8}\]?\s{0,3}[=:]|"
    r"token[\\\"']{0,8}\]?\s{0,3}(?:=>|:=|[=:])\s*[0-9.]*[^0-9.\s])"
)
_NAME_BEFORE = re.compile(r"[A-Za-z0-9_.-]+$|\b(?:api|access|secret|private|license) $")
_SEP = r"(?P<sep>(?:\\*[\"'])?\]?\s{0,3}(?:=>|:=|[=:])\s{0,8}(?:b(?=\\*[\"']))?)"
_LONGEST_SETTING = 500


def _has_digit(value: str, match: re.Match[str], quoted: bool) -> bool:
    return any(map(str.isdigit, value))


def _or_host(value: str, match: re.Match[str], quoted: bool) -> bool:
    return value == match["value"] or is_private_host(value)


def _of_ssh(value: str, match: re.Match[str], quoted: bool) -> bool:
    """The key itself, or who it belongs to."""
    if value == match["value"]:
        return True
    return is_person(value) if value == match["user"] else is_private_host(value)


def _name(match: re.Match[str]) -> str:
    """The whole name that ends in a word that says secret."""
    start = match.start("name")
    left = _NAME_BEFORE.search(match.string, max(0, start - 80), start)
    return (left[0] if left else "") + match["name"]


def _named(value: str, match: re.Match[str], quoted: bool) -> bool:
    """A setting's value; behind a colon and a space prose may stand instead, unless the line is the setting."""
    name, sep, line = _name(match), match["sep"], match.string
    if not quoted and (value in ("{", "[", "(") or (value[0] in "{[" and sep.lstrip("\\")[:1] in ("'", '"'))):
        return False  # an object or a list begins here
    loose = not quoted and sep[-1].isspace()
    if loose and len(line) < _LONGEST_SETTING:
        setting = line.strip(" -\t\r").lower()
        loose = not (setting.startswith(name.lower()) and setting.endswith(value.lower()))
    return is_secret(name, value, quoted, loose)


def _variable(value: str, match: re.Match[str], quoted: bool) -> bool:
    return bool(re.fullmatch(r"[A-Z][A-Z0-9_]*", _name(match))) and _named(value, match, quoted)


def _option(value: str, match: re.Match[str], quoted: bool) -> bool:
    name = _name(match)
    return name.startswith("-") and is_secret(name, value, quoted, loose=name.endswith("--key"))


def _parameter(value: str, match: re.Match[str], quoted: bool) -> bool:
    name = match["name"].lower()
    return is_secret("api_key" if name == "key" else name, value, quoted=True, loose=name == "key")


def _listed(value: str, match: re.Match[str], quoted: bool) -> bool:
    """Of two strings side by side the second, unless the first is itself the value of a key."""
    name = _name(match)
    start = match.start("name") + len(match["name"]) - len(name)
    before = match.string[max(0, start - 20) : start]
    opening = before.rstrip("\\\"'b").rstrip()[-1:]
    # Vocabularies of models are long lists of words; names of headers and settings are composed.
    composed = not name.isalpha() or name.isupper()
    likely = before[-1:] in ("'", '"') and (opening == "(" or (opening in ("[", ",") and composed))
    return likely and is_secret(name, value, quoted) and not value.startswith("--")


def _credentials(value: str, match: re.Match[str], quoted: bool) -> bool:
    return is_private_host(value) if value != match["value"] else not re.fullmatch(r"[0-9:]+", value)


SECRETS: tuple[Rule, ...] = (
    # --- keys that their shape gives away -----------------------------------------------------------------------------
    Rule(
        "key by shape",
        "api-key",
        r"sk-[a-z0-9_-]{16}|[sr]k_(?:live|test)_|hf_[a-z0-9]{16}|gh[pousr]_[a-z0-9]{16}|github_pat_|(?:AKIA|ASIA|ABIA|"
        r"ACCA|AROA|"
        r"AIDA)[A-Z0-9]{12}|AIza|ya29\.|xox[abeoprs]-|xapp-|gl[a-z]{2,5}-[a-z0-9_-]{16}|npm_[a-z0-9]{20}|"
        r"pypi-[a-z0-9]|gsk_|r8_|"
        r"nvapi-|xai-|pplx-|tvly-|lsv2_|hvs\.|dop_v1_|SG\.|AGE-SECRET|dapi[0-9a-f]{32}|hooks\.slack\.com/|"
        r"/api/webhooks/|[0-9]:AA[a-z0-9_-]{30}",
        WORD_STARTS + r"(?P<value>sk-[A-Za-z0-9_-]{16,}|[srp]k_(?:live|test)_[A-Za-z0-9]{10,}|hf_[A-Za-z0-9]{16,}|"
        r"gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{20,}|(?:AKIA|ASIA|ABIA|ACCA|AROA|AIDA)[A-Z0-9]{12,}|"
        r"AIza[A-Za-z0-9_-]{20,}|ya29\.[A-Za-z0-9_-]{20,}|xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{20,}|"
        r"gl(?:pat|cbt|dt|ft|rt|soat|agent|imt|oas|ptt)-[A-Za-z0-9_-]{16,}|npm_[A-Za-z0-9]{20,}|"
        r"pypi-[A-Za-z0-9_-]{30,}|gsk_[A-Za-z0-9]{20,}|r8_[A-Za-z0-9]{20,}|nvapi-[A-Za-z0-9_-]{20,}|"
        r"xai-[A-Za-z0-9_-]{20,}|pplx-[A-Za-z0-9]{20,}|tvly-[A-Za-z0-9-]{16,}|lsv2_[A-Za-z0-9_]{20,}|"
        r"hvs\.[A-Za-z0-9_-]{20,}|dop_v1_[0-9a-f]{40,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|"
        r"AGE-SECRET-KEY-1[0-9A-Z]{40,}|dapi[0-9a-f]{32}|[0-9]{8,10}:AA[A-Za-z0-9_-]{30,})|"
        r"(?:hooks\.slack\.com/(?:services|workflows)/|/api/webhooks/[0-9]{5,25}/)(?P<value_too>[A-Za-z0-9_/-]{8,})",
        ("client: using sk-proj-4Fz9QkT0aB3xY7mN2LpR for the judge", "sk-proj-4Fz9QkT0aB3xY7mN2LpR"),
        accepts=_has_digit,
    ),
    Rule(
        "JSON web token",
        "api-key",
        r"eyJ[a-z0-9_-]{8,}\.",
        WORD_STARTS + r"(?P<value>eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?)",
        ("got eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln from peer", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln"),
    ),
    Rule(
        "private key in one line",
        "private-key",
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY",
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?P<value>.+?)(?=-----END|[\"']|$)",
        (r'key="-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2Vw\n-----END PRIVATE KEY-----"', r"\nMC4CAQAwBQYDK2Vw\n"),
        accepts=lambda value, match, quoted: len(value.strip()) >= 8,
    ),
    Rule(
        "SSH public key",
        "private-key",
        r"(?:ssh-|ecdsa-)[a-z0-9@.-]{3,40} +AAAA",
        r"\b(?:sk-)?(?:ssh-(?:rsa|dss|ed25519)|"
        r"ecdsa-sha2-nistp\d+)(?:@openssh\.com)? +(?P<value>AAAA[A-Za-z0-9+/=]{20,})"
        rf"(?: +(?P<user>[A-Za-z_][\w.-]{{0,31}})@(?P<host>{_HOST_NAME}))?",
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample0Key alice@gpu7", "AAAAC3NzaC1lZDI1NTE5AAAAIExample0Key"),
        accepts=_of_ssh,
    ),
    # --- headers ------------------------------------------------------------------------------------------------------
    Rule(
        "Authorization header",
        "header",
        r"authorization[\\\"']{0,8}\s{0,3}[=:,]",
        r"(?i:authorization)(?:\\*[\"'])?\s{0,3}[=:,]\s{0,8}(?:\[|\(|b?\\*[\"'])*"
        r"(?:(?i:bearer|basic|negotiate|ntlm|token|apikey) +(?P<value>[A-Za-z0-9._~+/=:|-]{4,})|"
        r"(?i:digest|aws4-hmac-sha256|signature) +(?P<header>[^\r\n\"']{4,})|(?P<password>[A-Za-z0-9._~+/=|-]{12,}))",
        ('-H "Authorization: Basic YWxpY2U6aHVudGVyMjI="', "YWxpY2U6aHVudGVyMjI="),
    ),
    Rule(
        "bearer token",
        "header",
        r"bearer +[a-z0-9._~+/-]{8}",
        r"\b[Bb]earer +(?P<value>[A-Za-z0-9._~+/-]{8,}=*)",
        ("auth scheme Bearer 9fQx-77Zt.alpha", "9fQx-77Zt.alpha"),
        accepts=lambda value, match, quoted: len(value) >= 20 or _has_digit(value, match, quoted),
    ),
    Rule(
        "cookie",
        "cookie",
        r"cookie[\\\"']{0,8}\s{0,3}[=:,]",
        r"(?<![A-Za-z0-9])(?i:set-)?(?i:cookie)(?:\\*[\"'])?\s{0,3}[=:,]\s{0,8}(?:\[|b?\\*[\"'])*"
        r"(?P<value>[\w.-]{1,80}=[^\r\n\"'\]\\]{2,})",
        ("Cookie: sid=9f8e7d6c5b4a; theme=dark", "sid=9f8e7d6c5b4a; theme=dark"),
    ),
    # --- URLs ---------------------------------------------------------------------------------------------------------
    Rule(
        "credentials in a URL",
        "url",
        r"://[^\s\"'<>]+@",
        r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{1,20})://(?P<value>[^\s\"'<>/?#]{1,300}|"
        r"[^\s\"'<>/?#@:\[\]]{0,128}:(?!\d{1,5}[/?#])[^\s\"'<>@]{1,256})@"
        rf"(?P<host>{_HOST_NAME})?",
        ("HTTPS_PROXY:http://alice:s3cret@proxy.example.com:8080", "alice:s3cret"),
        accepts=_or_host,
    ),
    Rule(
        "proxy credentials",
        "url",
        r"proxy=[^\s\"'/@]{1,100}:[^\s\"'@]{1,100}@|(?:-u|-U|--user|--proxy-user)[ =][\"']?[^\s\"':]{1,100}:",
        rf"(?:_(?i:proxy)=(?![a-z0-9]+://)|(?:^|\s)(?:-u|-U|--user|"
        rf"--proxy-user)[ =][\"']?)(?P<value>[^\s\"'/@:]{{1,100}}:[^\s\"'@]{{1,100}})"
        rf"(?:@(?P<host>{_HOST_NAME}))?",
        ("curl -s -u alice:s3cret-9 gpu7:11434/api/tags", "alice:s3cret-9"),
        accepts=_credentials,
    ),
    Rule(
        "signing parameter",
        "query",
        r"(?:[?&;]|u0026|%26|%3f)[a-z0-9_.-]{0,40}(?:key|token|auth|sig|signature|passw(?:or)?d|pwd|secret|credential|"
        r"session|"
        r"nonce|jwt)(?:=|%3d)",
        r"(?:(?:[?&;]|u0026)|(?P<encoded>%26|%3[fF]))(?P<name>[A-Za-z0-9_.-]{0,40}(?i:key|token|auth|sig|signature|"
        r"passw(?:or)?d|pwd|secret|credential|session|nonce|jwt))(?:=|%3[dD])"
        r"(?P<value>(?(encoded)(?:(?!%26)[^\s\"'<>;#\\&])|[^\s\"'<>;#\\&]){1,2000})",
        ("GET /v2/x?X-Amz-Signature=f06d1cecb1ef&n=1", "f06d1cecb1ef"),
        accepts=_parameter,
    ),
    # --- values whose name says secret --------------------------------------------------------------------------------
    Rule(
        "variable",
        "environment",
        r"(?:key|token|secret|passw(?:or)?d|passwd|pass|pwd|credentials?|auth|jwt)[\\\"']{0,8}[=:]",
        r"(?P<name>KEY(?:_ID)?|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|PASS|PWD|CREDENTIALS?|AUTH|JWT)"
        r"(?P<sep>(?:\\*[\"'])?[=:]\s?)(?!\s)",
        ("map[HOME:/root OPENAI_API_KEY:k3y-9 OLLAMA_DEBUG:INFO]", "k3y-9"),
        reads="word",
        accepts=_variable,
    ),
    Rule(
        "named value",
        "password",
        _SECRET_HINT,
        rf"(?P<name>{_SECRET_WORD}){_SEP}",
        ('{"user": {"db_password": "hunter22"}}', "hunter22"),
        reads="value",
        accepts=_named,
        caseless=True,
    ),
    Rule(
        "option of a command",
        "password",
        r"-[a-z0-9-]*(?:pass|secret|token|key|credential|auth|pwd)[a-z]{0,8}[\\\"']{0,8}(?:,?\s|=)",
        rf"(?P<name>{_SECRET_WORD})(?:\s+|\\*[\"'],\s*|=)(?=[^-\s]|-[^-\sA-Za-z]|(?<==)-)",
        ("llama-server --port 8080 --api-key k3y-9 --ctx-size 4096", "k3y-9"),
        reads="word",
        accepts=_option,
        caseless=True,
    ),
    Rule(
        "pair of a list",
        "password",
        r"(?:pass|secret|token|key|credential|auth|pwd)[a-z]{0,8}[\\\"']{1,8},\s{0,3}b?[\\\"']",
        rf"(?P<name>{_SECRET_WORD})\\*[\"']\s*,\s*b?(?=\\*[\"'])",
        ("headers=[(b'x-api-key', b'k3y-9')]", "k3y-9"),
        reads="value",
        accepts=_listed,
        caseless=True,
    ),
    Rule(
        "name beside value",
        "environment",
        r"name[\\\"']{1,8}\s{0,3}:[^:]{1,100}value[\\\"']{1,8}\s{0,3}:",
        rf"name\\*[\"']\s*:\s*\\*[\"'](?P<name>[A-Za-z0-9_.-]{{0,80}}?{_SECRET_WORD})\\*[\"']\s*,\s*\\*[\"']"
        r"value\\*[\"']\s*:\s*",
        ('{"name": "CHROMA_TOKEN", "value": "k3y-9"}', "k3y-9"),
        reads="value",
        accepts=lambda value, match, quoted: is_secret(match["name"], value, quoted),
        caseless=True,
    ),
    Rule(
        "password of a command",
        "password",
        r"sshpass|redis-cli|mysql|mariadb|docker login|login +\S{1,80} +password",
        r"(?:\bsshpass +-p *|\bredis-cli\b[^|\n]{0,200}? -a +|\b(?:mysql|mysqldump|mysqladmin|"
        r"mariadb)\b[^|\n]{0,200}? -p|"
        r"\bdocker login\b[^|\n]{0,200}? -p +|\blogin +\S{1,80} +password +)(?P<value>[^\s\"'-][^\s\"']{2,200})",
        ("sshpass -p hunter22 ssh gpu7", "hunter22"),
    ),
    Rule(
        "secret in a sentence",
        "password",
        r"(?:password|passphrase|api[ _-]?key|token|secret|credentials?) (?:is|was|are|set to|provided|used|"
        r"changed to)[: ]",
        r"(?i:password|passphrase|api[ _-]?key|token|secret|credentials?) (?i:is|was|are|set to|provided|used|"
        r"changed to):? +[\"'`]?"
        r"(?P<value>[^\s\"'`,;]{6,200}[^\s\"'`,;.])",
        ("login failed, the password is hunter-22.", "hunter-22"),
        accepts=_has_digit,
    ),
)
