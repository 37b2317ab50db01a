"""The built-in profiles and the catalogue speak of the same models: they must not contradict each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from kotaro_bridge.domain.model.catalogue import CatalogueEntry
from kotaro_bridge.domain.planning.plan import plan, request_of
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.host.catalogue_store import load_catalogue
from kotaro_bridge.host.profile_store import load_profiles

MOST_APART = 0.04
"""Of what a profile states: those that were computed have 3 % on top of what was known then."""

BUILTIN = load_profiles(Path("/nowhere"))[0]


def entry_of(profile: Profile) -> CatalogueEntry:
    """The entry whose repository, or whose model and quantization, the profile's path ends with."""
    name = profile.model.rsplit("/", 1)[-1].removesuffix(".gguf").lower()
    (found,) = (
        entry
        for entry in load_catalogue()
        if entry.engine is profile.engine and name in (entry.id, entry.repository.rsplit("/", 1)[-1].lower())
    )
    return found


@pytest.mark.parametrize("profile", BUILTIN, ids=[profile.id for profile in BUILTIN])
def test_what_a_profile_states_is_what_the_catalogue_is_planned_with(profile: Profile) -> None:
    entry = entry_of(profile)
    found = plan(entry.planned, request_of(profile), None)
    stated = profile.stated_need
    assert stated is not None
    assert abs((found.needed_budget or found.total) / stated - 1) <= MOST_APART
    assert profile.sees_images == entry.sees_images


def test_the_catalogue_is_read_once() -> None:
    assert load_catalogue() is load_catalogue()
