"""Newer versions: what a feed says, which release is offered, and which never is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.update import MAX_PACKAGE_BYTES, Release, decode_feed, is_newer, release_of

SHA, OTHER = "ab" * 32, "cd" * 32
NAME = "KotaroBridge-0.2.0-setup.exe"


def document(**changes: Any) -> bytes:
    """GitHub's document of the latest release, as far as it is read; `digest` and `sums` of the installer."""
    digest, sums = changes.pop("digest", f"sha256:{SHA}"), changes.pop("sums", False)
    asset: dict[str, Any] = {"name": NAME, "browser_download_url": f"https://a/{NAME}", "size": 7, "digest": digest}
    zipped = {"name": "KotaroBridge-0.2.0-portable.zip", "browser_download_url": "https://a/zip", "size": 9}
    listed = {"name": "SHA256SUMS", "browser_download_url": "https://a/SHA256SUMS", "size": 90, "digest": None}
    return json.dumps(
        {
            "tag_name": "v0.2.0",
            "html_url": "https://github.com/x/y/releases/tag/v0.2.0",
            "draft": False,
            "prerelease": False,
            "assets": [asset, zipped, *([listed] if sums else [])],
            "author": {"login": "x"},
        }
        | changes
    ).encode()


def code_of(data: bytes) -> str:
    with pytest.raises(ProblemError) as caught:
        release_of(decode_feed(data), None)
    return caught.value.problem.code


def test_a_release() -> None:
    published = decode_feed(document())
    release = release_of(published, None)
    assert release == Release("0.2.0", "https://github.com/x/y/releases/tag/v0.2.0", f"https://a/{NAME}", 7, SHA)
    assert release.file_name == NAME
    assert published.sums_url == ""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>log in first</html>",
        b"[]",
        b"{}",
        b'{"tag_name": 3}',
        b"\xff\xfe",
        b"[" * 100_000,
        document(tag_name="latest"),
        document(tag_name=""),
        document(tag_name="v1"),
        document(assets=[{"name": NAME}]),
        document(assets=None),
    ],
)
def test_what_is_no_feed(data: bytes) -> None:
    assert code_of(data) == "update.feed_broken"


@pytest.mark.parametrize("size", [0, -1, MAX_PACKAGE_BYTES + 1])
def test_an_installer_of_an_impossible_size(size: int) -> None:
    asset = {"name": NAME, "browser_download_url": "https://a/b", "size": size}
    assert code_of(document(assets=[asset])) == "update.no_package"


def test_no_installer_or_two_of_them() -> None:
    asset = {"name": NAME, "browser_download_url": "https://a/b", "size": 1}
    assert code_of(document(assets=[])) == "update.no_package"
    assert code_of(document(assets=[asset, asset | {"name": "Other-setup.EXE"}])) == "update.no_package"


def test_the_file_is_never_called_what_the_feed_calls_it() -> None:
    asset = {"name": "..\\..\\evil-setup.exe", "browser_download_url": "https://a/b", "size": 1, "digest": SHA}
    release = release_of(decode_feed(document(assets=[asset])), None)
    assert release.file_name == NAME


def test_a_page_that_is_no_page_is_not_opened() -> None:
    assert decode_feed(document(html_url="file:///c:/windows/system32/calc.exe")).page == ""


@pytest.mark.parametrize("changes", [{"prerelease": True}, {"draft": True}, {"tag_name": "v0.2.0-rc.1"}])
def test_a_prerelease_is_marked(changes: dict[str, Any]) -> None:
    assert decode_feed(document(**changes)).prerelease
    assert not decode_feed(document()).prerelease


def test_the_checksum_may_come_from_either_place() -> None:
    sums = f"{OTHER}  other.zip\n\n{SHA.upper()} *{NAME}\n"
    assert release_of(decode_feed(document(digest=None, sums=True)), sums).sha256 == SHA
    assert release_of(decode_feed(document(sums=True)), sums).sha256 == SHA
    assert release_of(decode_feed(document(sums=True)), "").sha256 == SHA


@pytest.mark.parametrize(
    ("digest", "sums"),
    [
        (None, None),
        ("sha512:ff", None),
        ("sha256:xyz", None),
        (None, ""),
        (None, f"{SHA}  other"),
        (None, f"zz  {NAME}"),
    ],
)
def test_no_release_without_a_checksum(digest: str | None, sums: str | None) -> None:
    with pytest.raises(ProblemError) as caught:
        release_of(decode_feed(document(digest=digest)), sums)
    assert caught.value.problem.code == "update.no_checksum"


def test_no_release_with_two_checksums() -> None:
    with pytest.raises(ProblemError) as caught:
        release_of(decode_feed(document(sums=True)), f"{OTHER}  {NAME}")
    assert caught.value.problem.code == "update.checksums_differ"


@pytest.mark.parametrize(
    ("version", "current", "newer"),
    [
        ("0.2.0", "0.1.0", True),
        ("0.10.0", "0.9.9", True),
        ("1.0", "0.9.9", True),
        ("0.1.1", "0.1", True),
        ("0.1.0", "0.1.0", False),
        ("0.1", "0.1.0", False),
        ("0.0.9", "0.1.0", False),
        ("0.2.0rc1", "0.1.0", False),
        ("0.2.0-beta.1", "0.1.0", False),
        ("0.2.0", "0.2.0rc1", True),
        ("0.2.0", "0.2.0.dev3", True),
        ("0.1.9", "0.2.0rc1", False),
        ("latest", "0.1.0", False),
        ("0.2.0", "unknown", False),
    ],
)
def test_what_is_newer(version: str, current: str, newer: bool) -> None:
    assert is_newer(version, current) is newer


NUMBERS = st.tuples(*[st.integers(0, 999_999)] * 3)


@given(NUMBERS, NUMBERS)
def test_versions_are_in_one_order(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    first, second = (".".join(map(str, numbers)) for numbers in (one, other))
    assert is_newer(first, second) is (one > other)
    assert not (is_newer(first, second) and is_newer(second, first))
