"""The emulated nvidia-smi: `python -m kotaro_bridge.simulator.nvidia_smi`, with the formats of captures/nvidia-smi.

Numbers come from `card.py`. In WSL, per-process memory is `[N/A]` and the list of processes is empty (reference wsl-exe
§6). The switch `nvidia_smi` makes it blocked or hang; missing means that the program file is not there.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from kotaro_bridge.resources import resource
from kotaro_bridge.simulator.card import MIB, Usage, driver_version
from kotaro_bridge.simulator.state import State

BLOCKED = 17  # NVML_ERROR_OPERATING_SYSTEM: nvidia-smi ends with NVML's code
BAD_ARGUMENT = 2
IDLE_TEMPERATURE_C, BUSY_TEMPERATURE_C = 38, 67
IDLE_POWER_SHARE, BUSY_POWER_SHARE = 0.07, 0.92


class Card:
    """The values of one card, by the field names of `--query-gpu`."""

    def __init__(self, state: State) -> None:
        gpu: dict[str, Any] = {**state.scenario["gpu"], "driver": driver_version(state)}
        usage = Usage(state)
        self.gpu = gpu
        self.used_mib = usage.dedicated // MIB
        self.busy = usage.busy
        self.temperature = round(IDLE_TEMPERATURE_C + (BUSY_TEMPERATURE_C - IDLE_TEMPERATURE_C) * usage.busy)
        self.power_w = gpu["power_limit_w"] * (IDLE_POWER_SHARE + (BUSY_POWER_SHARE - IDLE_POWER_SHARE) * usage.busy)
        self.fields: dict[str, tuple[str, str]] = {  # name: (value, unit)
            "index": ("0", ""),
            "uuid": (gpu["uuid"], ""),
            "name": (gpu["name"], ""),
            "driver_version": (gpu["driver"], ""),
            "memory.total": (str(usage.total // MIB), "MiB"),
            "memory.used": (str(self.used_mib), "MiB"),
            "memory.free": (str(usage.free // MIB), "MiB"),
            "memory.reserved": (str(usage.reserved // MIB), "MiB"),
            "compute_cap": (gpu["compute_cap"], ""),
            "utilization.gpu": (str(round(usage.busy * 100)), "%"),
            "temperature.gpu": (str(self.temperature), ""),
            "power.draw": (f"{self.power_w:.2f}", "W"),
            "clocks.max.memory": (str(gpu["memory_clock_mhz"]), "MHz"),
            "pci.bus_id": (gpu["pci_bus"], ""),
            "count": ("1", ""),
        }


APP_FIELDS = {"pid": "", "process_name": "", "used_gpu_memory": "MiB", "used_memory": "MiB"}


def main(arguments: list[str]) -> int:
    state = State.from_environment()
    mode = state.switches()["nvidia_smi"]
    if mode == "hang":
        time.sleep(24 * 3600)
    if mode == "blocked":
        sys.stdout.write("Failed to initialize NVML: GPU access blocked by the operating system\n")
        return BLOCKED
    card = Card(state)
    options = [argument.partition("=") for argument in arguments]
    for name, _, value in options:
        if name in ("-i", "--id") and value not in ("", "0", card.gpu["uuid"]):
            shown = f"Option --id={value} is not valid for this command."
            return _wrong(f"ERROR: {shown} Please run 'nvidia-smi -h' for help.\n")
    for name, _, value in options:
        if name == "--query-gpu":
            return _query(value, _flags(options), {**card.fields, "gpu_uuid": card.fields["uuid"]})
        if name == "--query-compute-apps":
            return _query(value, _flags(options), {field: ("", unit) for field, unit in APP_FIELDS.items()}, rows=0)
    known: dict[str, Callable[[Card], str]] = {
        "": _table,
        "-L": _listed,
        "--list-gpus": _listed,
        "--version": _versions,
    }
    writer = known.get(options[0][0] if options else "")
    if writer is None:
        return _wrong(f"Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n{arguments[0]}")
    sys.stdout.write(writer(card))
    return 0


def _flags(options: list[tuple[str, str, str]]) -> set[str]:
    return {word for name, _, value in options if name == "--format" for word in value.split(",")}


def _query(names: str, flags: set[str], values: dict[str, tuple[str, str]], rows: int = 1) -> int:
    """CSV as asked for; an unknown field is an error with exit code 2."""
    fields = [name.strip() for name in names.split(",")]
    for field in fields:
        if field not in values:
            return _wrong(f'Field "{field}" is not a valid field to query.\n')
    plain = "nounits" in flags

    def with_unit(text: str, unit: str, form: str) -> str:
        return text if plain or not unit else form.format(text, unit)

    if "noheader" not in flags:
        sys.stdout.write(", ".join(with_unit(field, values[field][1], "{} [{}]") for field in fields) + "\n")
    for _ in range(rows):
        sys.stdout.write(", ".join(with_unit(*values[field], "{} {}") for field in fields) + "\n")
    return 0


def _wrong(message: str) -> int:
    sys.stdout.write(message + "\n")
    return BAD_ARGUMENT


def _listed(card: Card) -> str:
    return f"GPU 0: {card.gpu['name']} (UUID: {card.gpu['uuid']})\n"


def _versions(card: Card) -> str:
    gpu = card.gpu
    nvml = ".".join(gpu["smi_version"].split(".")[:2])
    return (
        f"NVIDIA-SMI version  : {gpu['smi_version']}\nNVML version        : {nvml}\n"
        f"DRIVER version      : {gpu['driver']}\nCUDA Version        : {gpu['cuda']}\n"
    )


def _table(card: Card) -> str:
    gpu = card.gpu
    values = {
        **gpu,
        "date": time.strftime("%a %b %e %H:%M:%S %Y"),
        "temperature": card.temperature,
        "state": "P2" if card.busy else "P8",
        "power": f"{round(card.power_w)}W / {round(gpu['power_limit_w']):>4}W",
        "memory": f"{card.used_mib}MiB / {gpu['total_mib']:>6}MiB",
        "busy": round(card.busy * 100),
    }
    return resource("simulator/logs/nvidia-smi.txt").read_text(encoding="utf-8").format_map(values)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
