"""The emulated wsl.exe as a program, point by point as reference wsl-exe §10 lists what it must do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kotaro_bridge.simulator.pc import SimulatedPC
from tests.helpers.simulated import FAILED, alive, processes_of, running, simulated_pc, until, wsl

if sys.platform == "win32":
    pytest.skip("the Linux side of the simulated PC needs Linux", allow_module_level=True)

pytestmark = pytest.mark.e2e

UTF8 = {"WSL_UTF8": "1"}
TERMINATED_JA = "この操作を正しく終了しました。"


@pytest.fixture
def pc(tmp_path: Path) -> Iterator[SimulatedPC]:
    with simulated_pc(tmp_path / "pc") as opened:
        yield opened


@pytest.fixture
def english(tmp_path: Path) -> Iterator[SimulatedPC]:
    with simulated_pc(tmp_path / "pc", "rtx4090-24gb") as opened:
        yield opened


def text(result: subprocess.CompletedProcess[bytes]) -> str:
    """stdout of a call with `WSL_UTF8=1`."""
    return result.stdout.decode()


def change_distros(pc: SimulatedPC, distros: list[dict[str, object]]) -> None:
    """Other registered distros than the scenario's."""
    path = pc.folder / "scenario.json"
    defaults = {"user": "kotaro", "default": False, "running": False, "version": 2, "state": "Stopped"}
    scenario = json.loads(path.read_text(encoding="utf-8"))
    scenario["distros"] = [{**defaults, **distro} for distro in distros]
    path.write_text(json.dumps(scenario), encoding="utf-8")


# 1. Encodings


def test_own_text_is_utf16_without_bom_and_with_crlf(english: SimulatedPC) -> None:
    expected = (
        "Default Distribution: Ubuntu\r\nDefault Version: 2\r\n"
        "WSL1 is not supported with your current machine configuration.\r\n"
        'Please enable the "Windows Subsystem for Linux" optional component to use WSL1.\r\n'
    )
    assert wsl(english, "--status").stdout == expected.encode("utf-16-le")
    assert wsl(english, "--status", env=UTF8).stdout == expected.encode()
    assert wsl(english, "--status", env={"WSL_UTF8": "true"}).stdout == expected.encode("utf-16-le")


def test_japanese_windows_speaks_japanese(pc: SimulatedPC) -> None:
    first = "既定のディストリビューション: Ubuntu\r\n既定のバージョン: 2\r\n"
    assert wsl(pc, "--status").stdout.startswith(first.encode("utf-16-le"))
    version = text(wsl(pc, "--version", env=UTF8)).split("\r\n")
    assert version[0] == "WSL バージョン: 2.7.3.0"
    assert version[6] == "Windows バージョン: 10.0.26200.8390"
    assert version[7:] == [""]


def test_bytes_of_the_linux_side_pass_unchanged(pc: SimulatedPC) -> None:
    data = bytes(range(256)) * 400
    result = wsl(pc, "-d", "Ubuntu", "--exec", "/bin/sh", "-c", "cat; echo err >&2", stdin=data)
    assert (result.returncode, result.stdout, result.stderr) == (0, data, b"err\n")


# 2. Errors


def test_errors_come_on_stdout_with_a_code_and_minus_one(pc: SimulatedPC) -> None:
    result = wsl(pc, "-d", "Nope", "--exec", "true", env=UTF8)
    assert result.returncode == FAILED
    assert text(result) == (
        "指定された名前のディストリビューションはありません。\r\nエラー コード: Wsl/Service/WSL_E_DISTRO_NOT_FOUND\r\n"
    )
    assert result.stderr == b""


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("--exec", "The parameter is incorrect. \r\nError code: Wsl/E_INVALIDARG\r\n"),
        ("-d Ubuntu --exec", "The parameter is incorrect. \r\nError code: Wsl/E_INVALIDARG\r\n"),
        ("--shell-type odd -- true", "The parameter is incorrect. \r\nError code: Wsl/E_INVALIDARG\r\n"),
        ("-d", "Argument --distribution is missing a required parameter.\r\n"),
        ("-t", "Argument --terminate is missing a required parameter.\r\n"),
        (
            "-x",
            "Invalid command line argument: -x\r\n"
            "Please use 'wsl.exe --help' to get a list of supported arguments.\r\n",
        ),
        (
            "--distribution=Ubuntu -- true",
            "Invalid command line argument: --distribution=Ubuntu\r\n"
            "Please use 'wsl.exe --help' to get a list of supported arguments.\r\n",
        ),
        (
            "-t Nope",
            "There is no distribution with the supplied name.\r\nError code: Wsl/Service/WSL_E_DISTRO_NOT_FOUND\r\n",
        ),
        ("-u nobody-here -- true", "User not found.\r\nError code: Wsl/WSL_E_USER_NOT_FOUND\r\n"),
        (
            "--cd C:\\nowhere -- true",
            "The system cannot find the file specified. \r\nError code: Wsl/ERROR_FILE_NOT_FOUND\r\n",
        ),
    ],
)
def test_wrong_command_lines(english: SimulatedPC, raw: str, expected: str) -> None:
    result = wsl(english, raw=raw, env=UTF8)
    assert (text(result), result.returncode) == (expected, FAILED)


@pytest.mark.parametrize("raw", ["--help", "-l -q -v", "-l --all --running"])
def test_usage_is_minus_one(english: SimulatedPC, raw: str) -> None:
    result = wsl(english, raw=raw, env=UTF8)
    assert result.returncode == FAILED
    assert "Usage: wsl.exe [Argument] [Options...] [CommandLine]\r\n" in text(result)
    assert "Error code" not in text(result)


def test_a_second_distro_is_an_error(english: SimulatedPC) -> None:
    assert wsl(english, raw="-d Ubuntu -d Ubuntu -- true").returncode == FAILED


def test_commands_that_change_the_installation_are_refused(pc: SimulatedPC) -> None:
    result = wsl(pc, "--install")
    assert result.returncode == FAILED
    assert b"outside of the simulation" in result.stderr


# 3. Warnings


def test_warnings_come_once_from_the_call_that_creates_the_vm(pc: SimulatedPC) -> None:
    pc.wslconfig_path.write_text("[wsl2]\nfoo=1\nprocessors=99\n[experimental]\nsparseVhd=true\n", encoding="utf-8")
    first = wsl(pc, "-d", "Ubuntu", "--exec", "true", env=UTF8)
    lines = first.stderr.decode().split("\r\n")
    # The values stand in the wrong places in Japanese, as in the real program (reference wsl-exe §0 fact 10).
    assert lines[0] == "wsl: wsl2.foo の不明なキー 'C:\\Users\\kotaro\\.wslconfig': 2"
    assert lines[1].startswith("wsl: wsl2.processors は")
    assert lines[1].endswith("(99 > 16)")
    assert lines[2].startswith("wsl: スパース VHD")
    assert first.returncode == 0
    assert wsl(pc, "-d", "Ubuntu", "--exec", "true").stderr == b""


def test_warnings_are_utf16_too_and_can_be_switched_off(pc: SimulatedPC) -> None:
    pc.wslconfig_path.write_text("[wsl2]\nfoo=1\n", encoding="utf-8")
    result = wsl(pc, "-d", "Ubuntu", "--exec", "/bin/sh", "-c", "echo linux >&2")
    warning = "wsl: wsl2.foo の不明なキー 'C:\\Users\\kotaro\\.wslconfig': 2\r\n".encode("utf-16-le")
    assert result.stderr == warning + b"linux\n"
    wsl(pc, "--shutdown")
    assert wsl(pc, "-d", "Ubuntu", "--exec", "true", env={"WSL_DISABLE_WARNINGS": "1"}).stderr == b""


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[wsl2]\nmacAddress=zz\n", "CreateVm/ParseConfig/E_INVALIDARG"),
        ("[wsl2]\nkernel=C:\\\\k\n", "CreateVm/WSL_E_CUSTOM_KERNEL_NOT_FOUND"),
        ("[wsl2]\nkernelModules=C:\\\\k\n", "CreateVm/WSL_E_CUSTOM_KERNEL_NOT_FOUND"),
    ],
)
def test_a_file_that_keeps_the_vm_from_starting(pc: SimulatedPC, content: str, expected: str) -> None:
    pc.wslconfig_path.write_text(content, encoding="utf-8")
    result = wsl(pc, "-d", "Ubuntu", "--exec", "true", env=UTF8)
    assert result.returncode == FAILED
    assert text(result).endswith(f"Wsl/Service/CreateInstance/{expected}\r\n")
    assert pc.running() == []


# 4. Lists, status, shutdown, terminate


def test_verbose_list_has_the_real_columns(pc: SimulatedPC) -> None:
    assert text(wsl(pc, "-l", "-v", env=UTF8)) == (
        "  NAME              STATE           VERSION\r\n"
        "* Ubuntu            Stopped         2\r\n"
        "  docker-desktop    Stopped         2\r\n"
    )
    wsl(pc, "-d", "ubuntu", "--exec", "true")
    change_distros(pc, [{"name": "Ubuntu"}, {"name": "A.very-long_name", "default": True, "version": 1}])
    assert text(wsl(pc, "--list", "--verbose", "--running", env=UTF8)) == (
        "  NAME                STATE           VERSION\r\n"
        "* A.very-long_name    Stopped         1\r\n"
        "  Ubuntu              Running         2\r\n"
    )


def test_plain_lists(pc: SimulatedPC) -> None:
    assert text(wsl(pc, "-l", "-q", env=UTF8)) == "Ubuntu\r\ndocker-desktop\r\n"
    assert text(wsl(pc, "-l", env=UTF8)) == (
        "Linux 用 Windows サブシステム ディストリビューション:\r\nUbuntu (既定値)\r\ndocker-desktop\r\n"
    )
    nothing = wsl(pc, "-l", "--running", "-q")
    assert (nothing.returncode, nothing.stdout) == (0, b"")
    none = wsl(pc, "-l", "--running", env=UTF8)
    assert (none.returncode, text(none)) == (FAILED, "実行中のディストリビューションはありません。\r\n")
    wsl(pc, "--exec", "true")
    assert text(wsl(pc, "-l", "--running", "-q", env=UTF8)) == "Ubuntu\r\n"
    assert pc.running() == ["Ubuntu"]


def test_lists_of_one_of_none_and_of_distros_in_the_making(english: SimulatedPC) -> None:
    change_distros(english, [{"name": "Debian", "default": True}, {"name": "New", "state": "Installing"}])
    assert text(wsl(english, "-l", "-q", env=UTF8)) == "Debian\r\n"
    assert text(wsl(english, "-l", "-q", "--all", env=UTF8)) == "Debian\r\nNew\r\n"
    assert "  New       Installing      2\r\n" in text(wsl(english, "-l", "-v", env=UTF8))
    change_distros(english, [])
    for arguments in (["-l"], ["-l", "-v"], ["--exec", "true"]):
        result = wsl(english, *arguments, env=UTF8)
        assert result.returncode == FAILED
        assert text(result).startswith("Windows Subsystem for Linux has no installed distributions.\r\n")
        assert "Error code" not in text(result)
    assert wsl(english, "-l", "-q").returncode == 0
    assert text(wsl(english, "--status", env=UTF8)).startswith("Default Version: 2\r\n")


def test_an_unknown_option_of_a_list(english: SimulatedPC) -> None:
    result = wsl(english, "-l", "--odd", env=UTF8)
    assert result.returncode == FAILED
    assert text(result).endswith("Error code: Wsl/E_INVALIDARG\r\n")


def test_terminate_and_shutdown(pc: SimulatedPC) -> None:
    wsl(pc, "--exec", "true")
    pc.boot("docker-desktop")
    assert sorted(pc.running()) == ["Ubuntu", "docker-desktop"]
    for _ in range(2):
        result = wsl(pc, "--terminate", "ubuntu", env=UTF8)
        assert (result.returncode, text(result)) == (0, TERMINATED_JA + "\r\n")
        assert pc.running() == ["docker-desktop"]
    for arguments in (["--shutdown"], ["--shutdown", "--force"]):
        result = wsl(pc, *arguments)
        assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
        until(lambda: not processes_of(pc.folder), what="everything is down", deadline_s=0.5)
    assert wsl(pc, "--shutdown", "--odd").returncode == FAILED


# 5. Cutting the command line


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("-- echo $HOME", "{home}\n"),
        ("-e echo $HOME", "$HOME\n"),
        ('-- echo "a  b"', "a  b\n"),
        ('-e echo "a  b"', "a  b\n"),
        ("-- echo C:\\x\\y", "C:xy\n"),
        ("-e echo C:\\x\\y", "C:\\x\\y\n"),
        ('-e printf %s "a""b"', 'a"b'),
        ('-e printf %s "a\\"b"', 'a"b'),
        ('-e printf "[%s]" "" x', "[][x]"),
        ("echo   two   blanks", "two blanks\n"),
        ("-d Ubuntu --cd ~ pwd", "{home}\n"),
        ("~ -e pwd", "{home}\n"),
        ("--shell-type none -- echo $HOME", "$HOME\n"),
        ("--cd / -e pwd", "/\n"),
        ("--exec whoami-not-here", ""),
    ],
)
def test_the_command_line_reaches_linux_as_windows_cuts_it(pc: SimulatedPC, raw: str, expected: str) -> None:
    assert text(wsl(pc, raw=raw)) == expected.format(home=pc.home)


def test_quotes_round_a_distro_are_part_of_its_name(pc: SimulatedPC) -> None:
    assert wsl(pc, raw='-d "Ubuntu" -- true').returncode == FAILED


def test_arguments_given_as_a_list_survive(pc: SimulatedPC) -> None:
    words = ["", "a b", 'quo"te', "back\\slash\\", "trailing space \\", "new\nline", "日本語", "$HOME `x`"]
    script = 'for word in "$@"; do printf "%s\\0" "$word"; done'
    result = wsl(pc, "--exec", "/bin/sh", "-c", script, "sh", *words)
    assert text(result).split("\0")[:-1] == words


def test_a_command_line_that_windows_would_not_start(pc: SimulatedPC) -> None:
    words = ["--exec", "/bin/echo"]
    whole = 32_767 - len("wsl.exe --exec /bin/echo ") - 1
    assert len(wsl(pc, *words, "x" * whole).stdout) == whole + 1
    assert wsl(pc, *words, "x" * (whole + 1)).returncode == FAILED


def test_a_script_on_stdin(pc: SimulatedPC) -> None:
    result = wsl(pc, "-d", "Ubuntu", "--cd", "~", "--exec", "/bin/sh", "-s", "--", "x", stdin=b'pwd; echo "$1"\n')
    assert text(result) == f"{pc.home}\nx\n"


def test_the_environment_is_that_of_the_distro(pc: SimulatedPC) -> None:
    windows = {"SECRET": "s", "SHARED": "1", "PLACE": "/x", "BACK": "b", "WSLENV": "SHARED:PLACE/p:BACK/w:SECRET/?"}
    result = wsl(pc, "-u", "root", "--exec", "env", env=windows)
    found = dict(line.split("=", 1) for line in text(result).splitlines())
    assert found["USER"] == "root"
    assert found["HOME"].endswith("/distros/Ubuntu/root")
    assert (found["SHARED"], found["PLACE"]) == ("1", "/x")
    assert {"SECRET", "BACK", "KOTARO_SIM", "PYTHONPATH"} & set(found) == set()


def test_the_working_directory(pc: SimulatedPC) -> None:
    assert text(wsl(pc, "--exec", "pwd")).endswith("/mnt/c/Users/kotaro\n")
    missing = wsl(pc, "--cd", "/not/there", "--exec", "pwd")
    assert text(missing) == f"{pc.home}\n"
    assert missing.stderr.startswith(b"<3>WSL (")


# 6. Exit codes


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("exit 0", 0),
        ("exit 3", 3),
        ("exit 255", 255),
        ("kill -9 $$", 9),
        ("kill -15 $$", 15),
        ("kill -1 $$", 1),
        ("sh -c 'kill -9 $$'", 137),
    ],
)
def test_exit_codes_pass_and_signals_are_not_128_more(pc: SimulatedPC, script: str, code: int) -> None:
    assert wsl(pc, "--exec", "/bin/sh", "-c", script).returncode == code


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (67, "User not found.\r\nError code: Wsl/WSL_E_USER_NOT_FOUND\r\n"),
        (87, "Error: 0x8004030d\r\nError code: Wsl/WSL_E_TTY_LIMIT\r\n"),
    ],
)
def test_two_exit_codes_mean_something_else(english: SimulatedPC, code: int, expected: str) -> None:
    result = wsl(english, "--exec", "/bin/sh", "-c", f"echo first; exit {code}", env=UTF8)
    assert (result.returncode, text(result)) == (FAILED, "first\n" + expected)


def test_a_program_that_is_not_there(pc: SimulatedPC) -> None:
    result = wsl(pc, "--exec", "/no/such/program")
    assert result.returncode == 1
    assert result.stdout == b""
    assert result.stderr.startswith(b"<3>WSL (")
    assert b"ERROR: CreateProcessCommon:" in result.stderr
    assert result.stderr.endswith(b"execvpe(/no/such/program) failed: No such file or directory\n")
    assert wsl(pc, "--", "no-such-program").returncode == 127
    assert wsl(pc, "--", "/etc/passwd").returncode == 126


def test_the_vm_dies_under_a_command(pc: SimulatedPC) -> None:
    with running(pc, [*pc.wsl_argv, "--exec", "/bin/sh", "-c", "echo up; sleep 100"]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        pc.restart_vm()
        assert process.wait(10) == 1
    assert pc.running() == ["Ubuntu"]


# 7. Killing wsl.exe


def test_killing_wsl_is_a_hangup_and_survivors_live_until_the_distro_stops(pc: SimulatedPC) -> None:
    script = (
        "trap 'echo HUP >>~/signals' HUP; trap 'echo TERM >>~/signals' TERM; trap 'echo INT >>~/signals' INT;"
        "setsid sh -c 'echo $$ >~/survivor; exec sleep 100' & echo $$ >~/leader; echo up;"
        "while [ ! -s ~/signals ]; do sleep 0.02; done"
    )
    home = pc.home
    with running(pc, [*pc.wsl_argv, "--cd", "~", "--exec", "/bin/sh", "-c", script]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        until((home / "survivor").exists, what="the survivor has started")
        process.kill()
        process.wait()
        leader, survivor = (int((home / name).read_text()) for name in ("leader", "survivor"))
        until(lambda: not alive(leader), what="the leader sees a hangup")
    assert (home / "signals").read_text() == "HUP\n"
    assert alive(survivor)
    assert pc.running() == ["Ubuntu"]
    pc.advance(14)
    assert alive(survivor)
    assert pc.running() == ["Ubuntu"]
    pc.advance(2)
    assert pc.running() == []
    assert not alive(survivor)


def test_a_background_job_of_a_shell_that_ends_gets_the_hangup(pc: SimulatedPC) -> None:
    wsl(pc, "--cd", "~", "--exec", "/bin/sh", "-c", "sleep 100 & echo $! >~/job")
    job = int((pc.home / "job").read_text())
    until(lambda: not alive(job), what="the job ends")


def test_a_program_is_leader_of_a_session_with_a_terminal_but_pipes(pc: SimulatedPC) -> None:
    script = 'set -- $(cat /proc/$$/stat); [ "$1" = "$6" ] && [ "$7" != 0 ] && : </dev/tty && [ ! -t 0 ] && echo yes'
    assert text(wsl(pc, "--exec", "/bin/sh", "-c", script)) == "yes\n"


# 8. A normal end with living descendants


def test_a_daemon_keeps_the_distro_and_not_the_call(pc: SimulatedPC) -> None:
    script = "echo before; setsid sh -c 'echo $$ >~/daemon; exec sleep 100' & until [ -s ~/daemon ]; do :; done"
    started = time.monotonic()
    result = wsl(pc, "--cd", "~", "--exec", "/bin/sh", "-c", script)
    assert (result.returncode, result.stdout) == (0, b"before\n")
    assert time.monotonic() - started < 10
    daemon = int((pc.home / "daemon").read_text())
    pc.advance(3600)
    assert alive(daemon)
    assert pc.running() == ["Ubuntu"]
    os.kill(daemon, 9)
    until(lambda: not alive(daemon), what="the daemon ends")

    def stops() -> bool:
        pc.advance(16)
        return pc.running() == []

    until(stops, what="the distro stops once it is idle")


# 9. Timers


def test_the_vm_outlives_the_distro_and_reads_its_file_at_its_start_only(pc: SimulatedPC) -> None:
    pc.wslconfig_path.write_text("[wsl2]\nvmIdleTimeout=30000\n[general]\ninstanceIdleTimeout=5000\n", encoding="utf-8")
    wsl(pc, "--exec", "true")
    pc.wslconfig_path.write_text("[wsl2]\nfoo=1\n", encoding="utf-8")
    pc.advance(6)
    assert pc.running() == []
    assert wsl(pc, "--exec", "true").stderr == b""
    pc.advance(6)
    assert processes_of(pc.folder) != []
    pc.advance(31)
    until(lambda: processes_of(pc.folder) == [], what="the VM ends")
    assert b"foo" in wsl(pc, "--exec", "true", env=UTF8).stderr


def test_negative_timeouts_mean_never(pc: SimulatedPC) -> None:
    pc.wslconfig_path.write_text("[wsl2]\nvmIdleTimeout=-1\n[general]\ninstanceIdleTimeout=-1\n", encoding="utf-8")
    wsl(pc, "--exec", "true")
    pc.advance(100_000)
    assert pc.running() == ["Ubuntu"]
    wsl(pc, "--terminate", "Ubuntu")
    pc.advance(100_000)
    assert processes_of(pc.folder) != []


# 10. Modes


def test_slow_and_hanging_calls(pc: SimulatedPC) -> None:
    pc.set(wsl_delay_s=0.5)
    started = time.monotonic()
    assert wsl(pc, "-l", "-q").returncode == 0
    assert time.monotonic() - started > 0.5
    pc.set(wsl_delay_s=0.0, wsl="hang")
    with pytest.raises(subprocess.TimeoutExpired):
        wsl(pc, "-l", "-q", timeout_s=1.0)
    pc.set(wsl="normal")
    assert wsl(pc, "-l", "-q").returncode == 0


def test_a_broken_service(pc: SimulatedPC) -> None:
    pc.set(wsl="e_unexpected")
    for arguments in (["-l", "-q"], ["--exec", "true"], ["--shutdown"]):
        result = wsl(pc, *arguments, env=UTF8)
        assert result.returncode == FAILED
        assert text(result) == "致命的なエラーです。\r\nエラー コード: Wsl/Service/E_UNEXPECTED\r\n"
    assert wsl(pc, "--version").returncode == 0


def test_a_pc_without_wsl(tmp_path: Path) -> None:
    with simulated_pc(tmp_path / "pc", "no-wsl") as pc:
        status = wsl(pc, "--status", env=UTF8)
        assert status.returncode == 50
        assert "インストールされていません" in status.stdout.decode("utf-16-le")
        assert wsl(pc, "-l", "-v").returncode == 1
        started = time.monotonic()
        launch = wsl(pc, "-d", "Ubuntu", "--exec", "true")
        assert launch.returncode == 1
        assert "キーを押してください" in launch.stdout.decode("utf-16-le")
        assert time.monotonic() - started < 10  # the key prompt ends with stdin


def test_the_key_prompt_of_the_stub_waits_a_minute(tmp_path: Path) -> None:
    with (
        simulated_pc(tmp_path / "pc", "no-wsl", time_scale=1.0) as pc,
        running(pc, [*pc.wsl_argv, "--exec", "x"]) as process,
    ):
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)
        assert process.stdin is not None
        process.stdin.write(b"k")
        process.stdin.flush()
        assert process.wait(10) == 1


# 12. The GPU inside


QUERY = ("--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits")
NVIDIA_SMI = "/usr/lib/wsl/lib/nvidia-smi"


def test_nvidia_smi_by_its_full_path_and_by_its_short_name(pc: SimulatedPC) -> None:
    expected = "NVIDIA GeForce RTX 4070, 12282, 10998\n"
    assert text(wsl(pc, "--exec", NVIDIA_SMI, *QUERY)) == expected
    assert text(wsl(pc, "--", "nvidia-smi", *QUERY)) == expected
    assert text(wsl(pc, raw="-- wslinfo --networking-mode; wslinfo --version -n")) == "nat\n2.7.3.0"
    assert wsl(pc, raw="-- wslinfo --odd").returncode == 1


def test_no_gpu_inside(pc: SimulatedPC) -> None:
    pc.set(nvidia_smi="blocked")
    blocked = wsl(pc, "--exec", NVIDIA_SMI, *QUERY)
    assert blocked.returncode == 17
    assert text(blocked) == "Failed to initialize NVML: GPU access blocked by the operating system\n"
    pc.set(nvidia_smi="missing")
    missing = wsl(pc, "--exec", NVIDIA_SMI, *QUERY)
    assert missing.returncode == 1
    assert b"execvpe(/usr/lib/wsl/lib/nvidia-smi) failed" in missing.stderr
    assert wsl(pc, "--", "nvidia-smi").returncode == 127
    pc.set(nvidia_smi="hang")
    with pytest.raises(subprocess.TimeoutExpired):
        wsl(pc, "--exec", NVIDIA_SMI, timeout_s=1.0)


def test_gpu_support_switched_off_in_the_file(pc: SimulatedPC) -> None:
    pc.wslconfig_path.write_text("[wsl2]\ngpuSupport=false\nnetworkingMode=mirrored\n", encoding="utf-8")
    assert wsl(pc, "--exec", NVIDIA_SMI).returncode == 1
    assert wsl(pc, "--", "nvidia-smi").returncode == 127
    assert text(wsl(pc, "--exec", "/usr/bin/wslinfo", "--networking-mode")) == "mirrored\n"


# The PC as a whole


def test_two_processes_open_one_pc_and_the_last_one_ends_it(pc: SimulatedPC) -> None:
    wsl(pc, "--exec", "true")
    code = (
        "import sys; from pathlib import Path; from kotaro_bridge.simulator.pc import SimulatedPC\n"
        "pc = SimulatedPC.open('no-wsl', Path(sys.argv[1])); print(pc.scenario.title, pc.running()); pc.close()"
    )
    command = [sys.executable, "-c", code, str(pc.folder)]
    other = subprocess.run(command, capture_output=True, env={**os.environ, **pc.env}, check=True)
    assert other.stdout.decode() == "RTX 4070, 12 GB ['Ubuntu']\n"
    assert pc.running() == ["Ubuntu"]


def test_a_pc_ends_with_a_process_that_dies(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys; from pathlib import Path; from kotaro_bridge.simulator.pc import SimulatedPC\n"
        "pc = SimulatedPC.open('rtx4070-12gb', Path(sys.argv[1])); pc.set(time_scale=0.02)\n"
        "pc.boot('Ubuntu'); os.kill(os.getpid(), 9)"
    )
    folder = tmp_path / "pc"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    assert subprocess.run([sys.executable, "-c", code, str(folder)], env=environment, check=False).returncode == -9
    until(lambda: processes_of(folder) == [], what="the VM notices that nobody has the PC open")


def test_many_calls_at_once_start_one_vm(pc: SimulatedPC) -> None:
    command = [*pc.wsl_argv, "--exec", "/bin/sh", "-c", "echo ok"]
    environment = {**os.environ, **pc.env}
    calls = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) for _ in range(5)
    ]
    assert [(*call.communicate(timeout=30), call.returncode) for call in calls] == [(b"ok\n", b"", 0)] * 5
