"""The command line of `vllm serve`: the flags it knows (reference vllm §2); unknown ones end with code 2."""

from __future__ import annotations

import argparse
from typing import Any

VALUE_FLAGS = {
    "--gpu-memory-utilization": float,
    "--max-model-len": int,
    "--max-num-batched-tokens": int,
    "--max-num-seqs": int,
    "--kv-cache-dtype": str,
    "--block-size": int,
    "--dtype": str,
    "--quantization": str,
    "--tensor-parallel-size": int,
    "--limit-mm-per-prompt": str,
    "--served-model-name": str,
    "--api-key": str,
    "--host": str,
    "--port": int,
    "--uvicorn-log-level": str,
    "--disable-access-log-for-endpoints": str,
    "--load-format": str,
    "--seed": int,
    "--tokenizer": str,
    "--revision": str,
    "--generation-config": str,
    "--chat-template": str,
    "--tool-call-parser": str,
    "--reasoning-parser": str,
    "--mm-processor-kwargs": str,
    "--cpu-offload-gb": float,
    "--kv-offloading-size": float,
    "--shutdown-timeout": int,
}
PLAIN_FLAGS = (
    "--enforce-eager",
    "--trust-remote-code",
    "--enable-auto-tool-choice",
    "--enable-prefix-caching",
    "--no-enable-prefix-caching",
    "--skip-tokenizer-init",
    "--enable-log-requests",
    "--disable-log-stats",
    "--disable-uvicorn-access-log",
    "--enable-sleep-mode",
)


class Options:
    """What was asked for. `given` holds only the flags on the command line, by their Python names."""

    def __init__(self, arguments: list[str]) -> None:
        parser = argparse.ArgumentParser(prog="vllm", allow_abbrev=False)
        commands = parser.add_subparsers(dest="command", required=True, metavar="{chat,complete,serve,bench,run-batch}")
        serve = commands.add_parser("serve", allow_abbrev=False, argument_default=argparse.SUPPRESS)
        serve.add_argument("model_tag")
        for name, kind in VALUE_FLAGS.items():
            serve.add_argument(name, type=kind)
        for name in PLAIN_FLAGS:
            serve.add_argument(name, action="store_true")
        dashed = [word.replace("_", "-") if word.startswith("--") else word for word in arguments]
        found = vars(parser.parse_args(dashed))
        self.model: str = found["model_tag"]
        self.given: dict[str, Any] = {
            name: value for name, value in found.items() if name not in ("command", "model_tag")
        }

    def get(self, name: str, default: Any) -> Any:
        """A flag's value by its Python name, or vLLM's default."""
        return self.given.get(name, default)

    @property
    def served_name(self) -> str:
        return str(self.get("served_model_name", self.model))

    def non_default(self) -> str:
        """The dictionary that vLLM prints, without the key."""
        shown: dict[str, Any] = {"model_tag": self.model}
        for name in ("host", "port"):
            if name in self.given:
                shown[name] = self.given[name]
        shown["model"] = self.model
        skipped = {"host", "port", "api_key"}
        shown.update({name: value for name, value in self.given.items() if name not in skipped})
        if "served_model_name" in shown:
            shown["served_model_name"] = [shown["served_model_name"]]
        return repr(shown)
