"""What the build wrote down about itself: `resources/build.json`, which a checkout does not have."""

from __future__ import annotations

import json
from dataclasses import dataclass

from kotaro_bridge.resources import resource


@dataclass(frozen=True, slots=True)
class BuildInfo:
    """A build.

    Args:
        commit: it was made of; feed: address of its release feed, "" for none.
        official: made by the release workflow on Windows; made_with: Python and system that made it.
    """

    version: str
    commit: str
    feed: str
    official: bool
    made_with: str


def build_info() -> BuildInfo | None:
    """None where this runs from source."""
    try:
        found = json.loads(resource("build.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return BuildInfo(
        str(found["version"]),
        str(found["commit"]),
        str(found["feed"]),
        bool(found["official"]),
        str(found["made_with"]),
    )
