"""Profiles as lists and menus show them: grouped by engine, in the supervisor's order otherwise. Must not import Qt."""

from __future__ import annotations

from collections.abc import Iterable

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.texts import Texts


def by_engine(profiles: Iterable[Profile]) -> dict[Engine, list[Profile]]:
    """Profiles under their engines; the engine of the first profile comes first."""
    groups: dict[Engine, list[Profile]] = {}
    for profile in profiles:
        groups.setdefault(profile.engine, []).append(profile)
    return groups


def short_title(texts: Texts, profile: Profile) -> str:
    """The title without the engine's name behind it, for places where that stands above."""
    return profile.title.removesuffix(f" ({texts.text(f'ui.engine.{profile.engine}')})")
