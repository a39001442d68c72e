"""Every setting, declared once: name, default, bounds, meaning. The only reader of the environment.

Read once at the start of each process. A wrong value raises SettingsError with a sentence that
names the variable, the value and what is allowed; ``run.sh`` then does not start anything.
"""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from app import limits
from app.files import SUFFIXES, is_program
from app.kinds import FLAG, SOCKETS_PATH, TEXT, URL, Kind, choice, integer, matching, number


class SettingsError(Exception):
    """A variable has a value that is not allowed, or two contradict each other."""


def variable(
    kind: Kind,
    meaning: str,
    *,
    default: object = None,
    shown: str = "",
    first: tuple[str, ...] = (),
    secret: bool = False,
) -> Any:
    """Declare one variable; its name is the attribute's, in capitals.

    Args:
        kind: parser and bounds.
        meaning: one sentence, with the unit; goes into docs/reference/settings.md.
        default: the value where nothing is set, or a function of the settings so far.
        shown: how the documentation writes a default that depends on the machine.
        first: platforms' own variables that win over ours when set.
        secret: never printed.
    """
    metadata = {"kind": kind, "meaning": meaning, "default": default, "shown": shown,
                "first": first, "secret": secret}  # fmt: skip
    return field(metadata=metadata, repr=not secret)


@dataclass(frozen=True)
class Settings:
    """The values in force. ``read`` is the only constructor that callers need."""

    host: str = variable(TEXT, "Address to listen on.", default="0.0.0.0")  # noqa: S104
    port: int = variable(
        integer(1, 65535), "Port to listen on.", default=8080,
        first=("AIP_HTTP_PORT", "SAGEMAKER_BIND_TO_PORT"),
    )  # fmt: skip
    workers: int = variable(
        integer(1, 256), "HTTP worker processes.",
        default=lambda _: min(4, limits.cores()), shown="min(4, cores)",
    )  # fmt: skip
    keepalive_seconds: int = variable(
        integer(1, 86400), "How long an idle connection is kept; must exceed the balancer's own "
        "idle timeout (nginx, ALB 60; Google 600; Envoy 3600).", default=200,
    )  # fmt: skip
    drain_seconds: int = variable(
        integer(0, 86400), "How long to serve on after SIGTERM, while routers still send.",
        default=60,
    )  # fmt: skip
    drain_quiet_seconds: float = variable(
        number(0, 86400), "Serve on for no longer than until no request has come for so long; "
        "predictions count, probes do not; less than DRAIN_SECONDS; 0: always for so long.",
        default=0.0,
    )  # fmt: skip
    drain_unready: bool = variable(FLAG, "Whether `/ready` says 503 while draining.", default=True)
    graceful_seconds: int = variable(
        integer(1, 86400), "After the drain: time for what is in flight.", default=25
    )
    platform_grace_seconds: int | None = variable(
        integer(1, 86400), "When the platform kills after SIGTERM; checked against the other "
        "deadlines at the start.", shown="unset",
    )  # fmt: skip
    idle_close_seconds: float = variable(
        number(0, 60), "In the last phase of a stop: how long a connection may be idle before "
        "it is closed.", default=2.0,
    )  # fmt: skip
    model_path: str | None = variable(
        matching(rf".+\.({'|'.join(SUFFIXES)})|(.*/)?[^./]*|.*/", f"a path ending in "
                 f"{', '.join(f'.{suffix}' for suffix in SUFFIXES)}, or a directory with one such "
                 "file (with a / at its end where its name has a dot)"),
        "Weights to load instead of the model's own, or an exported program.", shown="unset",
    )  # fmt: skip
    model: str = variable(
        matching(r"mnist|exported|torchvision/\w+|[^:]+\.py:\w+|\w+(\.\w+)*:\w+",
                 "mnist, torchvision/NAME, exported, path/to/file.py:Class or "
                 "package.module:Class"),
        "What to serve; `exported` is the program that `MODEL_PATH` names.",
        default=lambda so_far: "exported" if is_program(so_far["model_path"] or "") else "mnist",
        shown="`mnist`; `exported` where `MODEL_PATH` ends in .pt2 or .pt",
    )  # fmt: skip
    weights: str = variable(
        matching(r"\w+", "an entry of the weights enum, or random"),
        "For `torchvision/NAME`: an entry of its weights enum, or `random`. With `MODEL_PATH`: the "
        "entry whose transforms and classes the file's are; never `random`.", default="DEFAULT",
    )  # fmt: skip
    device: str = variable(
        matching(r"auto|cpu|cuda(:\d+(,cuda:\d+)*)?", "auto, cpu, cuda, or cuda:0,cuda:2"),
        "Where the model runs.", default="auto",
    )  # fmt: skip
    precision: str = variable(
        choice("auto", "float32"), "What the model computes in on a GPU: `auto` takes float16 "
        "where, at the load, its outputs are the same as in float32 and come sooner.",
        default="auto",
    )  # fmt: skip
    engines: int = variable(integer(1, 64), "Engine processes per device.", default=1)
    swap: str = variable(
        choice("beside", "replace"), "How a reload exchanges the model: the new one loads beside "
        "the old one, or in its place while requests wait. Where a GPU has no room for two, "
        "or memory turns out to hold one, `beside` becomes `replace` by itself.",
        default="beside",
    )  # fmt: skip
    max_engine_memory_mb: int = variable(
        integer(1), "Megabytes of the host's memory at which an engine is exchanged for a fresh "
        "one, if it has also grown by a quarter since it became ready. Where it is set, of a "
        "GPU's memory too; of that never more than four fifths, shared by the engines of the GPU.",
        default=lambda so_far: int(
            limits.memory_bytes() * 0.8 / 2**20 / (so_far["engines"] or 1)
        ),
        shown="four fifths of the memory limit, shared by the engines of a device",
    )  # fmt: skip
    max_batch: int | None = variable(
        integer(1, 4096),
        "Upper bound of a batch, in images of the model's usual size; of larger "
        "ones fewer share a batch.",
        shown="8 on a CPU, 64 on a GPU",
    )
    max_concurrent_requests: int = variable(
        integer(1), "Images admitted and not yet answered, in the whole container; the next "
        "gets 503 `queue_full`.", default=256,
    )  # fmt: skip
    max_inflight_mb: int = variable(
        integer(1), "Megabytes of bodies and decoded pixels held at one time.",
        default=lambda _: max(64, limits.memory_bytes() // 4 // 2**20),
        shown="a quarter of the memory limit",
    )  # fmt: skip
    max_images: int = variable(integer(1, 4096), "Images in one request.", default=32)
    request_timeout_seconds: float = variable(
        number(0.1, 86400), "Deadline of a request, from its first byte; then 504.", default=20.0
    )
    max_body_mb: int = variable(integer(1, 4096), "Megabytes of one body; 413 above.", default=16)
    max_pixels: int = variable(
        # An image travels to the engine in one frame, of 1 GiB at most.
        integer(1, 300_000_000), "Pixels of one image; 413 above.", default=50_000_000,
    )  # fmt: skip
    hang_seconds: float = variable(
        number(1, 3600), "The longest a batch may run before its engine is replaced. Two must "
        "fit into a request's deadline.", default=6.0,
    )  # fmt: skip
    load_seconds: float = variable(
        number(1, 86400), "The longest a load with its warm-up may take.", default=600.0
    )
    min_free_gpu_mb: int = variable(
        integer(0), "Megabytes of GPU memory under which `/ready` and `/health` say no; what "
        "PyTorch holds and does not use counts as free.", default=500,
    )  # fmt: skip
    deep_check_seconds: float = variable(
        number(0, 86400), "How often the model in service is asked for its golden answer; "
        "0: only at the load.", default=30.0,
    )  # fmt: skip
    deep_check_failures: int = variable(
        integer(0), "How many failed checks in a row have the engine replaced; 0: never.",
        default=3,
    )  # fmt: skip
    console: bool = variable(
        FLAG, "Whether browsers get a page at `/`, to try the model and watch the server.",
        default=True,
    )  # fmt: skip
    log_level: str = variable(
        choice("DEBUG", "INFO", "WARNING", "ERROR"), "The least level that is logged.",
        default="INFO",
    )  # fmt: skip
    log_format: str = variable(
        choice("json", "text"), "One JSON object a line, or text for a terminal.", default="json"
    )
    state_dir: str = variable(
        SOCKETS_PATH, "Sockets and the files `ready` and `draining`; the only path written to.",
        default=lambda so_far: f"/tmp/unbroken-{so_far['port']}",  # noqa: S108
        shown="/tmp/unbroken-PORT",  # noqa: S108
    )  # fmt: skip
    auth_token: str | None = variable(
        TEXT, "If set, every route but the probes and `/metrics` needs it in "
        "`Authorization`, alone or after `Bearer`.", shown="unset", secret=True,
    )  # fmt: skip
    eas_metrics_url: str | None = variable(
        URL, "Where queue length and requests in flight are posted every five seconds, on PAI-EAS "
        "`http://localhost:8080/api/builtin/realtime_metrics`.", shown="unset",
    )  # fmt: skip
    origin: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read and check the environment.

        Raises:
            SettingsError: one sentence about the first variable that is wrong.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        origin: dict[str, str] = {}
        for declared in declarations():
            values[declared.name], origin[declared.name] = _value(declared, environ, values)
        settings = cls(**values, origin=origin)
        settings.check_deadlines()
        settings.check_weights()
        return settings

    def check_deadlines(self) -> None:
        """Refuse deadlines that contradict each other (design: a stop never cuts a request)."""
        # gunicorn's gevent loop notices the signal up to one second late.
        needed = 1 + self.idle_close_seconds + self.request_timeout_seconds
        if needed > self.graceful_seconds:
            raise SettingsError(
                f"GRACEFUL_SECONDS={self.graceful_seconds} is too short: 1 + IDLE_CLOSE_SECONDS "
                f"({self.idle_close_seconds:g}) + REQUEST_TIMEOUT_SECONDS "
                f"({self.request_timeout_seconds:g}) = {needed:g} must fit into it."
            )
        if 2 * self.hang_seconds > self.request_timeout_seconds:
            raise SettingsError(
                f"HANG_SECONDS={self.hang_seconds:g} is too long: two hangs "
                f"({2 * self.hang_seconds:g}) must fit into REQUEST_TIMEOUT_SECONDS "
                f"({self.request_timeout_seconds:g})."
            )
        if 0 < self.drain_seconds <= self.drain_quiet_seconds:
            raise SettingsError(
                f"DRAIN_QUIET_SECONDS={self.drain_quiet_seconds:g} can never be reached: "
                f"DRAIN_SECONDS ({self.drain_seconds}) are over before."
            )
        whole = self.drain_seconds + self.graceful_seconds + 3
        if self.platform_grace_seconds is not None and whole > self.platform_grace_seconds:
            raise SettingsError(
                f"PLATFORM_GRACE_SECONDS={self.platform_grace_seconds} is too short: "
                f"DRAIN_SECONDS ({self.drain_seconds}) + GRACEFUL_SECONDS "
                f"({self.graceful_seconds}) + 3 = {whole} must fit into it."
            )

    def check_weights(self) -> None:
        """Refuse named weights for a model that has none: they would be ignored."""
        if self.weights != "DEFAULT" and self.model in ("mnist", "exported"):
            raise SettingsError(
                f"WEIGHTS={self.weights}: MODEL={self.model} has no named weights; MODEL_PATH "
                "takes a file of weights."
            )


def declarations() -> tuple["dataclasses.Field[Any]", ...]:
    """Return the declared variables, in the order of the documentation."""
    return tuple(f for f in dataclasses.fields(Settings) if f.name != "origin")


def _value(
    declared: "dataclasses.Field[Any]", environ: Mapping[str, str], so_far: dict[str, Any]
) -> tuple[Any, str]:
    meta = declared.metadata
    for name in (*meta["first"], declared.name.upper()):
        given = environ.get(name, "")
        text = given.strip()
        if given and not text and meta["secret"]:  # a secret that was not filled in opens no server
            raise SettingsError(f"{name} is set, and blank: give it a value, or none at all.")
        if not text:  # manifests often pass an empty value for "not set"
            continue
        try:
            return meta["kind"].parse(text), f"environment ({name})"
        except ValueError:
            shown = "…" if meta["secret"] else text
            raise SettingsError(f"{name}={shown}: allowed is {meta['kind'].allowed}.") from None
    default = meta["default"]
    return (default(so_far) if callable(default) else default), "default"
