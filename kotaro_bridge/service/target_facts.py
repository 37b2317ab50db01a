"""What the probe of a target says, as the facts that `domain/run/gate.py` judges. Reads nothing itself."""

from __future__ import annotations

from kotaro_bridge.domain.engine.engine_devices import judge_devices
from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import Problem, problem
from kotaro_bridge.domain.gpu import GpuSnapshot
from kotaro_bridge.domain.ports import ConfigFile, TargetFacts
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.gate import UNASKED
from kotaro_bridge.domain.wsl.windows_path import inside_linux

_NAMED = 3


def fetched_by_vllm(profile: Profile) -> bool:
    """True for hub ids such as `Qwen/Qwen2.5-7B-Instruct-AWQ`, which vLLM fetches itself; False for a path."""
    model = profile.model
    if inside_linux(model) is not None:
        return False
    return profile.engine is Engine.VLLM and not model.startswith(("~", "/", ".")) and model.count("/") <= 1


def engine(probed: TargetFacts | Problem, profile: Profile) -> str | Problem:
    """Version (or path) of an engine that can be run; on this machine itself also why nothing can be asked at all."""
    if isinstance(probed, Problem):
        return probed if profile.is_local else UNASKED
    if probed.engine is None:
        return _untold("engine")
    if probed.engine:
        return profile.version or profile.executable
    code = "engine.unusable" if probed.engine_unusable else "engine.missing"
    return problem(code, path=profile.executable, engine=profile.engine.value)


def engine_gpu(probed: TargetFacts | Problem, profile: Profile, cards: tuple[GpuSnapshot, ...]) -> str | Problem:
    """Names of the devices that the engine itself lists, for the profile's cards."""
    if isinstance(probed, Problem):
        return UNASKED
    if not probed.engine:
        return problem("gate.engine_unasked.unknown")
    if probed.devices is None:
        return _untold("devices")
    return judge_devices(profile.engine, probed.devices, cards, len(profile.gpus), profile.executable)


def configs(probed: TargetFacts | Problem, profile: Profile) -> tuple[ConfigFile, ...] | Problem | None:
    """Files that the engine would read by itself; None for vLLM, which reads none (reference vllm §2)."""
    if profile.engine is Engine.VLLM:
        return None
    if isinstance(probed, Problem):
        return UNASKED
    return _untold("configs") if probed.configs is None else probed.configs


def model(probed: TargetFacts | Problem, profile: Profile) -> int | Problem | None:
    """Bytes of the model file (0 for a folder), None where vLLM fetches the model itself."""
    if fetched_by_vllm(profile):
        return None
    if isinstance(probed, Problem):
        return UNASKED
    if probed.model is None:
        return _untold("model")
    for size, path in ((probed.model, profile.model), (probed.projector, profile.projector)):
        if size is not None and size < 0:
            return _missing(path)
    if probed.missing_parts:
        names = ", ".join(probed.missing_parts[:_NAMED])
        return problem("model.parts_missing", path=profile.model, names=names, count=len(probed.missing_parts))
    return probed.model


def _missing(path: str) -> Problem:
    inside = inside_linux(path)
    if inside is None:
        return problem("model.missing", path=path)
    return problem("model.windows_path", path=path, inside=inside)


def port(probed: TargetFacts | Problem, profile: Profile, here: bool | Problem) -> bool | Problem:
    """Nobody listens on the port inside the target. `here`: whether it could be bound on this machine, which for a
    target that is this machine has to be so as well.
    """
    if isinstance(probed, Problem):
        return UNASKED
    if probed.port_free is None:
        return _untold("port")
    return here if profile.is_local and here is not True else probed.port_free


def _untold(cause: str) -> Problem:
    """The target was reached and did not answer this question."""
    return problem("gate.target.unknown", cause=cause)
