"""vllm_probe.py, run for real on packages that are laid out as the real wheels are (torch 2.15.0+cu132 looked into)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kotaro_bridge.host.guardian import target_script

if sys.platform == "win32":
    pytest.skip("the script runs on the Linux side", allow_module_level=True)

VERSION = """from typing import Optional

__all__ = ['__version__', 'debug', 'cuda', 'git_version', 'hip', 'rocm', 'xpu']
__version__ = '{torch}'
debug = False
cuda: Optional[str] = {cuda}
git_version = 'd0f2af8b66b20da4baa50644c0cd3f887a2eae2e'
hip: Optional[str] = None
"""
IMPORTED = "raise SystemExit('torch was imported')\n"


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A site-packages folder."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    return folder


def add_vllm(packages: Path, version: str) -> None:
    info = packages / f"vllm-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: vllm\nVersion: {version}\n")


def add_torch(packages: Path, version: str, cuda: str, library: bytes | None = None) -> None:
    (packages / "torch" / "lib").mkdir(parents=True)
    (packages / "torch" / "__init__.py").write_text(IMPORTED)
    (packages / "torch" / "version.py").write_text(VERSION.format(torch=version, cuda=cuda))
    if library is not None:
        (packages / "torch" / "lib" / "libc10_cuda.so").write_bytes(library)


def probe(packages: Path, cwd: Path | None = None) -> dict[str, str]:
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    command = [sys.executable, "-S", "-c", target_script("vllm_probe.py")]
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=20, check=True)
    assert done.stderr == ""
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def test_versions_are_read_without_an_import(packages: Path) -> None:
    add_vllm(packages, "0.25.0")
    add_torch(packages, "2.15.0+cu132", "'13.2'")
    said = probe(packages)
    assert (said["vllm"], said["torch"], said["cuda"]) == ("0.25.0", "2.15.0+cu132", "13.2")
    assert "library" not in said
    assert "driver" in said


def test_builds_for_the_cpu_say_so(packages: Path) -> None:
    add_vllm(packages, "0.25.0+cpu")
    add_torch(packages, "2.15.0+cpu", "None")
    said = probe(packages)
    assert (said["vllm"], said["torch"], said["cuda"]) == ("0.25.0+cpu", "2.15.0+cpu", "None")


def test_what_is_not_installed_is_not_named(packages: Path, tmp_path: Path) -> None:
    assert not {"vllm", "torch", "cuda", "library"} & set(probe(packages))
    add_torch(tmp_path, "1.0", "None")
    assert "torch" not in probe(packages, cwd=tmp_path), "a folder of that name in the working directory is none"


def test_a_library_that_does_not_load_is_told_in_the_loaders_words(packages: Path) -> None:
    add_vllm(packages, "0.25.0")
    add_torch(packages, "2.15.0+cu132", "'13.2'", library=b"no library")
    said = probe(packages)["library"]
    assert said.startswith(str(packages / "torch" / "lib" / "libc10_cuda.so"))
    assert "ok" not in said.split()


def test_a_library_that_loads(packages: Path) -> None:
    add_vllm(packages, "0.25.0")
    add_torch(packages, "2.15.0+cu132", "'13.2'", library=Path(libc()).read_bytes())
    assert probe(packages)["library"] == "ok"


def libc() -> str:
    """Path of a shared library that every Linux has."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    return next(line.split()[-1] for line in maps if "/libm.so" in line or "/libm-" in line)
