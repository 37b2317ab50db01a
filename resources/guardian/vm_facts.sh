# VM facts: what Linux shows of the virtual machine that WSL made of .wslconfig. Plain POSIX sh.
#
# usage: sh -c "$(cat vm_facts.sh)" kotaro-vm [MODEL...]
#
# Answers, a line each, a word and its value, where it is known:
#
#   boot        an id that each start of the VM has anew
#   began       seconds since the epoch
#   processors  how many are online
#   memory, swap  KiB
#   networking  what wslinfo says
#   command     the kernel's command line; release: its version
#   model       "BYTES PATH" for each MODEL that is there: a file, or a folder with the files that hold weights

proc=${KOTARO_PROC:-/proc}
real() { case $1 in "~/"*) printf %s "$HOME/${1#"~/"}" ;; *) printf %s "$1" ;; esac; }
tell() { [ -z "$2" ] || echo "$1 $2"; }

tell boot "$(cat "$proc/sys/kernel/random/boot_id" 2>/dev/null)"
tell began "$(sed -n 's/^btime //p' "$proc/stat" 2>/dev/null)"
tell processors "$(grep -c '^cpu[0-9]' "$proc/stat" 2>/dev/null)"
tell memory "$(sed -n 's/^MemTotal: *\([0-9]*\) kB$/\1/p' "$proc/meminfo" 2>/dev/null)"
tell swap "$(sed -n 's/^SwapTotal: *\([0-9]*\) kB$/\1/p' "$proc/meminfo" 2>/dev/null)"
tell networking "$(wslinfo --networking-mode 2>/dev/null)"
tell command "$(cat "$proc/cmdline" 2>/dev/null)"
tell release "$(cat "$proc/sys/kernel/osrelease" 2>/dev/null)"
for model in "$@"; do
    path=$(real "$model")
    if [ -f "$path" ]; then
        echo "model $(stat -L -c %s "$path") $model"
    elif [ -d "$path" ]; then
        size=0
        for file in "$path"/*.safetensors "$path"/*.bin "$path"/*.gguf; do
            [ ! -f "$file" ] || size=$((size + $(stat -L -c %s "$file")))
        done
        [ "$size" = 0 ] || echo "model $size $model"
    fi
done
exit 0
