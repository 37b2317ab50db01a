"""Diagnostics: each part has its time and its own error, and nothing that was planted gets out, whatever the part."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.redaction import Identity
from kotaro_bridge.service.diagnostics import README, Diagnostics, Failed, Part

WHO = Identity(("山田 花子", "hanako_y"), ("KOUBOU-PC",), ("correct horse battery",))
SECRETS = {
    "hf_AbCdEfGhIjKlMnOpQrStUvWxYz",
    "sk-proj-1234567890abcdefGHIJ",
    "nvapi-0123456789abcdefghij",
    "correct horse battery",
    "pa55word-of-the-proxy",
    "bearer0Token1Value2",
    "cookie-value-7788",
}
PEOPLE = {"山田 花子", "hanako_y", "KOUBOU-PC", "hanako@example.co.jp", "saburo"}
PLANTED = """
2026-11-22 I loading C:\\Users\\山田 花子\\models\\m.gguf, 9.05 GiB of 12.00 GiB
env HF_TOKEN=hf_AbCdEfGhIjKlMnOpQrStUvWxYz
argv ['--api-key', 'sk-proj-1234567890abcdefGHIJ', '--port', '8080']
proxy http://hanako_y:pa55word-of-the-proxy@proxy.local:3128
GET /v1 HTTP/1.1\\r\\nAuthorization: Bearer bearer0Token1Value2\\r\\nCookie: a=cookie-value-7788
note correct horse battery, from hanako@example.co.jp on KOUBOU-PC, nvapi-0123456789abcdefghij
in /home/saburo/models
"""


class Kept:
    """An archive in memory: what `ZipArchive` would write."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}

    def write(self, path: Path, files: Sequence[tuple[str, str]], *, replace: bool) -> int:
        assert len({name for name, _ in files}) == len(files)
        self.files = dict(files)
        return 1


def made(*parts: Part, who: Identity = WHO) -> tuple[Diagnostics, Kept]:
    kept = Kept()
    return Diagnostics(lambda: parts, lambda: who, kept, lambda manifest: str(manifest.removed)), kept


def spellings(word: str) -> set[str]:
    """Forms in which a word could still be read out of a file."""
    return {word, quote(word), quote(word, safe=""), json.dumps(word)[1:-1], word.encode("utf-16-le").decode("latin-1")}


def assert_gone(text: str) -> None:
    found = [word for word in SECRETS | PEOPLE for form in spellings(word) if form in text]
    assert found == []


def test_nothing_that_was_planted_gets_out_of_any_part() -> None:
    diagnostics, kept = made(
        Part("logs/a.log", lambda: PLANTED),
        Part("versions.txt", lambda: PLANTED, versions=True),
        Part("runs.json", lambda: json.dumps({"line": PLANTED})),
        Part("encoded.txt", lambda: quote(PLANTED)),
        Part("wide.txt", lambda: PLANTED.encode("utf-16-le").decode("utf-8", "replace")),
        Part("fails.txt", lambda: (_ for _ in ()).throw(RuntimeError(PLANTED))),
        Part("refused.txt", lambda: (_ for _ in ()).throw(ProblemError(problem("x", PLANTED, path=PLANTED)))),
        Part("profiles/hanako_y.toml", lambda: "a = 1"),
        Part("profiles/saburo.toml", lambda: "a = 2"),
    )
    diagnostics.written(Path("x.zip"), replace=False)
    assert_gone("\n".join([*kept.files, *kept.files.values()]))
    assert "9.05 GiB of 12.00 GiB" in kept.files["logs/a.log"]
    assert "\\models\\m.gguf" in kept.files["logs/a.log"]
    assert [name for name in kept.files if name.startswith("profiles")] == [
        "profiles/_user_.toml",
        "profiles/_user_-2.toml",
    ]


@given(
    st.sampled_from(sorted(SECRETS)),
    st.sampled_from(["{}", '"{}"', "--api-key {}", "x={} y", "url?token={}&a=1", "Authorization: {}", "\\n{}\\n"]),
    st.text(max_size=20),
    st.text(max_size=20),
)
def test_no_secret_of_a_known_shape_gets_out(secret: str, form: str, before: str, after: str) -> None:
    if secret.startswith(("hf_", "sk-", "nvapi", "correct")) or form.startswith(("--api", "url", "Auth")):
        diagnostics, _ = made(Part("a.log", lambda: f"{before}\n{form.format(secret)}\n{after}"))
        (part,) = diagnostics.collect().parts
        assert secret not in part.text


def test_a_part_that_fails_says_why_and_the_others_are_there() -> None:
    def broken() -> str:
        raise OSError(13, "Permission denied", "settings.toml")

    def refused() -> str:
        raise ProblemError(problem("wsl.missing", "line 1", program="wsl.exe"))

    diagnostics, _ = made(Part("a", broken), Part("b", refused), Part("c", lambda: "fine"), Part("d", lambda: ""))
    a, b, c = diagnostics.collect().parts
    assert (a.failed, a.text) == (Failed.ERROR, "PermissionError: [Errno 13] Permission denied: 'settings.toml'")
    assert (b.failed, b.text) == (Failed.ERROR, "wsl.missing program=wsl.exe\nline 1")
    assert (c.failed, c.text) == (None, "fine")


def test_a_part_that_hangs_is_not_waited_for() -> None:
    never = threading.Event()
    diagnostics, _ = made(Part("hangs", lambda: str(never.wait(30)), limit_s=0.05), Part("fine", lambda: "fine"))
    begun = time.monotonic()
    hung, fine = diagnostics.collect().parts
    never.set()
    assert time.monotonic() - begun < 5
    assert (hung.failed, hung.text) == (Failed.LATE, "0 s")
    assert (fine.failed, fine.text) == (None, "fine")


def test_parts_are_collected_side_by_side() -> None:
    meet = threading.Barrier(5, timeout=20)
    diagnostics, _ = made(*(Part(str(number), lambda: str(meet.wait() >= 0)) for number in range(5)))
    assert [part.text for part in diagnostics.collect().parts] == ["True"] * 5


def test_the_file_is_bounded_and_keeps_the_newest() -> None:
    diagnostics, _ = made(*(Part(f"{number}.log", lambda: "old " + "x\n" * (1 << 19) + " new") for number in range(10)))
    parts = diagnostics.collect().parts
    assert sum(len(part.text) for part in parts) <= 8 << 20
    assert parts[0].text.endswith(" new")
    assert not parts[0].text.startswith("old")
    assert [part.failed for part in parts[-2:]] == [Failed.TOO_MUCH] * 2


def test_the_manifest_counts_what_was_taken_out_and_comes_first() -> None:
    diagnostics, kept = made(Part("a", lambda: "hanako_y hanako_y hf_AbCdEfGhIjKlMnOpQr"))
    done = diagnostics.written(Path("x.zip"), replace=False)
    assert [(kind.name, count) for kind, count in done.manifest.removed] == [("SECRET", 1), ("USER", 2)]
    assert next(iter(kept.files)) == README
    assert diagnostics.contents() == (README, "a")


def test_the_list_of_parts_may_not_be_had() -> None:
    def parts() -> Sequence[Part]:
        raise ProblemError(problem("storage.unusable", path="p", detail="d"))

    with pytest.raises(ProblemError):
        Diagnostics(parts, lambda: WHO, Kept(), lambda _: "").collect()
