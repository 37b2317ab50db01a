"""What the context keeps, by architecture; `tests/e2e/test_kv_cache_real.py` holds the same against the real server."""

from __future__ import annotations

import msgspec
import pytest

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.model.context_shape import ContextShape, context_shape
from kotaro_bridge.domain.model.gguf import GgufModel, read_gguf
from kotaro_bridge.domain.model.kv_cache import cache_bytes, keeps_nothing, kv_row_bytes
from kotaro_bridge.domain.profile import KvType, Profile
from tests.helpers.gguf_header import Value, pack_header, reader

LAYERS, WIDTH, HEADS, HEAD, UBATCH = 8, 64, 2, 32, 512
FULL = 2 * 2 * HEADS * HEAD  # bytes that one layer keeps of one token, f16
WINDOW = 300
CELLS = 4096
SHAPE = ContextShape(CELLS)
WINDOWED = 1024  # cells: 300 + 512, padded to 256


def model(architecture: str, **keys: Value | bytes) -> GgufModel:
    values: dict[str, Value | bytes] = {
        "block_count": LAYERS,
        "context_length": 8192,
        "embedding_length": WIDTH,
        "attention.head_count": HEADS,
        **{key.replace("__", "."): value for key, value in keys.items()},
    }
    header = pack_header(
        {"general.architecture": architecture, **{f"{architecture}.{key}": value for key, value in values.items()}}
    )
    return read_gguf(reader(header), len(header))


def kept(architecture: str, **keys: Value | bytes) -> int | None:
    return cache_bytes(model(architecture, **keys), SHAPE)


def mixed(whole: int, windowed: int) -> int:
    return FULL * (whole * CELLS + windowed * WINDOWED)


def test_whole_attention() -> None:
    assert kept("qwen2") == mixed(LAYERS, 0)
    assert kept("qwen2", attention__sliding_window=WINDOW) == mixed(LAYERS, 0), "a key that the program does not read"
    assert kept("phi3", attention__sliding_window=WINDOW) == mixed(LAYERS, 0), "read, and switched off"
    assert kept("qwen2", attention__head_count_kv=1) == mixed(LAYERS, 0) // 2
    assert kept("deci", attention__head_count_kv=[2, 1, 0, 2, 0, 0, 1, 2]) == mixed(LAYERS, 0) // 2


def test_blocks_that_predict_further_tokens_keep_nothing_in_a_plain_start() -> None:
    assert kept("glm4moe", nextn_predict_layers=1) == mixed(LAYERS - 1, 0)
    assert kept("qwen2", nextn_predict_layers=[1, 2]) == mixed(LAYERS, 0), "no number"


@pytest.mark.parametrize("architecture", ["next-year", "deepseek32", "minimax-01", "nanbeige", "t5"])
def test_an_architecture_that_is_not_known_is_not_guessed(architecture: str) -> None:
    assert kept(architecture) is None


@pytest.mark.parametrize(
    ("architecture", "whole"),
    [
        ("gemma2", 4),
        ("gpt-oss", 4),
        ("gemma3", 1),
        ("gemma3n", 1),
        ("cohere2", 2),
        ("cohere2moe", 2),
        ("laguna", 2),
        ("plamo3", 1),
        ("olmo2", 2),
    ],
)
def test_windows_in_the_programs_own_pattern(architecture: str, whole: int) -> None:
    assert kept(architecture, attention__sliding_window=WINDOW) == mixed(whole, LAYERS - whole)


def test_the_layer_of_a_group_that_sees_everything_is_the_first_or_the_last() -> None:
    heads = [2, 0, 0, 0, 0, 0, 0, 0]
    first = kept("laguna", attention__sliding_window=WINDOW, attention__head_count_kv=heads)
    last = kept("cohere2", attention__sliding_window=WINDOW, attention__head_count_kv=heads)
    assert (first, last) == (mixed(1, 0), mixed(0, 1))


def test_the_headers_own_pattern_wins() -> None:
    flags = [1, 1, 1, 0, 0, 0, 0, 1]
    listed = kept("gemma3", attention__sliding_window=WINDOW, attention__sliding_window_pattern=flags)
    assert listed == mixed(4, 4)
    assert kept("gemma4", attention__sliding_window=WINDOW, attention__sliding_window_pattern=flags) == mixed(4, 4)
    assert kept("gemma3", attention__sliding_window=WINDOW, attention__sliding_window_pattern=4) == mixed(2, 6)
    assert kept("gemma3", attention__sliding_window=WINDOW, attention__sliding_window_pattern=0) == mixed(0, 8)
    assert kept("gemma3", attention__sliding_window=WINDOW, attention__sliding_window_pattern=1) == mixed(8, 0)
    short = kept("gemma3", attention__sliding_window=WINDOW, attention__sliding_window_pattern=flags[1:])
    assert short is None, "a list for other layers"


@pytest.mark.parametrize("keys", [{}, {"attention__sliding_window_pattern": 4}])
def test_where_the_header_must_have_a_list_nothing_else_is_taken(keys: dict[str, Value]) -> None:
    assert kept("gemma4", attention__sliding_window=WINDOW, **keys) is None


def test_a_window_that_is_not_stated() -> None:
    shape = ContextShape(16_384)
    by_program = cache_bytes(model("gemma2"), shape)
    assert by_program == FULL * 4 * (16_384 + 4608), "gemma2 has 4096"
    assert kept("gemma3") == mixed(LAYERS, 0), "gemma3 then has none"
    assert kept("gemma3", attention__sliding_window=0) == mixed(LAYERS, 0)
    assert cache_bytes(model("llama4"), shape) == FULL * (2 * 16_384 + 6 * 8704), "llama4 has chunks of 8192"
    assert cache_bytes(model("llama4", attention__sliding_window=5), shape) == FULL * (2 * 16_384 + 6 * 8704)
    assert kept("llama4", attention__sliding_window=0) == mixed(LAYERS, 0)
    fixed = cache_bytes(model("smallthinker", attention__sliding_window=9), shape)
    assert fixed == FULL * (2 * 16_384 + 6 * 4608)


def test_exaone4_has_windows_in_one_size_only() -> None:
    assert kept("exaone4", attention__sliding_window=WINDOW) == mixed(LAYERS, 0)
    assert kept("exaone4", block_count=64, attention__sliding_window=WINDOW) == mixed(16, 48)


def test_lengths_of_windowed_layers() -> None:
    keys: dict[str, Value] = {"attention__key_length_swa": 64, "attention__value_length_swa": 16}
    found = kept("gemma3", attention__sliding_window=WINDOW, attention__sliding_window_pattern=[1] * 8, **keys)
    assert found == LAYERS * WINDOWED * 2 * HEADS * (64 + 16)


def test_layers_that_share_a_cache() -> None:
    flags = [1, 1, 1, 0] * 2
    shared = kept(
        "gemma4",
        attention__sliding_window=WINDOW,
        attention__sliding_window_pattern=flags,
        attention__shared_kv_layers=4,
    )
    assert shared == mixed(1, 3)
    assert kept("gemma3n", block_count=30, attention__sliding_window=WINDOW) == mixed(4, 16)


def test_a_window_is_never_larger_than_the_context() -> None:
    wide = model("gemma2", attention__sliding_window=100_000)
    assert cache_bytes(wide, SHAPE) == mixed(LAYERS, 0)
    assert cache_bytes(model("gemma2", attention__sliding_window=1), ContextShape(100)) == FULL * LAYERS * 256


def test_micro_batch_and_full_windows() -> None:
    windowed = model("gemma2", attention__sliding_window=WINDOW)
    assert cache_bytes(windowed, ContextShape(CELLS, ubatch=2048)) == FULL * 4 * (CELLS + 2560)
    assert cache_bytes(windowed, ContextShape(CELLS, swa_full=True)) == mixed(LAYERS, 0)


def test_latent_attention_keeps_compressed_keys_only() -> None:
    mla: dict[str, Value] = {"attention__key_length_mla": 48, "attention__value_length_mla": 16}
    lengths: dict[str, Value] = {
        "attention__key_length": 96,
        "attention__value_length": 64,
        "attention__head_count_kv": 1,
    }
    for architecture in ("deepseek2", "mistral4"):
        assert kept(architecture, **mla, **lengths) == LAYERS * CELLS * 2 * 96
        assert kept(architecture, **lengths) == LAYERS * CELLS * 2 * (96 + 64), "files from before"
    assert kept("deepseek2", attention__key_length_mla=48, **lengths) is None
    assert kept("qwen2", **mla, **lengths) == LAYERS * CELLS * 2 * (96 + 64)


STATE: dict[str, Value] = {"ssm__conv_kernel": 4, "ssm__inner_size": 128, "ssm__state_size": 16, "ssm__group_count": 2}
CONVOLUTION, SCAN = 3 * (128 + 2 * 2 * 16), 16 * 128
ONE_STATE = 4 * (CONVOLUTION + SCAN)


def test_recurrent_state_does_not_depend_on_the_context() -> None:
    assert kept("mamba2", **STATE) == LAYERS * ONE_STATE
    mamba = model("mamba", **STATE)
    assert cache_bytes(mamba, SHAPE) == LAYERS * 4 * (3 * 128 + SCAN), "mamba knows no groups"
    assert cache_bytes(mamba, ContextShape(99_999, 3, KvType.Q4_0)) == 3 * LAYERS * 4 * (3 * 128 + SCAN)
    assert kept("rwkv7", wkv__head_size=16) == LAYERS * 4 * (2 * WIDTH + WIDTH * 16)
    assert kept("rwkv6qwen2", wkv__head_size=16, token_shift_count=1) == LAYERS * 4 * (WIDTH + WIDTH * 16)


def test_layers_without_heads_are_recurrent() -> None:
    heads = [0, 2, 0, 2, 0, 0, 0, 2]
    assert kept("granitehybrid", attention__head_count_kv=heads, **STATE) == mixed(3, 0) + 5 * ONE_STATE
    jamba = kept("jamba", attention__head_count_kv=heads, **STATE)
    assert jamba == mixed(3, 0) + 5 * 4 * (3 * 128 + SCAN)
    assert kept("lfm2", attention__head_count_kv=heads, shortconv__l_cache=3) == mixed(3, 0) + 5 * 4 * WIDTH * 2
    odd = kept("lfm2", attention__head_count_kv=heads, shortconv__l_cache=3, attention__sliding_window=9)
    assert odd is None
    assert kept("jamba", attention__head_count_kv=heads, nextn_predict_layers=1, **STATE) is None


def test_attention_and_state_side_by_side() -> None:
    assert kept("falcon-h1", **STATE) == mixed(LAYERS, 0) + LAYERS * ONE_STATE


def test_every_fourth_layer_has_attention() -> None:
    assert kept("qwen3next", **STATE) == mixed(2, 0) + 6 * ONE_STATE
    assert kept("qwen35", full_attention_interval=2, **STATE) == mixed(4, 0) + 4 * ONE_STATE
    assert kept("qwen35", full_attention_interval=0, **STATE) is None
    assert kept("qwen35", nextn_predict_layers=1, **STATE) == mixed(1, 0) + 6 * ONE_STATE
    listed = [1, 1, 1, 1, 1, 0, 1, 1]
    assert kept("qwen35moe", attention__recurrent_layers=listed, **STATE) == mixed(1, 0) + 7 * ONE_STATE
    assert kept("qwen35moe", attention__recurrent_layers=listed[1:], **STATE) is None
    assert kept("qwen35moe", attention__recurrent_layers=1, **STATE) == 8 * ONE_STATE


def test_layers_that_only_feed_forward_keep_nothing() -> None:
    keys: dict[str, Value] = {"attention__head_count_kv": [0, 0, 2, 0, 0, 0, 2, 0], **STATE}
    widths = [0, 9, 0, 9, 0, 9, 0, 9]
    found = kept("nemotron_h", feed_forward_length=widths, **keys)
    assert found == mixed(2, 0) + 2 * ONE_STATE
    assert kept("nemotron_h", feed_forward_length=9, **keys) is None
    assert kept("nemotron_h_moe", feed_forward_length=widths[1:], **keys) is None
    assert kept("nemotron_h_moe", feed_forward_length=widths, nextn_predict_layers=1, **keys) is None


def test_element_types() -> None:
    assert [kv_row_bytes(96, kind) for kind in (KvType.AUTO, KvType.BF16, KvType.FP8)] == [192, 192, 96]
    assert (kv_row_bytes(96, KvType.Q8_0), kv_row_bytes(96, KvType.Q4_0)) == (102, 54)
    assert kv_row_bytes(97, KvType.F16) == 194


PROFILE = Profile(
    id="p",
    title="p",
    engine=Engine.LLAMA_SERVER,
    executable="llama-server",
    model="m.gguf",
    served_name="m",
    context=5000,
    parallel=2,
    port=8080,
)


@pytest.mark.parametrize(
    ("arguments", "ubatch", "swa_full"),
    [
        ((), 512, False),
        (("-ub", "256"), 256, False),
        (("-ub", "256", "--ubatch-size", "1024"), 1024, False),
        (("--ubatch-size=128", "--swa-full"), 128, True),
        (("-b", "64"), 64, False),
        (("-b", "4096", "-ub", "2048"), 2048, False),
        (("-ub", "4096"), 2048, False),
        (("-ub", "many"), 512, False),
        (("-ub",), 512, False),
    ],
)
def test_the_shape_that_a_profile_asks_for(arguments: tuple[str, ...], ubatch: int, swa_full: bool) -> None:
    shape = context_shape(msgspec.structs.replace(PROFILE, extra_args=arguments))
    assert shape == ContextShape(5000, 2, KvType.AUTO, ubatch, swa_full)
    assert shape.cells == 5120


@pytest.mark.parametrize(
    ("architecture", "keys"),
    [
        ("qwen2", {"attention__head_count": 0}),
        ("qwen2", {"attention__head_count_kv": 0}),
        ("qwen2", {"attention__head_count_kv": [2, 2, 2, 0, 2, 2, 2, 2]}),
        ("qwen2", {"attention__key_length": 0}),
        ("qwen2", {"attention__value_length": 0}),
        ("qwen2", {"attention__head_count": 0, "attention__head_count_kv": 2, "attention__key_length": 32}),
        ("gemma3", {"attention__sliding_window": WINDOW, "attention__head_count_kv": 0}),
        ("deepseek2", {"attention__key_length": 0}),
        ("deci", {"attention__head_count_kv": 0}),
        ("next-year", {"attention__head_count_kv": 0}),
        ("qwen3next", {"attention__head_count": 0, "ssm__state_size": 16, "ssm__inner_size": 128}),
        ("mamba", {"attention__head_count": 0}),
    ],
)
def test_a_header_without_what_its_layers_keep_is_known(architecture: str, keys: dict[str, Value]) -> None:
    assert keeps_nothing(model(architecture, **keys))


@pytest.mark.parametrize(
    ("architecture", "keys"),
    [
        ("qwen2", {}),
        ("next-year", {}),
        ("next-year", {"attention__head_count": [0, 2, 2, 2, 2, 2, 2, 2], "attention__key_length": 32}),
        ("deci", {"attention__head_count_kv": [2, 1, 0, 2, 0, 0, 1, 2]}),
        ("deepseek2", {"attention__key_length_mla": 32, "attention__value_length_mla": 32}),
        ("mamba", {"attention__head_count": 0, "ssm__state_size": 16, "ssm__inner_size": 128, "ssm__conv_kernel": 4}),
        ("lfm2", {"attention__head_count_kv": [0, 0, 2, 0, 0, 2, 0, 0], "shortconv__l_cache": 3}),
        ("qwen3next", {"ssm__state_size": 16, "ssm__inner_size": 128}),
    ],
)
def test_layers_that_really_have_no_heads_are_no_damage(architecture: str, keys: dict[str, Value]) -> None:
    assert not keeps_nothing(model(architecture, **keys))
