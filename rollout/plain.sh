#!/bin/sh
# The drain recipe as it is usually written, with its known faults mended: sleep, then tell gunicorn.
# RECIPE_SLEEP=0 leaves the sleep out, which is gunicorn on its own.
trap 'sleep "$RECIPE_SLEEP"; kill -TERM "$gunicorn"' TERM
"$PYTHON" -m gunicorn -k gevent --workers 2 --keep-alive 200 --graceful-timeout 25 \
    --bind "127.0.0.1:$PORT" --log-level warning --no-control-socket rollout.plain:application &
gunicorn=$!
while kill -0 "$gunicorn" 2>/dev/null; do wait "$gunicorn"; done
