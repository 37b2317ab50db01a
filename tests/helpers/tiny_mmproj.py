"""Writes the smallest picture encoder that llama-server loads (a CLIP ViT with LLaVA's two-layer projector), random.

Needs numpy and gguf alone, so that it can be run where the card is:

    python -m tests.helpers.tiny_mmproj mmproj.gguf --text model.gguf
    llama-server -m model.gguf --mmproj mmproj.gguf …

Source of keys and tensor names: tools/mtmd/clip.cpp and clip-impl.h of llama.cpp v0.5.0-dev.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

from tests.helpers.tiny_gguf import Shape, finish, write_tiny_gguf

TEXT_WIDTH = Shape().hidden  # of the language model that the projector is made for
WIDTH, FEED_FORWARD, HEADS, LAYERS = 128, 256, 2, 2  # heads of 64: flash attention on CUDA knows that size
IMAGE, PATCH = 56, 14


def write_tiny_mmproj(path: Path) -> Path:
    """Write the projector and return `path`."""
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.use_gelu", False)
    writer.add_uint32("clip.vision.embedding_length", WIDTH)
    writer.add_uint32("clip.vision.feed_forward_length", FEED_FORWARD)
    writer.add_uint32("clip.vision.attention.head_count", HEADS)
    writer.add_uint32("clip.vision.block_count", LAYERS)
    writer.add_uint32("clip.vision.projection_dim", TEXT_WIDTH)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_uint32("clip.vision.image_size", IMAGE)
    writer.add_uint32("clip.vision.patch_size", PATCH)
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
    for name, shape in _shapes().items():
        writer.add_tensor(name, _tensor(name, shape))
    return finish(writer, path)


def _shapes() -> dict[str, tuple[int, ...]]:
    patches = (IMAGE // PATCH) ** 2
    shapes: dict[str, tuple[int, ...]] = {
        "v.class_embd": (WIDTH,),
        "v.patch_embd.weight": (WIDTH, 3, PATCH, PATCH),
        "v.position_embd.weight": (patches + 1, WIDTH),
        "v.pre_ln.weight": (WIDTH,),
        "v.pre_ln.bias": (WIDTH,),
        "mm.0.weight": (TEXT_WIDTH, WIDTH),
        "mm.0.bias": (TEXT_WIDTH,),
        "mm.2.weight": (TEXT_WIDTH, TEXT_WIDTH),
        "mm.2.bias": (TEXT_WIDTH,),
    }
    for layer in range(LAYERS):
        block: dict[str, tuple[int, ...]] = {f"attn_{part}": (WIDTH, WIDTH) for part in ("q", "k", "v", "out")}
        block |= {"ffn_up": (FEED_FORWARD, WIDTH), "ffn_down": (WIDTH, FEED_FORWARD), "ln1": (WIDTH,), "ln2": (WIDTH,)}
        for part, shape in block.items():
            shapes[f"v.blk.{layer}.{part}.weight"] = shape
            shapes[f"v.blk.{layer}.{part}.bias"] = shape[:1]
    return shapes


def _tensor(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.floating]:
    random = np.random.default_rng(sum(name.encode()))
    values = random.standard_normal(shape) * 0.02
    return values.astype(np.float32 if len(shape) == 1 or "position" in name else np.float16)


def main() -> None:
    """Write one projector, and the language model that goes with it where one is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--text", type=Path)
    arguments = parser.parse_args()
    write_tiny_mmproj(arguments.out)
    if arguments.text:
        write_tiny_gguf(arguments.text)


if __name__ == "__main__":
    main()
