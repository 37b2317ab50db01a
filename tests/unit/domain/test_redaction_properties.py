"""What must not get out does not, whatever it looks like and whatever is around it: secrets and names that are planted
in many shapes; and what a helper needs stays.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from urllib.parse import quote

from hypothesis import assume, example, given
from hypothesis import strategies as st

from kotaro_bridge.domain.redaction import Identity, Redactor
from tests.unit.domain.test_redaction import redact

NAMES = st.text(st.sampled_from("abcdefgxyz山田花子_"), min_size=4, max_size=12).filter(lambda name: name.strip("_"))
VALUES = st.text(st.sampled_from("ABCDEFGHabcdefgh0123456789"), min_size=20, max_size=40).filter(
    lambda value: any(letter.isupper() for letter in value)
)
AROUND = st.text(st.sampled_from("x \n\t\"',;:=/\\()[]{}%20é山\0"), max_size=12)


def spellings(text: str) -> set[str]:
    """Ways in which a name can stand in a log."""
    escaped = json.dumps(text)[1:-1]
    return {text, quote(text, safe=""), quote(text, safe="").lower(), escaped, escaped.replace("\\", "\\\\")}


@given(NAMES, AROUND, AROUND)
@example("xxxx", "%20", "")
def test_no_name_gets_out_below_a_home_folder(name: str, before: str, after: str) -> None:
    assume("\\" not in before[-1:])
    for root in ("C:\\Users\\", "/home/", "C:\\\\Users\\\\", "%2Fhome%2F", "\\\\wsl$\\U\\home\\"):
        separator = "%2F" if "%" in root else root[-1]
        said = Redactor(Identity((name,))).text(f"{before} {root}{name}{separator}models 9.0 GiB {after}")
        assert name not in said
        assert f"{separator}models 9.0 GiB" in said


@given(NAMES, st.sampled_from(["", " ", "\n", '"', "(", "\\n", "%20", "="]), st.sampled_from(["", " ", ",", "'", "%"]))
def test_no_known_name_gets_out_in_any_spelling(name: str, before: str, after: str) -> None:
    for spelled in spellings(name):
        if "%" not in spelled or "\\" not in spelled:
            assert spelled not in Redactor(Identity((name,))).text(f"{before}{spelled}{after}")


@given(
    VALUES,
    AROUND,
    AROUND,
    st.sampled_from(
        [
            "hf_{}",
            "sk-{}",
            "Authorization: Bearer {}",
            "--api-key {}",
            "api_key={}",
            'api_key = "{}"',
            '{{"password": "{}"}}',
            "MY_TOKEN={}",
            "https://u:{}@host/x",
            "https://host/x?token={}",
            "Cookie: a={}; b=1",
        ]
    ),
)
def test_no_secret_gets_out_whatever_is_around_it(value: str, before: str, after: str, form: str) -> None:
    said = Redactor().text(f"{before} {form.format(value)} {after}")
    assert value not in said
    assert value.lower() not in said.lower()


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


CORE = "Zq7Xw9Kd"
SIGNS = st.text(st.sampled_from("ABCxyz019!$%&+/=?#@._- \"'\\山"), max_size=9)
PASSWORDS = st.builds("{}{}{}".format, SIGNS, st.just(CORE), SIGNS)
"""With a core of letters and figures, which no way of writing them changes: where it is left, a part got out."""
WRAPPINGS: tuple[Callable[[str], str], ...] = (
    str,
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(json.dumps(text)),
    lambda text: json.dumps(json.dumps(json.dumps(text))),
    lambda text: quote(text, safe=""),
    lambda text: quote(quote(text, safe=""), safe=""),
    lambda text: json.dumps(quote(text, safe="")),
    lambda text: repr(text.encode()),
)


@given(PASSWORDS, st.sampled_from(WRAPPINGS), st.sampled_from(WRAPPINGS), AROUND, AROUND)
def test_no_known_secret_gets_out_however_often_it_was_wrapped(
    value: str, inner: Callable[[str], str], outer: Callable[[str], str], before: str, after: str
) -> None:
    said = Redactor(Identity((), (), (value,))).text(f"{before} {outer(inner(value))} {after}")
    assert CORE not in said


@given(
    PASSWORDS, st.text(max_size=8), st.text(max_size=8), st.booleans(), st.sampled_from(["{}", "Basic {}", "x={}&y=1"])
)
def test_no_known_secret_gets_out_in_base64(value: str, before: str, after: str, safe: bool, form: str) -> None:
    encode = base64.urlsafe_b64encode if safe else base64.b64encode
    login = encode(f"{before}{value}{after}".encode()).decode()
    said = Redactor(Identity((), (), (value,))).text(f"sent {form.format(login)} on")
    assert login not in said
    assert not any(login[at : at + 12] in said for at in range(len(login) - 11)), "nor a good part of it"


HEADS = ("npm_", "pypi-", "glpat-", "AIza", "xoxb-", "xoxp-", "xapp-1-", "hf_", "sk-", "ghp_", "dckr_pat_", "sk_live_")
TAILS = st.text(st.sampled_from("ABCDEFGHabcdefgh0123456789"), min_size=30, max_size=40).filter(
    lambda tail: any(letter.isupper() for letter in tail[:10])
)


def web_token(claims: tuple[str, str]) -> str:
    """A JSON web token with a header and a body."""
    parts = (base64.urlsafe_b64encode(json.dumps({"claim": claim}).encode()).decode() for claim in claims)
    return ".".join([*(part.rstrip("=") for part in parts), "c2lnbmVk"])


TOKENS = st.one_of(
    *(TAILS.map(head.__add__) for head in HEADS),
    st.text(st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"), min_size=16, max_size=16).map("AKIA".__add__),
    st.tuples(st.text(max_size=9), st.text(max_size=9)).map(web_token),
)
FORMS = (
    "{}",
    "({})",
    "Password is {}",
    "the token is {}.",
    "パスワードは{}です",
    "Authorization: Bearer {}",
    "git clone https://oauth2:{}@gitlab.com/x",
    "//registry.invalid/:_authToken={}",
    "npm error {} was refused",
    '{{"headers": {{"authorization": "Basic {}"}}}}',
    "--token {} --port 8080",
    "export MY_KEY={}",
)


@given(TOKENS, st.sampled_from(FORMS), st.integers(0, 3))
def test_no_token_of_a_known_shape_gets_out(token: str, form: str, times: int) -> None:
    """As it is, and as a line of JSON in a line of JSON, and so on."""
    text = form.format(token)
    for _ in range(times):
        text = json.dumps({"message": text, "n": 1})
    said = Redactor().text(text)
    assert token not in said
    assert token[8:] not in said


@given(
    st.dictionaries(st.sampled_from(["password", "token", "api_key", "secret"]), PASSWORDS, min_size=1),
    st.integers(1, 3),
)
def test_no_value_of_a_secret_name_gets_out_of_json(table: dict[str, str], times: int) -> None:
    text: object = table
    for _ in range(times):
        text = json.dumps({"body": text} if isinstance(text, str) else text, ensure_ascii=False)
    said = Redactor().text(str(text))
    assert CORE not in said
    assert not any(value in said for value in table.values())


HEX = st.text(st.sampled_from("0123456789abcdef"), min_size=7, max_size=64)
MODEL = st.builds(
    "{}-{}B-Instruct-{}.gguf".format,
    st.sampled_from(
        ["Qwen2.5", "Llama-3.2", "gemma-2", "Mistral-Nemo", "phi-4", "npm-coder", "SecretLlama", "TokenFormer"]
    ),
    st.integers(1, 90),
    st.sampled_from(["Q4_K_M", "IQ2_XXS", "AWQ", "GPTQ-Int4", "BF16", "Q8_0"]),
)
USEFUL = st.one_of(
    MODEL,
    MODEL.map("~/models/{}".format),
    MODEL.map("/mnt/c/models/{}: 8.99 GB".format),
    MODEL.map("models--Qwen--{}".format),
    HEX.map("sha256:{}".format),
    HEX.map("run llama-{}".format),
    HEX.map("commit {}".format),
    st.floats(0, 1e5, allow_nan=False).map("{:.2f} MiB".format),
    st.integers(0, 200_000).map("token {}".format),
    st.integers(0, 200_000).map("the token is {}".format),
    st.sampled_from(["CUDA0 model buffer size =  8148.38 MiB", "n_ctx = 8192", "--no-mmap", "kv_type q8_0", "GPU 0"]),
)


@given(st.lists(USEFUL, min_size=1, max_size=5), st.sampled_from([" ", ", ", "\n", " | "]))
def test_what_a_helper_needs_stays(words: list[str], between: str) -> None:
    """Names of models, sums, run ids, paths and figures."""
    text = between.join(words)
    assert redact(text) == text


@given(st.lists(st.floats(0, 1e6, allow_nan=False).map(lambda x: f"{x:.2f}"), min_size=1, max_size=8))
def test_figures_stay(figures: list[str]) -> None:
    text = " | ".join(f"buffer {number} = {figure} MiB" for number, figure in enumerate(figures))
    assert redact(text) == text


@given(st.text(max_size=200))
def test_a_second_pass_changes_nothing(text: str) -> None:
    once = redact(text)
    assert redact(once) == once
