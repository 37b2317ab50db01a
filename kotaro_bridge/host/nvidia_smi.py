"""nvidia-smi: what to ask, and its answer as values. The second witness, inside the target.

Owns the fields that are asked for and the parser of the CSV. Must not run anything: launchers do, through
`resources/guardian/verify_gpu.sh`.
"""

from __future__ import annotations

from typing import TypeVar

from kotaro_bridge.domain.engine.engine_devices import TIMED_OUT
from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.gpu import GpuSnapshot
from kotaro_bridge.domain.ports import Completed
from kotaro_bridge.domain.units import MIB

_FIELDS = (
    "index",
    "uuid",
    "name",
    "driver_version",
    "memory.total",
    "memory.used",
    "memory.free",
    "compute_cap",
    "utilization.gpu",
    "temperature.gpu",
    "power.draw",
    "clocks.max.memory",
)
_NAME = _FIELDS.index("name")
FIELDS = ",".join(_FIELDS)

# Both are NVML's words for "no access"; the first also comes as the second half of the second.
_BLOCKED = ("GPU access blocked by the operating system", "Failed to initialize NVML")
_MISSING_CODES = (126, 127)  # of a shell that found no such program
_MISSING_TEXTS = ("No such file or directory", "not found")
_EVIDENCE_LINES = 20

N = TypeVar("N", int, float)


def parse_nvidia_smi(completed: Completed) -> tuple[GpuSnapshot, ...]:
    """The cards, from a finished `verify_gpu.sh --csv FIELDS`.

    Raises:
        ProblemError: `gpu.smi_missing` (no such program), `gpu.smi_blocked` (NVML refuses), `gpu.smi_no_answer`
            (anything else that is no answer, with the text in `detail`). The output is the evidence.
    """
    lines = [line.strip() for line in f"{completed.stdout}\n{completed.stderr}".splitlines() if line.strip()]
    evidence = lines[:_EVIDENCE_LINES]
    output = "\n".join(lines)
    if any(text in output for text in _BLOCKED):
        raise ProblemError(problem("gpu.smi_blocked", *evidence))
    if completed.timed_out or completed.code == TIMED_OUT:
        raise ProblemError(problem("gpu.smi_no_answer", *evidence, detail="timeout"))
    if completed.code in _MISSING_CODES or (completed.code != 0 and any(text in output for text in _MISSING_TEXTS)):
        raise ProblemError(problem("gpu.smi_missing", *evidence, program="nvidia-smi"))
    if completed.code != 0 or not lines:
        detail = lines[0] if lines else f"exit code {completed.code}"
        raise ProblemError(problem("gpu.smi_no_answer", *evidence, detail=detail))
    if lines == ["No devices were found"]:
        return ()
    return tuple(_card(line, evidence) for line in completed.stdout.splitlines() if line.strip())


def _card(line: str, evidence: list[str]) -> GpuSnapshot:
    """One line; a name may hold commas, everything around it does not."""
    cells = [cell.strip() for cell in line.split(",")]
    extra = len(cells) - len(_FIELDS)
    if extra >= 0:
        cells[_NAME : _NAME + extra + 1] = [", ".join(cells[_NAME : _NAME + extra + 1])]
    index = _number(cells[0], int)
    if extra < 0 or index is None:
        raise ProblemError(problem("gpu.smi_no_answer", *evidence, detail=line))
    _, uuid, name, driver, total, used, free, capability, busy, temperature, power, clock = cells
    total_mib = _number(total, int)
    if total_mib is None:
        raise ProblemError(problem("gpu.smi_no_answer", *evidence, detail=line))
    percent = _number(busy, float)
    return GpuSnapshot(
        index=index,
        uuid=_word(uuid) or "",
        name=_word(name) or "",
        total=total_mib * MIB,
        free=_mib(free),
        used=_mib(used),
        driver=_word(driver),
        compute_cap=_word(capability),
        utilization=None if percent is None else percent / 100,
        temperature_c=_number(temperature, int),
        power_w=_number(power, float),
        memory_clock_max_mhz=_number(clock, int),
    )


def _word(cell: str) -> str | None:
    """The cell, or None for `[N/A]`, `[Not Supported]`, `[Unknown Error]` and the like."""
    return None if not cell or cell == "N/A" or (cell.startswith("[") and cell.endswith("]")) else cell


def _number(cell: str, kind: type[N]) -> N | None:
    try:
        return kind(cell)
    except ValueError:
        return None


def _mib(cell: str) -> int | None:
    mib = _number(cell, int)
    return None if mib is None else mib * MIB
