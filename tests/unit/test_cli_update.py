"""`kotaro-bridge update` with a feed on this machine, named by a build that only the test knows."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kotaro_bridge import __version__
from kotaro_bridge.app import product as app
from kotaro_bridge.app import this_pc
from kotaro_bridge.build_info import BuildInfo, build_info
from kotaro_bridge.cli import update
from kotaro_bridge.cli.main import run_command_line
from kotaro_bridge.resources import resource
from tests.helpers.feed_server import FeedServer, body, ranges
from tests.helpers.own_folders import own_folders
from tests.helpers.words import sentence, text

DATA = b"installer" * 1000
SHA = hashlib.sha256(DATA).hexdigest()
NAME = "KotaroBridge-9.0.0-setup.exe"
ZIP = "KotaroBridge-9.0.0-portable.zip"
PAGE = "https://example.invalid/v9.0.0"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FeedServer]:
    for name, value in own_folders(tmp_path).items():
        monkeypatch.setenv(name, value)
    with FeedServer() as server:
        build = BuildInfo(__version__, "abc", f"{server.url}/latest", True, "a test")
        monkeypatch.setattr(this_pc, "build_info", lambda: build)
        monkeypatch.setattr(this_pc, "is_installed", lambda: True)
        asset = {"name": NAME, "browser_download_url": f"{server.url}/x", "size": len(DATA), "digest": f"sha256:{SHA}"}
        zipped = asset | {"name": ZIP, "browser_download_url": f"{server.url}/z"}
        found = {"tag_name": "v9.0.0", "html_url": PAGE, "assets": [asset, zipped]}
        server.routes["/latest"] = body(json.dumps(found).encode())
        server.routes["/x"] = server.routes["/z"] = ranges(DATA)
        yield server


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_command_line([*arguments, "--lang", "en"])
    return code, *capsys.readouterr()


def test_whether_there_is_a_newer_version(server: FeedServer, capsys: pytest.CaptureFixture[str]) -> None:
    words = text("cli.update.available", version="9.0.0", current=__version__, page=PAGE)
    assert call(capsys, "update", "--check") == (0, words + "\n", "")
    assert server.paths == ["/latest"]


def test_the_newest_version(server: FeedServer, capsys: pytest.CaptureFixture[str]) -> None:
    found = {"tag_name": __version__, "html_url": PAGE, "assets": []}
    server.routes["/latest"] = body(json.dumps(found).encode())
    assert call(capsys, "update") == (0, text("cli.update.current", current=__version__) + "\n", "")


def test_a_download_is_checked_and_nothing_is_started(
    server: FeedServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is there to say yes."""
    started: list[Path] = []
    monkeypatch.setattr(app, "start_installer", started.append)
    code, out, err = call(capsys, "update", "--json")
    document: dict[str, Any] = json.loads(out)
    assert (code, err) == (0, "")
    assert (document["state"], document["version"], document["current"]) == ("ready", "9.0.0", __version__)
    assert Path(document["file"]).read_bytes() == DATA
    assert Path(document["file"]).name == NAME
    code, out, err = call(capsys, "update")
    assert out.splitlines()[-1] == text("cli.update.downloaded", file=document["file"])
    assert server.paths == ["/latest", "/x", "/latest"]
    assert started == []


def test_a_copy_that_was_unpacked_gets_the_zip(
    server: FeedServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(this_pc, "is_installed", lambda: False)
    monkeypatch.setattr(update, "has_person", lambda: True)  # who is not asked: there is nothing to start
    code, out, err = call(capsys, "update")
    *_, downloaded, unpack = out.splitlines()
    assert (code, err) == (0, "")
    assert downloaded.endswith(ZIP)
    assert unpack == text("cli.update.unpack")
    assert server.paths == ["/latest", "/z"]


def test_a_wrong_checksum_is_told(server: FeedServer, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    server.routes["/x"] = ranges(DATA[::-1])
    code, out, err = call(capsys, "update", "--json")
    assert code == 1
    assert json.loads(out)["problem"]["code"] == "update.checksum"
    assert sentence("update.checksum", version="9.0.0").what in err
    assert list(tmp_path.rglob(f"{NAME}*")) == []


def test_a_feed_that_is_not_there(server: FeedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.routes.clear()
    code, out, err = call(capsys, "update", "--check")
    assert (code, out) == (1, "")
    assert sentence("update.refused", host="127.0.0.1", status=404).what in err


def test_no_other_command_asks_the_feed(server: FeedServer, capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "settings", "set", "check_updates=true")
    call(capsys, "profiles", "list")
    call(capsys, "quit")
    assert server.asked == []


@pytest.mark.skipif(resource("build.json").exists(), reason="this is a build")
def test_a_checkout_has_no_feed() -> None:
    assert build_info() is None


def test_what_a_build_writes_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "build.json"
    monkeypatch.setattr("kotaro_bridge.build_info.resource", lambda _: file)
    written = {"version": "1.0.0", "commit": "abc", "feed": "", "official": False, "made_with": sys.version}
    file.write_text(json.dumps(written), encoding="utf-8")
    assert build_info() == BuildInfo("1.0.0", "abc", "", False, sys.version)
