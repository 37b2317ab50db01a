"""llama.cpp's own estimate, `llama-fit-params`: how it is asked and what it answers.

Owns the command and the parser. It reads headers and allocates nothing, but makes a CUDA context and takes about a
second, so that a gate does not wait for it. What to know of its figures (reference llama-server §7): no projector, and
logits for a whole batch, so that its compute buffer is larger than the server's. Weights and KV cache are the server's
to the MiB.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kotaro_bridge.domain.planning.plan import Plan, request_of
from kotaro_bridge.domain.profile import KvType, Profile
from kotaro_bridge.domain.units import MIB

_PROGRAM, _SERVER = "llama-fit-params", "llama-server"
_ROW = re.compile(r"(\S+) (\d{1,9}) (\d{1,9}) (\d{1,9}) *")
_ROUNDING = 2 * MIB  # weights and KV cache, each rounded down to whole MiB


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the tool says of all cards together, in bytes."""

    weights: int
    kv: int
    compute: int

    def more_than(self, found: Plan, projector_bytes: int) -> int:
        """Bytes of weights and KV cache that the plan lacks by this opinion; 0 where they agree."""
        ours = found.weights.bytes - projector_bytes + found.kv.bytes
        more = self.weights + self.kv - ours
        return more if more > _ROUNDING else 0


def question(profile: Profile) -> tuple[str, ...] | None:
    """The command that asks for a profile; None where the engine has another name than llama.cpp's, beside which no
    such tool can be known.

    `-kvu` is not passed: with `-np` our server keeps a cache for each request, as the tool does.
    """
    folder, slash, name = profile.executable.rpartition("/")
    if name not in (_SERVER, f"{_SERVER}.exe"):
        return None
    request = request_of(profile)
    types: tuple[str, ...] = ()
    if request.kv_type is not KvType.AUTO:
        types = ("-ctk", request.kv_type.value, "-ctv", request.kv_type.value)
    return (
        f"{folder}{slash}{name.replace(_SERVER, _PROGRAM)}",
        *("-m", profile.model, "--fit-print", "on", "-ngl", "all"),
        *("-c", str(request.context * request.parallel), "-np", str(request.parallel)),
        *("-ub", str(request.ubatch), *types),
        *(("--swa-full",) if request.swa_full else ()),
    )


def decode_opinion(stdout: str) -> Opinion | None:
    """The rows of the cards (`CUDA0 8148 1536 345`, in MiB); None if there are none."""
    rows = [found for line in stdout.splitlines() if (found := _ROW.fullmatch(line.strip()))]
    cards = [tuple(int(part) * MIB for part in row.groups()[1:]) for row in rows if row[1].startswith("CUDA")]
    if not cards:
        return None
    weights, kv, compute = (sum(column) for column in zip(*cards, strict=True))
    return Opinion(weights, kv, compute)
