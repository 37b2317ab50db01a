"""What an engine says of its devices before a start → the card's name, or why it cannot use the card.

Owns the reading of `llama-server --list-devices`, of the loader's view of its libraries and of `vllm_probe.py`'s
lines, and which driver and card each CUDA needs. Must not ask anything itself: `resources/guardian/probe.sh` does.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import Problem, problem
from kotaro_bridge.domain.gpu import GpuSnapshot

TIMED_OUT = 124
"""Exit code of `timeout` for a program that ran out of time."""

_SIGNALLED = 128
_EVIDENCE_LINES = 20
_NEWEST = (99, 0)  # a capability that is not known is no old one
_NO_DEVICE_CODE = 100  # CUDA_ERROR_NO_DEVICE


@dataclass(frozen=True, slots=True)
class DeviceAnswer:
    """What came of the question for an engine's devices, put in the environment of its start.

    Args:
        code: exit status as a shell has it; None: there was nobody to ask (vLLM: no Python beside its script).
        said: its output, both streams.
        links: what the loader says of the program and of a CUDA backend beside it, as far as it concerns CUDA or is
            missing; None where the loader cannot tell, as of a script.
    """

    code: int | None
    said: tuple[str, ...] = ()
    links: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class CudaNeeds:
    """What programs of one CUDA major version need: the driver's branch, and compute capability.

    Source: NVIDIA CUDA Compatibility, "Minor Version Compatibility", table 1 (13.x: driver 580 or newer, 12.x: 525 or
    newer); compute capability: CUDA 13 dropped what is below 7.5, CUDA 12 what is below 5.0 (release notes of both;
    reference llama-server §7, vllm §7).
    """

    driver: int
    capability: tuple[int, int]


CUDA_NEEDS = {13: CudaNeeds(580, (7, 5)), 12: CudaNeeds(525, (5, 0))}

VLLM_CAPABILITY = (7, 5)
"""Below it vLLM does not run at all, whatever its CUDA (reference vllm §7)."""

_DEVICE = re.compile(r"^\s+([A-Za-z]+)(\d+): (.*?)(?: \(\d+ MiB, \d+ MiB free\))?$")
_INIT_FAILED = re.compile(r"failed to initialize CUDA: (.*)")
_NOT_LOADED = re.compile(r"error while loading shared libraries: ([^:\s]+): cannot open shared object file")
_NOT_FOUND = re.compile(r"(\S+) => not found")
_CUDA_LIBRARY = re.compile(r"lib(?:cudart|cublas|cublasLt)\.so\.(\d+)")
_OF_CUDA = re.compile(r"libggml-cuda|libcudart|libcublas|libcuda\.so")
_DRIVER_LIBRARY = "libcuda.so.1"


def judge_devices(
    engine: Engine, answer: DeviceAnswer, cards: tuple[GpuSnapshot, ...], wanted: int, path: str
) -> str | Problem:
    """The names of the devices that the engine will use, or why it cannot use as many.

    Args:
        cards: the profile's cards as the driver sees them, empty where that is not known.
        wanted: how many cards the profile names.
        path: the engine's executable, for the sentence.
    """
    evidence = (*answer.said, *(answer.links or ()))[-_EVIDENCE_LINES:]
    if answer.code is None:
        return problem("engine.python_missing", path=path)
    if answer.code == TIMED_OUT:
        return problem("engine.devices_late.unknown", *evidence, path=path)
    judge = _judge_llama if engine is Engine.LLAMA_SERVER else _judge_vllm
    # Of several the oldest: what a CUDA has no code for, it has none for in any place.
    card = min(cards, key=lambda each: _capability(each.compute_cap) or _NEWEST) if cards else None
    names = judge(answer, card, path, evidence)
    if isinstance(names, Problem):
        return names
    if len(names) < wanted:
        return problem(
            "engine.devices_missing", *evidence, path=path, found=len(names), wanted=wanted, names=", ".join(names)
        )
    return ", ".join(names[:wanted])


_Names: TypeAlias = tuple[str, ...]


def _judge_llama(
    answer: DeviceAnswer, card: GpuSnapshot | None, path: str, evidence: tuple[str, ...]
) -> _Names | Problem:
    text, links = "\n".join(answer.said), "\n".join(answer.links or ())
    missing = _missing(text, links)
    cuda = next((int(major) for major in _CUDA_LIBRARY.findall(links + "\n" + text)), None)
    if too_old := _card_too_old(card, cuda, evidence):
        return too_old
    devices = _devices(answer.said)
    if answer.code == 0 and "CUDA0" in devices:
        ours = itertools.takewhile(lambda name: name in devices, (f"CUDA{position}" for position in itertools.count()))
        return tuple(devices[name] for name in ours)
    if failed := _INIT_FAILED.search(text):
        return _not_initialized(failed.group(1), card, cuda, path, evidence)
    if missing:
        return _library_missing(missing, evidence)
    if "invalid argument: --list-devices" in text:
        return problem("engine.too_old", *evidence, path=path)
    if answer.code != 0:
        return _broken(answer, evidence, path)
    if devices:
        listed = ", ".join(f"{name}: {what}" for name, what in devices.items())
        return problem("engine.other_backend", *evidence, path=path, devices=listed)
    if "Available devices" not in text:
        return problem("engine.devices.unknown", *evidence, path=path)
    if answer.links is None or _OF_CUDA.search(links):
        return problem("engine.no_gpu", *evidence, path=path)
    return problem("engine.cpu_build", *evidence, path=path)


def _devices(said: Sequence[str]) -> dict[str, str]:
    """Name (such as CUDA0) to description of each device that `--list-devices` prints; the CPU is none of them."""
    found = (_DEVICE.match(line) for line in said)
    return {f"{device.group(1)}{device.group(2)}": device.group(3) for device in found if device}


def _missing(text: str, links: str) -> tuple[str, ...]:
    """Libraries that the loader does not find, once each."""
    return tuple(dict.fromkeys(_NOT_LOADED.findall(text) + _NOT_FOUND.findall(links)))


def _library_missing(missing: tuple[str, ...], evidence: tuple[str, ...]) -> Problem:
    """The CUDA runtime first: what else is missing may come with it."""
    of_cuda = [name for name in missing if _CUDA_LIBRARY.match(name)]
    if of_cuda:
        cuda = int(_CUDA_LIBRARY.findall(of_cuda[0])[0])
        return problem("engine.cuda_library_missing", *evidence, libraries=", ".join(of_cuda), cuda=cuda)
    if _DRIVER_LIBRARY in missing:
        return problem("engine.driver_library_missing", *evidence, library=_DRIVER_LIBRARY)
    return problem("engine.library_missing", *evidence, libraries=", ".join(missing))


def _not_initialized(
    said: str, card: GpuSnapshot | None, cuda: int | None, path: str, evidence: tuple[str, ...]
) -> Problem:
    """CUDA's own words (cudaGetErrorString) for why it could not begin."""
    if "driver version is insufficient" in said:
        return _driver_too_old(card, cuda, evidence)
    if "no CUDA-capable device" in said:
        return problem("engine.no_cuda_device", *evidence, path=path)
    return problem("engine.cuda_failed", *evidence, detail=said)


def _driver_too_old(card: GpuSnapshot | None, cuda: int | None, evidence: tuple[str, ...]) -> Problem:
    driver = (card.driver if card else None) or "?"
    needs = CUDA_NEEDS.get(cuda or 0)
    if needs is None:
        return problem("engine.driver_outdated", *evidence, driver=driver)
    return problem("engine.driver_too_old", *evidence, driver=driver, cuda=cuda or 0, needed=needs.driver)


def _card_too_old(card: GpuSnapshot | None, cuda: int | None, evidence: tuple[str, ...]) -> Problem | None:
    """A card that the build's CUDA has no code for; None where that is not so, or not known."""
    needs = CUDA_NEEDS.get(cuda or 0)
    capability = _capability(card.compute_cap if card else None)
    if needs is None or card is None or capability is None or capability >= needs.capability:
        return None
    return problem(
        "engine.card_too_old",
        *evidence,
        name=card.name,
        capability=_dotted(capability),
        cuda=cuda or 0,
        needed=_dotted(needs.capability),
    )


def _capability(text: str | None) -> tuple[int, int] | None:
    """`8.9` as numbers; None for what is none."""
    found = re.fullmatch(r"(\d+)\.(\d+)", text or "")
    return (int(found.group(1)), int(found.group(2))) if found else None


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


def _broken(answer: DeviceAnswer, evidence: tuple[str, ...], path: str) -> Problem:
    code = answer.code or 0
    if code > _SIGNALLED:
        return problem("engine.crashed", *evidence, path=path, signal=code - _SIGNALLED)
    return problem("engine.broken", *evidence, path=path, code=code)


def _judge_vllm(
    answer: DeviceAnswer, card: GpuSnapshot | None, path: str, evidence: tuple[str, ...]
) -> _Names | Problem:
    facts = dict(line.split(" ", 1) for line in answer.said if " " in line)
    if answer.code != 0:
        return _broken(answer, evidence, path)
    for name in ("vllm", "torch"):
        if name not in facts:
            return problem("engine.package_missing", *evidence, package=name, path=path)
    if "cpu" in facts["vllm"]:
        return problem("engine.package_for_cpu", *evidence, package=f"vLLM {facts['vllm']}")
    cuda = re.match(r"\d+", facts.get("cuda", ""))
    if cuda is None:
        return problem("engine.package_for_cpu", *evidence, package=f"torch {facts['torch']}")
    if facts.get("library") != "ok":
        detail = facts.get("library", "libc10_cuda.so")
        return problem("engine.torch_library_missing", *evidence, detail=detail, version=facts["torch"])
    if facts.get("driver") != "ok":
        return problem("engine.driver_library_missing", *evidence, library=_DRIVER_LIBRARY)
    devices = [line.removeprefix("device ") for line in answer.said if line.startswith("device ")]
    return _cards_for_vllm(facts, devices, card, int(cuda.group()), path, evidence)


def _cards_for_vllm(
    facts: dict[str, str],
    devices: list[str],
    card: GpuSnapshot | None,
    cuda: int,
    path: str,
    evidence: tuple[str, ...],
) -> _Names | Problem:
    """The rest of the way: driver, cards, compute capability of each."""
    init, driver, count = (_number(facts.get(word)) for word in ("init", "driver_cuda", "count"))
    if driver is not None and driver // 1000 < cuda:
        return _driver_too_old(card, cuda, evidence)
    if init == _NO_DEVICE_CODE or (init == 0 and count == 0):
        return problem("engine.no_cuda_device", *evidence, path=path)
    if init != 0:
        return problem("engine.cuda_failed", *evidence, detail=f"cuInit: {facts.get('init', '?')}")
    needed = max(VLLM_CAPABILITY, CUDA_NEEDS[cuda].capability if cuda in CUDA_NEEDS else VLLM_CAPABILITY)
    names = []
    for version, _, name in (each.partition(" ") for each in devices or [""]):
        capability = _capability(version)
        if capability is None:
            return problem("engine.devices.unknown", *evidence, path=path)
        if capability < needed:
            return problem(
                "engine.card_too_old_for_vllm", *evidence, name=name, capability=version, needed=_dotted(needed)
            )
        names.append(name)
    return tuple(names)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None
