"""Tiny models of many architectures, weights all zero: made to be loaded by the real llama-server, not to talk.

What differs between them is what the context keeps: whole attention, windows, compressed keys, recurrent state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import gguf
import numpy as np

from tests.helpers.tiny_gguf import add_vocabulary, finish

Keys: TypeAlias = Mapping[str, int | float | list[int] | list[bool]]
Dims: TypeAlias = tuple[int, ...]
Block: TypeAlias = dict[str, Dims]

HIDDEN, FEED_FORWARD, HEADS, VOCAB, CONTEXT = 64, 128, 2, 512, 32_768
HEAD = 32  # a multiple of 32, so that quantized caches are possible


@dataclass(frozen=True, slots=True)
class Architecture:
    """Keys without the architecture in front, and the tensors of each layer (row length first)."""

    name: str
    layers: int
    keys: Keys
    block: Callable[[int], Block]
    last_norm: str = "output_norm.weight"


def write_shape(path: Path, of: Architecture, more: Keys | None = None) -> Path:
    """Write the model and return `path`."""
    writer = gguf.GGUFWriter(path, of.name)
    writer.add_block_count(of.layers)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_layer_norm_rms_eps(1e-6)
    for key, value in {**of.keys, **(more or {})}.items():
        _add(writer, f"{of.name}.{key}", value)
    add_vocabulary(writer, VOCAB)
    tensors: Block = {"token_embd.weight": (HIDDEN, VOCAB), of.last_norm: (HIDDEN,)}
    for layer in range(of.layers):
        tensors |= {f"blk.{layer}.{name}": dims for name, dims in of.block(layer).items()}
    for name, dims in tensors.items():
        whole = len(dims) == 1 or "ssm_" in name or "shortconv.conv" in name
        writer.add_tensor(name, np.zeros(dims[::-1], np.float32 if whole else np.float16))
    return finish(writer, path)


def _add(writer: gguf.GGUFWriter, key: str, value: int | float | list[int] | list[bool]) -> None:
    if isinstance(value, list):
        writer.add_array(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_uint32(key, value)


def _feed_forward() -> Block:
    return {
        "ffn_norm.weight": (HIDDEN,),
        "ffn_gate.weight": (HIDDEN, FEED_FORWARD),
        "ffn_up.weight": (HIDDEN, FEED_FORWARD),
        "ffn_down.weight": (FEED_FORWARD, HIDDEN),
    }


def _attention(kv_heads: int = 1, queries: int = HEADS) -> Block:
    return {
        "attn_norm.weight": (HIDDEN,),
        "attn_q.weight": (HIDDEN, queries * HEAD),
        "attn_k.weight": (HIDDEN, kv_heads * HEAD),
        "attn_v.weight": (HIDDEN, kv_heads * HEAD),
        "attn_output.weight": (HEADS * HEAD, HIDDEN),
    }


_HEAD_NORMS: Block = {"attn_q_norm.weight": (HEAD,), "attn_k_norm.weight": (HEAD,)}


_COMMON: Keys = {"feed_forward_length": FEED_FORWARD, "attention.head_count": HEADS}
_KV: Keys = {"attention.head_count_kv": 1}
_POST_NORMS: Block = {"post_attention_norm.weight": (HIDDEN,), "post_ffw_norm.weight": (HIDDEN,)}

LLAMA = Architecture(
    "llama", 3, {**_COMMON, **_KV, "rope.dimension_count": HEAD}, lambda _: _attention() | _feed_forward()
)
GEMMA2 = Architecture(
    "gemma2",
    5,
    {**_COMMON, **_KV, "attention.sliding_window": 300},
    lambda _: _attention() | _feed_forward() | _POST_NORMS,
)
GEMMA3 = Architecture(
    "gemma3",
    7,
    {**_COMMON, **_KV, "attention.sliding_window": 700},
    lambda _: _attention() | _HEAD_NORMS | _feed_forward() | _POST_NORMS,
)
# A head count for each layer, as pruned models have.
DECI_HEADS = [2, 1, 2]
DECI = Architecture(
    "deci",
    3,
    {**_COMMON, "attention.head_count_kv": DECI_HEADS, "rope.dimension_count": HEAD},
    lambda layer: _attention(DECI_HEADS[layer]) | _feed_forward(),
)
_LATENT, _ROPE, _NOPE = 64, 32, 16
DEEPSEEK2 = Architecture(
    "deepseek2",
    3,
    {
        **_COMMON,
        "attention.head_count_kv": 1,
        "attention.key_length": _LATENT + _ROPE,
        "attention.value_length": _LATENT,
        "attention.key_length_mla": _NOPE + _ROPE,
        "attention.value_length_mla": 16,
        "attention.kv_lora_rank": _LATENT,
        "attention.q_lora_rank": 48,
        "rope.dimension_count": _ROPE,
        "leading_dense_block_count": 3,
        "expert_count": 2,
        "expert_used_count": 1,
        "expert_shared_count": 1,
        "expert_feed_forward_length": 32,
    },
    lambda _: {
        "attn_norm.weight": (HIDDEN,),
        "attn_q_a_norm.weight": (48,),
        "attn_kv_a_norm.weight": (_LATENT,),
        "attn_q_a.weight": (HIDDEN, 48),
        "attn_q_b.weight": (48, HEADS * (_NOPE + _ROPE)),
        "attn_kv_a_mqa.weight": (HIDDEN, _LATENT + _ROPE),
        "attn_k_b.weight": (_NOPE, _LATENT, HEADS),
        "attn_v_b.weight": (_LATENT, 16, HEADS),
        "attn_output.weight": (HEADS * 16, HIDDEN),
        **_feed_forward(),
    },
)
_INNER, _STATE = 2 * HIDDEN, 16
MAMBA = Architecture(
    "mamba",
    4,
    {"ssm.conv_kernel": 4, "ssm.inner_size": _INNER, "ssm.state_size": _STATE, "ssm.time_step_rank": 8}
    | {"feed_forward_length": 0, "attention.head_count": 0},
    lambda _: {
        "attn_norm.weight": (HIDDEN,),
        "ssm_in.weight": (HIDDEN, 2 * _INNER),
        "ssm_conv1d.weight": (4, _INNER),
        "ssm_conv1d.bias": (_INNER,),
        "ssm_x.weight": (_INNER, 8 + 2 * _STATE),
        "ssm_dt.weight": (8, _INNER),
        "ssm_dt.bias": (_INNER,),
        "ssm_a": (_STATE, _INNER),
        "ssm_d": (_INNER,),
        "ssm_out.weight": (_INNER, HIDDEN),
    },
)
_GROUPS, _SSM_HEADS = 2, 8
_CONV = _INNER + 2 * _GROUPS * _STATE
FALCON_H1 = Architecture(
    "falcon-h1",
    3,
    {**_COMMON, **_KV, "ssm.conv_kernel": 4, "ssm.inner_size": _INNER, "ssm.state_size": _STATE}
    | {"ssm.time_step_rank": _SSM_HEADS, "ssm.group_count": _GROUPS, "rope.dimension_count": HEAD},
    lambda _: {
        "ssm_in.weight": (HIDDEN, _INNER + _CONV + _SSM_HEADS),
        "ssm_conv1d.weight": (4, _CONV),
        "ssm_conv1d.bias": (_CONV,),
        "ssm_dt.bias": (_SSM_HEADS,),
        "ssm_a": (1, _SSM_HEADS),
        "ssm_d": (1, _SSM_HEADS),
        "ssm_norm.weight": (_INNER // _GROUPS, _GROUPS),
        "ssm_out.weight": (_INNER, HIDDEN),
        **_attention(),
        **{name.replace("ffn_norm.weight", "ffn_norm"): dims for name, dims in _feed_forward().items()},
    },
)
_DELTA_VALUES = _SSM_HEADS * _STATE


def _qwen35_block(layer: int) -> Block:
    ends: Block = {"attn_norm.weight": (HIDDEN,), "post_attention_norm.weight": (HIDDEN,)}
    feed = {name: dims for name, dims in _feed_forward().items() if name != "ffn_norm.weight"}
    if (layer + 1) % 4 == 0:
        return ends | feed | _attention(queries=2 * HEADS) | _HEAD_NORMS
    return ends | {
        **feed,
        "attn_qkv.weight": (HIDDEN, 2 * _STATE * _GROUPS + _DELTA_VALUES),
        "attn_gate.weight": (HIDDEN, _DELTA_VALUES),
        "ssm_conv1d.weight": (4, 2 * _STATE * _GROUPS + _DELTA_VALUES),
        "ssm_dt.bias": (_SSM_HEADS,),
        "ssm_a": (_SSM_HEADS,),
        "ssm_beta.weight": (HIDDEN, _SSM_HEADS),
        "ssm_alpha.weight": (HIDDEN, _SSM_HEADS),
        "ssm_norm.weight": (_STATE,),
        "ssm_out.weight": (_DELTA_VALUES, HIDDEN),
    }


QWEN35 = Architecture(
    "qwen35",
    6,
    {**_COMMON, **_KV, "ssm.conv_kernel": 4, "ssm.inner_size": _DELTA_VALUES, "ssm.state_size": _STATE}
    | {"ssm.time_step_rank": _SSM_HEADS, "ssm.group_count": _GROUPS, "rope.dimension_sections": [8, 4, 4, 0]},
    _qwen35_block,
)
LFM2_HEADS = [0, 1, 0, 1]
LFM2 = Architecture(
    "lfm2",
    4,
    {**_COMMON, "attention.head_count_kv": LFM2_HEADS, "shortconv.l_cache": 3},
    lambda layer: (
        _feed_forward()
        | (
            _attention() | _HEAD_NORMS
            if LFM2_HEADS[layer]
            else {
                "attn_norm.weight": (HIDDEN,),
                "shortconv.conv.weight": (3, HIDDEN),
                "shortconv.in_proj.weight": (HIDDEN, 3 * HIDDEN),
                "shortconv.out_proj.weight": (HIDDEN, HIDDEN),
            }
        )
    ),
    last_norm="token_embd_norm.weight",
)
ALL = {
    "llama": LLAMA,
    "deci": DECI,
    "gemma2": GEMMA2,
    "gemma3": GEMMA3,
    "deepseek2": DEEPSEEK2,
    "mamba": MAMBA,
    "falcon-h1": FALCON_H1,
    "qwen35": QWEN35,
    "lfm2": LFM2,
}
