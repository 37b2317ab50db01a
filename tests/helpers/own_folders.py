"""The variables that give a program a home of its own, so that nothing of the user's is read or written."""

from __future__ import annotations

from pathlib import Path


def own_folders(folder: Path) -> dict[str, str]:
    """Home and the folders for configuration, state, cache and data, below `folder`. On Windows the last four are one
    folder that platformdirs asks the shell for, unless it is told."""
    names = ("config", "state", "cache", "data")
    return {
        "HOME": str(folder),
        "USERPROFILE": str(folder),
        "WIN_PD_OVERRIDE_LOCAL_APPDATA": str(folder / "local"),
        **{f"XDG_{name.upper()}_HOME": str(folder / name) for name in names},
    }
