"""``python -m app``: what people and run.sh ask of the package. Imports no torch.

settings [--markdown]   the settings in force, or the reference page
errors --markdown       the reference page of errors
metrics --markdown      the reference page of metrics
probe NAME              ask the running server: live, ready, health, startup
boot                    check that a server can start here; used by run.sh
"""

import argparse
import logging
import os
import socket
import sys
from typing import NoReturn

from app import logs, probe, reference, state_dir
from app.settings import Settings, SettingsError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(1, f"{message}\n{self.format_usage()}")  # not argparse's 2: Docker reserves it


class BootError(Exception):
    """A server cannot start here; the sentence says why."""


def main() -> int:
    """Run one command; return the exit code."""
    arguments = _parse()
    try:
        settings = Settings.read()
        if arguments.command == "boot":
            return _boot(settings)
        return _show(arguments, settings)
    except (SettingsError, state_dir.StateDirError, BootError) as error:
        form = os.environ.get("LOG_FORMAT", "json").lower()
        logs.configure("INFO", form, "boot")
        logs.event("start_refused", level=logging.ERROR, message=str(error))
        return 1


def _parse() -> argparse.Namespace:
    parser = _Parser(prog="python -m app")
    commands = parser.add_subparsers(dest="command", required=True)
    shown = {"settings": "the settings in force", "errors": "the error codes",
             "metrics": "what /metrics has"}  # fmt: skip
    for name, words in shown.items():
        command = commands.add_parser(name, help=words)
        command.add_argument("--markdown", action="store_true", help="as the reference page")
    ask = commands.add_parser("probe", help="ask the running server; exit code 0 or 1")
    ask.add_argument("name", nargs="?", default="health", help=", ".join(probe.NAMES))
    commands.add_parser("boot", help="check that a server can start here")
    return parser.parse_args()


def _show(arguments: argparse.Namespace, settings: Settings) -> int:
    code = 0
    if arguments.command == "probe":
        code, text = probe.probe(arguments.name, settings)
    elif arguments.command == "errors":
        text = reference.errors_markdown()
    elif arguments.command == "metrics":
        text = reference.metrics_markdown()
    elif arguments.markdown:
        text = reference.settings_markdown()
    else:
        text = reference.settings_in_force(settings)
    sys.stdout.write(text.rstrip("\n") + "\n")
    return code


def _boot(settings: Settings) -> int:
    """Refuse what can be known beforehand, and hand run.sh its integers."""
    os.close(state_dir.claim(settings.state_dir))  # the supervisor takes the lock for good
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except OSError as error:
            raise BootError(
                f"PORT={settings.port} on HOST={settings.host} cannot be used: {error.strerror}."
            ) from error
    sys.stdout.write(f"DRAIN_SECONDS={settings.drain_seconds}\n")
    sys.stdout.write(f"GRACEFUL_SECONDS={settings.graceful_seconds}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
