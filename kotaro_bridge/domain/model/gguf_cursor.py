"""A position in a binary header that is read in blocks through a function.

Owns the bounds: how much is read, how long a string may be. A header that lies ends in a `ProblemError` after a bounded
number of bytes and of steps, never in an allocation it asked for. Must not know what the values mean.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NoReturn, TypeAlias

from kotaro_bridge.domain.errors import ProblemError, problem

ReadAt: TypeAlias = Callable[[int, int], bytes]
"""(offset, size) -> up to `size` bytes; empty only at the end of the file. Its own problems pass through."""

BLOCK_BYTES = 4 << 20  # a header with a tokenizer has 4 to 16 MiB; one call through wsl.exe costs about 0.1 s
MAX_READ_BYTES = 64 << 20
_MAX_STRINGS = 3 << 19  # 1.5 Mi; tokens and merges of the largest vocabularies (262,144 tokens) stay below 0.8 Mi
_MAX_STRING_BYTES = 16 << 20


def find_size(read_at: ReadAt, missing: int) -> int:
    """Bytes of a file in which the byte before `missing` does not exist."""
    low, high = 0, missing
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if read_at(middle, 1) else (low, middle)
    return low


class Cursor:
    """A position in the file, and the block around it."""

    def __init__(self, read_at: ReadAt, file_size: int | None) -> None:
        self._read_at = read_at
        self._file_size = file_size
        self._base = 0
        self._block = b""
        self._at = 0
        self._read_bytes = 0
        self._strings = 0

    @property
    def position(self) -> int:
        return self._base + self._at

    def broken(self, what: str) -> NoReturn:
        raise ProblemError(problem("model.broken", what=what, offset=self.position))

    def _demand(self, size: int) -> None:
        """Have `size` bytes from the position on in the block."""
        if self._at + size <= len(self._block):
            return
        start, wanted = self.position, self.position + size
        self._block = self._block[self._at :]
        self._base, self._at = start, 0
        while len(self._block) < size:
            if self._read_bytes >= MAX_READ_BYTES:
                self.broken("header_size")
            data = self._read_at(self._base + len(self._block), BLOCK_BYTES)
            if not data:
                self._truncated(wanted)
            self._read_bytes += len(data)
            self._block += data

    def _truncated(self, expected: int) -> NoReturn:
        known = self._file_size  # unless the file shrank since somebody asked
        actual = known if known is not None and known < expected else find_size(self._read_at, expected)
        raise ProblemError(problem("model.truncated", expected_bytes=expected, actual_bytes=actual))

    def demand_size(self, size: int) -> None:
        """Make sure that the file has at least `size` bytes."""
        if self._file_size is None:
            if not self._read_at(size - 1, 1):
                self._truncated(size)
        elif self._file_size < size:
            self._truncated(size)

    def magic(self) -> bytes:
        """The first four bytes, fewer if the file is shorter."""
        while len(self._block) < 4 and (data := self._read_at(len(self._block), BLOCK_BYTES)):
            self._block += data
        self._read_bytes = len(self._block)
        self._at = min(4, len(self._block))
        return self._block[: self._at]

    def number(self, form: str) -> int | float:
        size = struct.calcsize(form)
        self._demand(size)
        value: int | float = struct.unpack_from("<" + form, self._block, self._at)[0]
        self._at += size
        return value

    def numbers(self, form: str, count: int) -> tuple[int | float, ...]:
        """So many numbers of one kind. The caller has bounded `count`."""
        size = count * struct.calcsize(form)
        self._demand(size)
        self._at += size
        return struct.unpack_from(f"<{count}{form}", self._block, self._at - size)

    def uint32(self) -> int:
        return int(self.number("I"))

    def count(self, what: str, limit: int) -> int:
        value = int(self.number("Q"))
        if value > limit:
            self.broken(what)
        return value

    def text(self, what: str, limit: int) -> str:
        size = self.count(what, limit)
        self._demand(size)
        self._at += size
        try:
            return self._block[self._at - size : self._at].decode()
        except UnicodeDecodeError:
            self.broken(what)

    def skip(self, size: int) -> None:
        """Go forward without reading what lies between."""
        self._at += size
        if self._at > len(self._block):
            self._base, self._at, self._block = self.position, 0, b""

    def skip_strings(self, count: int) -> None:
        """Step over strings: hundreds of thousands in a tokenizer, so the loop runs over the block directly."""
        self._strings += count
        if self._strings > _MAX_STRINGS:
            self.broken("string_count")
        length_at = struct.Struct("<Q").unpack_from
        while count:
            self._demand(8)
            block, at, last = self._block, self._at, len(self._block) - 8
            size = 0
            for _ in range(count):
                (size,) = length_at(block, at)
                at += 8 + size
                count -= 1
                if at > last:  # a length that lies leads out of the block too: one test for both
                    break
            if size > _MAX_STRING_BYTES:
                self.broken("string_length")
            self.skip(at - self._at)
