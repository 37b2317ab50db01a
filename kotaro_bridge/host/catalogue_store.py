"""The catalogue's files. Must not judge their content (`domain/model/catalogue.py`)."""

from __future__ import annotations

from functools import cache

from kotaro_bridge.domain.model.catalogue import CatalogueEntry, decode_catalogue
from kotaro_bridge.resources import resource


@cache
def load_catalogue() -> tuple[CatalogueEntry, ...]:
    """All entries, by the names of their files.

    Raises:
        ProblemError: `catalogue.broken`; the files come with the product, so one that is broken is not left out.
    """
    files = sorted(resource("catalog").glob("*.toml"))
    return tuple(
        entry
        for file in files
        for entry in decode_catalogue(file.read_text(encoding="utf-8"), file=file.name, model=file.stem)
    )
