"""``python -m app.engine [--notify PID]``: the supervisor process, a child of run.sh."""

import argparse
import logging
import sys

from app import logs, state_dir
from app.engine.claim import Claim
from app.engine.supervisor import Supervisor
from app.settings import Settings


def main() -> int:
    """Claim STATE_DIR and supervise until told to stop; return the exit code."""
    parser = argparse.ArgumentParser(description="The engine supervisor.")
    parser.add_argument("--notify", type=int, default=0, help="pid that gets SIGUSR2 once ready")
    arguments = parser.parse_args()
    settings = Settings.read()
    logs.configure(settings.log_level, settings.log_format, "supervisor")
    try:
        claim = Claim(settings.state_dir)  # held until this process ends
    except state_dir.StateDirError as error:
        logs.event("start_refused", level=logging.ERROR, message=str(error))
        return 1
    try:
        logs.event("started", model=settings.model)
        asked = Supervisor(settings, claim, arguments.notify).run()
        logs.event("stopped")
    finally:
        claim.release()
    return 0 if asked else 1


if __name__ == "__main__":
    sys.exit(main())
