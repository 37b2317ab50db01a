"""The dependency rule of the layers: `domain` <- `host`, `service` <- `ui`; Qt in `ui` and `app` alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "kotaro_bridge"
QT = {"PySide6", "shiboken6", "pyqtgraph"}

MAY_IMPORT = {
    "domain": {"domain"},
    "host": {"domain", "host", "resources", "own_program"},
    "service": {"domain", "service"},
    "simulator": {"domain", "simulator", "resources", "own_program"},
    "ui": {"domain", "service", "ui", "texts", "resources"},
    "app": {
        "domain",
        "host",
        "service",
        "ui",
        "simulator",
        "app",
        "texts",
        "resources",
        "own_program",
        "build_info",
        "about",
    },
}
"""What of ours the modules of each folder may import; `cli` and modules beside the folders anything but `ui`."""

IMPORT_UI = ("app", "__main__")
"""`app` puts the layers together; `__main__` shows the tray icon before anything else is loaded."""


def modules() -> list[Path]:
    """Every module of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def layer_of(path: Path) -> str:
    """The folder under the package, or the module's own name for one that lies beside the folders."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import in a module, those inside functions included."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def violations(path: Path) -> Iterator[str]:
    """One sentence for each import that breaks the rule."""
    layer = layer_of(path)
    beside = {entry.stem for entry in PACKAGE.iterdir()} - ({"ui"} if layer not in IMPORT_UI else set())
    for line, name in imports_of(path):
        first, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        where = f"{path.relative_to(ROOT).as_posix()}:{line}"
        if first in QT and layer not in ("ui", "app"):
            yield f"{where}: {layer} must not import {name}"
        if first == "kotaro_bridge" and target != "__version__" and target not in MAY_IMPORT.get(layer, beside):
            yield f"{where}: {layer} must not import {name}"


def test_every_import_keeps_the_layers() -> None:
    assert len(modules()) > 10
    assert [sentence for path in modules() for sentence in violations(path)] == []


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("domain/x.py", "import kotaro_bridge.host"),
        ("domain/x.py", "from kotaro_bridge import resources"),
        ("host/x.py", "from ..service import bus"),
        ("service/x.py", "def f():\n    from kotaro_bridge.host.paths import data"),
        ("ui/x.py", "from kotaro_bridge.simulator import wsl"),
        ("app/x.py", "from kotaro_bridge.cli import main"),
        ("cli/x.py", "from kotaro_bridge.ui.tray import Tray"),
        ("cli/x.py", "from PySide6.QtCore import QObject"),
    ],
)
def test_a_broken_rule_is_seen(place: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path / "kotaro_bridge")
    for name in ("host", "service", "ui", "simulator", "domain", "app", "cli"):
        (tmp_path / "kotaro_bridge" / name).mkdir(parents=True)
    path = tmp_path / "kotaro_bridge" / place
    path.write_text(line, encoding="utf-8")
    assert len(list(violations(path))) == 1


def test_nothing_but_ui_and_app_loads_qt() -> None:
    """Import every other module in a fresh interpreter; Qt must not be there afterwards."""
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in modules()
        if layer_of(path) not in ("ui", "app")
    ]
    program = (
        f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\n"
        f"print(sorted({QT!r} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("[]", "", 0)
