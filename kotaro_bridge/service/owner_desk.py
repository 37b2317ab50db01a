"""What the owner of the runs answers to other processes of the same user: status, stop, logs, remedies, window, end.

The documents are those that the command line prints with `--json`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.run import run_state as rs
from kotaro_bridge.domain.run.remedy import Remedy, parse
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import RunView
from kotaro_bridge.domain.wsl.wslconfig_effect import Affected, EffectReport
from kotaro_bridge.service.supervisor import Supervisor
from kotaro_bridge.service.telemetry import Telemetry
from kotaro_bridge.service.wslconfig_restart import WslConfigDesk

log = logging.getLogger(__name__)

_STOP_S = 30.0


class OwnerDesk:
    """Handles request documents, from any thread.

    Args:
        on_open: brings the window to the front and says what came of it (`second_start.Window`); on_quit: begins the
            end of this program. Both return at once.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        telemetry: Telemetry,
        wslconfig: WslConfigDesk,
        on_open: Callable[[], str],
        on_quit: Callable[[], None],
    ) -> None:
        self._supervisor = supervisor
        self._wslconfig = wslconfig
        self._telemetry = telemetry
        self._on_open = on_open
        self._on_quit = on_quit

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request; `{"error": …}` for a problem. Never raises."""
        try:
            verb = request.get("verb")
            if verb == "status":
                return self.status()
            if verb == "stop":
                return self._stop(request.get("profile"))
            if verb == "logs":
                return self._logs(request.get("profile"), int(request.get("lines", 200)))
            if verb == "apply":
                return self._apply(str(request.get("profile")), str(request.get("word")))
            if verb == "wsl-affected":
                return affected_document(self._wslconfig.affected())
            if verb == "wsl-restart":
                return report_document(self._wslconfig.restart())
            if verb == "reload":
                self._supervisor.reload(str(request.get("profile")))
            if verb == "forget":
                self._supervisor.forget(str(request.get("profile")))
            if verb == "quit":
                self._on_quit()
                return {"pid": os.getpid()}
            if verb == "open":
                return {"window": self._on_open()}
            return {}
        except ProblemError as error:
            return {"error": problem_document(error.problem)}
        except Exception as error:
            log.exception("request %r", request)
            return {"error": problem_document(problem("run.internal", repr(error)))}

    def status(self) -> dict[str, Any]:
        """Runs and cards now."""
        sample = self._telemetry.latest()
        rates = {t.profile_id: t.generation_tps for t in sample.throughput} if sample else {}
        runs = [
            view_document(actor.view) | {"tokens_per_s": rates.get(actor.profile.id)}
            for actor in self._supervisor.actors()
        ]
        gpus = [gpu_document(gpu) for gpu in sample.gpus] if sample else []
        return {"owner": True, "runs": runs, "gpus": gpus}

    def _stop(self, profile_id: str | None) -> dict[str, Any]:
        """Stop one run or all, and wait for it."""
        actors = [self._supervisor.actor(profile_id)] if profile_id else self._supervisor.actors()
        live = [actor for actor in actors if actor.view.phase not in rs.RESTING]
        for actor in live:
            actor.stop()
        deadline = time.monotonic() + _STOP_S
        views = [
            actor.wait(lambda view: view.phase in (*rs.RESTING, Phase.ORPHANED), max(0.0, deadline - time.monotonic()))
            for actor in live
        ]
        return {"stopped": [view_document(view) for view in views]}

    def _apply(self, profile_id: str, word: str) -> dict[str, Any]:
        """Apply a remedy and start; does not wait for what comes of it."""
        self._supervisor.apply(profile_id, parse(word, self._supervisor.profile(profile_id)))
        return {"profile": profile_id, "word": word}

    def _logs(self, profile_id: str | None, lines: int) -> dict[str, Any]:
        actors = [self._supervisor.actor(profile_id)] if profile_id else self._supervisor.actors()
        return {"logs": {a.profile.id: [line.text for line in a.ring.tail(lines)] for a in actors}}


def problem_document(what: Problem) -> dict[str, Any]:
    """A problem as JSON; the reader makes the sentence, in its own language."""
    return {"code": what.code, "params": dict(what.params), "evidence": list(what.evidence)}


def view_document(view: RunView) -> dict[str, Any]:
    """A run as JSON."""
    endpoint = view.endpoint
    return {
        "profile": view.profile_id,
        "state": view.phase.value,
        "since": view.since,
        "problem": problem_document(view.problem) if view.problem else None,
        "cause": problem_document(view.cause) if view.cause else None,
        "verdict": view.judgement.verdict.value if view.judgement else None,
        "base_url": endpoint.base_url if endpoint else None,
        "model": endpoint.model if endpoint else None,
        "warm_up_tokens_per_s": view.speed.tokens_per_s if view.speed else None,
        "of_limit": view.speed.of_limit if view.speed else None,
        "usual_tokens_per_s": view.speed.baseline if view.speed else None,
        "slow": view.speed.slow if view.speed else None,
        "vram_taken": view.vram_taken,
        "warning": problem_document(view.warning) if view.warning else None,
        "remedies": [remedy_document(remedy) for remedy in view.remedies],
    }


def remedy_document(remedy: Remedy) -> dict[str, str]:
    """A remedy as JSON; `word` is what `kotaro-bridge remedy` and the verb `apply` take."""
    return {"word": remedy.word, "kind": remedy.kind.value, "value": remedy.value}


def affected_document(affected: Affected) -> dict[str, Any]:
    """What a restart of WSL stops, as JSON."""
    return {"distros": list(affected.distros), "runs": list(affected.runs), "docker": affected.docker}


def report_document(report: EffectReport) -> dict[str, Any]:
    """What became of a .wslconfig, as JSON; `why` is a problem's document."""
    effects = [
        {
            "key": effect.key,
            "wanted": effect.wanted,
            "found": effect.found,
            "ok": effect.ok,
            "why": problem_document(effect.why) if effect.why else None,
        }
        for effect in report.effects
    ]
    return {"ok": report.ok, "effects": effects}


def gpu_document(gpu: object) -> dict[str, Any]:
    """A card as JSON, sizes in bytes (architecture, command line)."""
    names = ("index", "uuid", "name", "total", "free", "used", "driver", "compute_cap")
    return {name: getattr(gpu, name) for name in names}
