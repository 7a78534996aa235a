"""The server that a load goes to: one that is named, or a drill's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import InputError, StepFailed
from ..ollama import probe
from ..rag.settings import LEXICAL_MAX_DISTANCE, EmbedderSettings, RagSettings, ollama_url

DRILL = "drill"
_DRILL_MODEL = "tiny"
_LOOKS_S = 5.0


@dataclass(frozen=True)
class Target:
    """A server that answers. `log` is its log where it is known: a drill's."""

    url: str
    is_drill: bool = False
    log: Path | None = None

    @property
    def port(self) -> int:
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def is_local(self) -> bool:
        """Whether this machine's processes and memory are the server's.

        >>> Target("http://127.0.0.1:11434").is_local, Target("http://gpu-box:11434").is_local
        (True, False)
        """
        host = urlsplit(self.url).hostname or ""
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def address_of(target: str, settings: RagSettings) -> str:
    """Where a load goes: to what is named, to what the settings name, to OLLAMA_HOST, or else to a drill.

    >>> address_of("http://127.0.0.1:9/", RagSettings())
    'http://127.0.0.1:9'
    """
    named = (target or settings.inference.url).rstrip("/")
    return named or (ollama_url() if os.environ.get("OLLAMA_HOST", "").strip() else DRILL)


@contextmanager
def open_target(
    target: str, folder: Path, say: Callable[[str], None] = lambda text: None, **drill: Any
) -> Iterator[Target]:
    """The server at an address; a drill's, in `folder` and as `drill` says, for "drill", and for "" without OLLAMA_HOST.

    A drill's log is continued where the folder holds one. Raises InputError for what is no address, StepFailed for a
    server that does not answer, WarmstallError for a drill that does not start.
    """  # noqa: E501
    if target == DRILL or (not target and not os.environ.get("OLLAMA_HOST", "").strip()):
        from ..drill.server_process import DrillServer

        if not target:
            say("no target and no OLLAMA_HOST: a drill's server is started in place of a real one")
        with DrillServer(folder, **drill) as server:
            yield Target(server.url, True, server.log)
        return
    url = target.rstrip("/") if target else ollama_url()
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"target {target!r}: expected an address such as http://127.0.0.1:11434, or {DRILL}.")
    yield Target(url)


def answers(target: Target) -> None:
    """Raises StepFailed where nobody answers at the address."""
    looked = probe(target.url, "/", _LOOKS_S)
    if not looked["status"]:
        raise StepFailed(f"{target.url}: no server answers ({looked['error']}); start it, or name another --target.")


def pick_model(target: Target) -> str:
    """The smallest model of an Ollama server that writes text; raises StepFailed where it has none."""
    if target.is_drill:
        return _DRILL_MODEL
    from ..rag.inference.connection import Server
    from ..rag.inference.ollama import smallest_model

    return smallest_model(Server(target.url))


def settings_for(settings: RagSettings, target: Target, model: str = "", lexical: bool = False) -> RagSettings:
    """The settings with the target's address, for embedders of Ollama where they name none of their own; and the model.

    >>> settings_for(RagSettings(), Target("http://127.0.0.1:9"), "tiny").inference.url
    'http://127.0.0.1:9'
    """
    settings = settings.lexical() if lexical else settings
    # A server of another kind answers no /api/embed: then Ollama is where OLLAMA_HOST says.
    is_ollama = target.is_drill or settings.inference.kind == "ollama"
    embedders = {
        name: _at(target, one) if is_ollama and one.kind == "ollama" and not one.url else one
        for name, one in settings.embedders.items()
    }
    inference = replace(settings.inference, url=target.url, model=model or settings.inference.model)
    return replace(settings, embedders=embedders, inference=inference)


def _at(target: Target, embedder: EmbedderSettings) -> EmbedderSettings:
    """A drill's vectors are of hashed words, whatever its models are called, and so are what is near and far."""
    unsaid = embedder.max_distance == EmbedderSettings.max_distance
    nearest = LEXICAL_MAX_DISTANCE if target.is_drill and unsaid else embedder.max_distance
    return replace(embedder, url=target.url, max_distance=nearest)
