"""The real llama-server on a machine without a GPU: it would be glad to run on the CPU, and must not get that far."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Station
from tests.helpers.cli import CommandLine, Done, listens
from tests.helpers.lying_engine import DEVICE_DROPPED, PLACEMENT_DROPPED, lying_engine, write_profile
from tests.helpers.simulated import processes_of
from tests.helpers.tiny_gguf import Shape, write_tiny_gguf
from tests.helpers.words import pattern, phase, sentence
from tests.helpers.wrapped_engine import wrapper

pytestmark = pytest.mark.e2e

TARGETS = ["local", "wsl:"]
RUN_S = 20.0


@pytest.fixture(scope="module")
def other_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twice the layers of the model that the profile names."""
    return write_tiny_gguf(tmp_path_factory.mktemp("other") / "other.gguf", Shape(layers=4))


@pytest.fixture
def here(tmp_path: Path) -> Iterator[CommandLine]:
    """The command line on this machine, nothing simulated."""
    line = CommandLine(tmp_path)
    yield line
    assert not line.left()
    assert not processes_of(tmp_path)


def assert_failed(line: CommandLine, done: Done) -> None:
    """FAILED, the address never shown, nothing behind it."""
    assert done.code == 1, done
    states = done.out.splitlines()
    assert states[-1] == phase("failed")
    assert phase("ready") not in states
    assert "http://" not in done.out + done.err
    assert not listens(line.port_of("tiny"))
    assert not line.left()


def judged(line: CommandLine) -> str:
    """The verdict on the log that the run left."""
    log = max((line.root / "log").glob("tiny-*.log"), key=lambda path: path.stat().st_mtime)
    return str(line.call("verdict", "llama-server", str(log), "--json").json["verdict"])


@pytest.mark.parametrize("target", TARGETS)
def test_without_a_gpu_the_gate_refuses(here: CommandLine, llama_server: Path, tiny_gguf: Path, target: str) -> None:
    started = here.folder / "started"
    script = f'case " $* " in *" -m "*) touch "{started}" ;; esac\nexec "$server" "$@"'
    engine = wrapper(here.folder, llama_server, script)
    write_profile(here, engine, tiny_gguf, target)
    check = here.call("check", "--profile", "tiny", deadline_s=RUN_S)
    run = here.call("run", "tiny", deadline_s=RUN_S)
    for done in (check, run):
        assert done.code == 1
        assert sentence("gpu.no_driver").what in done.err
        assert sentence("gpu.no_driver").do in done.err
        assert sentence("gpu.smi_missing", program="nvidia-smi").what in done.err or target == "wsl:"
    assert run.out.splitlines()[:2] == [phase("checking"), phase("refused")]
    assert not started.exists()


@pytest.mark.parametrize("target", TARGETS)
def test_a_build_without_cuda_is_refused_by_its_own_list(
    station: Station, llama_server: Path, tiny_gguf: Path, target: str
) -> None:
    """Asked for its devices the server names none: nothing is spawned."""
    write_profile(station.line, llama_server, tiny_gguf, target)
    done = station.line.call("run", "tiny", deadline_s=RUN_S)
    assert done.code == 1
    assert done.out.splitlines()[:2] == [phase("checking"), phase("refused")]
    assert pattern("engine.cpu_build").search(done.err)


@pytest.mark.parametrize("target", TARGETS)
def test_our_own_command_fails_with_the_engines_words(
    station: Station, llama_server: Path, tiny_gguf: Path, tmp_path: Path, target: str
) -> None:
    write_profile(station.line, lying_engine(tmp_path, llama_server, 'exec "$server" "$@"'), tiny_gguf, target)
    done = station.line.call("run", "tiny", deadline_s=RUN_S)
    assert_failed(station.line, done)
    message = sentence("proof.device_invalid", device="CUDA0")
    assert message.what in done.err
    assert message.do in done.err
    assert 'error while handling argument "--device": invalid device: CUDA0' in done.err


# The server prints a warning of its own when it is given -ngl without a GPU; without it the list of its devices tells.
WARNED, LISTED = "no usable GPU found", "common_param:   - CPU "
LOADED_ON_THE_CPU = {
    "device-dropped": (DEVICE_DROPPED, "", "proof.no_gpu_device", WARNED),
    "no-layers": (DEVICE_DROPPED, "-ngl 0", "proof.no_gpu_device", WARNED),
    "placement-dropped": (PLACEMENT_DROPPED, "", "proof.no_gpu_device", LISTED),
    "kv-in-ram": (PLACEMENT_DROPPED, "-nkvo", "proof.no_gpu_device", LISTED),
    "other-model": (PLACEMENT_DROPPED, '-m "$other"', "proof.no_gpu_device", LISTED),
    "device-none": (PLACEMENT_DROPPED, "--device none", "proof.no_gpu_device", LISTED),
    "no-main-gpu": (PLACEMENT_DROPPED, "-sm none -mg -1", "proof.no_gpu_device", LISTED),
    "tensors-moved": (PLACEMENT_DROPPED, "--fit on -ot .*=CPU --n-cpu-ffn 1", "proof.no_gpu_device", LISTED),
    "kv-pair": (PLACEMENT_DROPPED, "-ctk q8_0 -ctv f16 -fa on", "proof.no_gpu_device", LISTED),
    "experts-on-cpu": (PLACEMENT_DROPPED, "--cpu-moe --no-op-offload --no-host", "proof.no_gpu_device", LISTED),
    "log-too-quiet": (PLACEMENT_DROPPED, "-lv 3", "proof.placement_not_logged", ""),
}


@pytest.mark.parametrize(
    ("case", "target"),
    [
        ("device-dropped", "local"),
        ("device-dropped", "wsl:"),
        ("no-layers", "local"),
        ("placement-dropped", "wsl:"),
        ("kv-in-ram", "local"),
        ("other-model", "wsl:"),
        ("device-none", "local"),
        ("no-main-gpu", "wsl:"),
        ("tensors-moved", "local"),
        ("kv-pair", "local"),
        ("experts-on-cpu", "local"),
        ("log-too-quiet", "local"),
        ("log-too-quiet", "wsl:"),
    ],
)
def test_a_server_that_slips_onto_the_cpu_is_caught_and_stopped(
    station: Station, llama_server: Path, tiny_gguf: Path, other_gguf: Path, tmp_path: Path, case: str, target: str
) -> None:
    drop, more, code, proof = LOADED_ON_THE_CPU[case]
    mark = tmp_path / "started"
    script = f'touch "{mark}"\nother="{other_gguf}"\n{drop}exec "$server" "$@" {more}'
    write_profile(station.line, lying_engine(tmp_path, llama_server, script), tiny_gguf, target)
    done = station.line.call("run", "tiny", deadline_s=RUN_S)
    assert_failed(station.line, done)
    assert mark.exists()
    assert sentence(code).what in done.err
    assert proof in done.err
    assert judged(station.line) == ("unknown" if case == "log-too-quiet" else "cpu")
    assert not processes_of(tmp_path)
