"""What must not get out does not, in any spelling; what helps to find a fault stays as it is."""

from __future__ import annotations

import json
import re
import time
from urllib.parse import quote

import pytest

from kotaro_bridge.domain.redaction import Identity, Kind, Redactor, names_in, secret_values
from tests.helpers.captures import FOLDER

TARO = Identity(("Yamada Taro", "山田　太郎", "taro_y"), ("MYPC-01", "工房"), ("correct horse 7", "a/b+c=="))
"""A person with a Japanese name, a long Windows name and a Linux one."""

HF = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz01234567"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.SflKxwRJSMeKKF2QT4"
PEM = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbm\nQyNTUxOQAAACBSECRETSECRETSECR\n"
END = "-----END OPENSSH PRIVATE KEY-----"


def redact(text: str) -> str:
    """The text without what points to Taro."""
    return Redactor(TARO).text(text)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"token {HF} used", "token <secret> used"),
        (f"GET /x\\nAuthorization: Bearer {JWT}\\nHost: h", "GET /x\\nAuthorization: <secret>"),
        ("authorization: Basic dXNlcjpwYXNz", "authorization: <secret>"),
        ("{'authorization': 'Bearer a b c', 'n': 3}", "{'authorization': <secret>, 'n': 3}"),
        ('{"Authorization": "Bearer abcdef", "n": 3}', '{"Authorization": <secret>, "n": 3}'),
        ("sent Bearer%20abcDEF123456 on", "sent Bearer%20<secret> on"),
        ("Cookie: session=abc; theme=dark\nnext: 1", "Cookie: <secret>\nnext: 1"),
        ("Set-Cookie: a=b; HttpOnly", "Set-Cookie: <secret>"),
        ("[(b'Cookie', b'a=b; c=d'), (b'Host', b'h')]", "[(b'Cookie', <secret>), (b'Host', b'h')]"),
        ("[('x-api-key', 'abcdef'), ('n', '1')]", "[('x-api-key', <secret>), ('n', '1')]"),
        ("key sk-proj-abc123DEF456 ok", "key <secret> ok"),
        ("x\\nsk-ant-api03-Abc123def456", "x\\n<secret>"),
        ("%3Dsk-or-v1-0123456789abcdef", "%3D<secret>"),
        ("ghp_0123456789abcdefghij0123 nvapi-0123456789abcdefgh", "<secret> <secret>"),
        ("AKIAABCDEFGHIJKLMNOP", "<secret>"),
        ("--api-key abc --port 8080", "--api-key <secret> --port 8080"),
        ("--api-key=abc --port 8080", "--api-key=<secret> --port 8080"),
        ("['--api-key', 'a b', '--port', '1']", "['--api-key', <secret>, '--port', '1']"),
        ("vllm serve --hf-token x1 m", "vllm serve --hf-token <secret> m"),
        ("curl -u me:pw http://h", "curl -u <secret> http://h"),
        ('api_key = "abc" # mine', "api_key = <secret> # mine"),
        ("api_key = ['abc', 'def']", "api_key = <secret>"),
        ('api_key = """abc\ndef"""\nport = 1', "api_key = <secret>\nport = 1"),
        ("api_key = '''abc\ndef'''\nport = 1", "api_key = <secret>\nport = 1"),
        ('{\\"token\\": \\"abc\\", \\"n\\": 1}', '{\\"token\\": <secret>, \\"n\\": 1}'),
        ("HF_TOKEN=a1b2 n=1", "HF_TOKEN=<secret> n=1"),
        ("export OPENAI_API_KEY='two words'", "export OPENAI_API_KEY=<secret>"),
        ("$env:MYSECRET = \"x\"", "$env:MYSECRET = <secret>"),
        ("AWS_SECRET_ACCESS_KEY: xyz", "AWS_SECRET_ACCESS_KEY: <secret>"),
        ("password = correct horse, battery", "password = <secret>"),
        ("db.password: 'x' # p", "db.password: <secret> # p"),
        ("client_secret=xyz&n=1", "client_secret=<secret>&n=1"),
        ("token: abc123xyz", "token: <secret>"),
        ('{"nvcr.io": {"auth": "JG9hdXRodG9rZW4="}}', '{"nvcr.io": {"auth": <secret>}}'),
        ("https://me:p@ss@host:1/x?n=1&api_key=zz&b=2", "https://<secret>@host:1/x?n=1&api_key=<secret>&b=2"),
        ("https%3A%2F%2Fme%3Apw%40host%2Fx", "https%3A%2F%2F<secret>%40host%2Fx"),
        ("http:\\/\\/me:pw@host\\/x", "http:\\/\\/<secret>@host\\/x"),
        ("https://cdn/x?Policy=aa&Signature=bb~c&Key-Pair-Id=K1", "https://cdn/x?Policy=<secret>&Signature=<secret>&Key-Pair-Id=<secret>"),
        ("a?X-Amz-Signature=00ff&n=1", "a?X-Amz-Signature=<secret>&n=1"),
        (f"before\n{PEM}{END}\nafter", "before\n<secret>\nafter"),
        (f"before\n{PEM}", "before\n<secret>"),
        (f"{PEM.partition(chr(10))[2]}{END}\nafter", "<secret>\nafter"),
        (json.dumps(PEM + END), '"<secret>"'),
        ("it is correct horse 7 again", "it is <secret> again"),
        ("correct+horse%207", "<secret>"),
        ("a%2Fb%2bc%3D%3D, a/b+c== on", "<secret>, <secret> on"),
        ("Password is x", "Password is <secret>"),
        ("the password for my hub is hunter, good luck", "the password for my hub is <secret> good luck"),
        ("my passphrase was: 'two words'. Bye", "my passphrase was: <secret>. Bye"),
        ("the API key is Zx81-abc", "the API key is <secret>"),
        ("your token is 'abc' now", "your token is <secret> now"),
        ("パスワードは hunter2 です", "パスワードは <secret> です"),
        ("パスワード：hunter2", "パスワード：<secret>"),
        ("APIキーは「Zx81abc」です", "APIキーは「<secret>」です"),
        (r'\\\"token\\\": \\\"a\\\\\\\"b\\\", \\\"n\\\": 1', r'\\\"token\\\": <secret>, \\\"n\\\": 1'),
        ('{\\"password\\": \\"a\\\\\\"b\\", \\"n\\": 1}', '{\\"password\\": <secret>, \\"n\\": 1}'),
        ("xoxb-1234567890-AbCdEfGhIj xapp-1-A02-123456-abcdef", "<secret> <secret>"),
        ("npm_0123456789abcdefghijABCDEFGHIJ012345", "<secret>"),
        ("pypi-AgEIcHlwaS5vcmcCJGFiY2RlZg glpat-abcDEF0123456789.01", "<secret> <secret>"),
        ("AIzaSyA0123456789abcdefghijklmnopqrstuv dckr_pat_AbCdEf0123456789xyz", "<secret> <secret>"),
        (f"jwt {JWT} and eyJhbGciOiJSU0EifQ.aaaa.bbbb.cccc.dddddddd", "jwt <secret> and <secret>"),
        ("login bWU6Y29ycmVjdCBob3JzZSA3 sent", "login <secret> sent"),
    ],
)  # fmt: skip
def test_secrets(text: str, left: str) -> None:
    found = redact(text)
    assert found.startswith(left) if left.endswith("<secret>") else found == left
    assert redact(found) == found


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (r"C:\Users\Yamada Taro\models\x.gguf 9.0 GiB", r"C:\Users\<user>\models\x.gguf 9.0 GiB"),
        (r"C:\\Users\\Yamada Taro\\AppData", r"C:\\Users\\<user>\\AppData"),
        (r"C:\Users\YAMADA~1\AppData\Local\Temp", r"C:\Users\<user>\AppData\Local\Temp"),
        ("TMP is YAMADA~1", "TMP is <user>"),
        ("C:/users/yamada taro/x", "C:/users/<user>/x"),
        ("file:///C:/Users/Yamada%20Taro/x", "file:///C:/Users/<user>/x"),
        ("C%3A%5CUsers%5CYamada%20Taro%5Cx", "C%3A%5CUsers%5C<user>%5Cx"),
        ("/mnt/c/Users/山田　太郎/x", "/mnt/c/Users/<user>/x"),
        ("利用者山田　太郎の端末", "利用者<user>の端末"),
        (quote("/home/山田　太郎/x", safe=""), "%2Fhome%2F<user>%2Fx"),
        (json.dumps({"p": "C:\\Users\\山田　太郎\\x"}), '{"p": "C:\\\\Users\\\\<user>\\\\x"}'),
        (repr("山田　太郎".encode()), "b'<user>'"),
        ("/home/taro_y/models/a.gguf", "/home/<user>/models/a.gguf"),
        (r"\\wsl.localhost\Ubuntu\home\saburo\x", r"\\wsl.localhost\Ubuntu\home\<user>\x"),
        ("/home/jiro and /etc/passwd", "/home/<user> and /etc/passwd"),
        ("'/home/jiro', '/etc'", "'/home/<user>', '/etc'"),
        ("taro_y@MYPC-01:~$", "<user>@<host>:~$"),
        ("by taro_y, line 5", "by <user>, line 5"),
        ("MYPC-01 and DESKTOP-AB12CD3", "<host> and <host>"),
        ("名は工房です", "名は<host>です"),
        ("jiro@example.co.jp jiro%40example.com", "<email> <email>"),
        ("宛先 jiro@example.comです", "宛先 <email>です"),
        ("peer 203.0.113.5:443, 2001:db8::1, fe80::1ff:fe23:4567:890a", "peer <address>:443, <address>, <address>"),
        ("GPU-8f3a1b2c-1234-1234-1234-123456789abc", "GPU-<id>"),
        ("S-1-5-21-1-2-3-1001 aa:bb:cc:00:11:ff", "S-1-5-21-<id>-1001 <id>"),
        ("h\0f\0_\0A\0b\0C\0d\0E\0f\0G\0h\0I\0", "<secret>"),
        ("\x1b[31mtaro_y\x1b[0m ran", "<user> ran"),
        ("\\u001b[31mtaro_y\\u001b[0m ran", "<user> ran"),
    ],
)
def test_people_and_places(text: str, left: str) -> None:
    assert redact(text) == left
    assert redact(left) == left


@pytest.mark.parametrize(
    "text",
    [
        "llama_kv_cache: size = 1536.00 MiB (  8192 cells,  48 layers,  1/1 seqs), K (f16):  768.00 MiB",
        "GPU 0: NVIDIA GeForce RTX 4070, 12282 MiB, 11023 MiB free, driver 581.57",
        "EOS token = 151645 '<|im_end|>'",
        '"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"',
        "qwen2.attention.key_length u32 = 128",
        "n_tokens = 80, MAX_TOKENS=512, TOKENIZERS_PARALLELISM=false, per-token latency 3",
        "token = 12, next token: none",
        "WSL version: 2.6.1.0\nKernel version: 6.6.87.2-1\nWSL バージョン: 2.6.1.0",
        "nvidia-cudnn-cu12==9.10.2.21, 10.0.26100.4946, libcublas.so.12.9.1.4",
        "4.12.123.145 I srv  update_slots: all slots are idle",
        "127.0.0.1:8080 172.20.3.4 192.168.1.2 10.1.2.3 169.254.1.1 224.0.0.1 0.0.0.0 ::1 fd00::1 999.1.1.1",
        "http://127.0.0.1:8080/v1 https://huggingface.co/Qwen/Qwen2.5-14B-Instruct-GGUF",
        "20:51:07 2026-11-22T06:30:10 eta 00:10",
        "C:\\Users\\Public\\x /home/user/x /root/x",
        "disk-usage-of-models task-id-12345678",
        "kotaro-bridge run qwen2.5-14b-q4_k_m: loading -> ready",
        "Bearer authentication is off; password prompt",
        "A password is required, and your token is invalid: the API key is missing. The password was not set.",
        "パスワードは必要ありません。トークンは 151645 です。 the stop token is 151645, the token is '<|im_end|>'",
        "npm_config_registry npm_lifecycle_event pypi-mirror-of-the-company glpat xoxo",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 (etag) d2a84f4b8b650937ec8f",
        "run llama-18f2a3b4c5d6e7f8, commit 6bff67b, nodeid 550e8400-e29b-41d4-a716-446655440000",
        "hf_overrides hf_transformers hf_config",
        "1.58 GiB of 2.00 GiB, 50.1 tokens/s, version 6.11.3",
    ],
)
def test_what_helps_stays(text: str) -> None:
    assert Redactor(Identity(("kotaro", "user", "12", "ab"), ("localhost", "pc"), ("abc",))).text(text) == text


def test_the_name_of_the_product_is_no_person() -> None:
    assert Redactor(Identity(("taro",))).text("kotaro-bridge, taro and 虎太郎") == "kotaro-bridge, <user> and 虎太郎"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("n_remaining = 127, next token: 132506 'あげ'", "n_remaining = 127, next token: 132506 <text>"),
        ('D Parsed message: {"role":"assistant","content":"secret"}', "D Parsed message: <text>"),
        ('request: {"messages":[{"role":"user","content":"a"}]} extra', "request: <text>"),
        ('{"role":"user","content":"tell \\"me\\" more","n":5}', '{"role":"user","content":<text>,"n":5}'),
        ('{"prompt": ["a", "b"], "n_predict": 5}', '{"prompt": <text>, "n_predict": 5}'),
        ('{"prompt": [1, 2, 3], "n": 5}', '{"prompt": <text>, "n": 5}'),
        ("{'content': 'a', 'n': 5}", "{'content': <text>, 'n': 5}"),
        ('{\\"content\\": \\"a b\\", \\"n\\": 5}', '{\\"content\\": <text>, \\"n\\": 5}'),
        ('{"content": "cut off', '{"content": <text>'),
        ("Received request x: prompt: 'it\\'s', params: N(n=1)", "Received request x: prompt: <text>, params: N(n=1)"),
        ("prompt_token_ids: [1, 2], lora: None", "prompt_token_ids: <text>, lora: None"),
        ("Message(content='hi', role='user')", "Message(content=<text>, role='user')"),
        ("data:image/png;base64,iVBORw0KGgo=", "data:image/png;base64,<text>"),
    ],
)
def test_conversations(text: str, left: str) -> None:
    assert redact(text) == left
    assert redact(left) == left


def test_an_address_and_a_version_look_alike_and_lists_of_versions_say_so() -> None:
    assert Redactor().text("Package 2.6.1.0") == "Package <address>"
    assert Redactor().text("Package 2.6.1.0", addresses=False) == "Package 2.6.1.0"


def test_what_was_taken_out_is_counted() -> None:
    redactor = Redactor(TARO)
    redactor.text(f"{HF} taro_y taro_y jiro@example.com")
    redactor.text("<user> <secret>")
    assert redactor.counts == {Kind.SECRET: 1, Kind.USER: 2, Kind.EMAIL: 1}


def test_names_are_learned_from_paths() -> None:
    text = "/home/saburo/x C:\\Users\\Hana%20K\\y \\Users\\Public\\z /home/<user>/a /home/\\u5c71\\u7530/b"
    assert names_in(text) == {"saburo", "Hana K"}
    assert Redactor(TARO.and_users(names_in(text))).text("saburo and taro_y") == "<user> and <user>"


def test_secrets_of_the_environment() -> None:
    environment = {"HF_TOKEN": "a", "openai_api_key": "b", "MY_PWD": "c", "BASIC_AUTH": "d"}
    plain = {"PWD": "/w", "OLDPWD": "/v", "PATH": "e", "MAX_TOKENS": "f", "SSH_AUTH_SOCK": "/s"}
    assert secret_values(environment | plain) == ("a", "b", "c", "d")


def test_passwords_of_proxies() -> None:
    proxies = {
        "https_proxy": "http://me:p%40ss/1@proxy:8080",
        "ALL_PROXY": "you:word@proxy",
        "HTTP_PROXY": "http://proxy:80",
    }
    assert secret_values(proxies | {"NO_PROXY": "a,b:80"}) == ("p@ss/1", "word")
    assert Redactor(Identity((), (), secret_values(proxies))).text("p%40ss%2F1, p@ss/1") == "<secret>, <secret>"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("llama-server/*.log")), ids=lambda path: path.stem)
def test_a_real_log_keeps_all_but_the_conversation(path: object) -> None:
    """Every line that is not what the model said comes out as it went in, but for colours."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", (FOLDER / str(path)).read_text(encoding="utf-8", errors="replace"))
    changed = [
        before
        for before, after in zip(text.split("\n"), Redactor(TARO).text(text).split("\n"), strict=True)
        if before != after
    ]
    spoken = re.compile(r"next token: |Parsed message: |\"content\": ")
    assert [line for line in changed if not spoken.search(line)] == []


@pytest.mark.parametrize(
    "piece",
    [
        "y",
        "A1",
        " ",
        "\\",
        '"',
        "%41",
        "1.2",
        "a@",
        "a.",
        "2001:",
        "token=",
        "password=",
        "-----BEGIN PRIVATE KEY-----\n",
        "--",
        "http://",
        "?a=",
        '\\"',
        '"text": ["a",',
        "/home/a b c d",
        "A" * 64 + "\n",
        "sk-",
        "hf_",
        "aa:",
        '"""',
        "&a-",
        "a" + "\\" * 40,
        "correct" + "\\" * 40 + '"',
        "%25",
        "%5C",
        "password is ",
        "password for a b ",
        "トークンは",
        "eyJaaaaaaaa.",
        "pypi-aaaaaaa",
        '\\\\\\"token',
    ],
)
def test_a_hostile_line_takes_no_time_to_speak_of(piece: str) -> None:
    """Engines print what others sent them: a line that takes minutes would be a way to stop the log."""
    begun = time.monotonic()
    redact(piece * (100_000 // len(piece)))
    assert time.monotonic() - begun < 10
