"""GGUF models that are cut into several files: which files, and one model from all their headers.

Owns the names and the rule that the files belong together. Must not open files.

Source: llama_split_path and the loading of splits in llama-model-loader.cpp, gguf-split.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.model.gguf import GgufModel, TensorInfo, read_header
from kotaro_bridge.domain.model.gguf_cursor import Cursor, ReadAt

MAX_PARTS: Final = 1000  # a 1 TB model in files of 1 GB; more is a header that lies
_NAME = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)


@dataclass(frozen=True, slots=True)
class GgufPart:
    """A later file of a split model: its place (from 0), how many there are, and tensors of it and of all together."""

    number: int
    count: int
    tensors: tuple[TensorInfo, ...]
    all_tensors: int


def read_gguf_part(read_at: ReadAt, file_size: int | None) -> GgufPart:
    """The header of a later file of a split model (gguf-split.cpp: `split.*` keys and a tensor table of its own).

    Args:
        read_at, file_size: as for `read_gguf`.

    Raises:
        ProblemError: as `read_gguf`; `model.broken` too where the file is no part of anything.
    """
    cursor = Cursor(read_at, file_size)
    values, tensors, _ = read_header(cursor)
    numbers: list[int] = []
    for key in ("split.no", "split.count", "split.tensors.count"):
        value = values.get(key)
        if not isinstance(value, int):
            cursor.broken(key)
        numbers.append(value)
    return GgufPart(numbers[0], numbers[1], tensors, numbers[2])


def part_names(name: str, count: int) -> tuple[str, ...]:
    """Names of all files of a model, the first one in front.

    Args:
        name: name or path of the first file; count: files by its header.

    Raises:
        ProblemError: `model.part_name` (`name`, `parts`: the name does not follow the pattern, so the engine would not
            find the others), `model.part_count` (`parts`: more than any model has).
    """
    if count > MAX_PARTS:
        raise ProblemError(problem("model.part_count", parts=count))
    found = _NAME.fullmatch(name)
    if found is None or int(found["number"]) != 1 or int(found["count"]) != count:
        raise ProblemError(problem("model.part_name", name=name, parts=count))
    return tuple(f"{found['stem']}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1))


def join_parts(first: GgufModel, later: Sequence[GgufPart]) -> GgufModel:
    """The whole model.

    Raises:
        ProblemError: `model.foreign_part` (`number`: the file that is not of this model, counted from 1).
    """
    tensors, counts = list(first.tensors), [len(first.tensors)]
    names = {tensor.name for tensor in tensors}
    total = len(tensors) + sum(len(part.tensors) for part in later)
    for number, part in enumerate(later, start=2):
        is_own = (part.number, part.count, part.all_tensors) == (number - 1, first.split_count, total)
        if not is_own or not names.isdisjoint(tensor.name for tensor in part.tensors):
            raise ProblemError(problem("model.foreign_part", number=number))
        names.update(tensor.name for tensor in part.tensors)
        tensors += part.tensors
        counts.append(len(part.tensors))
    return replace(first, tensors=tuple(tensors), part_tensors=tuple(counts))
