"""What a reproduction is asked for."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from ..errors import InputError, ParameterError
from ..rag.settings import EmbedderSettings, RagSettings
from .records import Profile
from .senders import PROMPT_TOKENS
from .targets import address_of

What = Literal["question", "call", "embed"]
WHAT: tuple[str, ...] = get_args(What)


@dataclass(frozen=True)
class Wanted:
    """A load of questions, bare calls or embeddings to a target, and the case that it leaves.

    `target` is an address, "drill", or empty: that of the settings, OLLAMA_HOST, or else a drill. `lexical` needs no
    embedding model. `questions` is a file with one question a line; without it those of the knowledge that ships are
    asked. `collect` captures the host at the end, `logs` are the server's, copied into the case. `drill` are
    arguments of `DrillServer`.
    """

    case: Path
    profile: Profile = field(default_factory=Profile)
    target: str = ""
    model: str = ""
    what: What = "call"
    settings: RagSettings = field(default_factory=RagSettings)
    lexical: bool = False
    prompt_tokens: int = PROMPT_TOKENS
    output_tokens: int = 64
    questions: str = ""
    user: str = ""
    watch_every_s: float = 2.0
    collect: bool = False
    logs: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    drill: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raises ParameterError or InputError for what cannot be."""
        if self.what not in WHAT:
            raise ParameterError(f"what is {self.what!r}; expected {', '.join(WHAT)}.")
        for name in ("prompt_tokens", "output_tokens"):
            if not 1 <= getattr(self, name) <= 1_000_000:
                option = f"--{name.replace('_', '-')}"
                raise ParameterError(f"{name} ({option}) is {getattr(self, name)!r}; expected 1 to 1000000.")
        if self.what == "embed":
            embedder_of(self.settings.lexical() if self.lexical else self.settings, self.model)
        for path in (*self.logs, *filter(None, (self.questions,))):
            if not Path(path).is_file():
                raise InputError(f"{path}: there is no such file.")

    def plan(self) -> dict[str, Any]:
        """What the measurements depend on: the same plan in the same folder is gone on with."""
        named = ("profile", "target", "model", "what", "settings", "lexical", "prompt_tokens", "output_tokens", "user")
        whole = asdict(self)
        plan = {name: whole[name] for name in named}
        # Not what was typed: the same words go to another server in another environment.
        plan["target"] = address_of(self.target, self.settings)
        for name, path in (("table", self.profile.table), ("questions", self.questions)):
            if path and Path(path).is_file():
                plan[f"sha256 of {name}"] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        return plan


def embedder_of(settings: RagSettings, model: str = "") -> EmbedderSettings:
    """The first embedder of the settings, or the one with a model, which alone tells how long its vectors are.

    Raises ParameterError where none has the model.

    >>> embedder_of(RagSettings(), "nomic-embed-text").dimensions
    768
    """
    embedders = list(settings.embedders.values())
    found = [
        one for one in embedders if not model or one.model.removesuffix(":latest") == model.removesuffix(":latest")
    ]
    if not found:
        names = ", ".join(one.model or one.kind for one in embedders)
        raise ParameterError(
            f"model (--model) is {model!r}; no embedder of the settings has it, they are {names}: name it with its "
            "dimensions in --settings."
        )
    return found[0]
