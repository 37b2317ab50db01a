"""A log of llama-server over two cards, made from one of a capture: no recording of two real cards exists yet.

The lines of the card are there for each, with half of what they say; the second's are of another size by a hundredth.
"""

from __future__ import annotations

import re

_SIZE = re.compile(r"(?P<head>.*?)CUDA0(?P<middle>.*buffer size =)\s*(?P<mib>[\d.]+) MiB")


def on_two_cards(text: str, first: float = 0.5, splits: int = 3) -> str:
    """The log with `first` of each buffer on CUDA0 and the rest on CUDA1."""
    rows = []
    for row in text.split("\n"):
        found = _SIZE.fullmatch(row)
        if found:
            part = float(found["mib"]) * first
            for device, size in (("CUDA0", part), ("CUDA1", float(found["mib"]) - part)):
                rows.append(f"{found['head']}{device}{found['middle']} {size:8.2f} MiB")
        elif "using device CUDA0" in row:
            rows += [row, row.replace("CUDA0", "CUDA1").replace(":06.0", ":07.0")]
        else:
            rows.append(row.replace("splits = 2,", f"splits = {splits},"))
    return "\n".join(rows)
