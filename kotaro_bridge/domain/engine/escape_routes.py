"""Every known way for a model to leave the GPU: how it happens, what prevents it, what detects it, which tests show it.

Owns the table as a whole and its form as Markdown. The rules that it names are in `arguments`, `command`, `gate`,
`placement_rules` and the services; a test holds every reference against the thing that it names, and the README shows
the table (`python3 dev.py routes` writes it there).
"""

from __future__ import annotations

from kotaro_bridge.domain.engine import escape_routes_llama, escape_routes_vllm
from kotaro_bridge.domain.engine.escape_route import Route

ROUTES = tuple(sorted((*escape_routes_llama.ROUTES, *escape_routes_vllm.ROUTES), key=lambda route: route.number))

_HEAD = {
    "en": ("#", "Engine", "How it happens", "Prevented", "Detected", "Shown by"),
    "ja": ("#", "エンジン", "どう起きるか", "防ぐもの", "見つけるもの", "示すテスト"),
}
_WORDS = {
    "en": {
        "refused": "refused",
        "passed": "always passed",
        "unset": "taken away",
        "given": "given",
        "harmless": "copies only, no part of the model",
    },
    "ja": {
        "refused": "拒否",
        "passed": "常に指定",
        "unset": "除去",
        "given": "設定",
        "harmless": "写しだけで、モデル自体は移らない",
    },
}


def markdown(language: str = "en") -> str:
    """The table as Markdown, one row per route; links lead from the repository's root."""
    head = _HEAD[language]
    rows = [head, ("---",) * len(head), *(_row(route, language) for route in ROUTES)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(route: Route, language: str) -> tuple[str, ...]:
    words = _WORDS[language]
    means = (("refused", route.refused), ("passed", route.passed), ("unset", route.unset), ("given", route.given))
    prevented = "; ".join(f"{words[kind]} {_code(items)}" for kind, items in means if items)
    detected = _code(route.detected) or (words["harmless"] if route.harmless else "–")
    files = dict.fromkeys(test.partition("::")[0] for test in route.tests)
    return (
        str(route.number),
        ", ".join(engine.value for engine in route.engines),
        f"{route.how_ja if language == 'ja' else route.how} <sub>{route.source}</sub>",
        prevented or "–",
        detected,
        ", ".join(f"[{file.rpartition('/')[2].removesuffix('.py')}]({file})" for file in files),
    )


def _code(items: tuple[str, ...]) -> str:
    return ", ".join(f"`{item}`" for item in items)
