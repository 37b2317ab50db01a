"""Layers over several cards: as many as llama-server will put there by the same figures, and what that takes."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.model.gguf import read_gguf
from kotaro_bridge.domain.planning.card_split import bytes_per_card, divide, layer_bytes, pipeline_bytes, split_layers
from kotaro_bridge.domain.planning.plan_parts import GgufPlanned
from kotaro_bridge.domain.units import GIB, MIB
from kotaro_bridge.host.catalogue_store import load_catalogue
from tests.helpers.gguf_header import Q14, qwen2_shape, reader

MODEL = read_gguf(reader(qwen2_shape(*Q14), 1 << 40), 1 << 40)


def engine_split(shares: tuple[int, ...]) -> tuple[int, ...]:
    """llama-model.cpp, get_layer_buft_list, in single precision where it matters: card of each layer, counted."""
    total = sum(shares)
    ends = [end / total for end in accumulate(shares)]
    homes = [bisect_right(ends, layer / total) for layer in range(total)]
    return tuple(homes.count(card) for card in range(len(shares)))


def test_the_layers_are_the_whole_model_on_the_cards() -> None:
    sizes = layer_bytes(MODEL, 0)
    assert len(sizes) == MODEL.block_count + 1
    assert sum(sizes) == MODEL.weights_on_gpu
    assert sizes[-1] > 2 * sizes[0], "the output layer is the widest"
    assert sum(layer_bytes(MODEL, 48 * MIB)) == MODEL.weights_on_gpu + 48 * MIB


def test_the_recipe_of_a_file_is_divided_as_the_file_itself() -> None:
    """The catalogue plans before anything is downloaded: its tensors stand for those of all layers."""
    entry = next(each for each in load_catalogue() if each.id == "qwen2.5-14b-instruct-q4_k_m")
    assert isinstance(entry.planned, GgufPlanned)
    sizes, of_file = layer_bytes(entry.planned.model, 48 * MIB), layer_bytes(MODEL, 48 * MIB)
    assert sum(sizes) == pytest.approx(sum(of_file), abs=MIB)
    room = (10 * GIB, 10 * GIB)
    assert split_layers(sizes, room) == split_layers(of_file, room)


def test_like_cards_get_like_parts() -> None:
    sizes = layer_bytes(MODEL, 0)
    layers = split_layers(sizes, (10 * GIB, 10 * GIB))
    parts = bytes_per_card(sizes, layers)
    assert sum(layers) == 49
    assert layers[0] > layers[1], "the output layer counts as its bytes"
    assert abs(parts[0] - parts[1]) <= max(sizes)


def test_more_room_is_more_layers() -> None:
    sizes = [100] * 49
    assert split_layers(sizes, (30, 10)) == (37, 12)
    assert split_layers(sizes, (0, 10)) == (1, 48), "each card that was named gets one"
    assert split_layers(sizes, (-5, -9)) == (24, 25), "where none has room, none is right"


def test_more_cards_than_layers_is_no_way() -> None:
    with pytest.raises(ProblemError) as caught:
        split_layers([1, 1], (1, 1, 1))
    assert caught.value.problem.code == "plan.more_cards_than_layers"
    assert caught.value.problem.params == {"cards": 3, "layers": 2}


@given(
    st.lists(st.integers(1, 1000), min_size=8, max_size=120),
    st.lists(st.integers(-10, 10**6), min_size=1, max_size=8),
)
def test_the_engine_makes_the_same_of_it(sizes: list[int], rooms: list[int]) -> None:
    layers = split_layers(sizes, rooms)
    assert sum(layers) == len(sizes)
    assert all(count >= 1 for count in layers)
    assert engine_split(layers) == layers
    assert sum(bytes_per_card(sizes, layers)) == sum(sizes)


def test_each_card_needs_its_layers_and_what_all_need() -> None:
    found = divide([100] * 10, 7, 50, (1000, 1000))
    assert sum(found.layers) == 10
    assert found.needs[0] == found.layers[0] * 100 + 57, "the projector is on the first"
    assert found.needs[1] == found.layers[1] * 100 + 7
    assert found.layers[0] <= found.layers[1]


def test_a_pipeline_keeps_three_more_copies() -> None:
    assert pipeline_bytes(width=5120, ubatch=512, cells=8192) == 3 * 512 * (2 * 8192 + 4 * 5120)
