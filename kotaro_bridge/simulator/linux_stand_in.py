"""Stands in for the Linux side of the simulated PC of a Windows machine, where nothing of Linux can run.

THIS IS NO LINUX AND NO PART OF THE PRODUCT. On Linux the emulated wsl.exe really runs the scripts that the product
sends; on Windows this module answers as those scripts would, for the handful of programs that the product asks for:
`kotaro-guardian`, `kotaro-probe`, `kotaro-models`, `kotaro-fetch`, `kotaro-vm`, `kotaro-port`, `verify_gpu.sh` and
`read-at` behind `/bin/sh -c`, nvidia-smi and wslinfo. Everything else ends in one sentence. Only the emulated wsl.exe
comes here (a test holds that); the tests compare its answers with those of the real scripts. On Linux the switch
`linux_side` of the state folder puts it in the place of the real thing.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import threading
import time
from typing import IO, Any

from kotaro_bridge.own_program import module_argv
from kotaro_bridge.simulator import (
    guardian_stand_in,
    models_stand_in,
    nvidia_smi,
    probe_stand_in,
    procs,
    vm_shown,
    vm_stand_in,
    wslinfo,
)
from kotaro_bridge.simulator.guardian_stand_in import in_home
from kotaro_bridge.simulator.state import WSL_NVIDIA_SMI, WSLINFO, State, distro_environment, python_environment

NOT_READABLE = 44
NOT_FOUND, TIMED_OUT = 127, 124  # as a shell and `timeout` have it
VERIFY_S, PORT_S = 10.0, 20.0
WEIGHTS = (".safetensors", ".bin", ".gguf")
CHUNK = 1 << 16
DRAIN_S = 1.0
NEEDED_BY_WINDOWS = ("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "TEMP", "TMP", "USERPROFILE", "APPDATA", "LOCALAPPDATA")
"""Without the first Windows opens no socket; Python finds folders with the others."""


def run(state: State, message: dict[str, Any]) -> int | None:
    """Do what the program of a launch does.

    Returns:
        The raw wait status; None when the distro was stopped under it.
    """
    argv: list[str] = message["argv"]
    environment = distro_environment(state, message, gpu=vm_stand_in.gpu_inside(state))
    environment["HOME"] = models_stand_in.posix(environment["HOME"])
    environment |= {name: os.environ[name] for name in NEEDED_BY_WINDOWS if name in os.environ}
    word, rest = (argv[3], argv[4:]) if argv[:2] == ["/bin/sh", "-c"] and len(argv) > 3 else (argv[0], argv[1:])
    if word == "kotaro-guardian" and rest[0] in ("run", "tell"):
        return _guarded(message, environment, rest)
    with vm_stand_in.client(state, message["distro"]):
        return _answer(state, word, rest, environment) << 8


def _answer(state: State, word: str, rest: list[str], environment: dict[str, str]) -> int:
    """The exit code of a program that answers and ends."""
    if word == "kotaro-guardian" and rest[0] == "list":
        guardian_stand_in.list_runs(environment)
    elif word == "kotaro-guardian" and rest[0] == "reap":
        guardian_stand_in.reap(environment, rest[1], float(rest[2]))
    elif word == "kotaro-probe":
        os.write(1, "".join(f"{line}\n" for line in probe_stand_in.lines(state, rest, environment)).encode())
    elif word == "kotaro-models":
        return models_stand_in.run(rest, environment)
    elif word == guardian_stand_in.FETCH:
        return _client(state, rest, environment)
    elif word == "verify_gpu.sh":
        return _verify_gpu(state, rest)
    elif word == "read-at":
        return read_at(rest, environment)
    elif word == "kotaro-vm":
        os.write(1, "".join(f"{line}\n" for line in vm_facts(state, rest, environment)).encode())
    elif word == "kotaro-port":
        _open_port(rest[0])
    elif word == WSL_NVIDIA_SMI:
        if state.switches()["nvidia_smi"] == "missing" or not vm_stand_in.gpu_inside(state):
            return _missing(word)
        return nvidia_smi.main(rest)
    elif word in WSLINFO:
        return wslinfo.main(rest)
    else:
        return _missing(word)
    return 0


def _missing(program: str) -> int:
    """What WSL says of a program that it cannot start."""
    told = f"<3>WSL ({os.getpid()} - Relay) ERROR: CreateProcessCommon:798: execvpe({program}) failed: "
    os.write(2, f"{told}No such file or directory\n".encode())
    return 1


def vm_facts(state: State, models: list[str], environment: dict[str, str]) -> list[str]:
    """What `vm_facts.sh` prints."""
    proc = vm_shown.shown(state)
    sizes = vm_shown.sizes(proc)
    told = [
        f"boot {proc['sys/kernel/random/boot_id'].strip()}",
        f"began {re.findall('^btime (.*)$', proc['stat'], re.MULTILINE)[0]}",
        f"processors {len(re.findall('^cpu[0-9]', proc['stat'], re.MULTILINE))}",
        f"memory {sizes['MemTotal']}",
        f"swap {sizes['SwapTotal']}",
        f"networking {wslinfo.networking(state)}",
        f"command {proc['cmdline'].strip()}",
        f"release {proc['sys/kernel/osrelease'].strip()}",
    ]
    sized = ((name, _weights(in_home(name, environment["HOME"]))) for name in models)
    return [*told, *(f"model {size} {name}" for name, size in sized if size is not None)]


def _weights(path: str) -> int | None:
    """Bytes of a model's file, or of the weights in its folder; None where there are none."""
    if os.path.isfile(path):
        return os.path.getsize(path)
    if not os.path.isdir(path):
        return None
    with os.scandir(path) as entries:
        return sum(each.stat().st_size for each in entries if each.name.endswith(WEIGHTS) and each.is_file()) or None


def _open_port(word: str) -> None:
    """`vm_port.sh`."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PORT_S)
        os.write(1, f"port {server.getsockname()[1]}\n".encode())
        with contextlib.suppress(TimeoutError), server.accept()[0] as connection:
            connection.sendall(f"{word}\n".encode())


def _verify_gpu(state: State, arguments: list[str]) -> int:
    """`verify_gpu.sh --csv FIELDS`, which is all that the product asks of it."""
    mode = state.switches()["nvidia_smi"]
    if mode == "missing" or not vm_stand_in.gpu_inside(state):
        os.write(2, b"nvidia-smi: not found\n")
        return NOT_FOUND
    if mode == "hang":
        time.sleep(VERIFY_S)
        return TIMED_OUT
    return nvidia_smi.main([f"--query-gpu={arguments[1]}", "--format=csv,noheader,nounits"])


def read_at(arguments: list[str], environment: dict[str, str]) -> int:
    """Write a part of a file to stdout: PATH, first byte counted from 1, SIZE; the exit code."""
    path, first, size = in_home(arguments[0], environment["HOME"]), int(arguments[1]), int(arguments[2])
    if not (os.path.isfile(path) and os.access(path, os.R_OK)):
        return NOT_READABLE
    with open(path, "rb") as file:
        file.seek(first - 1)
        while data := file.read(min(size, CHUNK)):
            size -= len(data)
            _write(1, data)
    return 0


def _client(state: State, arguments: list[str], environment: dict[str, str]) -> int:
    """The client for downloads, in an environment of its own, with our streams; its exit code."""
    program = {**environment, **python_environment(state.folder)}
    return subprocess.run([*module_argv(guardian_stand_in.CLIENT), *arguments], env=program, check=False).returncode


def _guarded(message: dict[str, Any], environment: dict[str, str], arguments: list[str]) -> int | None:
    """Run the guardian as a program of its own, with our streams relayed: it outlives us, and notices."""
    launch = {"environment": environment, "directory": message["directory"], "distro": message["distro"]}
    command = [*module_argv(guardian_stand_in.__name__), json.dumps({**launch, "arguments": arguments})]
    pipe = subprocess.PIPE
    guardian = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
    if guardian.stdin is None or guardian.stdout is None or guardian.stderr is None:
        raise AssertionError("asked for with PIPE")
    streams = ((guardian.stdout, 1), (guardian.stderr, 2))
    pumps = [threading.Thread(target=_pump, args=pair, daemon=True) for pair in streams]
    for thread in (threading.Thread(target=_pump_stdin, args=(guardian.stdin,), daemon=True), *pumps):
        thread.start()
    code = guardian.wait()
    for pump in pumps:
        pump.join(DRAIN_S)
    return code << 8 if procs.ended_by(code) is None else None


def _pump_stdin(target: IO[bytes]) -> None:
    with contextlib.suppress(OSError):
        while data := os.read(0, CHUNK):
            _write(target.fileno(), data)
    with contextlib.suppress(OSError):
        target.close()


def _pump(source: IO[bytes], target: int) -> None:
    with contextlib.suppress(OSError), source:
        while data := os.read(source.fileno(), CHUNK):
            _write(target, data)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
