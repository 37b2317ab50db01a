"""Speed against the card: what its memory bandwidth allows, what is far below that, and what is usual for a profile.

Owns the bytes that one generated token reads, the thresholds and the key of a baseline. Must not measure or keep
anything (`service/speedometer.py`, `host/history.py`).

Why there are two rules. Generation is bound by memory: a token reads every weight once. But the share of the bandwidth
that a healthy run reaches lies anywhere between 7 and 70 %, since each token also costs the time in which the CPU
launches the kernels. Measured on an H100 (3.35 TB/s; captures README), milliseconds per token for a model that reads
`read` = bytes / bandwidth:

    llama-server          7B  read 1.30, took  4.0    14B  read 2.55, took  7.1   → 0.7 ms + read / 0.40
    vLLM, CUDA graphs    14B  read 2.59, took  7.0    32B  read 5.46, took 12.5   → 2.1 ms + read / 0.53
    vLLM, eager          14B  read 2.59, took 34.5                                → the launches alone
    llama-server, KV cache in RAM       14B  read 2.55, took 16.7
    llama-server, 20 of 49 layers       14B  read 2.55, took 74
    llama-server on the CPU              7B  read 1.30, took 67

and on an H200 (4.8 TB/s; README "Measured") llama-server 0.91 / 4.0, 1.78 / 6.8 and 4.08 / 13.2 ms (7B, 14B, 32B).
`slow` is what takes longer than `read / FLOOR + LAUNCH_S`: two thirds of the worst healthy share (0.28 on the H200),
and launches at 1.3 (eager) to 3 times what was measured. Healthy rows keep a factor of 1.5 or more from it, and the
nearest bad one (KV cache in RAM) lies beyond it by 1.13. On a card with less bandwidth launches weigh less; a driver
under Windows may launch dearer, and neither was measured, so this rule alone never ends a run.

A baseline knows more. Of several runs of one model on one card the speeds were within 1 % (139, 140, 140, 141 tok/s).
The mildest known loss, the KV cache in RAM, leaves 60 / 140 = 0.43, and `DROP` at one half has it on its far side.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from kotaro_bridge.domain.engine.engine_log import Engine, LogFacts
from kotaro_bridge.domain.errors import Problem, problem
from kotaro_bridge.domain.gpu import GpuSnapshot
from kotaro_bridge.domain.model.gguf import GgufModel
from kotaro_bridge.domain.ports import SpeedKey
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.run_view import Speed


class Mode(StrEnum):
    """How an engine launches its kernels; a speed of one says nothing about another."""

    LLAMA = ""
    GRAPHS = "graphs"
    EAGER = "eager"


FLOOR = 0.20
"""Least share of the bandwidth that a healthy run reaches, launches left out."""

LAUNCH_S: Mapping[Mode, float] = MappingProxyType({Mode.LLAMA: 0.002, Mode.GRAPHS: 0.004, Mode.EAGER: 0.045})
"""Seconds per token that launching may take."""

DROP = 0.5
"""Share of the baseline below which the speed has dropped."""

EXCHANGE_S = 0.015
"""Seconds per token that vLLM's cards may take to exchange their parts of a layer, twice in each of up to 80 layers, at
0.1 ms each over PCIe: an estimate, no two cards were measured with vLLM. Layers of their own exchange once: nothing.
"""

_EXPERTS = "_exps."  # tensors of all experts in one (llama-arch.cpp); shared experts are `_shexp`, and always read
_BLOCK = re.compile(r"blk\.(\d+)\.")
_EXPERT_KEYS = ("num_experts", "num_local_experts", "n_routed_experts")
_PART_KEYS = ("text_config", "vision_config", "audio_config")
_EMBEDDING_WIDTH = 2  # vLLM loads 16 bits per element, also of a float32 checkpoint (reference vllm §2, `--dtype auto`)


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What a speed is held against.

    Args:
        read_bytes: what one token reads of the card's memory.
        bandwidth: of that memory, in bytes per second.
        launch_s: seconds per token that launching may take.
    """

    read_bytes: int
    bandwidth: float
    launch_s: float

    def of_limit(self, tokens_per_s: float) -> float:
        """Share of what the bandwidth allows."""
        return tokens_per_s * self.read_bytes / self.bandwidth

    def is_slow(self, tokens_per_s: float) -> bool:
        """Far below what any healthy run was seen to reach."""
        return 1 / tokens_per_s > self.read_bytes / (FLOOR * self.bandwidth) + self.launch_s


def mode_of(profile: Profile) -> Mode:
    """The mode that a profile's engine runs in."""
    if profile.engine is Engine.LLAMA_SERVER:
        return Mode.LLAMA
    return Mode.EAGER if "--enforce-eager" in profile.extra_args else Mode.GRAPHS


def rated(tokens_per_s: float, yardstick: Yardstick | None, baseline: float | None) -> Speed:
    """A speed (above 0) with what is known to hold against it. Where there is a baseline, it alone counts."""
    of_limit = yardstick.of_limit(tokens_per_s) if yardstick else None
    slow = baseline is None and yardstick is not None and yardstick.is_slow(tokens_per_s)
    return Speed(tokens_per_s, of_limit, baseline, slow)


def has_dropped(tokens_per_s: float, baseline: float | None) -> bool:
    """True if the speed is clearly below what is usual."""
    return baseline is not None and tokens_per_s < DROP * baseline


def slow_notice(speed: Speed) -> Problem | None:
    """What a person is told about a run that serves and is slow."""
    return problem("proof.slow", **shown(speed)) if speed.slow else None


def shown(speed: Speed) -> dict[str, float]:
    """The figures of a speed for sentences, those that are known."""
    figures = {"tokens_per_s": round(speed.tokens_per_s, 1)}
    if speed.of_limit is not None:
        figures["percent"] = round(speed.of_limit * 100)
    if speed.baseline is not None:
        figures["baseline"] = round(speed.baseline, 1)
    return figures


def gguf_read_bytes(model: GgufModel) -> int | None:
    """Bytes that one token reads of a model wholly on the card; None where the header does not tell.

    All weights on the card, but for experts that a token does not ask and layers that only guess further tokens. The
    input table is not on the card and the copy of a tied one is, as output layer (reference llama-server §7).
    """
    if not model.is_whole:
        return None
    layers = model.block_count - _number(model, "nextn_predict_layers")
    size = model.weights_on_gpu
    experts = 0
    for tensor in model.tensors:
        block = _BLOCK.match(tensor.name)
        if block and int(block[1]) >= layers:
            size -= tensor.bytes
        elif _EXPERTS in tensor.name:
            experts += tensor.bytes
    count, used = _number(model, "expert_count"), _number(model, "expert_used_count")
    if not count and not experts:
        return size
    if not 0 < used <= count or not experts:
        return None
    return size - experts + experts * used // count


def vllm_read_bytes(loaded: int, config: str | None, extra_args: tuple[str, ...] = (), cards: int = 1) -> int | None:
    """Bytes that one token reads of each card in vLLM: what was loaded, less the input table. None where that cannot be
    told: a mixture of experts, a model with an image or audio part, a config that does not say whether the table is
    tied.

    Args:
        cards: over how many the model is spread; the input table is as well.
        loaded: bytes on one card, from `Model loading took … GiB` of the log; a tied table is in it once, and is read.
        config: text of the model's `config.json`; None if it cannot be read.
        extra_args: of the profile.
    """
    try:
        told = json.loads(config or "")
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or any(told.get(key) for key in (*_EXPERT_KEYS, *_PART_KEYS)):
        return None
    tied, vocabulary, hidden = told.get("tie_word_embeddings"), told.get("vocab_size"), told.get("hidden_size")
    if tied is True:
        return loaded
    if tied is not False or type(vocabulary) is not int or type(hidden) is not int:
        return None
    wide = any(arg.removeprefix("--dtype=") in ("float", "float32") for arg in extra_args)
    size = loaded - vocabulary * hidden * _EMBEDDING_WIDTH * (2 if wide else 1) // cards
    return size if 0 < size < loaded else None


def yardstick_of(
    profile: Profile, model: GgufModel | None, facts: LogFacts, config: str | None, cards: tuple[GpuSnapshot, ...]
) -> Yardstick | None:
    """What a run's speed is held against; None where bandwidth or bytes per token are not known.

    Cards with layers of their own (llama-server) read one after the other, and their times add up. Cards with a part of
    each layer (vLLM) read at once: the log names what one of them holds, and the slowest is waited for.
    """
    read_bytes = gguf_read_bytes(model) if model else None
    if facts.weights is not None and not profile.sees_images:
        read_bytes = vllm_read_bytes(facts.weights, config, profile.extra_args, len(profile.gpus))
    bandwidths = [found for card in cards if (found := card.bandwidth())]
    if not read_bytes or not bandwidths or len(bandwidths) < len(cards):
        return None
    if facts.weights is not None:
        bandwidth, exchange_s = min(bandwidths), EXCHANGE_S if len(cards) > 1 else 0.0
    else:
        bandwidth, exchange_s = one_after_the_other(_parts(profile, facts), bandwidths), 0.0
    return Yardstick(read_bytes, bandwidth, LAUNCH_S[mode_of(profile)] + exchange_s)


def _parts(profile: Profile, facts: LogFacts) -> list[int]:
    """Bytes of weights on each card by the log; alike where it does not tell."""
    sizes = [device.model or 0 for name in profile.devices if (device := facts.devices.get(name))]
    return sizes if len(sizes) == len(profile.devices) and all(sizes) else [1] * len(profile.devices)


def one_after_the_other(parts: Sequence[int], bandwidths: Sequence[float]) -> float:
    """The bandwidth of cards that read their parts in turn: all bytes by the sum of the times."""
    if len(bandwidths) == 1:
        return bandwidths[0]
    return sum(parts) / sum(part / bandwidth for part, bandwidth in zip(parts, bandwidths, strict=True))


def speed_key(
    profile: Profile, model: GgufModel | None, facts: LogFacts, cards: tuple[GpuSnapshot, ...]
) -> SpeedKey | None:
    """What a run's speed may be compared under; None where a part of it is not known."""
    driver = cards[0].driver if cards else None
    if driver is None or not all(card.uuid for card in cards) or facts.version is None:
        return None
    size = model.weights_total if model else facts.weights  # another file under the same name is another model
    parts = (profile.model, profile.context, profile.parallel, profile.kv_type, profile.extra_args, size)
    fingerprint = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    mode = mode_of(profile).value
    uuids = "+".join(card.uuid for card in cards)
    return SpeedKey(profile.id, fingerprint, profile.engine.value, facts.version, driver, uuids, mode)


def _number(model: GgufModel, key: str) -> int:
    """A whole number of the header; 0 if it is not there, or another one for each layer."""
    value = model.keys.get(key, 0)
    return value if isinstance(value, int) else 0
