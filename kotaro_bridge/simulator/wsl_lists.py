"""`wsl.exe --list` in all its forms (reference wsl-exe §2.2). Starts nothing."""

from __future__ import annotations

from typing import Any

from kotaro_bridge.simulator import vm_client, wsl_text
from kotaro_bridge.simulator.state import State
from kotaro_bridge.simulator.wsl_command_line import WslFailure

FAILED = 255
OPTIONS = {
    "-v": "verbose",
    "--verbose": "verbose",
    "-q": "quiet",
    "--quiet": "quiet",
    "--running": "running",
    "--all": "all",
}
IN_THE_MAKING = ("Installing", "Uninstalling", "Converting", "Exporting")


def list_distros(state: State, language: str, arguments: list[str]) -> int:
    """Print a list; the exit code.

    Raises:
        WslFailure: unknown or contradicting options, or nothing to list.
    """
    unknown = [argument for argument in arguments if argument not in OPTIONS]
    if unknown:
        raise WslFailure("MessageInvalidCommandLine", unknown[0], "wsl.exe", code="Wsl/E_INVALIDARG")
    options = {OPTIONS[argument] for argument in arguments}
    if {"quiet", "verbose"} <= options or {"all", "running"} <= options:
        raise WslFailure("MessageWslUsage")
    running = vm_client.running_distros(state)
    distros = [{**each, "state": _state(each, running)} for each in state.scenario["distros"]]
    distros.sort(key=lambda each: not each["default"])
    if "verbose" in options:
        _say(_table(distros))
        return 0
    if "running" in options:
        distros = [each for each in distros if each["state"] == "Running"]
        if not distros and "quiet" not in options:
            _say(wsl_text.text(language, "MessageNoRunningDistro"))
            return FAILED
    if "all" not in options:
        distros = [each for each in distros if each["state"] not in IN_THE_MAKING]
    if "quiet" in options:
        _say("".join(f"{each['name']}\n" for each in distros))
        return 0
    if not distros:
        raise WslFailure("MessageNoDefaultDistro")
    _say(wsl_text.text(language, "MessageRegisteredDistrosHeader"))
    for each in distros:
        marked = wsl_text.text(language, "MessagePrintDistroDefault", each["name"])
        _say(marked if each["default"] else each["name"])
    return 0


def _state(distro: dict[str, Any], running: list[str]) -> str:
    """Running or Stopped, unless the scenario has it in the making; never translated."""
    if distro["state"] in IN_THE_MAKING:
        return str(distro["state"])
    return "Running" if distro["name"] in running else "Stopped"


def _table(distros: list[dict[str, Any]]) -> str:
    if not distros:
        raise WslFailure("MessageNoDefaultDistro")
    width = max(4, *(len(each["name"]) for each in distros)) + 4
    lines = [f"  {'NAME':<{width}}{'STATE':<16}VERSION\n"]
    for each in distros:
        lines.append(f"{'*' if each['default'] else ' '} {each['name']:<{width}}{each['state']:<16}{each['version']}\n")
    return "".join(lines)


def _say(message: str) -> None:
    if message:
        wsl_text.write(wsl_text.STDOUT, message)
