"""Redaction: no secret is left in any form, relations survive, and the diagnosis is the same but for the tokens."""

from __future__ import annotations

import csv
import json
import random
import re
import stat
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import INCIDENTS, RECORDED
from secrets_planted import LETTERS, SIGNS, Planted, echoed, plant, quoted, slog, templated, wrapped, writings
from warmstall.analysis import analyze
from warmstall.answer import summarize
from warmstall.errors import InputError, OutputError
from warmstall.parse.encodings import decode, detect_encoding
from warmstall.parse.go_values import go_map, pairs
from warmstall.parse.log_events import event_in
from warmstall.redact import KINDS, Redactor, rescan, tokens
from warmstall.redact.blocks import readable
from warmstall.redact.findings import matches
from warmstall.redact.gate import Gate
from warmstall.redact.judging import can_go_everywhere
from warmstall.redact.rules import RULES
from warmstall.redact.tokens import Tokens

CONFIG = slog("server config", 'env="map[{} OLLAMA_DEBUG:INFO OLLAMA_KEEP_ALIVE:5m0s]"', "INFO")


def redacted(text: str, **known: str) -> str:
    """The text as a redactor that has learned it writes it."""
    redactor = Redactor(salt=b"salt", known=known)
    redactor.learn(text)
    return redactor.redact(text)


@pytest.fixture(scope="module")
def planted() -> Planted:
    """240 secrets of 14 kinds; those that can go wherever they stand also where no rule knows them."""
    planted = plant(seed=1)
    for secret, kind in planted.secrets.items():
        if kind != "address" and can_go_everywhere(secret, kind):
            planted.add("echo.txt", "\n".join(echoed(secret)))
    return planted


@pytest.fixture(scope="module")
def redactor(planted: Planted) -> Redactor:
    redactor = Redactor(salt=b"salt", known=planted.known)
    for text in (*planted.files.values(), *planted.names):
        redactor.learn(text)
    return redactor


@pytest.fixture(scope="module")
def clean(planted: Planted, redactor: Redactor) -> dict[str, str]:
    return {file: redactor.redact(text) for file, text in planted.files.items()}


# --- nothing is left ----------------------------------------------------------------------------------------------


def test_none_of_200_planted_secrets_is_left(planted, redactor, clean):
    out = "\n".join([*clean.values(), *map(redactor.redact_name, planted.names)]).lower()

    assert len(planted.secrets) >= 200
    assert len(set(planted.secrets.values())) >= 12
    assert "echo.txt" in planted.files
    assert [kind for secret, kind in planted.secrets.items() for form in writings(secret) if form.lower() in out] == []


@pytest.mark.parametrize("seed", range(2, 6))
def test_nor_of_others(seed):
    planted = plant(seed, of_each=11)
    redactor = Redactor(known=planted.known)
    for text in planted.files.values():
        redactor.learn(text)
    out = "\n".join(redactor.redact(text) for text in planted.files.values()).lower()

    assert [kind for secret, kind in planted.secrets.items() for form in writings(secret) if form.lower() in out] == []


def test_redacting_twice_changes_nothing(redactor, clean):
    assert {file: redactor.redact(text) for file, text in clean.items()} == clean
    assert {file: redactor.leaks(text) for file, text in clean.items() if redactor.leaks(text)} == {}


def test_lines_stay_lines_and_formats_stay_formats(planted, clean):
    assert {file: text.count("\n") for file, text in clean.items()} == {
        file: text.count("\n") for file, text in planted.files.items()
    }
    for file in ("docker.jsonl", "journal.jsonl", "trials.jsonl"):
        assert all(isinstance(json.loads(line), dict) for line in clean[file].splitlines())
    assert all(len(row) == 3 for row in csv.reader(clean["trials.csv"].splitlines()))
    for before, after in zip(planted.files["server.log"].split("\n"), clean["server.log"].split("\n"), strict=True):
        assert list(pairs(after)) == list(pairs(before))
        assert list(go_map(pairs(after).get("env", ""))) == list(go_map(pairs(before).get("env", "")))


def test_the_same_secret_has_the_same_token_everywhere_and_different_ones_differ(planted, redactor):
    found = {secret: redactor.redact(f"<{secret}>") for secret, kind in planted.secrets.items() if kind != "prompt"}

    assert len(set(found.values())) == len(found)
    assert redactor.redact("/home/alice/x and C:\\Users\\Alice\\x").count("user-") == 2
    assert len(set(re.findall(r"user-\w+", redactor.redact("/home/alice/x and C:\\Users\\Alice\\x")))) == 1


def test_short_tokens_that_collide_grow(monkeypatch):
    monkeypatch.setattr(tokens, "_DIGITS", 2)
    given = Tokens(b"salt")
    found = [given.of(f"value {number}", "secret") for number in range(400)]

    assert len(set(found)) == 400
    assert [given.of(f"value {number}", "secret") for number in range(400)] == found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_finds_its_sample(rule):
    line, secret = rule.sample
    out = redacted(line)

    assert secret in [value.text for value, _ in matches(rule, line)]
    assert re.search(rule.hint, line, re.IGNORECASE)
    assert len(secret) < 4 or secret not in out
    assert redacted(out).count("\n") == out.count("\n")


def test_hints_mean_the_same_to_re2_and_python():
    lines = [rule.sample[0] for rule in RULES] + [
        line for text in plant(9, 4).files.values() for line in text.split("\n")
    ]
    gate = Gate([rule.hint for rule in RULES])

    assert gate.open_for(lines, small=0) == gate.open_for(lines, small=10**9)


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_no_random_secret_survives_in_any_writing(data):
    """Quoted at any depth it may hold anything; bare, no space and no quote."""
    word = st.text(LETTERS + "!#$%*+-._~^/@()|{}[]<>?:,;=&", min_size=8, max_size=30).map(lambda text: f"Wq7{text}V")
    phrase = st.text(LETTERS + SIGNS + " éßжλ中😀", min_size=8, max_size=40).map(lambda text: f"Wq7{text}V")
    secret, line = data.draw(
        st.one_of(
            st.tuples(
                phrase,
                st.sampled_from([
                    lambda s: json.dumps({"user_id": 7, "password": s, "n": 1}),
                    lambda s: wrapped(json.dumps({"x": json.dumps({"api_key": s})}, ensure_ascii=False)),
                    lambda s: f"settings = {{'db_password': {s!r}, 'n': 1}}",
                    lambda s: wrapped(f"settings = {{'db_password': {s!r}, 'n': 1}}"),
                    lambda s: slog("chat request", f"images=0 prompt={quoted(s)}"),
                    lambda s: wrapped(slog("generate request", f"prompt={quoted(templated(s))} images=[]")),
                    lambda s: f"ValueError: {({'model': 'tiny', 'messages': [{'role': 'user', 'content': s}]})!r}",
                    lambda s: f"GET /a?n=1&token={quote(s, safe='')}&b=2 HTTP/1.1",
                ]),
            ),
            st.tuples(
                word,
                st.sampled_from([
                    lambda s: f"OPENAI_API_KEY={s}",
                    lambda s: f"PATH=/bin\0HF_TOKEN={s}\0HOME=/root",
                    lambda s: json.dumps({"Env": ["PATH=/x", f"PGPASSWORD={s}"]}),
                    lambda s: f"worker --password {s} --port 80",
                    lambda s: f"psql postgres://svc:{quote(s, safe='')}@10.0.0.7/rag",
                ]),
            ),
        )
    )  # fmt: skip
    line = line(secret)
    everywhere = can_go_everywhere(secret, "prompt" if "prompt" in line or "content" in line else "password")
    text = "\n".join([line, *(echoed(secret) if everywhere else [])])
    redactor = Redactor(salt=b"salt")
    redactor.learn(text)
    out = redactor.redact(text)

    assert [form for form in writings(secret) if form in out] == []
    assert redactor.redact(out) == out
    assert redactor.leaks(out) == []
    assert not out.startswith("{") or json.loads(out.split("\n")[0])


@settings(deadline=None, max_examples=60)
@given(pieces=st.lists(st.sampled_from([
    *(rule.sample[0] for rule in RULES), '"', "'", "\\", "=", ": ", "://", "@", '{"log":"', 'prompt="', "password=",
    "\0",
    "\ud800", "\x1b[31m", "é", "\r", "\n", "[GIN] 2026/11/20 - 20:49:02 | 200 |", "-----BEGIN PRIVATE KEY-----",
    "token=",
    '"MESSAGE":[104,105', "a,prompt,b\n", '1,"x\n', "secret-00000000", "name: X_TOKEN\n value: ", "[" * 50,
    "\\" * 50,
]), max_size=30))  # fmt: skip
def test_junk_is_read_and_comes_to_rest(pieces):
    text = "".join(pieces)
    redactor = Redactor(salt=b"salt", known={"gpu7": "host"})
    redactor.learn(text)
    out = redactor.redact(text)

    assert out.count("\n") == text.count("\n")
    assert redactor.redact(out) == out
    assert redactor.leaks(out) == []
    assert "/" not in redactor.redact_name(text)


@pytest.mark.parametrize(
    "unit", ["\\", "user=", "?key=a&", "token='", 'key=\\"', "a@", "://a:", "[", "1.1.1.1.", "é ", "%2F"]
)
def test_a_hostile_line_of_a_megabyte_is_finished(unit):
    """A pattern that looked at everything again from every place would not end before the test's time does."""
    line = f"password={unit * (1_000_000 // len(unit))}"

    assert Redactor(salt=b"salt").redact(line) != ""


# --- what is no secret stays --------------------------------------------------------------------------------------

HARMLESS = """
time=2026-11-20T20:49:03.079Z level=INFO source=types.go:60 msg="inference compute" id=GPU-4f3c2b1a-1111-2222-3333-444455556666 library=cuda compute=8.9 driver=12.8 name="NVIDIA GeForce RTX 4090" total="23.5 GiB"
time=2026-11-20T20:49:03.079Z level=INFO source=routes.go:1158 msg="Listening on [::]:11434 (version 0.13.5.1)"
time=2026-11-20T20:49:03.079Z level=WARN source=runner.go:153 msg="truncating input prompt" limit=4096 prompt=8365 keep=5 new=4096
time=2026-11-20T20:49:03.079Z level=DEBUG source=server.go:1509 msg="completion request" images=0 prompt=114 format=""
time=2026-11-20T20:49:03.079Z level=DEBUG source=llama_server.go:1886 msg="llama-server chat request" messages=3 tools=0
time=2026-11-20T20:49:03.079Z level=DEBUG source=ggml.go:282 msg="key not found" key=general.alignment default=32
time=2026-11-20T20:49:03.079Z level=INFO source=ggml.go:1 msg="model weights" buffer=CPU size="1.2 GiB"
time=2026-11-20T20:49:03.079Z level=WARN source=server.go:1196 msg="llama runner process no longer running" sys=9 string="signal: killed"
time=2026-11-20T20:49:03.079Z level=INFO source=server.go:400 msg="starting runner" cmd="/usr/bin/ollama runner --model /usr/share/ollama/.ollama/models/blobs/sha256-ff9088351f6c15786e2807b384d5a942ebed486de8ae03e6468428e6ebd86c57 --port 38551"
[GIN] 2026/11/20 - 20:49:02 | 200 |  333.156µs |       127.0.0.1 | POST     "/api/generate"
[GIN] 2026/11/20 - 20:49:02 | 200 |  1m2s |    192.168.1.20 | GET      "/v1/models"
[GIN] 2026/11/20 - 20:49:02 | 200 |  1m2s |      fe80::7%2 | GET      "/v1/models"
print_info: EOG token        = 151643 '<|endoftext|>'
load: control token:    128011 '<|reserved_special_token_3|>' is not marked as EOG
slot print_timing: id  0 | task 3 | n_tokens = 45, truncated = 0
llama_model_loader: - kv  14: tokenizer.ggml.tokens arr[str,728] = ["<unk>", "<s>"]
OLLAMA_KEEP_ALIVE=5m0s KV_CACHE_TYPE=q8_0 TOKENIZERS_PARALLELISM=false num_token=5 max_tokens=100 eos_token="</s>"
model=registry.ollama.ai/library/llama3.1:8b-instruct-q4_K_M image=ollama/ollama:0.13.5 id=0a1b2c3d4e5f
Linux 5.15.153.1-microsoft-standard-WSL2, driver version 31.0.15.4601, rocm 6.1.2.3, libcublas.so.12.8.4.1, v1.2.3.4
"Mozilla/5.0 Chrome/120.0.0.0 Safari/537.36" user@1000.service getty@tty1.service logo@2x.png memcpy@GLIBC_2.2.5
main.main(0xc000123456) /go/pkg/mod/github.com/spf13/cobra@v1.7.0/command.go:940 +0x1d
0000:01:00.0 VGA compatible controller aa:bb:cc:dd:ee:ff 20:49:03 2026:11:20 std::string ggml::add
invalid token: unexpected end; password authentication failed; Bearer token required; cookie: none
User=ollama Group=ollama uid=0(root) /home/.ollama /Users/Shared/x
2026-11-20T20:49:02.145607123Z slot print_timing: id  0 | task 3 | eval time = 10 ms
Get "https://registry.ollama.ai/v2/library/x/manifests/latest": dial tcp: lookup registry.ollama.ai on 127.0.0.53:53: no such host
    api_key=os.environ["OPENAI_API_KEY"], password=get_password(), token=self.token,
""".strip().split("\n")  # noqa: E501


@pytest.mark.parametrize("line", HARMLESS)
def test_harmless(line):
    assert redacted(line) == line


@pytest.mark.parametrize(
    "text",
    [
        "password=root\nread by root",
        "PGPASSWORD=admin\nadmin and administrator",
        '{"password": "a1b2"}\na1b2c3 and a1b2',
        "DB_PASSWORD=llama\nllama_model_loader: loaded meta data",
        "PASSWORD=8589934\nsize 8589934",
        "/home/al/x\nal and also",
        "Nov 20 20:49:03 box ollama[7]: x\nbox of boxes",
        "/home/mark/x\nload: control token '<s>' is not marked, mark",
    ],
)
def test_short_and_common_values_go_only_where_a_rule_finds_them(text):
    first, second = text.split("\n")
    out = redacted(text).split("\n")

    assert out[0] != first
    assert out[1] == second


def test_a_word_goes_only_as_a_whole():
    out = redacted("alice savannalice alice2 ALICE's alice_x %2Fhome%2Falice", alice="user")

    assert re.sub(r"user-\w{8}", "U", out) == "U savannalice alice2 U's U_x %2Fhome%2FU"


def test_a_secret_goes_from_within_other_text():
    out = redacted("API_KEY=k3y/of-mine\nxk3y/of-minex dump_k3y%2Fof-mine.txt")

    assert "of-mine" not in out


def test_what_is_kept_stays_and_its_neighbours_go():
    text = "http://svc:Kq7-pass-z@gpu7.example.com:8080 alice@mail.example.com 203.0.113.7"
    redactor = Redactor(salt=b"salt", keep=("host", "email"))

    out = redactor.redact(text)

    assert re.sub(r"-\w{8}\b", "-T", out) == "http://secret-T@gpu7.example.com:8080 alice@mail.example.com address-T"
    with pytest.raises(InputError, match="there is no such kind"):
        Redactor(keep=("hosts",))


# --- the diagnosis is the same ------------------------------------------------------------------------------------


def leaves(node: Any, redactor: Redactor) -> Any:
    """The same with every text in it redacted."""
    if isinstance(node, dict):
        return {redactor.redact(key): leaves(value, redactor) for key, value in node.items()}
    if isinstance(node, list):
        return [leaves(value, redactor) for value in node]
    return redactor.redact(node) if isinstance(node, str) else node


def logs(shared: Path) -> list[Path]:
    return sorted([*shared.glob("real-ollama/*/*/server.log"), *shared.glob("corpus/server-log/*.log")])


def test_every_event_of_every_real_log_is_still_found(shared):
    changed = 0
    for path in logs(shared):
        data = path.read_bytes()
        text = decode(data, detect_encoding(data[:4096]))
        redactor = Redactor(salt=b"salt")
        redactor.learn(text)
        out = redactor.redact(text)
        for before, after in zip(readable(text), readable(out), strict=True):
            if before != after:
                changed += 1
                first, second = event_in(before), event_in(after)
                assert (first is None) == (second is None), path
                if first and second:
                    assert (first.key, set(first.fields)) == (second.key, set(second.fields)), path

    assert changed > 5000


def test_what_is_taken_from_real_logs_is_what_should_be(shared):
    """Of logs that other machines wrote: their people, hosts and addresses, and signatures of URLs; nothing else."""
    redactor = Redactor(salt=b"salt")
    for path in shared.glob("corpus/server-log/*.log"):
        data = path.read_bytes()
        text = decode(data, detect_encoding(data[:4096]))
        redactor.learn(text)
        redactor.redact(text)
    rules = {rule.name: rule.kind for rule in RULES}

    assert {rules.get(name, name) for name in redactor.counts} <= {
        "user", "address", "query", "known host", "known user", "host", "known query", "private-key",
    }  # fmt: skip
    assert redactor.counts["home folder"] > 300


@pytest.mark.parametrize("incident", RECORDED)
def test_the_summary_is_the_same_but_for_the_tokens(incident, tmp_path, monkeypatch):
    log = (INCIDENTS / incident / "evidence" / "server" / "server.log").read_text(encoding="utf-8")
    private = (
        log.replace("/usr/share/ollama", "/home/alice")
        .replace("      127.0.0.1 |", "    203.0.113.77 |", log.count("127.0.0.1 |") // 2)
        .replace("HTTP_PROXY: ", "HTTP_PROXY:http://alice:hunter22@proxy.example.com:3128 ")
    )
    private = "\n".join(f"Nov 20 20:49:03 gpu7 ollama[7]: {line}" if line else "" for line in private.split("\n"))
    redactor = Redactor(salt=b"salt")
    redactor.learn(private)
    summaries = []
    for folder, text in (("before", private), ("after", redactor.redact(private))):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        Path("server.log").write_text(text, encoding="utf-8")
        summaries.append(json.loads(json.dumps(summarize(analyze("server.log")), default=str)))

    assert private != redactor.redact(private)
    assert leaves(summaries[0], redactor) == leaves(summaries[1], redactor)


def test_a_client_remains_a_client(tmp_path):
    line = '[GIN] 2026/11/20 - 20:49:0{} | 200 |  17.1ms | {:>15} | POST     "/api/chat"'
    text = "\n".join(line.format(n, client) for n, client in enumerate(["203.0.113.7", "198.51.100.9", "203.0.113.7"]))
    (tmp_path / "server.log").write_text(redacted(text) + "\n", encoding="utf-8")
    clients = analyze(tmp_path / "server.log").requests().client.tolist()

    assert clients[0] == clients[2] != clients[1]
    assert all(client.startswith("address-") for client in clients)


# --- texts in pieces ----------------------------------------------------------------------------------------------


def test_text_may_come_in_pieces_of_whole_lines(planted, clean):
    redactor = Redactor(salt=b"salt", known=planted.known)
    draw = random.Random(7)
    pieces = {}
    for file, text in planted.files.items():
        if file not in ("trials.csv", "pod.yaml", "docker.jsonl"):  # these are to be given whole
            cuts = sorted({0, len(text), *(text.find("\n", draw.randrange(len(text))) + 1 for _ in range(6))})
            pieces[file] = [text[start:end] for start, end in pairwise(cuts)]
    for text in (*planted.files.values(), *planted.names):
        redactor.learn(text)

    for file, parts in pieces.items():
        assert "".join(map(redactor.redact, parts)) == clean[file]


def test_a_prompt_that_docker_broke_goes_with_all_its_pieces():
    whole = slog("chat request", f"images=0 prompt={quoted('very private words ' * 3000)} x=1") + "\n"
    records = []
    for start in range(0, len(whole), 16384):
        for text, stream in (
            (whole[start : start + 16384], "stderr"),
            ("[GIN] 2026/11/20 - 20:49:02 | 200 |\n", "stdout"),
        ):
            records.append(json.dumps({"log": text, "stream": stream, "time": "2026"}, separators=(",", ":")))
    out = redacted("\n".join(records))

    assert len(records) == 8
    assert "private" not in out
    assert out.count("[GIN] 2026/11/20 - 20:49:02 | 200 |") == 4
    assert json.loads(out.split("\n")[-2])["log"].endswith('" x=1\n')


def test_a_prompt_that_the_journal_broke_goes_with_all_its_pieces():
    whole = slog("chat request", f"images=0 prompt={quoted('very private wörds ' * 6000)} x=1")
    pieces = [whole[start : start + 48_000] for start in range(0, len(whole), 48_000)]
    lines = [f"Nov 20 20:49:03 gpu7 ollama[7]: {piece}" for piece in pieces]
    out = redacted("\n".join([*lines, "Nov 20 20:49:03 gpu7 ollama[7]: llama_kv_cache: size = 1 MiB"]))

    assert len(pieces) == 3
    assert "private" not in out
    assert out.split("\n")[-2].endswith('" x=1')
    assert out.endswith("llama_kv_cache: size = 1 MiB")


def test_what_the_journal_writes_as_numbers_is_read():
    line = json.dumps({"MESSAGE": list(b"\x1b[31mOPENAI_API_KEY=k3y-to-nothing"), "_PID": "7"})

    assert json.loads(redacted(line))["MESSAGE"].startswith("\x1b[31mOPENAI_API_KEY=secret-")


# --- leaks, names, maps, counts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", ["Wq7/ä\\x'y z", "k3y-to-nothing"])
def test_leaks_are_found_in_every_form_and_never_told(secret):
    redactor = Redactor(salt=b"salt")
    redactor.learn(json.dumps({"password": secret}))
    for text in echoed(secret):
        found = redactor.leaks(f"line\n{text}")
        assert [leak.kind for leak in found]
        assert all(leak.offset >= 5 for leak in found)
        assert secret not in repr(found)
        assert redactor.leaks(f"line\n{text}".encode())

    assert redactor.leaks("line\nnothing here") == []


def test_the_rescan_finds_what_is_left_in_files_and_in_their_names(tmp_path, planted, redactor, clean):
    for file, text in clean.items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    for name in planted.names:
        (tmp_path / redactor.redact_name(name)).write_bytes(b"\0\xff binary")
    assert rescan(tmp_path, redactor) == []

    user, key = (next(s for s, kind in planted.secrets.items() if kind == wanted) for wanted in ("user", "api-key"))
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / f"of-{user}.txt").write_text("")
    (tmp_path / "deep" / "wide.txt").write_bytes(f"line\n{key}".encode("utf-16"))
    (tmp_path / "deep" / "junk.bin").write_bytes(b"\xff\0" + b"junk\n" * 9 + key.encode())
    (tmp_path / "deep" / "link").symlink_to(f"/home/{user}/x")
    found = rescan(tmp_path, redactor)

    assert {(leak.path, leak.kind) for leak in found} == {
        (f"deep/of-{user}.txt", "user"), ("deep/wide.txt", "api-key"), ("deep/junk.bin", "api-key"),
        ("deep/link", "user"),
    }  # fmt: skip
    assert next(leak.offset for leak in found if leak.path.endswith(".txt") and leak.kind == "user") == -1


def test_the_map_gives_the_same_tokens_again_and_is_its_owners_alone(tmp_path, planted, redactor, clean):
    path = tmp_path / "state" / "map.json"
    redactor.save(path)
    again = Redactor.load(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
    assert {file: again.redact(text) for file, text in planted.files.items()} == clean
    assert all(again.leaks(text) == [] for text in clean.values())
    assert again.redact_name(next(iter(planted.known))).startswith("user-")


def test_a_map_that_cannot_be_used_is_refused(tmp_path):
    (tmp_path / "map.json").write_text('{"salt": 7}')
    with pytest.raises(InputError, match="no map of tokens"):
        Redactor.load(tmp_path / "map.json")
    with pytest.raises(InputError, match="cannot be read"):
        Redactor.load(tmp_path / "none.json")
    with pytest.raises(OutputError, match="cannot be written"):
        Redactor().save(tmp_path / "map.json" / "x")


def test_names_are_safe_and_without_secrets():
    redactor = Redactor(salt=b"salt", known={"box": "host", "alice": "user"})

    assert redactor.redact_name("box").startswith("host-")
    assert redactor.redact_name("server.log") == "server.log"
    assert redactor.redact_name("../../x") == "_.._x"
    assert not set("/\\\0\n:") & set(redactor.redact_name("a/b\\c\0d\ne:f"))
    assert not redactor.redact_name("..").startswith(".")
    assert len(redactor.redact_name("ä" * 300 + ".log").encode()) <= 200
    assert redactor.redact_name("ä" * 300 + ".log").endswith(".log")
    assert (
        re.sub(r"-[0-9a-f]{8}", "-T", redactor.redact_name("alice_bob@mail.example.com_203.0.113.7.log"))
        == "email-T_address-T.log"
    )


def test_counts_tell_what_each_rule_took():
    redactor = Redactor(salt=b"salt", known={"gpu7": "host"})
    redactor.redact("gpu7 /home/alice/a /home/alice/b 203.0.113.7")

    assert redactor.counts == {"IPv4 address": 1, "home folder": 2, "known host": 1}
    assert redactor.counts is not redactor.counts


def test_kinds_have_a_sentence_each():
    assert {rule.kind for rule in RULES} <= set(KINDS)
    assert all(text.endswith(".") for text in KINDS.values())
