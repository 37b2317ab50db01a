"""A log that somebody has lying around, judged row by row: ours or not, whole or cut, with several starts in it.

Owns: which rows are one start, and whose log it is. A verdict speaks of one start, and that is the last one that began:
a file that grows is asked for what happened now. What rows mean is `placement`'s business. Must not read files, and
must not hold more of one than a start's evidence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from kotaro_bridge.domain.engine import engine_log_llama, engine_log_vllm
from kotaro_bridge.domain.engine.engine_log import Engine, Event, EventKind, LogLine, Stream
from kotaro_bridge.domain.engine.log_rows import unwrapped
from kotaro_bridge.domain.engine.placement import PlacementWatch
from kotaro_bridge.domain.engine.reasons import Judgement, Reason, ReasonCode, Verdict

K = EventKind
_PARSERS = {Engine.LLAMA_SERVER: engine_log_llama.parse, Engine.VLLM: engine_log_vllm.parse}
_OTHER = {Engine.LLAMA_SERVER: Engine.VLLM, Engine.VLLM: Engine.LLAMA_SERVER}
_BEGINNING = frozenset((K.START, K.OPTIONS))
# Printed while arguments are read, ahead of the banner (captures cuda-hidden); old builds print them in the middle.
_AHEAD = frozenset((K.CUDA_INIT_FAILED, K.NO_USABLE_GPU, K.DEVICES_FOUND))
# Before the model: a start that has shown nothing else yet goes on behind one more of these.
_PREFACE = _BEGINNING | _AHEAD | {K.VERSION, K.VERBOSITY, K.CONFIG_FILE, K.DEVICE_TABLE, K.DEVICE_ENTRY}
# Nobody but this engine prints one.
_TELLING = frozenset((K.START, K.VERBOSITY, K.MODEL_START, K.MODEL_BUFFER, K.ARCHITECTURE, K.OPTIONS, K.WEIGHTS))
_STDERR_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class JudgedLog:
    """A verdict and what it was passed on.

    Args:
        starts: how many starts the log holds; the last was judged.
        first_line, last_line: where in the file that one is.
    """

    judgement: Judgement
    starts: int
    first_line: int
    last_line: int


class LogJudge:
    """Takes the rows of one engine's log, in order.

    Args:
        engine: whose log it is said to be.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._parse = _PARSERS[engine]
        self._parse_other = _PARSERS[_OTHER[engine]]
        self._watch = PlacementWatch(engine)
        self._starts = 1
        self._first = 1
        self._last = 1
        self._progressed = False
        self._heard = False
        self._is_others = False
        self._is_binary = False

    def take(self, number: int, row: str, stream: Stream) -> None:
        """The next row of the file as it is there, without its line end; `number` counts from 1."""
        self._last = number
        for text in _pieces(row):
            if text and self._watch.wants(text):
                self._line(LogLine(stream, number, text))

    def take_errors(self, rows: Iterable[tuple[int, str]]) -> None:
        """The whole of a stderr that was kept apart. Nothing in it tells which start it belongs to: of several starts
        the last has to have come as far as its own ready line before one of stderr counts for it.
        """
        self._watch.expect_stderr()
        lines = (LogLine(Stream.STDERR, number, text) for number, row in rows for text in _pieces(row) if text)
        for line in self._of_the_last_start(lines) if self._starts > 1 else lines:
            self._watch.feed(line)

    def judge(self) -> JudgedLog:
        """The verdict on the last start."""
        judgement = self._watch.judge(ended=self._watch.ended_in_log)
        strange = self._strange() if judgement.verdict is Verdict.UNKNOWN and not self._heard else None
        if strange:
            judgement = replace(judgement, reasons=(strange,))
        return JudgedLog(judgement, self._starts, self._first, self._last)

    def _line(self, line: LogLine) -> None:
        event = self._parse(line)
        if event is None:
            if not self._heard:
                self._look_for_others(line)
        else:
            self._heard = True
            if self._begins(event):
                self._watch = PlacementWatch(self._engine)
                self._starts, self._first, self._progressed = self._starts + 1, line.number, False
            self._progressed = self._progressed or event.kind not in _PREFACE
        self._watch.feed_parsed(line, event)

    def _begins(self, event: Event) -> bool:
        """Whether the line is the first of another start."""
        ended = self._watch.ended_in_log
        if event.kind in _AHEAD:
            return ended or self._watch.ready
        return event.kind in _BEGINNING and (ended or self._progressed)

    def _look_for_others(self, line: LogLine) -> None:
        event = self._parse_other(line)
        self._is_others = self._is_others or (event is not None and event.kind in _TELLING)
        self._is_binary = self._is_binary or "\0" in line.text

    def _strange(self) -> Reason | None:
        """Why nothing was understood."""
        if self._is_others:
            return Reason(ReasonCode.OTHER_ENGINE, params={"engine": _OTHER[self._engine].value})
        return Reason(ReasonCode.NOT_A_LOG) if self._is_binary else None

    def _of_the_last_start(self, lines: Iterable[LogLine]) -> Iterable[LogLine]:
        ready: LogLine | None = None
        rest: deque[LogLine] = deque(maxlen=_STDERR_KEPT)
        for line in lines:
            event = self._parse(line)
            if event is not None and event.kind is K.READY:
                ready, rest = line, deque(maxlen=_STDERR_KEPT)
            else:
                rest.append(line)
        return [ready, *rest] if ready and self._watch.starting else rest


def _pieces(row: str) -> Iterable[str]:
    """What a person saw: a progress bar overwrites itself with `\\r`, so each of its states is a line of its own."""
    if "\r" not in row:
        return (unwrapped(row),)
    return [unwrapped(piece) for piece in row.split("\r") if piece]


def judge_rows(engine: Engine, rows: Iterable[str], errors: Iterable[str] | None = None) -> JudgedLog:
    """The verdict on a log that was recorded, read once and not kept.

    Args:
        rows: the rows of the file, without line ends; stdout, or both streams in one file.
        errors: those of the second file, when the streams were recorded apart.
    """
    judge = LogJudge(engine)
    for number, row in enumerate(rows, start=1):
        judge.take(number, row, Stream.STDOUT)
    if errors is not None:
        judge.take_errors(enumerate(errors, start=1))
    return judge.judge()


def judge_log(engine: Engine, stdout_text: str, stderr_text: str | None = None) -> Judgement:
    """The verdict on a log in memory; whether the engine ended before it was ready is read from the log itself."""
    errors = None if stderr_text is None else stderr_text.split("\n")
    return judge_rows(engine, stdout_text.split("\n"), errors).judgement
