# Environment: what an engine's process does not inherit, the same for its start and for the question put to it before.
# Goes in front of guardian.sh and probe.sh. Plain POSIX sh.

# scrub UNSET KEEP: removes inherited variables that could move a model off the GPU. Comma lists of names; in UNSET a
# trailing * stands for a prefix. Wants `set -f`: a pattern that fits a file here would become that file's name.
scrub() {
    names=$(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p')
    old_ifs=$IFS
    for name in $names; do
        IFS=,
        hit=
        # shellcheck disable=SC2254
        for pattern in $1; do case $name in $pattern) hit=1 ;; esac; done
        for kept in $2; do [ "$name" != "$kept" ] || hit=; done
        IFS=$old_ifs
        [ -z "$hit" ] || unset "$name"
    done
}
