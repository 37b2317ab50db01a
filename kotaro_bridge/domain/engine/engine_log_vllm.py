"""The log dialect of vLLM: which line is which event, in the 0.25 form (seen in the captures) and the 0.33 form.

Owns: patterns and the reading of the option lists; no judgement. Source: reference vllm §3 and §5. A line shape is
`(EngineCore pid=1) INFO 11-21 19:19:48 [file.py:1] text`; the process tag can be missing, uvicorn leaves out the time.
With tensor parallel the figures come from `(Worker_TP0 pid=1)` and its like, one for each card; some versions let only
the first one speak (vllm source, `info_once(..., scope="local")` in the 0.33 model runner, `info` before it).
"""

from __future__ import annotations

import re
from types import MappingProxyType

from kotaro_bridge.domain.engine.engine_log import (
    Event,
    EventKind,
    Gates,
    LineRule,
    LogLine,
    Value,
    compiled,
    match_line,
)

_PREFIX = r"(?:\([^)]*\) )?(?:[A-Z]+ \d\d-\d\d \d\d:\d\d:\d\d \[[^\]]*\] )?"
_WORKER = r"(?:\((?:[^)]*(?:TP|rank=)(?P<rank_n>\d+))?[^)]*\) )?(?:[A-Z]+ \d\d-\d\d \d\d:\d\d:\d\d \[[^\]]*\] )?"
_UVICORN = r"(?:\([^)]*\) )?INFO:\s+"
_GIB = r"(?P<size_gib>-?\d+(?:\.\d+)?) GiB"

K = EventKind


def _rule(kind: EventKind, pattern: str, prefix: str = _PREFIX) -> LineRule:
    return LineRule(kind, compiled(prefix + pattern))


GATES: Gates = (
    (
        " LLM engine (v",
        (
            _rule(
                K.VERSION, r"Initializing an? (?:V\d+ )?LLM engine \(v(?P<version>[^)]+)\) with config: (?P<options>.*)"
            ),
        ),
    ),
    ("non-default args", (_rule(K.OPTIONS, r"non-default args: (?P<options>.*)"),)),
    (
        " version ",
        (
            _rule(K.VERSION, r"vLLM (?:API )?server version (?P<version>[^\s,]+)"),
            _rule(K.VERSION, r"[\s▀▄█]+version (?P<version>\d\S*)\s*$"),  # the start-up logo
        ),
    ),
    # 0.25 `9.53 GiB and 2.3 seconds`, 0.33 `9.53 GiB memory and 2.3 seconds`
    ("Model loading took", (_rule(K.WEIGHTS, rf"Model loading took {_GIB}", _WORKER),)),
    ("Available KV cache memory", (_rule(K.KV_AVAILABLE, rf"Available KV cache memory: {_GIB}", _WORKER),)),
    (
        "KV cache size: ",
        (
            # 0.25 goes on with "Maximum concurrency" in a second line, 0.33 in this one
            _rule(K.KV_TOKENS, r"GPU KV cache size: (?P<tokens_n>\d[\d,]{0,18}) tokens"),
            _rule(K.KV_ON_HOST, r"GPU \+ host KV cache size: "),
            _rule(K.CPU_PLATFORM, r"CPU KV cache size: "),
        ),
    ),
    ("Graph capturing finished", (_rule(K.GRAPHS, rf"Graph capturing finished in \S+ secs?, took {_GIB}", _WORKER),)),
    (
        "Auto-fit max_model_len",
        (_rule(K.CONTEXT_REDUCED, r"Auto-fit max_model_len: reduced from (?P<from_n>\d+) to (?P<to_n>\d+)"),),
    ),
    ("Using max model len", (_rule(K.CONTEXT, r"Using max model len (?P<n_ctx_n>\d+)"),)),
    # "Offloader set to NoopOffloader" is a DEBUG line: nothing is offloaded
    ("Offloader set to", (_rule(K.OFFLOADER, r"Offloader set to (?P<offloader>(?!Noop)\S+)"),)),
    (
        "CPU offloaded parameters",
        (_rule(K.OFFLOADER, r"Total CPU offloaded parameters: (?P<offloader>(?!0(?:\.0+)?(?:\s|$)).+)"),),
    ),
    ("cpu-offload-gb is enabled", (_rule(K.OFFLOADER, r".*(?P<offloader>--cpu-offload-gb) is enabled"),)),
    ("Resolved architecture", (_rule(K.ARCHITECTURE, r"Resolved architecture: (?P<architecture>\w+)"),)),
    (" platform", (_rule(K.CPU_PLATFORM, r"(?:.*switching to CPU [Pp]latform|Automatically detected platform cpu)"),)),
    ("Starting vLLM", (_rule(K.STARTING, r"Starting vLLM (?:API )?server (?:\d+ )?on (?P<url>\S+)"),)),
    ("Application startup", (_rule(K.READY, r"Application startup complete\.", _UVICORN),)),
)

# Lines of requests (uvicorn): no rule above fits one.
CHATTER = re.compile(r'(?:\([^)]*\) )?INFO: +\S+ - "').match

# Options whose value moves weights, KV or encoder results out of the GPU (reference vllm §5.1), in both spellings of
# the option lists: `'cpu_offload_gb': 4.0` and `cpu_offload_gb=4.0`. The values below are the defaults: off.
_OPTION = re.compile(
    r"['\"]?\b(?P<name>[\w-]*(?:offload|kv[_-]transfer|ec[_-]transfer|hisparse)[\w-]*)['\"]?\s*[:=]\s*"
    r"(?P<value>'[^']*'|\"[^\"]*\"|{}|\[\]|set\(\)|[\w.]+\(?|[{\[]?)"
)
_OFF = re.compile(r"None|null|[Ff]alse|0(?:\.0*)?|''|\"\"|{}|\[\]|set\(\)")
_TENSOR_NAMES = "_params"  # a set of names, printed as `{'experts'}`: no group of settings
_GROUP = re.compile(r"\w*Config\(|{")
_DEFAULTS = {
    "offload_backend": "auto",
    "kv_offloading_backend": "native",
    "offload_num_in_group": "1",
    "offload_prefetch_step": "1",
}
_DEVICE = re.compile(r"\bdevice_config=(?P<device>[\w:]+)")
_CARDS = compiled(r"\btensor_parallel_size=(?P<cards>\d+)")
_MAX_LEN = compiled(r"\bmax_seq_len=(?P<n_ctx>\d+)")


def offload_option(options: str) -> str | None:
    """The first option of a printed option list that is set and takes something off the GPU, as `name=value`.

    Engram's `cpu_offload` (on by default for two architectures, reference vllm §1.4) counts wherever it is True.
    """
    for match in _OPTION.finditer(options):
        name, value = match["name"].replace("-", "_"), match["value"]
        if _OFF.fullmatch(value) or value.strip("'\"") == _DEFAULTS.get(name):
            continue
        if "offload" in name and _GROUP.fullmatch(value) and not name.endswith(_TENSOR_NAMES):
            continue  # a group of settings, each of which is looked at by itself
        return f"{name}={value}"
    return None


_ENGRAM_OFF = re.compile(r"engram_config.*?cpu_offload['\"]?\s*[:=]\s*False")


def _with_options(event: Event) -> Event:
    options = event.text("options")
    values: dict[str, Value] = {name: value for name, value in event.values.items() if name != "options"}
    for name, pattern in (("device", _DEVICE), ("n_ctx", _MAX_LEN)):
        match = pattern.search(options)
        if match:
            values[name] = match[name]
    offload = offload_option(options)
    if offload:
        values["option"] = offload
    spread = _CARDS.search(options)
    if spread:
        values["cards"] = int(spread["cards"])
    if _ENGRAM_OFF.search(options):
        values["engram"] = "gpu"
    return Event(event.kind, event.line, MappingProxyType(values))


def parse(line: LogLine) -> Event | None:
    """The event of a line of vLLM (stdout or stderr), or None.

    Option lists come as `VERSION` (the configuration line) or `OPTIONS` (the arguments) with what matters of them:
    `device`, `n_ctx`, `option` (an active way off the GPU) and `engram` (its table was told to stay on the GPU).
    """
    event = match_line(GATES, line)
    return _with_options(event) if event and "options" in event.values else event
