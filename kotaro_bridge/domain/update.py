"""A newer version of this program: what a release feed says, and whether it is offered.

Owns the form of the feed (GitHub's document of the latest release: docs.github.com/rest/releases, "Get the latest
release"), versions and checksums. A release without a checksum, a pre-release, and one that is not newer are never
offered. Must not ask anyone and must not read files (`host/release_feed.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from kotaro_bridge.domain.errors import Problem, ProblemError, problem

DAY_S: Final = 24 * 3600.0
MAX_PACKAGE_BYTES: Final = 512 << 20
SUMS: Final = "SHA256SUMS"
_VERSION = re.compile(r"v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?(.*)", re.ASCII | re.DOTALL)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Package(StrEnum):
    """What a copy of the program is renewed with, by how its file's name ends."""

    INSTALLER = "-setup.exe"  # a copy that the installer put there
    PORTABLE = "-portable.zip"  # one that a person unpacked


DOWNLOADED: Final = tuple(f"KotaroBridge-*{package.value}" for package in Package)
"""What the files of all versions are called here (`Release.file_name`)."""


class UpdateState(StrEnum):
    """Where the search for a newer version is."""

    IDLE = "idle"  # nobody has asked yet
    CHECKING = "checking"
    CURRENT = "current"  # nothing newer is offered
    AVAILABLE = "available"
    DOWNLOADING = "downloading"
    READY = "ready"  # the package is here and its checksum is right
    INSTALLING = "installing"  # the installer was started, and will end this program
    FAILED = "failed"


class Release(msgspec.Struct, frozen=True):
    """A release that can be installed.

    Args:
        version: without a leading v; page: what a browser shows of it, https or "".
        url: of the package; size: its bytes; sha256: of its content, 64 hexadecimal digits.
    """

    version: str
    page: str
    url: str
    size: int
    sha256: str
    package: Package = Package.INSTALLER

    @property
    def file_name(self) -> str:
        """What the package is called here: made of version and kind alone, whatever the feed calls it."""
        return f"KotaroBridge-{self.version}{self.package.value}"


@dataclass(frozen=True, slots=True)
class UpdateView:
    """The search for a newer version at one moment; published on the bus at each change.

    Args:
        current: the version that runs; has_feed: False where there is nobody to ask (runs from source).
        release: the newest one known that is newer; None if there is none.
        bytes: of it on disk while it is downloaded.
        checked_at: when the feed last answered, seconds since the epoch; None for never.
        problem: why it failed.
    """

    state: UpdateState
    current: str
    has_feed: bool
    release: Release | None = None
    bytes: int = 0
    checked_at: float | None = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """What a feed's document says, before the checksums are there.

    Args:
        version: without a leading v; sha256: of the package as the feed itself states it, "" if it does not.
        sums_url: of the file `SHA256SUMS` beside it, "" if there is none; name: of the package in that file.
        url: of the package; "" where there is none that could be taken.
    """

    version: str
    page: str
    prerelease: bool
    name: str
    url: str
    size: int
    sha256: str
    sums_url: str
    package: Package


class _Asset(msgspec.Struct, frozen=True):
    name: str
    browser_download_url: str
    size: int
    digest: str | None = None  # "sha256:…", since 2025


_NO_ASSET: Final = _Asset("", "", 0)


class _Document(msgspec.Struct, frozen=True):
    tag_name: str
    html_url: str
    assets: tuple[_Asset, ...]
    draft: bool = False
    prerelease: bool = False


def decode_feed(data: bytes, package: Package = Package.INSTALLER) -> Published:
    """What the feed says of packages of this kind.

    Raises:
        ProblemError: `update.feed_broken`.
    """
    try:
        found = msgspec.json.decode(data, type=_Document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProblemError(problem("update.feed_broken", detail=str(error))) from None
    parts = _VERSION.fullmatch(found.tag_name.strip())
    if parts is None:
        raise ProblemError(problem("update.feed_broken", detail=f"tag_name: {found.tag_name[:60]!r}"))
    version = found.tag_name.strip().removeprefix("v")
    page = found.html_url if found.html_url.startswith("https://") else ""
    packages = [asset for asset in found.assets if asset.name.lower().endswith(package.value)]
    one = packages[0] if len(packages) == 1 and 0 < packages[0].size <= MAX_PACKAGE_BYTES else _NO_ASSET
    sums = next((asset.browser_download_url for asset in found.assets if asset.name == SUMS), "")
    digest = (one.digest or "").lower().removeprefix("sha256:")
    return Published(
        version,
        page,
        found.draft or found.prerelease or bool(parts[4]),
        one.name,
        one.browser_download_url,
        one.size,
        digest if _SHA256.fullmatch(digest) else "",
        sums,
        package,
    )


def release_of(published: Published, sums: str | None) -> Release:
    """The release with its checksum.

    Args:
        sums: content of `SHA256SUMS`, None where there is none.

    Raises:
        ProblemError: `update.no_package`, `update.no_checksum`, or `update.checksums_differ`, with `version`.
    """
    if not published.url:
        raise ProblemError(problem("update.no_package", version=published.version, ending=published.package.value))
    listed = _listed(sums, published.name) if sums is not None else ""
    if listed and published.sha256 and listed != published.sha256:
        raise ProblemError(problem("update.checksums_differ", version=published.version))
    sha256 = published.sha256 or listed
    if not sha256:
        raise ProblemError(problem("update.no_checksum", version=published.version))
    return Release(published.version, published.page, published.url, published.size, sha256, published.package)


def is_newer(version: str, current: str) -> bool:
    """True if `version` is a release proper and comes after `current`, of which a pre-release comes before it."""
    new, old = _VERSION.fullmatch(version), _VERSION.fullmatch(current)
    if new is None or new[4] or old is None:
        return False
    return _order(new) > _order(old)


def _order(parts: re.Match[str]) -> tuple[int, int, int, bool]:
    return int(parts[1]), int(parts[2]), int(parts[3] or 0), not parts[4]


def _listed(sums: str, name: str) -> str:
    """The checksum of a file as `sha256sum` lists it, "" if it does not."""
    for line in sums.splitlines():
        digest, _, listed = line.strip().partition(" ")
        if listed.strip().removeprefix("*") == name and _SHA256.fullmatch(digest.lower()):
            return digest.lower()
    return ""
