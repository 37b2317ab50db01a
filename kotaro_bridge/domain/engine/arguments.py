"""A profile's extra arguments: which an engine may get, and why another one is refused.

Owns both tables and every spelling that the engines' own parsers accept. An argument that is not known to leave the
model on the GPU is refused; one that is known to do harm is refused by name, with its reason, in each of its spellings.
Sources: reference llama-server §2 and the `--help` of the real v0.5.0 (tests/e2e/test_real_engine_help.py holds this
table against it), reference vllm §2 and §5.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.profile import Profile


@dataclass(frozen=True, slots=True)
class Allowed:
    """An extra argument that cannot move the model off the GPU.

    Args:
        values: how many values follow it.
        among: the only values it may have; empty for any.
        beside_requests: the value is a number, and has to leave so many beside one for each request at once; less than
            1 leaves it to the engine.
    """

    names: tuple[str, ...]
    values: int = 1
    among: tuple[str, ...] = ()
    beside_requests: int = 0


@dataclass(frozen=True, slots=True)
class Forbidden:
    """Arguments that are refused by name, `*` standing for any end or beginning.

    Args:
        reason: the last part of the code `command.forbidden.<reason>`.
    """

    reason: str
    names: tuple[str, ...]


# What vLLM's own loaders read onto the card; other formats are other people's programs, which may do what they like.
_DTYPES = ("auto", "half", "float16", "bfloat16")  # all of two bytes: what a plan counts with
_LOAD_FORMATS = ("auto", "safetensors", "pt", "npcache", "mistral", "dummy")

ALLOWED = {
    Engine.LLAMA_SERVER: (
        Allowed(("-t", "--threads")),
        Allowed(("-tb", "--threads-batch")),
        # A stream keeps its thread to the end. The engine's own choice leaves two for its monitoring (server.cpp).
        Allowed(("--threads-http",), beside_requests=2),
        Allowed(("-b", "--batch-size")),
        Allowed(("-ub", "--ubatch-size")),
        Allowed(("--jinja",), 0),
        Allowed(("--no-jinja",), 0),
        Allowed(("--chat-template",)),
        Allowed(("--chat-template-file",)),
        Allowed(("--chat-template-kwargs",)),
        Allowed(("--reasoning-format",)),
        Allowed(("--reasoning-budget",)),
        Allowed(("--temp", "--temperature")),
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
        # How the file is read; where its tensors go is decided elsewhere (source: llama-model-loader.cpp).
        Allowed(("-lm", "--load-mode")),
        Allowed(("--offline",), 0),
    ),
    Engine.VLLM: (
        Allowed(("--dtype",), among=_DTYPES),
        Allowed(("--enforce-eager",), 0),
        Allowed(("--seed",)),
        Allowed(("--tokenizer",)),
        Allowed(("--revision",)),
        Allowed(("--load-format",), among=_LOAD_FORMATS),
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

FORBIDDEN = {
    Engine.LLAMA_SERVER: (
        # A draft model has every placement flag of its own, under several names each: before the flags of the model.
        Forbidden("draft_model", ("--spec-*", "--no-spec-*", "--*-draft", "--draft*", "-md", "-hfd", "-hfrd")),
        Forbidden("draft_model", ("-ngld", "-devd", "-otd", "-ctkd", "-ctvd", "-cmoed", "-ncmoed", "-td", "-tbd")),
        Forbidden("draft_model", ("-Cd", "-Crd", "-Cbd", "-lcs", "-lcd", "--lookup-cache-*", "--fim-*-spec")),
        Forbidden("layers", ("-ngl", "--gpu-layers", "--n-gpu-layers")),
        Forbidden("fit", ("-fit", "--fit", "-fitt", "-fitc", "-fitp", "--fit-*")),
        Forbidden("kv_in_ram", ("-nkvo", "--no-kv-offload", "-kvo", "--kv-offload")),
        Forbidden("experts_on_cpu", ("-cmoe", "--cpu-moe", "-ncmoe", "--n-cpu-moe")),
        Forbidden("weights_in_ram", ("-ncffn", "--n-cpu-*")),
        Forbidden("tensors_moved", ("-ot", "--override-tensor")),
        Forbidden("host_buffers", ("--repack", "-nr", "--no-repack", "--no-host", "-lzm", "--lazy-mode")),
        Forbidden("host_buffers", ("--op-offload", "--no-op-offload")),
        Forbidden("vision_on_cpu", ("--mmproj-offload", "--no-mmproj-offload", "-mmdev", "--mmproj-device")),
        Forbidden("kv_type", ("-ctk", "--cache-type-k", "-ctv", "--cache-type-v")),
        Forbidden("flash_attention", ("-fa", "--flash-attn")),
        Forbidden("device", ("-dev", "--device", "-sm", "--split-mode", "-mg", "--main-gpu", "-ts", "--tensor-split")),
        Forbidden("remote_device", ("--rpc",)),
        Forbidden("lora", ("--lora*", "--control-vector*")),
        Forbidden("header_overridden", ("--override-kv",)),
        Forbidden("sleep", ("--sleep-idle-seconds",)),
        Forbidden("router", ("--models-*", "--no-models-*")),
        Forbidden("host_cache", ("-cram", "--cache-ram", "-ctxcp", "--ctx-checkpoints", "--swa-checkpoints")),
        Forbidden("host_cache", ("-cms", "--checkpoint-*", "--cache-idle-slots", "--no-cache-idle-slots")),
        Forbidden("host_cache", ("--slot-save-path",)),
        # Without the warm-up the vision encoder does not say what its backend lacks (reference llama-server §2).
        Forbidden("log", ("-lv", "--verbosity", "-v", "--verbose", "--log-*", "--no-log-*", "--warmup", "--no-warmup")),
        Forbidden("profile_key", ("-c", "--ctx-size", "-np", "--parallel", "-kvu", "-no-kvu", "--kv-unified*")),
        Forbidden("profile_key", ("--no-kv-unified", "-m", "--model", "-mu", "--model-url", "-dr", "--docker-repo")),
        Forbidden("profile_key", ("-hf", "-hfr", "--hf-*", "-hff", "-hft", "-a", "--alias", "*-default")),
        Forbidden("profile_key", ("-mm", "--mmproj", "-mmu", "--mmproj-url", "--mmproj-auto", "--no-mmproj*")),
        Forbidden("endpoint", ("--host", "--port", "--reuse-port", "--metrics", "--props", "--slots", "--no-slots")),
        Forbidden("endpoint", ("--api-prefix", "--ssl-*")),
    ),
    Engine.VLLM: (
        Forbidden("weights_in_ram", ("--cpu-offload-*", "--offload-*", "--engram-config")),
        Forbidden("kv_in_ram", ("--kv-offloading-*", "--kv-transfer-config", "--ec-transfer-config")),
        Forbidden("kv_in_ram", ("--attention-config", "-ac")),
        Forbidden("config_file", ("--config",)),
        Forbidden("sleep", ("--enable-sleep-mode",)),
        Forbidden("gone", ("--swap-space", "--device", "--disable-log-requests")),
        Forbidden("quantization", ("--quantization", "-q")),
        Forbidden("budget", ("--kv-cache-memory-bytes", "--gpu-memory-utilization", "--device-memory-utilization")),
        Forbidden("budget", ("--num-gpu-blocks-override", "--skip-mm-profiling")),
        Forbidden("draft_model", ("--speculative-*", "-sc")),
        Forbidden("lora", ("--enable-lora", "--lora-*", "--max-loras", "--max-cpu-loras", "--max-lora-rank")),
        Forbidden("header_overridden", ("--hf-overrides", "--hf-config-path")),
        Forbidden("host_cache", ("--mm-processor-cache-*",)),
        Forbidden("log", ("--disable-log-stats", "--log-config-file")),
        Forbidden("profile_key", ("--model", "--max-model-len", "--max-num-seqs", "--max-num-batched-tokens")),
        Forbidden("profile_key", ("--kv-cache-dtype", "--served-model-name", "--trust-remote-code")),
        Forbidden("profile_key", ("--limit-mm-per-prompt", "--language-model-only")),
        Forbidden("endpoint", ("--host", "--port", "--uds", "--headless", "--api-server-count", "-asc", "--ssl-*")),
        Forbidden("endpoint", ("--root-path",)),
        Forbidden("device", ("--tensor-parallel-size", "-tp", "--pipeline-parallel-size", "-pp", "--data-parallel-*")),
        Forbidden("device", ("-dp*", "--nnodes", "-n", "--node-rank", "-r", "--master-*")),
        Forbidden("device", ("--distributed-executor-backend",)),
    ),
}

_NUMBER = re.compile(r"-?(\d+(\.\d*)?|\.\d+)\Z")


def checked_extra_args(profile: Profile) -> tuple[str, ...]:
    """The profile's extra arguments, all of them on the whitelist.

    Raises:
        ProblemError: `command.forbidden.*`, `command.unknown_argument`, `command.value_missing`,
            `command.value_refused` or `command.value_low`, naming the first argument that is not, and why.
    """
    words = list(profile.extra_args)
    checked: list[str] = []
    while words:
        word = words.pop(0)
        name, glue, value = word.partition("=")
        allowed = _allowed(profile.engine, name)
        # llama.cpp has no glued form, and a switch has no value.
        if allowed is None or (glue and (profile.engine is Engine.LLAMA_SERVER or not allowed.values)):
            raise ProblemError(_refusal(profile.engine, word))
        wanted = 0 if glue else allowed.values
        values = words[:wanted]
        if len(values) < wanted or any(_is_flag(value) for value in values):
            raise ProblemError(problem("command.value_missing", argument=word))
        for given in [value] if glue else values:
            if allowed.among and given not in allowed.among:
                choices = ", ".join(allowed.among)
                raise ProblemError(problem("command.value_refused", argument=name, value=given, choices=choices))
            least = profile.parallel + allowed.beside_requests
            if allowed.beside_requests and not _leaves(given, least):
                raise ProblemError(problem("command.value_low", argument=name, value=given, least=least))
        del words[:wanted]
        checked += [word, *values]
    return tuple(checked)


def forbidden_reason(engine: Engine, word: str) -> str | None:
    """Why an argument is refused by name; None where it is only unknown, or allowed.

    Args:
        word: as written, with a glued value or not.
    """
    spellings = _spellings(engine, word.partition("=")[0])
    for entry in FORBIDDEN[engine]:
        if any(fnmatchcase(spelling, name) for spelling in spellings for name in entry.names):
            return entry.reason
    return _abbreviated(spellings[-1]) if engine is Engine.VLLM else None


def forbidden_reasons() -> frozenset[str]:
    """All reasons that a refusal can name; each has a sentence."""
    return frozenset(entry.reason for entries in FORBIDDEN.values() for entry in entries)


def _allowed(engine: Engine, name: str) -> Allowed | None:
    name = _dashed(name)
    return next((entry for entry in ALLOWED[engine] if name in entry.names), None)


def _dashed(name: str) -> str:
    """Both parsers take `_` for `-` in long names (source: common/arg.cpp; reference vllm §2)."""
    return name.replace("_", "-") if name.startswith("--") else name


def _spellings(engine: Engine, name: str) -> tuple[str, ...]:
    """The option as the tables name it. vLLM: `--option.key` sets one key of a JSON option, `--no-option` turns one
    off.
    """
    name = _dashed(name)
    if engine is Engine.LLAMA_SERVER:
        return (name,)
    option = name.partition(".")[0]
    return (option, "--" + option.removeprefix("--no-")) if option.startswith("--no-") else (option,)


def _abbreviated(name: str) -> str | None:
    """Python's argparse takes the beginning of a name for the name where no other begins like it."""
    if len(name) <= len("--") or not name.startswith("--"):
        return None
    found = {
        entry.reason
        for entry in FORBIDDEN[Engine.VLLM]
        if any(full.removesuffix("*").startswith(name) for full in entry.names)
    }
    return found.pop() if len(found) == 1 else None


def _leaves(value: str, least: int) -> bool:
    try:
        number = int(value)
    except ValueError:
        return False
    return number < 1 or number >= least


def _is_flag(value: str) -> bool:
    return value.startswith("-") and not _NUMBER.match(value)


def _refusal(engine: Engine, word: str) -> Problem:
    reason = forbidden_reason(engine, word)
    if reason is None:
        return problem("command.unknown_argument", argument=word, engine=engine.value)
    return problem(f"command.forbidden.{reason}", argument=word)
