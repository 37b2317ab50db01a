# Models: what model files a target has, and taking some away. Plain POSIX sh; wants GNU find and stat.
#
# usage: sh -c "$(cat models.sh)" kotaro-models
#            list FOLDER... | remove ROOT | receive PATH SIZE SHA256
#
# list     the Hugging Face cache of this user and the folders; a leading ~/ is the home folder. Lines with tabs:
#              home PATH
#              root hub-cache|folder PATH           what follows is in it, paths are relative to it
#              file DEVICE:INODE LINKS SIZE PATH    a regular file
#              link TARGET PATH                     a symbolic link, followed by
#              leads DEVICE:INODE SIZE PATH         what it leads to, if that is a regular file
#              ref COMMIT PATH                      a file under refs
#              magic HEX PATH                       the first four bytes of a GGUF file
# remove   takes paths relative to ROOT on stdin, a line each, and removes them and folders that are empty then. Ends with
#          45 at a path that leads out of ROOT; nothing of it is removed then.
# receive  takes a file on stdin: writes it beside PATH, compares size and checksum, then gives it its name. Tells
#              kept | exists                        PATH is that file, or another one, already; nothing is read
#              full BYTES                           no more is free on that disk; nothing is read
#              send                                 now stdin is read
#              done | short SIZE | differs SHA256

real() { case $1 in "~/"*) printf %s "$HOME/${1#"~/"}" ;; "~") printf %s "$HOME" ;; *) printf %s "$1" ;; esac; }

list_one() {
    [ -d "$2" ] || return 0
    printf 'root\t%s\t%s\n' "$1" "$(cd "$2" && pwd -P)"
    find "$2/" -mindepth 1 \( -type f -printf 'file\t%D:%i\t%n\t%s\t%P\n' -o -type l -printf 'link\t%l\t%P\n' \) 2>/dev/null
    find "$2/" -mindepth 1 -type l -exec stat -L -c '%F	leads	%d:%i	%s	%n' {} + 2>/dev/null |
        while IFS='	' read -r type word identity size path; do
            [ "$type" != 'regular file' ] || printf '%s\t%s\t%s\t%s\n' "$word" "$identity" "$size" "${path#"$2/"}"
        done
    if [ "$1" = hub-cache ]; then
        find "$2/" -path '*/refs/*' -type f 2>/dev/null | while IFS= read -r path; do
            printf 'ref\t%s\t%s\n' "$(head -c 64 "$path" | tr -cd '[:alnum:]')" "${path#"$2/"}"
        done
    fi
    find "$2/" -mindepth 1 \( -type f -o -type l \) -name '*.gguf' 2>/dev/null | while IFS= read -r path; do
        printf 'magic\t%s\t%s\n' "$(head -c 4 "$path" 2>/dev/null | od -An -tx1 | tr -d ' \n')" "${path#"$2/"}"
    done
}

list() {
    printf 'home\t%s\n' "$HOME"
    hub=${HF_HUB_CACHE:-${HUGGINGFACE_HUB_CACHE:-${HF_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/huggingface}/hub}}
    list_one hub-cache "$hub"
    for folder in "$@"; do
        folder=$(real "$folder")
        list_one folder "${folder%/}"
    done
}

remove() {
    cd "$(real "$1")" || exit 44
    all=$(cat)
    printf '%s\n' "$all" | while IFS= read -r path; do
        case /$path/ in // | //* | */../* | */./*) exit 45 ;; esac
    done || exit 45
    printf '%s\n' "$all" | while IFS= read -r path; do
        rm -rf -- "./$path" || exit 46
        parent=$(dirname "./$path")
        [ "$parent" = . ] || rmdir -p --ignore-fail-on-non-empty -- "${parent#./}" 2>/dev/null
    done || exit 46
    return 0
}

receive() {
    path=$(real "$1")
    mkdir -p "$(dirname "$path")" || exit 44
    room=$(($(df -Pk "$(dirname "$path")" | awk 'NR == 2 { print $4 }') * 1024))
    if [ -e "$path" ]; then
        if [ "$(stat -L -c %s "$path")" = "$2" ] && [ "$(sha256sum <"$path")" = "$3  -" ]; then echo kept; else echo exists; fi
        return 0
    fi
    if [ "$room" -lt "$2" ]; then echo "full $room"; return 0; fi
    echo send
    part=$path.part
    cat >"$part" || exit 46
    size=$(stat -c %s "$part")
    if [ "$size" != "$2" ]; then echo "short $size"; return 0; fi
    sum=$(sha256sum <"$part")
    if [ "$sum" != "$3  -" ]; then rm -f "$part"; echo "differs ${sum%% *}"; return 0; fi
    sync "$part" 2>/dev/null
    mv -n "$part" "$path" && echo 'done'
}

verb=$1
shift
"$verb" "$@"
