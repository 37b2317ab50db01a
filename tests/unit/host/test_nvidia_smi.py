"""The CSV of nvidia-smi: recorded answers, cells that say nothing, and every way of not answering."""

from __future__ import annotations

from pathlib import Path

import pytest

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.gpu import GpuSnapshot
from kotaro_bridge.domain.ports import Completed
from kotaro_bridge.domain.units import MIB
from kotaro_bridge.host.nvidia_smi import FIELDS, parse_nvidia_smi

RECORDED = Path(__file__).parents[2] / "data/captures/nvidia-smi/nvidia-smi.txt"
LINE = "0, GPU-1, NVIDIA GeForce RTX 4070, 581.80, 12282, 1300, 10766, 8.9, 3, 41, 28.15, 10501"


def answer(stdout: str, code: int = 0, stderr: str = "") -> tuple[GpuSnapshot, ...]:
    return parse_nvidia_smi(Completed(code, stdout, stderr))


def failure(completed: Completed) -> tuple[str, object]:
    with pytest.raises(ProblemError) as caught:
        parse_nvidia_smi(completed)
    return caught.value.problem.code, caught.value.problem.params.get("detail")


def test_a_card() -> None:
    assert answer(LINE + "\n") == (
        GpuSnapshot(
            index=0,
            uuid="GPU-1",
            name="NVIDIA GeForce RTX 4070",
            total=12282 * MIB,
            free=10766 * MIB,
            used=1300 * MIB,
            driver="581.80",
            compute_cap="8.9",
            utilization=0.03,
            temperature_c=41,
            power_w=28.15,
            memory_clock_max_mhz=10501,
        ),
    )


def test_the_recorded_card() -> None:
    """The recorded query asked for other fields and units: its values in our order, without units."""
    recorded = RECORDED.read_text().splitlines()
    at = next(number for number, line in enumerate(recorded) if line.startswith("index, name"))
    names, values = (line.split(", ") for line in recorded[at : at + 2])
    cells = {name.split(" ")[0]: value.split(" MiB")[0] for name, value in zip(names, values, strict=True)}
    fields = FIELDS.split(",")
    line = ", ".join(cells.get(field, "[N/A]").removesuffix(" %").removesuffix(" W") for field in fields)
    (gpu,) = answer(line)
    assert (gpu.name, gpu.total, gpu.free, gpu.used) == ("NVIDIA H100 80GB HBM3", 81559 * MIB, 81079 * MIB, 0)
    assert (gpu.utilization, gpu.temperature_c, gpu.power_w, gpu.compute_cap) == (0, 35, 70.48, "9.0")
    assert gpu.memory_clock_max_mhz is None


def test_several_cards_and_a_name_with_commas() -> None:
    gpus = answer(LINE + "\n" + LINE.replace("0, GPU-1, NVIDIA GeForce RTX 4070", "1, GPU-2, NVIDIA, Odd, Card") + "\n")
    assert [(gpu.index, gpu.uuid, gpu.name, gpu.driver) for gpu in gpus] == [
        (0, "GPU-1", "NVIDIA GeForce RTX 4070", "581.80"),
        (1, "GPU-2", "NVIDIA, Odd, Card", "581.80"),
    ]


@pytest.mark.parametrize("nothing", ["[N/A]", "[Not Supported]", "[Unknown Error]", "N/A", ""])
def test_cells_that_say_nothing(nothing: str) -> None:
    (gpu,) = answer(", ".join(["0", nothing, nothing, nothing, "12282", *[nothing] * 7]))
    assert gpu == GpuSnapshot(index=0, uuid="", name="", total=12282 * MIB)


def test_a_driver_without_cards() -> None:
    assert answer("No devices were found\n") == ()


@pytest.mark.parametrize(
    ("completed", "expected"),
    [
        (
            Completed(17, "Failed to initialize NVML: GPU access blocked by the operating system\n", ""),
            ("gpu.smi_blocked", None),
        ),
        (Completed(255, "GPU access blocked by the operating system", ""), ("gpu.smi_blocked", None)),
        (Completed(9, "", "Failed to initialize NVML: Driver/library version mismatch"), ("gpu.smi_blocked", None)),
        (Completed(127, "", "sh: 1: nvidia-smi: not found"), ("gpu.smi_missing", None)),
        (Completed(126, "", ""), ("gpu.smi_missing", None)),
        (
            Completed(1, "", "execvpe(/usr/lib/wsl/lib/nvidia-smi) failed: No such file or directory"),
            ("gpu.smi_missing", None),
        ),
        (Completed(-1, "", "", timed_out=True), ("gpu.smi_no_answer", "timeout")),
        (Completed(0, "", ""), ("gpu.smi_no_answer", "exit code 0")),
        (Completed(2, 'Field "bogus" is not a valid field to query.\n', ""), ("gpu.smi_no_answer", None)),
        (Completed(0, "half a line, ", ""), ("gpu.smi_no_answer", "half a line,")),
        (Completed(0, LINE.replace("12282", "[N/A]"), ""), ("gpu.smi_no_answer", LINE.replace("12282", "[N/A]"))),
        (Completed(0, "x" + LINE, ""), ("gpu.smi_no_answer", "x" + LINE)),
    ],
)
def test_no_answer(completed: Completed, expected: tuple[str, object]) -> None:
    code, detail = failure(completed)
    assert code == expected[0]
    if expected[1] is not None:
        assert str(detail).strip() == expected[1]


def test_the_output_is_the_evidence() -> None:
    with pytest.raises(ProblemError) as caught:
        answer("one\n\ntwo\n", code=3, stderr="three\n")
    assert caught.value.problem.evidence == ("one", "two", "three")
    assert caught.value.problem.params == {"detail": "one"}
