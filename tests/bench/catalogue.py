"""What sorting 200 models for a card takes, in process: each is planned, as `models list` and the windows do it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from kotaro_bridge.domain.model.catalogue import CatalogueEntry
from kotaro_bridge.domain.model.gguf_recipe import Mix, gguf_of
from kotaro_bridge.domain.planning.catalogue_rank import CardNow, Fit, rank
from kotaro_bridge.domain.planning.plan_parts import GgufPlanned, HfPlanned, PlanCard
from kotaro_bridge.domain.units import MIB
from kotaro_bridge.host.catalogue_store import load_catalogue
from tests.bench.measure import NotMeasured, Result, spread

ENTRIES = 200
RUNS = 41
LIMIT_MS = 20.0
CARD = CardNow(PlanCard("24 GB", 24_188 * MIB, 23_100 * MIB, (8, 9)), closable_bytes=389 * MIB, bandwidth=1008e9)


def measure(folder: Path) -> list[Result]:
    """The median. On a 24 GB card three quarters of the entries fit, so that few are out before they are planned."""
    entries = _entries()
    times = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        found = rank(entries, CARD)
        times.append((time.perf_counter() - begin) * 1000)
        if len(found) != ENTRIES or found[0].fit is not Fit.NOW:
            raise NotMeasured("the entries were not sorted")
    ms = spread(times)
    note = f"median of {ms['runs']}, 10 to 90 %: {ms['low']:.1f} to {ms['high']:.1f} ms"
    return [Result("catalogue", f"sorting {ENTRIES} models for a card", ms["median"], "ms", LIMIT_MS, {"ms": ms}, note)]


def _entries() -> tuple[CatalogueEntry, ...]:
    """The catalogue over and over, each time with another vocabulary: no two are alike."""
    known = load_catalogue()
    return tuple(_other(known[number % len(known)], number // len(known)) for number in range(ENTRIES))


def _other(entry: CatalogueEntry, turn: int) -> CatalogueEntry:
    planned = entry.planned
    if isinstance(planned, HfPlanned):
        made: HfPlanned | GgufPlanned = HfPlanned(replace(planned.model, vocab=planned.model.vocab + turn * 256))
    else:
        original = next(
            each.planned.model
            for each in load_catalogue()
            if each.model == entry.model and isinstance(each.planned, HfPlanned) and each.quantization == "FP16"
        )
        wider = replace(original, vocab=original.vocab + turn * 256)
        made = GgufPlanned(gguf_of(wider, Mix(entry.quantization), entry.name), planned.projector_bytes)
    return replace(entry, id=f"{entry.id}-{turn}", planned=made)
