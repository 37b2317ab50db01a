"""The text of the simulated llama-server's `/metrics` (captures llama-http.txt). Pure: counts nothing itself."""

from __future__ import annotations

from collections.abc import Mapping

GAUGES = frozenset(
    {
        "prompt_tokens_seconds",
        "predicted_tokens_seconds",
        "requests_processing",
        "requests_deferred",
        "n_busy_slots_per_decode",
    }
)
HELP = {
    "prompt_tokens_total": "Number of prompt tokens processed, excluding cached tokens",
    "prompt_tokens_cached_total": "Number of prompt tokens reused from the cache",
    "prompt_seconds_total": "Total time spent processing prompts",
    "tokens_predicted_total": "Number of generation tokens processed",
    "tokens_predicted_seconds_total": "Total time spent generating tokens",
    "n_decode_total": "Total number of llama_decode() calls, excluding speculative decoding and multimodal decoding",
    "n_tokens_max": "Largest observed sequence length (prompt + generation)",
    "spec_decode_num_draft_tokens_total": "Speculative: Total draft tokens generated",
    "spec_decode_num_accepted_tokens_total": "Speculative: Total draft tokens accepted by the target model",
    "spec_decode_num_drafts_total": "Speculative: Total speculative decoding verification steps",
    "prompt_tokens_seconds": "Average prompt throughput in tokens/s",
    "predicted_tokens_seconds": "Average generation throughput in tokens/s",
    "requests_processing": "Number of requests processing",
    "requests_deferred": "Number of requests deferred",
    "n_busy_slots_per_decode": "Average number of busy slots per llama_decode() call",
}


def metrics_text(values: Mapping[str, float]) -> str:
    """All series in the server's order; those without a value are 0."""
    lines: list[str] = []
    for name, words in HELP.items():
        full = f"llamacpp:{name}"
        value = values.get(name, 0)
        lines += [f"# HELP {full} {words}", f"# TYPE {full} {'gauge' if name in GAUGES else 'counter'}"]
        lines.append(f"{full} {value:g}" if value % 1 else f"{full} {value:.0f}")
    return "".join(f"{line}\n" for line in lines)
