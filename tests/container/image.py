"""The image for its tests: the Dockerfile built for real, by podman, without a Docker engine.

The base is the distribution of this machine, made by mmdebstrap from the mirrors that apt uses
here. torch is not downloaded twice: the base has Python look for packages in /opt/torch too, and
there the build and the containers get torch and CUDA from the virtual environment of the tests.
The rest comes from where this machine's pip gets it. What has not changed is not built again.
"""

import ast
import configparser
import contextlib
import functools
import hashlib
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from tests.server import ROOT

PROGRAMS = ("podman", "runc", "mmdebstrap")
BASE = "localhost/unbroken-base"
IMAGE = "localhost/unbroken-test:latest"
FOLDER = Path(sys.prefix) / "container"
TORCH = FOLDER / "torch"
TORCH_VOLUME = f"--volume={TORCH}:/opt/torch:ro"

# Podman's own limits may be higher than this machine lets anybody set.
FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
LIMITS = f"--ulimit=nofile={FILES}:{FILES}", "--ulimit=nproc=4096:4096"

# A torch for another Python than the base's is not seen: then the build downloads its own.
PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
LOOK_IN_OPT_TORCH = (
    "import site, sys; site.addsitedir('/opt/torch/python{}.{}'.format(*sys.version_info))"
)


class ContainerError(Exception):
    """A sentence that says what is missing, or which step failed and how."""


def command(*arguments: str, stdin: str | None = None) -> str:
    """Run a program and return its standard output."""
    done = subprocess.run(arguments, check=False, input=stdin, capture_output=True, text=True)
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
        raise ContainerError(f"`{' '.join(arguments)}` failed:\n{said}")
    return done.stdout.strip()


def podman(*arguments: str) -> str:
    """Run podman in the way that needs the least of the machine: no systemd, no cgroup v2."""
    return command("podman", "--cgroup-manager=cgroupfs", "--runtime=runc", *arguments)


def run(*arguments: str) -> str:
    """`podman run`, as far as every container of the tests needs the same."""
    return podman("run", "--network=host", *LIMITS, *arguments)


@functools.cache
def build() -> str:
    """Return the id of an image of the Dockerfile as it is now."""
    check_programs()
    base = make_base()
    try:
        run("--rm", base, "true")
    except ContainerError as error:
        raise ContainerError(f"podman cannot run containers on this machine: {error}") from None
    gather_torch()
    before = podman("images", "--quiet", "--no-trunc", IMAGE)
    podman(
        "build", "--isolation=chroot", "--network=host", "--format=docker", *LIMITS,
        f"--tag={IMAGE}", f"--build-arg=BASE_IMAGE={base}", TORCH_VOLUME, *pip_settings(),
        str(ROOT),
    )  # fmt: skip
    after = podman("images", "--quiet", "--no-trunc", IMAGE)
    if before not in ("", after):
        with contextlib.suppress(ContainerError):  # it may run in another checkout's test
            podman("rmi", before)
    return after


def check_programs() -> None:
    """Refuse a machine that cannot build or run an image."""
    if os.geteuid() != 0:
        raise ContainerError("The tests of the image need root: run `make test-container` as root.")
    if absent := [program for program in PROGRAMS if not shutil.which(program)]:
        raise ContainerError(
            f"The tests of the image need what is not installed here: {', '.join(absent)}. "
            f"`apt-get install --no-install-recommends {' '.join(absent)}` brings it."
        )


def make_base() -> str:
    """Return the name of the base image; it is made once for these mirrors."""
    system = platform.freedesktop_os_release()
    name = system["VERSION_CODENAME"]
    keyring = f"/usr/share/keyrings/{system['ID']}-archive-keyring.gpg"
    line = f"deb [signed-by={keyring}] $(REPO_URI) $(RELEASE) $(COMPONENT)"
    lines = command("apt-get", "indextargets", "--format", line, "Created-By: Packages")
    # Other repositories' keys would be missing in the base.
    ours = re.compile(rf" {name}(-updates|-security)? (main|universe)$")
    mirrors = "\n".join(sorted({line for line in lines.splitlines() if ours.search(line)}))
    settings = command("apt-config", "dump").splitlines()
    hook = f'echo "{LOOK_IN_OPT_TORCH}" | tee -a "$1"/etc/python3.*/sitecustomize.py'
    recipe = [
        "mmdebstrap", "--variant=minbase", "--include=ca-certificates,python3,python3-venv",
        *(f"--aptopt={line}" for line in settings if re.match("Acquire::(https?::|Check-)", line)),
        f"--customize-hook={hook}", name,
    ]  # fmt: skip
    tag = f"{BASE}:{hashlib.sha256(repr((recipe, mirrors)).encode()).hexdigest()[:12]}"
    if not podman("images", "--quiet", tag):
        FOLDER.mkdir(exist_ok=True)
        archive = FOLDER / "base.tar"
        try:
            command(*recipe, str(archive), "-", stdin=mirrors)
            path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            podman("import", f"--change=ENV {path}", str(archive), tag)
        finally:
            archive.unlink(missing_ok=True)
    return tag


def gather_torch() -> None:
    """Link torch's files, and CUDA's, into a folder of their own; a link takes no space."""
    shutil.rmtree(TORCH, ignore_errors=True)
    TORCH.mkdir(parents=True)
    for package in metadata.distributions():
        if re.match(r"(torch|triton)$|cuda-|nvidia-(?!ml-py)", package.name):
            for file in package.files or ():
                if ".." not in file.parts:
                    link = TORCH / PYTHON / file
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.hardlink_to(str(file.locate()))
    command("chmod", "-R", "a+rX", str(TORCH))


def pip_settings() -> list[str]:
    """Return the volumes that let the build's pip find what this machine's pip finds."""
    folder = FOLDER / "pip"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    volumes = [f"--volume={folder}:/etc/xdg/pip:ro"]
    settings = configparser.ConfigParser(interpolation=None)
    listed = command(sys.executable, "-m", "pip", "config", "list")
    # Environment variables come first there, and override the files.
    for place, key, literal in re.findall(r"^(:env:|\w+)\.([\w-]+)=(.*)$", listed, re.MULTILINE):
        section, value = place.replace(":env:", "global"), ast.literal_eval(literal)
        if not settings.has_section(section):
            settings.add_section(section)
        if not settings.has_option(section, key):
            settings.set(section, key, value)
        if key == "find-links":
            paths = [path for path in value.split() if Path(path).is_dir()]
            volumes += [f"--volume={path}:{path}:ro" for path in paths]
    if certificates := settings.get("global", "cert", fallback=None):
        shutil.copy(certificates, folder / "cert.pem")
        settings.set("global", "cert", "/etc/xdg/pip/cert.pem")
    with (folder / "pip.conf").open("w") as file:
        settings.write(file)
    command("chmod", "-R", "a+rX", str(folder))
    return volumes
