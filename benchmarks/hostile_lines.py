"""Lines that a careless reader trips over, for a generated log: `--hostile`. Truth is kept of each of them.

None may change what stands in the lines beside it. Zeros, bytes that are no UTF-8, both kinds of returns, quotes that
stay open, separators of tables, text that looks like SQL or like markup, and lines longer than a reader's buffer.
"""

from __future__ import annotations

import random
from collections import Counter

from log_pieces import Job, Pool, access_line

LONGEST_BYTES = 3_000_000
_PLAIN = (
    b"", b"\0\0\0", b"zeros \0 within \0 a line", b"no UTF-8: \xff\xfe \xc3( \x80\x9f", b"\xc2", b"half \xe2\x82", b"'",
    b'"', b'an open " quote', b"''';--", b'"",""', b"a\tb\tc", b"NULL", b"#", b"\\N", b"\\", b"\x1b[31mred\x1b[0m",
    b"<script>alert(1)</script>", b"'); DROP TABLE requests; --", b"{} %s {0} \\1 $ansi",
    "µ Ċ 模型 \u2028 \u0085".encode(), b"time=", b"[GIN] ", b"[GIN] 2", b"[GIN] 2026/11/20", b"msg=\"", b"\r", b"\r\r",
    b"pulling 1%\rpulling 50%\rpulling 99%", b"text\r", b"2026", b"slot ", b'{"log":"', b'{"function":"',
    b"level=INFO msg=x",
)  # fmt: skip
# What may stand around an access line without making it another.
_AROUND = ((b"\0\0", b""), (b"pulling 99%\r", b""), (b"", b"\r"), (b"....", b""), (b"^C", b""), (b"\xff", b""))


def hostile(pool: Pool, rng: random.Random) -> list[Job]:
    """One job for each; the long ones are rare."""
    jobs = [Job(-1, pool.add(line + b"\n", Counter())) for line in _PLAIN for _ in range(40)]
    for before, behind in _AROUND * 40:
        text, counts = access_line(rng.randrange(1_000, 10**11), 200, "127.0.0.1", "POST", "/api/chat")
        jobs.append(Job(-1, pool.add(before + text.removesuffix(b"\n") + behind + b"\n", counts)))
    long = [b"x" * LONGEST_BYTES, b'msg="' * (LONGEST_BYTES // 5), "µ".encode() * (LONGEST_BYTES // 2)]
    jobs += [Job(-1, pool.add(line + b"\n", Counter())) for line in long]
    return jobs
