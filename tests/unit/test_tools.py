"""What `dev.py` promises beyond running programs: locks without an index, the cache's place, the coverage limits."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools import coverage_limits, environment, llama_server, system_packages
from tools.console import ROOT, one_at_a_time


@pytest.mark.parametrize("lock", [environment.LOCK, environment.DEV_LOCK], ids=lambda path: path.name)
def test_locks_pin_with_hashes_and_name_no_host(lock: Path) -> None:
    entries = lock.read_text(encoding="utf-8").replace("\\\n", "").splitlines()
    pinned = re.compile(r"[a-z0-9.-]+==[^ ]+( ; .*?)?( +--hash=sha256:[0-9a-f]{64})+")
    assert [entry for entry in entries if not pinned.fullmatch(entry.strip())] == []


def test_development_has_what_users_get() -> None:
    def pins(lock: Path) -> set[str]:
        return set(re.findall(r"^[a-z0-9.-]+==[^ ]+", lock.read_text(encoding="utf-8"), re.MULTILINE))

    assert pins(environment.LOCK) < pins(environment.DEV_LOCK)


@pytest.mark.skipif(sys.platform == "win32", reason="the rule of the XDG folders")
def test_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert llama_server.folder() == tmp_path / "kotaro-bridge" / "llama-server" / llama_server.VERSION
    assert llama_server.cached() is None


def test_another_recipe_does_not_count_as_cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(llama_server, "folder", lambda: tmp_path)
    program = tmp_path / ("llama-server.exe" if sys.platform == "win32" else "llama-server")
    program.touch()
    (tmp_path / "stamp").write_text("an older recipe\n", encoding="utf-8")
    assert llama_server.cached() is None
    (tmp_path / "stamp").write_text(llama_server._recipe(), encoding="utf-8")
    assert llama_server.cached() == program


def test_second_holder_of_a_lock_waits(tmp_path: Path) -> None:
    """A second process says that it waits, and goes on once the first lets go."""
    lock = tmp_path / "lock"
    program = "from pathlib import Path\nfrom tools.console import one_at_a_time, say\n"
    program += f"with one_at_a_time(Path({str(lock)!r}), 'build'): say('mine')"
    with one_at_a_time(lock, "build"):
        second = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        assert second.stderr
        assert second.stderr.readline().startswith("Waiting for another build to finish")
    assert second.communicate()[1] == "mine\n"
    assert second.returncode == 0


def test_limits_name_the_file_and_what_was_not_run(tmp_path: Path) -> None:
    total, found = coverage_limits.shortfalls(_report(tmp_path, percent=99.0, total=84.9), everything=True)
    assert total == 84.9
    assert found == [
        "total: 84.9 % of 85 %",
        "kotaro_bridge/domain/gate.py: 99.0 % of 100 %; lines not run: 7; branches: 6->7",
    ]


def test_limits_are_kept(tmp_path: Path) -> None:
    assert coverage_limits.shortfalls(_report(tmp_path, percent=100.0, total=85.0), everything=True) == (85.0, [])
    assert coverage_limits.shortfalls(_report(tmp_path, percent=100.0, total=50.0), everything=False) == (50.0, [])


def test_a_limit_that_fits_no_file_is_told(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"totals": {"percent_covered": 100.0}, "files": {}}), encoding="utf-8")
    assert "kotaro_bridge/domain/: no such file was measured" in coverage_limits.shortfalls(report, everything=True)[1]


@pytest.mark.skipif(sys.platform != "linux", reason="Debian packages")
def test_without_apt_the_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert system_packages.install(["xvfb", "g++"]) == (
        "install what your system calls these Debian packages: g++ xvfb."
    )


@pytest.mark.skipif(sys.platform != "linux", reason="Debian packages")
def test_sshd_is_installed_where_the_machine_serves_tests_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)  # neither sshd nor apt-get
    monkeypatch.delenv("CI", raising=False)
    system_packages.ensure_ssh_server()
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("CI", "true")
    system_packages.ensure_ssh_server()
    assert "openssh-server" in capsys.readouterr().err


def _report(folder: Path, percent: float, total: float) -> Path:
    def measured(covered: float) -> dict[str, Any]:
        return {"summary": {"percent_covered": covered}, "missing_lines": [7], "missing_branches": [[6, 7]]}

    files = {"kotaro_bridge\\domain\\gate.py": measured(percent)}
    files |= {f"kotaro_bridge/service/{name}.py": measured(100.0) for name in ("run_actor", "wslconfig_edit")}
    path = folder / "report.json"
    path.write_text(json.dumps({"totals": {"percent_covered": total}, "files": files}), encoding="utf-8")
    return path
