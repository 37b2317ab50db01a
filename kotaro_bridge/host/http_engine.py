"""HTTP side of a running engine: health, raw texts for the rates, the warm-up and the test chat.

Owns requests, time limits and the translation of errors. Never goes through a proxy: engines listen on this machine.
Every request has its own connection: llama-server closes one after 5 s or 100 requests, and a poll that meets that
moment would read as an engine that does not answer.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.ports_http import ChatPiece, EngineProps, WarmUp
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.metrics import RatesSample
from kotaro_bridge.host.chat_stream import ChatStream
from kotaro_bridge.host.sample_picture import red_circle_url

if TYPE_CHECKING:
    import httpx

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
        import httpx

        self._engine = engine
        self._client = httpx.Client(
            base_url=base_url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # unused; the default one loads certificates for 50 ms
        )

    @classmethod
    def for_profile(cls, profile: Profile) -> HttpEngine:
        """A client for the engine that a profile starts."""
        return cls(f"http://127.0.0.1:{profile.port}", profile.engine)

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    def health(self, timeout_s: float) -> int | None:
        """See `EngineHttp.health`: 503 is llama-server loading; vLLM does not listen before it is ready."""
        try:
            with _errors():
                return self._client.get("/health", timeout=timeout_s).status_code
        except ProblemError:
            return None

    def rates_sample(self) -> RatesSample:
        """See `EngineHttp.rates_sample`. `/metrics` before `/slots`: `LlamaRates` relies on it."""
        metrics = self._page("/metrics")
        slots = self._page("/slots") if self._engine is Engine.LLAMA_SERVER else None
        return RatesSample(time.monotonic(), metrics, slots)

    def _page(self, path: str) -> str | None:
        with _errors():
            response = self._client.get(path, timeout=_POLL_S)
            return response.text if response.status_code == 200 else None

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
        with _errors():
            response = self._client.get(path, timeout=_POLL_S)
            _demand_ok(response)
            found = response.json()
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
            _demand_ok(self._client.post("/v1/chat/completions", json=first, timeout=_timeout(_WARM_UP_S)))
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
        """Text of each event; `stream` counts along. Raises httpx errors and ProblemError."""
        from httpx_sse import connect_sse

        with connect_sse(
            self._client, "POST", "/v1/chat/completions", json=body, timeout=_timeout(timeout_s)
        ) as source:
            if source.response.status_code != 200:
                source.response.read()
                _demand_ok(source.response)
            for event in source.iter_sse():
                text = stream.take(event.data, time.monotonic())
                if stream.done:
                    return
                yield text


def _timeout(read_s: float) -> httpx.Timeout:
    import httpx

    return httpx.Timeout(read_s, connect=_CONNECT_S)


def _demand_ok(response: httpx.Response) -> None:
    if response.status_code != 200:
        body = response.text[:_BODY_CHARS]
        raise ProblemError(problem("http.status", body, status=response.status_code, body=body))


@contextmanager
def _errors() -> Iterator[None]:
    """Errors of httpx and of unreadable answers as ProblemErrors."""
    import httpx

    try:
        yield
    except httpx.ConnectError as error:
        raise ProblemError(problem("http.refused", detail=str(error))) from error
    except httpx.TimeoutException as error:
        phase = "connect" if isinstance(error, httpx.ConnectTimeout) else "read"
        raise ProblemError(problem("http.timeout", seconds=error.request.extensions["timeout"][phase])) from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, RuntimeError) as error:  # RuntimeError: closed meanwhile
        raise ProblemError(problem("http.broken", detail=f"{type(error).__name__}: {error}")) from error


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
