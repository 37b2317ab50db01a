"""A run's state as words and a look, for tray, list and dashboard alike.

Owns which state the tray shows when there are several runs. Must not import Qt.
"""

from __future__ import annotations

from collections.abc import Iterable

from kotaro_bridge.domain.gpu import GpuSnapshot
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run_state import RESTING, SERVING, Phase
from kotaro_bridge.domain.run_view import RunView, Sample, Throughput
from kotaro_bridge.domain.units import format_gib
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.view_models.look import Look

_LOOKS = {
    Phase.IDLE: Look.IDLE,
    Phase.CHECKING: Look.WORKING,
    Phase.REFUSED: Look.ALERT,
    Phase.LAUNCHING: Look.WORKING,
    Phase.LOADING: Look.WORKING,
    Phase.PROVING: Look.WORKING,
    Phase.READY: Look.READY,
    Phase.UNRESPONSIVE: Look.ATTENTION,
    Phase.STOPPING: Look.STOPPING,
    Phase.KILLING: Look.STOPPING,
    Phase.STOPPED: Look.IDLE,
    Phase.FAILED: Look.ALERT,
    Phase.ORPHANED: Look.ATTENTION,
}

_URGENCY = (Look.ATTENTION, Look.STOPPING, Look.WORKING, Look.READY)
"""Among runs that are not at rest, the first of these is what the tray shows."""


def look_of(phase: Phase) -> Look:
    """The picture of a phase."""
    return _LOOKS[phase]


def leading(views: Iterable[RunView]) -> RunView | None:
    """The run that the tray speaks of: the most urgent live one, else the last that came to rest; None if none ran."""
    known = [view for view in views if view.phase is not Phase.IDLE]
    live = [view for view in known if view.phase not in RESTING]
    if live:
        return min(live, key=lambda view: (_URGENCY.index(look_of(view.phase)), -view.since))
    return max(known, key=lambda view: view.since, default=None)


def can_stop(phase: Phase) -> bool:
    """True where a click means stop (or, for what is left over, stop again); at rest it means start."""
    return phase not in RESTING


def is_live(phase: Phase) -> bool:
    """True while a request can be answered."""
    return phase in SERVING


def is_blocked(phase: Phase) -> bool:
    """True for the states that the block dialog explains."""
    return phase in (Phase.REFUSED, Phase.FAILED, Phase.ORPHANED)


def simulated_words(texts: Texts, scenario: str) -> str:
    """`Simulated PC: rtx4070-12gb`."""
    return texts.text("ui.simulated", scenario=scenario)


def clock(seconds: float) -> str:
    """`0:07`, `12:03`, `1:02:03`."""
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def state_line(texts: Texts, view: RunView, now: float) -> str:
    """`Ready for 12:03`; `now` in seconds since the epoch."""
    return texts.text(f"ui.state.{view.phase}", time=clock(now - view.since))


def phase_word(texts: Texts, phase: Phase) -> str:
    """`Ready`."""
    return texts.text(f"ui.phase.{phase}")


def card_of(sample: Sample | None, index: int) -> GpuSnapshot | None:
    """The card with this index, if the driver answered."""
    return next((gpu for gpu in sample.gpus if gpu.index == index), None) if sample else None


def throughput_of(sample: Sample | None, profile_id: str) -> Throughput | None:
    """The token rates of a run, if they were read."""
    return next((rate for rate in sample.throughput if rate.profile_id == profile_id), None) if sample else None


def memory_words(texts: Texts, card: GpuSnapshot | None) -> str | None:
    """`10.4 of 12.0 GiB`, or None where the card did not tell."""
    if card is None or card.used is None:
        return None
    return texts.text("ui.used_of_total", used=f"{card.used / 2**30:.1f}", total=format_gib(card.total))


def status_line(texts: Texts, profile: Profile | None, view: RunView | None, sample: Sample | None) -> str:
    """`Qwen2.5 14B: ready, 38 tok/s, 10.4 of 12.0 GiB`: one line for the tray's menu and tooltip."""
    if profile is None or view is None:
        memory = memory_words(texts, card_of(sample, 0))
        return texts.text("ui.tray.nothing") + (f" · {memory}" if memory else "")
    parts = [phase_word(texts, view.phase)]
    rate = throughput_of(sample, profile.id)
    if is_live(view.phase) and rate is not None and rate.generation_tps is not None:
        parts.append(texts.text("ui.rate", rate=rate_digits(rate.generation_tps)))
    memory = memory_words(texts, card_of(sample, profile.gpu))
    if memory:
        parts.append(memory)
    return f"{profile.title} · " + " · ".join(parts)


def rate_digits(tokens_per_s: float) -> str:
    """`0`, `3.4`, `38`: two significant digits are what a live rate is worth."""
    return f"{tokens_per_s:.1f}" if 0 < tokens_per_s < 10 else f"{tokens_per_s:.0f}"
