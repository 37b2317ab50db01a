"""A run's state as words and a look, for tray, list and dashboard alike.

Owns which state the tray shows when there are several runs. Must not import Qt.
"""

from __future__ import annotations

from collections.abc import Iterable

from kotaro_bridge.domain.errors import Problem
from kotaro_bridge.domain.gpu import GpuSnapshot, cards_at, together
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.run_state import RESTING, SERVING, Phase
from kotaro_bridge.domain.run.run_view import RunView, Sample, Throughput
from kotaro_bridge.domain.run.speed import slow_notice
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
    """The picture of a phase in which all is well."""
    return _LOOKS[phase]


def look_of_run(view: RunView) -> Look:
    """The picture of a run: one that serves and is not proved does not look ready."""
    return Look.ATTENTION if is_warned(view) or is_slow(view) else look_of(view.phase)


def leading(views: Iterable[RunView]) -> RunView | None:
    """The run that the tray speaks of: the most urgent live one, else the last that came to rest; None if none ran."""
    known = [view for view in views if view.phase is not Phase.IDLE]
    live = [view for view in known if view.phase not in RESTING]
    if live:
        return min(live, key=lambda view: (_URGENCY.index(look_of_run(view)), -view.since))
    return max(known, key=lambda view: view.since, default=None)


def can_stop(phase: Phase) -> bool:
    """True where a click means stop (or, for what is left over, stop again); at rest it means start."""
    return phase not in RESTING


def is_live(phase: Phase) -> bool:
    """True while a request can be answered."""
    return phase in SERVING


def is_warned(view: RunView) -> bool:
    """True while it serves although the watch found that the proof no longer holds."""
    return view.warning is not None and is_live(view.phase)


def is_slow(view: RunView) -> bool:
    """True while it serves far below what the card can do, and nothing says that this is usual."""
    return view.speed is not None and view.speed.slow and is_live(view.phase)


def reason_of(view: RunView) -> Problem | None:
    """What the banner over the numbers says: why it is not proved, or why it did not run; None if all is well."""
    if is_warned(view):
        return view.warning
    return slow_notice(view.speed) if view.speed is not None and is_live(view.phase) else view.problem


def is_proved_again(view: RunView) -> bool:
    """True while a run that was proved before has to be proved again: only a proof measures a speed."""
    return view.phase is Phase.PROVING and view.speed is not None


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
    time = clock(now - view.since)
    if is_warned(view):
        return texts.text("ui.warned.state", time=time)
    if is_proved_again(view):
        return texts.text("ui.state.proving_again", time=time)
    line = texts.text(f"ui.state.{view.phase}", time=time)
    return f"{line} · {texts.text('ui.slow.mark')}" if is_slow(view) else line


def state_word(texts: Texts, view: RunView) -> str:
    """`Ready`."""
    if is_warned(view):
        return texts.text("ui.warned.word")
    return texts.text("ui.slow.word" if is_slow(view) else f"ui.phase.{view.phase}")


def card_of(sample: Sample | None, indices: tuple[int, ...]) -> GpuSnapshot | None:
    """The cards with these indices as one, if the driver answered."""
    return together(cards_at(sample.gpus, indices)) if sample else None


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
        memory = memory_words(texts, card_of(sample, (0,)))
        return texts.text("ui.tray.nothing") + (f" · {memory}" if memory else "")
    parts = [state_word(texts, view)]
    rate = throughput_of(sample, profile.id)
    if is_live(view.phase) and rate is not None and rate.generation_tps is not None:
        parts.append(texts.text("ui.rate", rate=rate_digits(rate.generation_tps)))
    memory = memory_words(texts, card_of(sample, profile.gpus))
    if memory:
        parts.append(memory)
    return f"{profile.title} · " + " · ".join(parts)


def rate_digits(tokens_per_s: float) -> str:
    """`0`, `3.4`, `38`: two significant digits are what a live rate is worth."""
    return f"{tokens_per_s:.1f}" if 0 < tokens_per_s < 10 else f"{tokens_per_s:.0f}"
