"""Where the product keeps its files. Folders are made when they are first asked for, for this user alone (POSIX)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kotaro_bridge.domain.errors import ProblemError, problem

_NAME = "kotaro-bridge"
_KINDS = ("config", "state", "log", "cache")


@dataclass(frozen=True, slots=True)
class Paths:
    """The product's folders.

    Args:
        root: folder that holds all of them (a simulated PC, a test); None for the places of this user's system.
    """

    root: Path | None = None

    @classmethod
    def of_user(cls) -> Paths:
        """The places that the operating system has for this user."""
        return cls()

    @property
    def config(self) -> Path:
        """What a person may edit."""
        return self._folder("config")

    @property
    def profiles(self) -> Path:
        """The user's own profiles."""
        return _made(self.config / "profiles")

    @property
    def settings_file(self) -> Path:
        """The settings; may not exist, nor may its folder: asking for it leaves nothing behind."""
        return self.place("config") / "settings.toml"

    @property
    def state(self) -> Path:
        """Runs, history, the owner's lock."""
        return self._folder("state")

    @property
    def history(self) -> Path:
        """What runs were measured at; may not exist."""
        return self.state / "history.sqlite3"

    @property
    def starts(self) -> Path:
        """What starts took of the card; may not exist."""
        return self.state / "starts.sqlite3"

    @property
    def wslconfig_backups(self) -> Path:
        """What `.wslconfig` files were before a save."""
        return _made(self.state / "wslconfig-backups")

    @property
    def logs(self) -> Path:
        """Logs of engines and of the product."""
        return self._folder("log")

    @property
    def cache(self) -> Path:
        """What can be made again."""
        return self._folder("cache")

    @property
    def unfinished_downloads(self) -> Path:
        """What is remembered of downloads that are not done; may not exist."""
        return self.state / "downloads.json"

    @property
    def update_memory(self) -> Path:
        """What is remembered of newer versions; may not exist."""
        return self.state / "updates.json"

    @property
    def installers(self) -> Path:
        """Where installers of newer versions are downloaded to; may not exist."""
        return self.cache / "updates"

    def simulated(self, scenario: str) -> Path:
        """Folder of a simulated PC."""
        return _made(self.simulated_place(scenario))

    def simulated_place(self, scenario: str) -> Path:
        """Where that folder is, or would be."""
        return self.place("state") / "simulated" / scenario

    def simulations(self) -> tuple[str, ...]:
        """The scenarios of which there is a simulated PC."""
        folder = self.place("state") / "simulated"
        return tuple(sorted(each.name for each in folder.iterdir())) if folder.is_dir() else ()

    def existing(self) -> tuple[Path, ...]:
        """The product's own folders that are there, without those inside another one."""
        places = sorted({self.place(kind) for kind in _KINDS})
        there = [place for place in places if place.exists()]
        return tuple(
            place for place in there if not any(place.is_relative_to(other) for other in there if other != place)
        )

    def _folder(self, kind: str) -> Path:
        return _made(self.place(kind))

    def place(self, kind: str) -> Path:
        """Where the folder for `config`, `state`, `log` or `cache` is, or would be."""
        if self.root is not None:
            return self.root / kind
        import platformdirs

        return Path(getattr(platformdirs.PlatformDirs(_NAME, appauthor=False), f"user_{kind}_dir"))


def _made(folder: Path) -> Path:
    """The folder, made if it is not there.

    Raises:
        ProblemError: `storage.unusable` with `path` and `detail`.
    """
    lineage = [folder, *folder.parents]
    try:
        missing = next((at for at, path in enumerate(lineage) if path.exists()), len(lineage))
        for path in reversed(lineage[:missing]):
            path.mkdir(mode=0o700, exist_ok=True)
        if not folder.is_dir():
            raise NotADirectoryError(folder)
    except OSError as error:
        raise ProblemError(problem("storage.unusable", path=str(folder), detail=str(error))) from error
    return folder
