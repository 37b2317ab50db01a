"""Where a simulated llama-server puts a model, and how fast it is then. Sizes follow the captures. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from kotaro_bridge.domain.model.gguf import GgufModel
from kotaro_bridge.simulator.llama_args import CACHE_TYPES

MIB = 1024 * 1024
UBATCH = 512
# Speed against the same model wholly on the GPU (captures: 13.5 of 140, 60 of 140, 15 of 250 tok/s).
PARTIAL_SPEED, KV_IN_RAM_SPEED, CPU_SPEED = 0.096, 0.43, 0.06
REPACK_SHARE = 0.714  # captures cuda-hidden: 2976.75 of 4168.09 MiB


COPIES = 4  # of what goes to a card in a pipeline (ggml-backend.cpp, GGML_SCHED_MAX_COPIES)


@dataclass(frozen=True, slots=True)
class Part:
    """What one card holds, in MiB."""

    model: float
    kv: float
    compute: float


class Placement:
    """Sizes in MiB, as the log has them.

    Args:
        model: the header of the model file.
        options: parsed command line.
        layers_on_gpu: layers with the output layer; 0 is wholly on the CPU.
        kv_on_gpu: whether the KV cache follows the layers.
        shares: of each card that is used, what it gets of the layers.
    """

    def __init__(
        self,
        model: GgufModel,
        options: dict[str, str],
        layers_on_gpu: int,
        *,
        kv_on_gpu: bool,
        shares: Sequence[float] = (1.0,),
    ) -> None:
        layers = model.block_count
        self.on_gpu = layers_on_gpu > 0
        self.layers_on_gpu = layers_on_gpu
        self.layers_all = layers + 1
        self.slots = max(1, int(options.get("-np", "4")))
        self.unified = "-np" not in options or "-kvu" in options
        self.context = int(options.get("-c", "0")) or model.context_length
        streams = 1 if self.unified else self.slots
        self.streams = streams
        self.context_slot = self.context if self.unified else -(-(self.context // self.slots) // 256) * 256
        self.cells = -(-self.context_slot // 256) * 256
        width = model.head_count_kv[0] * model.key_length
        types = [options.get(flag, "f16") for flag in ("-ctk", "-ctv")]
        self.kv_types = types
        self.kv = sum(CACHE_TYPES[kind] for kind in types) * width * self.cells * streams * layers / MIB
        share = max(0, layers_on_gpu - 1) / layers if kv_on_gpu else 0.0
        self.kv_gpu = self.kv * share
        self.kv_host = self.kv - self.kv_gpu
        self.gpu_model = self._weights_on_gpu(model, layers_on_gpu) / MIB
        self.host_model = model.weights_total / MIB - (self.gpu_model if self.on_gpu else 0.0)
        forward = next((tensor.dims[1] for tensor in model.tensors if tensor.name == "blk.0.ffn_gate.weight"), 0)
        self.forward = forward
        # Fits the captures of 7B and 14B at 5120, 8192 and 32768 tokens to 0.01 MiB.
        self.compute = 3 * (forward + model.embedding_length) * UBATCH * 4 / MIB + self.context_slot / 1024 + 0.01
        self.pinned = model.embedding_length / 256 + self.context_slot / 1024 + 0.01
        self.output = model.vocab_size * 4 * self.slots / MIB
        self.parts = self._parts(model, shares)
        self.graph = self._graph(layers)
        whole = layers_on_gpu == layers + 1
        self.speed = (1.0 if kv_on_gpu else KV_IN_RAM_SPEED) if whole else PARTIAL_SPEED if self.on_gpu else CPU_SPEED

    @property
    def on_card_bytes(self) -> int:
        """VRAM of weights and KV cache and compute buffer."""
        return round((self.gpu_model + self.kv_gpu + self.compute) * MIB) if self.on_gpu else 0

    def _parts(self, model: GgufModel, shares: Sequence[float]) -> tuple[Part, ...]:
        """The cards' parts: whole layers each (llama-model.cpp, get_layer_buft_list), the output layer last."""
        if len(shares) == 1:
            return (Part(self.gpu_model, self.kv_gpu, self.compute),)
        ends = [share / sum(shares) for share in accumulate(shares)]
        home = [min(bisect_right(ends, layer / self.layers_all), len(shares) - 1) for layer in range(self.layers_all)]
        weights = [0.0] * len(shares)
        for tensor in model.tensors:
            if tensor.name.startswith("blk."):
                weights[home[int(tensor.name.split(".")[1])]] += tensor.bytes / MIB
        weights[home[-1]] += self.gpu_model - sum(weights)
        layers = Counter(home[:-1])
        copied = (COPIES - 1) * UBATCH * (2 * self.context_slot + 4 * model.embedding_length) / MIB
        return tuple(
            Part(size, self.kv_gpu * layers[card] / model.block_count, self.compute + copied)
            for card, size in enumerate(weights)
        )

    def _weights_on_gpu(self, model: GgufModel, layers_on_gpu: int) -> float:
        """llama.cpp puts the output layer and the last repeating layers on the GPU."""
        if layers_on_gpu == 0:
            return 0.0
        if layers_on_gpu == self.layers_all:
            return float(model.weights_on_gpu)
        first = model.block_count - (layers_on_gpu - 1)
        size = 0
        for tensor in model.tensors:
            layer = tensor.name.split(".")[1] if tensor.name.startswith("blk.") else ""
            if tensor.name.startswith("output") or (layer and int(layer) >= first):
                size += tensor.bytes
        return float(size)

    def _graph(self, layers: int) -> str:
        """The scheduler's line: 2 splits on one GPU, 14 more per layer on the CPU, 2 more per KV layer in RAM."""
        nodes = layers * 34 + 6
        if not self.on_gpu:
            return f"graph: nodes = {nodes}, splits = 1, input objects = 4, input tensors = 6"
        missing = self.layers_all - self.layers_on_gpu
        if missing:
            prompt = missing * 14 + 2
            sizes = f"pp bs={UBATCH}, tg bs={self.slots}"
            return (
                f"graph ({sizes}): nodes = {nodes} / {nodes}, splits = {prompt} / 2, "
                "input objects = 4 / 4, input tensors = 6 / 6"
            )
        splits = 2 * layers + 2 if self.kv_host else 1 + len(self.parts)
        return f"graph: nodes = {nodes}, splits = {splits}, input objects = 4, input tensors = 6"

    def values(self, model: GgufModel) -> dict[str, Any]:
        """What the log lines name."""
        kinds = Counter(tensor.type.lower() for tensor in model.tensors)
        elements = sum(_elements(tensor.dims) for tensor in model.tensors)
        return {
            "name": model.name,
            "tensors": len(model.tensors),
            "layers": model.block_count,
            "layers_all": self.layers_all,
            "repeating": max(0, min(self.layers_on_gpu, model.block_count) - 1),
            "offloaded": self.layers_on_gpu,
            "hidden": model.embedding_length,
            "forward": self.forward,
            "heads": model.head_count,
            "kv_heads": model.head_count_kv[0],
            "gqa": model.head_count // model.head_count_kv[0],
            "kv_width": model.head_count_kv[0] * model.key_length,
            "f32": kinds["f32"],
            "q4": kinds["q4_k"],
            "q6": kinds["q6_k"],
            "size_gib": model.weights_total / MIB / 1024,
            "bpw": model.weights_total * 8 / elements,
            "billions": elements / 1e9,
            "host_model": self.host_model,
            "repack": self.host_model * REPACK_SHARE,
            "slots": self.slots,
            "ctx": self.context,
            "ctx_slot": self.context_slot,
            "unified": str(self.unified).lower(),
            "pinned_name": "CUDA_Host" if self.on_gpu else "CPU",
            "output": self.output,
            "kv": self.kv,
            "kv_host": self.kv_host,
            "kv_half": self.kv / 2,
            "kv_type": self.kv_types[0],
            "cells": self.cells,
            "streams": self.streams,
            "compute": self.compute,
            "pinned": self.pinned,
            "graph": self.graph,
            "host_self": round(self.host_model + self.kv_host + self.pinned),
            "projected": round(self.gpu_model + self.kv_gpu + self.compute),
        }


def _elements(dims: tuple[int, ...]) -> int:
    product = 1
    for size in dims:
        product *= size
    return product
