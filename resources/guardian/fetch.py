"""Fetches files of a Hugging Face model with the official client's own functions (huggingface_hub), inside the target.

`hf download` begins a file anew when it was ended (huggingface_hub 1.33.0 and 2.4.0: a temporary name that nothing
takes up again), and compares no checksum. So the client looks up, authenticates and transfers, and this program keeps
the partial file, goes on where it ended, and compares checksums before a file gets its name.

Stdin: one line, a JSON object: verb (list, fetch), repo, revision, token, folder, wait_s and files (path, size, sha256,
git). Stdout: lines `@fetch JSON`. The token comes this way only: no argument, no variable, no file has it.
"""

import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
import sys
import threading
import time

CHUNK = 1 << 22
TRIES = 6
LONGEST_WAIT_S = 60
NETWORK = {"httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3"}
LOCK = threading.Lock()


def say(**message):
    with LOCK:
        try:
            sys.stdout.write("@fetch " + json.dumps(message) + "\n")
            sys.stdout.flush()
        except OSError:
            os._exit(1)  # nobody is left to hear it


class Refused(Exception):
    def __init__(self, kind, **more):
        super().__init__(kind)
        self.message = {"kind": kind, **more}


def inside(folder, path):
    if not path or path.startswith("/") or "\\" in path or any(p in ("", ".", "..") for p in path.split("/")):
        raise Refused("unsafe", file=path)
    return os.path.join(folder, *path.split("/"))


def part_of(folder, file):
    return inside(folder, file["path"]) + "." + (file["sha256"] or file["git"] or "0" * 16)[:16] + ".part"


def size_of(path):
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def room(folder):
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return shutil.disk_usage(folder).free


def list_files(job, folder):
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url

    api = HfApi(token=job["token"] or None)
    info = api.model_info(job["repo"], revision=job["revision"] or None, files_metadata=True)
    files = []
    for each in info.siblings or ():
        lfs = each.lfs
        sha256 = lfs.get("sha256") if isinstance(lfs, dict) else getattr(lfs, "sha256", None)
        files.append({"path": each.rfilename, "size": each.size, "sha256": sha256, "git": each.blob_id})
    if files:
        # The list of a gated model is public, its files are not.
        largest = max(files, key=lambda file: file["size"] or 0)["path"]
        get_hf_file_metadata(hf_hub_url(job["repo"], largest, revision=info.sha), token=job["token"] or None)
    say(listing={"commit": info.sha, "files": files})


def there(folder, file):
    """Bytes of a file that need no transfer."""
    whole = size_of(inside(folder, file["path"])) == file["size"]
    return file["size"] if whole else min(size_of(part_of(folder, file)), file["size"])


def measure(job, folder):
    have = [there(folder, file) for file in job["files"]]
    say(measured={"folder": folder, "free": room(folder), "have": have})


class Progress:
    """Tells twice a second how many bytes of all files are there."""

    def __init__(self, have):
        self.have, self.number, self.path, self.name = have, 0, None, ""
        self.changed = threading.Condition()
        threading.Thread(target=self.tell, daemon=True).start()

    def tell(self):
        while True:
            with self.changed:
                if self.path is not None:
                    self.have[self.number] = size_of(self.path)
                    say(bytes=sum(self.have), file=self.name)
                self.changed.wait(0.5)

    def on(self, number, path, name):
        with self.changed:
            self.number, self.path, self.name = number, path, name

    def done(self, number, size):
        with self.changed:
            self.have[number], self.path = size, None
            say(bytes=sum(self.have), file=self.name)


def digest(path, file):
    """The checksum that the hub gives for a file: sha256 for large ones, git's for the others."""
    if not file["sha256"] and not file["git"]:
        return True
    made = hashlib.sha256() if file["sha256"] else hashlib.sha1(usedforsecurity=False)
    if not file["sha256"]:
        made.update(b"blob %d\0" % size_of(path))
    with open(path, "rb") as opened:
        while data := opened.read(CHUNK):
            made.update(data)
    return made.hexdigest() == (file["sha256"] or file["git"])


def fetch_file(job, folder, number, progress):
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    constants.DOWNLOAD_CHUNK_SIZE = 1 << 20  # it keeps nothing of a chunk that has not come whole
    file = job["files"][number]
    target, part = inside(folder, file["path"]), part_of(folder, file)
    if os.path.lexists(target):
        say(checking=file["path"])
        if os.path.isfile(target) and size_of(target) == file["size"] and digest(target, file):
            progress.done(number, file["size"])
            return
        raise Refused("other_file", file=target)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    url = hf_hub_url(job["repo"], file["path"], revision=job["revision"])
    progress.on(number, part, file["path"])
    if size_of(part) > file["size"]:
        os.remove(part)
    failed, reached = 0, size_of(part)
    while True:
        try:
            headers = build_hf_headers(token=job["token"] or None)
            headers["Accept-Encoding"] = "identity"
            with open(part, "ab") as opened:
                http_get(url, opened, resume_size=opened.tell(), headers=headers, expected_size=file["size"])
                opened.flush()
                os.fsync(opened.fileno())
            break
        except Exception as error:
            now = size_of(part)
            failed, reached = (1 if now > reached else failed + 1), max(now, reached)
            wait = waiting(error, failed, job["wait_s"])
            if wait is None:
                raise
            say(waiting=wait, said=str(error)[:300])
            time.sleep(wait)
    say(checking=file["path"])
    if not digest(part, file):
        os.remove(part)
        raise Refused("checksum", file=file["path"])
    os.replace(part, target)
    progress.done(number, file["size"])


def waiting(error, failed, wait_s):
    """Seconds until it is worth another try; None where it is not."""
    if failed >= TRIES:
        return None
    told = describe(error)
    if told["kind"] == "http" and told["status"] in (408, 429, 500, 502, 503, 504):
        wait = told["retry_after"] if told["retry_after"] is not None else wait_s * 2 ** (failed - 1)
        return wait if wait <= LONGEST_WAIT_S else None
    return wait_s * 2 ** (failed - 1) if told["kind"] in ("network", "short") else None


def describe(error):
    """What went wrong, in words that both sides know."""
    if isinstance(error, Refused):
        return error.message
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return {"kind": "disk_full"}
    if isinstance(error, PermissionError):
        return {"kind": "unwritable", "detail": str(error)}
    if isinstance(error, OSError) and "Consistency check failed" in str(error):
        return {"kind": "short", "detail": str(error)}
    response = getattr(error, "response", None)
    if response is not None:
        after = str(response.headers.get("Retry-After") or "")
        return {
            "kind": "http",
            "status": response.status_code,
            "code": response.headers.get("X-Error-Code") or "",
            "retry_after": int(after) if after.isdigit() else None,
            "detail": (response.headers.get("X-Error-Message") or str(error))[:500],
        }
    families = {each.__module__.partition(".")[0] for each in type(error).__mro__}
    if families & NETWORK or isinstance(error, ConnectionError):
        return {"kind": "network", "detail": f"{type(error).__name__}: {error}"[:500]}
    return {"kind": "other", "detail": f"{type(error).__name__}: {error}"[:500]}


class Notes(logging.Handler):
    def emit(self, record):
        say(note=record.getMessage()[:300])


def fetch(job, folder):
    os.makedirs(folder, exist_ok=True)
    try:
        fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise Refused("busy", file=folder) from None
    progress = Progress([there(folder, file) for file in job["files"]])
    for number in range(len(job["files"])):
        fetch_file(job, folder, number, progress)
    say(done=folder)


def main():
    job = json.loads(sys.stdin.readline())
    logger = logging.getLogger("huggingface_hub")
    logger.addHandler(Notes())
    logger.propagate = False
    folder = os.path.expanduser(job["folder"])
    try:
        {"list": list_files, "measure": measure, "fetch": fetch}[job["verb"]](job, folder)
    except Exception as error:
        say(error=describe(error))
        sys.exit(1)


main()
