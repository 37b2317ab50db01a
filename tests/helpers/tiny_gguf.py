"""Writes a tiny model that the real llama-server loads and talks with: Qwen2's shape, random weights, own vocabulary.

Generated, so that no test carries someone's weights; from a fixed seed, so that every run sees the same bytes. The
answer is letters and spaces without sense and never ends by itself: a test sets its length with `max_tokens`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]

_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_MERGES = (
    "t h",
    "th e",
    "i n",
    "e r",
    "a n",
    "an d",
    "o n",
    "r e",
    "o u",
    "i s",
    "Ġ t",
    "Ġt he",
    "Ġ a",
    "Ġ s",
    "Ġ w",
    "Ġ o",
)
_CHAT_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the model. `vocab` is filled up with unused tokens: a large one makes each token of an answer slower."""

    layers: int = 2
    hidden: int = 256
    feed_forward: int = 512
    heads: int = 4
    kv_heads: int = 2
    context: int = 32768
    vocab: int = 512


def write_tiny_gguf(path: Path, shape: Shape | None = None) -> Path:
    """Write the model, all matrices as F16, and return `path`."""
    shape = shape or Shape()
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_name("tiny")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    tokens = add_vocabulary(writer, shape.vocab)
    for name, tensor in _tensors(shape, tokens):
        writer.add_tensor(name, tensor)
    return finish(writer, path)


def add_vocabulary(writer: gguf.GGUFWriter, size: int) -> list[str]:
    """Tokenizer and chat template that any architecture can use; the tokens, `size` of them."""
    tokens, types = _vocabulary(size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(list(_MERGES))
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_pad_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(_CHAT_TEMPLATE)
    return tokens


def finish(writer: gguf.GGUFWriter, path: Path) -> Path:
    """Write out what was added."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _vocabulary(size: int) -> tuple[list[str], list[gguf.TokenType]]:
    """Every byte (so that any text can be read), the merges, the marks of a chat, and filling."""
    tokens = [*_byte_letters(), *(merge.replace(" ", "") for merge in _MERGES)]
    types = [gguf.TokenType.NORMAL] * len(tokens)
    tokens += _SPECIAL
    types += [gguf.TokenType.CONTROL] * len(_SPECIAL)
    filling = [f"[PAD{number}]" for number in range(size - len(tokens))]
    return tokens + filling, types + [gguf.TokenType.UNUSED] * len(filling)


def _byte_letters() -> list[str]:
    """The letter that GPT-2's byte-level BPE writes for each byte: its own where printable, else one from U+0100 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]


def _tensors(shape: Shape, tokens: list[str]) -> list[tuple[str, Array]]:
    random = np.random.default_rng(0)

    def matrix(rows: int, columns: int) -> Array:
        return (random.standard_normal((rows, columns)) * 0.02).astype(np.float16)

    def vector(size: int, value: float) -> Array:
        return np.full(size, value, np.float32)

    hidden, kv = shape.hidden, shape.hidden // shape.heads * shape.kv_heads
    embedding, output = matrix(shape.vocab, hidden), matrix(shape.vocab, hidden)
    # The first dimension says the same for every token, and the output's first column turns that into a liking for
    # letters and spaces: no end mark, no half UTF-8 character, whatever the sampler draws.
    embedding[:, 0] = 1
    output[:, 0] = [4 if _is_word(token) else -4 for token in tokens]
    tensors = [("token_embd.weight", embedding), ("output_norm.weight", vector(hidden, 1)), ("output.weight", output)]
    for layer in range(shape.layers):
        block = {
            "attn_norm.weight": vector(hidden, 1),
            "attn_q.weight": matrix(hidden, hidden),
            "attn_q.bias": vector(hidden, 0),
            "attn_k.weight": matrix(kv, hidden),
            "attn_k.bias": vector(kv, 0),
            "attn_v.weight": matrix(kv, hidden),
            "attn_v.bias": vector(kv, 0),
            "attn_output.weight": matrix(hidden, hidden),
            "ffn_norm.weight": vector(hidden, 1),
            "ffn_gate.weight": matrix(shape.feed_forward, hidden),
            "ffn_up.weight": matrix(shape.feed_forward, hidden),
            "ffn_down.weight": matrix(hidden, shape.feed_forward),
        }
        tensors += [(f"blk.{layer}.{name}", tensor) for name, tensor in block.items()]
    return tensors


def _is_word(token: str) -> bool:
    return all(letter in _LETTERS for letter in token.removeprefix("Ġ"))
