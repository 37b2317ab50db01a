"""The table of the ways off the GPU in the README files: written from `escape_routes`, which owns it."""

from __future__ import annotations

from collections.abc import Sequence

from tools import environment
from tools.console import ROOT, call

READMES = {"en": ROOT / "README.md", "ja": ROOT / "README.ja.md"}
BEGIN = "<!-- routes: written by dev.py routes -->\n"
END = "<!-- /routes -->\n"


def verb(_arguments: Sequence[str]) -> int:
    """Write both tables anew."""
    environment.setup()
    call([environment.program("python"), "-m", "tools.routes"], "Writing the tables")
    return 0


def with_table(text: str, table: str) -> str:
    """A README's text with the table between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main() -> None:
    """In the environment, where the package is."""
    from kotaro_bridge.domain.engine.escape_routes import markdown

    for language, path in READMES.items():
        text = path.read_text(encoding="utf-8")
        path.write_text(with_table(text, markdown(language)), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
