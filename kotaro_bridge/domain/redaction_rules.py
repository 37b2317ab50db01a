"""How secrets, people and conversations look in a text: the patterns that `redaction.py` takes out.

In every pattern the group `gone` is what must not get out; the rest is context, and stays. Patterns begin with what is
rare: a log of megabytes goes through all of them.
"""

from __future__ import annotations

import re

AFTER_ANYTHING = (
    r"(?:(?<![A-Za-z0-9])|(?<=\\[nrtbfv])|(?<=%[0-9A-Fa-f]{2})|(?<=\\x[0-9A-Fa-f]{2})|(?<=\\u[0-9A-Fa-f]{4}))"
)
"""Where a word begins, also behind an escaped line end or a percent-encoded sign, whose letters are none of a word."""

_QUOTED = (
    r'"""(?:(?!""").)*(?:"""|\Z)'
    r"|'''(?:(?!''').)*(?:'''|\Z)"
    r'|(?P<escaped>\\{1,15}")(?:(?!(?<!\\)(?P=escaped))[^\r\n])*(?:(?P=escaped)|$)'
    r'|"(?:\\.|[^"\\\r\n])*(?:"|$)'
    r"|'(?:\\.|[^'\\\r\n])*(?:'|$)"
    r"|\[\s*[bru]?[\"'][^\]]*\]?"
)
"""Escaped quotes (of JSON in a string of JSON, and so on) end with as many backslashes as they begin with."""
_BARE = r"""[^\s"',;&<>\[\]{}()\\][^\s"',;&<>\]})\\]*"""
_SEPARATOR = r"""["'\\\]]{0,9}\s{0,8}(?:=>|:=|[:=]|%3[Aa]|%3[Dd])\s{0,8}(?-i:[bru](?=["']))?"""
_NO_FIGURE = r"""(?![0-9]{1,8}(?:[.,][0-9]+)?(?![A-Za-z0-9_-]))(?!None\b|null\b|true\b|false\b|["']?<)"""
"""151645 is a token of a model, and `<|im_end|>` another one: what a log says of models stays."""

_CAPITALS = r"(?:KEYS?|TOKEN|SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE|CREDENTIALS?|COOKIES?)(?![A-Za-z])"

SECRET_NAME = re.compile(rf"{_CAPITALS}|(?:_PWD|(?:^|_)(?:PASS|AUTH))$")
"""Names of environment variables that hold secrets, in capitals. PWD is the current folder."""

_KEY = (
    r"(?:api|access|secret|private|auth|master|signing|encryption|licen[cs]e|subscription|account)[-_. ]?keys?"
    r"(?![a-z0-9])"
)
_LOGIN = r"(?:password|passwd|passphrase|pwd(?<![a-z0-9/]pwd)|pass(?<![a-z0-9/]pass))(?![a-z0-9])"
_CREDENTIAL = r"(?:secret|credential)s?(?:[-_.]?(?:id|value))?(?![a-z0-9])"
_SAID = r"(?:\s+(?:for|of|to|on|at)(?:\s+[^\s:=]{1,40}){1,3}?)?\s+(?:is|was)(?:\s+now)?:?\s+"
_JAPANESE_SAID = r"[\s\u3000]?(?:は|が|[:：=])[\s\u3000「『]*"
_ORDINARY = (
    "a|an|the|not|no|never|always|only|too|also|being|now|still|already|as|at|in|on|off|it|that|this|what|and|or|ok"
    "|required|needed|necessary|optional|missing|empty|blank|set|unset|given|asked|wanted|expected|known|unknown"
    "|wrong|incorrect|invalid|correct|right|valid|accepted|rejected|refused|denied|expired|changed|checked|verified"
    "|stored|saved|kept|sent|used|read|written|removed|hidden|shown|printed|encrypted|hashed|encoded|protected"
    "|weak|strong|short|long|shorter|longer|case|different|the same|up|out|old|new|none|null|true|false"
)
"""What a sentence goes on with where it tells of a password, and not the password."""
_MIXED = r"(?=[!#-&(-~]{0,80}[A-Z0-9_~+/=-])(?:(?![<>,;])[!#-&(-~]){6,}"
_OF_MODELS = "bos|eos|eot|eom|pad|unk|sep|cls|mask|image|special|stop|next|first|per|no|generated|chosen|sampled"
_TOKEN = r"token(?![a-z0-9])" + "".join(rf"(?<!{word}[-_ ]token)" for word in _OF_MODELS.split("|"))


def _named(name: str, value: str) -> re.Pattern[str]:
    """`name = value` in the spellings of TOML, JSON, Python, shells, headers and URLs."""
    return re.compile(rf"(?:{name}){_SEPARATOR}(?P<gone>{value})", re.IGNORECASE | re.DOTALL)


_BEGIN_KEY, _END_KEY = (rf"-----{word} [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----" for word in ("BEGIN", "END"))

SECRETS = (
    # A key that is cut off at either side is one as well: logs are read from somewhere in their middle.
    re.compile(rf"(?P<gone>{_BEGIN_KEY}(?:.*?{_END_KEY}|[A-Za-z0-9+/=\s:,.\\-]*))", re.DOTALL),
    re.compile(rf"\A(?P<gone>(?:(?!{_BEGIN_KEY}).)*?{_END_KEY})", re.DOTALL),
    # Whole header lines: a cookie has many parts, and a scheme of authorization any number.
    _named(r"authorization|cookie2?", rf"{_QUOTED}|[^\s\"'][^\r\n\"']*"),
    # As HTTP libraries show it: (b'Cookie', b'…').
    re.compile(
        rf"['\"](?:(?:proxy-)?authorization|(?:set-)?cookie2?|[a-z-]{{0,20}}api-?key|x-[a-z-]{{0,20}}token)['\"]\s*,\s*"
        rf"(?P<gone>[bru]?(?:{_QUOTED}))",
        re.IGNORECASE | re.DOTALL,
    ),
    re.compile(
        rf"(?=[Bb]){AFTER_ANYTHING}(?i:Bearer|Basic)(?:\s|%20|\+){{1,4}}"
        r"(?P<gone>(?=[a-z]{0,40}[0-9A-Z._~+/=-])[A-Za-z0-9._~+/=%-]{6,})"
    ),
    # Addresses: who logs in, and what is signed.
    re.compile(r"(?::|%3[Aa])(?:\\?/|%2[Ff]){2}(?P<gone>(?:(?!%2[Ff]|\\/)[^\s/\"'<>]){1,400})(?:@|%40)"),
    re.compile(
        r"(?:[?&;]|%3[Ff]|%26|\\u0026)(?:[A-Za-z0-9]{1,20}[-_.]){0,4}"
        r"(?:key|token|sig|signature|password|passwd|pwd|secret|auth|code|credential|policy|key-pair-id|apikey|session)"
        r"(?:=|%3D)(?P<gone>(?:(?!%26|\\u0026)[^\s&\"'#<>;])+)",
        re.IGNORECASE,
    ),
    # Options of programs, also as a list shows them: '--api-key', 'value'.
    re.compile(
        r"(?:--|(?<![a-z0-9])-)(?:[a-z0-9]{1,20}-){0,3}(?:api-?keys?|token|password|passwd|secret|passphrase|credentials?)"
        rf"(?:[\"']\s*,\s*|\s*=\s*|\s+)(?P<gone>{_QUOTED}|(?!-)[^\s\"',]+)",
        re.IGNORECASE | re.DOTALL,
    ),
    re.compile(r"(?<![A-Za-z0-9])(?:-u|--user|--proxy-user)[ =][\"']?(?P<gone>[^\s\"':]+:[^\s\"']+)"),
    # Names that say what their value is.
    _named(_LOGIN, rf"{_QUOTED}|[^\s&\"',][^\r\n&\"]*"),
    _named(_CREDENTIAL, rf"{_QUOTED}|{_BARE}"),
    _named(r"auth(?<![a-z0-9]auth)(?![a-z0-9])", rf"{_NO_FIGURE}(?:{_QUOTED}|{_BARE})"),
    _named(_KEY, rf"{_NO_FIGURE}(?:{_QUOTED}|{_BARE})"),
    _named(_TOKEN, rf"{_NO_FIGURE}(?:{_QUOTED}|{_BARE})"),
    _named(rf"(?-i:{_CAPITALS}[A-Z0-9_]*)", rf"{_QUOTED}|[^\s\"',;<][^\s\"',;]*"),
    # Sentences.
    re.compile(
        rf"(?:{_LOGIN}|passcode){_SAID}(?!(?:{_ORDINARY})(?![a-z0-9_-]))(?P<gone>{_QUOTED}|[^\s\"'<][^\s\"']*)",
        re.IGNORECASE | re.DOTALL,
    ),
    re.compile(
        rf"(?:{_KEY}|{_TOKEN}|{_CREDENTIAL}){_SAID}{_NO_FIGURE}(?P<gone>{_QUOTED}|(?-i:{_MIXED}))",
        re.IGNORECASE | re.DOTALL,
    ),
    re.compile(rf"(?:パスワード|パスフレーズ|暗証番号){_JAPANESE_SAID}(?P<gone>{_QUOTED}|[!-;=-~]+)"),
    re.compile(rf"(?:トークン|秘密鍵|(?i:api)[\s\u3000]?キー){_JAPANESE_SAID}{_NO_FIGURE}(?P<gone>{_QUOTED}|{_MIXED})"),
    # Shapes that are known: Hugging Face, OpenAI and its kin, GitHub, GitLab, Slack, AWS, Google, NVIDIA, npm, PyPI,
    # Docker, Stripe, JSON web tokens.
    re.compile(r"(?P<gone>hf_(?:(?=[a-z]{0,40}[A-Z0-9])[A-Za-z0-9]{8,}|[a-z]{20,})|api_org_[A-Za-z0-9]{16,})"),
    re.compile(
        rf"(?=[sgxAneyrpd]){AFTER_ANYTHING}"
        r"(?P<gone>sk-(?=[a-z_-]{0,40}[A-Z0-9])[A-Za-z0-9_-]{8,}|gh[pousr]_[A-Za-z0-9]{20,}"
        r"|github_pat_\w{20,}|gl(?:pat|dt|rt|ft|ptt|cbt|soat|agent)-[\w.-]{16,}|xox[a-z](?:\.xox[a-z])?-[\w-]{10,}"
        r"|xapp-[\w-]{16,}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{30,}|nvapi-[\w-]{16,}|gsk_[A-Za-z0-9]{20,}"
        r"|r8_[A-Za-z0-9]{20,}|ya29\.[\w-]{16,}|npm_(?=[a-z]{0,40}[A-Z0-9])[A-Za-z0-9]{20,}"
        r"|pypi-(?=[a-z0-9_-]{0,40}[A-Z])[\w-]{16,}|dckr_pat_[\w-]{16,}|[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"
        r"|eyJ[\w-]{8,}(?:\.eyJ[\w-]{8,}(?:\.[\w-]*)?|(?:\.[\w-]*){3}\.[\w-]{8,}))"
    ),
)

_STRING = r"\"(?:\\.|[^\"\\\r\n])*\"?|'(?:\\.|[^'\\\r\n])*'?"
_JSON_KEYS = (
    "content|prompt|system_prompt|negative_prompt|suffix|input|text|messages|arguments|reasoning|reasoning_content"
    "|thinking|input_prefix|input_suffix|input_extra"
)

CONVERSATION = (
    # llama-server at -lv 5 and above: bodies, parsed answers, and each token as it comes (measured: captures
    # nodevice-env); vLLM with --enable-log-requests (reference vllm).
    re.compile(r"(?:Parsed message|Parsing input|(?<![a-z])(?:request|response|body)):\s+(?P<gone>[\[{'\"][^\r\n]*)"),
    re.compile(r"(?:next|sampled|accepted) token:?\s+-?[0-9]+,?\s+(?P<gone>'[^\r\n]*)"),
    re.compile(rf"(?:prompt|output|text): (?P<gone>[bu]?(?:{_STRING}))"),
    re.compile(rf"(?<![A-Za-z0-9_])(?:content|prompt|text|input|input_value)=(?P<gone>[bu]?(?:{_STRING}))"),
    re.compile(r"(?:prompt|output|input)_(?:token_ids|ids|tokens): (?P<gone>\[[0-9, \r\n]*\]?)"),
    re.compile(
        rf"[\"'](?:{_JSON_KEYS})\\{{0,15}}[\"']\s*:\s*"
        rf"(?P<gone>(?P<escaped>\\{{1,15}}\")(?:(?!(?<!\\)(?P=escaped))[^\r\n])*(?:(?P=escaped)|$)|{_STRING}"
        rf"|\[\s*(?:{_STRING}|[0-9]+)(?:\s*,\s*(?:{_STRING}|[0-9]+))*\s*\]?)",
        re.MULTILINE,
    ),
    re.compile(r"data:[a-z]+/[\w.+-]+;base64,(?P<gone>[A-Za-z0-9+/=%_-]+)"),
)

EMAIL = re.compile(
    r"(?<![\w.%+-])(?P<gone>[\w.%+-]{1,64}(?:@|%40)(?:[\w-]{1,63}\.){1,4}[A-Za-z]{2,24})(?![A-Za-z0-9_-])"
)
"""Japanese goes on behind it without a space."""

_SLASH = r"(?:\\(?!u[0-9A-Fa-f]{4})|/|%5[Cc]|%2[Ff]|\\u005[Cc])"
_FOLDER_LETTER = r"(?:\\u(?!005[Cc])[0-9A-Fa-f]{4}|(?!%5[Cc]|%2[Ff])[^\s\\/\"'<>|:*?,;)\]}&])"

PERSON_FOLDER = re.compile(
    rf"{_SLASH}(?:users|home|Documents and Settings){_SLASH}+(?!<)"
    rf"(?P<gone>{_FOLDER_LETTER}+(?:(?:[ \u3000+]|%20){_FOLDER_LETTER}+){{0,3}}(?={_SLASH})|{_FOLDER_LETTER}+)",
    re.IGNORECASE,
)
"""A name with spaces is known by the slash behind it."""

COMPUTER = re.compile(rf"(?=[DLW]){AFTER_ANYTHING}(?P<gone>(?:DESKTOP|LAPTOP|WIN)-[A-Z0-9]{{7,11}})(?![A-Za-z0-9-])")
"""The names that Windows gives by itself."""

HARDWARE = (
    re.compile(r"S-1-5-21-(?P<gone>[0-9]+-[0-9]+-[0-9]+)"),
    re.compile(r"(?:GPU|MIG)-(?P<gone>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"),
    re.compile(r"(?<![0-9A-Fa-f:-])(?P<gone>(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2})(?![0-9A-Fa-f:-])"),
)
"""Numbers of accounts, cards and network adapters: each is one of its kind in the world."""

_OCTET = r"(?:0|[1-9][0-9]{0,2})"
ADDRESS4 = re.compile(rf"(?<![\w.])(?P<gone>[1-9][0-9]{{0,2}}(?:\.{_OCTET}){{3}})(?!\w|\.[0-9]|-[A-Za-z0-9]| [A-Z] )")
"""A letter alone behind it is the level of a llama-server line, which begins with minutes, seconds and so on."""

VERSION_BEFORE = re.compile(
    r"(?:version|versi[oó]n|バージョン|版本|버전|версия|release|build|kernel|カーネル|driver|cuda|cudnn|cublas|nccl|wslg?|qt"
    r"|python|torch|==|>=|<=|~=|[-_v])\W{0,12}$",
    re.IGNORECASE,
)
ADDRESS6 = re.compile(
    r"(?<![\w:.])(?P<gone>(?:[23][0-9a-f]{3}|fe80):(?:(?:[0-9a-f]{1,4}:){2,6}[0-9a-f]{1,4}"
    r"|(?:[0-9a-f]{1,4}:){0,5}:(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,5})?))(?![\w:])",
    re.IGNORECASE,
)
"""Global addresses, and link-local ones, which are made of the network adapter's own number."""
