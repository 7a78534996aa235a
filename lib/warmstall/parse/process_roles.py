"""What a process is to Ollama, from its command line."""

from __future__ import annotations

import re

# A path before the program's name may hold spaces, but none before a dash or a slash: those begin arguments.
_PATH = r'"?(?:(?:(?! [-/])[^"])*[/\\])?'
_IN_OLLAMAS_FOLDER = r"(?=.{0,400}?[/\\](?:lib[/\\]ollama|Programs[/\\]Ollama|Ollama\.app)[/\\].{0,400}?llama-server)"
# Services are often scripts or modules that Python runs.
_PROGRAM = r'"?(?:\S{0,400}[/\\])?(?:python[\d.]{0,9}(?:\.exe)?\s+(?:-\S+\s+){0,9})?(?:\S{0,400}[/\\])?'
# The names of each era: `ollama-runner` to 0.1.17, none to 0.1.31, `ollama_llama_server` to 0.5.7 (the kernel
# cuts a name to 15 characters), `ollama runner` to 0.24, llama-server of Ollama's own folder or with a model from
# Ollama's store since 0.30; `ollama runner --mlx-engine` beside it.
_ROLES = tuple(
    (role, re.compile(pattern))
    for role, pattern in (
        ("serve", _PATH + r'ollama(?:\.exe)?"?\s+(?:serve|start)\b'),
        ("runner", _PATH + r'ollama(?:\.exe)?"?\s+runner\b'),
        ("runner", _PATH + r"(?:ollama-runner|ollama_llama_se(?:rver)?)(?:\.exe)?(?:\"|\s|$)"),
        ("runner", _IN_OLLAMAS_FOLDER + _PATH + r'llama-server(?:\.exe)?(?:"|\s|$)'),
        ("runner", _PROGRAM + r"llama-server(?:\.exe)?\s.*[/\\]blobs[/\\]sha256-"),
        ("runner", _PATH + r'ollama(?:\.exe)?"?\s.*--mlx-engine\b'),
        ("vector store", _PROGRAM + r"(?:chroma(?:db)?(?:\.\S+)?|qdrant|weaviate|milvus)(?:\.exe)?(?:\s|$)"),
        ("vector store", _PROGRAM + r"(?:uvicorn|gunicorn)\s.*\bchromadb\b"),
        ("embedding service", _PROGRAM + r"(?:text-embeddings-(?:router|inference)|infinity(?:_emb)?)(?:\s|$)"),
        ("gunicorn", _PROGRAM + r"gunicorn(?::|\s|$)"),
        ("uvicorn", _PROGRAM + r"uvicorn(?:\s|$)"),
    )
)
_LONGEST = 4096


def role_of(command: str) -> str:
    """serve, runner, vector store, embedding service, gunicorn or uvicorn; empty for any other.

    Commands that only speak of a program (`grep ollama serve`, `sh -c /bin/ollama serve`) are others.

    >>> role_of("/usr/local/bin/ollama serve"), role_of("/usr/bin/ollama runner --ollama-engine --port 1")
    ('serve', 'runner')
    >>> role_of("/usr/local/lib/ollama/llama-server --port 1"), role_of("grep --color=auto ollama serve")
    ('runner', '')
    """
    command = command.strip()[:_LONGEST]
    return next((role for role, pattern in _ROLES if pattern.match(command)), "")
