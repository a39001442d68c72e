# The image: `docker build -t unbroken .` and `docker run -p 8080:8080 unbroken`.

# torch's wheels bring CUDA along and need only the host's driver, so a CUDA base would hold it
# twice. Any Debian or Ubuntu with Python 3.11 to 3.14 will do; this is the one that the tests use.
ARG BASE_IMAGE=python:3.11-slim-bookworm
# hadolint ignore=DL3006
FROM ${BASE_IMAGE}

# ModelArts' batch service wants a JRE and zip; `--build-arg BATCH_PACKAGES=` leaves them out.
ARG BATCH_PACKAGES="default-jre-headless zip"

# procps has pgrep, which platforms' stop commands call; util-linux has setsid and setpriv, which
# run.sh calls. A base without a whole Python gets its distribution's. The JRE's installer links
# manual pages, into a folder that slim bases lack.
# The versions are the base image's choice, and an exact one leaves the mirrors with the next fix
# (DL3008); BATCH_PACKAGES is several words on purpose (SC2086).
# hadolint ignore=DL3008,SC2086
RUN mkdir -p /usr/share/man/man1 \
    && if ! python3 -c 'import ensurepip, venv' 2> /dev/null; then python="python3 python3-venv"; fi \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        ca-certificates procps util-linux ${python:-} ${BATCH_PACKAGES} \
    && rm -rf /var/lib/apt/lists/*

# ModelArts starts the container as 1000:100 and asks for these names. Debian calls group 100
# `users`, and some bases have a user 1000 of their own.
RUN group="$(getent group 100)"; group="${group%%:*}"; \
    user="$(getent passwd 1000)"; user="${user%%:*}"; \
    case "$group" in \
        ma-group) ;; \
        '') groupadd --gid 100 ma-group ;; \
        *) groupmod --new-name ma-group "$group" ;; \
    esac \
    && case "$user" in \
        ma-user) usermod --gid 100 ma-user ;; \
        '') useradd --uid 1000 --gid 100 --create-home ma-user ;; \
        *) usermod --login ma-user --gid 100 --home /home/ma-user --move-home "$user" ;; \
    esac

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /opt/unbroken

# The gigabytes come first, and come again only when the requirements change. The package is
# installed in place, so that `python3 -m app` works from every directory; of its code this step
# needs the version alone.
COPY pyproject.toml setup.cfg constraints.txt LICENSE ./
COPY app/__init__.py app/
RUN python3 -m venv /opt/venv \
    && pip install --disable-pip-version-check --no-cache-dir \
        --constraint constraints.txt --editable .

COPY app app
COPY run.sh /home/run.sh
# Readable whoever runs it, whatever the umask of the checkout was; compiled now, because nobody
# may write here later: all that the server writes goes below /tmp.
RUN chmod -R a+rX /opt/unbroken /home/run.sh && python3 -m compileall -q app

# By number, so that Kubernetes can tell that it is not root. Root and other users work as well.
USER 1000:100
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=180s --retries=3 \
    CMD ["python3", "-m", "app", "probe", "health"]
CMD ["sh", "/home/run.sh"]
