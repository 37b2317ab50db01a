"""How much of a card could be free if a person closed what can be closed. Pure rules over `holders`."""

from __future__ import annotations

from collections.abc import Iterable

from kotaro_bridge.domain.run.holders import Holder, HolderKind

# The desktop itself and what Windows starts again at once. Names as the simulated PC and Task Manager show them; the
# list is not complete, so what is called closable is a little too much on some PCs.
_WINDOWS_OWN = frozenset(
    {
        "applicationframehost.exe",
        "csrss.exe",
        "ctfmon.exe",
        "dwm.exe",
        "explorer.exe",
        "lockapp.exe",
        "logonui.exe",
        "runtimebroker.exe",
        "searchhost.exe",
        "shellexperiencehost.exe",
        "shellhost.exe",
        "sihost.exe",
        "startmenuexperiencehost.exe",
        "system",
        "textinputhost.exe",
        "winlogon.exe",
    }
)


def closable(holders: Iterable[Holder]) -> tuple[Holder, ...]:
    """Those that a person can end, in their order; a holder of unknown size is none of them."""
    return tuple(
        holder
        for holder in holders
        if holder.bytes and not (holder.kind is HolderKind.PROCESS and holder.name.lower() in _WINDOWS_OWN)
    )


def enough_of(holders: Iterable[Holder], missing_bytes: int) -> tuple[Holder, ...]:
    """The fewest that free so much, the largest first; none if all together do not."""
    chosen: list[Holder] = []
    for holder in sorted(holders, key=lambda each: -(each.bytes or 0)):
        if missing_bytes <= 0:
            break
        chosen.append(holder)
        missing_bytes -= holder.bytes or 0
    return tuple(chosen) if missing_bytes <= 0 else ()
