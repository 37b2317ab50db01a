"""What goes into the frozen build, and the check of what came out. Standard library only: the spec file reads it too.

Owns the lists; the reasons stand beside them.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path, PurePath

MIB = 1024 * 1024
LIMIT_BYTES = 160 * MIB
SOURCES = "sources.txt"
"""Written by the spec file: every source file that the bundle holds, for the licences."""

NOT_SHIPPED_MODULES = [
    # Of the standard library: a second window toolkit, and what only development uses.
    *("tkinter", "_tkinter", "turtle", "idlelib", "lib2to3", "pydoc_data", "ensurepip", "test"),
    *("setuptools", "pkg_resources", "pip", "wheel", "pytest", "_pytest", "hypothesis", "IPython", "matplotlib"),
    *("numpy.tests", "numpy.testing", "numpy.f2py", "numpy.distutils", "numpy._pyinstaller"),
    # What other packages would use if it were there; tests have some of it installed.
    *("huggingface_hub", "gguf", "safetensors", "paramiko", "cryptography", "nacl", "bcrypt", "PIL", "yaml"),
    *("cffi", "pycparser"),
    # Of pyqtgraph: plots on a plain widget are all that is used.
    *("pyqtgraph.opengl", "pyqtgraph.examples", "pyqtgraph.flowchart", "pyqtgraph.console", "pyqtgraph.dockarea"),
    *("pyqtgraph.canvas", "pyqtgraph.jupyter", "pyqtgraph.exporters.HDF5Exporter"),
    *(f"PySide6.{name}" for name in ("QtNetwork", "QtQml", "QtQuick", "QtSql", "QtSvg")),
    *(f"PySide6.{name}" for name in ("QtSvgWidgets", "QtTest", "QtXml", "QtDBus", "QtPrintSupport", "QtUiTools")),
    # Of pywin32: the debugger's window library.
    *("Pythonwin", "win32ui", "win32uiole", "dde"),
]

_LEXERS = "pygments.lexers."
"""rich names them, and shows no source code here; the table of their names has to be there."""

KEPT_OF_QT = (
    "*.pyd",
    "pyside6.abi3.dll",
    "shiboken6.abi3.dll",
    "msvcp140*.dll",
    "vcruntime140*.dll",
    "concrt140.dll",
    "qt6core.dll",
    "qt6gui.dll",
    "qt6opengl.dll",
    "qt6openglwidgets.dll",
    "qt6widgets.dll",
    "plugins/platforms/qwindows.dll",
    "plugins/styles/qmodernwindowsstyle.dll",
)
"""All that is taken of PySide6: five libraries and two plugins. Pictures are drawn in code or are PNG, which QtGui
reads itself; sentences are our own; the software OpenGL (20 MB) is for Qt Quick. The curves of pyqtgraph load QtOpenGL
and its widgets, and use them for none of ours: without them the dashboard does not open."""

OF_WINDOWS = ("api-ms-win-*.dll", "ucrtbase.dll")
"""The C runtime, which is a part of Windows 10: PyInstaller would bring the build machine's along for older ones."""

FORBIDDEN = {
    **dict.fromkeys(("icuuc.dll", "mscms.dll", *OF_WINDOWS), "belongs to Windows"),
    "opengl32sw.dll": "is not needed and 20 MB",
    "qt6designer*.dll": "is a tool of development",
    "qt6virtualkeyboard*.dll": "is under the GPL",
    "qt6charts*.dll": "is under the GPL",
    "qt6datavisualization*.dll": "is under the GPL",
    "qt6quick3d*.dll": "is under the GPL",
    "qt6lottie*.dll": "is under the GPL",
    "qt6networkauth*.dll": "is under the GPL",
    "*.qm": "is a translation of Qt's own words",
    "*.pdb": "is for debugging",
    "upx*": "packs programs, which virus scanners dislike",
}
"""Patterns of file names that fail the build, with the reason: nothing may bring them in by the back door."""

NEEDED = (
    "KotaroBridge.exe",
    "kotaro-bridge.exe",
    "_internal/kotaro_bridge/resources/build.json",
    "_internal/kotaro_bridge/resources/i18n/ja.toml",
    "_internal/kotaro_bridge/resources/icons/kotaro-bridge.png",
    "licenses/THIRD-PARTY.txt",
    "_internal/PySide6/plugins/platforms/qwindows.dll",
    "_internal/PySide6/plugins/styles/qmodernwindowsstyle.dll",
    "_internal/certifi/cacert.pem",
)


def shipped(name: str) -> bool:
    """Whether a file that PyInstaller found goes into the bundle.

    Args:
        name: its place in the bundle, with either slash.
    """
    parts = PurePath(name.replace("\\", "/").lower()).parts
    if parts[0] == "pyside6":
        return _matches("/".join(parts[1:]), KEPT_OF_QT)
    if _matches(parts[-1], OF_WINDOWS):
        return False
    return not ({"tests", "testing"} & set(parts[:-1]) and parts[0] in ("numpy", "pyqtgraph"))


def module_shipped(name: str) -> bool:
    """The same for a module, by its dotted name."""
    return not name.startswith(_LEXERS) or name == f"{_LEXERS}_mapping"


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def faults(bundle: Path) -> list[str]:
    """What is wrong with a frozen folder, one sentence each; empty when it may be shipped."""
    found = [f"{name} is missing" for name in NEEDED if not (bundle / name).is_file()]
    for path in sorted(path for path in bundle.rglob("*") if path.is_file()):
        name = path.relative_to(bundle).as_posix()
        for pattern, why in FORBIDDEN.items():
            if fnmatchcase(path.name.lower(), pattern):
                found.append(f"{name} must not be in it: it {why}")
    if (size := size_of(bundle)) > LIMIT_BYTES:
        found.append(f"it takes {size / MIB:.0f} MB of {LIMIT_BYTES / MIB:.0f}")
    return found
