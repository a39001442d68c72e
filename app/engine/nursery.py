"""The nursery process: has torch imported and forks engines, so that none waits for the import.

It never touches CUDA. An engine is forked twice over, so that it becomes the supervisor's own
child (a subreaper adopts orphans): the supervisor reaps it and learns its exit status, and the
nursery's death costs no engine. multiprocessing's forkserver would report its living children
dead at that moment, and leave a folder and a resource tracker behind.

Run by ``launcher`` as ``python -m app.engine.nursery DESCRIPTOR``.
"""

import gc
import logging
import os
import signal
import socket
import sys
from typing import NoReturn

from app import logs
from app.engine.order import Order
from app.engine.process import EngineProcess
from app.engine.protocol import Decoder, Type
from app.models import registry
from app.settings import Settings


def main(descriptor: int) -> NoReturn:
    """Fork an engine for every SPAWN until the supervisor is gone."""
    settings = Settings.read()
    _keep_output_for_the_log()
    logs.configure(settings.log_level, settings.log_format, "nursery")
    sys.stdout = sys.stderr  # what a library or a model prints is no log line of ours
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line = socket.socket(fileno=descriptor)
    registry.preload(settings.model)
    decoder = Decoder()
    gc.freeze()  # what is here now is shared with every engine: no collection needs to touch it
    while True:
        chunk, descriptors, _, _ = socket.recv_fds(line, 65536, 4)
        if not chunk:
            os._exit(0)  # libraries complain about a fork's finalisation, and nothing needs it
        for frame in decoder.feed(chunk):
            if frame.type is Type.SPAWN:
                _spawn(Order(**frame.head), settings, descriptors, line)


def _keep_output_for_the_log() -> None:
    """Have what native code and child processes write to descriptor 1 go where errors go.

    The supervisor makes log lines of it. A terminal is left alone, as for errors (app.stderr).
    """
    if os.isatty(1):
        return
    sys.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
    os.dup2(2, 1)


def _spawn(order: Order, settings: Settings, descriptors: list[int], line: socket.socket) -> None:
    middle = os.fork()
    if middle == 0:
        if os.fork() == 0:
            line.close()
            os._exit(_live(order, settings, descriptors))
        os._exit(0)
    os.waitpid(middle, 0)
    for descriptor in descriptors:
        os.close(descriptor)


def _live(order: Order, settings: Settings, descriptors: list[int]) -> int:
    logs.name_process("engine")
    control = socket.socket(fileno=descriptors[0])
    try:
        return EngineProcess(order, settings, control, descriptors[1:]).run()
    except SystemExit as error:
        # Its usual way out would wait for the threads of the model, and the engine seem alive.
        logs.event("model_exited", level=logging.CRITICAL, error=error)
        return exit_code(error)
    except BaseException as error:  # noqa: BLE001  a fork must not run on into its parent's code
        logs.event("engine_defect", level=logging.CRITICAL, error=error)
        return 70


def exit_code(error: SystemExit) -> int:
    """Return what Python would end with."""
    if error.code is None:
        return 0
    return error.code & 0xFF if isinstance(error.code, int) else 1


if __name__ == "__main__":
    main(int(sys.argv[1]))
