"""The `config.json` of a model folder on the target, for the gate's plan and the speed's yardstick.

Owns the reading. What it says is `domain/model/hf_config.py`'s business.
"""

from __future__ import annotations

from kotaro_bridge.domain.model.hf_config import decode_hf_config
from kotaro_bridge.domain.planning.plan import HfPlanned
from kotaro_bridge.domain.ports import Launcher
from kotaro_bridge.domain.profile import Profile

_BYTES = 1 << 20
_WAIT_S = 5.0


def read_config(launcher: Launcher, profile: Profile) -> bytes:
    """Its bytes. Raises ProblemError if it is not there or cannot be read."""
    return launcher.read_at(f"{profile.model.rstrip('/')}/config.json", 0, _BYTES, timeout_s=_WAIT_S)


def planned_from_config(launcher: Launcher, profile: Profile) -> HfPlanned:
    """The model by its config alone: the headers of the weights would cost a call for each file, and say the same to
    within a few thousandths. Raises ProblemError as `read_config`, and `model.*` for what is no config.
    """
    return HfPlanned(decode_hf_config(read_config(launcher, profile)), name=profile.title)
