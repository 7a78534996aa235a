"""Captures of an invented host with secrets in them, by a seed: what redaction must find wherever it stands."""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

SYLLABLES = (
    "ka",
    "ri",
    "mo",
    "ten",
    "vel",
    "os",
    "qu",
    "ar",
    "bi",
    "lun",
    "dor",
    "fen",
    "wix",
    "zo",
    "jul",
    "pem",
    "nar",
)
WORDS = ("quarterly", "invoice", "patient", "heron", "lighthouse", "ledger", "violin", "orchard", "salary", "merger")
SIGNS = "!@#$%^&*()-_=+[]{}:,.?/|~<>;'\"\\"
LETTERS = string.ascii_letters + string.digits


@dataclass
class Planted:
    """Text by file name, every secret in it with its kind, and names of files that hold some of them."""

    files: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    known: dict[str, str] = field(default_factory=dict)

    def add(self, file: str, text: str) -> None:
        self.files[file] = self.files.get(file, "") + text + "\n"


class Maker:
    """Secrets of every kind, hardly any two alike."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def letters(self, count: int, alphabet: str = LETTERS) -> str:
        return "".join(self.random.choices(alphabet, k=count))

    def word(self) -> str:
        return "".join(self.random.sample(SYLLABLES, 3)) + self.letters(2, string.ascii_lowercase)

    def with_signs(self, signs: str = "-_.~") -> str:
        return "Kq7" + "".join(self.random.sample(self.letters(8) + self.letters(3, signs), 11)) + "z"

    def password(self) -> str:
        return self.with_signs(SIGNS)

    def key(self) -> str:
        return self.random.choice(
            [
                f"sk-proj-{self.letters(24)}7", f"sk-{self.letters(30)}4", f"hf_{self.letters(34)}1",
                f"ghp_{self.letters(36)}2", f"gho_{self.letters(36)}3", f"glpat-{self.letters(20)}6",
                f"github_pat_{self.letters(22)}_{self.letters(9)}4", f"AKIA{self.letters(15, string.ascii_uppercase)}7",
                f"AIza{self.letters(34)}5", f"npm_{self.letters(36)}8",
                f"xoxb-{self.letters(11, string.digits)}-{self.letters(24)}",
                f"eyJ{self.letters(17)}.eyJ{self.letters(30)}.{self.letters(27)}",
            ]
        )  # fmt: skip

    def token(self) -> str:
        return self.letters(32) + "9"

    def prompt(self) -> str:
        return f'Why does the {" ".join(self.random.sample(WORDS, 6))} of {self.word()} say "{self.word()}"?'

    def email(self) -> str:
        return f"{self.word()}.{self.word()}@{self.word()}.example.com"

    def address(self) -> str:
        if self.random.random() < 0.25:
            return f"2001:db8:{self.letters(3, '123456789abcdef')}::{self.letters(4, '123456789abcdef')}"
        return f"{self.random.choice(['203.0.113', '198.51.100', '192.0.2'])}.{self.random.randrange(1, 255)}"

    def host(self) -> str:
        domain = self.random.choice(["", ".example.com", ".corp.example.org"])
        return f"{self.word()}-{self.letters(2, string.digits)}{domain}"

    def serial(self) -> str:
        return "C02" + self.letters(9, string.ascii_uppercase + string.digits)

    def key_of_pem(self) -> str:
        return "\n".join([*(self.letters(64, LETTERS + "+/") for _ in range(3)), self.letters(22) + "=="])


def quoted(text: str) -> str:
    """As Go's strconv.Quote and JSON write it."""
    return json.dumps(text, ensure_ascii=False)


def slog(message: str, rest: str, level: str = "DEBUG") -> str:
    return f'time=2026-11-20T20:49:03.079Z level={level} source=routes.go:239 msg="{message}" {rest}'


def config(entries: str) -> str:
    return slog("server config", f'env="map[{entries}]"', "INFO")


def access(client: str, path: str) -> str:
    return f'[GIN] 2026/11/20 - 20:49:02 | 200 |  17.1ms | {client:>15} | POST     "{path}"'


def wrapped(line: str) -> str:
    """As docker's json-file driver writes it."""
    return json.dumps({"log": line + "\n", "stream": "stderr", "time": "2026-11-20T20:49:03.079Z"})


def process(command: str, user: str = "root") -> str:
    return f"{user}  4121  0.0  0.1 1267444 67544 ?  Ssl  10:02  0:11 {command}"


def templated(prompt: str) -> str:
    return f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"


def in_brackets(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def basic(password: str) -> str:
    return "Authorization: Basic " + base64.b64encode(b"svc:" + password.encode()).decode()


def pem(body: str, kind: str = "RSA ") -> str:
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----"


Template = Callable[[str], str]
# Kind, what makes its secrets, and where they stand: the file, and the line.
PLACES: tuple[tuple[str, Callable[[Maker], str], tuple[tuple[str, Template], ...]], ...] = (
    ("api-key", Maker.key, (
        ("server.log", lambda s: slog("request failed", f'error="Incorrect API key provided: {s}."', "ERROR")),
        ("app.log", lambda s: f"httpx.HTTPStatusError: 401 for key {s}"),
        ("docker.jsonl", lambda s: wrapped(f"INFO:     judge uses '{s}'")),
    )),
    ("password", Maker.password, (
        ("inspect.json", lambda s: json.dumps({"db": {"host": "10.0.0.7", "password": s}})),
        ("app.log", lambda s: f"settings = {{'DB_PASSWORD': {s!r}, 'pool': 5}}"),
        ("docker.jsonl", lambda s: wrapped(json.dumps({"user": "root", "passwd": s}))),
        ("app.log", lambda s: f"Traceback (most recent call last):\n  connect(dbname='rag', password={s!r})"),
    )),
    ("password", Maker.with_signs, (
        ("processes.txt", lambda s: process(f"worker --password {s} --threads 4")),
        ("processes.txt", lambda s: process(f"llama-server --api-key={s} --port 8080")),
        ("odbc.ini", lambda s: f"Driver=x;Server=10.0.0.7;Password={s};Encrypt=yes"),
        ("app.log", lambda s: f"INFO:root:['vllm', 'serve', '--api-key', '{s}']"),
    )),
    ("environment", Maker.with_signs, (
        ("environment.txt", lambda s: f"OLLAMA_KEEP_ALIVE=5m0s\nOPENAI_API_KEY={s}\nTOKENIZERS_PARALLELISM=false"),
        ("server.log", lambda s: config(f"HF_TOKEN:{s} OLLAMA_DEBUG:INFO")),
        ("inspect.json", lambda s: json.dumps({"Config": {"Env": ["PATH=/usr/bin", f"PGPASSWORD={s}"]}}, indent=1)),
        ("processes.txt", lambda s: process(f"env CLIENT_SECRET={s} ollama serve")),
        ("pod.yaml", lambda s: f"    - name: AWS_CREDENTIALS\n      value: {s}"),
        ("ollama.service", lambda s: f'Environment="SESSION_KEY={s}"'),
    )),
    ("header", Maker.token, (
        ("app.log", lambda s: f"DEBUG:httpcore: headers=[(b'Authorization', b'Bearer {s}'), (b'Accept', b'*/*')]"),
        ("docker.jsonl", lambda s: wrapped(f'curl -H "X-Api-Key: {s}" http://127.0.0.1:11434/api/tags')),
        ("app.log", lambda s: json.dumps({"headers": {"Authorization": f"Bearer {s}"}})),
        ("server.log", lambda s: slog("proxied", f'headers="map[Authorization:[Bearer {s}] Accept:[*/*]]"')),
    )),
    ("header", Maker.with_signs, (
        ("processes.txt", lambda s: process(f"curl -H {basic(s)} http://gpu")),
        ("docker.jsonl", lambda s: wrapped(f'curl -H "{basic(s)}"')),
    )),
    ("cookie", Maker.token, (
        ("app.log", lambda s: f"set-cookie: sid={s}; Path=/; HttpOnly"),
        ("app.log", lambda s: f"{{'Cookie': 'a=1; sid={s}'}}"),
    )),
    ("url", Maker.with_signs, (
        ("server.log", lambda s: config(f"HTTPS_PROXY:http://svc:{s}@10.0.0.9:8080 NO_PROXY:")),
        ("app.log", lambda s: f'could not connect to "postgresql://app:{quote(s)}@10.0.0.9:5432/rag"'),
        ("environment.txt", lambda s: f"DATABASE_URL=postgres://app:{s}@10.0.0.9/rag?sslmode=require"),
        ("unit.conf", lambda s: f"Environment=http_proxy=http://svc:{s}@10.0.0.9:3128"),
    )),
    ("query", Maker.token, (
        ("server.log", lambda s: access("127.0.0.1", f"/api/tags?api_key={s}")),
        ("server.log", lambda s: slog("download", f'url="https://registry.ollama.ai/v2/x?X-Amz-Signature={s}&n=1"')),
        ("docker.jsonl", lambda s: wrapped(f"GET /a?x=1&token={s}&b=2").replace("&", "\\u0026")),
    )),
    ("private-key", Maker.key_of_pem, (
        ("unit-files.txt", pem),
        ("journal.txt", lambda s: "\n".join(f"Nov 20 20:49:03 box app[7]: {line}" for line in pem(s, "").split("\n"))),
        ("app.log", lambda s: json.dumps({"tls": pem(s, "EC ")})),
    )),
    ("prompt", Maker.prompt, (
        ("server.log", lambda s: slog("generate request", f"prompt={quoted(templated(s))} images=[]")),
        ("server.log", lambda s: slog("chat request", f"images=0 prompt={quoted(templated(s))}")),
        ("docker.jsonl", lambda s: wrapped(slog("embedding request", f"content={quoted(s)}"))),
        ("server.log", lambda s: slog("completion request", f"prompt={quoted(s)}", "TRACE")),
        ("server.log", lambda s: slog("hit stop token", f"pending={quoted('[' + s + ']')} stop=<|im_end|>")),
        ("app.log", lambda s: f"ValueError: bad body {({'model': 'tiny', 'messages': [{'content': s}]})!r}"),
        ("trials.jsonl", lambda s: json.dumps({"body": {"model": "tiny", "prompt": s}, "wall_s": 1.5})),
        ("server.log", lambda s: f"srv  log_server_r: request:  {json.dumps({'prompt': s, 'n_predict': 8})}"),
        ("app.log", lambda s: "INFO:app:body=" + json.dumps({"model": "tiny", "input": [s]})),
        ("trials.csv", lambda s: f'7,"{s.replace(chr(34), chr(34) * 2)}",1.5'),
        ("docker.jsonl", lambda s: wrapped(slog("chat request", f"prompt={quoted(s + ' x' * 9)}")[:-30])),
    )),
    ("email", Maker.email, (
        ("app.log", lambda s: f"INFO:app: ticket of <{s}> answered"),
        ("app.log", lambda s: f"GET /u?mail={quote(s)} 200"),
    )),
    ("address", Maker.address, (
        ("server.log", lambda s: access(s, "/api/chat")),
        ("app.log", lambda s: f'INFO:     {in_brackets(s)}:53124 - "POST /v1/chat HTTP/1.1" 200 OK'),
        ("server.log", lambda s: config(f"OLLAMA_HOST:http://{in_brackets(s)}:11434")),
    )),
    ("user", Maker.word, (
        ("server.log", lambda s: config(f"OLLAMA_MODELS:/home/{s}/.ollama/models")),
        ("server.log", lambda s: slog("load", rf'model="C:\\Users\\{s}\\.ollama\\models\\blobs\\sha256-1"', "INFO")),
        ("processes.txt", lambda s: process(f"/Users/{s}/bin/ollama serve", s)),
        ("systemctl-show.txt", lambda s: f"User={s}"),
        ("app.log", lambda s: f'  File "/home/{s}/rag/app.py", line 7, in ask'),
        ("docker.jsonl", lambda s: wrapped(rf"OSError: 'C:\\Users\\{s}\\models'")),
    )),
    ("host", Maker.host, (
        ("journal.txt", lambda s: f"Nov 20 20:49:03 {s} ollama[123]: {slog('loaded runners', 'count=1', 'INFO')}"),
        ("app.log", lambda s: f"httpx.ConnectError: http://{s}:11434/api/chat: connection refused"),
        ("journal.jsonl", lambda s: json.dumps({"_HOSTNAME": s, "MESSAGE": "Started Ollama Service."})),
        ("server.log", lambda s: config(f"HTTP_PROXY:http://svc:Kq7pass-z@{s}:8080")),
    )),
    ("serial", Maker.serial, (
        ("hardware.txt", lambda s: f"      Serial Number (system): {s}"),
        ("hardware.txt", lambda s: f"Machine ID: {s}"),
    )),
)  # fmt: skip


def plant(seed: int = 1, of_each: int = 12) -> Planted:
    """Captures with so many secrets in every row of PLACES, each of them in one place."""
    maker, planted = Maker(seed), Planted()
    planted.add("trials.csv", "run_id,prompt,latency_s")
    for kind, make, places in PLACES:
        for number in range(of_each):
            secret = make(maker)
            while secret in planted.secrets:
                secret = make(maker)
            file, template = places[number % len(places)]
            planted.add(file, template(secret))
            for line in secret.split("\n"):
                planted.secrets[line] = kind
            if kind in ("user", "host", "address", "email", "api-key"):
                named = f"{number}_{secret}.log" if "." in secret else f"{secret}-{number}.txt"
                planted.names.append(named.replace(":", "-"))
    for number in range(of_each):  # known only because the host tells
        user = maker.word()
        planted.known[user] = planted.secrets[user] = "user"
        planted.add("processes.txt", f"{number} 1 {user} 0.3 Sl ollama runner --port 4000{number}")
        planted.names.append(f"dump of {user}.log")
    return planted


def echoed(secret: str) -> list[str]:
    """A secret in places that no rule knows, in every form that programs give it."""
    return [
        f"saw <{secret}> here",
        "percent " + quote(secret, safe=""),
        json.dumps({"x": secret}),
        json.dumps({"x": json.dumps({"y": secret})}),
        "base64 " + base64.b64encode(f"seen:{secret}".encode()).decode(),
    ]


def writings(secret: str) -> set[str]:
    """What must not be left of a secret."""
    once = json.dumps(secret)[1:-1]
    twice = json.dumps(once)[1:-1]
    plain = {secret, quote(secret, safe=""), quote(secret), once, twice, json.dumps(secret, ensure_ascii=False)[1:-1]}
    return plain | {base64.b64encode(f"{user}:{secret}".encode()).decode() for user in ("svc", "seen")}
