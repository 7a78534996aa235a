"""A model of half a megabyte with random weights, as a GGUF file: llama.cpp loads it and writes noise with it.

Asked for longer vectors it is a wider model of one block, some megabytes large.

The same seed gives the same bytes on every machine: the weights come from numpy's frozen generator and from no
function whose last bit may differ. The vocabulary is byte-level, so that any UTF-8 text can be tokenized; some
merges make usual English cheaper, as in real models.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

CONTEXT_LENGTH = 4096
EMBEDDING_LENGTH = 64
FEED_FORWARD_LENGTH = 176
HEAD_LENGTH = 32
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL_TOKENS = ("<|begin|>", "<|end|>", "<|im_start|>", "<|im_end|>")
# Words whose beginnings become merges: " the" gives (" ", "t"), (" t", "h"), (" th", "e").
_WORDS = """
the of and to in is that it was for on are as with his they be at one have this from or had by hot but some what there
we can out other were all your when up use word how said an each she which do their time if will way about many then
them would write like so these her long make thing see him two has look more day could go come did my sound no most
number who over know water than call first people may down side been now find system user question
"""


def random_gguf(folder: Path, seed: int = 1, width: int = EMBEDDING_LENGTH) -> Path:
    """The file for that seed and width in the folder; written only if it is not there yet, never seen half written."""
    path = folder / (f"random-llama-{seed}.gguf" if width == EMBEDDING_LENGTH else f"random-llama-{width}-{seed}.gguf")
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(prefix=f".{path.name}-", dir=folder)
    os.close(handle)
    try:
        _write(Path(unfinished), seed, width)
        os.replace(unfinished, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unfinished)
    return path


def byte_tokens() -> list[str]:
    """How GPT-2 shows the 256 bytes as printable characters; the token's number is the byte.

    >>> byte_tokens()[32], byte_tokens()[65], len(set(byte_tokens()))
    ('Ġ', 'A', 256)
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def merges() -> list[tuple[str, str]]:
    """Pairs that the tokenizer joins, earlier ones first."""
    pairs: dict[tuple[str, str], None] = {}
    for word in _WORDS.split():
        text = "Ġ" + word
        for end in range(1, len(text)):
            pairs[text[:end], text[end]] = None
    return list(pairs)


def _write(path: Path, seed: int, width: int) -> None:
    # Slow to import, and an extra of the package: only who writes a model needs them.
    import gguf
    import numpy as np

    blocks = 4 if width == EMBEDDING_LENGTH else 1
    joined = merges()
    vocabulary = [*byte_tokens(), *(left + right for left, right in joined), *SPECIAL_TOKENS]
    number = {token: index for index, token in enumerate(vocabulary)}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Drill Random")
    writer.add_context_length(CONTEXT_LENGTH)
    writer.add_embedding_length(width)
    writer.add_block_count(blocks)
    writer.add_feed_forward_length(FEED_FORWARD_LENGTH)
    writer.add_head_count(width // HEAD_LENGTH)
    writer.add_head_count_kv(width // HEAD_LENGTH)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(HEAD_LENGTH)
    writer.add_vocab_size(len(vocabulary))
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(vocabulary)
    control = set(SPECIAL_TOKENS)
    writer.add_token_types([gguf.TokenType.CONTROL if t in control else gguf.TokenType.NORMAL for t in vocabulary])
    writer.add_token_merges([f"{left} {right}" for left, right in joined])
    writer.add_bos_token_id(number["<|begin|>"])
    writer.add_eos_token_id(number["<|im_end|>"])
    writer.add_add_bos_token(True)
    writer.add_chat_template(CHATML)

    # RandomState's stream is frozen for good; uniform numbers need no logarithm, so the bits agree everywhere.
    source = np.random.RandomState(seed)

    def weights(*shape: int) -> np.ndarray:
        return source.uniform(-0.5, 0.5, shape).astype(np.float16)

    ones = np.ones(width, dtype=np.float32)
    square = (width, width)
    writer.add_tensor("token_embd.weight", weights(len(vocabulary), width))
    for block in range(blocks):
        for name, shape in (
            ("attn_q", square), ("attn_k", square), ("attn_v", square), ("attn_output", square),
            ("ffn_gate", (FEED_FORWARD_LENGTH, width)),
            ("ffn_up", (FEED_FORWARD_LENGTH, width)),
            ("ffn_down", (width, FEED_FORWARD_LENGTH)),
        ):  # fmt: skip
            writer.add_tensor(f"blk.{block}.{name}.weight", weights(*shape))
        writer.add_tensor(f"blk.{block}.attn_norm.weight", ones)
        writer.add_tensor(f"blk.{block}.ffn_norm.weight", ones)
    writer.add_tensor("output_norm.weight", ones)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
