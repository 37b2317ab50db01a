"""HTTP side of a running engine: health, raw texts for the rates, the warm-up and the test chat.

Owns what is asked, for how long, and what a wrong answer is called; `loopback_http` sends it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.ports_http import ChatPiece, EngineProps, WarmUp
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.metrics import RatesSample
from kotaro_bridge.host.chat_stream import ChatStream
from kotaro_bridge.host.loopback_http import Answer, HttpError, HttpRefused, HttpTimeout, request
from kotaro_bridge.host.sample_picture import red_circle_url

_POLL_S = 2.0
_CONNECT_S = 5.0
_WARM_UP_S = 30.0  # the first request after a start compiles kernels
_TWO_TOKENS_S = 5.0  # a model that went to system RAM takes seconds for one: it is to be called slow, not unknown
_CHAT_S = 120.0  # a picture, or other requests before ours
_CHAT_TOKENS = 256
_BODY_CHARS = 500
_WARM_UP_QUESTION = "Count from one to one hundred in words."

# Exact token counts in every piece of a stream, also of one that we end early.
_COUNTED: Mapping[Engine, Mapping[str, object]] = {
    Engine.LLAMA_SERVER: {"timings_per_token": True},
    Engine.VLLM: {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
}


class HttpEngine:
    """Implements `domain.ports_http.EngineHttp`.

    Args:
        base_url: such as `http://127.0.0.1:8080`, without a path.
        api_key: sent as a bearer token if given.
    """

    def __init__(self, base_url: str, engine: Engine, api_key: str | None = None) -> None:
        self._engine = engine
        self._base_url = base_url
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    @classmethod
    def for_profile(cls, profile: Profile) -> HttpEngine:
        """A client for the engine that a profile starts."""
        return cls(f"http://127.0.0.1:{profile.port}", profile.engine)

    def health(self, timeout_s: float) -> int | None:
        """See `EngineHttp.health`: 503 is llama-server loading; vLLM does not listen before it is ready."""
        try:
            with _errors(), self._get("/health", timeout_s) as answer:
                return answer.status
        except ProblemError:
            return None

    def rates_sample(self) -> RatesSample:
        """See `EngineHttp.rates_sample`. `/metrics` before `/slots`: `LlamaRates` relies on it."""
        metrics = self._page("/metrics")
        slots = self._page("/slots") if self._engine is Engine.LLAMA_SERVER else None
        return RatesSample(time.monotonic(), metrics, slots)

    def _page(self, path: str) -> str | None:
        with _errors(), self._get(path, _POLL_S) as answer:
            return answer.text() if answer.status == 200 else None

    def props(self) -> EngineProps:
        """See `EngineHttp.props`."""
        if self._engine is Engine.VLLM:
            models = self._json("/v1/models").get("data")
            model = models[0] if isinstance(models, list) and models and isinstance(models[0], dict) else {}
            return EngineProps(_whole(model.get("max_model_len")), None, _text(self._json("/version").get("version")))
        props = self._json("/props")
        settings = props.get("default_generation_settings")
        n_ctx = settings.get("n_ctx") if isinstance(settings, dict) else None
        return EngineProps(_whole(n_ctx), _whole(props.get("total_slots")), _text(props.get("build_info")))

    def _json(self, path: str) -> dict[str, Any]:
        with _errors(), self._get(path, _POLL_S) as answer:
            _demand_ok(answer)
            text = answer.text()
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ProblemError(problem("http.broken", detail=f"{path}: {error}")) from error
        if not isinstance(found, dict):
            raise ProblemError(problem("http.broken", detail=path))
        return found

    def warm_up(self, model: str, *, max_tokens: int = 64, time_limit_s: float = 1.0) -> WarmUp:
        """See `EngineHttp.warm_up`. Ends the answer after `max_tokens` or `time_limit_s`, whichever comes first, but
        not before there are two tokens to measure between, or 5 s have passed.
        """
        body = self._body(model, _WARM_UP_QUESTION, max_tokens) | {"ignore_eos": True}
        with _errors():
            first = body | {"max_tokens": 2, "stream": False}
            first.pop("stream_options", None)  # vLLM refuses it where nothing is streamed
            with self._post_chat(first, _WARM_UP_S) as answer:
                _demand_ok(answer)
                answer.text()
            started = time.monotonic()
            stream = ChatStream(started)
            with closing(self._pieces(body, stream, _WARM_UP_S)) as pieces:
                for _ in pieces:
                    took_s = time.monotonic() - started
                    measured = stream.tokens_after_first > 0 or took_s >= _TWO_TOKENS_S
                    if stream.tokens >= max_tokens or (took_s >= time_limit_s and measured):
                        break
        return WarmUp(stream.tokens_after_first, stream.seconds_after_first, stream.tokens_per_s)

    def chat(self, model: str, question: str, *, with_image: bool) -> Iterator[ChatPiece]:
        """See `EngineHttp.chat`."""
        body = self._body(model, question, _CHAT_TOKENS)
        if with_image:
            picture = {"type": "image_url", "image_url": {"url": red_circle_url()}}
            body["messages"] = [{"role": "user", "content": [picture, {"type": "text", "text": question}]}]
        with _errors():
            stream = ChatStream(time.monotonic())
            with closing(self._pieces(body, stream, _CHAT_S)) as pieces:
                for text in pieces:
                    if text:
                        yield ChatPiece(text)
            if not stream.done:
                raise ProblemError(problem("http.broken", detail="stream ended"))
            yield ChatPiece("", True, stream.tokens_per_s, stream.first_token_s)

    def _body(self, model: str, question: str, max_tokens: int) -> dict[str, object]:
        return {
            "model": model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": max_tokens,
            "stream": True,
            **_COUNTED[self._engine],
        }

    def _pieces(self, body: Mapping[str, object], stream: ChatStream, timeout_s: float) -> Generator[str, None, None]:
        """Text of each event; `stream` counts along. Raises HttpError and ProblemError."""
        with self._post_chat(body, timeout_s) as answer:
            _demand_ok(answer)
            for data in answer.events():
                text = stream.take(data, time.monotonic())
                if stream.done:
                    return
                yield text

    def _get(self, path: str, timeout_s: float) -> AbstractContextManager[Answer]:
        return request(self._base_url, "GET", path, read_s=timeout_s, connect_s=timeout_s, headers=self._headers)

    def _post_chat(self, body: Mapping[str, object], read_s: float) -> AbstractContextManager[Answer]:
        return request(
            self._base_url,
            "POST",
            "/v1/chat/completions",
            read_s=read_s,
            connect_s=_CONNECT_S,
            body=body,
            headers=self._headers,
        )


def _demand_ok(answer: Answer) -> None:
    if answer.status != 200:
        body = answer.text()[:_BODY_CHARS]
        raise ProblemError(problem("http.status", body, status=answer.status, body=body))


@contextmanager
def _errors() -> Iterator[None]:
    """What went wrong on the way, as ProblemErrors."""
    try:
        yield
    except HttpRefused as error:
        raise ProblemError(problem("http.refused", detail=str(error))) from error
    except HttpTimeout as error:
        raise ProblemError(problem("http.timeout", seconds=error.seconds)) from error
    except HttpError as error:
        raise ProblemError(problem("http.broken", detail=str(error))) from error


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
