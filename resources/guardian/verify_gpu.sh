#!/bin/sh
# verify_gpu.sh: is an NVIDIA card with enough free video memory here? Plain POSIX sh; for WSL, Linux and containers.
#
# Put it before a start script of your own, for example
#     sh verify_gpu.sh --need-mib 9000 && exec ./llama-server -ngl all ...
# Kotaro Bridge asks the same script with --csv before each of its starts.

usage() {
    cat <<'TEXT'
usage: verify_gpu.sh --need-mib N [--gpu I] [--gpus COUNT]
       verify_gpu.sh --csv FIELDS

Prints one line per fact and ends with 0 if card I (default 0) has N MiB of free video memory
and there are at least COUNT cards (default 1); else with 1 and the reason on stderr.

  --need-mib N    MiB of video memory that have to be free
  --gpu I         the card, as nvidia-smi numbers them
  --gpus COUNT    how many cards there have to be
  --csv FIELDS    only print what nvidia-smi answers for these fields, and end with its code

nvidia-smi is the program that $NVIDIA_SMI names, else /usr/lib/wsl/lib/nvidia-smi, else the one
on the PATH. It is given 10 seconds where there is a program named timeout.
TEXT
}

wrong() {
    echo "verify_gpu.sh: $1" >&2
    usage >&2
    exit 2
}

refuse() {
    echo "verify_gpu.sh: $1" >&2
    exit 1
}

# number NAME VALUE: a whole number, without leading zeros or a sign, or wrong usage.
number() {
    case $2 in 0 | [1-9]*) ;; *) wrong "$1 wants a number" ;; esac
    case $2 in *[!0-9]*) wrong "$1 wants a number" ;; esac
}

need= card=0 cards=1 fields=
while [ $# -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --need-mib | --gpu | --gpus | --csv) [ $# -ge 2 ] || wrong "$1 wants a value" ;;
    esac
    case $1 in
        --need-mib) number "$1" "$2"; need=$2 ;;
        --gpu) number "$1" "$2"; card=$2 ;;
        --gpus) number "$1" "$2"; cards=$2 ;;
        --csv) fields=$2 ;;
        *) wrong "unknown argument: $1" ;;
    esac
    shift 2
done
[ -n "$need$fields" ] || wrong "--need-mib is missing"

# sudo, cron and wsl.exe --exec do not have WSL's folder on the PATH.
smi=${NVIDIA_SMI:-/usr/lib/wsl/lib/nvidia-smi}
[ -n "${NVIDIA_SMI:-}" ] || [ -x "$smi" ] || smi=nvidia-smi
found=$(command -v "$smi" 2>/dev/null)

query() {
    limit='timeout -k 1 10'
    command -v timeout >/dev/null 2>&1 || limit=
    $limit "$smi" "--query-gpu=$1" --format=csv,noheader,nounits </dev/null
}

if [ -n "$fields" ]; then
    [ -n "$found" ] || { echo "$smi: not found" >&2; exit 127; }
    query "$fields"
    exit
fi

[ -n "$found" ] || refuse "nvidia-smi was not found. Install the NVIDIA driver (for WSL: on Windows)."
echo "nvidia-smi: $found"
# The name comes last: it may hold commas.
rows=$(query index,driver_version,memory.total,memory.free,name 2>&1)
code=$?
[ "$code" -ne 124 ] || refuse "nvidia-smi did not answer within 10 seconds."
[ "$code" -eq 0 ] || refuse "nvidia-smi failed with code $code: $rows"
case $rows in [0-9]*,*,*,*) ;; *) refuse "nvidia-smi lists no graphics card: $rows" ;; esac

count=$(printf '%s\n' "$rows" | grep -c '^[0-9]')
echo "graphics cards: $count"
[ "$count" -ge "$cards" ] || refuse "there are $count graphics cards, $cards are needed."

row=$(printf '%s\n' "$rows" | sed -n "s/^$card, *//p")
[ -n "$row" ] || refuse "there is no graphics card $card."
driver=${row%%,*}
row=${row#*, }
total=${row%%,*}
row=${row#*, }
free=${row%%,*}
echo "card $card: ${row#*, }, driver $driver"
echo "video memory: $free of $total MiB are free, $need MiB are needed"
case $free in '' | *[!0-9]*) refuse "nvidia-smi does not tell how much video memory of card $card is free." ;; esac
[ "$free" -ge "$need" ] || refuse "card $card has $free of $total MiB free, $need MiB are needed."
echo "ok"
