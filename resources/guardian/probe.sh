# Probe: what a target says about engine, its devices, model and port, before anything is started. Plain POSIX sh.
#
# usage: sh -c "$(cat environment.sh probe.sh)" kotaro-probe
#            ENGINE MODEL PROJECTOR PORT_HEX UNSET KEEP [NAME=VALUE...] -- PROGRAM [ARG...]
#
# ENGINE is llama-server or vllm, PROGRAM its executable. In the environment of a start (UNSET, KEEP and the values, as
# guardian.sh takes them) llama-server is run with the ARGs, for vllm the Python that PROGRAM belongs to. Empty MODEL or
# PROJECTOR is not looked at. Answers, a line each, a word and its value:
#
#   memory, swap      KiB of this Linux
#   engine            ok, missing, unusable
#   model, projector  bytes, 0 for a folder, missing
#   model.missing     a file that the index of a model folder names and that is not there, or empty
#   port              free, taken: listening sockets of both address families, state 0A in /proc/net/tcp
#   configs looked    llama-server only; then "config system PATH" and "config user PATH" where there is one, each with
#                     its lines as "config.line TEXT"
#   devices.code      exit status of the question as a shell has it, 124 when it ran out of time; "none": nobody to ask
#   devices.said      its output, both streams
#   links told        llama-server only, where ldd can read PROGRAM
#   link              what ldd says of PROGRAM and of a CUDA backend beside it, as far as it concerns CUDA or is missing

real() { case $1 in "~/"*) printf %s "$HOME/${1#"~/"}" ;; *) printf %s "$1" ;; esac; }

size() {
    if [ -f "$1" ] && [ -r "$1" ]; then wc -c <"$1"; elif [ -d "$1" ]; then echo 0; else echo missing; fi
}

# parts FOLDER: what its index names and is not there. vLLM takes `consolidated*` files alone where there are any, as in
# Mistral's repositories, whatever the other index names (model_loader/default_loader.py, _prepare_weights).
parts() {
    index=$1/model.safetensors.index.json
    for file in "$1"/consolidated*.safetensors; do
        [ -e "$file" ] || [ -L "$file" ] || continue
        index=$1/consolidated.safetensors.index.json
        [ -s "$file" ] || [ -f "$index" ] || echo "model.missing ${file##*/}"
    done
    [ -f "$index" ] || return 0
    tr ',{}' '\n\n\n' <"$index" | sed -n 's/.*:[[:space:]]*"\([A-Za-z0-9_.=-]*\)"[[:space:]]*$/\1/p' |
        grep '\.safetensors$' | sort -u | while IFS= read -r name; do [ -s "$1/$name" ] || echo "model.missing $name"; done
}

config() {
    [ -e "$2" ] || return 0
    echo "config $1 $2"
    head -n 20 "$2" 2>/dev/null | sed 's/^/config.line /'
}

# python_of PROGRAM: the Python of the environment that a script such as vllm belongs to.
python_of() {
    folder=$(dirname "$(readlink -f "$1")")
    IFS= read -r first <"$1"
    named=${first#"#!"}
    named=${named%% *}
    for python in "$named" "$folder/python3" "$folder/python" "$(command -v "${first##*[ /]}")"; do
        case ${python##*/} in python*) [ -f "$python" ] && [ -x "$python" ] && echo "$python" && return ;; esac
    done
}

ask() {
    limit='timeout -k 1 10'
    command -v timeout >/dev/null 2>&1 || limit=
    said=$($limit "$@" </dev/null 2>&1)
    echo "devices.code $?"
    printf '%s\n' "$said" | tail -n 40 | sed 's/^/devices.said /'
}

links() {
    folder=$(dirname "$(readlink -f "$1")")
    if ldd "$1" >/dev/null 2>&1; then echo "links told"; fi
    for file in "$1" "$folder"/libggml-cuda*.so "$folder"/../lib/libggml-cuda*.so; do
        [ -f "$file" ] || continue
        case $file in *libggml-cuda*) echo "link $file" ;; esac
        ldd "$file" 2>/dev/null | sed -n -e '/not found/b show' -e '/libcud\|libcublas\|libggml-cuda/b show' -e d \
            -e ': show' -e 's/^[[:space:]]*/link /p'
    done
}

kind=$1 model=$2 projector=$3 port=$4 unset_list=$5 keep_list=$6
shift 6
while read -r name value unit; do
    case $name in MemTotal:) echo "memory $value" ;; SwapTotal:) echo "swap $value" ;; esac
done </proc/meminfo
[ -z "$model" ] || echo "model $(size "$(real "$model")")"
[ "$kind" = llama-server ] || [ -z "$model" ] || parts "$(real "$model")"
[ -z "$projector" ] || echo "projector $(size "$(real "$projector")")"
if cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ":$port [0-9A-F]*:0000 0A"; then
    echo "port taken"
else
    echo "port free"
fi
if [ "$kind" = llama-server ]; then
    echo "configs looked"
    config system /etc/llama.cpp/config.ini
    config user "${XDG_CONFIG_HOME:-$HOME/.config}/llama.cpp/config.ini"
fi
set -f
scrub "$unset_list" "$keep_list"
set +f
while [ "$1" != -- ]; do export "${1%%=*}=${1#*=}"; shift; done
shift
engine=$(real "$1")
found=$(command -v "$engine" 2>/dev/null)
shift
if [ ! -f "$found" ] || [ ! -x "$found" ]; then
    if [ -e "$engine" ]; then echo "engine unusable"; else echo "engine missing"; fi
elif [ "$kind" = llama-server ]; then
    echo "engine ok"
    ask "$found" "$@" | { links "$found"; cat; } # both at once
else
    echo "engine ok"
    python=$(python_of "$found")
    if [ -n "$python" ]; then ask "$python" "$@"; else echo "devices.code none"; fi
fi
