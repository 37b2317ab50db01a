"""verify_gpu.sh as people run it: a fact per line; 0 for a card that is free enough, 1 with the reason, 2 misused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kotaro_bridge.domain.ports import Completed
from kotaro_bridge.host.nvidia_smi import FIELDS, parse_nvidia_smi
from kotaro_bridge.resources import resource

if sys.platform == "win32":
    pytest.skip("the script runs on the Linux side", allow_module_level=True)

SCRIPT = resource("guardian/verify_gpu.sh")
ONE = "0, 580.88, 12282, 10998, NVIDIA GeForce RTX 4070"
TWO = f"{ONE}\n1, 580.88, 24564, 300, NVIDIA RTX 6000, Ada Generation"


@pytest.fixture
def smi(tmp_path: Path) -> Path:
    """Where a test puts its nvidia-smi."""
    return tmp_path / "nvidia-smi"


def place(smi: Path, script: str) -> None:
    smi.write_text(f"#!/bin/sh\n{script}\n")
    smi.chmod(0o755)


def verify(smi: Path | None, *arguments: str, script: Path = SCRIPT, **more: str) -> subprocess.CompletedProcess[str]:
    named = {} if smi is None else {"NVIDIA_SMI": str(smi)}
    environment = {**os.environ, **named, **more}
    return subprocess.run(
        ["/bin/sh", str(script), *arguments], env=environment, capture_output=True, text=True, timeout=20, check=False
    )


def test_the_script_is_a_program_of_its_own() -> None:
    text = SCRIPT.read_bytes()
    assert text.startswith(b"#!/bin/sh\n")
    assert b"\r" not in text


def test_enough_is_free(smi: Path) -> None:
    place(smi, f"echo '{ONE}'")
    done = verify(smi, "--need-mib", "10998")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"nvidia-smi: {smi}",
        "graphics cards: 1",
        "card 0: NVIDIA GeForce RTX 4070, driver 580.88",
        "video memory: 10998 of 12282 MiB are free, 10998 MiB are needed",
        "ok",
    ]


def test_the_card_and_the_count_that_are_asked_for(smi: Path) -> None:
    place(smi, f"echo '{TWO}'")
    done = verify(smi, "--need-mib", "300", "--gpu", "1", "--gpus", "2")
    assert done.returncode == 0
    assert "card 1: NVIDIA RTX 6000, Ada Generation, driver 580.88" in done.stdout


@pytest.mark.parametrize(
    ("script", "arguments", "reason"),
    [
        (f"echo '{ONE}'", ("--need-mib", "10999"), "card 0 has 10998 of 12282 MiB free, 10999 MiB are needed."),
        (f"echo '{TWO}'", ("--need-mib", "301", "--gpu", "1"), "card 1 has 300 of 24564 MiB free"),
        (f"echo '{ONE}'", ("--need-mib", "1", "--gpus", "2"), "there are 1 graphics cards, 2 are needed."),
        (f"echo '{ONE}'", ("--need-mib", "1", "--gpu", "1"), "there is no graphics card 1."),
        (f"echo '1{ONE}'", ("--need-mib", "1"), "there is no graphics card 0."),
        ("echo '0, 580.88, 12282, [N/A], RTX'", ("--need-mib", "1"), "does not tell how much video memory of card 0"),
        ("echo 'No devices were found'", ("--need-mib", "1"), "lists no graphics card: No devices were found"),
        ("exit 0", ("--need-mib", "1"), "lists no graphics card"),
        ("echo 'Failed to initialize NVML: GPU access blocked'; exit 17", ("--need-mib", "1"),
         "failed with code 17: Failed to initialize NVML: GPU access blocked"),
        ("echo oops >&2; exit 9", ("--need-mib", "1"), "failed with code 9: oops"),
    ],
)  # fmt: skip
def test_each_reason_is_told_on_stderr(smi: Path, script: str, arguments: tuple[str, ...], reason: str) -> None:
    place(smi, script)
    done = verify(smi, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("verify_gpu.sh: ")
    assert done.stderr.count("\n") == 1
    assert reason in done.stderr
    assert "ok" not in done.stdout.splitlines()


def test_no_nvidia_smi(smi: Path) -> None:
    done = verify(smi, "--need-mib", "1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "nvidia-smi was not found" in done.stderr


def test_it_is_found_on_the_path(smi: Path, tmp_path: Path) -> None:
    place(smi, f"echo '{ONE}'")
    outside = tmp_path / "verify_gpu.sh"
    outside.write_text(SCRIPT.read_text().replace("/usr/lib/wsl/lib/", "/nowhere/"))
    done = verify(None, "--need-mib", "1", script=outside, PATH=f"{smi.parent}:{os.environ['PATH']}")
    assert done.stdout.splitlines()[0] == f"nvidia-smi: {smi}"


def test_the_folder_of_wsl_comes_before_the_path(smi: Path, tmp_path: Path) -> None:
    """A Linux driver that somebody put into WSL brings an nvidia-smi that does not fit."""
    place(smi, f"echo '{ONE}'")
    (tmp_path / "path").mkdir()
    place(tmp_path / "path" / "nvidia-smi", "echo wrong; exit 9")
    moved = tmp_path / "verify_gpu.sh"
    moved.write_text(SCRIPT.read_text().replace("/usr/lib/wsl/lib/nvidia-smi}", f"{smi}}}"))
    done = verify(None, "--need-mib", "1", script=moved, PATH=f"{tmp_path}/path:{os.environ['PATH']}")
    assert done.stdout.splitlines()[0] == f"nvidia-smi: {smi}"


def test_an_nvidia_smi_that_hangs_is_given_up(smi: Path, tmp_path: Path) -> None:
    place(smi, "exec sleep 60")
    quick = tmp_path / "verify_gpu.sh"
    quick.write_text(SCRIPT.read_text().replace("timeout -k 1 10", "timeout -k 1 0.2"))
    done = verify(smi, "--need-mib", "1", script=quick)
    assert done.returncode == 1
    assert "did not answer within 10 seconds" in done.stderr
    assert verify(smi, "--csv", "index", script=quick).returncode == 124


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--gpu", "0"),
        ("--need-mib",),
        ("--need-mib", "x"),
        ("--need-mib", "-1"),
        ("--need-mib", "010"),
        ("--need-mib", ""),
        ("--need-mib", "1", "--gpu", "a"),
        ("--need-mib", "1", "--gpus", "1.5"),
        ("--need-mib", "1", "--force", "yes"),
        ("9000",),
    ],
)
def test_wrong_usage(smi: Path, arguments: tuple[str, ...]) -> None:
    place(smi, f"echo '{ONE}'")
    done = verify(smi, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: verify_gpu.sh --need-mib N" in done.stderr


def test_help(smi: Path) -> None:
    for word in ("--help", "-h"):
        done = verify(smi, word)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("usage: verify_gpu.sh --need-mib N [--gpu I] [--gpus COUNT]\n")


def test_the_gate_gets_nvidia_smis_own_words_and_code(smi: Path) -> None:
    place(smi, 'echo "$*"; exit 17')
    done = verify(smi, "--csv", FIELDS)
    assert done.returncode == 17
    assert done.stdout == f"--query-gpu={FIELDS} --format=csv,noheader,nounits\n"
    place(smi, "echo '0, GPU-1, RTX, 580.88, 12282, 1053, 10995, 8.9, 0, 40, 12.5, 10501'")
    done = verify(smi, "--csv", FIELDS)
    (card,) = parse_nvidia_smi(Completed(done.returncode, done.stdout, done.stderr))
    assert (card.name, card.compute_cap) == ("RTX", "8.9")
    smi.unlink()
    done = verify(smi, "--csv", FIELDS)
    assert (done.returncode, done.stderr) == (127, f"{smi}: not found\n")
