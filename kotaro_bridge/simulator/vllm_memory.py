"""How a simulated vLLM 0.25 divides the card. Rules and figures from the captures and reference vllm §8. Pure."""

from __future__ import annotations

from typing import Any

from kotaro_bridge.simulator.vllm_args import Options

MIB = 1024 * 1024
GIB = 1024 * MIB
SMALL_BATCH = 2048
DEFAULT_UTILIZATION = 0.92
BLOCK = 16
# Peak activations, graphs and context within the budget (p14awq_12g and p32awq_24g 1.71, q14 1.83, eager14 1.22 GiB).
OVERHEAD_GIB, OVERHEAD_LARGE_BATCH_GIB, OVERHEAD_EAGER_GIB = 1.71, 1.83, 1.22
GRAPHS_GIB = 0.13  # with 16 sequences at once (p32awq_24g)
# VRAM after start beyond weights, KV cache and graphs: p32awq_24g, and q14 with its batch limit left at 8192.
OUTSIDE_MIB, OUTSIDE_LARGE_BATCH_MIB = 1162, 2820
KV_BYTES = {"auto": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}


class Shape:
    """A model's shape from its `config.json`, and what its weights take on each GPU.

    Args:
        cards: over how many the model is spread: each has as large a part of every layer.
    """

    def __init__(self, config: dict[str, Any], loaded_gib: float, cards: int = 1) -> None:
        self.architecture: str = config["architectures"][0]
        self.quantized = "quantization_config" in config
        self.dtype = "float16" if self.quantized else str(config["torch_dtype"])
        self.longest: int = config["max_position_embeddings"]
        self.remote_code = config["model_type"] == "minicpmv"
        self.sees_images = self.remote_code
        head = config["hidden_size"] // config["num_attention_heads"]
        kv_heads = max(1, config["num_key_value_heads"] // cards)
        self.heads: int = config["num_attention_heads"]
        self.cards = cards
        self.kv_elements: int = 2 * config["num_hidden_layers"] * kv_heads * head
        self.weights = round(loaded_gib * GIB / cards)


class Budget:
    """Bytes of one start.

    Args:
        free: what CUDA says is free at the start; total: what it says the card has.
    """

    def __init__(self, shape: Shape, options: Options, total: int, free: int) -> None:
        self.utilization: float = options.get("gpu_memory_utilization", DEFAULT_UTILIZATION)
        self.length: int = options.get("max_model_len", shape.longest)
        self.batched: int = options.get("max_num_batched_tokens", SMALL_BATCH)
        self.eager = bool(options.get("enforce_eager", False))
        self.total = total
        self.free = free
        self.requested = round(total * self.utilization)
        self.graphs = 0 if self.eager else round(GRAPHS_GIB * GIB)
        large = self.batched > SMALL_BATCH
        overhead = OVERHEAD_LARGE_BATCH_GIB if large else OVERHEAD_GIB
        self.kv = self.requested - shape.weights - round((OVERHEAD_EAGER_GIB if self.eager else overhead) * GIB)
        self.kv_per_token: int = shape.kv_elements * KV_BYTES.get(options.get("kv_cache_dtype", "auto"), 2)
        self.needed = self.kv_per_token * self.length
        self.outside = (OUTSIDE_LARGE_BATCH_MIB if large else OUTSIDE_MIB) * MIB

    @property
    def tokens(self) -> int:
        """Tokens in the KV cache, whole blocks."""
        return int(self.kv // self.kv_per_token // BLOCK * BLOCK)

    @property
    def longest(self) -> int:
        """What vLLM names as the longest context; one block is reserved."""
        return max(0, self.tokens - BLOCK)

    def failure(self) -> str | None:
        """The part of the log of a start that does not work out; None if it does."""
        if self.free < self.requested:
            return "failed_free"
        if self.kv <= 0:
            return "failed_blocks"
        return "failed_length" if self.kv < self.needed else None

    def values(self) -> dict[str, Any]:
        """What the log names."""
        return {
            "free": self.free / GIB,
            "total": self.total / GIB,
            "utilization": self.utilization,
            "requested": self.requested / GIB,
            "length": self.length,
            "batched": self.batched,
            "needed": round(self.needed / GIB, 2),
            "available": round(self.kv / GIB, 2),
            "longest": self.longest,
            "tokens": self.tokens,
            "concurrency": self.tokens / self.length,
            "graphs": self.graphs / GIB,
        }
