"""What would make a refused or failed start work: changes that one click applies. Pure data and rules."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class RemedyKind(StrEnum):
    """What is changed. The first three change the profile; the others free video memory."""

    CONTEXT = "context"
    KV_TYPE = "kv_type"
    PARALLEL = "parallel"
    STOP_RUN = "stop"
    UNLOAD = "unload"


@dataclass(frozen=True, slots=True)
class Remedy:
    """One change.

    Args:
        value: the new value, the id of the profile to stop, or the model that Ollama is to unload.
        name: what the button calls it: the value, the other profile's title, the model.
    """

    kind: RemedyKind
    value: str
    name: str = ""

    @property
    def word(self) -> str:
        """How the command line names it, such as `context=6144`."""
        return f"{self.kind}={self.value}"
