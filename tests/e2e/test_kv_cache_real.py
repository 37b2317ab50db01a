"""The formulas of `kv_cache` against the real llama-server: what it logs for tiny models of every kind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kotaro_bridge.domain.model.context_shape import ContextShape
from kotaro_bridge.domain.model.kv_cache import cache_bytes
from kotaro_bridge.domain.profile import KvType
from kotaro_bridge.domain.units import MIB
from tests.helpers.server_log import header, log_until_listening
from tests.helpers.tiny_shapes import ALL, GEMMA3, write_shape

pytestmark = pytest.mark.e2e

SHAPES = (
    ContextShape(4096),
    ContextShape(3000, 2, KvType.Q8_0),
    ContextShape(2048, 3, KvType.Q4_0, ubatch=128),
    ContextShape(4096, 1, KvType.F16, swa_full=True),
)
_BUFFER = re.compile(r"(?:KV|RS) buffer size =\s+([\d.]+) MiB")
_ROUNDING_MIB = 0.0051  # of each line


def logged_sizes(server: Path, model: Path, shape: ContextShape) -> list[float]:
    """MiB of each cache that the server allocates for the arguments that a profile of this shape would get."""
    types = () if shape.kv_type is KvType.AUTO else ("-ctk", shape.kv_type.value, "-ctv", shape.kv_type.value)
    size = ("-c", str(shape.context * shape.parallel), "-np", str(shape.parallel), "-ub", str(shape.ubatch), *types)
    full = ("--swa-full",) if shape.swa_full else ()
    text = log_until_listening(server, model, *size, *full)
    assert "listening on" in text, text
    return [float(match[1]) for match in _BUFFER.finditer(text)]


@pytest.mark.parametrize("name", ALL)
def test_the_formula_is_what_the_server_allocates(name: str, llama_server: Path, tmp_path: Path) -> None:
    path = write_shape(tmp_path / "model.gguf", ALL[name])
    for shape in SHAPES:
        sizes = logged_sizes(llama_server, path, shape)
        expected = cache_bytes(header(path), shape)
        assert expected is not None
        assert sum(sizes) == pytest.approx(expected / MIB, abs=_ROUNDING_MIB * len(sizes)), shape


@pytest.mark.parametrize(
    "pattern", [{"attention.sliding_window_pattern": 2}, {"attention.sliding_window_pattern": [True] * 4 + [False] * 3}]
)
def test_a_pattern_of_the_headers_own(pattern: dict[str, int | list[bool]], llama_server: Path, tmp_path: Path) -> None:
    path = write_shape(tmp_path / "model.gguf", GEMMA3, pattern)
    sizes = logged_sizes(llama_server, path, ContextShape(8192))
    expected = cache_bytes(header(path), ContextShape(8192))
    assert expected is not None
    assert sum(sizes) == pytest.approx(expected / MIB, abs=_ROUNDING_MIB * len(sizes))
    assert cache_bytes(header(write_shape(tmp_path / "plain.gguf", GEMMA3)), ContextShape(8192)) != expected
