"""The GPU-only rule at work: engine log lines in, verdict with reasons out.

Owns: the order of judgement, the live watch and the dry run of llama-server's fit. The conditions themselves are tables
in `placement_rules`, the words are in `reasons`. Must not know processes, files or the machine: whether VRAM grew and
whether Windows spilled is the run's business (reference llama-server §5.1.8 and 9). Every known way off the GPU, with
what prevents and what detects it, is the table in `escape_routes`.
"""

from __future__ import annotations

from collections.abc import Mapping

from kotaro_bridge.domain.engine import engine_log_llama, engine_log_vllm
from kotaro_bridge.domain.engine.engine_failures import FailureWatch
from kotaro_bridge.domain.engine.engine_log import Engine, Event, EventKind, LogFacts, LogLine, Stream, Value
from kotaro_bridge.domain.engine.evidence import Evidence
from kotaro_bridge.domain.engine.model_load import is_gpu
from kotaro_bridge.domain.engine.placement_rules import (
    DISQUALIFIERS,
    EVIDENCE,
    FLAGS,
    INDECISIVE,
    LLAMA_VERBOSITY,
    NO_GPU,
    NOTICES,
    contradictions,
    shortfalls,
)
from kotaro_bridge.domain.engine.reasons import Expectation, Judgement, Reason, ReasonCode, Verdict

__all__ = ["Expectation", "Judgement", "PlacementWatch", "Reason", "ReasonCode", "Verdict"]

_DIALECTS = {
    Engine.LLAMA_SERVER: (engine_log_llama.parse, engine_log_llama.GATES, engine_log_llama.CHATTER),
    Engine.VLLM: (engine_log_vllm.parse, engine_log_vllm.GATES, engine_log_vllm.CHATTER),
}


class _DryRun:
    """What fit tried without allocating. It says nothing about the result (captures README) and is dropped at its end.

    A window that never ends must not hide a real load behind it: the model loader's `no_alloc = 0`, or readiness, shows
    that the lines were real, and what they disqualify counts from then on. They never count as evidence for the GPU.
    """

    def __init__(self) -> None:
        self.evidence = Evidence()
        self.reasons: list[Reason] = []
        self.is_real = False


class PlacementWatch:
    """Follows one engine start, line by line.

    Args:
        engine: whose dialect to read.
        expectation: what the launcher knows; without one any CUDA device will do and the log must explain itself.

    Attributes:
        failure: the best known cause so far for an engine that dies: while it starts, or while it serves.
    """

    def __init__(self, engine: Engine, expectation: Expectation | None = None) -> None:
        self._engine = engine
        self._expected = expectation
        self._parse, gates, self._is_chatter = _DIALECTS[engine]
        self._words = tuple(word for word, _rules in gates)
        self._evidence = Evidence()
        self._failures = FailureWatch(engine)
        self._reasons: dict[ReasonCode, Reason] = {}
        self._notices: dict[ReasonCode, Reason] = {}
        self._dry: _DryRun | None = None
        self._device_table: list[Event] | None = None
        self._reported = False
        self._stderr_expected = False

    @property
    def ready(self) -> bool:
        """The engine printed its own ready line (`listening on`, `Application startup complete.`)."""
        return self._evidence.ready

    @property
    def starting(self) -> bool:
        """VLLM printed its ready line of stdout (`Starting vLLM server`)."""
        return self._evidence.starting

    @property
    def failure(self) -> Reason | None:
        return self._failures.death if self._evidence.ready else self._failures.root

    @property
    def ended_in_log(self) -> bool:
        """A line from before readiness says that the engine is ending."""
        return self._failures.ended

    def expect_stderr(self) -> None:
        """There is a separate stderr: vLLM's ready line is in it, so the one on stdout is not enough (vllm §5.2)."""
        self._stderr_expected = True

    def feed(self, line: LogLine) -> Reason | None:
        """Takes the next line; returns the first disqualifying reason the moment its line is seen, and never another.

        Lines of one stream must come in order; how two streams interleave does not matter.
        """
        return self.feed_parsed(line, self._parse(line))

    def wants(self, text: str) -> bool:
        """Whether a line of this text could change the verdict; of requests none can, after readiness nearly none."""
        if self._device_table is not None:
            return True
        return not self._is_chatter(text) and (not self._evidence.ready or any(word in text for word in self._words))

    def feed_parsed(self, line: LogLine, event: Event | None) -> Reason | None:
        """`feed` for a caller that has read the line already."""
        if line.stream is Stream.STDERR:
            self._stderr_expected = True
        if self._evidence.ready:
            self._failures.see_serving(line)
        else:
            self._failures.see(line)
        if event is None and self._device_table is None:
            return None
        self._follow_device_table(event)
        if event is not None:
            self._take(event)
        if self._reported or not self._reasons:
            return None
        self._reported = True
        return next(iter(self._reasons.values()))

    def judge(self, *, ended: bool) -> Judgement:
        """The verdict on what was seen so far.

        Args:
            ended: the engine process has ended.
        """
        root = self._failures.root
        limit = root.params.get("max_len") if root else None
        facts = self._evidence.facts(None if limit is None else int(limit), tuple(self._failures.error_lines))
        found = tuple(self._reasons.values())
        notices = (*self._notices.values(), *self._shortfalls())
        if ended and not self._is_ready():
            main = root or Reason(ReasonCode.ENGINE_EXITED)
            others = tuple(reason for reason in found if reason.code is not main.code)
            return Judgement(Verdict.FAILED, (main, *others, *notices), facts)
        if found:
            return self._disqualified(found, notices, facts)
        open_points = self._open_points()
        return Judgement(Verdict.UNKNOWN if open_points else Verdict.GPU, (*open_points, *notices), facts)

    # -- lines --------------------------------------------------------------------------------------------------------

    def _take(self, event: Event) -> None:
        kind = event.kind
        notice = NOTICES.get(kind)
        if notice:
            self._notices.setdefault(notice, Reason.at(notice, event.line, event.values))
        if kind is EventKind.DRY_RUN_START:
            self._dry = _DryRun()
        elif kind is EventKind.DRY_RUN_END:
            self._dry = None
        elif self._dry is None:
            self._evidence.add(event)
            for reason in self._check(event, self._evidence):
                self._reasons.setdefault(reason.code, reason)
        elif kind is EventKind.CONTEXT_REDUCED:
            self._evidence.add(event)  # the decision of the dry run, which the real load follows
        else:
            self._take_in_dry_run(event, self._dry)

    def _take_in_dry_run(self, event: Event, dry: _DryRun) -> None:
        if event.kind is EventKind.READY:
            self._evidence.add(event)
            dry.is_real = True
        elif event.kind is EventKind.ALLOCATION and not event.number("no_alloc"):
            dry.evidence, dry.reasons, dry.is_real = Evidence(), [], True
        dry.evidence.add(event)
        dry.reasons += self._check(event, dry.evidence)
        if dry.is_real:
            for reason in dry.reasons:
                self._reasons.setdefault(reason.code, reason)

    def _check(self, event: Event, evidence: Evidence) -> list[Reason]:
        check = DISQUALIFIERS.get(event.kind)
        finding = check(event, evidence, self._expected) if check else None
        return [Reason.at(finding.code, finding.line or event.line, finding.params)] if finding else []

    def _follow_device_table(self, event: Event | None) -> None:
        """`device_info:` and one row per device; a table without a CUDA device is judged when it ends."""
        kind = event.kind if event else None
        if kind is EventKind.DEVICE_TABLE:
            self._device_table = []
        elif self._device_table is not None and kind is EventKind.DEVICE_ENTRY and event is not None:
            self._device_table.append(event)
        elif self._device_table is not None:
            rows, self._device_table = self._device_table, None
            if rows and not any(is_gpu(row.text("device")) for row in rows):
                code = ReasonCode.NO_GPU_DEVICE
                self._reasons.setdefault(code, Reason.at(code, rows[-1].line, {}))

    # -- verdict ------------------------------------------------------------------------------------------------------

    def _is_ready(self) -> bool:
        evidence = self._evidence
        return evidence.ready or (evidence.starting and not self._stderr_expected)

    def _disqualified(self, found: tuple[Reason, ...], notices: tuple[Reason, ...], facts: LogFacts) -> Judgement:
        codes = {reason.code for reason in found}
        evidence = self._evidence
        nothing_on_gpu = not evidence.on_gpu and (
            bool(codes & NO_GPU) or (evidence.on_host and (not evidence.devices_used or evidence.compute_logged))
        )
        if codes <= INDECISIVE:
            verdict = Verdict.UNKNOWN
        elif nothing_on_gpu:
            verdict = Verdict.CPU
        else:
            verdict = Verdict.PARTIAL
        if verdict is Verdict.CPU and not codes & NO_GPU:
            found = (*found, Reason(ReasonCode.NO_GPU_DEVICE))
        return Judgement(verdict, (*found, *notices), facts)

    def _open_points(self) -> tuple[Reason, ...]:
        """What stands between clean evidence and the verdict `gpu`."""
        if not self._is_ready():
            return (Reason(ReasonCode.NOT_READY),)
        evidence, expected = self._evidence, self._expected
        missing = [word for word, holds in EVIDENCE[self._engine] if not holds(evidence, expected)]
        if missing:
            return (self._missing(missing),)
        if self._engine is Engine.VLLM:
            return ()
        return tuple(Reason(found.code, params=found.params) for found in contradictions(evidence, expected))

    def _missing(self, words: list[str]) -> Reason:
        params: Mapping[str, Value] = {"missing": ",".join(words)}
        if self._engine is Engine.VLLM:
            is_quiet = self._evidence.version is None
        else:
            # Builds before 2026-05-14 print no verbosity and everything else without a flag (L §8).
            level = self._evidence.verbosity
            is_quiet = not self._evidence.loads if level is None else level < LLAMA_VERBOSITY
        if is_quiet:
            return Reason(ReasonCode.PLACEMENT_NOT_LOGGED, params={**params, "flag": FLAGS[self._engine]})
        return Reason(ReasonCode.EVIDENCE_MISSING, params=params)

    def _shortfalls(self) -> tuple[Reason, ...]:
        found = shortfalls(self._evidence, self._expected)
        return tuple(Reason(one.code, params=one.params) for one in found if one.code not in self._notices)
