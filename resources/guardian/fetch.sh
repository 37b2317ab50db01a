# Fetch: finds the official Hugging Face client on a target and runs fetch.py with it. Plain POSIX sh.
#
# usage: sh -c "$(cat fetch.sh)" kotaro-fetch CODE PROGRAM...
#
# CODE is fetch.py, each PROGRAM one in whose environment the client may be (a vllm). In this order: the Python of these, the
# Python of an `hf` (pipx, uv tool), the target's own python3, and uv, which fetches the client for this one run. What is
# asked for comes on stdin, see fetch.py. Without a client: one line, `@fetch {"error": ...}`, and 3.

real() { case $1 in "~/"*) printf %s "$HOME/${1#"~/"}" ;; *) printf %s "$1" ;; esac; }

# python_of PROGRAM: the Python that a script belongs to, or the one beside it.
python_of() {
    [ -f "$1" ] || return 0
    IFS= read -r first <"$1"
    named=${first#"#!"}
    named=${named%% *}
    folder=$(dirname "$(readlink -f "$1")")
    for python in "$named" "$(dirname "$1")/python" "$folder/python"; do
        case ${python##*/} in python*) [ -x "$python" ] && echo "$python" && return ;; esac
    done
}

try() {
    [ -n "$1" ] && "$1" -c 'import huggingface_hub' </dev/null >/dev/null 2>&1 || return 0
    exec "$1" -c "$code"
}

code=$1
shift
# A person asks for a download: what keeps engines from the network does not count here. Xet and hf_transfer keep no
# partial files. The client takes a proxy from https_proxy and its kin: WSL writes them from Windows' settings into all that
# it starts (autoProxy, on by default), for a fixed proxy. Of a PAC script it tells the address alone, which no client reads.
unset HF_HUB_OFFLINE TRANSFORMERS_OFFLINE HF_HUB_ENABLE_HF_TRANSFER
export HF_HUB_DISABLE_XET=1 HF_HUB_DISABLE_PROGRESS_BARS=1 HF_HUB_DISABLE_TELEMETRY=1 HF_HUB_DISABLE_UPDATE_CHECK=1
export PYTHONUNBUFFERED=1 PYTHONIOENCODING=utf-8
for program in "$@"; do try "$(python_of "$(real "$program")")"; done
for program in "$(command -v hf)" "$HOME/.local/bin/hf"; do try "$(python_of "$program")"; done
try "$(command -v python3)"
for uv in "$(command -v uv)" "$HOME/.local/bin/uv" "$HOME/.cargo/bin/uv"; do
    [ -z "$uv" ] || [ ! -x "$uv" ] || exec "$uv" run --quiet --no-project --with huggingface_hub python -c "$code"
done
echo '@fetch {"error": {"kind": "no_client"}}'
exit 3
