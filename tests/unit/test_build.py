"""What a release is made of: what may be shipped, under which licence, and how it is marked."""

from __future__ import annotations

import os
import re
import struct
import xml.etree.ElementTree as ET
from importlib import metadata
from pathlib import Path

import pytest

from tools import build, build_licences
from tools.build import Maker
from tools.build_bundle import NEEDED, faults, module_shipped, shipped
from tools.build_icon import bitmap, ico
from tools.console import Stop

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "goes"),
    [
        ("PySide6\\Qt6Core.dll", True),
        ("PySide6/plugins/platforms/qwindows.dll", True),
        ("PySide6\\plugins\\platforms\\qminimal.dll", False),
        ("PySide6\\opengl32sw.dll", False),
        ("PySide6/translations/qtbase_ja.qm", False),
        ("PySide6\\Qt6Network.dll", False),
        ("api-ms-win-crt-heap-l1-1-0.dll", False),
        ("ucrtbase.dll", False),
        ("numpy/_core/tests/data/x.csv", False),
        ("numpy.libs\\libscipy_openblas64_-1.dll", True),
        ("kotaro_bridge\\resources\\i18n\\ja.toml", True),
        ("python312.dll", True),
    ],
)
def test_what_is_shipped(name: str, goes: bool) -> None:
    assert shipped(name) is goes


def test_of_the_lexers_their_table_alone() -> None:
    assert module_shipped("pygments.lexers._mapping")
    assert module_shipped("pygments.lexers")
    assert not module_shipped("pygments.lexers.python")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A frozen folder with all that has to be there."""
    for name in NEEDED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_a_whole_bundle_has_no_faults(bundle: Path) -> None:
    assert faults(bundle) == []


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("_internal/icuuc.dll", "belongs to Windows"),
        ("_internal/PySide6/MSCMS.dll", "belongs to Windows"),
        ("_internal/ucrtbase.dll", "belongs to Windows"),
        ("_internal/PySide6/opengl32sw.dll", "20 MB"),
        ("_internal/PySide6/Qt6Charts.dll", "GPL"),
        ("_internal/PySide6/Qt6VirtualKeyboard.dll", "GPL"),
        ("_internal/PySide6/translations/qt_ja.qm", "translation"),
    ],
)
def test_what_must_not_be_in_it(bundle: Path, name: str, why: str) -> None:
    (bundle / name).parent.mkdir(parents=True, exist_ok=True)
    (bundle / name).write_bytes(b"x")
    (sentence,) = faults(bundle)
    assert name in sentence
    assert why in sentence


def test_what_is_missing_or_too_large(bundle: Path) -> None:
    (bundle / "kotaro-bridge.exe").unlink()
    with (bundle / "large").open("wb") as file:
        os.truncate(file.fileno(), 161 * 1024 * 1024)
    assert faults(bundle) == ["kotaro-bridge.exe is missing", "it takes 161 MB of 160"]


def test_an_icon_file_is_read_back() -> None:
    pixels = bytes(range(4)) * 16 * 16
    made = ico([(16, bitmap(16, pixels)), (256, b"\x89PNG")])
    assert struct.unpack_from("<HHH", made) == (0, 1, 2)
    side, _, _, _, planes, bits, size, place = struct.unpack_from("<BBBBHHII", made, 6)
    assert (side, planes, bits) == (16, 1, 32)
    assert struct.unpack_from("<Iii", made, place) == (40, 16, 32)
    assert made[place + 40 : place + 40 + len(pixels)] == pixels
    assert size == 40 + len(pixels) + 4 * 16
    assert struct.unpack_from("<BBBBHHII", made, 22)[0] == 0
    assert made.endswith(b"\x89PNG")


def test_the_lines_of_a_bitmap_go_upwards() -> None:
    assert bitmap(2, b"aaaabbbbccccdddd")[40:56] == b"ccccddddaaaabbbb"


@pytest.mark.parametrize(
    ("about", "mark"),
    [
        ({"official": True, "made_with": "CPython 3.12.10, PyInstaller 6.22.3, Windows"}, ""),
        ({"official": False, "made_with": "CPython 3.12.10, PyInstaller 6.22.3, Windows"}, "-local"),
        ({"official": False, "made_with": "CPython 3.12.4, PyInstaller 6.22.3, Wine 10.0"}, "-wine-test"),
    ],
)
def test_the_mark_of_a_build(about: dict[str, object], mark: str) -> None:
    assert build._mark(about) == mark


@pytest.mark.parametrize(
    ("wine", "tags", "changed", "official"),
    [
        ("", "v{}", "", True),
        ("10.0", "v{}", "", False),
        ("", "", "", False),
        ("", "v{}", " M dev.py", False),
    ],
)
def test_official_is_windows_and_a_clean_tag(
    wine: str, tags: str, changed: str, official: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {"rev-parse": "abc", "status": changed, "tag": tags.format(build._version())}
    monkeypatch.setattr(build, "_git", lambda verb, *_: answers[verb])
    about = build.about_build(Maker(("py",), "3.12.10", "6.22.3", wine), "https://example.org/latest")
    assert about["official"] is official
    assert about["feed"] == "https://example.org/latest"
    assert ("Wine" in str(about["made_with"])) is bool(wine)


def test_a_build_without_git_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Stop, match="git"):
        build.about_build(Maker(("py",), "3.12.10", "6.22.3", ""), "")


def test_a_package_brings_its_licence(tmp_path: Path) -> None:
    found = [metadata.distribution("rich"), metadata.distribution("shiboken6")]
    made = {row.name: row for row in build_licences.rows(found, tmp_path)}
    assert (tmp_path / made["rich"].texts[0]).read_text(encoding="utf-8").startswith("Copyright")
    assert made["shiboken6"].licence == "LGPL-3.0-only"
    assert "HOW TO REPLACE" in (build_licences.TEXTS / "qt.txt").read_text(encoding="utf-8")


def test_a_package_without_a_text_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_licences, "OVERRIDES", {})
    with pytest.raises(build_licences.Unlicensed, match="nvidia-ml-py"):
        build_licences.rows([metadata.distribution("nvidia-ml-py")], tmp_path)


def test_a_library_of_nobody_is_found(tmp_path: Path) -> None:
    for name in ("python312.dll", "_internal/libffi-8.dll", "_internal/mystery.dll"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert build_licences.unclaimed(tmp_path, []) == ["_internal/mystery.dll"]


def test_every_text_that_is_named_is_there() -> None:
    named = {text for part in build_licences.PARTS for text in part.texts}
    named |= {text for _, texts in build_licences.OVERRIDES.values() for text in texts}
    assert named == {path.name for path in build_licences.TEXTS.iterdir()}


def test_the_manifest_asks_for_no_more_than_qt_does() -> None:
    text = (ROOT / "installer" / "kotaro-bridge.manifest").read_text(encoding="utf-8")
    values = {element.tag.rpartition("}")[2]: element for element in ET.fromstring(text).iter()}  # noqa: S314 - our own file
    assert values["requestedExecutionLevel"].get("level") == "asInvoker"
    assert (values["dpiAwareness"].text or "").startswith("PerMonitorV2")
    assert values["longPathAware"].text == "true"


def test_the_installer_speaks_both_languages() -> None:
    script = (ROOT / "installer" / "kotaro-bridge.nsi").read_text(encoding="utf-8")
    words = (ROOT / "installer" / "strings.nsh").read_text(encoding="utf-8")
    defined = re.findall(r'^!insertmacro Words (\w+) "(.+?)" "(.+)"$', words, re.M)
    assert set(re.findall(r"\$\((\w+)\)", script)) == {name for name, _, _ in defined}
    for _, english, japanese in defined:
        assert set(re.findall(r"\$\w+|\$\{\w+\}", english)) == set(re.findall(r"\$\w+|\$\{\w+\}", japanese))


def test_a_signing_command_with_blanks() -> None:
    windows = r'"C:\Program Files\sign tool.exe" sign /n "Our Firm"'
    assert build.signing_words(windows, windows=True) == [r"C:\Program Files\sign tool.exe", "sign", "/n", "Our Firm"]
    assert build.signing_words("'/opt/sign tool' -n 'Our Firm'", windows=False) == ["/opt/sign tool", "-n", "Our Firm"]


def test_every_action_is_pinned_by_commit() -> None:
    for path in (ROOT / ".github" / "workflows").iterdir():
        for line in path.read_text(encoding="utf-8").splitlines():
            if "uses:" in line:
                assert re.search(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line
