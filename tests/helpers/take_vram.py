"""usage: take_vram.py LEAVE_MIB [MARK]   takes the video memory of card 0 but for so much, and holds it.

Says `taken` (and makes the file MARK) once it has; ends when stdin ends, or after two minutes. Needs the driver's
libcuda and nothing else.
"""

from __future__ import annotations

import ctypes
import select
import sys
import time
from pathlib import Path

_CHUNK = 64 << 20
_HOLD_S = 120.0


def main() -> int:
    """Take, tell, hold."""
    leave = int(sys.argv[1]) << 20
    cuda = ctypes.CDLL("libcuda.so.1")

    def call(name: str, *arguments: object) -> None:
        code = getattr(cuda, name)(*arguments)
        if code:
            sys.exit(f"{name}: CUDA error {code}")

    device, context, pointer = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    call("cuInit", 0)
    call("cuDeviceGet", ctypes.byref(device), 0)
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    call("cuCtxSetCurrent", context)
    while True:
        call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        if free.value < leave + _CHUNK:
            break
        size = max(_CHUNK, (free.value - leave) // 2 // _CHUNK * _CHUNK)
        call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size))
    print("taken", flush=True)
    if len(sys.argv) > 2:
        Path(sys.argv[2]).touch()
    _wait()
    return 0


def _wait() -> None:
    """Until stdin ends; with a mark, in a shell's background, stdin is empty from the start and only time decides."""
    if len(sys.argv) > 2:
        time.sleep(_HOLD_S)
    else:
        select.select([sys.stdin], [], [], _HOLD_S)


if __name__ == "__main__":
    sys.exit(main())
