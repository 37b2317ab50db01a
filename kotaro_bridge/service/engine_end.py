"""Why an engine ended by itself: the kernel's word, its own, or at least how it ended. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kotaro_bridge.domain.engine.reasons import Reason, ReasonCode
from kotaro_bridge.domain.errors import Problem, problem
from kotaro_bridge.domain.ports import Exited
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.units import GIB
from kotaro_bridge.service.gatekeeper import Clearance
from kotaro_bridge.service.prover import reason_problem

KILL = 9
RAM_BESIDES_MODEL = 2 * GIB
"""For a loader that holds the whole model in RAM for a moment: the engine itself and the rest of the distro."""


def why_ended(
    event: Exited,
    cause: Reason | None,
    tail: Sequence[str],
    profile: Profile,
    clearance: Clearance | None,
    *,
    served: bool,
) -> Problem:
    """The reason of an end that nobody asked for.

    Args:
        cause: what the engine's log names as the cause.
        tail: the last lines of the log.
        served: the engine had been proved.
    """
    # vLLM prints a hundred lines of tracebacks behind the cause.
    proof = (cause.line,) if cause is not None and cause.line and cause.line not in tail else ()
    lines = (*proof, *tail)
    # Of vLLM's two processes the kernel picks the one that holds the memory; the other reports it and leaves in order.
    killed = event.signal == KILL or (cause is not None and cause.code is ReasonCode.ENGINE_KILLED)
    if killed and event.oom_kills:
        return replace(_out_of_ram(profile, clearance), evidence=lines)
    if cause is not None and served and cause.code is ReasonCode.OUT_OF_GPU_MEMORY:
        return problem("engine.out_of_vram", *lines, **cause.params)
    if cause is not None:
        return replace(reason_problem(cause), evidence=lines)
    if event.signal == KILL:
        return problem("engine.killed", *lines, signal=KILL)
    if event.signal is not None:
        return problem("engine.signalled", *lines, signal=event.signal)
    return problem("engine.exited", *lines, code=event.code or 0)


def _out_of_ram(profile: Profile, clearance: Clearance | None) -> Problem:
    """Linux killed the engine for want of RAM; with figures where target and model are known."""
    if profile.is_local:
        return problem("engine.out_of_ram_local")
    if clearance is None or clearance.model is None or clearance.memory is None or clearance.swap is None:
        return problem("engine.out_of_ram_unsized")
    model = clearance.model.data_offset + clearance.model.weights_total
    return problem(
        "engine.out_of_ram",
        memory_bytes=clearance.memory,
        swap_bytes=clearance.swap,
        model_bytes=model,
        wanted_bytes=model + RAM_BESIDES_MODEL,
    )
