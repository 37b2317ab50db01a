"""What is kept of a user: all of it is listed, all of it goes, and what cannot go is said."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.host import app_id, autostart
from kotaro_bridge.host.footprint import Trace, TraceKind, traces
from kotaro_bridge.host.paths import Paths
from kotaro_bridge.host.secrets import HUGGING_FACE, KeyringToken
from tests.helpers import registry
from tests.helpers.file_keyring import FileKeyring

ON_WINDOWS = sys.platform == "win32"
SCENARIO = "vram-taken"

pytestmark = pytest.mark.usefixtures("no_keyring")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "user")


@pytest.fixture
def own_registry() -> Iterator[None]:
    if not ON_WINDOWS:
        yield
        return
    name = {autostart.VALUE: None}
    kept = {value: registry.read(app_id.KEY, value) for value in ("DisplayName", "IconUri")}
    with registry.values(autostart.RUN, **name), registry.values(autostart.APPROVED, **name):
        app_id.forget_app_id()
        yield
        app_id.forget_app_id()
    for value, found in kept.items():
        if found is not None:
            registry.write(app_id.KEY, value, found)


def kinds(paths: Paths) -> list[TraceKind]:
    return [trace.kind for trace in traces(paths)]


@pytest.mark.usefixtures("own_registry")
def test_nothing_is_kept_of_a_stranger(paths: Paths) -> None:
    assert traces(paths) == ()
    assert not (paths.root or Path()).exists()


def gone(found: tuple[Trace, ...]) -> list[str]:
    """Remove all of it; what is left in its folders."""
    for trace in found:
        trace.remove()
    return [name for trace in found for name in trace.clear()]


def write(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x", encoding="utf-8")


def of_every_kind(paths: Paths) -> list[Path]:
    """Everything that is written somewhere, by whoever writes it."""
    state, logs = paths.state, paths.logs
    return [
        paths.settings_file,
        paths.profiles / "山田.toml",
        paths.profiles / ".山田-ab12.tmp",
        paths.history,
        paths.starts.with_name(f"{paths.starts.name}.broken"),
        paths.unfinished_downloads,
        paths.update_memory,
        state / "control.key",
        state / "runs" / "llama-18f" / "env",
        paths.wslconfig_backups / "0123456789abcdef" / "20261122T101112131415Z",
        paths.wslconfig_backups / "0123456789abcdef" / "lock",
        logs / "llama-18f.log",
        logs / "llama-18f.1.log",
        logs / "app" / "kotaro-bridge.1.log",
        logs / "app" / "kotaro-bridge.lock",
        logs / "crashes" / "crash-20261122-101112-7-0.txt",
        logs / "crashes" / "crash-20261122-101112-7-0.untold",
        logs / "crashes" / "alive-7-18f.txt",
        paths.installers / "KotaroBridge-9.0.0-setup.exe.part",
    ]


@pytest.mark.usefixtures("own_registry")
def test_all_that_is_ours_goes(paths: Paths) -> None:
    simulated = Paths(paths.simulated(SCENARIO))
    write(*of_every_kind(paths), *of_every_kind(simulated), paths.simulated(SCENARIO) / "pc" / "deep" / "disk.bin")
    found = traces(paths)
    assert {trace.where for trace in found} == {str(paths.place(kind)) for kind in ("config", "state", "log", "cache")}
    assert gone(found) == []
    assert traces(paths) == ()
    assert list((paths.root or Path()).iterdir()) == []


@pytest.mark.usefixtures("own_registry")
def test_what_somebody_else_put_there_stays_and_is_named(paths: Paths) -> None:
    theirs = [
        paths.config / "notes.txt",
        paths.profiles / "old" / "mine.toml",
        paths.wslconfig_backups / "thesis.docx",
        paths.installers / "photo.jpg",
        paths.simulated(SCENARIO) / "mine.gguf",
    ]
    empty = paths.config / "repository" / "refs"
    empty.mkdir(parents=True)
    (paths.profiles / "folder.toml").mkdir()
    write(*of_every_kind(paths), *theirs)
    left = gone(traces(paths))
    assert all(file.read_text(encoding="utf-8") == "x" for file in theirs)
    assert empty.is_dir()
    assert left == [
        str(Path("updates", "photo.jpg")),
        "notes.txt",
        str(Path("profiles", "folder.toml")),
        str(Path("profiles", "old")),
        "repository",
        str(Path("simulated", SCENARIO, "mine.gguf")),
        str(Path("wslconfig-backups", "thesis.docx")),
    ]
    assert not paths.place("log").exists()


@pytest.mark.usefixtures("own_registry")
def test_a_folder_inside_another_one_is_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Windows has them: logs and cache are inside the folder of settings and state."""
    outer = tmp_path / "kotaro-bridge"
    places = {"config": outer, "state": outer, "log": outer / "Logs", "cache": outer / "Cache"}
    monkeypatch.setattr(Paths, "place", lambda _, kind: places[kind])
    write(*of_every_kind(Paths()), outer / "Logs" / "theirs.txt")
    (trace,) = traces(Paths())
    assert trace.where == str(outer)
    assert gone((trace,)) == [str(Path("Logs", "theirs.txt"))]
    assert [path.name for path in outer.rglob("*")] == ["Logs", "theirs.txt"]


@pytest.mark.usefixtures("own_registry")
def test_tokens_of_this_pc_and_of_simulated_ones(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOTARO_TEST_KEYRING", str(tmp_path / "keyring.json"))
    keyring.set_keyring(FileKeyring())  # type: ignore[no-untyped-call]
    _ = paths.simulated(SCENARIO)
    KeyringToken(HUGGING_FACE).set("hf_one")
    KeyringToken(HUGGING_FACE, SCENARIO).set("hf_two")
    found = [trace for trace in traces(paths) if trace.kind is TraceKind.KEYRING]
    assert [trace.where for trace in found] == [
        "kotaro-bridge, hugging-face",
        f"kotaro-bridge-{SCENARIO}, hugging-face",
    ]
    for trace in found:
        trace.remove()
    assert KeyringToken(HUGGING_FACE).get() is None
    assert KeyringToken(HUGGING_FACE, SCENARIO).get() is None
    assert TraceKind.KEYRING not in kinds(paths)


@pytest.mark.usefixtures("own_registry")
def test_a_simulated_pc_goes_alone(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOTARO_TEST_KEYRING", str(tmp_path / "keyring.json"))
    keyring.set_keyring(FileKeyring())  # type: ignore[no-untyped-call]
    for name in ("", SCENARIO, "rtx4070-12gb"):
        KeyringToken(HUGGING_FACE, name).set("hf_x")
    kept = (paths.profiles, paths.simulated("rtx4070-12gb"))
    place = paths.simulated(SCENARIO)
    write(*of_every_kind(Paths(place)), place / "pc" / "disk.bin")
    assert gone(traces(paths, SCENARIO)) == []
    assert not place.exists()
    assert all(folder.exists() for folder in kept)
    tokens = [KeyringToken(HUGGING_FACE, name).get() for name in ("", SCENARIO, "rtx4070-12gb")]
    assert tokens == ["hf_x", None, "hf_x"]
    assert traces(paths, SCENARIO) == ()


@pytest.mark.usefixtures("own_registry")
@pytest.mark.parametrize("name", ["..", ".", "", "../../config", "no-such-pc"])
def test_a_name_that_no_simulated_pc_has_finds_nothing(paths: Paths, name: str) -> None:
    _ = paths.profiles, paths.simulated(SCENARIO)
    assert traces(paths, name) == ()


@pytest.mark.usefixtures("own_registry")
def test_a_keyring_that_is_locked_is_told(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keyring.json").write_text("locked")
    monkeypatch.setenv("KOTARO_TEST_KEYRING", str(tmp_path / "keyring.json"))
    keyring.set_keyring(FileKeyring())  # type: ignore[no-untyped-call]
    (trace,) = traces(paths)
    with pytest.raises(ProblemError) as caught:
        trace.remove()
    assert caught.value.problem.code == "token.keyring"


@pytest.mark.usefixtures("own_registry")
@pytest.mark.skipif(ON_WINDOWS, reason="links need a privilege there")
def test_what_a_link_leads_to_stays(paths: Paths, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine.gguf").touch()
    (tmp_path / "models" / "mine.toml").touch()
    (paths.config / "profiles").symlink_to(tmp_path / "models")
    (paths.state / "link").symlink_to(tmp_path / "models")
    (tmp_path / "user" / "cache").symlink_to(tmp_path / "models")
    assert gone(traces(paths)) == ["link"]
    assert [path.name for path in (tmp_path / "user").iterdir()] == ["state"]
    assert {path.name for path in (tmp_path / "models").iterdir()} == {"mine.gguf", "mine.toml"}


@pytest.mark.usefixtures("own_registry")
def test_a_checkout_in_the_place_of_the_settings_stays(paths: Paths) -> None:
    """It has the same name as our folder where `XDG_CONFIG_HOME` is the home folder; so may an unpacked program."""
    theirs = [paths.config / ".git" / "HEAD", paths.config / "resources" / "profiles" / "q14.toml"]
    write(paths.settings_file, *theirs)
    assert gone(traces(paths)) == [".git", "resources"]
    assert not paths.settings_file.exists()
    assert all(file.exists() for file in theirs)


@pytest.mark.usefixtures("own_registry")
@pytest.mark.skipif(not ON_WINDOWS, reason="elsewhere an open file can be deleted")
def test_a_file_that_is_open_stays_and_the_rest_goes(paths: Paths) -> None:
    with (paths.logs / "open.log").open("wb"):
        (paths.logs / "other.log").touch()
        (trace,) = traces(paths)
        with pytest.raises(ProblemError) as caught:
            trace.remove()
        assert caught.value.problem.code == "forget.not_removed"
        assert "open.log" in str(caught.value.problem.params["detail"])
        assert [path.name for path in paths.logs.iterdir()] == ["open.log"]
    assert gone((trace,)) == []
    assert not Path(trace.where).exists()


@pytest.mark.usefixtures("own_registry")
@pytest.mark.skipif(not ON_WINDOWS, reason="the registry is Windows'")
def test_the_registry_is_as_it_was(paths: Paths) -> None:
    autostart.Autostart(("C:\\x.exe",)).set_enabled(True)
    app_id.register_app_id()
    app_id.register_app_id()
    assert registry.read(app_id.KEY, "DisplayName") == "Kotaro Bridge"
    assert kinds(paths) == [TraceKind.RUN_KEY, TraceKind.APP_ID]
    for trace in traces(paths):
        trace.remove()
    assert traces(paths) == ()
    assert registry.read(autostart.RUN, autostart.VALUE) is None
    assert not app_id.app_id_registered()


@pytest.mark.usefixtures("own_registry")
@pytest.mark.skipif(not ON_WINDOWS, reason="the installer is for Windows")
def test_a_name_that_the_installer_gave_stays() -> None:
    registry.write(app_id.KEY, "DisplayName", "Kotaro Bridge, installed")
    app_id.register_app_id()
    assert registry.read(app_id.KEY, "DisplayName") == "Kotaro Bridge, installed"


@pytest.mark.skipif(ON_WINDOWS, reason="there it does something")
def test_elsewhere_there_is_no_registry() -> None:
    app_id.register_app_id()
    app_id.forget_app_id()
    autostart.forget()
    assert not app_id.app_id_registered()
    assert not autostart.is_listed()
