#!/bin/sh
# The container's first process: starts the engine supervisor and gunicorn, and ends them in order.
#
#   SIGTERM, SIGINT   serve on for DRAIN_SECONDS, finish what is in flight, exit 0;
#                     a second one cuts the window short and still loses nothing in flight
#   SIGHUP            exchange the model for what MODEL_PATH holds now; the same as SIGTERM where
#                     standard input is a terminal (it was closed)
#   a part ends       stop the rest in order, exit 1, so that the platform restarts the container
#
# POSIX sh: ModelArts starts it as `sh /home/run.sh`. SageMaker's argument `serve` is accepted.
set -u

# At once: a signal that nobody handles would end the shell, or never reach it as process 1.
stopping=''
trap 'stopping=1' TERM INT

# What the shell itself writes ("Killed") is no log line; the parts get the real one as 3.
exec 3>&2 2>/dev/null

# Waits until a child has ended, whatever signals come meanwhile. It asks before each wait: bash
# may forget that a child has ended when a signal comes in that moment, and would wait for ever.
finish() {
    while kill -0 "$1"; do wait "$1"; done
}

# `run.sh keep SIGNAL PID COMMAND...` is what run.sh starts for each part: it runs the command in a
# session of its own, so that Ctrl-C reaches run.sh alone, and sends PID the SIGNAL when it has
# ended (POSIX has no `wait -n`). USR1, USR2, ALRM and URG have it pass on "drain", "stop", "kill"
# and "reload".
# Signals for the whole process group are for run.sh. Without run.sh, or without this process, the
# kernel tells the part to stop.
if [ "${1-}" = keep ]; then
    signal=$2 parent=$3 child='' asked=''
    trap : TERM HUP
    trap '[ -z "$child" ] || kill -USR1 "$child"' USR1
    trap 'asked=1; [ -z "$child" ] || kill -TERM "$child"' USR2
    trap '[ -z "$child" ] || kill -KILL "$child"' ALRM
    trap '[ -z "$child" ] || kill -HUP "$child"' URG
    [ "$PPID" = "$parent" ] || exit 1 # it died before the kernel was asked to tell
    shift 3
    setpriv --pdeathsig TERM setsid "$@" 2>&3 3>&- &
    child=$!
    [ -z "$asked" ] || kill -TERM "$child"
    finish "$child"
    kill "-$signal" "$parent"
    exit 0
fi

say() { # level event, and how many seconds it will take at most
    case ${LOG_FORMAT:-json} in
    [Tt][Ee][Xx][Tt]) printf '%s %-8s%-11s%s\n' "$(date -u +%H:%M:%S)" "$1" run.sh "$2${3:+ seconds=$3}" ;;
    *) printf '{"time": "%s", "level": "%s", "process": "run.sh", "pid": %d, "event": "%s"%s}\n' \
        "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" "$$" "$2" "${3:+, \"seconds\": $3}" ;;
    esac
}

# Sleeps $1 seconds, or until a signal comes; $slept is 0 then. Each trap ends the sleeper, so that
# no signal falls between the test of $woken and the wait; and by SIGKILL, because every signal that
# this script traps is lost between the sleeper's fork and its exec. The sleeper looks whether
# run.sh died before the kernel was asked to tell.
nap() {
    # shellcheck disable=SC2016  # for the shell that it starts
    setpriv --pdeathsig KILL sh -c '[ "$PPID" = "$1" ] && exec sleep "$2"' sh "$$" "$1" &
    sleeper=$!
    [ -n "$woken" ] || wait "$sleeper"
    kill -KILL "$sleeper"
    finish "$sleeper"
    sleeper=''
    slept=1
    [ -z "$woken" ] || slept=0
    woken=''
}

# shellcheck disable=SC2329  # called by the traps
wake() {
    woken=1
    [ -z "$sleeper" ] || kill -KILL "$sleeper"
}

# shellcheck disable=SC2329  # called by the traps
stop() {
    if [ -n "$stopping" ]; then cut=1; else stopping=1; fi
    wake
}

# shellcheck disable=SC2329  # called by the traps
hang_up() {
    if [ -t 0 ]; then stop; else reload=1 && wake; fi
}

# Ends a part. "Stop" is said again and again: a part that has just been forked, or imports its
# modules, cannot hear it yet; one that does not leave in time is killed.
end() { # the keeper's pid, the name of the flag that says that it has ended, seconds
    patience=$3
    while eval "[ -z \"\$$2\" ]" && kill -USR2 "$1"; do
        [ "$patience" -gt 0 ] || kill -ALRM "$1"
        nap 1
        patience=$((patience - slept))
    done
}

woken='' sleeper='' cut='' served='' told='' quiet='' reload='' http_ended='' engine_ended=''
trap stop TERM INT
trap hang_up HUP
trap '' PIPE
trap 'http_ended=1; wake' USR1
trap 'engine_ended=1; wake' ALRM
trap 'quiet=$told told=$served served=1; wake' USR2

case $0 in
/*) here=${0%/*} ;;
*/*) here=$PWD/${0%/*} ;;
*) here=$PWD ;;
esac
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1
python=${PYTHON:-python3}

# Checks the settings, STATE_DIR and the port; prints the integers that this script needs.
if ! settings=$(setsid "$python" -m app boot 2>&3) && [ -z "$stopping" ]; then
    printf '%s\n' "$settings"
    exit 1
fi
if [ -n "$stopping" ]; then
    say info stopped
    exit 0
fi
eval "$settings"

# glibc would give each decoded image's memory back to the kernel and fault it in again: a tenth
# of an HTTP worker's time.
export MALLOC_MMAP_THRESHOLD_="${MALLOC_MMAP_THRESHOLD_:-4194304}"
export MALLOC_TRIM_THRESHOLD_="${MALLOC_TRIM_THRESHOLD_:-16777216}"

keep() { exec setpriv --pdeathsig USR2 sh "$here/${0##*/}" keep "$@" 2>&3 3>&-; }
say info starting
keep ALRM "$$" "$python" -m app.engine --notify "$$" &
engine=$!
keep USR1 "$$" "$python" -m gunicorn -c python:app.gunicorn_conf &
http=$!

while [ -z "$stopping$http_ended$engine_ended" ]; do
    nap 3600
    if [ -n "$reload" ] && [ -n "$served" ]; then # before, nobody can hear it
        reload=''
        kill -URG "$engine"
    fi
done

if [ -n "$stopping" ] && [ -n "$served" ]; then
    say info draining "$DRAIN_SECONDS" # a second signal cuts it short
    kill -USR1 "$engine"
    # Workers should know that the container ends before gunicorn tells them to leave; a supervisor
    # that is stopped must not hold us.
    left=5
    while [ "$left" -gt 0 ] && [ -z "$told$cut$http_ended$engine_ended" ]; do
        nap 1
        left=$((left - slept))
    done
    left=$DRAIN_SECONDS
    while [ "$left" -gt 0 ] && [ -z "$cut$quiet$http_ended$engine_ended" ]; do
        nap 1
        left=$((left - slept))
    done
fi

result=0 left=10 # the supervisor gives its engines 3 seconds
if [ -n "$http_ended$engine_ended" ] && { [ -z "$stopping" ] || [ -n "$served" ]; }; then
    say error "${http_ended:+http}${engine_ended:+engine}_ended_unasked"
    result=1 left=$((GRACEFUL_SECONDS + 10)) # HTTP workers may still have requests in flight
fi
say info stopping
end "$http" http_ended $((GRACEFUL_SECONDS + 3))
end "$engine" engine_ended "$left"
say info stopped
exit "$result"
