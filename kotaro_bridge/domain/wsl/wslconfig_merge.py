"""Two people change one .wslconfig: their edits go together where they touch different keys. Pure rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kotaro_bridge.domain.wsl.wslconfig_document import Document
from kotaro_bridge.domain.wsl.wslconfig_values import Value


@dataclass(frozen=True, slots=True)
class KeyConflict:
    """A key that was edited here and changed outside. None: not set; a text that WSL refuses counts as not set."""

    key: str
    before: Value | None
    mine: Value | None
    theirs: Value | None


def key_changes(before: Document, after: Document) -> dict[str, Value | None]:
    """What `Document.with_edits` would have to do to the values of `before`, in the order of the new file."""
    old, new = before.reading.beyond, after.reading.beyond
    changed: dict[str, Value | None] = {key: value for key, value in new.items() if old.get(key) != value}
    return changed | {key: None for key in old if key not in new}


def key_conflicts(base: Document, mine: Mapping[str, Value | None], theirs: Document) -> tuple[KeyConflict, ...]:
    """The keys of `mine` that `theirs` has changed too, to something else.

    Args:
        base: what both started from; mine: edits of it, by key.
    """
    found = []
    for key, value in mine.items():
        before, outside = base.reading.beyond.get(key), theirs.reading.beyond.get(key)
        if _written(base, key) != _written(theirs, key) and outside != value:
            found.append(KeyConflict(key, before, value, outside))
    return tuple(found)


def _written(document: Document, key: str) -> str | None:
    """The value as it stands there: a text that WSL refuses may have changed too."""
    entry = document.entry(key)
    return None if entry is None else document.text[entry.value_start : entry.value_end]
