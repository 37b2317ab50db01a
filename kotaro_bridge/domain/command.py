"""Profile → the engine's command and environment, from a whitelist.

Owns every flag that may reach an engine and every variable that is kept from it. An argument that is not known to leave
the model on the GPU is refused, with the reason where it is known to do harm. Facts: reference llama-server §2, vllm
§2, §5.1.
"""

from __future__ import annotations

from dataclasses import dataclass

from kotaro_bridge.domain.engine_log import Engine
from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.ports import EngineCommand
from kotaro_bridge.domain.profile import KvType, Profile, VllmOptions

HOST = "127.0.0.1"
DEVICE = "CUDA0"  # CUDA_VISIBLE_DEVICES leaves exactly one card, which is then number 0

UNSET = ("LLAMA_*", "GGML_*", "MTMD_*", "LMCACHE_*", "VLLM_*", "CUDA_VISIBLE_DEVICES", "AIP_MODE")
KEEP = ("VLLM_WSL2_ENABLE_PIN_MEMORY", "VLLM_CACHE_ROOT")


@dataclass(frozen=True, slots=True)
class Allowed:
    """An extra argument that cannot move the model off the GPU. `values`: how many values follow it."""

    names: tuple[str, ...]
    values: int = 1


@dataclass(frozen=True, slots=True)
class Forbidden:
    """An argument that is refused by name. `reason` is the last part of the code `command.forbidden.<reason>`."""

    names: tuple[str, ...]
    reason: str
    prefix: bool = False


_ALLOWED = {
    Engine.LLAMA_SERVER: (
        Allowed(("-t", "--threads")),
        Allowed(("-tb", "--threads-batch")),
        Allowed(("--threads-http",)),
        Allowed(("-b", "--batch-size")),
        Allowed(("-ub", "--ubatch-size")),
        Allowed(("--jinja",), 0),
        Allowed(("--no-jinja",), 0),
        Allowed(("--chat-template",)),
        Allowed(("--chat-template-file",)),
        Allowed(("--chat-template-kwargs",)),
        Allowed(("--reasoning-format",)),
        Allowed(("--reasoning-budget",)),
        Allowed(("--temp",)),
        Allowed(("--top-k",)),
        Allowed(("--top-p",)),
        Allowed(("--min-p",)),
        Allowed(("--repeat-penalty",)),
        Allowed(("--presence-penalty",)),
        Allowed(("-s", "--seed")),
        Allowed(("-n", "--predict", "--n-predict")),
        Allowed(("--rope-scaling",)),
        Allowed(("--rope-scale",)),
        Allowed(("--rope-freq-base",)),
        Allowed(("--rope-freq-scale",)),
        Allowed(("--image-min-tokens",)),
        Allowed(("--image-max-tokens",)),
        Allowed(("-to", "--timeout")),
        Allowed(("--swa-full",), 0),
        Allowed(("-lm", "--load-mode")),
        Allowed(("--offline",), 0),
    ),
    Engine.VLLM: (
        Allowed(("--dtype",)),
        Allowed(("--enforce-eager",), 0),
        Allowed(("--seed",)),
        Allowed(("--tokenizer",)),
        Allowed(("--revision",)),
        Allowed(("--load-format",)),
        Allowed(("--block-size",)),
        Allowed(("--generation-config",)),
        Allowed(("--chat-template",)),
        Allowed(("--tool-call-parser",)),
        Allowed(("--enable-auto-tool-choice",), 0),
        Allowed(("--reasoning-parser",)),
        Allowed(("--enable-prefix-caching",), 0),
        Allowed(("--no-enable-prefix-caching",), 0),
        Allowed(("--mm-processor-kwargs",)),
        Allowed(("--skip-tokenizer-init",), 0),
        Allowed(("--uvicorn-log-level",)),
        Allowed(("--disable-access-log-for-endpoints",)),
        Allowed(("--enable-log-requests",), 0),
    ),
}

_FORBIDDEN = {
    Engine.LLAMA_SERVER: (
        Forbidden(("-ngl", "--gpu-layers", "--n-gpu-layers"), "layers"),
        Forbidden(("-fit", "--fit", "-fitt", "--fit-target", "-fitc", "--fit-ctx"), "fit"),
        Forbidden(("-nkvo", "--no-kv-offload", "-kvo", "--kv-offload"), "kv_in_ram"),
        Forbidden(("-cmoe", "--cpu-moe", "-ncmoe", "--n-cpu-moe"), "experts_on_cpu"),
        Forbidden(("-ot", "--override-tensor"), "tensors_moved"),
        Forbidden(("--no-mmproj-offload", "--mmproj-offload", "-mmdev", "--mmproj-device"), "vision_on_cpu"),
        Forbidden(("-ctk", "--cache-type-k", "-ctv", "--cache-type-v"), "kv_type"),
        Forbidden(("-fa", "--flash-attn"), "flash_attention"),
        Forbidden(("-dev", "--device", "-sm", "--split-mode", "-mg", "--main-gpu", "-ts", "--tensor-split"), "device"),
        Forbidden(("--rpc",), "remote_device"),
        Forbidden(("-md", "--model-draft", "-ngld", "-devd", "--spec-"), "draft_model", prefix=True),
        Forbidden(("--lora",), "lora", prefix=True),
        Forbidden(("--sleep-idle-seconds",), "sleep"),
        Forbidden(("--models-", "-hf", "--hf-repo"), "router", prefix=True),
        Forbidden(("-cram", "--cache-ram", "-ctxcp", "--ctx-checkpoints"), "host_cache"),
        Forbidden(("-lv", "--verbosity", "--log-verbosity", "-v", "--verbose", "--log-disable", "--log-file"), "log"),
        Forbidden(
            ("-c", "--ctx-size", "-np", "--parallel", "-m", "--model", "-a", "--alias", "-mm", "--mmproj"),
            "profile_key",
        ),
        Forbidden(("--host", "--port", "--reuse-port", "--metrics", "--slots", "--no-slots"), "endpoint"),
    ),
    Engine.VLLM: (
        Forbidden(("--cpu-offload-",), "weights_in_ram", prefix=True),
        Forbidden(("--offload-",), "weights_in_ram", prefix=True),
        Forbidden(("--kv-offloading-",), "kv_in_ram", prefix=True),
        Forbidden(("--kv-transfer-config", "--ec-transfer-config", "--attention-config"), "kv_in_ram"),
        Forbidden(("--engram-config",), "weights_in_ram"),
        Forbidden(("--config",), "config_file"),
        Forbidden(("--enable-sleep-mode",), "sleep"),
        Forbidden(("--swap-space", "--device"), "gone"),
        Forbidden(("--quantization",), "quantization"),
        Forbidden(("--kv-cache-memory-bytes", "--gpu-memory-utilization", "--device-memory-utilization"), "budget"),
        Forbidden(("--max-model-len", "--max-num-seqs", "--max-num-batched-tokens", "--kv-cache-dtype"), "profile_key"),
        Forbidden(("--served-model-name", "--trust-remote-code", "--limit-mm-per-prompt"), "profile_key"),
        Forbidden(("--host", "--port", "--uds", "--headless", "--api-server-count"), "endpoint"),
        Forbidden(
            ("--tensor-parallel-size", "--pipeline-parallel-size", "--nnodes", "--data-parallel-"),
            "device",
            prefix=True,
        ),
    ),
}


def build_command(profile: Profile, *, utilization: float | None = None) -> EngineCommand:
    """The command that starts a profile wholly on the GPU.

    Args:
        utilization: share of the card that vLLM may take; needed for vLLM only.

    Raises:
        ProblemError: `command.forbidden.*` or `command.unknown_argument` for an extra argument.
    """
    extra = checked_extra_args(profile)
    argv = _llama(profile) if profile.engine is Engine.LLAMA_SERVER else _vllm(profile, utilization)
    env = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": str(profile.gpu)}
    if profile.engine is Engine.VLLM:
        env |= {"NO_COLOR": "1", "VLLM_NO_USAGE_STATS": "1"}
    return EngineCommand((profile.executable, *argv, *extra), env, UNSET, KEEP)


def _llama(profile: Profile) -> tuple[str, ...]:
    """`-ngl all --fit off --device` make the engine fail rather than use the CPU; `-lv 4` makes it say where it put
    things.

    `-c` is for all slots together: with an explicit `-np` each slot gets its share (reference llama-server §2).
    """
    placement = ("--device", DEVICE, "-sm", "none", "-mg", "0", "-ngl", "all", "--fit", "off", "-fa", "auto")
    size = ("-c", str(profile.context * profile.parallel), "-np", str(profile.parallel))
    kv = () if profile.kv_type is KvType.AUTO else ("-ctk", profile.kv_type.value, "-ctv", profile.kv_type.value)
    vision = ("--mmproj", profile.projector, "--mmproj-offload") if profile.projector else ()
    host_copies = ("--cache-ram", "0", "--ctx-checkpoints", "0")
    log = ("-lv", "4", "--log-colors", "off")
    endpoint = ("--host", HOST, "--port", str(profile.port), "--metrics", "--slots", "-a", profile.served_name)
    return ("-m", profile.model, *placement, *size, *kv, *vision, *host_copies, *log, *endpoint)


def _vllm(profile: Profile, utilization: float | None) -> tuple[str, ...]:
    options = profile.vllm or VllmOptions()
    share = () if utilization is None else ("--gpu-memory-utilization", f"{utilization:.3f}")
    limits = (
        *("--max-model-len", str(profile.context)),
        *("--max-num-seqs", str(max(options.max_num_seqs, profile.parallel))),
        *("--max-num-batched-tokens", str(options.max_num_batched_tokens)),
    )
    kv = ("--kv-cache-dtype", "fp8") if profile.kv_type is KvType.FP8 else ()
    code = ("--trust-remote-code",) if options.trust_remote_code else ()
    # Video is profiled unless set to 0 and can dominate the encoder's peak (reference vllm §8).
    images = ("--limit-mm-per-prompt", '{"image":1,"video":0}') if options.images else ()
    endpoint = ("--host", HOST, "--port", str(profile.port), "--served-model-name", profile.served_name)
    return ("serve", profile.model, *share, *limits, *kv, *code, *images, *endpoint)


def checked_extra_args(profile: Profile) -> tuple[str, ...]:
    """The profile's extra arguments, all of them on the whitelist.

    Raises:
        ProblemError: names the first argument that is not, and why.
    """
    words = list(profile.extra_args)
    checked: list[str] = []
    while words:
        word = words.pop(0)
        name, glued, _ = word.partition("=")
        name = _canonical(profile.engine, name)
        allowed = next((entry for entry in _ALLOWED[profile.engine] if name in entry.names), None)
        if allowed is None or (glued and profile.engine is Engine.LLAMA_SERVER):
            raise ProblemError(_refusal(profile.engine, name, word))
        wanted = 0 if glued else allowed.values
        values = words[:wanted]
        if len(values) < wanted or any(_is_flag(value) for value in values):
            raise ProblemError(problem("command.value_missing", argument=word))
        del words[:wanted]
        checked += [word, *values]
    return tuple(checked)


def _canonical(engine: Engine, name: str) -> str:
    """vLLM takes `_` for `-` in names (reference vllm §2)."""
    return name.replace("_", "-") if engine is Engine.VLLM else name


def _is_flag(value: str) -> bool:
    return value.startswith("-") and not value.lstrip("-").replace(".", "", 1).isdigit()


def _refusal(engine: Engine, name: str, word: str) -> Problem:
    for entry in _FORBIDDEN[engine]:
        if name in entry.names or (entry.prefix and name.startswith(entry.names)):
            return problem(f"command.forbidden.{entry.reason}", argument=word)
    return problem("command.unknown_argument", argument=word, engine=engine.value)


def forbidden_reasons() -> frozenset[str]:
    """All reasons that a refusal can name; each has a sentence."""
    return frozenset(entry.reason for entries in _FORBIDDEN.values() for entry in entries)
