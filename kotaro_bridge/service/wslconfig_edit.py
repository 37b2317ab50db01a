"""Editing a .wslconfig, for the dialog and for the command line: edits are staged, judged, shown and then saved.

Owns the staging (by key and as raw text, both views of one document), what has to be confirmed before a save, and what
happens when the file changes outside meanwhile. The file itself is behind `domain.wslconfig_store`. Must not talk to
WSL: a restart and the proof after it are other use cases.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.wsl.wslconfig_advice import Lint, lint
from kotaro_bridge.domain.wsl.wslconfig_catalogue import BY_POLICY, MAIN_KEYS
from kotaro_bridge.domain.wsl.wslconfig_document import Caveat, Document, Encoding
from kotaro_bridge.domain.wsl.wslconfig_findings import Finding
from kotaro_bridge.domain.wsl.wslconfig_keys import KEY_TYPES, KeyType
from kotaro_bridge.domain.wsl.wslconfig_merge import KeyConflict, key_changes, key_conflicts
from kotaro_bridge.domain.wsl.wslconfig_recommend import (
    NOTHING_KNOWN,
    HostFacts,
    Recommendation,
    default_value,
    recommend,
)
from kotaro_bridge.domain.wsl.wslconfig_store import Backup, Snapshot, WslConfigStore
from kotaro_bridge.domain.wsl.wslconfig_values import Value, typed

_SAVE_TRIES = 10
_LINES = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


@dataclass(frozen=True, slots=True)
class Field:
    """One setting as a form shows it. None: not set, or not known.

    Args:
        value: with the staged edits; saved: on disk.
        default: what WSL takes without the key on this PC.
        main: one of those that a person with one card may need; the others are "All settings".
        by_policy: a policy of the computer can overrule it.
    """

    key: str
    kind: KeyType
    value: Value | None
    saved: Value | None
    default: Value | None
    recommended: Recommendation | None
    main: bool
    by_policy: bool
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A setting that differs between two files. None: not set."""

    key: str
    before: Value | None
    after: Value | None


@dataclass(frozen=True, slots=True)
class Saved:
    """The file is as it was asked for.

    Args:
        written: False where it was so already.
        changes: what differs from what was on disk.
    """

    written: bool
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Clash:
    """The file was changed outside, and both cannot be had. Nothing was written; `Editor.resolve` decides.

    Args:
        keys: settings that both sides changed; empty where the raw text was edited and no merge by key can be made.
        theirs: the file as it is now, read from `snapshot`.
    """

    keys: tuple[KeyConflict, ...]
    theirs: Document
    snapshot: Snapshot


class Editor:
    """One file that is being edited. Not safe for threads.

    The text shown is always `draft` (the file, or a raw text that was typed) with the staged edits by key on top.

    Args:
        facts: of the PC, for defaults, recommendations and advice.

    Raises:
        ProblemError: the file cannot be read.
    """

    def __init__(self, store: WslConfigStore, facts: HostFacts = NOTHING_KNOWN) -> None:
        self._store = store
        self._facts = facts
        self._snapshot = store.read()
        self._base = self._draft = self._current = self._loaded(self._snapshot)
        self._staged: dict[str, Value | None] = {}
        self._confirmed = False
        self._lint: tuple[Document, Lint] | None = None

    # What is there

    @property
    def name(self) -> str:
        """The file's path."""
        return self._store.name

    @property
    def exists(self) -> bool:
        """False if there was no file when it was last read."""
        return self._snapshot.data is not None

    @property
    def saved(self) -> Document:
        """The file as it was last read or written."""
        return self._base

    @property
    def document(self) -> Document:
        """With everything that is staged."""
        return self._current

    @property
    def text(self) -> str:
        """The raw view. Bytes that are no text are lone surrogates in it."""
        return self._current.text

    @property
    def dirty(self) -> bool:
        """True if there is something to save."""
        return self._current.data != self._base.data

    def lint(self) -> Lint:
        """Everything there is to say of what is staged."""
        if self._lint is None or self._lint[0] is not self._current:
            self._lint = self._current, lint(self._current, self._facts)
        return self._lint[1]

    def field(self, key: str) -> Field:
        """One setting, by canonical name."""
        values = self._current.config.values
        return Field(
            key=key,
            kind=KEY_TYPES[key],
            value=values.get(key),
            saved=self._base.config.values.get(key),
            default=default_value(key, values, self._facts),
            recommended=recommend(key, values, self._facts),
            main=key in MAIN_KEYS,
            by_policy=key in BY_POLICY,
            findings=tuple(finding for finding in self.lint().advice if finding.key == key),
        )

    def fields(self) -> tuple[Field, ...]:
        """All settings, the main ones first."""
        return tuple(self.field(key) for key in (*MAIN_KEYS, *(key for key in KEY_TYPES if key not in MAIN_KEYS)))

    def findings_at(self, line: int) -> tuple[Finding, ...]:
        """Advice about a line of the raw view, counted from 1."""
        return tuple(finding for finding in self.lint().advice if finding.line == line)

    def changes(self) -> tuple[Change, ...]:
        """What a save would change, by key. A change of comments alone is none."""
        return changes_between(self._base, self._current)

    def diff(self) -> tuple[str, ...]:
        """What a save would change, as the lines of a unified diff."""
        return unified_diff(self._base, self._current)

    @property
    def caveats(self) -> tuple[Caveat, ...]:
        """What the owner has to confirm before a save; empty where nothing is strange, or it was confirmed by
        `convert` or `restore`."""
        return () if self._confirmed else self._current.caveats

    # Staging

    def set(self, key: str, text: str) -> None:
        """Stage a value as a person types it; an empty one resets the key.

        Args:
            key: canonical name.

        Raises:
            ProblemError: WSL would not take the value for what it looks like; nothing is staged.
        """
        self.stage({key: typed(key, text)})

    def reset(self, key: str) -> None:
        """Stage that a key goes back to its default: its lines go."""
        self.stage({key: None})

    def undo(self, key: str) -> None:
        """Take a key back to what is on disk, also to a line there that WSL refuses."""
        self._staged.pop(key, None)
        saved = self._base.config.values.get(key)
        self.stage({} if self._draft.config.values.get(key) == saved else {key: saved})

    def stage(self, edits: Mapping[str, Value | None]) -> None:
        """Stage values by canonical name. One that is in the file already leaves the stage by itself."""
        self._staged |= edits
        self._staged = {
            key: value for key, value in self._staged.items() if self._draft.edited(key, value) is not self._draft
        }
        self._current = self._draft.with_edits(self._staged)

    def set_text(self, text: str) -> None:
        """Stage a raw text; it holds what was staged by key, and takes its place."""
        self._redraft(self._current.with_text(text))

    def convert(self) -> bool:
        """Stage the same text as UTF-8 without BOM; calling this is the owner's word for it.

        Returns:
            False if it is not text of any known encoding: nothing was staged.
        """
        converted = self._current.converted()
        if converted is not self._current:
            self._redraft(converted)
            self._confirmed = True
        return self._current.encoding is Encoding.UTF8

    def restore(self, backup_id: str) -> None:
        """Stage what a backup holds, byte for byte.

        Raises:
            ProblemError: there is no such backup.
        """
        self._redraft(self.stored(backup_id))
        self._confirmed = True

    def backups(self) -> tuple[Backup, ...]:
        """What can be restored, the newest first.

        Raises:
            ProblemError: the folder of backups cannot be read.
        """
        return self._store.backups()

    def stored(self, backup_id: str) -> Document:
        """What a backup holds.

        Raises:
            ProblemError: there is no such backup.
        """
        return Document(self._store.backup(backup_id), self.name)

    def discard(self) -> None:
        """Drop everything that is staged."""
        self._redraft(self._base)

    def _redraft(self, draft: Document) -> None:
        self._draft = self._current = draft
        self._staged = {}
        self._confirmed = False

    # Saving

    def save(self, *, anyway: bool = False) -> Saved | Clash:
        """Write what is staged. A change from outside is merged by key where that is possible.

        Args:
            anyway: the owner's word for `caveats`. A file that WSL cannot read at all has to be converted instead.

        Raises:
            ProblemError: `wslconfig.caveat` codes without that word; the file cannot be written, and is as it was.
        """
        for _ in range(_SAVE_TRIES):
            clash = self.refresh()
            if clash is not None:
                return clash
            changes = self.changes()
            if not self.dirty:
                return Saved(False, ())
            self._ask(anyway)
            written = self._store.replace(self._current.data, self._snapshot.fingerprint)
            if written is not None:
                self._snapshot = written
                self._base = self._loaded(written)
                self._redraft(self._base)
                return Saved(True, changes)
        raise ProblemError(problem("wslconfig.busy", path=self.name))

    def refresh(self) -> Clash | None:
        """Look whether the file was changed outside, and take that over: what is staged stays staged on top of it.

        Returns:
            None if nothing stands in the way; a clash where both sides changed the same. Then nothing is taken over.

        Raises:
            ProblemError: the file cannot be read.
        """
        now = self._store.read()
        if now == self._snapshot:
            return None
        theirs = self._loaded(now)
        if theirs.data == self._current.data:
            self._rebase(now, theirs, {})
            return None
        edits = self._edits_by_key()
        if edits is None:
            return Clash((), theirs, now)
        conflicts = key_conflicts(self._base, edits, theirs)
        if conflicts:
            return Clash(conflicts, theirs, now)
        self._rebase(now, theirs, edits)
        return None

    def resolve(self, clash: Clash, mine: Collection[str] = (), *, my_text: bool = False) -> None:
        """Decide a clash: go on from the file as it is now.

        Args:
            mine: keys whose staged value is kept; of the others that clash, theirs is.
            my_text: for a clash of raw text: keep the whole text that is staged, in place of theirs.
        """
        text, edits = self._current, self._edits_by_key() or {}
        against = {conflict.key for conflict in clash.keys} - set(mine)
        self._rebase(clash.snapshot, clash.theirs, {key: value for key, value in edits.items() if key not in against})
        if my_text:
            self._redraft(text)

    def _edits_by_key(self) -> dict[str, Value | None] | None:
        """What is staged as edits of the file by key; None if it is more than that."""
        if self._draft is self._base:
            return self._staged
        edits = key_changes(self._base, self._current)
        return edits if self._base.with_edits(edits).data == self._current.data else None

    def _rebase(self, snapshot: Snapshot, base: Document, edits: Mapping[str, Value | None]) -> None:
        self._snapshot, self._base = snapshot, base
        self._redraft(base)
        self.stage(edits)

    def _ask(self, anyway: bool) -> None:
        for caveat in self.caveats:
            if caveat is Caveat.UTF16_UNREAD or not anyway:
                raise ProblemError(problem(f"wslconfig.caveat.{caveat}", path=self.name))

    def _loaded(self, snapshot: Snapshot) -> Document:
        return Document(snapshot.data or b"", self.name)


def changes_between(before: Document, after: Document) -> tuple[Change, ...]:
    """The settings that differ, in the order of the new file."""
    old = before.reading.beyond
    return tuple(Change(key, old.get(key), value) for key, value in key_changes(before, after).items())


def unified_diff(before: Document, after: Document) -> tuple[str, ...]:
    """The lines of a unified diff, without their ends; a line that lost or won its end is a changed one."""
    old, new = _LINES.findall(before.text), _LINES.findall(after.text)
    shown: list[str] = []
    import difflib  # with the window that shows it

    for line in difflib.unified_diff(old, new, before.file, after.file):
        shown.append(line.rstrip("\r\n"))
        if line[:1] in "+- " and not line.endswith(("\r", "\n")):
            shown.append("\\ No newline at end of file")
    return tuple(shown)
