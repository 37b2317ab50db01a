# Probe: what a target says about engine, model and port, before anything is started. Plain POSIX sh.
#
# usage: sh -c "$(cat probe.sh)" kotaro-probe EXECUTABLE MODEL PROJECTOR PORT_HEX
#
# Empty MODEL or PROJECTOR is not looked at. Answers one line each: "engine ok|missing|unusable", "model BYTES|missing" (0 for a
# folder), "projector ...", "port free|taken" (listening sockets of both address families, state 0A in /proc/net/tcp).

real() { case $1 in "~/"*) printf %s "$HOME/${1#"~/"}" ;; *) printf %s "$1" ;; esac; }

size() {
    if [ -f "$1" ] && [ -r "$1" ]; then wc -c <"$1"; elif [ -d "$1" ]; then echo 0; else echo missing; fi
}

engine=$(real "$1")
found=$(command -v "$engine" 2>/dev/null)
if [ -f "$found" ] && [ -x "$found" ]; then
    echo "engine ok"
elif [ -e "$engine" ]; then
    echo "engine unusable"
else
    echo "engine missing"
fi
[ -z "$2" ] || echo "model $(size "$(real "$2")")"
[ -z "$3" ] || echo "projector $(size "$(real "$3")")"
if cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ":$4 [0-9A-F]*:0000 0A"; then echo "port taken"; else echo "port free"; fi
