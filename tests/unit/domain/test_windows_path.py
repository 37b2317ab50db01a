"""Where Linux finds what a person names as Windows does."""

from __future__ import annotations

import pytest

from kotaro_bridge.domain.wsl.windows_path import inside_linux


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("C:\\models\\m.gguf", "/mnt/c/models/m.gguf"),
        ("d:/a b/虎.gguf", "/mnt/d/a b/虎.gguf"),
        ("E:\\", "/mnt/e/"),
        ("C:\\\\models\\m.gguf", "/mnt/c/models/m.gguf"),
        ("\\\\wsl.localhost\\Ubuntu\\home\\k\\m.gguf", "/home/k/m.gguf"),
        ("\\\\WSL$\\Ubuntu-24.04\\home", "/home"),
        ("//wsl.localhost/Ubuntu/home", "/home"),
        ("\\\\server\\share\\m.gguf", None),
        ("/home/k/m.gguf", None),
        ("~/m.gguf", None),
        ("org/name", None),
        ("C:m.gguf", None),
        ("", None),
    ],
)
def test_inside_linux(path: str, inside: str | None) -> None:
    assert inside_linux(path) == inside
