#!/bin/sh
# The container's first process: starts the engine supervisor and gunicorn, and ends them in order.
#
#   SIGTERM, SIGINT   serve on for DRAIN_SECONDS, finish what is in flight, exit 0;
#                     a second one cuts the window short and still loses nothing in flight
#   SIGHUP            the same where standard input is a terminal (it was closed)
#   a part ends       stop the rest in order, exit 1, so that the platform restarts the container
#
# POSIX sh: ModelArts starts it as `sh /home/run.sh`. SageMaker's argument `serve` is accepted.
set -u

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit 1
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1
python=${PYTHON:-python3}

say() { # level event
    case ${LOG_FORMAT:-json} in
    [Tt][Ee][Xx][Tt]) printf '%s %-8s%-11s%s\n' "$(date -u +%H:%M:%S)" "$1" run.sh "$2" ;;
    *) printf '{"time": "%s", "level": "%s", "process": "run.sh", "pid": %d, "event": "%s"}\n' \
        "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" "$$" "$2" ;;
    esac
}

# Runs a command in a session of its own, so that Ctrl-C reaches run.sh alone; passes signals on
# to it; sends run.sh the signal $1 when it has ended (POSIX has no `wait -n`).
keep() {
    signal=$1 child='' early=''
    shift
    trap 'early=1; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null' TERM
    trap '[ -z "$child" ] || kill -USR1 "$child" 2>/dev/null' USR1
    trap '[ -z "$child" ] || kill -KILL "$child" 2>/dev/null' ALRM
    trap '' HUP INT
    setsid "$@" &
    child=$!
    [ -z "$early" ] || kill -TERM "$child" 2>/dev/null
    finish "$child"
    kill "-$signal" "$$"
    exit "$code"
}

# Waits until a child has ended, whatever signals come meanwhile; its status is in $code.
finish() {
    while :; do
        wait "$1" 2>/dev/null # the shell's own "Killed" is no log line
        code=$?
        kill -0 "$1" 2>/dev/null || return 0
    done
}

# Sleeps $1 seconds, or until a signal comes. Each trap ends the sleeper, so that no signal falls
# between the test of $woken and the wait.
nap() {
    sleep "$1" &
    sleeper=$!
    [ -n "$woken" ] || wait "$sleeper"
    kill "$sleeper" 2>/dev/null
    wait "$sleeper" 2>/dev/null
    sleeper=''
    slept=1
    [ -z "$woken" ] || slept=0
    woken=''
}

# shellcheck disable=SC2329  # called by the traps
wake() {
    woken=1
    [ -z "$sleeper" ] || kill "$sleeper" 2>/dev/null
}

# shellcheck disable=SC2329  # called by the traps
stop() {
    if [ -n "$stopping" ]; then cut=1; else stopping=1; fi
    wake
}

# shellcheck disable=SC2329  # called by the traps
hang_up() {
    if [ -t 0 ]; then stop; else say warning hangup_ignored; fi
}

woken='' sleeper='' stopping='' cut='' served='' told='' http_ended='' engine_ended='' code=0
# Before anything is started: a signal that nobody handles would end the shell.
trap stop TERM INT
trap hang_up HUP
trap 'http_ended=1; wake' USR1
trap 'engine_ended=1; wake' ALRM
trap 'told=$served served=1; wake' USR2

# Checks the settings, STATE_DIR and the port; prints the integer that this script needs.
if ! settings=$("$python" -m app boot); then
    printf '%s\n' "$settings"
    exit 1
fi
eval "$settings"

# glibc would give each decoded image's memory back to the kernel and fault it in again: a tenth
# of an HTTP worker's time.
export MALLOC_MMAP_THRESHOLD_="${MALLOC_MMAP_THRESHOLD_:-4194304}"
export MALLOC_TRIM_THRESHOLD_="${MALLOC_TRIM_THRESHOLD_:-16777216}"

say info starting
keep ALRM "$python" -m app.engine --notify "$$" &
engine=$!
keep USR1 "$python" -m gunicorn -c python:app.gunicorn_conf &
http=$!

while [ -z "$stopping$http_ended$engine_ended" ]; do nap 86400; done

if [ -n "$stopping" ] && [ -n "$served" ]; then
    say info draining
    kill -USR1 "$engine"
    # Workers should know that the container ends before gunicorn tells them to leave; a supervisor
    # that is stopped must not hold us.
    patience=5
    while [ -z "$told$http_ended$engine_ended" ] && [ "$patience" -gt 0 ]; do
        nap 1
        patience=$((patience - 1))
    done
    left=$DRAIN_SECONDS
    while [ "$left" -gt 0 ] && [ -z "$cut$http_ended$engine_ended" ]; do
        nap 1
        left=$((left - slept))
    done
fi

result=0
if [ -n "$http_ended$engine_ended" ]; then
    say error "${http_ended:+http}${engine_ended:+engine}_ended_unasked"
    result=1
fi
say info stopping
kill -TERM "$http" 2>/dev/null
finish "$http"
kill -TERM "$engine" 2>/dev/null
patience=10 # the supervisor gives its engines 3 seconds
while [ -z "$engine_ended" ] && [ "$patience" -gt 0 ]; do
    nap 1
    patience=$((patience - slept))
done
[ -n "$engine_ended" ] || kill -ALRM "$engine" 2>/dev/null
finish "$engine"
say info stopped
exit "$result"
