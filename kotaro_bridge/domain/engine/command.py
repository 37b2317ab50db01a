"""Profile → the engine's command and environment, from a whitelist.

Owns every flag that we pass to an engine and every variable that is kept from it; which of a profile's own arguments
may follow is `arguments`' business. Facts: reference llama-server §2, vllm §2, §5.1.
"""

from __future__ import annotations

from kotaro_bridge.domain.engine.arguments import checked_extra_args
from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.ports import EngineCommand
from kotaro_bridge.domain.profile import KvType, Profile, VllmOptions

HOST = "127.0.0.1"
UTILIZATION = "--gpu-memory-utilization"

UNSET = (
    # The engines' own: each family can move weights, KV cache or the port (reference llama-server §2, vllm §5).
    *("LLAMA_*", "GGML_*", "MTMD_*", "AIP_*", "VLLM_*", "LMCACHE_*"),
    # CUDA's: which card, managed memory (CUDA_MANAGED_FORCE_DEVICE_ALLOC), limits of a shared server (CUDA_MPS_*),
    # libraries put into the process (CUDA_INJECTION64_PATH). PyTorch's: how it allocates.
    *("CUDA_*", "PYTORCH_*"),
    # Triton's interpreter computes on the CPU; a preloaded library can turn cudaMalloc into managed memory.
    *("TRITON_INTERPRET", "LD_PRELOAD", "LD_AUDIT"),
)
KEEP = ("VLLM_WSL2_ENABLE_PIN_MEMORY", "VLLM_CACHE_ROOT", "CUDA_HOME", "CUDA_PATH", "CUDA_CACHE_PATH")
"""Where things are, which moves nothing: vLLM compiles kernels with the toolkit at CUDA_HOME."""

_NOWHERE = "/dev/null"


def build_command(profile: Profile, *, utilization: float | None = None, layers: tuple[int, ...] = ()) -> EngineCommand:
    """The command that starts a profile wholly on the GPU.

    Args:
        utilization: share of each card that vLLM may take; needed for vLLM only.
        layers: layers for each of llama-server's cards (`card_split`); without it the engine divides by free memory.

    Raises:
        ProblemError: `command.*` for an extra argument that is not on the whitelist.
    """
    extra = checked_extra_args(profile)
    argv = _llama(profile, layers) if profile.engine is Engine.LLAMA_SERVER else _vllm(profile, utilization)
    return _in_our_environment(profile, (*argv, *extra))


def device_question(profile: Profile) -> EngineCommand:
    """The question for the engine's devices, in exactly the environment of a start (reference llama-server §5.3).

    vLLM has no such question: its command is the program alone, and the target's probe asks the Python beside it.
    """
    return _in_our_environment(profile, ("--list-devices",) if profile.engine is Engine.LLAMA_SERVER else ())


def _in_our_environment(profile: Profile, arguments: tuple[str, ...]) -> EngineCommand:
    cards = ",".join(map(str, profile.gpus))
    env = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": cards}
    if profile.engine is Engine.VLLM:
        env |= {"NO_COLOR": "1", "VLLM_NO_USAGE_STATS": "1"}
    else:
        # llama-server reads $XDG_CONFIG_HOME/llama.cpp/config.ini before anything else (llama.cpp common/arg.cpp,
        # common_params_apply_system_config; nothing else of it looks there). Below a device no file can ever be.
        env |= {"XDG_CONFIG_HOME": _NOWHERE}
    return EngineCommand((profile.executable, *arguments), env, UNSET, KEEP)


def _llama(profile: Profile, layers: tuple[int, ...]) -> tuple[str, ...]:
    """`-ngl all --fit off --device` make the engine fail rather than use the CPU; `-lv 4` makes it say where it put
    things.

    `-c` is for all slots together: with an explicit `-np` each slot gets its share (reference llama-server §2).
    """
    cards = (*_cards(profile, layers), "-ngl", "all", "--fit", "off", "-fa", "auto")
    size = ("-c", str(profile.context * profile.parallel), "-np", str(profile.parallel))
    kv = () if profile.kv_type is KvType.AUTO else ("-ctk", profile.kv_type.value, "-ctv", profile.kv_type.value)
    vision = ("--mmproj", profile.projector, "--mmproj-offload") if profile.projector else ()
    host_copies = ("--cache-ram", "0", "--ctx-checkpoints", "0")
    log = ("-lv", "4", "--log-colors", "off")
    endpoint = ("--host", HOST, "--port", str(profile.port), "--metrics", "--slots", "-a", profile.served_name)
    return ("-m", profile.model, *cards, *size, *kv, *vision, *host_copies, *log, *endpoint)


def _cards(profile: Profile, layers: tuple[int, ...]) -> tuple[str, ...]:
    """Whole layers on each card: `row` and `tensor` name buffers of which no line tells the card (`model_load.is_gpu`).
    `-mg` means nothing then (llama.cpp common/arg.cpp).
    """
    if len(profile.gpus) == 1:
        return ("--device", profile.devices[0], "-sm", "none", "-mg", "0")
    split = ("-ts", ",".join(map(str, layers))) if layers else ()
    return ("--device", ",".join(profile.devices), "-sm", "layer", *split)


def _vllm(profile: Profile, utilization: float | None) -> tuple[str, ...]:
    options = profile.vllm or VllmOptions()
    share = () if utilization is None else (UTILIZATION, f"{utilization:.3f}")
    limits = (
        *("--max-model-len", str(profile.context)),
        *("--max-num-seqs", str(max(options.max_num_seqs, profile.parallel))),
        *("--max-num-batched-tokens", str(options.max_num_batched_tokens)),
    )
    cards = ("--tensor-parallel-size", str(len(profile.gpus))) if len(profile.gpus) > 1 else ()
    kv = ("--kv-cache-dtype", "fp8") if profile.kv_type is KvType.FP8 else ()
    code = ("--trust-remote-code",) if options.trust_remote_code else ()
    # Video is profiled unless set to 0 and can dominate the encoder's peak (reference vllm §8).
    images = ("--limit-mm-per-prompt", '{"image":1,"video":0}') if options.images else ()
    endpoint = ("--host", HOST, "--port", str(profile.port), "--served-model-name", profile.served_name)
    return ("serve", profile.model, *cards, *share, *limits, *kv, *code, *images, *endpoint)
