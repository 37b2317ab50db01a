"""The header of a GGUF model on the target, of all its files.

Owns the order of reading. What the bytes mean is `domain/model/gguf.py`'s business.
"""

from __future__ import annotations

from functools import partial

from kotaro_bridge.domain.model.gguf import GgufModel, read_gguf
from kotaro_bridge.domain.model.gguf_check import check_gguf
from kotaro_bridge.domain.model.gguf_split import join_parts, part_names, read_gguf_part
from kotaro_bridge.domain.ports import Launcher
from kotaro_bridge.service.block_cache import HEADER_BLOCK, BlockCache

_PART_BLOCK = 1 << 20  # a later part has a tensor table and no vocabulary


def read_model(launcher: Launcher, path: str, size: int | None, begin: bytes = b"") -> GgufModel:
    """A model by the headers of its files.

    Args:
        path: of the file, the first one of a split model; size: its bytes, None where not known.
        begin: what was read of it already.

    Raises:
        ProblemError: a file cannot be read, or `model.*` of the readers.
    """
    model = read_gguf(BlockCache(partial(launcher.read_at, path), HEADER_BLOCK, begin), size)
    if model.is_whole:
        return check_gguf(model)
    later = part_names(path, model.split_count)[1:]
    parts = [read_gguf_part(BlockCache(partial(launcher.read_at, name), _PART_BLOCK), None) for name in later]
    return check_gguf(join_parts(model, parts))
