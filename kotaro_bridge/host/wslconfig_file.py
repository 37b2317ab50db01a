"""A .wslconfig on disk: read whole, replaced whole or not at all, with a dated backup of what it was.

Implements `domain.wslconfig_store.WslConfigStore`. A save writes a temporary file beside the real one in one write,
syncs it and puts it in the place of the old one: whoever reads, and whoever is killed, sees the old or the new file.
Instances of this program save one after the other (a lock), and none over a file that it has not seen (a fingerprint).
Must not know what is in the file.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.wsl.wslconfig_store import Backup, Snapshot
from kotaro_bridge.host.disk import patiently, sync_folder

KEPT_BACKUPS = 20
_MAX_BYTES = 16 << 20
_PATIENCE_S = 5.0
_PAUSE_S = 0.02
_BACKUP = re.compile(r"\d{8}T\d{12}Z\Z", re.ASCII)
_STAMP = "%Y%m%dT%H%M%S%fZ"
_TEMPORARY = ".kotaro-bridge-tmp"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}


class _HeldError(PermissionError):
    """Another program keeps the file open in a way that forbids its replacement (Windows)."""


class WslConfigFile:
    """One file and its backups.

    Args:
        path: may be a link, may not exist; backups: folder of the product's own, a folder in it for each file.
        name: how the file is called in sentences; its path without it.
        patience_s: how long another instance may take to save.
        now: the time, with its zone.
    """

    def __init__(
        self,
        path: Path,
        backups: Path,
        *,
        name: str | None = None,
        patience_s: float = _PATIENCE_S,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._path = path
        self._name = name or str(path)
        self._patience_s = patience_s
        self._now = now
        mark = hashlib.sha256(_identity(path).encode("utf-8", "surrogatepass")).hexdigest()[:16]
        self._folder = backups / mark

    @property
    def name(self) -> str:
        """See `WslConfigStore.name`."""
        return self._name

    def read(self) -> Snapshot:
        """See `WslConfigStore.read`."""
        try:
            data = patiently(self._bytes)
        except FileNotFoundError:
            return Snapshot(None)
        except OSError as error:
            raise ProblemError(problem("wslconfig.unreadable", path=self._name, detail=_words(error))) from error
        if len(data) > _MAX_BYTES:
            raise ProblemError(problem("wslconfig.too_big", path=self._name, most_bytes=_MAX_BYTES))
        return Snapshot(data)

    def _bytes(self) -> bytes:
        if not stat.S_ISREG(self._path.stat().st_mode):  # a pipe would be waited for without end
            raise ProblemError(problem("wslconfig.not_a_file", path=self._name))
        with self._path.open("rb") as file:
            return file.read(_MAX_BYTES + 1)

    def changed_at(self) -> float | None:
        """See `WslConfigStore.changed_at`."""
        try:
            return self._path.stat().st_mtime
        except OSError:
            return None

    def replace(self, data: bytes, expected: str) -> Snapshot | None:
        """See `WslConfigStore.replace`."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked():
                current = self.read()
                if current.fingerprint != expected:
                    return None
                real = Path(os.path.realpath(self._path))
                _sweep(real.parent, real.name)
                _sweep(self._folder)
                status = self._writable(real)
                if current.data is not None:
                    self._keep(current.data)
                _put(real, data, status)
        except OSError as error:
            raise ProblemError(self._why(error)) from error
        return Snapshot(data)

    def backups(self) -> tuple[Backup, ...]:
        """See `WslConfigStore.backups`."""
        try:
            found = [(path.name, path.stat().st_size) for path in self._folder.glob("*Z") if _BACKUP.match(path.name)]
        except OSError as error:
            raise ProblemError(problem("storage.unusable", path=str(self._folder), detail=_words(error))) from error
        stamps = sorted(found, reverse=True)
        return tuple(Backup(name, datetime.strptime(name, _STAMP).replace(tzinfo=UTC), size) for name, size in stamps)

    def backup(self, backup_id: str) -> bytes:
        """See `WslConfigStore.backup`."""
        if not _BACKUP.match(backup_id):
            raise ProblemError(problem("wslconfig.no_backup", path=self._name, id=backup_id))
        try:
            return (self._folder / backup_id).read_bytes()
        except OSError as error:
            raise ProblemError(problem("wslconfig.no_backup", path=self._name, id=backup_id)) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Be the only instance that saves this file. Raises ProblemError if another one does not come to its end."""
        deadline = time.monotonic() + self._patience_s
        with (self._folder / "lock").open("a+b") as lock:
            while not _try_lock(lock.fileno()):
                if time.monotonic() > deadline:
                    raise ProblemError(problem("wslconfig.busy", path=self._name))
                time.sleep(_PAUSE_S)
            yield

    def _writable(self, real: Path) -> os.stat_result | None:
        """What the new file takes over from the old one; None if there is none. Raises ProblemError if the old one must
        not be replaced: its folder may allow that although the file itself does not."""
        try:
            status = real.stat()
        except FileNotFoundError:
            return None
        if not status.st_mode & stat.S_IWUSR or not _may_write(real):
            raise ProblemError(problem("wslconfig.read_only", path=self._name))
        if status.st_nlink > 1:
            raise ProblemError(problem("wslconfig.hard_links", path=self._name, count=status.st_nlink))
        return status

    def _keep(self, data: bytes) -> None:
        """Make a backup, unless the newest one is the same, and let the oldest ones go."""
        kept = [backup.id for backup in self.backups()]
        if not kept or (self._folder / kept[0]).read_bytes() != data:
            made = self._now().astimezone(UTC).strftime(_STAMP)
            _put(self._folder / made, data, None)
            kept = [made, *(name for name in kept if name != made)]
        for name in kept[KEPT_BACKUPS:]:
            _let_go(self._folder / name)

    def _why(self, error: OSError) -> Problem:
        if isinstance(error, _HeldError):
            return problem("wslconfig.held", path=self._name)
        if error.errno in _FULL:
            return problem("wslconfig.disk_full", path=self._name, detail=_words(error))
        if error.errno in _REFUSED:
            return problem("wslconfig.read_only", path=self._name)
        return problem("wslconfig.not_saved", path=self._name, detail=_words(error))


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _identity(path: Path) -> str:
    """One word for all spellings of a path. What is wrong with a path is for `read` to tell."""
    try:
        real = os.path.realpath(path)
    except OSError:  # Windows: a name that is too long, a disk that is locked
        real = os.path.abspath(path)
    return os.path.normcase(real)


def _may_write(path: Path) -> bool:
    """False if the file's own permissions forbid it. On Windows `os.access` knows the read-only mark alone."""
    if sys.platform != "win32":
        return os.access(path, os.W_OK)
    import pywintypes
    import win32con
    import win32file
    import winerror

    shared = win32con.FILE_SHARE_READ | win32con.FILE_SHARE_WRITE | win32con.FILE_SHARE_DELETE
    try:
        win32file.CreateFile(str(path), win32con.GENERIC_WRITE, shared, None, win32con.OPEN_EXISTING, 0, None).Close()
    except pywintypes.error as error:
        return bool(error.winerror != winerror.ERROR_ACCESS_DENIED)  # held by another program: `_swap` waits for it
    return True


def _sweep(folder: Path, name: str = "") -> None:
    """Remove what killed saves left: of the file `name`, or of any. The lock makes sure that nobody is at it."""
    for left in folder.glob(f"{glob.escape(name)}*{_TEMPORARY}"):
        _let_go(left)


def _let_go(path: Path) -> None:
    """Remove a file that nobody needs. One that is open elsewhere goes with a later save."""
    with contextlib.suppress(OSError):
        path.unlink()


def _put(path: Path, data: bytes, like: os.stat_result | None) -> None:
    """Write a file whole or not at all.

    Args:
        like: whose permissions it gets; those of a new file, for this user alone, without it.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_TEMPORARY}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        if like is not None:
            _take_over(temporary, path, like)
        _swap(temporary, path)
    except OSError:
        _let_go(temporary)
        raise
    sync_folder(path.parent)


def _take_over(temporary: Path, path: Path, like: os.stat_result) -> None:
    """Give the new file the permissions of the old one, and on Windows its mark of a hidden or a system file."""
    if sys.platform == "win32":
        _copy_dacl(path, temporary)
        marks = like.st_file_attributes & (stat.FILE_ATTRIBUTE_HIDDEN | stat.FILE_ATTRIBUTE_SYSTEM)
        if marks:
            import win32api

            win32api.SetFileAttributes(str(temporary), marks)
    else:
        made = temporary.stat()
        if (made.st_uid, made.st_gid) != (like.st_uid, like.st_gid):
            os.chown(temporary, like.st_uid, like.st_gid)
        temporary.chmod(stat.S_IMODE(like.st_mode))


def _copy_dacl(source: Path, target: Path) -> None:
    """Give a file the access list of another one. What it inherited already is left as it is: a list that is set no
    longer counts as inherited. Raises OSError."""
    if sys.platform == "win32":
        import pywintypes
        import win32security

        kind = win32security.DACL_SECURITY_INFORMATION
        words = win32security.ConvertSecurityDescriptorToStringSecurityDescriptor
        try:
            wanted = win32security.GetFileSecurity(str(source), kind)
            there = win32security.GetFileSecurity(str(target), kind)
            if words(wanted, 1, kind) != words(there, 1, kind):
                win32security.SetFileSecurity(str(target), kind, wanted)
        except pywintypes.error as error:
            raise OSError(None, error.strerror, str(source), error.winerror) from error


def _swap(temporary: Path, path: Path) -> None:
    """Put the new file in the place of the old one. Raises _HeldError where another program does not let go of it."""
    try:
        patiently(lambda: temporary.replace(path))
    except PermissionError as error:
        if sys.platform == "win32":  # the file and its folder may be written: that was tried before
            raise _HeldError(error.errno, error.strerror, str(path)) from error
        raise


def _words(error: OSError) -> str:
    return error.strerror or str(error)
