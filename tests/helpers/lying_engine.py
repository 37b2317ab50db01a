"""Engine executables that lie about their devices, around the real llama-server, and profiles for them."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.cli import CommandLine, free_port
from tests.helpers.wrapped_engine import without, wrapper

# Asked for its devices, the program names a card: so the gate lets it pass, and the start has to tell.
_LIE = """\
case " $* " in *" --list-devices "*)
    printf 'Available devices:\\n  CUDA0: NVIDIA GeForce RTX 4070 (12281 MiB, 11000 MiB free)\\n'
    exit 0 ;;
esac
"""

DEVICE_DROPPED = without("--device")
PLACEMENT_DROPPED = without("--device", "-ngl")


def lying_engine(folder: Path, server: Path, script: str) -> Path:
    """One that says it has a CUDA device, whatever the server has."""
    return wrapper(folder, server, _LIE + script)


def write_profile(line: CommandLine, executable: Path, model: Path, target: str) -> str:
    """A profile `tiny` for a tiny model."""
    return line.profile(
        "tiny",
        title="Tiny",
        engine="llama-server",
        executable=str(executable),
        model=str(model),
        served_name="tiny",
        context=4096,
        port=free_port(),
        target=target,
    )
