"""HTTP of the simulated vLLM (reference vllm §4; shapes from captures http.txt).

`generation_tokens_total` moves with every token; only paths under `/v1` ask for the key; `/health` has an empty body.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, ClassVar

from kotaro_bridge.simulator.generation import PROMPT_SPEED, Pace, Prompt
from kotaro_bridge.simulator.http_base import Handler


class VllmApi:
    """The state behind the routes.

    Args:
        say: prints a part of the log with values. busy: told the share of time that the card works.
    """

    def __init__(
        self,
        *,
        name: str,
        root: str,
        version: str,
        length: int,
        seats: int,
        kv_tokens: int,
        sees_images: bool,
        keys: frozenset[str],
        counters_go_back: bool,
        rate: Callable[[], float],
        say: Callable[[str, dict[str, Any]], None],
        busy: Callable[[float], None],
    ) -> None:
        self.name = name
        self.root = root
        self.version = version
        self.length = length
        self.sees_images = sees_images
        self.keys = keys
        self.rate = rate
        self.say = say
        self.busy = busy
        self.dead = False
        self.finished = dict.fromkeys(("stop", "length", "abort", "error", "repetition"), 0)
        self.prompt_tokens = 0
        self.generated = 0
        self.first_token_s = 0.0
        self.request_s = 0.0
        self._kv_tokens = kv_tokens
        self._held = 0
        self._goes_back = counters_go_back
        self._reads = 0
        self._running = 0
        self._waiting = 0
        self._seats = seats
        self._free = threading.Condition()

    def enter(self, prompt: Prompt) -> None:
        """Wait for a seat among the running requests."""
        with self._free:
            self._waiting += 1
            while self._running >= self._seats:
                self._free.wait()
            self._waiting -= 1
            self._running += 1
            self._held += prompt.tokens
            self.prompt_tokens += prompt.tokens
            self.busy(min(1.0, 0.6 + 0.1 * self._running))

    def step(self) -> None:
        """One more token."""
        with self._free:
            self.generated += 1
            self._held += 1

    def leave(self, prompt: Prompt, produced: int, reason: str, seconds: float) -> None:
        """The request has ended."""
        with self._free:
            self._running -= 1
            self._held -= prompt.tokens + produced
            self.finished[reason] += 1
            self.request_s += seconds
            self.busy(min(1.0, 0.6 + 0.1 * self._running) if self._running else 0.0)
            self._free.notify()

    def stats(self) -> tuple[int, int, int, int, float]:
        """Prompt tokens, generated tokens, running, waiting, share of the KV cache in use."""
        return self.prompt_tokens, self.generated, self._running, self._waiting, self._held / max(1, self._kv_tokens)

    def metrics(self) -> str:
        """The text of `/metrics`."""
        self._reads += 1
        sag = 7 if self._goes_back and self._reads % 2 == 0 else 0
        done = float(sum(self.finished.values()))
        lines = [
            *self._series("num_requests_running", "gauge", [("", self._running)]),
            *self._series("num_requests_waiting", "gauge", [("", self._waiting)]),
            *self._series("kv_cache_usage_perc", "gauge", [("", self.stats()[4])]),
            *self._series("num_preemptions_total", "counter", [("", 0)]),
            *self._series("prompt_tokens_total", "counter", [("", max(0, self.prompt_tokens - sag))]),
            *self._series("prompt_tokens_cached_total", "counter", [("", 0)]),
            *self._series("generation_tokens_total", "counter", [("", max(0, self.generated - sag))]),
            *self._series(
                "request_success_total",
                "counter",
                [(f'finished_reason="{reason}",', count) for reason, count in self.finished.items()],
            ),
            *self._histogram("time_to_first_token_seconds", done, self.first_token_s),
            *self._histogram("e2e_request_latency_seconds", done, self.request_s),
        ]
        return "".join(f"{line}\n" for line in lines)

    def _series(self, name: str, kind: str, values: list[tuple[str, float]]) -> list[str]:
        full = f"vllm:{name}"
        head = [f"# HELP {full} {HELP[name]}", f"# TYPE {full} {kind}"]
        return head + [
            f'{full}{{engine="0",{label}model_name="{self.name}"}} {float(value)!r}' for label, value in values
        ]

    def _histogram(self, name: str, count: float, total: float) -> list[str]:
        full = f"vllm:{name}"
        labels = f'engine="0",model_name="{self.name}"'
        return [
            f"# HELP {full} {HELP[name]}",
            f"# TYPE {full} histogram",
            f'{full}_bucket{{engine="0",le="+Inf",model_name="{self.name}"}} {count!r}',
            f"{full}_count{{{labels}}} {count!r}",
            f"{full}_sum{{{labels}}} {total!r}",
        ]


HELP = {
    "num_requests_running": "Number of requests in model execution batches.",
    "num_requests_waiting": "Number of requests waiting to be processed.",
    "kv_cache_usage_perc": "KV-cache usage. 1 means 100 percent usage.",
    "num_preemptions_total": "Cumulative number of preemption from the engine.",
    "prompt_tokens_total": "Number of prefill tokens processed.",
    "prompt_tokens_cached_total": "Number of cached prompt tokens (local + external).",
    "generation_tokens_total": "Number of generation tokens processed.",
    "request_success_total": "Count of successfully processed requests.",
    "time_to_first_token_seconds": "Histogram of time to first token in seconds.",
    "e2e_request_latency_seconds": "Histogram of e2e request latency in seconds.",
}


class VllmHandler(Handler):
    """The routes."""

    engine_headers: ClassVar[dict[str, str]] = {"server": "uvicorn", "vary": "Origin"}
    api: VllmApi

    def route(self, method: str, path: str) -> None:
        data = self.body()
        if path.startswith("/v1") and not self._authorised():
            self.json(401, {"error": "Unauthorized"})
        elif (method, path) in (("GET", "/health"), ("GET", "/ping"), ("POST", "/ping")):
            self.answer(503 if self.api.dead else 200, b"", None)
        elif (method, path) == ("GET", "/metrics"):
            self.answer(200, self.api.metrics().encode(), "text/plain; version=1.0.0; charset=utf-8")
        elif (method, path) == ("GET", "/version"):
            self.json(200, {"version": self.api.version})
        elif (method, path) == ("GET", "/load"):
            self.json(200, {"server_load": 0})
        elif (method, path) == ("GET", "/v1/models"):
            self.json(200, self._models())
        elif (method, path) == ("POST", "/v1/chat/completions"):
            self._chat(data)
        else:
            self.json(404, {"detail": "Not Found"})

    def send_response_only(self, code: int, message: str | None = None) -> None:
        """Each answer leaves uvicorn's access line."""
        values = {"peer": self.client_address[1], "request": f"{self.command} {self.path}", "code": code}
        self.api.say("access", {**values, "phrase": HTTPStatus(code).phrase})
        super().send_response_only(code, message)

    def _authorised(self) -> bool:
        given = self.headers.get("Authorization", "")
        return not self.api.keys or given in {f"Bearer {key}" for key in self.api.keys}

    def _error(self, code: int, message: str, kind: str, param: str | None = None) -> None:
        self.json(code, {"error": {"message": message, "type": kind, "param": param, "code": code}})

    def _models(self) -> dict[str, Any]:
        entry = {
            "id": self.api.name,
            "object": "model",
            "created": int(time.time()),
            "owned_by": "vllm",
            "root": self.api.root,
            "parent": None,
            "max_model_len": self.api.length,
        }
        return {"object": "list", "data": [entry]}

    def _chat(self, data: bytes) -> None:
        try:
            body = json.loads(data)
            prompt = Prompt(body, self.api.length)
        except ValueError as error:
            self._error(400, str(error), "BadRequestError")
            return
        if body.get("model", self.api.name) != self.api.name:
            self._error(404, f"The model `{body['model']}` does not exist.", "NotFoundError", "model")
        elif prompt.images and not self.api.sees_images:
            self._error(400, f"{self.api.name} is not a multimodal model", "BadRequestError")
        elif self.api.dead:
            message = "The server had an error while processing your request."
            self._error(500, message, "InternalServerError")
        else:
            Answer(self, prompt).give()


class Answer:
    """One chat answer, streamed or whole."""

    def __init__(self, handler: VllmHandler, prompt: Prompt) -> None:
        self.handler = handler
        self.api = handler.api
        self.prompt = prompt
        self.id = "chatcmpl-" + secrets.token_hex(8)
        self.produced = 0

    def give(self) -> None:
        started = time.monotonic()
        self.api.enter(self.prompt)
        reason = "abort"
        text: list[str] = []
        try:
            rate = self.api.rate()
            time.sleep(self.prompt.tokens / (rate * PROMPT_SPEED))
            self.api.first_token_s += time.monotonic() - started
            if self.prompt.stream:
                self.handler.start_stream()
                self._chunk({"role": "assistant", "content": ""}, None)
            pace = Pace(rate)
            for piece in self.prompt.answer():
                pace.next()
                self.api.step()
                self.produced += 1
                text.append(piece)
                if self.prompt.stream:
                    self._chunk({"content": piece}, None)
            reason = self.prompt.finish_reason(self.produced)
        finally:
            self.api.leave(self.prompt, self.produced, reason, time.monotonic() - started)
        self._finish("".join(text), reason)

    def _finish(self, text: str, reason: str) -> None:
        usage = {
            "prompt_tokens": self.prompt.tokens,
            "total_tokens": self.prompt.tokens + self.produced,
            "completion_tokens": self.produced,
        }
        if not self.prompt.stream:
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason, "stop_reason": None}
            self.handler.json(200, {**self._head("chat.completion"), "choices": [choice], "usage": usage})
            return
        self._chunk({"content": ""}, reason)
        if self.prompt.usage:
            self.handler.event({**self._head("chat.completion.chunk"), "choices": [], "usage": usage})
        self.handler.end_stream()

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": int(time.time()), "model": self.api.name}

    def _chunk(self, delta: dict[str, Any], reason: str | None) -> None:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        self.handler.event({**self._head("chat.completion.chunk"), "choices": [choice]})
