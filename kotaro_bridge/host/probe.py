"""What a target says before a start: the command line of `probe.sh`, and its answer as values.

Owns the words of the script's lines. Must not run anything: launchers do.
"""

from __future__ import annotations

from collections.abc import Iterator

from kotaro_bridge.domain.engine.engine_devices import DeviceAnswer
from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.ports import ConfigFile, EngineCommand, TargetFacts
from kotaro_bridge.host.guardian import environment_words, target_script

MISSING = -1
_KIB = 1024


def probe_argv(engine: Engine, question: EngineCommand, model: str, projector: str, port: int) -> list[str]:
    """Command of the Linux side that asks it (see the script's head)."""
    script = target_script("environment.sh", "probe.sh")
    asked = ["-c", target_script("vllm_probe.py")] if engine is Engine.VLLM else []
    head = [engine.value, model, projector, f"{port:04X}", *environment_words(question)]
    return ["/bin/sh", "-c", script, "kotaro-probe", *head, "--", *question.argv, *asked]


def parse_probe(stdout: str) -> TargetFacts:
    """The facts; None for each that the script did not tell."""
    lines = [(word, value) for word, _, value in (line.partition(" ") for line in stdout.splitlines())]
    said = dict(lines)
    engine = said.get("engine")
    return TargetFacts(
        engine={"ok": True, "missing": False, "unusable": False}.get(engine or ""),
        engine_unusable=engine == "unusable",
        model=_size(said.get("model")),
        projector=_size(said.get("projector")),
        port_free={"free": True, "taken": False}.get(said.get("port", "")),
        devices=_devices(lines),
        configs=tuple(_configs(lines)) if "configs" in said else None,
        memory=_kib(said.get("memory")),
        swap=_kib(said.get("swap")),
        missing_parts=_all(lines, "model.missing"),
    )


def _devices(lines: list[tuple[str, str]]) -> DeviceAnswer | None:
    said = dict(lines)
    code = said.get("devices.code")
    if code is None:
        return None
    links = _all(lines, "link")
    told = "links" in said or bool(links)
    return DeviceAnswer(int(code) if code.isdigit() else None, _all(lines, "devices.said"), links if told else None)


def _all(lines: list[tuple[str, str]], wanted: str) -> tuple[str, ...]:
    return tuple(value for word, value in lines if word == wanted)


def _configs(lines: list[tuple[str, str]]) -> Iterator[ConfigFile]:
    for number, (word, value) in enumerate(lines):
        if word != "config":
            continue
        whose, _, path = value.partition(" ")
        follow = [other for other, _ in lines[number + 1 :]]
        end = next((at for at, other in enumerate(follow) if other != "config.line"), len(follow))
        texts = tuple(text for _, text in lines[number + 1 : number + 1 + end])
        yield ConfigFile(path, whose == "user", texts)


def _size(word: str | None) -> int | None:
    """Bytes that the script named; MISSING for a file that is not there, None for no answer."""
    if word is None:
        return None
    return int(word) if word.strip().isdigit() else MISSING


def _kib(word: str | None) -> int | None:
    return int(word) * _KIB if word and word.isdigit() else None
