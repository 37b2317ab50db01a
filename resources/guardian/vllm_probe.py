"""Whether the vLLM of this Python could use the card, without importing torch, which takes 2 to 10 s.

Plain Python 3.8, run with `python -c` by the interpreter of vLLM's own environment. Prints facts, one line each, and
judges nothing; a fact that could not be found out has no line:

    vllm VERSION                  installed version; a wheel for the CPU names it there
    torch VERSION, cuda VERSION   of torch/version.py; cuda is "None" in a build without CUDA
    library ok | TEXT             whether torch's smallest CUDA library loads, with the CUDA runtime that it wants
    driver ok | TEXT              the same for libcuda.so.1
    init CODE                     cuInit: 0, or the driver's error number
    driver_cuda VERSION           highest CUDA that the driver can do, 13000 for 13.0
    count N, device X.Y NAME      cards, and of each one compute capability and name
"""

import contextlib
import ctypes
import glob
import os
import re
import sys
from importlib import metadata, util


def say(word, value):
    print(word, value, flush=True)


def versions():
    """Says the versions; the folder of torch, or None."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        say("vllm", metadata.version("vllm"))
    spec = util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = next(iter(spec.submodule_search_locations))
    with open(os.path.join(folder, "version.py"), encoding="utf-8") as file:
        text = file.read()
    for word, name in (("torch", "__version__"), ("cuda", "cuda")):
        found = re.search(rf"^{name}\b[^=\n]*= *['\"]?([^'\"\s]+)", text, re.MULTILINE)
        if found:
            say(word, found.group(1))
    return folder


def load(path):
    """Loads a library as torch does: what the loader does not find is looked for in the packages named nvidia."""
    tried = set()
    while True:
        try:
            ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
            return "ok"
        except OSError as error:
            missing = str(error).split(":")[0]
            if "/" in missing or missing in tried or os.path.basename(path) == missing:
                return str(error)
            tried.add(missing)
            for place in sys.path:
                for found in glob.glob(os.path.join(place, "nvidia", "*", "lib", missing)):
                    load(found)


def driver():
    """Says what the driver makes of the card. cuInit makes no context: no video memory is taken."""
    said = load("libcuda.so.1")
    say("driver", said)
    if said != "ok":
        return
    cuda = ctypes.CDLL("libcuda.so.1")
    number = ctypes.c_int()
    code = cuda.cuInit(0)
    say("init", code)
    if cuda.cuDriverGetVersion(ctypes.byref(number)) == 0:
        say("driver_cuda", number.value)
    if code != 0 or cuda.cuDeviceGetCount(ctypes.byref(number)) != 0:
        return
    say("count", number.value)
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    for position in range(number.value):
        if cuda.cuDeviceGet(ctypes.byref(device), position) == 0:
            cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device)
            cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)
            cuda.cuDeviceGetName(name, 256, device)
            say("device", f"{major.value}.{minor.value} {name.value.decode('utf-8', 'replace')}")


sys.path[:] = [place for place in sys.path if place]  # a folder named torch in the working directory is not meant
torch = versions()
if torch:
    small = os.path.join(torch, "lib", "libc10_cuda.so")
    if os.path.exists(small):
        say("library", load(small))
driver()
