"""Speed against the card: bytes per token, thresholds held against every measured row, and the key of a baseline."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import pytest

from kotaro_bridge.domain.engine.engine_log import DeviceFacts, Engine, LogFacts
from kotaro_bridge.domain.gpu import GpuSnapshot
from kotaro_bridge.domain.model.gguf import GgufModel, read_gguf
from kotaro_bridge.domain.profile import KvType, Profile, VllmOptions
from kotaro_bridge.domain.run.run_view import Speed
from kotaro_bridge.domain.run.speed import (
    DROP,
    EXCHANGE_S,
    Mode,
    Yardstick,
    gguf_read_bytes,
    has_dropped,
    mode_of,
    rated,
    shown,
    slow_notice,
    speed_key,
    vllm_read_bytes,
    yardstick_of,
)
from kotaro_bridge.domain.units import GIB, MIB
from tests.helpers.gguf_header import Q1, Q7, Q14, Q32, Tensor, Value, pack_header, qwen2_shape, reader, tensor_bytes
from tests.helpers.machine import LLAMA, VLLM

BASE: dict[str, Value | bytes] = {
    "general.architecture": "qwen3moe",
    "qwen3moe.block_count": 2,
    "qwen3moe.context_length": 4096,
    "qwen3moe.embedding_length": 256,
    "qwen3moe.attention.head_count": 4,
}
EMBEDDING: Tensor = ("token_embd.weight", (256, 1000), "Q4_K")
OUTPUT: Tensor = ("output.weight", (256, 1000), "Q6_K")
DENSE: Tensor = ("blk.0.attn_q.weight", (256, 256), "Q4_K")
SHARED: Tensor = ("blk.0.ffn_up_shexp.weight", (256, 512), "Q4_K")
EXPERTS: Tensor = ("blk.0.ffn_up_exps.weight", (256, 512, 8), "Q4_K")
GUESSING: Tensor = ("blk.1.attn_q.weight", (256, 256), "Q4_K")


def model_of(header: bytes) -> GgufModel:
    return read_gguf(reader(header, 1 << 40), 1 << 40)


def model(*tensors: Tensor, **values: Value) -> GgufModel:
    return model_of(pack_header(BASE | {f"qwen3moe.{key}": value for key, value in values.items()}, tensors))


def size(*tensors: Tensor) -> int:
    return sum(tensor_bytes(dims, kind) for _, dims, kind in tensors)


def card(bandwidth_gb: float, **changes: object) -> GpuSnapshot:
    """A card of that memory bandwidth: a bus of 4,000 bit moves 1,000 bytes per MHz and second."""
    made = GpuSnapshot(0, "GPU-1", "H100", 80 * GIB, driver="580.1", bus_width_bits=4000)
    return replace(made, memory_clock_max_mhz=round(bandwidth_gb), **changes)  # type: ignore[arg-type]


H100, H200 = card(3352), card(4800)
Q1_MODEL, Q7_MODEL, Q14_MODEL, Q32_MODEL = (model_of(qwen2_shape(*shape)) for shape in (Q1, Q7, Q14, Q32))
EAGER = msgspec.structs.replace(VLLM, extra_args=("--enforce-eager",))
CONFIG = {"hidden_size": 5120, "vocab_size": 152_064, "tie_word_embeddings": False}
AWQ14, AWQ32 = round(9.53 * GIB), round(18.49 * GIB)


# --- bytes per token --------------------------------------------------------------------------------------------------


def test_a_token_reads_all_weights_on_the_card() -> None:
    assert gguf_read_bytes(Q14_MODEL) == Q14_MODEL.weights_on_gpu
    assert Q14_MODEL.weights_on_gpu == pytest.approx(8148.38 * MIB, abs=0.01 * MIB), "captures full14"


def test_the_input_table_is_not_read_but_its_copy_as_output_layer_is() -> None:
    assert gguf_read_bytes(model(EMBEDDING, DENSE, OUTPUT)) == size(DENSE, OUTPUT)
    assert gguf_read_bytes(model(EMBEDDING, DENSE)) == size(DENSE, EMBEDDING)


def test_of_the_experts_those_that_are_used_are_read_and_shared_ones_always() -> None:
    mixture = model(EMBEDDING, DENSE, SHARED, EXPERTS, OUTPUT, expert_count=8, expert_used_count=2)
    assert gguf_read_bytes(mixture) == size(DENSE, SHARED, OUTPUT) + size(EXPERTS) // 4


@pytest.mark.parametrize(
    ("tensors", "values"),
    [
        ((EXPERTS,), {}),
        ((EXPERTS,), {"expert_count": 8}),
        ((EXPERTS,), {"expert_count": 8, "expert_used_count": 9}),
        ((EXPERTS,), {"expert_count": [8, 8], "expert_used_count": 2}),
        ((SHARED,), {"expert_count": 8, "expert_used_count": 2}),
    ],
)
def test_experts_that_cannot_be_told_leave_the_bytes_unknown(
    tensors: tuple[Tensor, ...], values: dict[str, Value]
) -> None:
    assert gguf_read_bytes(model(EMBEDDING, DENSE, *tensors, OUTPUT, **values)) is None


def test_layers_that_guess_further_tokens_are_not_run() -> None:
    assert gguf_read_bytes(model(EMBEDDING, DENSE, GUESSING, OUTPUT, nextn_predict_layers=1)) == size(DENSE, OUTPUT)
    assert gguf_read_bytes(model(EMBEDDING, DENSE, GUESSING, OUTPUT)) == size(DENSE, GUESSING, OUTPUT)


def test_one_file_of_several_does_not_tell() -> None:
    assert gguf_read_bytes(replace(Q14_MODEL, split_count=2)) is None


@pytest.mark.parametrize(
    ("changes", "extra_args", "expected"),
    [
        ({}, (), AWQ14 - 152_064 * 5120 * 2),
        ({}, ("--dtype", "half"), AWQ14 - 152_064 * 5120 * 2),
        ({}, ("--dtype", "float32"), AWQ14 - 152_064 * 5120 * 4),
        ({}, ("--dtype=float",), AWQ14 - 152_064 * 5120 * 4),
        ({"tie_word_embeddings": True}, (), AWQ14),
        ({"tie_word_embeddings": None}, (), None),
        ({"vocab_size": None}, (), None),
        ({"hidden_size": "5120"}, (), None),
        ({"hidden_size": True}, (), None),
        ({"hidden_size": 51_200}, (), None),
        ({"hidden_size": -5120}, (), None),
        ({"num_experts": 128}, (), None),
        ({"num_local_experts": 8}, (), None),
        ({"n_routed_experts": 64}, (), None),
        ({"vision_config": {"hidden_size": 1152}}, (), None),
        ({"text_config": {}, "num_experts": None}, (), AWQ14 - 152_064 * 5120 * 2),
    ],
)
def test_vllm_reads_what_it_loaded_but_for_the_input_table(
    changes: dict[str, object], extra_args: tuple[str, ...], expected: int | None
) -> None:
    assert vllm_read_bytes(AWQ14, json.dumps(CONFIG | changes), extra_args) == expected


@pytest.mark.parametrize("config", [None, "", "{", "[1]", "7", "[" * 100_000])
def test_a_config_that_is_none_leaves_the_bytes_unknown(config: str | None) -> None:
    assert vllm_read_bytes(AWQ14, config) is None


# --- the thresholds against everything that was measured --------------------------------------------------------------

LLAMA_ROWS = [  # captures README, `llama-server`; README, "Measured" (H200)
    ("full14", Q14_MODEL, H100, 140, False),
    ("full14-32k", Q14_MODEL, H100, 139, False),
    ("full14-np1", Q14_MODEL, H100, 141, False),
    ("full7-8k", Q7_MODEL, H100, 250, False),
    ("starve-ctx0", Q7_MODEL, H100, 247, False),
    ("H200 1.5B", Q1_MODEL, H200, 472, False),
    ("H200 7B", Q7_MODEL, H200, 253, False),
    ("H200 14B", Q14_MODEL, H200, 146, False),
    ("H200 32B", Q32_MODEL, H200, 76, False),
    ("partial20", Q14_MODEL, H100, 13.5, True),
    ("starve-default-lv3", Q14_MODEL, H100, 13.5, True),
    ("nokvoffload", Q14_MODEL, H100, 60, True),
    ("nodevice-env", Q7_MODEL, H100, 15, True),
    ("cuda-hidden", Q7_MODEL, H100, 15, True),
]
VLLM_ROWS = [("q14", VLLM, AWQ14, 142), ("eager14", EAGER, AWQ14, 29), ("p32awq_24g", VLLM, AWQ32, 80)]


@pytest.mark.parametrize(("row", "header", "on", "tokens_per_s", "slow"), LLAMA_ROWS, ids=lambda value: str(value)[:12])
def test_what_is_wholly_on_the_card_is_not_slow_and_what_is_not_is(
    row: str, header: GgufModel, on: GpuSnapshot, tokens_per_s: float, slow: bool
) -> None:
    yardstick = yardstick_of(LLAMA, header, LogFacts(), None, (on,))
    assert yardstick is not None
    assert rated(tokens_per_s, yardstick, None).slow is slow


@pytest.mark.parametrize(("row", "profile", "loaded", "tokens_per_s"), VLLM_ROWS)
def test_vllm_on_the_card_is_not_slow_in_either_mode(
    row: str, profile: Profile, loaded: int, tokens_per_s: float
) -> None:
    yardstick = yardstick_of(profile, None, LogFacts(weights=loaded), json.dumps(CONFIG), (H100,))
    assert yardstick is not None
    speed = rated(tokens_per_s, yardstick, None)
    assert not speed.slow
    assert rated(tokens_per_s / 3, yardstick, None).slow, "the threshold is within reach"


def test_healthy_rows_have_room_to_the_threshold() -> None:
    for _, header, on, tokens_per_s, slow in LLAMA_ROWS:
        yardstick = yardstick_of(LLAMA, header, LogFacts(), None, (on,))
        assert yardstick is not None
        assert slow or not yardstick.is_slow(tokens_per_s / 1.4)


@pytest.mark.parametrize(
    ("header", "on", "tokens_per_s", "percent"),
    [(Q14_MODEL, H100, 140, 36), (Q14_MODEL, H100, 60, 15), (Q14_MODEL, H100, 13.5, 3), (Q7_MODEL, H200, 253, 23)],
)
def test_the_share_of_the_limit(header: GgufModel, on: GpuSnapshot, tokens_per_s: float, percent: int) -> None:
    yardstick = yardstick_of(LLAMA, header, LogFacts(), None, (on,))
    assert yardstick is not None
    assert round(yardstick.of_limit(tokens_per_s) * 100) == percent


def test_the_share_of_eager_vllm() -> None:
    yardstick = yardstick_of(EAGER, None, LogFacts(weights=AWQ14), json.dumps(CONFIG), (H100,))
    assert yardstick is not None
    assert yardstick.of_limit(29) == pytest.approx(0.075, abs=0.0005)


def test_without_bandwidth_or_bytes_there_is_no_yardstick() -> None:
    nameless = replace(H100, bus_width_bits=None)
    assert yardstick_of(LLAMA, Q14_MODEL, LogFacts(), None, (nameless,)) is None
    assert yardstick_of(LLAMA, Q14_MODEL, LogFacts(), None, ()) is None
    assert yardstick_of(LLAMA, None, LogFacts(), None, (H100,)) is None
    assert yardstick_of(VLLM, None, LogFacts(weights=AWQ14), None, (H100,)) is None


def test_vllm_with_images_has_no_yardstick_since_its_log_counts_the_image_part_too() -> None:
    seeing = msgspec.structs.replace(VLLM, vllm=VllmOptions(images=True))
    assert yardstick_of(seeing, None, LogFacts(weights=AWQ14), json.dumps(CONFIG), (H100,)) is None


def test_a_gguf_model_with_images_is_measured_by_its_language_part() -> None:
    seeing = msgspec.structs.replace(LLAMA, projector="~/mmproj.gguf")
    assert yardstick_of(seeing, Q14_MODEL, LogFacts(), None, (H100,)) == yardstick_of(
        LLAMA, Q14_MODEL, LogFacts(), None, (H100,)
    )


# --- with a baseline --------------------------------------------------------------------------------------------------

YARDSTICK = Yardstick(8 * GIB, 504e9, 0.002)


def test_where_there_is_a_baseline_it_alone_counts() -> None:
    assert rated(1.0, YARDSTICK, None).slow
    usual = rated(1.0, YARDSTICK, 1.1)
    assert usual == Speed(1.0, YARDSTICK.of_limit(1.0), 1.1, False)
    assert rated(1.0, None, None) == Speed(1.0, None, None, False)


@pytest.mark.parametrize(
    ("tokens_per_s", "baseline", "dropped"),
    [(1.0, None, False), (70.0, 140.0, False), (69.9, 140.0, True), (60.0, 140.0, True), (139.0, 141.0, False)],
)
def test_a_drop_is_less_than_half_of_what_is_usual(tokens_per_s: float, baseline: float | None, dropped: bool) -> None:
    assert has_dropped(tokens_per_s, baseline) is dropped
    assert DROP == 0.5


def test_the_notice_of_a_slow_run_has_its_figures() -> None:
    notice = slow_notice(rated(4.56, YARDSTICK, None))
    assert notice is not None
    assert (notice.code, dict(notice.params)) == ("proof.slow", {"tokens_per_s": 4.6, "percent": 8})
    assert slow_notice(rated(38.0, YARDSTICK, None)) is None


def test_the_figures_of_a_speed_are_those_that_are_known() -> None:
    assert shown(Speed(38.04, None)) == {"tokens_per_s": 38.0}
    assert shown(Speed(60.0, 0.153, 140.0)) == {"tokens_per_s": 60.0, "percent": 15, "baseline": 140.0}


# --- the key ----------------------------------------------------------------------------------------------------------

FACTS = LogFacts(version="0.5.0", weights=AWQ14)


def test_the_mode_of_an_engine() -> None:
    assert [mode_of(profile) for profile in (LLAMA, VLLM, EAGER)] == [Mode.LLAMA, Mode.GRAPHS, Mode.EAGER]


def test_the_same_run_has_the_same_key() -> None:
    key = speed_key(LLAMA, Q14_MODEL, FACTS, (H100,))
    assert key is not None
    renamed = msgspec.structs.replace(LLAMA, title="other words", port=9090)
    assert speed_key(renamed, Q14_MODEL, FACTS, (replace(H100, used=5),)) == key
    assert (key.engine, key.version, key.driver, key.card, key.mode) == ("llama-server", "0.5.0", "580.1", "GPU-1", "")


def test_what_changes_the_speed_changes_the_key() -> None:
    change = msgspec.structs.replace
    keys = [
        speed_key(LLAMA, Q14_MODEL, FACTS, (H100,)),
        *(
            speed_key(profile, Q14_MODEL, FACTS, (H100,))
            for profile in (
                change(LLAMA, id="b"),
                change(LLAMA, model="~/b.gguf"),
                change(LLAMA, context=4096),
                change(LLAMA, parallel=2),
                change(LLAMA, kv_type=KvType.Q8_0),
                change(LLAMA, extra_args=("-ub", "256")),
                change(LLAMA, engine=Engine.VLLM),
            )
        ),
        speed_key(LLAMA, Q32_MODEL, FACTS, (H100,)),
        speed_key(LLAMA, Q14_MODEL, replace(FACTS, version="0.6.0"), (H100,)),
        speed_key(LLAMA, Q14_MODEL, FACTS, (replace(H100, driver="591.0"),)),
        speed_key(LLAMA, Q14_MODEL, FACTS, (replace(H100, uuid="GPU-2"),)),
        speed_key(VLLM, None, FACTS, (H100,)),
        speed_key(VLLM, None, replace(FACTS, weights=AWQ32), (H100,)),
        speed_key(EAGER, None, FACTS, (H100,)),
    ]
    assert None not in keys
    assert len(set(keys)) == len(keys)


def test_without_a_part_of_the_key_there_is_none() -> None:
    assert speed_key(LLAMA, Q14_MODEL, replace(FACTS, version=None), (H100,)) is None
    assert speed_key(LLAMA, Q14_MODEL, FACTS, ()) is None
    assert speed_key(LLAMA, Q14_MODEL, FACTS, (replace(H100, driver=None),)) is None
    assert speed_key(LLAMA, Q14_MODEL, FACTS, (replace(H100, uuid=""),)) is None


# --- several cards ----------------------------------------------------------------------------------------------------

SLOW = replace(H100, index=1, uuid="GPU-2", bus_width_bits=(H100.bus_width_bits or 0) // 2)
BOTH = msgspec.structs.replace(LLAMA, gpus=(0, 1))
PARTS = LogFacts(devices={"CUDA0": DeviceFacts(model=3 * GIB), "CUDA1": DeviceFacts(model=1 * GIB)})


def test_cards_with_layers_of_their_own_are_waited_for_in_turn() -> None:
    """3 GiB at the whole bandwidth, then 1 GiB at half of it: as 4 GiB at 4/5."""
    alone = yardstick_of(LLAMA, Q14_MODEL, LogFacts(), None, (H100,))
    found = yardstick_of(BOTH, Q14_MODEL, PARTS, None, (H100, SLOW))
    assert alone is not None
    assert found is not None
    assert found.bandwidth == pytest.approx(alone.bandwidth * 4 / 5)
    assert (found.read_bytes, found.launch_s) == (alone.read_bytes, alone.launch_s)
    untold = yardstick_of(BOTH, Q14_MODEL, LogFacts(), None, (H100, H100))
    assert untold is not None
    assert untold.bandwidth == pytest.approx(alone.bandwidth)


def test_cards_with_a_part_of_each_layer_read_at_once_and_the_slowest_counts() -> None:
    both = msgspec.structs.replace(VLLM, gpus=(0, 1))
    half = LogFacts(weights=AWQ14 // 2)
    found = yardstick_of(both, None, half, json.dumps(CONFIG), (H100, SLOW))
    alone = yardstick_of(VLLM, None, LogFacts(weights=AWQ14), json.dumps(CONFIG), (H100,))
    assert found is not None
    assert alone is not None
    assert found.read_bytes == pytest.approx(alone.read_bytes / 2, abs=2)
    assert found.bandwidth == pytest.approx(alone.bandwidth / 2)
    assert found.launch_s == alone.launch_s + EXCHANGE_S


def test_a_card_of_unknown_bandwidth_leaves_the_limit_unknown() -> None:
    assert yardstick_of(BOTH, Q14_MODEL, PARTS, None, (H100, replace(H100, bus_width_bits=None))) is None


def test_speeds_of_other_cards_are_not_compared() -> None:
    alone = speed_key(LLAMA, Q14_MODEL, FACTS, (H100,))
    both = speed_key(BOTH, Q14_MODEL, FACTS, (H100, SLOW))
    assert both is not None
    assert both != alone
    assert speed_key(BOTH, Q14_MODEL, FACTS, (H100, replace(SLOW, uuid=""))) is None
