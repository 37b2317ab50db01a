"""The parts of the simulated llama-server: arguments, placement (against the captures), behaviour words, answers."""

from __future__ import annotations

import re
from typing import BinaryIO

import pytest

from kotaro_bridge.domain.model.gguf import GgufModel, read_gguf
from kotaro_bridge.simulator import llama_args
from kotaro_bridge.simulator.behaviour import Behaviour
from kotaro_bridge.simulator.generation import Prompt
from kotaro_bridge.simulator.llama_args import WrongArgument
from kotaro_bridge.simulator.llama_placement import Placement
from kotaro_bridge.simulator.models import table, write_gguf
from kotaro_bridge.simulator.vllm_args import Options
from kotaro_bridge.simulator.vllm_memory import GIB, MIB, Budget, Shape
from tests.helpers.captures import llama_text

SHAPES = {"14": (48, 5120, 13824, 40, 8), "7": (28, 3584, 18944, 28, 4)}
KEYS = ("layers", "hidden", "feed_forward", "heads", "kv_heads")


@pytest.fixture(scope="module")
def read_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, GgufModel]:
    """Headers of the shapes that were recorded, as the engine reads them."""
    found = {}
    for size, shape in SHAPES.items():
        path = tmp_path_factory.mktemp("models") / f"{size}.gguf"
        write_gguf(path, {"name": size, **dict(zip(KEYS, shape, strict=True))})
        with path.open("rb") as file:

            def read_at(offset: int, count: int, file: BinaryIO = file) -> bytes:
                file.seek(offset)
                return file.read(count)

            found[size] = read_gguf(read_at, path.stat().st_size)
    return found


def figures(name: str) -> dict[str, str]:
    """Buffer sizes of a capture, the last of each kind (the first may belong to a dry run)."""
    return dict(
        re.findall(
            r" ((?:CUDA0|CPU|CPU_Mapped|CUDA_Host) (?:model|KV|compute) buffer size) = +([\d.]+)", llama_text(name)
        )
    )


@pytest.mark.parametrize(
    ("capture", "size", "options", "layers", "kv_on_gpu"),
    [
        ("full14-np1", "14", {"-c": "8192", "-np": "1"}, 49, True),
        ("full14-32k", "14", {"-c": "32768"}, 49, True),
        ("full7-8k", "7", {"-c": "8192"}, 29, True),
        ("partial20", "14", {"-c": "8192"}, 20, True),
        ("nokvoffload", "14", {"-c": "8192"}, 49, False),
    ],
)
def test_sizes_are_those_of_the_captures(
    read_models: dict[str, GgufModel], capture: str, size: str, options: dict[str, str], layers: int, kv_on_gpu: bool
) -> None:
    found = figures(capture)
    placement = Placement(read_models[size], options, layers, kv_on_gpu=kv_on_gpu)
    assert float(found["CUDA0 model buffer size"]) == pytest.approx(placement.gpu_model, abs=0.01)
    assert float(found["CPU_Mapped model buffer size"]) == pytest.approx(placement.host_model, abs=0.01)
    assert float(found.get("CUDA0 KV buffer size", 0)) == pytest.approx(placement.kv_gpu, abs=0.01)
    assert float(found.get("CPU KV buffer size", 0)) == pytest.approx(placement.kv_host, abs=0.01)
    assert float(found["CUDA_Host compute buffer size"]) == pytest.approx(placement.pinned, abs=0.01)
    if kv_on_gpu and layers > 20:
        assert float(found["CUDA0 compute buffer size"]) == pytest.approx(placement.compute, abs=0.01)
    assert placement.graph in llama_text(capture)


def test_quantized_kv_and_slots_with_their_own_cache(read_models: dict[str, GgufModel]) -> None:
    placement = Placement(
        read_models["14"], {"-c": "8192", "-np": "2", "-ctk": "q8_0", "-ctv": "q8_0"}, 49, kv_on_gpu=True
    )
    assert (placement.context_slot, placement.streams, placement.unified) == (4096, 2, False)
    assert placement.kv == pytest.approx(1536 * 34 / 64)


def test_wholly_on_the_cpu(read_models: dict[str, GgufModel]) -> None:
    placement = Placement(read_models["7"], {"-c": "2048"}, 0, kv_on_gpu=True)
    assert not placement.on_gpu
    assert placement.on_card_bytes == 0
    assert placement.host_model == pytest.approx(4460.45, abs=0.01)
    assert "splits = 1," in placement.graph


# Texts printed by the build of the captures (llama.cpp v0.5.0-dev).
@pytest.mark.parametrize(
    ("arguments", "first_line"),
    [
        (["--device", "CUDA0"], 'error while handling argument "--device": invalid device: CUDA0'),
        (["--bogus"], "error: invalid argument: --bogus"),
        (["-c", "abc"], 'error while handling argument "-c": stoi'),
        (["--host"], 'error while handling argument "--host": expected value for argument'),
        (["-fa", "maybe"], "error while handling argument \"-fa\": error: unknown value for --flash-attn: 'maybe'"),
        (["-ctk", "q9"], 'error while handling argument "-ctk": Unsupported cache type: q9'),
        (
            ["--api-key-file", "/no/file"],
            "error while handling argument \"--api-key-file\": error: failed to open file '/no/file'",
        ),
    ],
)
def test_wrong_arguments_in_the_engines_words(arguments: list[str], first_line: str) -> None:
    with pytest.raises(WrongArgument) as caught:
        llama_args.parse(arguments, [])
    assert str(caught.value).splitlines()[0] == first_line


def test_the_last_of_several_flags_wins_whatever_its_spelling() -> None:
    options = llama_args.parse(["--ctx-size", "1", "-c", "2", "--metrics", "-dev", "CUDA0"], ["CUDA0"])
    assert options == {"-c": "2", "--metrics": "", "-dev": "CUDA0"}


def test_behaviour_words() -> None:
    behaviour = Behaviour("flood:50, crash,ignore-term")
    assert "flood" in behaviour
    assert (behaviour.value("flood", 9), behaviour.value("crash", 9)) == (50, 9)
    with pytest.raises(SystemExit, match="unknown behaviour"):
        Behaviour("fly")


def test_answers() -> None:
    hello = {"messages": [{"role": "user", "content": "hi"}]}
    short = Prompt({**hello, "max_tokens": 3}, 100)
    assert list(short.answer()) == ["This ", "answer ", "comes "]
    assert (short.finish_reason(3), short.finish_reason(2)) == ("length", "stop")
    whole = "".join(Prompt(hello, 10_000).answer())
    assert whole.startswith("This answer comes from a simulated PC.")
    assert len(list(Prompt({**hello, "max_tokens": 1000, "ignore_eos": True}, 10).answer())) == 1000
    assert "".join(Prompt({"messages": [{"content": "こんにちは"}]}, 9999).answer()).startswith("この回答は")
    image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}, {"type": "text", "text": "?"}]
    seen = Prompt({"messages": [{"role": "user", "content": image}]}, 9999)
    assert "".join(seen.answer()).startswith("I can see the image you attached: it is a picture, image/png.")
    with pytest.raises(ValueError, match="'messages' is required"):
        Prompt({}, 10)


def budget(folder: str, *flags: str, total_gib: float, free_gib: float = 1000.0) -> Budget:
    """What vLLM would make of a card."""
    row = next(row for row in table()["hf"] if row["folder"] == folder)
    shape = Shape(row["config"], row["loaded_gib"])
    return Budget(shape, Options(["serve", "m", *flags]), round(total_gib * GIB), round(free_gib * GIB))


LIMITS = ("--max-model-len", "8192", "--max-num-batched-tokens", "2048", "--max-num-seqs", "16")
H100_GIB = 81_079 / 1024


def test_vllm_divides_a_card_as_in_the_captures() -> None:
    ready = budget("Qwen2.5-32B-Instruct-AWQ", *LIMITS, "--gpu-memory-utilization", "0.29", total_gib=H100_GIB)
    assert ready.failure() is None
    assert ready.kv / GIB == pytest.approx(2.76, abs=0.01)
    assert ready.tokens == pytest.approx(11_296, abs=64)
    held = ready.kv + ready.graphs + ready.outside + round(18.49 * GIB)
    assert held / MIB == pytest.approx(23_055, abs=10)
    small = budget("Qwen2.5-14B-Instruct-AWQ", *LIMITS, "--gpu-memory-utilization", "0.15", total_gib=H100_GIB)
    assert small.failure() == "failed_length"
    assert small.values()["needed"] == 1.5
    assert small.longest == pytest.approx(3424, abs=64)
    tiny = budget("Qwen2.5-14B-Instruct-AWQ", "--gpu-memory-utilization", "0.05", total_gib=H100_GIB)
    assert tiny.failure() == "failed_blocks"
    low = budget("Qwen2.5-14B-Instruct-AWQ", "--max-model-len", "8192", total_gib=H100_GIB, free_gib=19.49)
    assert low.failure() == "failed_free"
    assert (low.utilization, round(low.requested / GIB, 2)) == (0.92, 72.84)
    eager = budget(
        "Qwen2.5-14B-Instruct-AWQ",
        *("--max-model-len", "8192", "--max_num_batched_tokens", "8192", "--enforce-eager"),
        *("--gpu-memory-utilization", "0.3"),
        total_gib=H100_GIB,
    )
    assert eager.kv / GIB == pytest.approx(13.0, abs=0.01)


def test_vllm_prints_what_was_given_without_the_key() -> None:
    options = Options(["serve", "m", "--port", "8000", "--api-key", "secret", "--served_model_name", "q"])
    assert options.non_default() == "{'model_tag': 'm', 'port': 8000, 'model': 'm', 'served_model_name': ['q']}"


def test_vllm_ends_with_2_on_an_unknown_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        Options(["serve", "m", "--swap-space", "4"])
    assert caught.value.code == 2
    assert "vllm: error: unrecognized arguments: --swap-space 4" in capsys.readouterr().err
