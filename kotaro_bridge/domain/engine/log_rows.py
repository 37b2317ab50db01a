"""What stands around an engine's line in a log that somebody kept: colours, and the prefixes of whatever kept it.

Owns: taking them off. Must not read files and must not know what a line means. Nothing an engine itself prints in front
of a line is taken: `0.02.258.017 I srv …` and `(EngineCore pid=1) INFO …` stay as they are.
"""

from __future__ import annotations

import re

_COLOUR = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
_MONTH = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_CLOCK = r"\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
_DAY = rf"\d{{4}}-\d\d-\d\d[T ]{_CLOCK}(?:Z| ?[+-]\d\d:?\d\d)?"
_UNIT = r"(?:\S{1,64} [\w.@/\\-]{1,64}\[\d{1,10}\]: )?"  # journald's `host unit[pid]: `
_WRAPPER = re.compile(
    "(?:"
    + "|".join(
        (
            rf"\[{_DAY}\](?:\[[^\]]{{1,40}}\])*:?[ \t]*",  # LM Studio: `[2026-11-21 12:00:01][DEBUG] `
            rf"{_DAY}[ \t]+(?:std(?:out|err) [FP] )?{_UNIT}",  # docker -t, kubernetes, journalctl -o short-iso
            rf"(?:{_MONTH}) [ \d]\d {_CLOCK} {_UNIT}",  # journald, syslog
            r"[A-Za-z][\w.-]{0,62} {0,40}\| ",  # docker compose: `llama-1  | `
        )
    )
    + ")+"
)


def unwrapped(row: str) -> str:
    """The row without colours and without what journald, Docker, Kubernetes, LM Studio and the like put in front."""
    if "\x1b" in row:
        row = _COLOUR.sub("", row)
    # Nearly all rows start as an engine starts them; for those this test is all there is to pay.
    if row[:2] in _OF_ENGINES or row[:1] == "(":
        return row
    match = _WRAPPER.match(row)
    return row[match.end() :] if match else row


_OF_ENGINES = frozenset(f"{minute}." for minute in range(10))
