"""Stands in for `resources/guardian/fetch.sh` on the simulated PC of a Windows machine, which has no Linux side.

`python -m kotaro_bridge.simulator.fetch_stand_in CODE PROGRAM...` runs the product's own `fetch.py`, as the script
does; what that finds on Linux alone (the official client, `fcntl`, a home folder in HOME) is given to it here. NOT the
official client: the few functions that `fetch.py` calls, with the client's errors, against the simulated hub alone.
"""

from __future__ import annotations

import io
import os
import sys
from types import ModuleType, SimpleNamespace
from typing import Any, BinaryIO
from urllib.parse import quote

import httpx

from kotaro_bridge.simulator import signals
from kotaro_bridge.simulator.guardian_stand_in import in_home
from kotaro_bridge.simulator.server_program import HUB
from kotaro_bridge.simulator.state import State

NO_CLIENT = b'@fetch {"error": {"kind": "no_client"}}\n'
NO_CLIENT_CODE = 3
TIMEOUT_S = 10.0
MAIN = "main"


class Client:
    """What `fetch.py` uses of huggingface_hub.

    Args:
        endpoint: address of the hub.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._http = httpx.Client(timeout=TIMEOUT_S, trust_env=False)
        self.constants = SimpleNamespace(DOWNLOAD_CHUNK_SIZE=1 << 20)

    def HfApi(self, token: str | None) -> SimpleNamespace:
        """The client's class, for its one method."""

        def model_info(repo: str, revision: str | None, files_metadata: bool) -> SimpleNamespace:
            at = f"/revision/{quote(revision, safe='')}" if revision else ""
            query = {"blobs": "true"} if files_metadata else {}
            headers = self.build_hf_headers(token)
            answer = self._http.get(f"{self._endpoint}/api/models/{repo}{at}", params=query, headers=headers)
            told = answer.raise_for_status().json()
            return SimpleNamespace(sha=told["sha"], siblings=[_sibling(each) for each in told["siblings"]])

        return SimpleNamespace(model_info=model_info)

    def hf_hub_url(self, repo: str, path: str, revision: str | None = None) -> str:
        """Address of a file."""
        return f"{self._endpoint}/{repo}/resolve/{quote(revision or MAIN, safe='')}/{quote(path)}"

    def get_hf_file_metadata(self, url: str, token: str | None) -> None:
        """Raise unless the file may be had."""
        answer = self._http.head(url, headers=self.build_hf_headers(token))
        if answer.is_error:
            answer.raise_for_status()

    def build_hf_headers(self, token: str | None) -> dict[str, str]:
        """The headers of every request."""
        return {"Authorization": f"Bearer {token}"} if token else {}

    def http_get(
        self, url: str, opened: BinaryIO, *, resume_size: int, headers: dict[str, str], expected_size: int
    ) -> None:
        """Transfer a file, or what is missing of it."""
        if resume_size == expected_size:
            return
        wanted = {"Range": f"bytes={resume_size}-"} if resume_size else {}
        with self._http.stream("GET", url, headers={**headers, **wanted}, follow_redirects=True) as answer:
            answer.raise_for_status()
            if resume_size and answer.status_code != httpx.codes.PARTIAL_CONTENT:
                opened.truncate(0)
            for data in answer.iter_raw(self.constants.DOWNLOAD_CHUNK_SIZE):
                opened.write(data)
        size = os.fstat(opened.fileno()).st_size
        if size != expected_size:
            raise OSError(f"Consistency check failed: file should be of size {expected_size} but has size {size}")

    def install(self) -> None:
        """Be what `import huggingface_hub` finds."""
        package = ModuleType("huggingface_hub")
        for name in ("HfApi", "get_hf_file_metadata", "hf_hub_url", "constants"):
            setattr(package, name, getattr(self, name))
        sys.modules[package.__name__] = package
        for part, name in (("file_download", "http_get"), ("utils", "build_hf_headers")):
            module = ModuleType(f"{package.__name__}.{part}")
            setattr(module, name, getattr(self, name))
            sys.modules[module.__name__] = module


def _sibling(entry: dict[str, Any]) -> SimpleNamespace:
    return SimpleNamespace(
        rfilename=entry["rfilename"], size=entry.get("size"), lfs=entry.get("lfs"), blob_id=entry.get("blobId")
    )


def _stand_in_for_flock() -> None:
    """Windows opens no folder and has no flock: a file in the folder that ends with its holder is the lock."""
    if sys.platform == "win32":
        fcntl: Any = ModuleType("fcntl")
        fcntl.LOCK_EX = fcntl.LOCK_NB = 0
        fcntl.flock = lambda _descriptor, _operation: None
        sys.modules["fcntl"] = fcntl
        really = os.open

        def open_or_lock(path: str, flags: int, mode: int = 0o777) -> int:
            if not os.path.isdir(path):
                return really(path, flags, mode)
            return really(os.path.join(path, ".fetching"), os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_TEMPORARY)

        os.open = open_or_lock  # type: ignore[assignment]


def main(arguments: list[str]) -> int:
    """Do what the line on stdin asks for; the exit code."""
    code, *clients = arguments
    home = os.environ["HOME"]
    if not any(os.path.isfile(in_home(client, home)) for client in clients):
        os.write(1, NO_CLIENT)
        return NO_CLIENT_CODE
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        sys.stdin = io.StringIO(stdin.readline().decode())
    signals.listen()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    os.environ["USERPROFILE"] = home  # where Windows looks for `~`
    _stand_in_for_flock()
    Client(os.environ.get("HF_ENDPOINT") or HUB.start(State.from_environment())).install()
    try:
        exec(compile(code, "fetch.py", "exec"), {"__name__": "fetch"})  # noqa: S102 - what the product sends to a target
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
