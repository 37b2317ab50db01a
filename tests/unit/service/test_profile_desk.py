"""Profiles as a person edits them: on real files, beside a real supervisor, on a machine by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.planning.plan import GgufPlanned
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.profile_form import form_keys
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.host.catalogue_store import load_catalogue
from kotaro_bridge.host.profile_store import ProfileFolder, load_profiles, new_text
from kotaro_bridge.service.bus import Bus
from kotaro_bridge.service.profile_desk import ProfileDesk
from kotaro_bridge.service.supervisor import Supervisor
from tests.helpers.machine import LLAMA, MODEL, QUICK, VLLM, Heard, LogPart, Machine

BUILTIN = "qwen2.5-14b-q4_k_m"


class Desk:
    """The desk and what it works with."""

    def __init__(self, folder: Path) -> None:
        self.machine, self.bus = Machine(), Bus()
        self.heard = Heard(self.bus)
        self.files = ProfileFolder(folder)
        self.files.create(LLAMA.id, new_text(form_keys(LLAMA)))
        profiles = load_profiles(folder)
        ports = self.machine.ports
        self.supervisor = Supervisor(ports, self.bus, profiles, lambda *_: LogPart(), lambda _: QUICK, store=self.files)
        self.desk = ProfileDesk(
            ports, self.supervisor, self.files, new_text, load_catalogue, lambda: (), lambda: "wsl:"
        )


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "profiles")
    yield made
    made.machine.target.open.set()
    made.supervisor.close()


def code_of(call: object, *args: object) -> str:
    with pytest.raises(ProblemError) as caught:
        call(*args)  # type: ignore[operator]
    return caught.value.problem.code


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_save_is_known_at_once_and_not_over_another_change(at: Desk) -> None:
    opened = at.desk.opened("llama")
    assert (opened.own, opened.replaces_builtin) == (True, False)
    saved = at.desk.save(opened, {"context": 4096})
    assert saved is not None
    assert at.supervisor.profile("llama").context == 4096
    opened.file.write_text(opened.file.read_text() + "# somebody else\n")
    before = opened.file.read_bytes()
    assert at.desk.save(saved, {"context": 2048}) is None
    assert opened.file.read_bytes() == before


def test_a_builtin_one_is_copied_and_comes_back(at: Desk) -> None:
    opened = at.desk.opened(BUILTIN)
    assert (opened.own, opened.profile.builtin) == (False, True)
    assert code_of(at.desk.remove, BUILTIN) == "profile.builtin_stays"
    saved = at.desk.save(opened, {"context": 4096})
    assert saved is not None
    assert (saved.own, saved.replaces_builtin, saved.profile.builtin) == (True, True, False)
    at.desk.remove(BUILTIN)
    assert at.supervisor.profile(BUILTIN).builtin
    assert at.desk.is_there(BUILTIN)


def test_a_new_one_gets_an_id_that_no_file_has(at: Desk) -> None:
    blank = at.desk.blank()
    assert (blank.text, blank.profile.target, blank.profile.context) == ("", "wsl:", 8192)
    wanted = msgspec.structs.replace(LLAMA, id="", title="llama")
    assert at.desk.create(wanted).profile.id == "llama-2"
    assert at.desk.create(wanted).profile.id == "llama-3"
    assert at.supervisor.profile("llama-3").title == "llama"
    refused = msgspec.structs.replace(wanted, extra_args=("-ngl", "3"))
    assert code_of(at.desk.create, refused) == "command.forbidden.layers"


def test_a_copy_is_stored_only_when_it_is_saved(at: Desk) -> None:
    copy = at.desk.copied(BUILTIN, "Mine")
    assert (copy.text, copy.profile.title, copy.profile.builtin, copy.profile.id) == ("", "Mine", False, "")
    assert copy.profile.need == at.supervisor.profile(BUILTIN).need
    assert at.desk.create(copy.profile).profile.id == "mine"


def test_one_that_runs_is_not_deleted(at: Desk) -> None:
    at.supervisor.start("llama")
    at.machine.target.engine().starts()
    at.heard.phase(Phase.LOADING)
    assert code_of(at.desk.remove, "llama") == "profile.running"
    at.supervisor.stop("llama")
    at.heard.phase(Phase.STOPPED)
    at.desk.remove("llama")
    assert not at.desk.is_there("llama")
    assert "llama" not in [profile.id for profile in at.supervisor.profiles()]


def test_export_and_import(at: Desk, tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    at.desk.export("llama", path)
    found = at.desk.imported(path)
    assert (found.text, found.profile) == ("", msgspec.structs.replace(at.supervisor.profile("llama"), id=""))
    assert code_of(at.desk.export, "llama", tmp_path / "no" / "such") == "profile.not_saved"
    assert code_of(at.desk.imported, tmp_path / "none.toml") == "profile.unreadable"
    path.write_bytes(b"#" * 70_000)
    assert code_of(at.desk.imported, path) == "profile.too_large"
    path.write_text("x = 1")
    assert code_of(at.desk.imported, path) == "profile.key"


# --- shapes -----------------------------------------------------------------------------------------------------------


def shape_of(at: Desk, profile: Profile, *, wake: bool = False) -> tuple[bool, str, bool]:
    found = at.desk.shape(profile, wake=wake)
    return found.model is not None, found.problem.code if found.problem else "", found.asleep


def test_the_model_is_read_on_the_target(at: Desk) -> None:
    found = at.desk.shape(LLAMA)
    assert isinstance(found.model, GgufPlanned)
    assert found.model.model.weights_total == MODEL.weights_total
    assert (found.problem, found.asleep) == (None, False)


def test_a_distro_that_is_off_is_not_started_by_looking(at: Desk) -> None:
    at.machine.running = ()
    default = msgspec.structs.replace(LLAMA, target="wsl:")
    for profile in (LLAMA, default):
        assert shape_of(at, profile) == (False, "", True)
    assert at.machine.target.ran == []
    assert shape_of(at, LLAMA, wake=True) == (True, "", False)


def test_where_the_files_cannot_be_read_the_catalogue_knows_the_model(at: Desk) -> None:
    awq = msgspec.structs.replace(VLLM, model="Qwen/Qwen2.5-14B-Instruct-AWQ")
    assert shape_of(at, awq) == (True, "plan.model_elsewhere", False)
    assert shape_of(at, msgspec.structs.replace(VLLM, model="some/body")) == (False, "plan.model_elsewhere", False)
    at.machine.running = problem("wsl.not_installed")
    assert shape_of(at, LLAMA) == (False, "wsl.not_installed", False)
    folder = msgspec.structs.replace(VLLM, model="~/models/Qwen2.5-7B-Instruct-AWQ/")
    assert shape_of(at, folder) == (True, "wsl.not_installed", False)


def test_places_and_models_to_choose_from(at: Desk) -> None:
    assert at.desk.targets() == ("wsl:", "wsl:Ubuntu")
    at.machine.distros = problem("wsl.not_installed")
    assert at.desk.targets() == ("wsl:",)
    ranked = at.desk.choices(at.machine.gpu.card).catalogue
    assert len(ranked) == len(load_catalogue())
    assert ranked[0].max_context > 0
    assert at.desk.choices(None).catalogue == ()
