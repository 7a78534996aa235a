"""One log in every dress it is found in: what journald, docker, shells and editors do to its bytes."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import zstandard

from warmstall.case import Case

INCIDENTS = Path(__file__).resolve().parents[1] / "data" / "incidents"
STARTED_AT = datetime(2026, 11, 20, 21, 9, 31, 145607, tzinfo=UTC)


def sample(name: str = "queue-one-slot") -> str:
    return (INCIDENTS / name / "evidence" / "server" / "server.log").read_text(encoding="utf-8")


def _prefixed(prefix: Callable[[datetime], str], end: str = "\n") -> Callable[[str], bytes]:
    def dress(text: str) -> bytes:
        lines = text.removesuffix("\n").split("\n")
        stamps = (STARTED_AT + timedelta(milliseconds=10 * number) for number in range(len(lines)))
        return "".join(f"{prefix(at)}{line}{end}" for at, line in zip(stamps, lines, strict=True)).encode()

    return dress


def _nanoseconds(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S.%f}789Z"


def _journal_json(text: str) -> bytes:
    rows = []
    for number, line in enumerate(text.removesuffix("\n").split("\n")):
        # journald writes as numbers what is not plain text
        message: object = list(line.encode()) if number % 7 == 0 else line
        rows.append({"__REALTIME_TIMESTAMP": "1795209371000000", "_PID": "12", "MESSAGE": message})
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _docker_json(text: str) -> bytes:
    """Docker breaks a line at 16 KiB and puts each piece in an object of its own."""
    out = []
    for line in text.removesuffix("\n").split("\n"):
        whole = line + "\n"
        for start in range(0, len(whole), 16384):
            record = {"log": whole[start : start + 16384], "stream": "stderr", "time": _nanoseconds(STARTED_AT)}
            out.append(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n")
    return "".join(out).encode()


def _json(text_key: str, time_key: str) -> Callable[[str], bytes]:
    at = _nanoseconds(STARTED_AT)
    return _lines(lambda line: json.dumps({"level": "info", text_key: line, time_key: at}, ensure_ascii=False))


def _csv(text: str) -> bytes:
    rows = io.StringIO()
    csv.writer(rows, lineterminator="\n").writerows([17952093710, line, "ollama"] for line in text.split("\n")[:-1])
    return rows.getvalue().encode()


def _cri_in_pieces(text: str) -> bytes:
    """Pieces of 60 characters, with a line of the other stream between them."""
    out, at = [], _nanoseconds(STARTED_AT)
    for line in text.removesuffix("\n").split("\n"):
        pieces = [line[start : start + 60] for start in range(0, len(line), 60)] or [""]
        out += [f"{at} stderr P {piece}\n{at} stdout F \n" for piece in pieces[:-1]]
        out.append(f"{at} stderr F {pieces[-1]}\n")
    return "".join(out).encode()


def _gin_in_colour(text: str) -> bytes:
    text = re.sub(r"\| (\d{3}) \|", "|\x1b[97;42m \\1 \x1b[0m|", text)
    return re.sub(r"\| (GET|POST|DELETE|HEAD)( +)\"", '|\x1b[97;44m \\1\\2\x1b[0m "', text).encode()


def _lines(change: Callable[[str], str]) -> Callable[[str], bytes]:
    return lambda text: "".join(change(line) + "\n" for line in text.removesuffix("\n").split("\n")).encode()


def _glued(line: str) -> str:
    return f"^C.....{line}" if line.startswith(("[GIN]", "time=")) else line


DRESSES: dict[str, Callable[[str], bytes]] = {
    "plain": str.encode,
    "no final newline": lambda text: text.removesuffix("\n").encode(),
    "journald short": _prefixed(lambda at: f"{at:%b %d %H:%M:%S} box ollama[123]: "),
    "journald precise": _prefixed(lambda at: f"{at:%b %d %H:%M:%S.%f} box ollama[123]: "),
    "journald chinese month": _prefixed(lambda at: f"3月 27 {at:%H:%M:%S} box ollama[123]: "),
    "journald padded month": _prefixed(lambda at: f" 3月  7 {at:%H:%M:%S} box ollama[123]: "),
    "journald french month": _prefixed(lambda at: f"mars 27 {at:%H:%M:%S} box ollama[123]: "),
    "journald vietnamese month": _prefixed(lambda at: f"Thg 3 27 {at:%H:%M:%S} box ollama[123]: "),
    "short-iso": _prefixed(lambda at: f"{at:%Y-%m-%dT%H:%M:%S}+0000 box ollama[123]: "),
    "short-iso with colon": _prefixed(lambda at: f"{at:%Y-%m-%dT%H:%M:%S.%f}+00:00 box ollama[123]: "),
    "short-full": _prefixed(lambda at: f"Fri {at:%Y-%m-%d %H:%M:%S} UTC box ollama[123]: "),
    "short-full localized": _prefixed(lambda at: f"金 {at:%Y-%m-%d %H:%M:%S} JST box ollama[123]: "),
    "journalctl -o json": _journal_json,
    "compose v2": _prefixed(lambda at: "ollama-1  | "),
    "compose v1": _prefixed(lambda at: "ollama_1  | "),
    "compose coloured": _prefixed(lambda at: "\x1b[36mollama-1  | \x1b[0m"),
    "compose v1 coloured": _prefixed(lambda at: "\x1b[36;1mollama_1  |\x1b[0m "),
    "docker logs -t": _prefixed(lambda at: f"{_nanoseconds(at)} "),
    "compose, then -t": _prefixed(lambda at: f"ollama-1  | {_nanoseconds(at)} "),
    "-t, then compose": _prefixed(lambda at: f"{_nanoseconds(at)} ollama-1  | "),
    "docker json-file": _docker_json,
    "cri": _prefixed(lambda at: f"{_nanoseconds(at)} stderr F "),
    "cri with offset": _prefixed(lambda at: f"{at:%Y-%m-%dT%H:%M:%S.%f}123+00:00 stdout F "),
    "cri in pieces": _cri_in_pieces,
    "kubectl --prefix": _prefixed(lambda at: "[pod/ollama-0/ollama] "),
    "kubectl --prefix --timestamps": _prefixed(lambda at: f"[pod/ollama-0/ollama] {_nanoseconds(at)} "),
    "GIN in colour": _gin_in_colour,
    "GIN in colour, shown by less": lambda text: _gin_in_colour(text).replace(b"\x1b", b"^["),
    "CRLF": _prefixed(lambda at: "", end="\r\n"),
    "journald CRLF": _prefixed(lambda at: f"{at:%b %d %H:%M:%S} box ollama[123]: ", end="\r\n"),
    "UTF-8 with mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "UTF-16 LE with mark": lambda text: b"\xff\xfe" + text.encode("utf-16-le"),
    "UTF-16 BE with mark": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "UTF-16 LE CRLF": lambda text: b"\xff\xfe" + text.replace("\n", "\r\n").encode("utf-16-le"),
    "UTF-16 LE without mark": lambda text: text.encode("utf-16-le"),
    "stray zeros": lambda text: b"\0\0\0" + text.replace("200 |", "2\x0000 |").replace("level", "le\0vel").encode(),
    "latin-1": lambda text: text.encode("latin-1", "replace"),
    "µ read as latin-1": lambda text: text.replace("µ", "Âµ").encode(),
    "µ read as cp437": lambda text: text.replace("µ", "┬╡").encode(),
    "µ as question mark": lambda text: text.replace("µ", "?").encode(),
    "gzip": lambda text: gzip.compress(text.encode()),
    "gzip, two members": lambda text: gzip.compress(text.encode()[:5000]) + gzip.compress(text.encode()[5000:]),
    "zstd": lambda text: zstandard.compress(text.encode()),
    "zstd, two frames": lambda text: (
        zstandard.compress(text.encode()[:5000]) + zstandard.compress(text.encode()[5000:])
    ),
    "progress bars": _lines(lambda line: f"pulling 10%\rpulling 99%\r{line}" if line.startswith("[GIN]") else line),
    "glued": _lines(_glued),
    # Forms that no table knows: the prefix is learned.
    "docker service logs": _prefixed(lambda at: "chat_ollama.1.q2ulqqdaq5xk@node-1    | "),
    "stern": _prefixed(lambda at: "ollama-6d5f9c7b8-x2x4z ollama "),
    "pm2": _prefixed(lambda at: "0|ollama   | "),
    "Docker Desktop": _prefixed(lambda at: f"{at:%Y-%m-%d %H:%M:%S} "),
    "journalctl --no-hostname": _prefixed(lambda at: f"{at:%b %d %H:%M:%S} ollama[12]: "),
    "Grafana": _prefixed(lambda at: f"{_nanoseconds(at)}\t"),
    "logcli": _prefixed(lambda at: f'{at:%Y-%m-%dT%H:%M:%SZ} {{pod="ollama-0"}} '),
    "aws logs tail": _prefixed(lambda at: f"{at:%Y-%m-%dT%H:%M:%S.%f}+00:00 ollama/ollama/abc123 "),
    "rfc 5424": _prefixed(lambda at: f"<30>1 {_nanoseconds(at)} box ollama 12 - - "),
    "grep -n": lambda text: "".join(f"{n}:{line}\n" for n, line in enumerate(text.split("\n")[:-1], 1)).encode(),
    "cat -n": lambda text: "".join(f"{n:6}\t{line}\n" for n, line in enumerate(text.split("\n")[:-1], 1)).encode(),
    "quoted": _prefixed(lambda at: "> "),
    "Loki's JSON": _json("line", "timestamp"),
    "a collector's JSON": _json("message", "@timestamp"),
    "a desktop app's JSON": _json("msg", "time"),
    "a cloud's JSON": _json("textPayload", "timestamp"),
    "JSON over several lines": lambda text: json.dumps([{"line": one} for one in text.split("\n")], indent=1).encode(),
    "a cloud's CSV": _csv,
}


def rows(tables: Path, table: str) -> list[dict[str, object]]:
    connection = Case(tables, []).connect(table)
    view = connection.sql(f"FROM {'access_lines' if table == 'requests' else table}")
    return sorted(view.to_arrow_table().to_pylist(), key=lambda row: (str(row["source"]), row["line"]))


def requests_and_keys(tables: Path) -> tuple[list[tuple[object, ...]], list[object]]:
    """What no dress may change: of requests their answer, wall time, call and local end, and the event keys."""
    told = ("status", "wall_s", "method", "path", "client", "ended_local")
    requests = [tuple(row[name] for name in told) for row in rows(tables, "requests")]
    return requests, [row["key"] for row in rows(tables, "events")]
