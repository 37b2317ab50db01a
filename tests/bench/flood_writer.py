"""An engine that says a lot: `python flood_writer.py LINES PER_S VERDICT_AT REPORT`.

Writes LINES lines to stderr, one write each as llama-server does, PER_S of them each second (0: as fast as it can), the
disqualifying line at number VERDICT_AT. Leaves in REPORT as JSON the seconds it took, and of these the ones
spent in writes.
"""

from __future__ import annotations

import json
import os
import sys
import time

VERDICT = b"0.01.234.567 I load_tensors: offloaded 20/49 layers to GPU\n"
LINES = [
    b"0.01.234.567 I llama_model_loader: - kv  17:               tokenizer.ggml.tokens arr[str,152064]  = [...]\n",
    b"0.01.234.567 D create_tensor: loading tensor blk.17.ffn_down.weight\n",
    b"0.01.234.567 I slot print_timing: id  3 | task 0 | n_decoded = 100, tg = 140.25 t/s\n",
    b"0.01.234.567 I srv  update_slots: all slots are idle\n",
]
"""Lines of the kinds that come in masses (captures, with other figures); none decides anything."""
BURST_S = 0.01


def main() -> int:
    """Write and report."""
    count, per_s, verdict_at = map(int, sys.argv[1:4])
    burst = round(per_s * BURST_S) or count
    begin = time.monotonic()
    held = 0.0
    for first in range(0, count, burst):
        due = begin + first / per_s if per_s else begin
        time.sleep(max(0.0, due - time.monotonic()))
        started = time.monotonic()
        for number in range(first, min(first + burst, count)):
            os.write(2, VERDICT if number == verdict_at else LINES[number & 3])
        held += time.monotonic() - started
    with open(f"{sys.argv[4]}.new", "w", encoding="utf-8") as file:
        json.dump({"seconds": time.monotonic() - begin, "writing_s": held}, file)
    os.replace(f"{sys.argv[4]}.new", sys.argv[4])
    return 0


if __name__ == "__main__":
    sys.exit(main())
