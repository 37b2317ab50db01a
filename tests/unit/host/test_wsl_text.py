"""Text of wsl.exe: encodings, and codes instead of sentences."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kotaro_bridge.domain.ports import Completed
from kotaro_bridge.host.wsl_text import decode, error_code, failure

JAPANESE = (
    "指定された名前のディストリビューションはありません。\r\nエラー コード: Wsl/Service/WSL_E_DISTRO_NOT_FOUND\r\n"
)


@pytest.mark.parametrize("text", ["Ubuntu-24.04\r\ndocker-desktop\r\n", JAPANESE, "虎\r\n", "a\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16"])
def test_both_encodings_are_understood(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text.replace("\r\n", "\n")


def test_old_builds_wrote_two_carriage_returns() -> None:
    assert decode(b"a\r\r\nb\r\n") == "a\nb\n"


@given(st.binary(max_size=400))
def test_any_bytes_are_text(data: bytes) -> None:
    assert isinstance(decode(data), str)


def test_the_code_is_found_in_any_language() -> None:
    assert error_code(decode(JAPANESE.encode("utf-16-le"))) == "Wsl/Service/WSL_E_DISTRO_NOT_FOUND"
    assert error_code("nothing") is None


@pytest.mark.parametrize(
    ("completed", "code"),
    [
        (Completed(255, JAPANESE, ""), "wsl.distro_not_found"),
        (Completed(-1, "x\nError code: Wsl/WSL_E_WSL_OPTIONAL_COMPONENT_REQUIRED", ""), "wsl.component_missing"),
        (Completed(0xFFFFFFFF, "x\nError code: Wsl/Service/E_UNEXPECTED", ""), "wsl.failed"),
        (Completed(-1, "x\nError code: Wsl/WSL_E_DEFAULT_DISTRO_NOT_FOUND", ""), "wsl.no_distro"),
        (Completed(50, "stub text", ""), "wsl.not_installed"),
        (Completed(0, "", "", timed_out=True), "wsl.hangs"),
    ],
)
def test_what_wsl_says_of_itself(completed: Completed, code: str) -> None:
    found = failure(completed, "Ubuntu")
    assert found is not None
    assert found.code == code


def test_a_linux_commands_own_exit_code_is_not_wsls_failure() -> None:
    assert failure(Completed(255, "a program said: 255", ""), None) is None
    assert failure(Completed(1, "Error code: Wsl/x", ""), None) is None
