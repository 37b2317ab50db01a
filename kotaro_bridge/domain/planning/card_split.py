"""Which of llama-server's cards gets how many layers, and what that takes of each.

Owns the rule of division. It is ours and handed over as `-ts`, since the engine's own follows the memory that is free
when it loads: the gate could not know what each card will have to hold. Must not read cards or files.

Source: llama.cpp v0.5.0-dev, llama-model.cpp, get_layer_buft_list: layer i of n goes to the first card whose share of
the sum so far is above i / n. With whole numbers of layers as shares, whose sum is n, each card gets exactly those. The
output layer counts as one more and comes last.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.model.gguf import GgufModel
from kotaro_bridge.domain.model.gguf_recipe import EVERY_LAYER


@dataclass(frozen=True, slots=True)
class Division:
    """How many layers each card gets (the output layer counted), and bytes that each card needs for everything."""

    layers: tuple[int, ...]
    needs: tuple[int, ...]


_BLOCK = re.compile(r"blk\.(\d+)\.")


def divide(sizes: Sequence[int], each: int, first: int, rooms: Sequence[int]) -> Division:
    """Layers over several cards.

    Args:
        sizes: bytes of each layer, with its part of the KV cache. each: what every card needs beside its layers. first:
            what the first one alone has to hold: a projector (llama.cpp tools/mtmd/clip.cpp takes the first card).
        rooms: bytes of each card for everything; like ones where nothing is known.

    Raises:
        ProblemError: `plan.more_cards_than_layers`.
    """
    fixed = [each + first, *[each] * (len(rooms) - 1)]
    layers = split_layers(sizes, [room - taken for room, taken in zip(rooms, fixed, strict=True)])
    parts = bytes_per_card(sizes, layers)
    return Division(layers, tuple(part + taken for part, taken in zip(parts, fixed, strict=True)))


def pipeline_bytes(width: int, ubatch: int, cells: int) -> int:
    """With several cards and the whole model on them llama.cpp computes in a pipeline, and keeps what goes to a card
    four times (llama-context.cpp, pipeline_parallel; ggml-backend.cpp, GGML_SCHED_MAX_COPIES): the attention mask and a
    row of the model's width for each token of a micro batch. These are the three more. From the source, not yet
    measured.

    Args:
        width: elements of a row. cells: tokens of the KV cache.
    """
    return 3 * ubatch * (2 * cells + 4 * width)


def layer_bytes(model: GgufModel, kv_bytes: int) -> tuple[int, ...]:
    """What each layer takes of a card with its share of the KV cache; the last one is the output layer.

    Args:
        kv_bytes: of the whole cache. All layers count alike: where they differ (sliding windows), each card's layers
            are a mixture.
    """
    blocks = [-(-kv_bytes // max(1, model.block_count))] * model.block_count
    rest = model.weights_on_gpu
    for tensor in model.tensors:
        if tensor.name.startswith(EVERY_LAYER):
            blocks = [size + -(-tensor.bytes // model.block_count) for size in blocks]
            rest -= tensor.bytes
        found = _BLOCK.match(tensor.name)
        if found and int(found[1]) < model.block_count:
            blocks[int(found[1])] += tensor.bytes
            rest -= tensor.bytes
    return (*blocks, max(0, rest))


def split_layers(sizes: Sequence[int], rooms: Sequence[int]) -> tuple[int, ...]:
    """Layers per card, in order, so that the bytes follow the room of each card; every card gets one at least.

    Args:
        sizes: bytes of each layer. rooms: bytes that each card has for layers.

    Raises:
        ProblemError: `plan.more_cards_than_layers`.
    """
    if len(sizes) < len(rooms):
        raise ProblemError(problem("plan.more_cards_than_layers", cards=len(rooms), layers=len(sizes)))
    shares = [max(0, room) for room in rooms] if any(room > 0 for room in rooms) else [1] * len(rooms)
    filled = (0, *accumulate(sizes))
    cuts = [0]
    for position, share in enumerate(accumulate(shares[:-1]), 1):
        wanted = filled[-1] * share / sum(shares)
        choices = range(cuts[-1] + 1, len(sizes) - (len(rooms) - position) + 1)
        cuts.append(min(choices, key=lambda cut: abs(filled[cut] - wanted)))
    return tuple(after - before for before, after in pairwise((*cuts, len(sizes))))


def bytes_per_card(sizes: Sequence[int], layers: Sequence[int]) -> tuple[int, ...]:
    """What the layers of each card take."""
    ends = tuple(accumulate(layers))
    return tuple(sum(sizes[end - count : end]) for count, end in zip(layers, ends, strict=True))
