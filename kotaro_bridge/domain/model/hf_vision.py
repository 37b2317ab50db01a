"""The part of a model that turns pictures into tokens, as far as `config.json` tells.

Owns its matrices and the tokens of a picture. Must not know the text part but for its width.

Source: modeling_*.py of transformers 5.23 (SigLIP for Gemma 3 and MiniCPM-V); BaseResampler in vllm's minicpmv.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Final, TypeAlias

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.model.hf_fields import ConfigFields, VisionFields

Matrices: TypeAlias = dict[str, tuple[int, ...]]
"""Name -> shape, outermost first."""

_COLOURS = 3


@dataclass(frozen=True, slots=True)
class VisionTower:
    """What sees.

    Args:
        parameters: weights of the encoder and of what joins it to the text part.
        layers, hidden, heads, intermediate: of the encoder.
        patch_size: pixels of a patch's side.
        image_size: pixels of a picture's side as the encoder takes it, None where it takes any.
        slices: pieces that a large picture is cut into, the overview not counted.
        tokens_per_image: text tokens that the largest picture takes, separators not counted; None where another file
            (the processor's) decides.
    """

    parameters: int
    layers: int
    hidden: int
    heads: int
    intermediate: int
    patch_size: int
    image_size: int | None
    slices: int
    tokens_per_image: int | None


def read_vision(fields: ConfigFields, text_hidden: int) -> VisionTower | None:
    """The vision part of a model, None if its type has none.

    Args:
        text_hidden: width of the text part.

    Raises:
        ProblemError: `model.config_field` (`field`: it is missing).
    """
    build = _BUILDERS.get(fields.model_type)
    return build(fields, text_hidden) if build else None


def _required(value: int | None, field: str) -> int:
    if not value:
        raise ProblemError(problem("model.config_field", field=f"vision_config.{field}"))
    return value


def _linear(name: str, rows: int, columns: int) -> Matrices:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def _norm(name: str, width: int) -> Matrices:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _repeat(count: int, block: Matrices) -> int:
    return count * _count(block)


def _count(matrices: Matrices) -> int:
    return sum(prod(shape) for shape in matrices.values())


@dataclass(frozen=True, slots=True)
class _Siglip:
    """The encoder of Gemma 3 and MiniCPM-V."""

    layers: int
    hidden: int
    heads: int
    intermediate: int
    patch: int
    image: int

    @classmethod
    def of(cls, vision: VisionFields) -> _Siglip:
        return cls(
            _required(vision.num_hidden_layers, "num_hidden_layers"),
            _required(vision.hidden_size, "hidden_size"),
            _required(vision.num_attention_heads, "num_attention_heads"),
            _required(vision.intermediate_size, "intermediate_size"),
            _required(vision.patch_size, "patch_size"),
            _required(vision.image_size, "image_size"),
        )

    @property
    def parameters(self) -> int:
        width = self.hidden
        block: Matrices = {}
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            block |= _linear(name, width, width)
        block |= _norm("layer_norm1", width) | _norm("layer_norm2", width)
        block |= _linear("fc1", self.intermediate, width) | _linear("fc2", width, self.intermediate)
        ends = _linear("patch_embedding", width, _COLOURS * self.patch**2) | _norm("post_layernorm", width)
        ends["position_embedding.weight"] = ((self.image // self.patch) ** 2, width)
        return _repeat(self.layers, block) + _count(ends)

    def tower(self, joining: Matrices, *, image_size: int, slices: int, tokens: int) -> VisionTower:
        return VisionTower(
            parameters=self.parameters + _count(joining),
            layers=self.layers,
            hidden=self.hidden,
            heads=self.heads,
            intermediate=self.intermediate,
            patch_size=self.patch,
            image_size=image_size,
            slices=slices,
            tokens_per_image=tokens,
        )


def _minicpmv(fields: ConfigFields, text_hidden: int) -> VisionTower:
    """MiniCPM-V: the picture and each of its slices become `query_num` tokens (reference vllm §8)."""
    siglip = _Siglip.of(fields.vision_config or VisionFields())
    queries = _required(fields.query_num, "query_num")
    resampler: Matrices = {
        "query": (queries, text_hidden),
        "kv_proj.weight": (text_hidden, siglip.hidden),
        "attn.in_proj_weight": (3 * text_hidden, text_hidden),
        "attn.in_proj_bias": (3 * text_hidden,),
        "proj": (text_hidden, text_hidden),
        **_linear("attn.out_proj", text_hidden, text_hidden),
    }
    for name in ("ln_q", "ln_kv", "ln_post"):
        resampler |= _norm(name, text_hidden)
    slices = fields.slice_config.max_slice_nums if fields.slice_config else None
    slices = _MINICPMV_SLICES if slices is None else slices
    return siglip.tower(
        resampler, image_size=fields.image_size or _MINICPMV_IMAGE, slices=slices, tokens=(slices + 1) * queries
    )


_MINICPMV_SLICES, _MINICPMV_IMAGE = 9, 448  # those of 2.6, whose own file has both (reference vllm §8)


def _gemma3(fields: ConfigFields, text_hidden: int) -> VisionTower | None:
    if fields.vision_config is None:
        return None
    siglip = _Siglip.of(fields.vision_config)
    joining: Matrices = {
        "mm_input_projection_weight": (siglip.hidden, text_hidden),
        "mm_soft_emb_norm.weight": (siglip.hidden,),
    }
    return siglip.tower(joining, image_size=siglip.image, slices=0, tokens=fields.mm_tokens_per_image or 256)


def _qwen2_vl(fields: ConfigFields, text_hidden: int) -> VisionTower:
    vision = fields.vision_config or VisionFields()
    width, merged = vision.embed_dim or 1280, (vision.embed_dim or 1280) * (vision.spatial_merge_size or 2) ** 2
    feed = int(width * (vision.mlp_ratio or 4))
    block = _norm("norm1", width) | _norm("norm2", width) | _linear("qkv", 3 * width, width)
    block |= _linear("proj", width, width) | _linear("fc1", feed, width) | _linear("fc2", width, feed)
    ends = {"patch_embed.proj.weight": (width, _patch_volume(vision, 14)), **_norm("merger.ln_q", width)}
    ends |= _linear("merger.mlp.0", merged, merged) | _linear("merger.mlp.2", text_hidden, merged)
    return _qwen(vision, block, ends, width, feed, depth=32, patch=14)


def _qwen2_5_vl(fields: ConfigFields, text_hidden: int) -> VisionTower:
    vision = fields.vision_config or VisionFields()
    width, feed = _required(vision.hidden_size, "hidden_size"), vision.intermediate_size or 3420
    merged = width * (vision.spatial_merge_size or 2) ** 2
    block = {"norm1.weight": (width,), "norm2.weight": (width,), **_linear("qkv", 3 * width, width)}
    block |= _linear("proj", width, width) | _linear("gate_proj", feed, width) | _linear("up_proj", feed, width)
    block |= _linear("down_proj", width, feed)
    ends: Matrices = {"patch_embed.proj.weight": (width, _patch_volume(vision, 14)), "merger.ln_q.weight": (width,)}
    ends |= _linear("merger.mlp.0", merged, merged)
    ends |= _linear("merger.mlp.2", vision.out_hidden_size or text_hidden, merged)
    return _qwen(vision, block, ends, width, feed, depth=32, patch=14)


def _qwen3_vl(fields: ConfigFields, text_hidden: int) -> VisionTower:
    vision = fields.vision_config or VisionFields()
    width, feed = vision.hidden_size or 1152, vision.intermediate_size or 4304
    merged, out = width * (vision.spatial_merge_size or 2) ** 2, vision.out_hidden_size or text_hidden
    block = _norm("norm1", width) | _norm("norm2", width) | _linear("qkv", 3 * width, width)
    block |= _linear("proj", width, width) | _linear("fc1", feed, width) | _linear("fc2", width, feed)
    ends = _linear("patch_embed.proj", width, _patch_volume(vision, 16)) | _norm("merger.norm", width)
    ends["pos_embed.weight"] = (vision.num_position_embeddings or 2304, width)
    ends |= _linear("merger.fc1", merged, merged) | _linear("merger.fc2", out, merged)
    stages = vision.deepstack_visual_indexes
    for stage in range(3 if stages is None else len(stages)):
        name = f"deepstack_merger.{stage}"
        ends |= _norm(f"{name}.norm", merged) | _linear(f"{name}.fc1", merged, merged)
        ends |= _linear(f"{name}.fc2", out, merged)
    return _qwen(vision, block, ends, width, feed, depth=27, patch=16)


def _patch_volume(vision: VisionFields, patch: int) -> int:
    return _COLOURS * (vision.temporal_patch_size or 2) * (vision.patch_size or patch) ** 2


def _qwen(
    vision: VisionFields, block: Matrices, ends: Matrices, width: int, feed: int, *, depth: int, patch: int
) -> VisionTower:
    """The towers of the Qwen-VL family take pictures of any size; the processor's file has the limit."""
    layers = vision.depth or depth
    return VisionTower(
        parameters=_repeat(layers, block) + _count(ends),
        layers=layers,
        hidden=width,
        heads=vision.num_heads or 16,
        intermediate=feed,
        patch_size=vision.patch_size or patch,
        image_size=None,
        slices=0,
        tokens_per_image=None,
    )


_BUILDERS: Final[Mapping[str, Callable[[ConfigFields, int], VisionTower | None]]] = {
    "minicpmv": _minicpmv,
    "gemma3": _gemma3,
    "qwen2_vl": _qwen2_vl,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
}
