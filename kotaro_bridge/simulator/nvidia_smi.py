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
from kotaro_bridge.simulator.card import MIB, Usage, cards, driver_version
from kotaro_bridge.simulator.state import State

BLOCKED = 17  # NVML_ERROR_OPERATING_SYSTEM: nvidia-smi ends with NVML's code
BAD_ARGUMENT = 2
IDLE_TEMPERATURE_C, BUSY_TEMPERATURE_C = 38, 67
IDLE_POWER_SHARE, BUSY_POWER_SHARE = 0.07, 0.92


class Card:
    """The values of one card, by the field names of `--query-gpu`."""

    def __init__(self, state: State, index: int) -> None:
        gpu: dict[str, Any] = {**cards(state)[index], "driver": driver_version(state)}
        usage = Usage(state, index)
        self.gpu = gpu
        self.index = index
        self.used_mib = usage.dedicated // MIB
        self.busy = usage.busy
        self.temperature = round(IDLE_TEMPERATURE_C + (BUSY_TEMPERATURE_C - IDLE_TEMPERATURE_C) * usage.busy)
        self.power_w = gpu["power_limit_w"] * (IDLE_POWER_SHARE + (BUSY_POWER_SHARE - IDLE_POWER_SHARE) * usage.busy)
        self.fields: dict[str, tuple[str, str]] = {  # name: (value, unit)
            "index": (str(index), ""),
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
            "count": (str(len(cards(state))), ""),
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
    found = [Card(state, index) for index in range(len(cards(state)))]
    options = [argument.partition("=") for argument in arguments]
    for name, _, value in options:
        if name in ("-i", "--id") and value:
            found = [card for card in found if value in (str(card.index), card.gpu["uuid"])]
        if not found:
            shown = f"Option --id={value} is not valid for this command."
            return _wrong(f"ERROR: {shown} Please run 'nvidia-smi -h' for help.\n")
    for name, _, value in options:
        if name == "--query-gpu":
            rows = [{**card.fields, "gpu_uuid": card.fields["uuid"]} for card in found]
            return _query(value, _flags(options), rows[0], rows)
        if name == "--query-compute-apps":
            return _query(value, _flags(options), {field: ("", unit) for field, unit in APP_FIELDS.items()}, [])
    known: dict[str, Callable[[list[Card]], str]] = {
        "": _table,
        "-L": _listed,
        "--list-gpus": _listed,
        "--version": _versions,
    }
    writer = known.get(options[0][0] if options else "")
    if writer is None:
        return _wrong(f"Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n{arguments[0]}")
    sys.stdout.write(writer(found))
    return 0


def _flags(options: list[tuple[str, str, str]]) -> set[str]:
    return {word for name, _, value in options if name == "--format" for word in value.split(",")}


Fields = dict[str, tuple[str, str]]


def _query(names: str, flags: set[str], values: Fields, rows: list[Fields]) -> int:
    """CSV as asked for, a line for each of `rows`; a field that is not in `values` is an error with exit code 2."""
    fields = [name.strip() for name in names.split(",")]
    for field in fields:
        if field not in values:
            return _wrong(f'Field "{field}" is not a valid field to query.\n')
    plain = "nounits" in flags

    def with_unit(text: str, unit: str, form: str) -> str:
        return text if plain or not unit else form.format(text, unit)

    if "noheader" not in flags:
        sys.stdout.write(", ".join(with_unit(field, values[field][1], "{} [{}]") for field in fields) + "\n")
    for row in rows:
        sys.stdout.write(", ".join(with_unit(*row[field], "{} {}") for field in fields) + "\n")
    return 0


def _wrong(message: str) -> int:
    sys.stdout.write(message + "\n")
    return BAD_ARGUMENT


def _listed(found: list[Card]) -> str:
    return "".join(f"GPU {card.index}: {card.gpu['name']} (UUID: {card.gpu['uuid']})\n" for card in found)


def _versions(found: list[Card]) -> str:
    gpu = found[0].gpu
    nvml = ".".join(gpu["smi_version"].split(".")[:2])
    return (
        f"NVIDIA-SMI version  : {gpu['smi_version']}\nNVML version        : {nvml}\n"
        f"DRIVER version      : {gpu['driver']}\nCUDA Version        : {gpu['cuda']}\n"
    )


def _table(found: list[Card]) -> str:
    """The table of a capture; its three rows of a card are there for each."""
    lines = resource("simulator/logs/nvidia-smi.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if "{name" in line)
    head, rows, rest = "".join(lines[:first]), "".join(lines[first : first + 4]), "".join(lines[first + 4 :])
    date = {"date": time.strftime("%a %b %e %H:%M:%S %Y")}
    of_pc = {**found[0].gpu, **date}
    return head.format_map(of_pc) + "".join(rows.format_map(_shown(card)) for card in found) + rest.format_map(of_pc)


def _shown(card: Card) -> dict[str, Any]:
    gpu = card.gpu
    return {
        **gpu,
        "index": card.index,
        "temperature": card.temperature,
        "state": "P2" if card.busy else "P8",
        "power": f"{round(card.power_w)}W / {round(gpu['power_limit_w']):>4}W",
        "memory": f"{card.used_mib}MiB / {gpu['total_mib']:>6}MiB",
        "busy": round(card.busy * 100),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
