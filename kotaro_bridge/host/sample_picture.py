"""The picture of the test request: a red circle on white, made here so that no image library is needed."""

from __future__ import annotations

import base64
import struct
import zlib

_SIZE = 224  # pixels; the input size of common vision encoders
_RADIUS = 72
_RED, _WHITE = b"\xe0\x20\x20", b"\xff\xff\xff"


def red_circle_url() -> str:
    """The picture as a data URL, as chat requests carry images."""
    return f"data:image/png;base64,{base64.b64encode(red_circle_png()).decode()}"


def red_circle_png() -> bytes:
    """The picture as PNG (8 bit RGB; PNG specification, sections 5 and 11)."""
    header = struct.pack(">IIBBBBB", _SIZE, _SIZE, 8, 2, 0, 0, 0)
    rows = b"".join(b"\0" + _row(y) for y in range(_SIZE))
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _row(y: int) -> bytes:
    centre = (_SIZE - 1) / 2
    return b"".join(_RED if (x - centre) ** 2 + (y - centre) ** 2 <= _RADIUS**2 else _WHITE for x in range(_SIZE))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
