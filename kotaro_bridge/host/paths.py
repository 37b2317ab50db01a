"""Where the product keeps its files. Folders are made when they are first asked for, for this user alone (POSIX)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kotaro_bridge.domain.errors import ProblemError, problem

_NAME = "kotaro-bridge"


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
        """The settings; may not exist."""
        return self.config / "settings.toml"

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
    def update_memory(self) -> Path:
        """What is remembered of newer versions; may not exist."""
        return self.state / "updates.json"

    @property
    def installers(self) -> Path:
        """Where installers of newer versions are downloaded to; may not exist."""
        return self.cache / "updates"

    def simulated(self, scenario: str) -> Path:
        """Folder of a simulated PC."""
        return _made(self.state / "simulated" / scenario)

    def _folder(self, kind: str) -> Path:
        if self.root is not None:
            return _made(self.root / kind)
        import platformdirs

        places = platformdirs.PlatformDirs(_NAME, appauthor=False)
        return _made(Path(getattr(places, f"user_{kind}_dir")))


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
