"""How llama-server chooses a slot for a prompt and keeps prompts beside the slots, with the lines it prints about it.

The runner's other versions use the same choice and say nothing of it.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .models import MIB
from .token_timing import CHARACTERS_PER_TOKEN

LIMIT_BYTES = 8192 * MIB
# The least share of a prompt that a slot must hold already, the share of a slot's own prompt that must stay for the
# slot to be taken as it is, and the least share of a saved prompt that makes it worth fetching.
_SIMILAR, _KEPT, _WORTH = 0.1, 0.5, 0.25
# The template's tokens before a prompt are always the same.
_TEMPLATE_START_TOKENS = 7


@dataclass
class Held:
    """A prompt and its answer, in a slot or saved."""

    prompt: str
    tokens: int

    @property
    def address(self) -> str:
        return hex(0x5500_0000_0000 + id(self) % 2**40)


@dataclass
class Slot:
    """One sequence of the runner; `task` is the number of what it works on."""

    number: int
    held: Held | None = None
    task: int | None = None
    last_used_us: int = -1


def shared_tokens(held: Held, prompt: str, prompt_tokens: int) -> int:
    """Tokens at the beginning that a held prompt and another one have in common."""
    if held.prompt == prompt:
        return min(prompt_tokens, held.tokens)
    pairs = zip(held.prompt, prompt, strict=False)
    same = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(held.prompt), len(prompt)))
    return min(_TEMPLATE_START_TOKENS + int(same / CHARACTERS_PER_TOKEN), prompt_tokens, held.tokens)


@dataclass
class PromptCache:
    """The slots, and the prompts saved beside them."""

    token_bytes: int
    n_layer: int
    say: Callable[..., None]
    slots: list[Slot]
    saved: list[Held] = field(default_factory=list)

    def choose(self, prompt: str, prompt_tokens: int) -> Slot | None:
        """A slot for a prompt: the one that holds most of it, else the one that rested longest; None if all work."""
        best, similarity, same = None, _SIMILAR, 0
        for slot in self.slots:
            if slot.task is not None:
                self.say("slot_busy", slot=slot.number, task=slot.task)
            elif slot.held is None:
                self.say("slot_empty", slot=slot.number)
            else:
                common = shared_tokens(slot.held, prompt, prompt_tokens)
                share = common / prompt_tokens
                self.say("slot_checked", slot=slot.number, similarity=f"{share:.3f}", same_tokens=common)
                if share > similarity:
                    best, similarity, same = slot, share, common
        update = True
        if best and best.held:
            kept = same / best.held.tokens
            self.say("slot_selected_similar", slot=best.number, similarity=f"{similarity:.3f}", kept=f"{kept:.3f}")
            update = kept < _KEPT
        else:
            free = [slot for slot in self.slots if slot.task is None]
            if not free:  # a client that gave up leaves its slot at work until the step is done
                return None
            best = min(reversed(free), key=lambda slot: slot.last_used_us)
            self.say("slot_selected_oldest", slot=best.number, last_used_us=best.last_used_us)
        if update:
            self._update(best, prompt, prompt_tokens)
        return best

    def _update(self, slot: Slot, prompt: str, prompt_tokens: int) -> None:
        """Set the slot's prompt aside and look whether a saved one fits better."""
        started = time.perf_counter()
        self.say("cache_begin")
        kept, similarity = -1.0, 0.0
        if slot.held and slot.held.tokens:  # a client that left before its prompt was read leaves nothing
            common = shared_tokens(slot.held, prompt, prompt_tokens)
            kept, similarity = common / slot.held.tokens, common / prompt_tokens
            self._save(slot.held)
        self.say("cache_search", kept=f"{kept:.3f}", similarity=f"{similarity:.3f}")
        found: Held | None = None
        for held in self.saved:
            common = shared_tokens(held, prompt, prompt_tokens)
            here, much = common / held.tokens, common / prompt_tokens
            self.say("cache_candidate", held_tokens=held.tokens, same_tokens=common,
                     kept=f"{here:.3f}", similarity=f"{much:.3f}")  # fmt: skip
            if here >= _WORTH and here > kept and much > similarity:
                found, kept, similarity = held, here, much
        if found is not None:
            self.say("cache_found", kept=f"{kept:.3f}", similarity=f"{similarity:.3f}")
            self.saved.remove(found)
            slot.held = found
        self._tell_state()
        self.say("cache_end", cache_ms=f"{(time.perf_counter() - started) * 1000:.2f}")

    def _save(self, held: Held) -> bool:
        self.say("cache_save", held_tokens=held.tokens, state_mib=f"{self._state_bytes(held.tokens) / MIB:.3f}")
        if any(other is held or shared_tokens(other, held.prompt, held.tokens) == held.tokens for other in self.saved):
            self.say("cache_save_known")
            return False
        self.saved = [*self.saved[-31:], held]
        return True

    def save_idle(self, chosen: Slot) -> None:
        """The other slots that rest are saved when a task begins."""
        for slot in self.slots:
            if slot is not chosen and slot.task is None:
                self.say("idle_slot_saved", slot=slot.number)
                if slot.held and self._save(slot.held):
                    self._tell_state()

    def _state_bytes(self, tokens: int) -> int:
        return tokens * (self.token_bytes + 12) + 24 * self.n_layer + 20 + 4 * len(self.slots)

    def _tell_state(self) -> None:
        size = sum(self._state_bytes(held.tokens) for held in self.saved)
        tokens = sum(held.tokens for held in self.saved)
        estimate = int(_single(LIMIT_BYTES / _single(_single(size) / tokens))) if tokens else LIMIT_BYTES
        self.say("cache_state", saved_prompts=len(self.saved), state_mib=f"{size / MIB:.3f}", estimated_tokens=estimate)
        for held in self.saved:
            self.say("cache_entry", address=held.address, held_tokens=held.tokens,
                     state_mib=f"{self._state_bytes(held.tokens) / MIB:.3f}")  # fmt: skip


def _single(value: float) -> float:
    """The value as a C float holds it."""
    return float(struct.unpack("f", struct.pack("f", value))[0])
