"""Made-up .wslconfig files for property tests: usual ones, wrong ones, and worse. Knows nothing of the parser."""

from __future__ import annotations

from hypothesis import strategies as st

from kotaro_bridge.domain.wsl.wslconfig_values import Value

PIECES = [
    *(
        "[wsl2]\n",
        "[experimental]\n",
        "[general]\r\n",
        "[ab\n",
        "[wsl2 ]\n",
        "[ x]\n",
        "[ab_]\n",
        "[wsl2 j\n",
        "[wsl2]",
    ),
    *(
        "memory",
        "swap",
        "swapFile",
        "guiApplications",
        "kernelCommandLine=",
        "memory=1GB",
        "memory=2GB\n",
        "swap=8gb\n",
    ),
    *("networkingMode=nat\n", "macAddress=zz\n", "swapFile=C:\\t\\x", "yes", "8GB", "1", "あ", "=", "=", "="),
    *("\n", "\n", "\r\n", "\r", " ", "\t", "#", "# c\n", '"', "\\", "\\\\", "\\\n", "\\\r\n", '="a # b"', "\x1a", "\0"),
]
EDITS: list[tuple[str, Value | None]] = [
    *(("wsl2.memory", 8 << 30), ("wsl2.memory", None), ("wsl2.swap", 0)),
    *(("wsl2.swapFile", "C:\\temp\\a # b"), ("wsl2.swapFile", None), ("wsl2.kernelCommandLine", 'a " b\\c ')),
    *(("wsl2.networkingMode", "Mirrored"), ("general.instanceIdleTimeout", -1)),
    *(("experimental.autoMemoryReclaim", "Gradual"), ("wsl2.guiApplications", False)),
    *(("wsl2.macAddress", "aa:bb:cc:dd:ee:ff"), ("wsl2.macAddress", None), ("experimental.ignoredPorts", (80, 443))),
]

texts = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)
files = st.one_of(
    texts.map(str.encode),
    texts.map(lambda text: b"\xef\xbb\xbf" + text.encode()),
    texts.map(lambda text: text.encode("utf-16")),
    texts.map(lambda text: text.encode("cp932")),
    st.tuples(texts, st.binary(max_size=8)).map(lambda parts: parts[0].encode() + parts[1]),
    st.binary(max_size=60),
)
edits = st.sampled_from(EDITS)
