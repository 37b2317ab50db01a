"""A program that saves a `.wslconfig`, to be killed in the middle of it: FILE BACKUPS [STEP].

With STEP it ends itself, as hard as a kill does, at that step of one save: the nth time that it opens, renames, removes
or changes a file. Without it, each line on stdin makes a child that saves over and over; its number is on stdout when
it begins, and `ended` when somebody has killed it. STEP 0 is such a child where there is no fork.
"""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import count
from pathlib import Path

from kotaro_bridge.host.wslconfig_file import WslConfigFile

OLD = b"[wsl2]\nmemory=8GB\n" + b"# old\n" * 50_000
NEW = b"[wsl2]\nmemory=9GB\n" + b"# new\n" * 50_000
STEPS = ("open", "os.rename", "os.remove", "os.chmod", "os.mkdir", "os.chown", "os.truncate")


def main() -> None:
    """See the module."""
    file = WslConfigFile(Path(sys.argv[1]), Path(sys.argv[2]))
    if sys.argv[3:] == ["0"]:
        _save_for_ever(file)
    elif len(sys.argv) > 3:
        _end_at(int(sys.argv[3]))
        file.replace(NEW, file.read().fingerprint)
    else:
        for _ in sys.stdin:
            print(f"ended {_child(file)}", flush=True)


def _child(file: WslConfigFile) -> int:
    """Exit code of a child that saves until it is killed; the negative number of a signal on POSIX."""
    if sys.platform == "win32":
        argv = [sys.executable, "-m", "tests.helpers.save_in_a_loop", *sys.argv[1:], "0"]
        return subprocess.run(argv, stdin=subprocess.DEVNULL, check=False).returncode
    child = os.fork()
    if child == 0:
        _save_for_ever(file)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _save_for_ever(file: WslConfigFile) -> None:
    data = NEW if file.read().data == OLD else OLD
    try:
        file.replace(data, file.read().fingerprint)  # the first one is slower: it imports what Windows needs
        print(os.getpid(), flush=True)
        while file.replace(data, file.read().fingerprint) is not None:
            data = NEW if data == OLD else OLD
    finally:
        os._exit(1)


def _end_at(step: int) -> None:
    numbers = count(1)

    def hook(event: str, _: object) -> None:
        if event in STEPS and next(numbers) == step:
            os.kill(os.getpid(), 9)

    sys.addaudithook(hook)


if __name__ == "__main__":
    main()
