"""Who holds video memory, in words that a person can act on. Pure data; who is asked is `service/holders.py`'s."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class HolderKind(StrEnum):
    """What holds memory. RUN and OLLAMA can be ended from here, PROCESS and DISTRO only by the person."""

    PROCESS = "process"
    RUN = "run"
    OLLAMA = "ollama"
    DISTRO = "distro"


@dataclass(frozen=True, slots=True)
class Holder:
    """One holder.

    Args:
        name: as a person knows it: the program, the profile's title, the model, the distro.
        bytes: of video memory; None where nobody tells (a distro's share is in no counter).
        key: what names it to us: the profile's id, or the model as Ollama names it; empty for the others.
    """

    kind: HolderKind
    name: str
    bytes: int | None
    key: str = ""
