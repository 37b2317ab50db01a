"""What a `model_type` means beyond its fields: defaults, which layers have a window, norms and biases.

Owns the table of the architectures that are known. Must not guess: a type that is not here is a problem.

Source: configuration_*.py and modeling_*.py of transformers 5.23.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from kotaro_bridge.domain.model.hf_fields import ConfigFields


class Windows(Enum):
    """Which layers see a sliding window only, where the file has no `layer_types`."""

    NONE = auto()
    ALL = auto()  # every layer, if the file has a window
    LATE = auto()  # those from `max_window_layers` on, if `use_sliding_window`
    MOST = auto()  # all but every n-th


class MoeStyle(Enum):
    """How a family words its experts."""

    MIXTRAL = auto()
    QWEN = auto()
    DEEPSEEK = auto()


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of text model.

    Args:
        windows: see `Windows`; `window_every` is the n of `MOST`.
        qkv_bias: queries, keys and values have a bias whatever the file says.
        biases_by_config: `attention_bias` (all four matrices) and `mlp_bias` of the file count.
        head_norms: queries and keys are normalized for each head.
        norms: vectors of the hidden size in each layer.
        defaults: fields that a file may leave out.
    """

    windows: Windows = Windows.NONE
    window_every: int = 0
    qkv_bias: bool = False
    biases_by_config: bool = False
    head_norms: bool = False
    norms: int = 2
    moe: MoeStyle | None = None
    defaults: Mapping[str, int | bool] = field(default_factory=dict)


_GEMMA: Final = {"head_dim": 256, "tie_word_embeddings": True}
_QWEN3: Final = {"head_dim": 128}
_GEMMA3: Final = Family(
    Windows.MOST,
    window_every=6,
    biases_by_config=True,
    head_norms=True,
    norms=4,
    defaults={
        **_GEMMA,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 262_208,
        "max_position_embeddings": 131_072,
        "sliding_window": 4096,
    },
)

FAMILIES: Final[Mapping[str, Family]] = {
    "llama": Family(biases_by_config=True),
    "granite": Family(biases_by_config=True),
    "mistral": Family(Windows.ALL, defaults={"num_key_value_heads": 8, "sliding_window": 4096}),
    "mixtral": Family(Windows.ALL, moe=MoeStyle.MIXTRAL, defaults={"num_key_value_heads": 8}),
    "qwen2": Family(Windows.LATE, qkv_bias=True, defaults={"sliding_window": 4096, "max_window_layers": 28}),
    "qwen2_moe": Family(qkv_bias=True, moe=MoeStyle.QWEN),
    "qwen3": Family(
        Windows.LATE,
        biases_by_config=True,
        head_norms=True,
        defaults={**_QWEN3, "sliding_window": 4096, "max_window_layers": 28},
    ),
    "qwen3_moe": Family(biases_by_config=True, head_norms=True, moe=MoeStyle.QWEN, defaults=_QWEN3),
    "gemma": Family(biases_by_config=True, defaults=_GEMMA),
    "gemma2": Family(
        Windows.MOST, window_every=2, biases_by_config=True, norms=4, defaults={**_GEMMA, "sliding_window": 4096}
    ),
    "gemma3_text": _GEMMA3,
    "phi3": Family(Windows.ALL),
    "deepseek_v2": Family(moe=MoeStyle.DEEPSEEK),
    "deepseek_v3": Family(moe=MoeStyle.DEEPSEEK),
}

# Models that see pictures: the family of their text part.
TEXT_PARTS: Final[Mapping[str, str]] = {
    "gemma3": "gemma3_text",
    "qwen2_vl": "qwen2",
    "qwen2_5_vl": "qwen2",
    "qwen3_vl": "qwen3",
}
# MiniCPM-V has one type for all versions, and the version decides on the text model (vllm, models/minicpmv.py).
_MINICPMV: Final[Mapping[str, str]] = {"2.5": "llama", "2.6": "qwen2"}


def family_name(fields: ConfigFields) -> str | None:
    """Key of `FAMILIES` for a file, None where it is not known."""
    if fields.model_type == "minicpmv":
        return _MINICPMV.get(str(fields.version))
    name = TEXT_PARTS.get(fields.model_type, fields.model_type)
    return name if name in FAMILIES else None
