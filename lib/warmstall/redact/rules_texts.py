"""Rules for what people write and models answer: prompts, messages, bodies of requests."""

from __future__ import annotations

import re

from .rule import Rule

# Keys of Ollama's debug and trace records (v0.1.24 – v0.33) that hold such texts.
_TEXT_KEYS = (
    r"(?:prompt|content|thinking|tool_?[cC]alls|acc|buffer|events|re[qs]p?|response|request|string|pending|stop|input|"
    r"output|text|query|header|ids|from|format|messages|system|suffix|tools|body)"
)
_JSON_TEXT = (
    r"(?:prompt|content|messages|suffix|thinking|reasoning|reasoning_content|modelfile|images|input_text|output_text|"
    r"instructions|arguments|questions?|answers?|documents|texts|sentences|passages|page_content|query_texts|"
    r"transcript|partial_json|body)"
)
_JSON_PERHAPS = r"(?:system|inputs?|text|response|output|query|completion)"
_ARGUMENT = (
    r"(?:prompt|content|page_content|question|user_input|input_text|input_value|user_message|messages|documents|texts|"
    r"sentences|query_texts)"
)
_BODY = re.compile(r"[\"'](?:model|role|messages|prompt|stream|done|finish_reason|choices|prompts|content)\\*[\"']\s*:")
_LONGEST_RECORD_HEAD = 400


def _text(value: str, match: re.Match[str], quoted: bool) -> bool:
    if match["key"] == "images":
        return len(value) > 80
    # A body that is JSON has rules for what it holds.
    return bool(value.strip()) and not (match["key"] == "body" and value.lstrip()[:1] in ("{", "["))


def _text_in_record(value: str, match: re.Match[str], quoted: bool) -> bool:
    """In Ollama's records a bare number tells how long a text is, except where nothing but a text may stand."""
    if not value.strip(" []{}") or value in ("json", '"json"', "null", "map[]"):
        return False
    if quoted or not re.fullmatch(r"[0-9]+", value):
        return True
    head = match.string[:_LONGEST_RECORD_HEAD]
    return match["key"] == "prompt" and re.search(r'msg=\\*"(?:chat|generate) ', head) is not None


def _text_in_body(value: str, match: re.Match[str], quoted: bool) -> bool:
    """Names that other JSON uses as well: a text has words, or stands in a body of a request."""
    if not value.strip():
        return False
    words = match["key"] in ("system", "input", "text", "response", "query") and " " in value
    return words or bool(_BODY.search(match.string, max(0, match.start() - 2000), match.end() + 2000))


TEXTS: tuple[Rule, ...] = (
    Rule(
        "text in a URL",
        "prompt",
        r"(?:[?&]|u0026)(?:q|query|prompt|text|input|question|message|content|search)=",
        r"(?:[?&]|u0026)(?:q|query|prompt|text|input|question|message|content|search)="
        r"(?P<value>[^\s\"'<>#\\&]{1,4000})",
        ('GET "/search?q=why+is+my+server+slow&n=1"', "why+is+my+server+slow"),
    ),
    Rule(
        "text in a record",
        "prompt",
        r"msg=[\\\"']{0,8}(?:(?:llama-server )?(?:chat|generate|completion|embeddings?) (?:request|handler|response)|"
        r"hit stop|encoded|"
        r"decoded|builtin parser|[a-z0-9_.-]+ events parsed|harmony|[a-z0-9_.-]+ tool call|failed to parse|anthropic|"
        r"openai)",
        rf"(?<![A-Za-z0-9_.])(?P<key>{_TEXT_KEYS})=",
        ('level=DEBUG msg="chat request" images=0 prompt="why so slow?"', "why so slow?"),
        reads="value",
        accepts=_text_in_record,
    ),
    Rule(
        "text in JSON",
        "prompt",
        rf"[\"']{_JSON_TEXT}[\\\"']{{1,8}}\s{{0,3}}:",
        rf"[\"'](?P<key>{_JSON_TEXT})\\*[\"']\s*:\s*(?=\\*[\"'\[])",
        (r'{"messages":[{"role":"user","content":"why so \"slow\"?"}]}', 'why so "slow"?'),
        reads="texts",
        accepts=_text,
    ),
    Rule(
        "numbers of a text",
        "prompt",
        r"[\"'](?:context|prompt|input|tokens)[\\\"']{1,8}\s{0,3}:\s{0,3}\[\s*[0-9]",
        r"[\"'](?:context|prompt|input|tokens)\\*[\"']\s*:\s*\[\s*(?P<nothing>[0-9]+(?:\s*,\s*[0-9]+){3,}(?:\s*,)?)",
        ('{"done": true, "context": [128006, 882, 128007, 271]}', ""),
    ),
    Rule(
        "embedded file",
        "prompt",
        r"data:[a-z]+/[a-z0-9.+-]+;base64,",
        r"data:[a-z]+/[a-z0-9.+-]{1,60};base64,(?P<value>[A-Za-z0-9+/_-]{16,}={0,2})",
        ('{"url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg=="}', "iVBORw0KGgoAAAANSUhEUg=="),
    ),
    Rule(
        "text in a body",
        "prompt",
        rf"[\"']{_JSON_PERHAPS}[\\\"']{{1,8}}\s{{0,3}}:",
        rf"[\"'](?P<key>{_JSON_PERHAPS})\\*[\"']\s*:\s*(?=\\*[\"'\[])",
        ('{"model": "tiny", "input": ["first", "second"]}', "first"),
        reads="texts",
        accepts=_text_in_body,
    ),
    Rule(
        "text of an argument",
        "prompt",
        rf"{_ARGUMENT}=[\\\"'\[]",
        rf"(?<![A-Za-z0-9_.])(?P<key>{_ARGUMENT})="
        r"(?=\\*[\"'\[])",
        ("Completion(model='tiny', prompt='why so slow?')", "why so slow?"),
        reads="texts",
        accepts=_text,
    ),
    Rule(
        "piece of a text",
        "prompt",
        r"prompt token +\d|next token: +\d|token_text|stopping_word|parsing [a-z-]{0,20} ?input",
        r"(?:prompt token +\d+: +\d+ '|next token: +\d+ '|(?:token_text|stopping_word)\\*[\"']?[=:] *\\*\"|"
        r"Parsing [A-Za-z-]{0,20} ?input[^:]{0,80}: )(?P<value>.+?)(?=\\*\"|'$|$)",
        ("slot update_slots: id  0 | task 3 | next token:  1234 ' slow'", " slow"),
    ),
    Rule(
        "text of a command",
        "prompt",
        r"ollama(?:\.exe)? run |--(?:system-)?prompt[= ]",
        r"(?:\bollama(?:\.exe)? run (?:--[a-z-]+(?:=\S+)? )*[\w./:-]+(?: --[a-z-]+(?:=\S+)?)* +|"
        r"--(?:system-)?prompt[= ]+)"
        r"(?:\"(?P<value>[^\"]+)|'(?P<value_too>[^']+)|(?P<value_three>[^-\s`|;&\"'<>()\[\]][^`\"]*?)(?=\s--[a-z]|"
        r"\s*$|[`\"]))",
        (
            "alice 41 0.0 0.1 ollama run llama3.2 Summarise the contract with Example Ltd",
            "Summarise the contract with Example Ltd",
        ),
    ),
    Rule(
        "Modelfile",
        "prompt",
        r"(?:SYSTEM|MESSAGE +(?:user|assistant|system)) ",
        r"^(?:SYSTEM|MESSAGE +(?:user|assistant|system)) +(?:\"\"\"|\")?(?P<value>[^\"]{2,})",
        ("SYSTEM You answer for Example Ltd only.", "You answer for Example Ltd only."),
    ),
)
