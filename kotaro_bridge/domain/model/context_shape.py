"""What a llama-server start asks of its context: how long, how many at once, of which type.

Owns reading it from a profile. What it costs is `kv_cache`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from kotaro_bridge.domain.profile import KvType, Profile

_CELLS = 256  # caches are padded to this many tokens (llama-context.cpp, llama-kv-cache-iswa.cpp)
_BATCH, _UBATCH = 2048, 512  # defaults of -b and -ub (reference llama-server §2)


@dataclass(frozen=True, slots=True)
class ContextShape:
    """What is asked of the context, as the command line says it.

    Args:
        context: tokens of one request; parallel: requests at once, each with a cache of its own.
        ubatch: tokens of one computation, which a sliding window's cache has to hold too.
        swa_full: sliding-window layers keep the whole context.
        unified: all requests share one cache of `context` tokens.
    """

    context: int
    parallel: int = 1
    kv_type: KvType = KvType.AUTO
    ubatch: int = _UBATCH
    swa_full: bool = False
    unified: bool = False

    @property
    def cells(self) -> int:
        """Tokens that one cache holds."""
        return padded(self.context)

    @property
    def streams(self) -> int:
        """Caches there are."""
        return 1 if self.unified else self.parallel


def context_shape(profile: Profile) -> ContextShape:
    """The shape that a profile's command asks for. An argument that is no number is the engine's to refuse."""
    batch = _last_number(profile.extra_args, ("-b", "--batch-size"))
    ubatch = _last_number(profile.extra_args, ("-ub", "--ubatch-size"))
    return ContextShape(
        context=profile.context,
        parallel=profile.parallel,
        kv_type=profile.kv_type,
        ubatch=min(ubatch or _UBATCH, batch or _BATCH),
        swa_full="--swa-full" in profile.extra_args,
    )


def _last_number(arguments: tuple[str, ...], names: tuple[str, ...]) -> int | None:
    """Value of an argument, as `--name 5` or `--name=5`; the last one counts."""
    found = None
    for name, after in pairwise((*arguments, "")):
        key, _, joined = name.partition("=")
        value = joined or after
        if key in names and value.isdecimal():
            found = int(value)
    return found


def padded(tokens: int) -> int:
    """Tokens of a cache that has to hold so many."""
    return -(-tokens // _CELLS) * _CELLS
