"""The real llama-server for the tests: built once from llama-cpp-python's source archive, kept in the user's cache.

Owns that folder's content. The build runs in a temporary folder beside it and is moved into place whole.
A CPU build without GGML_NATIVE: native builds die with SIGILL on some virtual machines (measured).
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tools import environment, system_packages
from tools.console import WINDOWS, Stop, call, one_at_a_time, own_command, say

VERSION = "0.3.36"
"""The llama-cpp-python release that carries llama.cpp v0.5.0-dev, the build that the captured logs come from."""

_REQUIREMENT = (
    f"llama-cpp-python=={VERSION} --hash=sha256:832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e\n"
)
_OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "OFF",
    "GGML_NATIVE": "OFF",
    "GGML_OPENMP": "OFF",
    "GGML_CCACHE": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
    "LLAMA_OPENSSL": "OFF",
    # Else the build asks git, which answers for whatever checkout lies around the cache folder.
    "LLAMA_BUILD_NUMBER": "0",
    "LLAMA_BUILD_COMMIT": "unknown",
}
_TARGETS = ("llama-server", "llama-fit-params")
_STAMP = "stamp"


def verb(_arguments: Sequence[str]) -> int:
    """`dev.py llama-server`: the last line on stdout is the path of the program."""
    environment.setup()
    print(ensure())
    return 0


def folder() -> Path:
    """Where the programs are kept: below LOCALAPPDATA on Windows, below XDG_CACHE_HOME or ~/.cache elsewhere."""
    if WINDOWS:
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "kotaro-bridge" / "llama-server" / VERSION


def cached() -> Path | None:
    """The path of the finished llama-server, None when this recipe has not been built here."""
    stamp, program = folder() / _STAMP, _program(folder(), _TARGETS[0])
    current = stamp.exists() and stamp.read_text(encoding="utf-8") == _recipe()
    return program if current and program.exists() else None


def ensure() -> Path:
    """The path of llama-server, built first when it is not cached (5 to 9 minutes on 2 cores). Raises Stop."""
    found = cached()
    if found:
        return found
    parent = folder().parent
    with one_at_a_time(parent / "build.lock", "llama-server build"):
        if not cached():
            for left_over in parent.glob("building-*"):
                shutil.rmtree(left_over, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix="building-", dir=parent) as work:
                _build(Path(work))
    return _program(folder(), _TARGETS[0])


def can_build() -> bool:
    """Whether a C++ compiler can be expected here: on Windows only where Visual Studio's is installed."""
    if not WINDOWS:
        return True
    vswhere = Path(os.environ.get("PROGRAMFILES(X86)", "")) / "Microsoft Visual Studio" / "Installer" / "vswhere.exe"
    if not vswhere.exists():
        return False
    component = "Microsoft.VisualStudio.Component.VC.Tools.x86.x64"
    command = [str(vswhere), "-latest", "-products", "*", "-requires", component, "-property", "installationPath"]
    return bool(subprocess.run(command, capture_output=True, check=False).stdout.strip())


def _build(work: Path) -> None:
    if not can_build():
        raise Stop("there is no C++ compiler: install the Visual Studio Build Tools with C++, then start this again.")
    if not WINDOWS and not shutil.which("c++"):
        system_packages.require(["g++", "libc6-dev"], "llama-server needs a C++ compiler")
    started = time.monotonic()
    say(f"Building llama-server (llama-cpp-python {VERSION}) once; this takes 5 to 9 minutes on 2 cores")
    source, build = _source(work), work / "build"
    cmake = [*_nicely(), environment.program("cmake")]
    options = [f"-D{name}={value}" for name, value in _OPTIONS.items()]
    if not WINDOWS:
        options += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={environment.program('ninja')}"]
    log = folder().parent / "build.log"
    _logged([*cmake, "-S", str(source), "-B", str(build), *options], log, "wb")
    _logged(
        [*cmake, "--build", str(build), "--config", "Release", "-j", str(_jobs()), "--target", *_TARGETS], log, "ab"
    )
    done = work / "done"
    done.mkdir()
    for name in _TARGETS:
        shutil.move(_program(build / "bin" / ("Release" if WINDOWS else ""), name), done)
    (done / _STAMP).write_text(_recipe(), encoding="utf-8")
    if folder().exists():
        folder().rename(work / "former")
    done.rename(folder())
    say(f"Built llama-server in {time.monotonic() - started:.0f} s")


def _source(work: Path) -> Path:
    """Fetch the source archive, checked against its hash, and unpack the llama.cpp inside."""
    requirement = work / "requirement.lock"
    requirement.write_text(_REQUIREMENT, encoding="utf-8")
    pip = [environment.program("python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "download"]
    # Without isolation pip takes the locked scikit-build-core; it asks it for the archive's metadata, nothing is built.
    exact = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes", "-r", str(requirement)]
    call([*pip, *exact, "-d", str(work)], "Fetching the source of llama-server")
    root = f"llama_cpp_python-{VERSION}/vendor/llama.cpp"
    with tarfile.open(work / f"llama_cpp_python-{VERSION}.tar.gz") as archive:
        members = [member for member in archive if member.name.startswith(f"{root}/")]
        archive.extractall(work, members)  # noqa: S202 - the archive is the one whose hash is written above
    return work / root


def _logged(command: Sequence[str], log: Path, mode: str) -> None:
    with log.open(mode) as out:
        code = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, check=False).returncode
    if code != 0:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:]
        say("\n".join(tail))
        raise Stop(f"llama-server could not be built: the lines above say why, all of them are in {log}.")


def _program(base: Path, name: str) -> Path:
    return base / (f"{name}.exe" if WINDOWS else name)


def _nicely() -> list[str]:
    return ["nice", "-n", "10"] if not WINDOWS and shutil.which("nice") else []  # Git's own changes arguments


def _jobs() -> int:
    if sys.platform == "win32":
        return os.cpu_count() or 2
    return len(os.sched_getaffinity(0))


def _recipe() -> str:
    """Changes when the source, an option or the machine's kind does: then the cached program is built anew."""
    parts = [_REQUIREMENT, repr(sorted(_OPTIONS.items())), repr(_TARGETS), sys.platform, platform.machine()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest() + "\n"


def missing_sentence() -> str:
    """What to tell when a test needs the program and it is not there."""
    return f"the real llama-server is not built here: run `{own_command('llama-server')}` once."
