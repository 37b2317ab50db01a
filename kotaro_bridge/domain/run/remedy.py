"""What would make a refused or failed start work: changes that one click applies. Pure data and rules.

Owns which remedies are offered, and in which order: what frees memory before what makes the profile smaller, since a
model that is in the way today is not there tomorrow. Offered is only what the figures at hand say will help.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import msgspec

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.profile import KV_TYPES, KvType, Profile
from kotaro_bridge.domain.profile_edit import Value
from kotaro_bridge.domain.run.gate import CheckId, GateReport, Status
from kotaro_bridge.domain.run.holders import Holder, HolderKind

OFFERED = 4
_STEP = 256  # llama-server rounds the context up to it (reference llama-server §7)
_SHORTEST = 2048  # a chat with less is of little use
_VLLM_STEP = 16  # vLLM's KV cache comes in blocks of 16 tokens (reference vllm §4)
_VLLM_SHORTEST = 1024
_PORTS = frozenset({CheckId.PORT_WINDOWS, CheckId.PORT_TARGET})


class RemedyKind(StrEnum):
    """What is changed. The first three change the profile, the next two free video memory; the last has the usual speed
    of the profile measured anew.
    """

    CONTEXT = "context"
    KV_TYPE = "kv_type"
    PARALLEL = "parallel"
    STOP_RUN = "stop"
    UNLOAD = "unload"
    FORGET = "forget"


_OF_PROFILE = frozenset({RemedyKind.CONTEXT, RemedyKind.KV_TYPE, RemedyKind.PARALLEL})
_SPEED = "speed"
_OUT_OF_VRAM = frozenset({"proof.out_of_gpu_memory", "engine.out_of_vram"})  # while it loaded, and while it served
_FORMS = tuple(f"{kind}={_SPEED if kind is RemedyKind.FORGET else '…'}" for kind in RemedyKind)


Need: TypeAlias = Callable[[Profile], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Remedy:
    """One change.

    Args:
        value: the new value, the id of the profile to stop, the model that Ollama is to unload, or `speed`.
        name: what the button calls it: the value, the other profile's title, the model.
    """

    kind: RemedyKind
    value: str
    name: str = ""

    @property
    def word(self) -> str:
        """How the command line names it, such as `context=6144`."""
        return f"{self.kind}={self.value}"

    @property
    def changes_profile(self) -> bool:
        """True if it changes the profile's file."""
        return self.kind in _OF_PROFILE


def parse(word: str, profile: Profile) -> Remedy:
    """A remedy by its word.

    Raises:
        ProblemError: `remedy.unknown` for what is none, `remedy.no_number`, `remedy.value` for a value that the
            profile cannot have.
    """
    kind, _, value = word.partition("=")
    if kind not in set(RemedyKind) or not value or (kind == RemedyKind.FORGET and value != _SPEED):
        raise ProblemError(problem("remedy.unknown", word=word, known=", ".join(_FORMS)))
    remedy = Remedy(RemedyKind(kind), value, value)
    if remedy.changes_profile:
        if remedy.kind is not RemedyKind.KV_TYPE and not re.fullmatch(r"-?[0-9]{1,15}", value):
            raise ProblemError(problem("remedy.no_number", word=word))
        if remedy.kind is RemedyKind.KV_TYPE and value not in KV_TYPES[profile.engine]:
            types = ", ".join(sorted(KV_TYPES[profile.engine]))
            raise ProblemError(problem("remedy.value", word=word, allowed=types))
        try:
            msgspec.convert(msgspec.to_builtins(changed(profile, remedy)), Profile)
        except ValueError as error:  # msgspec's errors are such: "Expected `int` >= 256 - at `$.context`"
            allowed = str(error).partition(" - at ")[0].removeprefix("Expected `int` ")
            raise ProblemError(problem("remedy.value", word=word, allowed=allowed)) from None
    return remedy


def changes(profile: Profile, remedy: Remedy) -> dict[str, Value | None]:
    """What changes in the profile's file: keys with their new values, None for one that goes.

    A stated need goes with the values that it was measured at: for a GGUF model the header tells. vLLM's is the budget
    that it is given, whatever the context.

    Raises:
        ValueError: the value of a number is none.
    """
    if not remedy.changes_profile:
        return {}
    value = remedy.value if remedy.kind is RemedyKind.KV_TYPE else int(remedy.value)
    found: dict[str, Value | None] = {remedy.kind.value: value}
    return found | {"need": None} if profile.engine is Engine.LLAMA_SERVER and profile.need else found


def changed(profile: Profile, remedy: Remedy) -> Profile:
    """The profile with these changes. Raises ValueError for a value that is no such number or type."""
    found = changes(profile, remedy)
    kv_type = {"kv_type": KvType(remedy.value)} if "kv_type" in found else {}
    return msgspec.structs.replace(profile, **found | kv_type)


def at_gate(profile: Profile, report: GateReport, need: Need, same_port: Collection[str]) -> tuple[Remedy, ...]:
    """What would let the gate pass. Nothing where it refuses for another reason too.

    Args:
        need: bytes of VRAM per card that a start of a changed profile would be held against; empty if not known.
        same_port: ids of the profiles whose runs listen on the port of this one.
    """
    blocking = {check.id: check for check in report.blocking}
    if not blocking or blocking.keys() - _PORTS - {CheckId.VRAM}:
        return ()
    missing = 0
    if vram := blocking.get(CheckId.VRAM):
        if vram.status is not Status.FAILED:
            return ()
        missing = int(vram.message.params["missing_bytes"])
    if blocking.keys() & _PORTS:
        return tuple(
            _freeing(holder)
            for holder in report.holders
            if holder.kind is HolderKind.RUN and holder.key in same_port and (holder.bytes or 0) >= missing
        )[:OFFERED]
    return (*_frees(report.holders, missing), *_smaller(profile, need, report.free))[:OFFERED]


def after_failure(profile: Profile, why: Problem, need: Need, free: tuple[int, ...]) -> tuple[Remedy, ...]:
    """What would help after an engine died for want of memory, or was slower than it usually is.

    The second holds too where the PC is to be slower from now on, say with a power limit: without a baseline everything
    else still has to prove the run, and a low speed still marks it.

    Args:
        need: see `at_gate`. free: bytes of VRAM free on each card now that it is gone, empty if not known.
    """
    if why.code == "proof.speed_drop":
        return (Remedy(RemedyKind.FORGET, _SPEED, _SPEED),)
    if profile.engine is Engine.VLLM:
        return tuple(_workable(profile, why))
    before = need(profile)
    if why.code not in _OUT_OF_VRAM or not before or not free:
        return ()
    if any(now < then for now, then in zip(free, before, strict=True)):  # another program took it
        return tuple(_smaller(profile, need, free))[:OFFERED]
    # Our figure was short, by less than the one allocation that failed; of several cards it may have been any.
    wanted = why.params.get("wanted_bytes")
    if not isinstance(wanted, int):
        return ()
    return tuple(_smaller(profile, need, [each - wanted for each in before]))[:OFFERED]


def _frees(holders: tuple[Holder, ...], missing: int) -> list[Remedy]:
    """Ends of ours that are enough alone, Ollama's first; where none is, the largest, if all together are enough."""
    ours = [holder for holder in holders if holder.kind in (HolderKind.OLLAMA, HolderKind.RUN) and holder.bytes]
    enough = [holder for holder in ours if (holder.bytes or 0) >= missing]
    if not enough and sum(holder.bytes or 0 for holder in ours) >= missing:
        enough = ours[:1]
    return [_freeing(holder) for holder in sorted(enough, key=lambda holder: holder.kind is HolderKind.RUN)]


def _freeing(holder: Holder) -> Remedy:
    kind = RemedyKind.UNLOAD if holder.kind is HolderKind.OLLAMA else RemedyKind.STOP_RUN
    return Remedy(kind, holder.key, holder.name)


def _smaller(profile: Profile, need: Need, free: Sequence[int]) -> Iterator[Remedy]:
    """Changes of a llama-server profile with which it needs no more than `free` bytes of each card."""
    if profile.engine is not Engine.LLAMA_SERVER:
        return
    stated, plain = need(profile), need(msgspec.structs.replace(profile, need=None))
    if not stated or not plain:
        return
    # A profile that states more than the header tells knows something that a shorter context does not change.
    room = [card - (more - less) for card, more, less in zip(free, stated, plain, strict=True)]

    def fits(remedy: Remedy) -> bool:
        wanted = need(changed(profile, remedy))
        return bool(wanted) and all(part <= card for part, card in zip(wanted, room, strict=True))

    # Steps below the asked context that fit: the shorter, the less, so the longest one is found by halving.
    low, high = _SHORTEST // _STEP - 1, (profile.context - 1) // _STEP
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(_number(RemedyKind.CONTEXT, middle * _STEP)) else (low, middle - 1)
    if low >= _SHORTEST // _STEP:
        yield _number(RemedyKind.CONTEXT, low * _STEP)
    smaller_kv = Remedy(RemedyKind.KV_TYPE, KvType.Q8_0.value, KvType.Q8_0.value)
    if profile.kv_type in (KvType.AUTO, KvType.F16, KvType.BF16) and fits(smaller_kv):
        yield smaller_kv
    one_request = _number(RemedyKind.PARALLEL, 1)
    if profile.parallel > 1 and fits(one_request):
        yield one_request


def _workable(profile: Profile, why: Problem) -> Iterator[Remedy]:
    """The context that vLLM's own message names as the longest possible."""
    longest = why.params.get("max_len")
    if why.code in ("proof.kv_cache_too_small", "proof.context_too_long") and isinstance(longest, int):
        context = longest // _VLLM_STEP * _VLLM_STEP
        if _VLLM_SHORTEST <= context < profile.context:
            yield _number(RemedyKind.CONTEXT, context)


def _number(kind: RemedyKind, value: int) -> Remedy:
    return Remedy(kind, str(value), str(value))
