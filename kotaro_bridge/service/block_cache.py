"""Reading a header through a channel where a call costs more than its bytes."""

from __future__ import annotations

from collections.abc import Callable

HEADER_BLOCK = 8 << 20  # one call into the target costs more than the bytes: a Qwen tokenizer fits into one block


class BlockCache:
    """A `ReadAt` that fetches large blocks, for channels where a call costs more than its bytes."""

    def __init__(self, read_at: Callable[[int, int], bytes], block: int, begin: bytes = b"") -> None:
        self._read_at = read_at
        self._block = block
        self._start = 0
        self._data = begin

    def __call__(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`."""
        if not (self._start <= offset and offset + size <= self._start + len(self._data)):
            self._start, self._data = offset, self._read_at(offset, max(size, self._block))
        begin = offset - self._start
        return self._data[begin : begin + size]
