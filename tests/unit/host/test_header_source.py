"""Headers of local files, of open files, and over SFTP from a real sshd."""

from __future__ import annotations

import getpass
import io
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.model.gguf import read_gguf
from kotaro_bridge.host.header_source import file_source, open_source, sftp_source
from kotaro_bridge.host.model_source import resolve_model
from tests.helpers.gguf_header import Q32, pack_header, qwen2_shape

MIB = 1 << 20
FILE_BYTES = 20 * 10**9
TOKENS = [f"Ġtok{n:06d}" for n in range(152_064)]
MERGES = [f"Ġto {n:06d}" for n in range(151_387)]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 32B model of 20 GB with a tokenizer, sparse: its header alone takes room."""
    path = tmp_path_factory.mktemp("large") / "q32.gguf"
    values = {"tokenizer.ggml.tokens": TOKENS, "tokenizer.ggml.merges": MERGES}
    path.write_bytes(qwen2_shape(*Q32, {**values, "tokenizer.ggml.token_type": [1] * len(TOKENS)}))
    os.truncate(path, FILE_BYTES)
    return path


def make_cold(path: Path) -> None:
    """Let the system forget what it has of a file, as after a start of the machine."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no call that makes a file cold")
def test_a_large_file_costs_little_though_it_is_cold(large: Path) -> None:
    limit_s = 0.15 if sys.gettrace() is None else 1.5  # coverage follows each line
    taken_s: list[float] = []
    for _ in range(10):  # other programs share the processors: the best of ten
        make_cold(large)
        started_s = time.perf_counter()
        resolve_model(str(large))
        taken_s.append(time.perf_counter() - started_s)
        if taken_s[-1] < limit_s:
            break
    assert min(taken_s) < limit_s


def test_a_large_file_is_read_with_few_calls(large: Path) -> None:
    calls: list[int] = []
    with open_source(large) as source:

        def read_at(offset: int, size: int) -> bytes:
            data = source.read_at(offset, size)
            calls.append(len(data))
            return data

        assert source.size == FILE_BYTES
        assert read_gguf(read_at, source.size).block_count == 64
    assert len(calls) <= 4
    assert sum(calls) <= 16 * MIB


def test_reading_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    with open_source(str(path)) as source:
        assert (source.size, source.read_at(8, 5), source.read_at(10, 5), source.read_at(50, 5)) == (
            10,
            b"89",
            b"",
            b"",
        )


def test_a_path_that_leads_nowhere(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path / "none" / "f"):
        with pytest.raises(ProblemError) as caught, open_source(path):
            raise AssertionError
        assert (caught.value.problem.code, caught.value.problem.params["path"]) == ("model.missing", str(path))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ProblemError) as caught, open_source(tmp_path):
        raise AssertionError
    assert (caught.value.problem.code, caught.value.problem.params["path"]) == ("model.not_file", str(tmp_path))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes among its files")
@pytest.mark.timeout(10)
def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    """To open it would wait for a writer, forever."""
    pipe = tmp_path / "fifo.gguf"
    os.mkfifo(pipe)
    with pytest.raises(ProblemError) as caught:
        resolve_model(str(pipe))
    assert caught.value.problem.code == "model.not_file"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a file of Linux that can be opened and has no end")
def test_a_file_that_cannot_be_read() -> None:
    with pytest.raises(ProblemError) as caught, open_source("/proc/self/mem"):
        raise AssertionError
    assert caught.value.problem.code == "model.unreadable"


def test_errors_of_the_caller_are_not_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(OSError, match="mine"), open_source(tmp_path / "f"):
        raise OSError("mine")


def test_an_open_file() -> None:
    data = qwen2_shape(2, 256, 512, 4, 2)
    source = file_source(io.BytesIO(data), None)
    assert source.size is None
    with pytest.raises(ProblemError) as caught:
        read_gguf(source.read_at, source.size)
    assert caught.value.problem.params["actual_bytes"] == len(data)  # the header alone: found without knowing the size


# --- SFTP


SSHD = shutil.which("sshd", path=os.defpath + os.pathsep + "/usr/sbin")


@pytest.fixture(scope="module")
def sftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[paramiko.SFTPClient]:
    """A real sshd on loopback, with keys of its own. `dev.py test` installs it where `CI` is set."""
    if SSHD is None:
        pytest.skip("there is no sshd here: install openssh-server")
    folder = tmp_path_factory.mktemp("sshd")
    folder.chmod(0o700)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copy(folder / "user.pub", folder / "allowed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = (
        f"ListenAddress=127.0.0.1:{port}", f"HostKey={folder / 'host'}", f"AuthorizedKeysFile={folder / 'allowed'}",
        "StrictModes=no", "UsePAM=no", "PidFile=none", "PermitRootLogin=yes", "Subsystem=sftp internal-sftp",
    )  # fmt: skip
    if getpass.getuser() == "root":
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd locks itself in while nobody is logged in
    command = [SSHD, "-D", "-e", "-f", "/dev/null", *(word for option in options for word in ("-o", option))]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as server:
        try:
            with paramiko.SSHClient() as client:
                client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
                _connect(client, port, folder / "user", server)
                with client.open_sftp() as session:
                    yield session
        finally:
            server.terminate()


def _connect(client: paramiko.SSHClient, port: int, key: Path, server: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + 10
    while True:
        try:
            return client.connect(
                "127.0.0.1", port, getpass.getuser(), key_filename=str(key), allow_agent=False, look_for_keys=False
            )
        except paramiko.ssh_exception.NoValidConnectionsError:
            assert server.poll() is None, server.stderr.read() if server.stderr else ""
            assert time.monotonic() < deadline_s
            time.sleep(0.02)


def test_a_header_over_sftp(sftp: paramiko.SFTPClient, large: Path) -> None:
    with sftp.open(str(large)) as file:
        source = sftp_source(file)
        assert source.size == FILE_BYTES
        model = read_gguf(source.read_at, source.size)
    with open_source(large) as local:
        assert model == read_gguf(local.read_at, local.size)


def test_the_end_of_a_file_over_sftp(sftp: paramiko.SFTPClient, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(pack_header({"general.architecture": "x"}))
    with sftp.open(str(path)) as file:
        source = sftp_source(file)
        assert source.size is not None
        assert source.read_at(source.size - 3, 100) == path.read_bytes()[-3:]
        assert source.read_at(source.size, 100) == b""
