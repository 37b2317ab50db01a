"""How wsl.exe cuts its raw command line (reference wsl-exe §2.3, §3.1). Pure; texts and effects are elsewhere.

Option words end at the first blank, quotes are not understood (except in the value of `--cd`); the rest after `--` or
the first plain word is one raw string for the user's shell; the rest after `--exec` is cut by CommandLineToArgvW.
"""

from __future__ import annotations

from collections.abc import Callable

BLANKS = " \t"
NOT_SIMULATED = frozenset(
    {"--debug-shell", "--export", "--import", "--import-in-place", "--install", "--manage", "--mount", "--set-default"}
    | {
        "--set-default-version",
        "--set-version",
        "--system",
        "--uninstall",
        "--unmount",
        "--unregister",
        "--update",
        "-s",
    }
)


class WslFailure(Exception):
    """wsl.exe gives up: the id of its text, its values, and the path behind `Error code:` (None: no such line)."""

    def __init__(self, text: str, *values: str, code: str | None = None) -> None:
        super().__init__(text, *values, code)
        self.text = text
        self.values = values
        self.code = code


class Launch:
    """Run something on the Linux side.

    `argv` is set for `--exec`; `shell_line` for the user's shell; neither means an interactive login shell.
    """

    def __init__(self) -> None:
        self.distro: str | None = None
        self.user: str | None = None
        self.directory: str | None = None
        self.shell_type = "standard"
        self.argv: list[str] | None = None
        self.shell_line: str | None = None


class Manage:
    """A command of wsl.exe itself: its long name and its raw rest."""

    def __init__(self, verb: str, rest: str) -> None:
        self.verb = verb
        self.rest = rest


def parse(line: str, check_distro: Callable[[str], None]) -> Launch | Manage:
    """What the raw command line (without the program name) asks for.

    Args:
        line: as GetCommandLineW would give it.
        check_distro: called with the value of `-d` when the option is read, as wsl.exe asks its service; raises
            `WslFailure` for an unknown name.

    Raises:
        WslFailure: as wsl.exe would report it.
    """
    launch = Launch()
    line = line.lstrip(BLANKS)
    word, rest = cut_word(line)
    if word == "~":
        launch.directory, line = "~", rest
    while line:
        word, rest = cut_word(line)
        if word in ("-d", "--distribution"):
            if launch.distro is not None:
                raise WslFailure("MessageDistroAlreadySet")
            launch.distro, line = _value("--distribution", rest)
            check_distro(launch.distro)
        elif word in ("-u", "--user"):
            launch.user, line = _value("--user", rest)
        elif word == "--cd":
            launch.directory, line = _value("--cd", rest, quotes=True)
        elif word == "--shell-type":
            launch.shell_type, line = _value("--shell-type", rest)
            if launch.shell_type not in ("standard", "login", "none"):
                raise WslFailure("SystemInvalidArgument", code="Wsl/E_INVALIDARG")
        elif word in ("-e", "--exec"):
            launch.argv = _exec_arguments(rest)
            return launch
        elif word == "--":
            return _with_rest(launch, rest)
        elif (verb := _MANAGEMENT.get(word)) is not None or word in NOT_SIMULATED:
            return Manage(verb or word, rest)
        elif word.startswith("-"):
            raise WslFailure("MessageInvalidCommandLine", word, "wsl.exe")
        else:
            return _with_rest(launch, line)
    return launch


_MANAGEMENT = {
    "-l": "--list",
    "--list": "--list",
    "--status": "--status",
    "-v": "--version",
    "--version": "--version",
    "--help": "--help",
    "--shutdown": "--shutdown",
    "-t": "--terminate",
    "--terminate": "--terminate",
}


def cut_word(line: str, *, quotes: bool = False) -> tuple[str, str]:
    """The first word and the rest without leading blanks; with `quotes`, a leading quoted part is one word."""
    if quotes and line.startswith('"'):
        end = line.find('"', 1)
        end = len(line) if end < 0 else end
        return line[1:end], line[end + 1 :].lstrip(BLANKS)
    end = next((at for at, char in enumerate(line) if char in BLANKS), len(line))
    return line[:end], line[end:].lstrip(BLANKS)


def command_line_to_argv(line: str, *, program_first: bool = True) -> list[str]:
    """Cut a string as CommandLineToArgvW does.

    Args:
        line: the raw text, without leading blanks.
        program_first: the first word follows the rule for the program name (no backslash escapes).
    """
    words: list[str] = []
    if program_first:
        word, line = _cut_program(line)
        words.append(word)
    line = line.lstrip(BLANKS)
    while line:
        word, line = _cut_argument(line)
        words.append(word)
        line = line.lstrip(BLANKS)
    return words


def _cut_program(line: str) -> tuple[str, str]:
    if line.startswith('"'):
        word, _, rest = line[1:].partition('"')
        return word, rest
    return cut_word(line)


def _cut_argument(line: str) -> tuple[str, str]:
    """One argument: 2n backslashes before a quote are n, 2n+1 also keep the quote; three quotes in a row are one."""
    out: list[str] = []
    at = 0
    quotes = 0
    while at < len(line) and (quotes or line[at] not in BLANKS):
        if line[at] == "\\":
            end = at
            while end < len(line) and line[end] == "\\":
                end += 1
            count = end - at
            escaped = end < len(line) and line[end] == '"'
            out.append("\\" * (count // 2 if escaped else count))
            at = end
            if escaped and count % 2:
                out.append('"')
                at += 1
        elif line[at] == '"':
            quotes += 1
            at += 1
            while at < len(line) and line[at] == '"':
                quotes += 1
                if quotes == 3:
                    out.append('"')
                    quotes = 0
                at += 1
            if quotes == 2:
                quotes = 0
        else:
            out.append(line[at])
            at += 1
    return "".join(out), line[at:]


def _value(option: str, rest: str, *, quotes: bool = False) -> tuple[str, str]:
    if not rest:
        raise WslFailure("MessageRequiredParameterMissing", option)
    return cut_word(rest, quotes=quotes)


def _exec_arguments(rest: str) -> list[str]:
    if not rest:
        raise WslFailure("SystemInvalidArgument", code="Wsl/E_INVALIDARG")
    return command_line_to_argv(rest)


def _with_rest(launch: Launch, rest: str) -> Launch:
    if launch.shell_type == "none":
        launch.argv = _exec_arguments(rest)
    elif rest:
        launch.shell_line = rest
    return launch
