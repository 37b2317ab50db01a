"""Configs of published models: the fields of their `config.json` that matter, and what the models are known to hold."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

Config: TypeAlias = dict[str, Any]


def text(config: Config) -> bytes:
    return json.dumps(config).encode()


def shape(kind: str, layers: int, hidden: int, feed: int, heads: int, kv: int, vocab: int, **more: Any) -> Config:
    return {
        "architectures": ["ForCausalLM"],
        "model_type": kind,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": feed,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "vocab_size": vocab,
        "max_position_embeddings": 32768,
        "torch_dtype": "bfloat16",
        "tie_word_embeddings": False,
        **more,
    }


_SIGLIP: Config = {
    "hidden_size": 1152,
    "image_size": 980,
    "intermediate_size": 4304,
    "model_type": "siglip",
    "num_attention_heads": 16,
    "num_hidden_layers": 27,
    "patch_size": 14,
}
_QWEN_OFF: Config = {"use_sliding_window": False, "sliding_window": 131072, "max_window_layers": 28}
_MLA: Config = {"kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}

QWEN7 = shape("qwen2", 28, 3584, 18944, 28, 4, 152064, **_QWEN_OFF)
QWEN14 = shape("qwen2", 48, 5120, 13824, 40, 8, 152064, **_QWEN_OFF)
QWEN32 = shape("qwen2", 64, 5120, 27648, 40, 8, 152064, **_QWEN_OFF)
QWEN_SMALL = shape("qwen2", 24, 896, 4864, 14, 2, 151936, **_QWEN_OFF) | {"tie_word_embeddings": True}
LLAMA8 = shape("llama", 32, 4096, 14336, 32, 8, 128256, attention_bias=False, mlp_bias=False)
MISTRAL7 = shape("mistral", 32, 4096, 14336, 32, 8, 32768, sliding_window=None)
GEMMA2_9 = shape("gemma2", 42, 3584, 14336, 16, 8, 256000, head_dim=256, sliding_window=4096)
del GEMMA2_9["tie_word_embeddings"]  # left to the default
QWEN3_8 = shape("qwen3", 36, 4096, 12288, 32, 8, 151936, head_dim=128, attention_bias=False, **_QWEN_OFF)
PHI3 = shape("phi3", 32, 3072, 8192, 32, 32, 32064, sliding_window=2047)
MIXTRAL = shape("mixtral", 32, 4096, 14336, 32, 8, 32000, num_local_experts=8, num_experts_per_tok=2)
QWEN3_MOE = shape(
    "qwen3_moe", 48, 2048, 6144, 32, 4, 151936,
    head_dim=128, num_experts=128, num_experts_per_tok=8, moe_intermediate_size=768, decoder_sparse_step=1,
    mlp_only_layers=[],
)  # fmt: skip
QWEN_MOE = shape(
    "qwen2_moe", 24, 2048, 5632, 16, 16, 151936,
    num_experts=60, num_experts_per_tok=4, moe_intermediate_size=1408, shared_expert_intermediate_size=5632,
)  # fmt: skip
DEEPSEEK_LITE = shape(
    "deepseek_v2", 27, 2048, 10944, 16, 16, 102400, **_MLA,
    q_lora_rank=None, n_routed_experts=64, n_shared_experts=2, moe_intermediate_size=1408, num_experts_per_tok=6,
    first_k_dense_replace=1, moe_layer_freq=1,
)  # fmt: skip
DEEPSEEK3 = shape(
    "deepseek_v3", 61, 7168, 18432, 128, 128, 129280, **_MLA,
    q_lora_rank=1536, n_routed_experts=256, n_shared_experts=1, moe_intermediate_size=2048, num_experts_per_tok=8,
    first_k_dense_replace=3, num_nextn_predict_layers=1,
)  # fmt: skip
MINICPMV = shape("minicpmv", 28, 3584, 18944, 28, 4, 151666, **_QWEN_OFF) | {
    "version": 2.6,
    "query_num": 64,
    "image_size": 448,
    "slice_config": {"max_slice_nums": 9, "model_type": "minicpmv"},
    "vision_config": _SIGLIP,
}
QWEN2_VL = shape("qwen2_vl", 28, 3584, 18944, 28, 4, 152064, **_QWEN_OFF) | {
    "vision_config": {
        "depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16, "hidden_size": 3584, "patch_size": 14,
        "spatial_merge_size": 2, "temporal_patch_size": 2,
    },
}  # fmt: skip
QWEN25_VL = shape("qwen2_5_vl", 28, 3584, 18944, 28, 4, 152064, **_QWEN_OFF) | {
    "vision_config": {
        "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584,
        "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2,
    },
}  # fmt: skip
QWEN3_VL: Config = {
    "model_type": "qwen3_vl",
    "tie_word_embeddings": False,
    "text_config": shape("qwen3_vl_text", 36, 4096, 12288, 32, 8, 151936, head_dim=128),
    "vision_config": {
        "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16, "out_hidden_size": 4096,
        "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2, "num_position_embeddings": 2304,
        "deepstack_visual_indexes": [8, 16, 24],
    },
}  # fmt: skip
GEMMA3_4: Config = {  # what is as in the library's defaults is not in the file
    "architectures": ["Gemma3ForConditionalGeneration"],
    "model_type": "gemma3",
    "mm_tokens_per_image": 256,
    "torch_dtype": "bfloat16",
    "text_config": {
        "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
        "sliding_window": 1024,
    },
    "vision_config": _SIGLIP | {"image_size": 896},
}  # fmt: skip

# Parameters as the models' pages at the hub count them in the safetensors files: written down beforehand, not computed
# and not fetched anew.
PUBLISHED: dict[str, tuple[Config, int]] = {
    "Qwen2.5-0.5B": (QWEN_SMALL, 494_032_768),
    "Qwen2.5-7B": (QWEN7, 7_615_616_512),
    "Qwen2.5-14B": (QWEN14, 14_770_033_664),
    "Qwen2.5-32B": (QWEN32, 32_763_876_352),
    "Llama-3.1-8B": (LLAMA8, 8_030_261_248),
    "Mistral-7B-v0.3": (MISTRAL7, 7_248_023_552),
    "gemma-2-9b": (GEMMA2_9, 9_241_705_984),
    "Qwen3-8B": (QWEN3_8, 8_190_735_360),
    "Phi-3-mini-4k": (PHI3, 3_821_079_552),
    "Mixtral-8x7B-v0.1": (MIXTRAL, 46_702_792_704),
    "Qwen3-30B-A3B": (QWEN3_MOE, 30_532_122_624),
    "Qwen1.5-MoE-A2.7B": (QWEN_MOE, 14_315_784_192),
    "DeepSeek-V2-Lite": (DEEPSEEK_LITE, 15_706_484_224),
    "Qwen2-VL-7B": (QWEN2_VL, 8_291_375_616),
    "Qwen2.5-VL-7B": (QWEN25_VL, 8_292_166_656),
    "Qwen3-VL-8B": (QWEN3_VL, 8_767_123_696),
    "gemma-3-4b": (GEMMA3_4, 4_300_079_472),
    "MiniCPM-V-2_6": (MINICPMV, 8_099_175_152),
}
