# Guardian: owns one engine's processes on the Linux side, the same for WSL, SSH and local. Plain POSIX sh (dash).
#
# usage: sh -c "$(cat environment.sh guardian.sh)" kotaro-guardian
#            run RUN_ID GRACE_S UNSET KEEP [NAME=VALUE...] -- PROGRAM [ARG...] | tell ... | list | reap RUN_ID GRACE_S
#
# run   starts PROGRAM in a session of its own and passes its output through. Reports one line each on stdout, tagged
#       "@kotaro RUN_ID": start, exit, clean; and "drained" on stderr when the engine has ended. exit says how the engine
#       ended and how many processes the kernel has killed for want of RAM meanwhile (oom). Takes "stop GRACE_S" and
#       "kill" on stdin; end-of-file, HUP and TERM mean stop. UNSET and KEEP are comma lists of variable names, a trailing
#       * for a prefix. Ends when nothing is left.
# tell  is run, but the first line of stdin is for PROGRAM and all of its stdin: a secret comes to it so, and stands in no
#       argument, no variable of a process and no file.
# list  prints the ids of runs that still live, one "@kotaro RUN_ID alive" line each.
# reap  ends a run that lost its guardian, and prints its clean line.
#
# A run's processes are those of the engine's session (field 6 of /proc/PID/stat; vLLM's EngineCore rewrites its
# environment area with its title but stays in the session) and those that carry its KOTARO_RUN mark (a child that made
# a session of its own). The run file keeps pid, boot id and start time, so that a reused pid is never hit.

# The engine may be in the middle of a line on the same pipe: a tagged line begins on one of its own.
say() { printf '\n@kotaro %s %s\n' "$run_id" "$1"; }

runs="${XDG_STATE_HOME:-$HOME/.local/state}/kotaro-bridge/runs"
boot() { read -r id </proc/sys/kernel/random/boot_id && printf %s "$id"; }

# stat_of PID: sets $state, $group, $session and $ticks from /proc/PID/stat; the name in parentheses may hold anything.
stat_of() {
    { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
    line=${line##*) }
    # shellcheck disable=SC2086
    set -- $line
    state=$1 group=$3 session=$4 ticks=${20}
}

# oom_kills: how many processes the kernel has killed for want of RAM since it booted, in $kills; empty if it does not
# tell. The counter goes up before the signal goes out (mm/oom_kill.c), also for a kill by a cgroup's limit.
oom_kills() { kills=$(sed -n 's/^oom_kill //p' "${KOTARO_VMSTAT:-/proc/vmstat}" 2>/dev/null); }

# members: pids of the run that are alive (zombies hold nothing), in $pids.
members() {
    pids=
    marked=$(grep -lsz "^KOTARO_RUN=$run_id\$" /proc/[0-9]*/environ 2>/dev/null | tr '\n' ' ')
    for dir in /proc/[0-9]*; do
        pid=${dir#/proc/}
        stat_of "$pid" && [ "$state" != Z ] || continue
        case "$session $marked" in "$sid "* | *" $dir/environ "*) pids="$pids $pid" ;; esac
    done
}

kill_all() {
    # shellcheck disable=SC2086
    [ -z "$pids" ] || kill -KILL $pids 2>/dev/null
}

# term_all: TERM to each process once: a second one makes llama-server leave without cleaning up.
term_all() {
    kill -TERM "-$sid" 2>/dev/null
    members
    for member in $pids; do
        stat_of "$member" && [ "$group" != "$sid" ] && kill -TERM "$member" 2>/dev/null
    done
}

# clock: hundredths of a second since boot, in $now. A look at all processes takes its time: tries are no measure of it.
clock() { read -r now rest </proc/uptime && now=${now%.*}${now#*.}; }

# wait_all GRACE_S: wait up to the grace, KILL, wait up to 5 s; $pids holds what is left.
wait_all() {
    clock
    end=$((now + $1 * 100))
    while members; clock; [ -n "$pids" ] && [ "$now" -lt "$end" ]; do sleep 0.1; done
    end=$((now + 500))
    while [ -n "$pids" ] && [ "$now" -lt "$end" ]; do kill_all; sleep 0.1; members; clock; done
}

# end_all GRACE_S: TERM first.
end_all() { term_all; wait_all "$1"; }

# end_once GRACE_S: whoever comes first ends the engine: end-of-file and HUP arrive together when wsl.exe is killed.
end_once() { mkdir "$runs/$run_id.ending" 2>/dev/null && end_all "$1"; }

report_clean() {
    say "clean left=$(echo $pids | tr ' ' ,)"
    [ -n "$pids" ] || forget
    rmdir "$runs/$run_id.ending" 2>/dev/null
    return 0
}

# forget: the run is none any more. A guardian that was killed while it ended the run has left its mark behind.
forget() {
    rm -f "$runs/$run_id"
    rmdir "$runs/$run_id.ending" 2>/dev/null
    return 0
}

# load_run: sets $sid from the run file if that very process or its session still lives; else removes the file.
load_run() {
    sid= file_boot= file_ticks=
    { IFS=' ' read -r sid file_boot file_ticks <"$runs/$run_id"; } 2>/dev/null
    if [ -z "$sid" ] || [ "$file_boot" != "$(boot)" ]; then forget; return 1; fi
    # The leader may be gone while its session lives on; a leader with another start time is a stranger with its pid.
    if stat_of "$sid" && [ "$ticks" != "$file_ticks" ]; then sid=none; fi
    members
    [ -n "$pids" ] || { forget; return 1; }
}

list() {
    for file in "$runs"/*; do
        [ -f "$file" ] || continue
        run_id=${file##*/}
        load_run && say alive
    done
    return 0
}

reap() {
    run_id=$1
    # A guardian that was cut off may be ending the run at this moment: it has sent the TERM already.
    if load_run; then end_once "$2" || wait_all "$2"; else pids=; fi
    report_clean
}

# reader: commands from the owner on fd 3. A background job gets /dev/null as stdin, hence the copied descriptor.
# End-of-file means that the owner is gone.
reader() {
    trap '' HUP INT TERM PIPE
    grace=$default_grace
    while IFS=' ' read -r word value <&3; do
        case $word in
            stop) grace=${value:-$default_grace}; break ;;
            kill) grace=0; break ;;
        esac
    done
    end_once "$grace" &
    while IFS=' ' read -r word value <&3; do [ "$word" != kill ] || { members; kill_all; break; }; done
    wait
}

# What the engine's process does before it becomes the engine: it writes the run file and names itself, so that no moment
# is without a trace and no line of the engine is torn by ours. Arguments: run file, boot id, program...
become='
trace() {
    read -r line <"/proc/$$/stat"
    set -- "$1" "$2" ${line##*) }
    printf "%s %s %s\n" "$$" "$2" "${22}" >"$1.new" && mv "$1.new" "$1"
}
trace "$1" "$2"
shift 2
printf "\n@kotaro %s start pid=%s\n" "$KOTARO_RUN" "$$"
exec "$@"
'

run() {
    run_id=$1 default_grace=$2 unset_list=$3 keep_list=$4
    shift 4
    set -f
    scrub "$unset_list" "$keep_list"
    set +f
    while [ "$1" != -- ]; do export "${1%%=*}=${1#*=}"; shift; done
    shift
    # A leading ~/ of any argument is the home folder here, not there where the command was made.
    count=$#
    while [ "$count" -gt 0 ]; do
        arg=$1
        shift
        case $arg in "~/"*) arg=$HOME/${arg#"~/"} ;; esac
        set -- "$@" "$arg"
        count=$((count - 1))
    done
    trap '' PIPE
    early=
    trap 'early=1' HUP TERM INT
    mkdir -p "$runs"
    exec 3<&0 </dev/null 4</dev/null
    # dash keeps a here-document in a pipe.
    [ -z "$told" ] || exec 4<<TOLD
$told
TOLD
    told=
    oom_kills
    kills_before=$kills
    KOTARO_RUN=$run_id setsid sh -c "$become" engine "$runs/$run_id" "$(boot)" "$@" 3<&- <&4 4<&- &
    sid=$!
    exec 4<&-
    reader &
    reader_pid=$!
    trap 'end_once "$default_grace" &' HUP TERM INT
    [ -z "$early" ] || end_once "$default_grace" &
    while :; do
        wait "$sid"
        code=$?
        stat_of "$sid" && [ "$state" != Z ] || break
    done
    # Woken by a trap just as the leader died: its own status is still to be had (127: it was taken already).
    wait "$sid" 2>/dev/null
    again=$?
    [ "$again" -eq 127 ] || code=$again
    oom_kills
    oom=
    [ -z "$kills" ] || [ -z "$kills_before" ] || oom=" oom=$((kills - kills_before))"
    say drained >&2
    say "exit code=$code$oom"
    end_all 2
    kill -KILL "$reader_pid" 2>/dev/null
    report_clean
}

tell() { IFS= read -r told && run "$@"; }

told=
verb=$1
shift
"$verb" "$@"
