"""The release feed over real HTTP: good answers, and each way in which one is not; downloads, cut and wrong ones."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kotaro_bridge.domain.errors import Problem, ProblemError
from kotaro_bridge.domain.update import Package, Release
from kotaro_bridge.host.release_feed import ReleaseFeed
from tests.helpers.feed_server import FeedServer, body, drips, make_certificate, ranges, redirect, status

pytestmark = pytest.mark.usefixtures("no_proxy_variables")

DATA = bytes(range(256)) * 2000
SHA = hashlib.sha256(DATA).hexdigest()
NAME = "KotaroBridge-0.2.0-setup.exe"
FEED = "/releases/latest"


@pytest.fixture
def server() -> Iterator[FeedServer]:
    with FeedServer() as server:
        yield server


@pytest.fixture
def feed(server: FeedServer, tmp_path: Path) -> ReleaseFeed:
    return ReleaseFeed(server.url + FEED, tmp_path / "updates", "0.1.0", limit_s=1.0, pause_s=0.0)


def document(base: str, **changes: Any) -> bytes:
    """What GitHub says of a release, its files at `base`."""
    asset = {"name": NAME, "browser_download_url": f"{base}/{NAME}", "size": len(DATA), "digest": f"sha256:{SHA}"}
    asset |= changes.pop("asset", {})
    found = {"tag_name": "v0.2.0", "html_url": "https://example.invalid/v0.2.0", "assets": [asset]}
    return json.dumps(found | changes).encode()


def release(server: FeedServer, **changes: Any) -> Release:
    found: dict[str, Any] = {
        "version": "0.2.0",
        "page": "",
        "url": f"{server.url}/{NAME}",
        "size": len(DATA),
        "sha256": SHA,
    }
    return Release(**(found | changes))


def refused(feed: ReleaseFeed) -> Problem:
    with pytest.raises(ProblemError) as caught:
        feed.latest("0.1.0")
    return caught.value.problem


def fetch(feed: ReleaseFeed, wanted: Release, stopped: threading.Event | None = None) -> Path | None:
    return feed.fetch(wanted, lambda _: None, stopped or threading.Event())


def fetched(feed: ReleaseFeed, wanted: Release) -> Path:
    file = fetch(feed, wanted)
    assert file is not None
    return file


def fetch_problem(feed: ReleaseFeed, wanted: Release) -> Problem:
    with pytest.raises(ProblemError) as caught:
        fetch(feed, wanted)
    return caught.value.problem


def test_a_newer_release(server: FeedServer, feed: ReleaseFeed) -> None:
    server.routes[FEED] = body(document(server.url))
    found = feed.latest("0.1.0")
    assert found == Release("0.2.0", "https://example.invalid/v0.2.0", f"{server.url}/{NAME}", len(DATA), SHA)
    assert server.paths == [FEED]


def test_the_feed_hears_the_version_and_nothing_else(server: FeedServer, feed: ReleaseFeed) -> None:
    server.routes[FEED] = body(document(server.url))
    feed.latest("0.1.0")
    headers = server.asked[0][1]
    assert headers["user-agent"] == "kotaro-bridge/0.1.0"
    assert set(headers) == {"host", "connection", "user-agent", "accept", "accept-encoding"}


@pytest.mark.parametrize(
    "changes",
    [{"tag_name": "v0.1.0"}, {"tag_name": "v0.0.9"}, {"tag_name": "v0.2.0rc1"}, {"prerelease": True}, {"draft": True}],
)
def test_downgrades_and_prereleases_are_not_offered(
    server: FeedServer, feed: ReleaseFeed, changes: dict[str, Any]
) -> None:
    server.routes[FEED] = body(document(server.url, **changes))
    assert feed.latest("0.1.0") is None


def test_checksums_beside_the_files(server: FeedServer, feed: ReleaseFeed) -> None:
    both = json.loads(document(server.url, asset={"digest": None}))
    both["assets"].append({"name": "SHA256SUMS", "browser_download_url": f"{server.url}/SHA256SUMS", "size": 99})
    server.routes[FEED] = body(json.dumps(both).encode())
    server.routes["/SHA256SUMS"] = body(f"{SHA}  {NAME}\n".encode())
    found = feed.latest("0.1.0")
    assert found is not None
    assert found.sha256 == SHA
    server.routes["/SHA256SUMS"] = body(b"x" * (65 << 10))
    assert refused(feed).code == "update.feed_large"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (body(b"<html>please log in</html>"), "update.feed_broken"),
        (body(b""), "update.feed_broken"),
        (status(404), "update.refused"),
        (status(500), "update.refused"),
        (status(403), "update.refused"),
        (status(403, x_ratelimit_remaining="0"), "update.busy"),
        (status(429), "update.busy"),
        (body(b"{", stated=99), "update.unreachable"),
        (body(b" " * (3 << 20)), "update.feed_large"),
        (redirect("http://192.0.2.1/feed"), "update.insecure"),
        (redirect("ftp://127.0.0.1/feed"), "update.insecure"),
        (redirect(FEED), "update.unreachable"),
    ],
)
def test_answers_that_are_none(server: FeedServer, feed: ReleaseFeed, answer: Any, code: str) -> None:
    server.routes[FEED] = answer
    assert refused(feed).code == code


def test_a_feed_that_never_ends(server: FeedServer, tmp_path: Path) -> None:
    gone = threading.Event()
    server.routes[FEED] = drips(gone, 0.01)
    feed = ReleaseFeed(server.url + FEED, tmp_path, "0.1.0", limit_s=0.1)
    try:
        assert refused(feed).code == "update.feed_slow"
    finally:
        gone.set()


def test_nobody_answers(tmp_path: Path) -> None:
    with FeedServer() as server:
        url = server.url
    found = refused(ReleaseFeed(url + FEED, tmp_path, "0.1.0"))
    assert (found.code, found.params["host"]) == ("update.unreachable", "127.0.0.1")


@pytest.mark.parametrize("url", ["http://feed.invalid/latest", "http://[", "file:///etc/passwd", "latest"])
def test_a_feed_without_encryption_elsewhere_is_not_asked(tmp_path: Path, url: str) -> None:
    assert refused(ReleaseFeed(url, tmp_path, "0.1.0")).code == "update.insecure"


def test_an_installer_without_encryption_elsewhere_is_not_offered(server: FeedServer, feed: ReleaseFeed) -> None:
    server.routes[FEED] = body(document("http://files.invalid"))
    assert refused(feed).code == "update.insecure"


def test_a_download(server: FeedServer, feed: ReleaseFeed, tmp_path: Path) -> None:
    server.routes[f"/{NAME}"] = ranges(DATA)
    told: list[int] = []
    file = feed.fetch(release(server), told.append, threading.Event())
    assert file == tmp_path / "updates" / NAME
    assert file.read_bytes() == DATA
    assert [path.name for path in file.parent.iterdir()] == [NAME]
    assert told == sorted(told)
    assert told[-1] == len(DATA)
    with feed.verified(release(server)) as content:
        assert (Path(content.name), content.seek(0), content.read()) == (file, 0, DATA)
    assert fetch(feed, release(server)) == file
    assert len(server.asked) == 1


def test_a_download_goes_on_where_it_was_cut(server: FeedServer, feed: ReleaseFeed) -> None:
    server.routes[f"/{NAME}"] = ranges(DATA, 100_000, 0, 7, 300_000)
    file = fetched(feed, release(server))
    assert file.read_bytes() == DATA
    asked = [headers.get("range") for _, headers in server.asked]
    assert asked[0] is None
    assert asked[1] is not None
    assert len(asked) == 5


def test_a_download_goes_on_after_a_restart(server: FeedServer, feed: ReleaseFeed, tmp_path: Path) -> None:
    (tmp_path / "updates").mkdir()
    (tmp_path / "updates" / f"{NAME}.part").write_bytes(DATA[:1000])
    server.routes[f"/{NAME}"] = ranges(DATA)
    file = fetched(feed, release(server))
    assert file.read_bytes() == DATA
    assert [headers["range"] for _, headers in server.asked] == ["bytes=1000-"]


@pytest.mark.parametrize("there", [b"other" * 100, DATA + b"more", b"x" * len(DATA)], ids=["short", "long", "same"])
def test_what_is_of_another_file_is_begun_again(
    server: FeedServer, feed: ReleaseFeed, tmp_path: Path, there: bytes
) -> None:
    (tmp_path / "updates").mkdir()
    (tmp_path / "updates" / f"{NAME}.part").write_bytes(there)
    server.routes[f"/{NAME}"] = ranges(DATA)
    file = fetched(feed, release(server))
    assert file.read_bytes() == DATA


def test_a_server_that_ignores_ranges_sends_it_all_again(server: FeedServer, feed: ReleaseFeed, tmp_path: Path) -> None:
    (tmp_path / "updates").mkdir()
    (tmp_path / "updates" / f"{NAME}.part").write_bytes(DATA[:1000])
    server.routes[f"/{NAME}"] = body(DATA)
    file = fetched(feed, release(server))
    assert file.read_bytes() == DATA


def test_a_download_that_is_cut_again_and_again_stays_for_later(
    server: FeedServer, feed: ReleaseFeed, tmp_path: Path
) -> None:
    server.routes[f"/{NAME}"] = ranges(DATA, 1000, 0, 0, 0)
    assert fetch_problem(feed, release(server)).code == "update.unreachable"
    assert (tmp_path / "updates" / f"{NAME}.part").stat().st_size == 1000
    assert len(server.asked) == 4


@pytest.mark.parametrize("sent", [DATA[::-1], DATA[:-1] + b"!"], ids=["reversed", "one byte"])
def test_a_wrong_checksum_deletes_the_file(server: FeedServer, feed: ReleaseFeed, tmp_path: Path, sent: bytes) -> None:
    server.routes[f"/{NAME}"] = ranges(sent)
    assert fetch_problem(feed, release(server)).code == "update.checksum"
    assert list((tmp_path / "updates").iterdir()) == []


def test_more_than_the_release_has_is_not_written(server: FeedServer, feed: ReleaseFeed) -> None:
    server.routes[f"/{NAME}"] = body(DATA + b"more")
    file = fetched(feed, release(server))
    assert file.read_bytes() == DATA


def test_less_than_the_release_has(server: FeedServer, feed: ReleaseFeed, tmp_path: Path) -> None:
    server.routes[f"/{NAME}"] = body(DATA[:100])
    assert fetch_problem(feed, release(server)).code == "update.cut"
    (tmp_path / "updates" / f"{NAME}.part").write_bytes(DATA[:100])
    server.routes[f"/{NAME}"] = status(416)
    assert fetch_problem(feed, release(server)).code == "update.checksum"
    assert list((tmp_path / "updates").iterdir()) == []


def test_a_download_that_is_redirected_to_plain_http(server: FeedServer, feed: ReleaseFeed) -> None:
    server.routes[f"/{NAME}"] = redirect("http://192.0.2.1/x")
    assert fetch_problem(feed, release(server)).code == "update.insecure"


def test_a_download_is_stopped_and_stays(server: FeedServer, feed: ReleaseFeed, tmp_path: Path) -> None:
    server.routes[f"/{NAME}"] = ranges(DATA)
    stopped = threading.Event()
    assert feed.fetch(release(server), lambda _: stopped.set(), stopped) is None
    assert 0 < (tmp_path / "updates" / f"{NAME}.part").stat().st_size < len(DATA)
    assert fetch(feed, release(server), stopped) is None


def test_no_room(server: FeedServer, feed: ReleaseFeed) -> None:
    found = fetch_problem(feed, release(server, size=1 << 60))
    assert found.code == "update.no_space"
    assert server.asked == []


@pytest.mark.skipif(sys.platform == "win32", reason="a disk that is always full is Linux'")
def test_the_disk_is_full_half_way(server: FeedServer, feed: ReleaseFeed, tmp_path: Path) -> None:
    (tmp_path / "updates").mkdir()
    (tmp_path / "updates" / f"{NAME}.part").symlink_to("/dev/full")
    server.routes[f"/{NAME}"] = ranges(DATA)
    assert fetch_problem(feed, release(server)).code == "update.disk_full"


def test_a_folder_that_is_none(server: FeedServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    feed = ReleaseFeed(server.url + FEED, tmp_path / "file", "0.1.0")
    assert fetch_problem(feed, release(server)).code == "update.not_written"


def test_an_installer_that_was_changed_on_the_disk_is_not_started(
    server: FeedServer, feed: ReleaseFeed, tmp_path: Path
) -> None:
    server.routes[f"/{NAME}"] = ranges(DATA)
    file = fetched(feed, release(server))
    file.write_bytes(DATA[::-1])
    with pytest.raises(ProblemError) as caught:
        feed.verified(release(server)).__enter__()
    assert caught.value.problem.code == "update.checksum"
    with pytest.raises(ProblemError) as caught:
        feed.verified(release(server)).__enter__()
    assert caught.value.problem.code == "update.gone"


def test_other_releases_are_tidied_away(server: FeedServer, feed: ReleaseFeed, tmp_path: Path) -> None:
    feed.tidy(None)  # no folder: nothing happens
    (tmp_path / "updates").mkdir()
    for name in ("KotaroBridge-0.1.0-setup.exe", "KotaroBridge-0.1.0-portable.zip.part", NAME, f"{NAME}.part"):
        (tmp_path / "updates" / name).touch()
    feed.tidy(release(server))
    assert sorted(path.name for path in (tmp_path / "updates").iterdir()) == [NAME, f"{NAME}.part"]
    feed.tidy(None)
    assert list((tmp_path / "updates").iterdir()) == []


def test_files_of_somebody_else_stay(feed: ReleaseFeed, tmp_path: Path) -> None:
    """The folder may lead to one that holds more, such as a person's downloads on a bigger disk."""
    folder = tmp_path / "updates"
    (folder / "KotaroBridge-0.0.1-setup.exe").mkdir(parents=True)  # what cannot be deleted keeps nothing else
    theirs = ("thesis.docx", "other-setup.exe", "KotaroBridge-notes.txt")
    for name in (*theirs, "KotaroBridge-0.1.0-setup.exe", "KotaroBridge-0.1.0-setup.exe.part"):
        (folder / name).touch()
    feed.tidy(None)
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == sorted(theirs)


@pytest.mark.skipif(sys.platform != "win32", reason="elsewhere nothing keeps a program of the same user from a file")
def test_nobody_puts_another_file_in_the_place_of_one_that_was_checked(
    server: FeedServer, feed: ReleaseFeed, tmp_path: Path
) -> None:
    server.routes[f"/{NAME}"] = ranges(DATA)
    file = fetched(feed, release(server))
    other = tmp_path / "other.exe"
    other.write_bytes(b"other")
    with feed.verified(release(server)):
        for swap in (
            lambda: file.write_bytes(b"x"),
            file.unlink,
            lambda: file.rename(tmp_path / "aside"),
            lambda: os.replace(other, file),
        ):
            with pytest.raises(PermissionError):
                swap()
        assert file.read_bytes() == DATA, "a virus scanner may read it"
    os.replace(other, file)


def test_a_copy_that_was_unpacked_is_offered_the_zip(server: FeedServer, tmp_path: Path) -> None:
    feed = ReleaseFeed(server.url + FEED, tmp_path / "updates", "0.1.0", Package.PORTABLE)
    server.routes[FEED] = body(document(server.url))
    found = refused(feed)
    assert (found.code, found.params["ending"]) == ("update.no_package", "-portable.zip")
    zipped = {"name": "KotaroBridge-0.2.0-portable.zip", "size": 7, "digest": f"sha256:{'ab' * 32}"}
    installer = {"name": NAME, "browser_download_url": f"{server.url}/{NAME}", "size": 9}
    assets = [installer, zipped | {"browser_download_url": f"{server.url}/z"}]
    server.routes[FEED] = body(document(server.url, assets=assets))
    offered = feed.latest("0.1.0")
    assert offered == Release(
        "0.2.0", "https://example.invalid/v0.2.0", f"{server.url}/z", 7, "ab" * 32, Package.PORTABLE
    )
    assert offered.file_name == "KotaroBridge-0.2.0-portable.zip"


def test_a_server_that_has_nothing_of_the_file_is_told(feed: ReleaseFeed, server: FeedServer) -> None:
    server.routes[f"/{NAME}"] = body(b"", 416)
    with pytest.raises(ProblemError) as caught:
        feed.fetch(release(server), lambda _: None, threading.Event())
    assert caught.value.problem.code == "update.checksum"


class TestEncrypted:
    """Real TLS, with a certificate that is trusted as a firm's own is: because the system has it."""

    @pytest.fixture
    def encrypted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FeedServer]:
        certificate = make_certificate(tmp_path, "127.0.0.1")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with FeedServer(certificate) as server:
            yield server

    def test_a_release_and_its_download(self, encrypted: FeedServer, tmp_path: Path) -> None:
        encrypted.routes[FEED] = body(document(encrypted.url))
        encrypted.routes[f"/{NAME}"] = redirect(f"{encrypted.url}/elsewhere")
        encrypted.routes["/elsewhere"] = ranges(DATA)
        feed = ReleaseFeed(encrypted.url + FEED, tmp_path / "updates", "0.1.0")
        found = feed.latest("0.1.0")
        assert found is not None
        file = fetch(feed, found)
        assert file is not None
        assert file.read_bytes() == DATA

    def test_never_from_encrypted_to_plain(self, encrypted: FeedServer, server: FeedServer, tmp_path: Path) -> None:
        """Not even to this machine: the feed is a stranger."""
        server.routes[FEED] = body(document(server.url))
        encrypted.routes[FEED] = redirect(server.url + FEED)
        feed = ReleaseFeed(encrypted.url + FEED, tmp_path, "0.1.0")
        assert refused(feed).code == "update.insecure"
        encrypted.routes[FEED] = body(document(server.url))
        assert refused(feed).code == "update.insecure"
        assert server.asked == []

    def test_a_certificate_that_nobody_trusts(
        self, encrypted: FeedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SSL_CERT_FILE")
        found = refused(ReleaseFeed(encrypted.url + FEED, tmp_path, "0.1.0"))
        assert found.code == "update.unreachable"
        assert "certificate" in str(found.params["detail"]).lower()
        assert encrypted.asked == []
