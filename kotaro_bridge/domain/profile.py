"""A profile: which model, on which engine, with what, where. Decoded from TOML, strictly.

Owns the typed form of a profile file and errors that name file, line and key. Must not read files, and must not build
commands (`command.py`) or judge extra arguments (`command.py` holds the whitelist).
"""

from __future__ import annotations

import re
import tomllib
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.units import MIB

# Windows has devices of these names in every folder, with any ending.
_DEVICES = r"(?!(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|\Z))"
PROFILE_ID = re.compile(_DEVICES + r"[a-z0-9][a-z0-9._-]{0,63}\Z")
# What a terminal obeys instead of showing it, and what shows a text in another order than it is run in.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")

MOST_CARDS = 8
"""More cards than one board carries; llama-server takes 15 at most (llama.cpp common/arg.cpp, `--tensor-split`)."""

_DISTRO = re.compile(r"(?!-)[a-zA-Z0-9._-]{1,256}\Z")  # reference wsl-exe §2.2; a dash in front is an option


class KvType(StrEnum):
    """Element type of the KV cache. Only pairs K == V with GPU kernels in default builds (reference llama-server
    §5.5).
    """

    F16 = "f16"
    BF16 = "bf16"
    Q8_0 = "q8_0"
    Q4_0 = "q4_0"
    FP8 = "fp8"
    AUTO = "auto"


KV_TYPES = {Engine.VLLM: frozenset({KvType.AUTO, KvType.FP8}), Engine.LLAMA_SERVER: frozenset(KvType) - {KvType.FP8}}
"""The types that each engine's KV cache may have."""


class WatchPolicy(StrEnum):
    """What happens to a run that serves when the watch sees its memory or its speed leave the card."""

    STOP = "stop"
    WARN = "warn"


class VramNeed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a profile takes of the card, and who says so.

    Args:
        vram_mib: whole use including the CUDA context, of all cards together; for vLLM the budget that utilization has
            to grant.
        source: where the figure comes from (`measured: ...` or `computed: ...`).
    """

    vram_mib: Annotated[int, msgspec.Meta(gt=0)]
    source: str


class VllmOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options that only vLLM has. Without the two limits vLLM 0.25 overran its budget by 1.5 to 2.3 GiB (captures)."""

    max_num_seqs: Annotated[int, msgspec.Meta(ge=1)] = 16
    max_num_batched_tokens: Annotated[int, msgspec.Meta(ge=1)] = 2048
    images: bool = False
    trust_remote_code: bool = False


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One startable model. `id` is the file's name without `.toml`; paths are paths of the target (`~/` allowed).

    Args:
        target: `wsl:<distro>`, `wsl:` (the default distro) or `local`.
        context: tokens one request may hold; `parallel`: requests served at once, each with its own `context`.
        gpus: indices of the cards as the driver counts. Several share one model: llama-server gives each some of the
            layers, vLLM a part of every layer (tensor parallel).
        extra_args: further engine arguments; only those on the whitelist of `command.py` are accepted.
        watch: what a finding of the watch does to a run that serves. It never touches the gate or the proof.
    """

    title: str
    engine: Engine
    executable: str
    model: str
    served_name: str
    context: Annotated[int, msgspec.Meta(ge=256, le=10_000_000)]
    port: Annotated[int, msgspec.Meta(ge=1024, le=65535)]
    id: str = ""
    version: str = ""
    target: str = "wsl:"
    projector: str = ""
    parallel: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    kv_type: KvType = KvType.AUTO
    gpus: Annotated[
        tuple[Annotated[int, msgspec.Meta(ge=0, le=63)], ...], msgspec.Meta(min_length=1, max_length=MOST_CARDS)
    ] = (0,)
    extra_args: tuple[str, ...] = ()
    watch: WatchPolicy = WatchPolicy.STOP
    need: VramNeed | None = None
    vllm: VllmOptions | None = None
    builtin: bool = False

    @property
    def is_local(self) -> bool:
        """True where the engine runs on this machine itself and not inside WSL."""
        return self.target == "local"

    @property
    def distro(self) -> str | None:
        """The distro's name; None for `local` and for the default distro."""
        return self.target.removeprefix("wsl:") or None if not self.is_local else None

    @property
    def sees_images(self) -> bool:
        """True if requests may carry images."""
        return bool(self.projector) or (self.vllm is not None and self.vllm.images)

    @property
    def devices(self) -> tuple[str, ...]:
        """The cards as the engine names them: CUDA_VISIBLE_DEVICES leaves these alone, counted anew from 0."""
        return tuple(f"CUDA{position}" for position in range(len(self.gpus)))

    def shares_card(self, other: Profile) -> bool:
        """True if there is a card that both use."""
        return not set(self.gpus).isdisjoint(other.gpus)

    @property
    def stated_need(self) -> int | None:
        """Bytes of VRAM that the profile itself states, of all its cards together, or None."""
        return self.need.vram_mib * MIB if self.need else None


def decode_profile(text: str, *, file: str, profile_id: str, builtin: bool = False) -> Profile:
    """A profile from the text of its TOML file.

    Args:
        text: content of the file; `file`: its name, for errors; `profile_id`: the id the file's name gives.

    Raises:
        ProblemError: `profile.syntax`, `profile.key` or `profile.value` with file, line and key.
    """
    if not PROFILE_ID.match(profile_id):
        raise ProblemError(problem("profile.id", file=file, id=profile_id))
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, a list in 5,000 lists
        raise ProblemError(
            problem("profile.syntax", file=file, line=_syntax_line(str(error), text), detail=str(error))
        ) from None
    for key in ("id", "builtin"):
        if key in data:
            raise ProblemError(problem("profile.key", file=file, line=line_of(text, (key,)), key=key))
    if "gpu" in data:  # what it was called when there was one card
        raise ProblemError(
            problem("profile.gpu_key", file=file, line=line_of(text, ("gpu",)), key="gpu", value=str(data["gpu"]))
        )
    try:
        profile = msgspec.convert(data | {"id": profile_id, "builtin": builtin}, Profile)
    except msgspec.ValidationError as error:
        raise ProblemError(_validation_problem(str(error), text, file)) from None
    _check_together(profile, data, text, file)
    return profile


def _check_together(profile: Profile, data: dict[str, Any], text: str, file: str) -> None:
    """Rules over more than one key. Raises ProblemError."""

    def refuse(key: str, code: str) -> None:
        raise ProblemError(problem(code, file=file, line=line_of(text, (key,)), key=key, value=str(data.get(key, ""))))

    if not profile.is_local and not (
        profile.target.startswith("wsl:") and (profile.distro is None or _DISTRO.match(profile.distro))
    ):
        refuse("target", "profile.target")
    if profile.engine is Engine.VLLM:
        if profile.projector:
            refuse("projector", "profile.only_llama")
    elif profile.vllm is not None:
        refuse("vllm", "profile.only_vllm")
    if profile.kv_type not in KV_TYPES[profile.engine]:
        refuse("kv_type", "profile.kv_type")
    if len(set(profile.gpus)) < len(profile.gpus):
        refuse("gpus", "profile.card_twice")
    for key in ("title", "executable", "model", "served_name"):
        if not str(getattr(profile, key)).strip() or "\n" in str(getattr(profile, key)):
            refuse(key, "profile.empty")
    for key in ("executable", "model", "served_name", "projector"):
        if getattr(profile, key).lstrip().startswith("-"):
            refuse(key, "profile.reads_as_option")  # an engine would obey it, past the whitelist
    for key, value in data.items():
        texts = value if isinstance(value, list) else value.values() if isinstance(value, dict) else (value,)
        if any(isinstance(each, str) and _UNSEEN.search(each) for each in texts):
            raise ProblemError(problem("profile.control", file=file, line=line_of(text, (key,)), key=key))


def _validation_problem(message: str, text: str, file: str) -> Problem:
    """msgspec's sentence (`Expected int, got str - at `$.context``) as a problem with line and key."""
    path_match = re.search(r"at `\$\.?([^`]*)`", message)
    path = tuple(part for part in re.split(r"[.\[\]]+", path_match.group(1)) if part) if path_match else ()
    detail = message.split(" - at ")[0]
    unknown = re.search(r"unknown field `([^`]*)`", message)
    missing = re.search(r"missing required field `([^`]*)`", message)
    if unknown:
        key = (*path, unknown.group(1))
        return problem("profile.key", file=file, line=line_of(text, key), key=".".join(key))
    if missing:
        return problem("profile.missing", file=file, line=line_of(text, path), key=".".join((*path, missing.group(1))))
    return problem("profile.value", file=file, line=line_of(text, path), key=".".join(path), detail=detail)


def _syntax_line(message: str, text: str) -> int:
    match = re.search(r"line (\d+)", message)
    return int(match.group(1)) if match else text.count("\n") + 1


def line_of(text: str, path: tuple[str, ...]) -> int:
    """1-based line of a key in a TOML text, found by table headers; 1 if it is not there (a missing key)."""
    table: tuple[str, ...] = ()
    best = 1
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\[?([^\]]+)\]", line)
        if header:
            table = tuple(part.strip().strip("\"'") for part in header.group(1).split("."))
            if table[: len(path)] == path:
                return number
            if table == path[: len(table)]:
                best = number
        key = re.match(r"\s*([^=#\s][^=]*?)\s*=", line)
        if key:
            full = (*table, *(part.strip().strip("\"'") for part in key.group(1).split(".")))
            if full[: len(path)] == path or path[: len(full)] == full:
                return number
    return best
