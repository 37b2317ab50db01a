"""HTTP of the simulated llama-server (reference llama-server §4; shapes from captures llama-http.txt, slots-live.txt).

Owns slots, counters and their update moments: `tokens_predicted_total` moves only when a request ends, rate gauges are
averages since the last read and each read resets them.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

from kotaro_bridge.simulator.generation import PROMPT_SPEED, Pace, Prompt
from kotaro_bridge.simulator.http_base import Handler
from kotaro_bridge.simulator.llama_metrics import metrics_text

JSON = "application/json; charset=utf-8"
PROGRESS_AFTER_TOKENS = 100
PROGRESS_EVERY_S = 3.0


class Slot:
    """One of the server's slots."""

    def __init__(self, number: int, context: int) -> None:
        self.number = number
        self.context = context
        self.busy = False
        self.task: int | None = None
        self.prompt = 0
        self.decoded = 0
        self.limit = 0
        self.streamed = False

    def json(self, sag: int) -> dict[str, Any]:
        """As `/slots` shows it; `sag` makes the count fall."""
        value: dict[str, Any] = {
            "id": self.number,
            "n_ctx": self.context,
            "speculative": False,
            "is_processing": self.busy,
        }
        if self.task is None:
            return value
        shown = max(0, self.decoded - sag)
        return value | {
            "id_task": self.task,
            "n_prompt_tokens": self.prompt + shown,
            "n_prompt_tokens_processed": self.prompt if self.busy else 0,
            "n_prompt_tokens_cache": 0,
            "params": {"max_tokens": self.limit, "n_predict": self.limit, "stream": self.streamed},
            "next_token": [
                {
                    "has_next_token": self.busy,
                    "has_new_line": False,
                    "n_remain": self.limit - shown if self.busy else -1,
                    "n_decoded": shown if self.busy else 0,
                }
            ],
        }


class LlamaApi:
    """The state behind the routes.

    Args:
        alias: name of the model. describe: values for `/props` and `/v1/models` once loaded.
        rate: tokens per second now. say: prints a part of the log with values. busy: told the number of busy slots.
    """

    def __init__(
        self,
        *,
        alias: str,
        keys: frozenset[str],
        metrics: bool,
        slots_shown: bool,
        counters_go_back: bool,
        rate: Callable[[], float],
        say: Callable[[str, dict[str, Any]], None],
        busy: Callable[[int], None],
    ) -> None:
        self.alias = alias
        self.keys = keys
        self.metrics_on = metrics
        self.slots_on = slots_shown
        self.rate = rate
        self.say = say
        self.busy = busy
        self.ready = False
        self.slots: list[Slot] = []
        self.model: dict[str, Any] = {}
        self._free = threading.Condition()
        self._tasks = 0
        self._waiting = 0
        self._goes_back = counters_go_back
        self._reads = 0
        self._started_us = time.monotonic_ns() // 1000
        self._counters: dict[str, float] = dict.fromkeys(
            ("prompt_tokens", "prompt_seconds", "predicted", "predicted_seconds", "decodes", "longest"), 0.0
        )
        self._since: dict[str, float] = dict(self._counters)

    def load(self, slots: list[Slot], model: dict[str, Any]) -> None:
        """The model is there: answer requests from now on."""
        self.slots = slots
        self.model = model
        self.ready = True

    def take_slot(self, prompt: Prompt) -> Slot:
        """A free slot, waited for where there is none (a deferred request)."""
        with self._free:
            self._waiting += 1
            while (slot := next((each for each in self.slots if not each.busy), None)) is None:
                self._free.wait()
            self._waiting -= 1
            slot.busy = True
            slot.task = self._tasks
            slot.prompt, slot.decoded = prompt.tokens, 0
            slot.limit, slot.streamed = prompt.limit, prompt.stream
            self._tasks += 1
            self.busy(sum(each.busy for each in self.slots))
            return slot

    def release(self, slot: Slot, prompt_s: float, predicted_s: float) -> dict[str, Any]:
        """End a request; its `timings`. The counters of generated tokens move now and not before."""
        with self._free:
            self._counters["predicted"] += slot.decoded
            self._counters["predicted_seconds"] += predicted_s
            self._counters["longest"] = max(self._counters["longest"], slot.prompt + slot.decoded)
            slot.busy = False
            self.busy(sum(each.busy for each in self.slots))
            self._free.notify()
        decoded = max(slot.decoded, 1)
        timings = {
            "cache_n": 0,
            "prompt_n": slot.prompt,
            "prompt_ms": prompt_s * 1000,
            "prompt_per_token_ms": prompt_s * 1000 / slot.prompt,
            "prompt_per_second": slot.prompt / prompt_s,
            "predicted_n": slot.decoded,
            "predicted_ms": predicted_s * 1000,
            "predicted_per_token_ms": predicted_s * 1000 / decoded,
            "predicted_per_second": slot.decoded / predicted_s,
        }
        shown = {
            "slot": slot.number,
            "task": slot.task,
            "prompt": slot.prompt,
            "decoded": slot.decoded,
            "prompt_ms": timings["prompt_ms"],
            "prompt_each": timings["prompt_per_token_ms"],
            "prompt_rate": timings["prompt_per_second"],
            "predicted_ms": timings["predicted_ms"],
            "predicted_each": timings["predicted_per_token_ms"],
            "rate": timings["predicted_per_second"],
            "total_ms": (prompt_s + predicted_s) * 1000,
            "total": slot.prompt + slot.decoded,
        }
        self.say("release", shown)
        return timings

    def prompt_done(self, slot: Slot, seconds: float) -> None:
        self._counters["prompt_tokens"] += slot.prompt
        self._counters["prompt_seconds"] += seconds
        self._counters["decodes"] += 1

    def token_done(self, slot: Slot) -> None:
        slot.decoded += 1
        self._counters["decodes"] += 1

    def sag(self) -> int:
        """How far counters are behind what was shown before, on every second read of an engine that misbehaves so."""
        self._reads += 1
        return 7 if self._goes_back and self._reads % 2 == 0 else 0

    def metrics(self) -> str:
        """The text of `/metrics`; reading it resets the averages."""
        now = dict(self._counters)
        sag = self.sag()
        gone = {name: now[name] - self._since[name] for name in now}
        self._since = now
        values = {
            "prompt_tokens_total": max(0, now["prompt_tokens"] - sag),
            "prompt_tokens_cached_total": 0,
            "prompt_seconds_total": now["prompt_seconds"],
            "tokens_predicted_total": max(0, now["predicted"] - sag),
            "tokens_predicted_seconds_total": now["predicted_seconds"],
            "n_decode_total": max(0, now["decodes"] - sag),
            "n_tokens_max": now["longest"],
            "prompt_tokens_seconds": _average(gone, "prompt_tokens", "prompt_seconds"),
            "predicted_tokens_seconds": _average(gone, "predicted", "predicted_seconds"),
            "requests_processing": sum(slot.busy for slot in self.slots),
            "requests_deferred": self._waiting,
            "n_busy_slots_per_decode": 1,
        }
        return metrics_text(values)

    @property
    def started_us(self) -> int:
        """What the server puts into `Process-Start-Time-Unix`: microseconds of a monotonic clock."""
        return self._started_us


def _average(gone: dict[str, float], amount: str, seconds: str) -> float:
    return gone[amount] / gone[seconds] if gone[seconds] else 0.0


class LlamaHandler(Handler):
    """The routes."""

    engine_headers: ClassVar[dict[str, str]] = {
        "Server": "llama.cpp",
        "Access-Control-Allow-Origin": "",
        "Keep-Alive": "timeout=5, max=100",
    }
    api: LlamaApi

    def route(self, method: str, path: str) -> None:
        data = self.body()
        if not self.api.ready:
            self._error(503, "Loading model", "unavailable_error")
        elif (method, path) in (("GET", "/health"), ("GET", "/v1/health")):
            self.json(200, {"status": "ok"}, JSON)
        elif not self._authorised():
            self.api.say("unauthorized", {})
            self._error(401, "Invalid API Key", "authentication_error")
        elif (method, path) == ("POST", "/v1/chat/completions"):
            self._chat(data)
        elif method == "GET" and path in self._readable():
            self._readable()[path]()
        else:
            self._error(404, "File Not Found", "not_found_error")

    def _readable(self) -> dict[str, Callable[[], None]]:
        return {
            "/slots": self._slots,
            "/metrics": self._metrics,
            "/props": self._props,
            "/v1/models": self._models,
            "/models": self._models,
        }

    def _authorised(self) -> bool:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ") or self.headers.get("X-Api-Key", "")
        return not self.api.keys or given in self.api.keys

    def _error(self, code: int, message: str, kind: str) -> None:
        self.json(code, {"error": {"message": message, "type": kind, "code": code}}, JSON)

    def _slots(self) -> None:
        if not self.api.slots_on:
            self._error(
                501, "This server does not support slots endpoint. Start it with `--slots`", "not_supported_error"
            )
            return
        sag = self.api.sag()
        self.json(200, [slot.json(sag) for slot in self.api.slots], JSON)

    def _metrics(self) -> None:
        if not self.api.metrics_on:
            message = "This server does not support metrics endpoint. Start it with `--metrics`"
            self._error(501, message, "not_supported_error")
            return
        start = {"Process-Start-Time-Unix": str(self.api.started_us)}
        self.answer(200, self.api.metrics().encode(), "text/plain; version=0.0.4", start)

    def _props(self) -> None:
        model = self.api.model
        params = {"seed": 4294967295, "temperature": 0.800000011920929, "top_k": 40, "max_tokens": -1, "n_predict": -1}
        value = {
            "default_generation_settings": {"params": params, "n_ctx": model["n_ctx"]},
            "total_slots": len(self.api.slots),
            "model_alias": self.api.alias,
            "model_ftype": "Q4_K - Medium",
            "model_path": model["path"],
            "modalities": {"vision": model["vision"], "video": False, "audio": False},
            "endpoint_slots": self.api.slots_on,
            "endpoint_props": False,
            "endpoint_metrics": self.api.metrics_on,
            "bos_token": "<|endoftext|>",
            "eos_token": "<|im_end|>",
            "build_info": "b0-unknown",
            "is_sleeping": False,
        }
        self.json(200, value, JSON)

    def _models(self) -> None:
        model = self.api.model
        meta = {
            name: model[name] for name in ("n_vocab", "n_ctx", "n_ctx_train", "n_embd", "n_params", "size", "ftype")
        }
        entry = {
            "id": self.api.alias,
            "aliases": [self.api.alias],
            "tags": [],
            "object": "model",
            "created": int(time.time()),
            "owned_by": "llamacpp",
            "meta": {"vocab_type": 2, **meta},
        }
        named = {"name": self.api.alias, "model": self.api.alias, "type": "model", "capabilities": ["completion"]}
        self.json(200, {"models": [named], "object": "list", "data": [entry]}, JSON)

    def _chat(self, data: bytes) -> None:
        try:
            prompt = Prompt(json.loads(data), self.api.model["n_ctx"])
        except json.JSONDecodeError as error:
            self._error(500, f"[json.exception.parse_error.101] parse error: {error}", "server_error")
            return
        except ValueError as error:
            self._error(400, str(error), "invalid_request_error")
            return
        if prompt.images and not self.api.model["vision"]:
            message = "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"
            self._error(500, message, "server_error")
            return
        Answer(self, prompt).give()


class Answer:
    """One chat answer, streamed or whole."""

    def __init__(self, handler: LlamaHandler, prompt: Prompt) -> None:
        self.handler = handler
        self.api = handler.api
        self.prompt = prompt
        self.slot = self.api.take_slot(prompt)
        self.head = {
            "created": int(time.time()),
            "id": "chatcmpl-" + secrets.token_urlsafe(24),
            "model": self.api.alias,
            "system_fingerprint": "b0-unknown",
        }

    def give(self) -> None:
        slot = self.slot
        self.api.say("request", {"slot": slot.number, "task": slot.task, "prompt": slot.prompt})
        rate = self.api.rate()
        prompt_s = slot.prompt / (rate * PROMPT_SPEED)
        text: list[str] = []
        pace = Pace(rate)
        try:
            time.sleep(prompt_s)
            self.api.prompt_done(slot, prompt_s)
            if self.prompt.stream:
                self.handler.start_stream()
                self._chunk({"role": "assistant", "content": None})
            pace = Pace(rate)
            told = 0.0
            for piece in self.prompt.answer():
                pace.next()
                self.api.token_done(slot)
                text.append(piece)
                if self.prompt.stream:
                    self._chunk({"content": piece})
                if slot.decoded >= PROGRESS_AFTER_TOKENS and pace.elapsed_s - told >= PROGRESS_EVERY_S:
                    told = pace.elapsed_s
                    speed = slot.decoded / told
                    values = {"slot": slot.number, "task": slot.task, "decoded": slot.decoded, "rate": speed}
                    self.api.say("progress", values | {"recent": speed})
        finally:
            timings = self.api.release(slot, prompt_s, pace.elapsed_s)
        self._finish("".join(text), timings)

    def _finish(self, text: str, timings: dict[str, Any]) -> None:
        reason = self.prompt.finish_reason(self.slot.decoded)
        usage = {
            "completion_tokens": self.slot.decoded,
            "prompt_tokens": self.slot.prompt,
            "total_tokens": self.slot.prompt + self.slot.decoded,
            "prompt_tokens_details": {"cached_tokens": 0},
        }
        if not self.prompt.stream:
            choice = {"finish_reason": reason, "index": 0, "message": {"role": "assistant", "content": text}}
            whole = {"choices": [choice], **self.head, "object": "chat.completion", "usage": usage, "timings": timings}
            self.handler.json(200, whole, JSON)
            return
        last: dict[str, Any] = {} if self.prompt.usage else {"timings": timings}
        self._chunk({}, reason, last)
        if self.prompt.usage:
            value = {"choices": [], **self.head, "object": "chat.completion.chunk", "usage": usage, "timings": timings}
            self.handler.event(value)
        self.handler.end_stream()

    def _chunk(self, delta: dict[str, Any], reason: str | None = None, more: dict[str, Any] | None = None) -> None:
        choice = {"finish_reason": reason, "index": 0, "delta": delta}
        self.handler.event({"choices": [choice], **self.head, "object": "chat.completion.chunk", **(more or {})})
