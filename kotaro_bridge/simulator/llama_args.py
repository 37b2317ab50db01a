"""The command line of llama-server: its flags, and what it says about wrong ones (reference llama-server §2)."""

from __future__ import annotations

import os

VALUE_FLAGS = """
-m --model|-ngl --gpu-layers --n-gpu-layers|-fit --fit|-fitt --fit-target|-fitc --fit-ctx|-dev --device|-sm --split-mode
-mg --main-gpu|-ts --tensor-split|-c --ctx-size|-np --parallel|-b --batch-size|-ub --ubatch-size|-fa --flash-attn
-ctk --cache-type-k|-ctv --cache-type-v|-ncmoe --n-cpu-moe|-ot --override-tensor|-lm --load-mode|-mm --mmproj
-mmdev --mmproj-device|--image-min-tokens|--image-max-tokens|--mtmd-batch-max-tokens|--api-key|--api-key-file|--host
--port|-a --alias|-hf --hf-repo|--sleep-idle-seconds|-cram --cache-ram|-ctxcp --ctx-checkpoints|--rpc
-lv --verbosity --log-verbosity|--log-file|--log-colors|-t --threads|-tb --threads-batch|--chat-template
--chat-template-file|--chat-template-kwargs|--reasoning-format|--reasoning-budget|--temp|--top-k|--top-p|--min-p
--repeat-penalty|--presence-penalty|-s --seed|-n --predict --n-predict|--rope-scaling|--rope-scale|--rope-freq-base
--rope-freq-scale|-to --timeout|--keep|--slot-prompt-similarity|--cors-origins
"""
PLAIN_FLAGS = """
-kvu --kv-unified|-no-kvu --no-kv-unified|-cb --cont-batching|-nocb --no-cont-batching|-kvo --kv-offload
-nkvo --no-kv-offload|--op-offload|--no-op-offload|-cmoe --cpu-moe|--repack|-nr --no-repack|--no-host|--mmap|--no-mmap
--mlock|--no-mmproj|--mmproj-offload|--no-mmproj-offload|--jinja|--no-jinja|--metrics|--slots|--no-slots|--props
--reuse-port|--offline|--warmup|--no-warmup|-v --verbose|--log-prefix|--log-timestamps|--swa-full
--version|-h --help
"""
INTEGERS = frozenset({"-c", "-np", "-lv", "--port", "-b", "-ub", "-mg", "-n", "-t", "-tb", "--sleep-idle-seconds"})
CACHE_TYPES = {  # bytes per element (reference llama-server §7)
    "f32": 4.0,
    "f16": 2.0,
    "bf16": 2.0,
    "q8_0": 34 / 32,
    "q4_0": 18 / 32,
    "q4_1": 20 / 32,
    "iq4_nl": 18 / 32,
    "q5_0": 22 / 32,
    "q5_1": 24 / 32,
}


def _names(table: str) -> dict[str, str]:
    """Every spelling to the first one of its flag."""
    flags = [entry.split() for entry in table.replace("\n", "|").split("|") if entry.strip()]
    return {name: names[0] for names in flags for name in names}


_VALUE = _names(VALUE_FLAGS)
_PLAIN = _names(PLAIN_FLAGS)


class WrongArgument(Exception):
    """llama-server's words for it, which go to stderr as they are; exit code 1."""


def parse(arguments: list[str], devices: list[str]) -> dict[str, str]:
    """Flag (first spelling) to value; plain flags have an empty one. The last of several wins.

    Args:
        arguments: without the program name.
        devices: names that `--device` takes.

    Raises:
        WrongArgument: as the real program says it (texts from the build of captures/README.md).
    """
    found: dict[str, str] = {}
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word in _PLAIN:
            found[_PLAIN[word]] = ""
        elif word in _VALUE:
            if not words:
                raise _wrong_value(word, "expected value for argument")
            found[_VALUE[word]] = words.pop(0)
            _check(word, _VALUE[word], found[_VALUE[word]], devices)
        else:
            raise WrongArgument(f"error: invalid argument: {word}\n")
    return found


def _check(word: str, flag: str, value: str, devices: list[str]) -> None:
    if flag in INTEGERS and not value.lstrip("-").isdigit():
        raise _wrong_value(word, "stoi")
    if flag == "-dev":
        for name in value.split(","):
            if name != "none" and name not in devices:
                raise _wrong_value(word, f"invalid device: {name}")
    if flag == "-fa" and value not in ("on", "off", "auto"):
        raise _wrong_value(word, f"error: unknown value for --flash-attn: '{value}'\n")
    if flag in ("-ctk", "-ctv") and value not in CACHE_TYPES:
        raise _wrong_value(word, f"Unsupported cache type: {value}")
    if flag == "--api-key-file" and not os.path.isfile(value):
        raise _wrong_value(word, f"error: failed to open file '{value}'\n")


def _wrong_value(word: str, reason: str) -> WrongArgument:
    flag = _VALUE[word]
    usage = ",  ".join(name for name, first in _VALUE.items() if first == flag)
    ending = "\n\nto show complete usage, run with -h\n"
    return WrongArgument(f'error while handling argument "{word}": {reason}\n\nusage:\n{usage}\n{ending}')
