"""The emulated wsl.exe of a simulated PC: `python -m kotaro_bridge.simulator.wsl ARGS…` with `KOTARO_SIM` set.

Behaves as reference wsl-exe §10 lists, and really runs the Linux side. wsl.exe's own failure is exit code -1, which is
255 on Linux. `KOTARO_SIM_RAW_COMMAND_LINE` replaces the arguments by a raw Windows command line tail. Differences from
the real one: streams are always pipes, never a console's tty; commands that change the installation are refused.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from typing import Any

from kotaro_bridge.simulator import vm_client, wsl_text
from kotaro_bridge.simulator.state import State, login_shell
from kotaro_bridge.simulator.wsl_command_line import (
    NOT_SIMULATED,
    Launch,
    Manage,
    WslFailure,
    command_line_to_argv,
    parse,
)

FAILED = 255
USER_NOT_FOUND = 67
TTY_LIMIT = 87
KEY_PROMPT_S = 60.0
STUB_STATUS = 50
COMMAND_LINE_LIMIT = 32_767  # UTF-16 units with the closing NUL: CreateProcess (reference wsl-exe §3.1)


class WslExe:
    """One call of wsl.exe."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.language: str = state.scenario["language"]

    def run(self, line: str) -> int:
        """The exit code of a call with this raw command line tail."""
        switches = self.state.switches()
        time.sleep(switches["wsl_delay_s"])
        if switches["wsl"] == "hang":
            while True:
                time.sleep(3600)
        if switches["wsl"] == "stub":
            return self._stub(line)
        try:
            request = parse(line, self._check_distro)
            if switches["wsl"] == "e_unexpected" and not _answers_without_service(request):
                raise WslFailure("SystemUnexpected", code="Wsl/Service/E_UNEXPECTED")
            return self._launch(request) if isinstance(request, Launch) else self._manage(request)
        except WslFailure as failure:
            wsl_text.write(wsl_text.STDOUT, wsl_text.failure_text(self.language, failure))
            return FAILED

    def _check_distro(self, name: str) -> None:
        if self.state.distro(name) is None:
            raise WslFailure("MessageDistroNotFound", code="Wsl/Service/WSL_E_DISTRO_NOT_FOUND")

    def _print(self, name: str, *values: str) -> None:
        wsl_text.write(wsl_text.STDOUT, wsl_text.text(self.language, name, *values))

    def _stub(self, line: str) -> int:
        """The in-box wsl.exe of a PC without WSL: some commands wait a minute for a key (reference wsl-exe §2.4)."""

        def say(name: str) -> None:
            wsl_text.write(wsl_text.STDOUT, wsl_text.text(self.language, name), utf16_always=True)

        say("StubNotInstalled")
        word = line.split(" ")[0]
        if word == "--status":
            return STUB_STATUS
        if word not in ("-l", "--list", "--version", "-v"):
            say("StubPrompt")
            key = threading.Thread(target=os.read, args=(0, 1), daemon=True)  # Windows cannot select on it
            key.start()
            key.join(self.state.scaled(KEY_PROMPT_S))
        return 1

    def _manage(self, request: Manage) -> int:
        if request.verb in NOT_SIMULATED:
            sys.stderr.write(f"simulated PC: wsl.exe {request.verb} is outside of the simulation\n")
            return FAILED
        if request.verb == "--help":
            self._print("MessageWslUsage")
            return FAILED
        if request.verb == "--version":
            self._print("MessagePackageVersions", *self.state.scenario["versions"].values())
            return 0
        if request.verb == "--status":
            return self._status()
        from kotaro_bridge.simulator import wsl_lists

        if request.verb == "--list":
            return wsl_lists.list_distros(
                self.state, self.language, command_line_to_argv(request.rest, program_first=False)
            )
        if request.verb == "--terminate":
            return self._terminate(request.rest)
        options = command_line_to_argv(request.rest, program_first=False)
        if any(option != "--force" for option in options):
            raise WslFailure("MessageInvalidCommandLine", options[0], "wsl.exe", code="Wsl/E_INVALIDARG")
        return self._shutdown()

    def _shutdown(self) -> int:
        switches = self.state.switches()
        while switches["shutdown"] == "hang":
            time.sleep(3600)
        before = vm_client.running_distros(self.state)
        vm_client.request(self.state, {"op": "shutdown"})
        for name in before if switches["docker_returns"] else ():
            if name.startswith("docker-desktop"):
                link, _ = vm_client.start(self.state)
                if link is not None:
                    link.close()
                vm_client.request(self.state, {"op": "boot", "distro": name})
        return 0

    def _status(self) -> int:
        default = self.state.distro(None)
        if default is not None:
            self._print("MessageStatusDefaultDistro", default["name"])
        self._print("MessageStatusDefaultVersion", "2")
        if not self.state.scenario["wsl1"]:
            self._print("MessageWsl1NotSupported")
        return 0

    def _terminate(self, rest: str) -> int:
        name = rest.split(" ")[0].split("\t")[0]
        if not name:
            raise WslFailure("MessageRequiredParameterMissing", "--terminate")
        self._check_distro(name)
        distro = self.state.distro(name) or {}
        vm_client.request(self.state, {"op": "terminate", "distro": distro["name"]})
        self._print("SystemSuccess")
        return 0

    def _launch(self, launch: Launch) -> int:
        distro = self.state.distro(launch.distro)
        if distro is None:
            raise WslFailure("MessageNoDefaultDistro")
        directory = self._directory(launch, distro)
        if launch.user not in (None, "root", distro["user"]):
            raise WslFailure("MessageUserNotFound", code="Wsl/WSL_E_USER_NOT_FOUND")
        message = {
            "op": "launch",
            "distro": distro["name"],
            "user": launch.user,
            "directory": directory,
            "argv": _argv(launch),
            "env": passed_on(dict(os.environ)),
        }
        return self._exit_code(self._run_linux(message))

    def _directory(self, launch: Launch, distro: dict[str, Any]) -> str:
        """The Linux folder that the program starts in."""
        wanted = launch.directory
        here = self.state.path("distros", distro["name"], "mnt", "c", "Users", self.state.windows_user)
        if wanted is None:
            return here
        if wanted == "~":
            return self.state.home(distro, launch.user)
        if wanted.startswith("/"):
            return wanted
        if wanted.rstrip("\\").lower() not in ("c:", f"c:\\users\\{self.state.windows_user}".lower()):
            raise WslFailure("SystemFileNotFound", code="Wsl/ERROR_FILE_NOT_FOUND")
        return here

    def _run_linux(self, message: dict[str, Any]) -> int | None:
        """The raw wait status, None when the VM or the distro died under the command.

        A VM that stops at this very moment is waited for, and a new one started.
        """
        while True:
            with contextlib.closing(self._linked()) as link, contextlib.suppress(ConnectionResetError):
                return link.run(message)

    def _linked(self) -> vm_client.Link:
        link, started = vm_client.start(self.state)
        warnings = started.get("warnings", [])
        if warnings and os.environ.get("WSL_DISABLE_WARNINGS") != "1":
            wsl_text.write(wsl_text.STDERR, wsl_text.warning_texts(self.language, warnings))
        if (failure := started.get("failure")) is not None:
            name, values, code = failure
            raise WslFailure(name, *values, code=code)
        return link if link is not None else self._linked()

    def _exit_code(self, status: int | None) -> int:
        """The exit code for a raw wait status (reference wsl-exe §2.1): a signal gives N, not 128+N."""
        if status is None:
            return 1
        code = status & 0x7F or status >> 8
        if code == USER_NOT_FOUND:
            raise WslFailure("MessageUserNotFound", code="Wsl/WSL_E_USER_NOT_FOUND")
        if code == TTY_LIMIT:
            raise WslFailure("SystemTtyLimit", code="Wsl/WSL_E_TTY_LIMIT")
        return code


def passed_on(environment: dict[str, str]) -> dict[str, str]:
    """The variables of the Windows side that WSLENV lets through; paths are passed as they are."""
    names = environment.get("WSLENV", "")
    passed = {"WSLENV": names} if names else {}
    for entry in names.split(":"):
        name, _, flags = entry.partition("/")
        if name in environment and set(flags) <= set("plu"):
            passed[name] = environment[name]
    return passed


def _argv(launch: Launch) -> list[str]:
    if launch.argv is not None:
        return launch.argv
    login = ["-l"] if launch.shell_type == "login" or launch.shell_line is None else []
    command = [] if launch.shell_line is None else ["-c", launch.shell_line]
    return [login_shell(), *login, *command]


def _answers_without_service(request: Launch | Manage) -> bool:
    return isinstance(request, Manage) and request.verb in ("--help", "--version")


def main() -> int:
    """Run one call."""
    raw = os.environ.get("KOTARO_SIM_RAW_COMMAND_LINE")
    line = subprocess.list2cmdline(sys.argv[1:]) if raw is None else raw
    size = len(f"wsl.exe {line}".encode("utf-16-le")) // 2 + 1
    if size > COMMAND_LINE_LIMIT:
        sys.stderr.write(f"simulated PC: Windows starts nothing with a command line of {size} UTF-16 units\n")
        return FAILED
    return WslExe(State.from_environment()).run(line)


if __name__ == "__main__":
    sys.exit(main())
