"""What Linux tells of the VM that WSL runs, by the real scripts under this machine's sh; shutdown; a reached port."""

from __future__ import annotations

import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.wsl.wsl_vm import VmFacts
from kotaro_bridge.host.launcher_wsl import WslLauncher
from kotaro_bridge.host.wsl_vm import WslExeVm, facts_argv, parse_facts, port_argv

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="this machine plays the Linux side")

# Stands for wsl.exe: options go, the command behind --exec is run here.
WSL = """#!/bin/sh
case "$1" in
--list) echo Ubuntu; exit 0 ;;
--shutdown) {shutdown} ;;
esac
while [ "$1" != --exec ]; do shift; done
shift
echo "wsl: said at the start" >&2
{before}
exec "$@"
"""


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for /proc of the VM."""
    folder = tmp_path / "proc"
    (folder / "sys/kernel/random").mkdir(parents=True)
    (folder / "sys/kernel/random/boot_id").write_text("b-1\n")
    (folder / "sys/kernel/osrelease").write_text("6.6.114.1-microsoft-standard-WSL2\n")
    (folder / "meminfo").write_text("MemTotal:       16000000 kB\nMemFree: 1 kB\nSwapTotal:       4194304 kB\n")
    (folder / "stat").write_text("cpu  1 2\ncpu0 1 2\ncpu1 1 2\nintr 5\nbtime 1795293018\n")
    (folder / "cmdline").write_text("initrd=\\initrd.img panic=-1\n")
    monkeypatch.setenv("KOTARO_PROC", str(folder))
    return folder


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that come before all others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def program(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def vm(folder: Path, before: str = "", shutdown: str = "exit 0") -> WslExeVm:
    """A VM behind a stand-in for wsl.exe."""
    wsl = program(folder / "wsl", WSL.format(before=before, shutdown=shutdown))
    return WslExeVm(lambda distro: WslLauncher([wsl], distro))


def test_all_facts(tmp_path: Path, proc: Path, programs: Path) -> None:
    program(programs / "wslinfo", "#!/bin/sh\n[ $1 = --networking-mode ] && echo mirrored\n")
    (tmp_path / "m.gguf").write_bytes(b"12345")
    hf = tmp_path / "hf"
    hf.mkdir()
    (hf / "a.safetensors").write_bytes(b"123")
    (hf / "b.safetensors").write_bytes(b"4567")
    (hf / "config.json").write_bytes(b"{}")
    (tmp_path / "empty").mkdir()
    asked = [str(tmp_path / name) for name in ("m.gguf", "hf", "empty", "none")]
    found = vm(tmp_path).facts(None, asked, 20.0)
    assert found == VmFacts(
        boot_id="b-1",
        began_at=1795293018,
        memory_bytes=16000000 * 1024,
        processors=2,
        swap_bytes=4 << 30,
        networking="Mirrored",
        command_line="initrd=\\initrd.img panic=-1",
        release="6.6.114.1-microsoft-standard-WSL2",
        models=((asked[0], 5), (asked[1], 7)),
        said=("wsl: said at the start",),
    )


def test_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOTARO_PROC", str(tmp_path / "none"))
    assert vm(tmp_path).facts(None, (), 20.0) == VmFacts(said=("wsl: said at the start",))
    assert parse_facts("memory x\nnetworking wsl1\nmodel none ~/m\n") == VmFacts()


def test_this_machine_answers_for_itself(tmp_path: Path) -> None:
    found = vm(tmp_path).facts(None, (), 20.0)
    assert found.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert (found.processors or 0) >= 1
    assert (found.memory_bytes or 0) > 0


def test_a_script_that_fails_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ProblemError) as caught:
        vm(tmp_path, before="echo broken >&2; exit 3").facts(None, (), 20.0)
    assert caught.value.problem.code == "wsl.failed"
    assert "broken" in caught.value.problem.evidence


def test_a_port_is_reached(tmp_path: Path) -> None:
    assert vm(tmp_path).reaches(None, 10.0) is True


@pytest.mark.parametrize("interpreter", ["perl", "python3"])
def test_either_interpreter_opens_the_port(tmp_path: Path, programs: Path, interpreter: str) -> None:
    other = {"perl": "python3", "python3": "perl"}[interpreter]
    program(programs / other, "#!/bin/sh\nexit 1\n")
    assert vm(tmp_path).reaches(None, 10.0) is True


def test_nothing_can_open_a_port(tmp_path: Path) -> None:
    assert vm(tmp_path, before="PATH=/nowhere; export PATH").reaches(None, 10.0) is None
    missing = WslExeVm(lambda distro: WslLauncher([str(tmp_path / "no-wsl")], distro))
    assert missing.reaches(None, 10.0) is None


def test_another_program_on_the_port_does_not_count(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert vm(tmp_path, before=f"echo port {port}; exec sleep 5").reaches(None, 1.0) is False


def test_a_port_that_nobody_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert vm(tmp_path, before=f"echo port {port}; exec sleep 5").reaches(None, 0.5) is False


def test_running_and_shutdown(tmp_path: Path) -> None:
    assert vm(tmp_path).running() == ("Ubuntu",)
    vm(tmp_path, shutdown=f"touch {tmp_path}/down; exit 0").shutdown(20.0)
    assert (tmp_path / "down").exists()


@pytest.mark.parametrize(
    ("shutdown", "timeout_s", "code"),
    [
        ("exec sleep 20", 0.3, "wsl.hangs"),
        ("echo no; exit 1", 20.0, "wsl.failed"),
        ("printf 'no\\nError code: Wsl/Service/E_UNEXPECTED\\n'; exit 255", 20.0, "wsl.failed"),
    ],
)
def test_a_shutdown_that_fails(tmp_path: Path, shutdown: str, timeout_s: float, code: str) -> None:
    with pytest.raises(ProblemError) as caught:
        vm(tmp_path, shutdown=shutdown).shutdown(timeout_s)
    assert caught.value.problem.code == code


def test_the_commands_fit_on_a_windows_command_line() -> None:
    assert sum(map(len, facts_argv(["~/m"]))) < 8000
    assert sum(map(len, port_argv("w"))) < 8000
