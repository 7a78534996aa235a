"""Rules for people, machines and where they are: accounts, hosts, addresses, serial numbers."""

from __future__ import annotations

import re

from .forms import WORD_STARTS
from .judging import is_email, is_person, is_private_host, is_public_address, is_serial
from .rule import Rule
from .words import is_common

_HOST_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?"
_NOT_IN_USER_NAMES = r"\s/\\\"'%:;,<>|()\[\]{}*?&#=`"
_USER_NAME = rf"[^{_NOT_IN_USER_NAMES}$@.~-](?:[^{_NOT_IN_USER_NAMES}]|%(?!2[fF]|5[cC]|0[aA])[0-9A-Fa-f]{{2}}){{0,63}}"
_SLASH = r"(?:\\*/|%2[fF])"
# The part of a URL before its host belongs to another rule.
_IN_URL = re.compile(r"://[^\s/?#@\"']{0,300}$|://[^\s/?#@:\"']{0,100}:[^\s@\"']{0,300}$")


def _address(value: str, match: re.Match[str], quoted: bool) -> bool:
    line, start, end = match.string, match.start(), match.end()
    return is_public_address(value, line[max(0, start - 60) : start], line[end : end + 20])


def _email(value: str, match: re.Match[str], quoted: bool) -> bool:
    start = match.start()
    return is_email(value) and not _IN_URL.search(match.string[max(0, start - 420) : start])


def _private(value: str, match: re.Match[str], quoted: bool) -> bool:
    return is_private_host(value)


def _private_and_rare(value: str, match: re.Match[str], quoted: bool) -> bool:
    return is_private_host(value) and not is_common(value)


def _person(value: str, match: re.Match[str], quoted: bool) -> bool:
    return is_person(value)


def _rare_person(value: str, match: re.Match[str], quoted: bool) -> bool:
    return is_person(value) and not is_common(value)


def _person_or_host(value: str, match: re.Match[str], quoted: bool) -> bool:
    return is_person(value) if value == match["user"] else is_private_host(value)


PEOPLE: tuple[Rule, ...] = (
    Rule(
        "IPv4 address",
        "address",
        r"(?:^|[^0-9.])(?:[1-9]|1[1-9]|[2-9][0-9]|1[013-9][0-9]|12[0-689]|2[0-2][0-9])\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]",
        WORD_STARTS + r"(?<![0-9]\.)(?<!\.so\.)(?P<address>[0-9]{1,3}(?:\.[0-9]{1,3}){3})(?![A-Za-z0-9]|\.[0-9])",
        ('[GIN] 2026/11/20 - 20:49:02 | 200 |  17.1ms |  203.0.113.7 | POST  "/api/chat"', "203.0.113.7"),
        accepts=_address,
    ),
    Rule(
        "IPv6 address",
        "address",
        r"[23][0-9a-f]{3}:[0-9a-f]{0,4}:",
        WORD_STARTS
        + r"(?<!:)(?P<address>[23][0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,7}(?:\.[0-9]{1,3}){0,3})(?![0-9A-Za-z:])",
        ("Listening on [2001:db8::7]:11434 (version 0.13.5)", "2001:db8::7"),
        accepts=_address,
    ),
    Rule(
        "e-mail address",
        "email",
        r"[a-z0-9_.+-](?:@|%40)[a-z0-9-]+\.[a-z0-9]",
        WORD_STARTS
        + r"(?P<email>[A-Za-z0-9_][A-Za-z0-9._+-]{0,63}(?:@|%40)(?:[A-Za-z0-9-]{1,63}\.){1,8}?[A-Za-z]{2,24})"
        r"(?=\.(?:log|txt|jsonl?|csv|md|ya?ml|gz|zip|out|html?)(?![A-Za-z0-9_-])|(?=-\d)|(?!\.?[A-Za-z0-9-]))",
        ("contact alice@mail.example.com for access", "alice@mail.example.com"),
        accepts=_email,
    ),
    Rule(
        "home folder",
        "user",
        r"(?:/|%2f)(?:home|users)(?:/|%2f|\\/)[^\s/.]",
        rf"(?:/|%2[fF])(?:home|Users){_SLASH}(?P<user>{_USER_NAME})",
        ("OLLAMA_MODELS:/home/alice/.ollama/models", "alice"),
        accepts=_person,
    ),
    Rule(
        "home folder on Windows",
        "user",
        r"(?:[a-z]:|%3a)(?:\\+|/|%5c)(?:users|documents and settings)(?:\\+|/|%5c)",
        r"(?:[A-Za-z]:|%3[aA])(?:\\+|/|%5[cC])(?i:users|documents and settings)(?:\\+|/|%5[cC])"
        r"(?P<user>[^\s\\/:*?\"<>|%]{1,64}(?: [^\s\\/:*?\"<>|%]{1,64}){0,3}(?=\\)|[^\s\\/:*?\"'<>|%;,)]{1,64})",
        (r"source=C:\Users\John Smith\AppData\Local\Ollama", "John Smith"),
        accepts=_person,
    ),
    Rule(
        "account",
        "user",
        r"(?:user|user_?name|user ?id|uid|logname|login)[\\\"']{0,8}\s{0,3}[=:]",
        r"(?<![A-Za-z0-9-])(?i:user|user_?name|user ?id|uid|logname|login|sudo_user|loginuser)"
        r"(?:\\*[\"']\s*:\s*(?=\\*[\"'])|=)",
        ("USER=alice LOGNAME=alice SHELL=/bin/zsh", "alice"),
        reads="value",
        accepts=_person,
    ),
    Rule(
        "account in YAML",
        "user",
        r"^\s*(?:- )?(?:user|user_?name|login):\s+[a-z_]",
        r"^\s*(?:- )?(?i:user|user_?name|login):\s+[\"']?(?P<user>[A-Za-z_][\w.-]{0,63})[\"']?\s*$",
        ("  username: alice", "alice"),
        accepts=_person,
    ),
    Rule(
        "account of an access line",
        "user",
        r" - [a-z_][a-z0-9_.@-]* \[[0-9]{2}/[a-z]{3}/[0-9]{4}",
        r" - (?P<user>[A-Za-z_][\w.@-]{0,63}) \[\d\d/[A-Z][a-z]{2}/\d{4}",
        ('10.0.0.9 - alice [20/Nov/2026:20:49:02 +0000] "GET /api/tags HTTP/1.1" 200 12', "alice"),
        accepts=_person,
    ),
    Rule(
        "account of an id",
        "user",
        r"[ug]id=\d+\(|groups=\d",
        r"\b[eu]?[ug]id=\d+\((?P<user>[^()\s]{1,64})\)",
        ("uid=1000(alice) gid=1000(alice)", "alice"),
        accepts=_person,
    ),
    Rule(
        "login",
        "user",
        r"(?:for|invalid) (?:invalid )?user |accepted [a-z/-]+ for |sudo(?:\[\d+\])?: |-u(?:ser)? [a-z]|runuser|su - ",
        r"(?:(?:for|[Ii]nvalid) (?:invalid )?user |Accepted [a-z/-]+ for |\bsudo -u |\bsu - |\brunuser -u )"
        r"(?P<user>[A-Za-z_][\w.-]{0,63})(?=\(uid|$|\s|[.,;:])|"
        r"\bsudo(?:\[\d+\])?: +(?P<user_too>[A-Za-z_][\w.-]{0,63}) : ",
        ("sshd[811]: Accepted publickey for alice from 203.0.113.7 port 53124", "alice"),
        accepts=_rare_person,
    ),
    Rule(
        "remote shell",
        "user",
        r"(?:ssh|scp|sftp|rsync|mosh)[^|]{0,200}\s[a-z_][a-z0-9_.-]{0,31}@[a-z0-9]",
        rf"\b(?:ssh|autossh|scp|sftp|rsync|"
        rf"mosh)\b[^\n|;&]{{0,200}}?\s(?P<user>[A-Za-z_][\w.-]{{0,31}})@(?P<host>{_HOST_NAME})",
        ("ssh -p 2222 alice@gpu7 journalctl -u ollama", "alice"),
        accepts=_person_or_host,
    ),
    Rule(
        "prompt of a shell",
        "user",
        r"^(?:\([a-z0-9_.-]+\) )?\[?[a-z_][a-z0-9_.-]*@[a-z0-9][a-z0-9.-]*[: ~]",
        rf"^(?:\([\w.-]{{1,30}}\) )?\[?(?P<user>[A-Za-z_][\w.-]{{0,31}})@(?P<host>{_HOST_NAME})"
        r"[: ][^$#%>\n]{0,120}\]?[$#%>](?:\s|$)",
        ("alice@gpu7:~/models$ ollama ps", "alice"),
        accepts=_person_or_host,
    ),
    Rule(
        "row of processes or files",
        "user",
        r"^[a-z_][^ ]*\s+\d+\s+\d+[. ]|^[a-z-]{10}[.+@]?\s+\d+\s|^\s*\d+ [a-z_][^ ]*\s+(?:rt|-?\d+)\s+-?\d+\s",
        r"^(?:(?P<user>[A-Za-z_][\w.+-]{0,31})\s+\d+\s+(?:\d+\.\d\s+\d+\.\d\s+\d+\s+\d+\s|"
        r"\d+\s+\d+\s+\S+\s+\S+\s+\d+:\d\d)|"
        r"[bcdlps-][rwxsStT-]{9}[.+@]?\s+\d+\s+(?P<user_too>[A-Za-z_][\w.-]{0,31})\s|"
        r"\s*\d+ (?P<user_three>[A-Za-z_][\w.+-]{0,31})\s+(?:rt|-?\d+)\s+-?\d+\s+[\d.]+[kmgt]?\s)",
        ("alice     4211  3.1  0.4 1267444 67544 ?  Ssl  10:02  0:11 ollama serve", "alice"),
        accepts=_person,
    ),
    Rule(
        "host name",
        "host",
        r"host_?name|computer_? ?name|node_?name|\"host\"",
        r"(?<![A-Za-z0-9-])(?i:_?hostname|host_name|computer_?name|node_?name|(?:static|transient) hostname|"
        r"\"host(?=\"))"
        rf"(?:\\*[\"'])?\s{{0,4}}[=:]\s{{0,4}}(?:\\*[\"'])?(?P<host>{_HOST_NAME})",
        ('{"_HOSTNAME": "gpu7", "_PID": "12"}', "gpu7"),
        accepts=_private_and_rare,
    ),
    Rule(
        "host of a connection",
        "host",
        r"(?:^|[^a-z0-9_])(?:host|server_name|peer|upstream|server|data source)=(?:tcp:)?[\\\"']{0,8}[a-z0-9_-]+[.-]",
        r"(?<![A-Za-z0-9_])(?i:host|server_name|peer|upstream|server|data source)=(?:tcp:)?(?:\\*[\"'])?"
        rf"(?P<host>{_HOST_NAME})",
        ("HTTPSConnectionPool(host='rag.corp.example.com', port=443): Max retries exceeded", "rag.corp.example.com"),
        accepts=lambda value, match, quoted: ("." in value or "-" in value) and is_private_host(value),
    ),
    Rule(
        "name in a private domain",
        "host",
        r"[a-z0-9-]+\.(?:local|lan|intranet|corp|home\.arpa|localdomain)|(?:DESKTOP|LAPTOP|WIN)-[A-Z0-9]{4}",
        WORD_STARTS
        + r"(?<![/.@_-])(?:(?P<host>(?=[a-z]*[A-Z0-9-])[A-Za-z0-9][A-Za-z0-9-]{1,62}(?:\.[a-z0-9-]{1,63}){0,3}?"
        r"\.(?:local|lan|intranet|corp|"
        r"home\.arpa|localdomain))|(?P<host_too>(?:DESKTOP|LAPTOP|"
        r"WIN)-[A-Z0-9]{4,15})(?:\\{1,4}(?P<user>[A-Za-z_][\w.-]{0,63}))?)"
        r"(?![A-Za-z0-9_(]|\.[A-Za-z0-9])",
        ("saved on Alices-MacBook-Pro.local", "Alices-MacBook-Pro.local"),
        accepts=_person_or_host,
    ),
    Rule(
        "name of a computer",
        "host",
        r"(?:computer name|pretty hostname|local ?host ?name)\s{0,4}:",
        r"(?i:computer name|pretty hostname|local ?host ?name)\s{0,4}: +(?P<host>\S.{0,80}?)\s*$",
        ("      Computer Name: Alice's MacBook Pro", "Alice's MacBook Pro"),
    ),
    Rule(
        "system identity",
        "host",
        r"^(?:linux|darwin|freebsd) [a-z0-9_.-]+ [0-9]",
        r"^(?:Linux|Darwin|FreeBSD) (?P<host>[A-Za-z0-9_][\w.-]*) \d+\.\d+",
        ("Linux gpu7 6.8.0-45-generic #45-Ubuntu SMP x86_64 GNU/Linux", "gpu7"),
        accepts=_private,
    ),
    Rule(
        "name looked up",
        "host",
        r"lookup [a-z0-9_]",
        rf"\blookup (?P<host>{_HOST_NAME})(?= on |:)",
        ("dial tcp: lookup gpu7.example.com on 10.0.0.2:53: no such host", "gpu7.example.com"),
        accepts=_private,
    ),
    Rule(
        "serial number",
        "serial",
        r"machine.?id|(?:hardware|platform|system).?uuid|provisioning.?udid|serial",
        r"(?i:machine[-_ ]?id|(?:hardware|platform|system)[-_ ]?uuid|provisioning[-_ ]?udid|serial(?:[-_ ]?(?:number|"
        r"no))?"
        r"(?: ?\(system\))?)(?:\\*[\"'])?\s{0,40}[=:]\s{0,8}",
        ("      Serial Number (system): C02XK1JTJG5J", "C02XK1JTJG5J"),
        reads="value",
        accepts=lambda value, match, quoted: is_serial(value),
    ),
    Rule(
        "host in a URL",
        "host",
        r"://[^\s/]*[a-z]",
        rf"(?i:https?|wss?|ftps?|sftp|ssh|socks[45]?h?|postgres(?:ql)?|mysql|mariadb|rediss?|mongodb(?:\+srv)?|amqps?|"
        rf"grpc|"
        rf"tcp|udp|ldaps?|smtps?|imaps?|nats|kafka|git|rtsp|s3|clickhouse|neo4j|bolt|milvus|qdrant)://"
        rf"(?P<host>{_HOST_NAME})(?![A-Za-z0-9_.-]|[^\s\"'<>/?#]{{0,300}}@)",
        ('Post "http://gpu7.example.com:11434/api/chat": EOF', "gpu7.example.com"),
        accepts=_private,
    ),
)
