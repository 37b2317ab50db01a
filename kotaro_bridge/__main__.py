"""`python -m kotaro_bridge` and the `kotaro-bridge` program."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from kotaro_bridge import own_program
from kotaro_bridge.app import last_words


def main() -> int:
    """Run the command line; returns the exit code. Where windows are to open, their tray icon comes first."""
    if (module := own_program.module_asked_for(sys.argv[1:])) is not None:
        own_program.run_module(module)
        return 0
    return last_words.begin().guard(lambda: _run(sys.argv[1:]))


def _run(arguments: list[str]) -> int:
    if opens_windows(arguments):
        from kotaro_bridge.ui.first_icon import show_first_icon

        show_first_icon(" ".join(word for word in arguments if word != "--open"))
        last_words.begin_log()
        from kotaro_bridge.app.session import in_session, run_tray

        return in_session(arguments, run_tray)
    last_words.begin_log()
    from kotaro_bridge.cli.main import run_command_line

    return run_command_line(arguments)


def opens_windows(arguments: Sequence[str]) -> bool:
    """True for a plain start of the tray application, real or simulated: no other command, and no option but those that
    say which PC, which language, and that the window is to open. The command line judges the rest.
    """
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word in ("--simulate", "--lang") and words:
            words.pop(0)
        elif word not in ("demo", "--open") and not word.startswith(("--simulate=", "--lang=")):
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
