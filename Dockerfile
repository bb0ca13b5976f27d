# SPDX-License-Identifier: Apache-2.0
# One image for head, workers, submitter and the command line. `make image` builds it; docs/image.md tells the rest.

# Any Debian or Ubuntu with Python 3.11 or 3.12 as `python3`, and its venv module. The digest is that of the index of all
# architectures.
ARG BASE_IMAGE=python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d

# --- what is installed: changes with the lock only

FROM ${BASE_IMAGE} AS requirements
# cuda: torch as the Python package index has it, which brings its own CUDA libraries; cpu: PyTorch's build without.
ARG DEVICE=cuda
# Of this stage only, so not in the image. Settings with a password, and certificates, come as secrets instead.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_NO_INDEX
COPY trainer_image/build.lock trainer_image/cuda.lock trainer_image/runtime.lock trainer_image/sbom.lock /build/
RUN --mount=type=secret,id=pip \
    --mount=type=secret,id=certificates \
    --mount=type=bind,source=trainer_image/wheels,target=/build/wheels \
    --mount=type=cache,target=/root/.cache/pip \
    set -eu; \
    export PIP_CONFIG_FILE=/run/secrets/pip PIP_DISABLE_PIP_VERSION_CHECK=1 DS_BUILD_OPS=0; \
    if [ -e /run/secrets/certificates ]; then export PIP_CERT=/run/secrets/certificates; fi; \
    case "$DEVICE" in \
        cpu) more="--constraint /build/torch.txt" ;; \
        cuda) more="--requirement /build/cuda.lock" ;; \
        *) echo "DEVICE is cpu or cuda, not $DEVICE" >&2; exit 2 ;; \
    esac; \
    sed -n 's/^\(torch==[0-9.]*\).*/\1+cpu/p' /build/runtime.lock > /build/torch.txt; \
    install="install --require-hashes --no-deps --find-links /build/wheels"; \
    python3 -m venv /build/pip; \
    /build/pip/bin/pip $install --requirement /build/sbom.lock; \
    python3 -m venv --without-pip /opt/tadrib; \
    pip="/build/pip/bin/pip --python /opt/tadrib/bin/python"; \
    $pip $install --requirement /build/build.lock; \
    $pip $install --no-build-isolation --requirement /build/runtime.lock $more; \
    $pip check

# --- our code: changes with every commit, and is built in seconds

FROM requirements AS project
COPY LICENSE README.md pyproject.toml /build/
COPY tadrib /build/tadrib
COPY training /build/training
COPY ray_jobs /build/ray_jobs
RUN cd /build \
    && pip/bin/pip --python /opt/tadrib/bin/python install --disable-pip-version-check --no-index --no-deps \
        --no-build-isolation --prefix /project . \
    && PYTHONPATH=$(echo /project/lib/python3*/site-packages) pip/bin/cyclonedx-py environment --pyproject pyproject.toml \
        --mc-type application --output-reproducible --output-format JSON --output-file sbom.cdx.json \
        /opt/tadrib/bin/python

# --- the image

FROM ${BASE_IMAGE}
# An init that hands SIGTERM to its one child and reaps orphans. A base that has it needs no package source.
RUN command -v tini > /dev/null \
    || { apt-get update && apt-get install --yes --no-install-recommends tini && rm -rf /var/lib/apt/lists/*; }
# The user has a name, as some libraries ask for it, and no shell. /mnt/tadrib is where runs are kept: a volume.
RUN if ! getent passwd 1000 > /dev/null; then \
        groupadd --gid 1000 tadrib && useradd --uid 1000 --gid 1000 --no-create-home --home-dir /tmp \
            --shell /usr/sbin/nologin tadrib; \
    fi \
    && install --directory --owner=1000 --group=1000 /mnt/tadrib
COPY trainer_image/profile.sh /etc/profile.d/tadrib.sh
COPY --from=requirements /opt/tadrib /opt/tadrib
COPY --from=project /project /opt/tadrib
COPY trainer_image/runtime.lock trainer_image/cuda.lock trainer_image/smoke.py /opt/tadrib/share/tadrib/
COPY --from=project /build/sbom.cdx.json /opt/tadrib/share/tadrib/

# Everything that is written outside of a run's storage is under /tmp.
ENV PATH=/opt/tadrib/bin:$PATH \
    HOME=/tmp \
    USER=tadrib \
    TMPDIR=/tmp \
    RAY_TMPDIR=/tmp \
    TADRIB_SCRATCH=/tmp/tadrib \
    HF_HOME=/tmp/huggingface \
    MPLCONFIGDIR=/tmp/matplotlib \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    HF_HUB_DISABLE_TELEMETRY=1 \
    USE_HUB_KERNELS=NO \
    RAY_USAGE_STATS_ENABLED=0
USER 1000:1000
WORKDIR /mnt/tadrib
ARG DEVICE=cuda
RUN --mount=type=tmpfs,target=/tmp python /opt/tadrib/share/tadrib/smoke.py --device "$DEVICE"

VOLUME ["/tmp"]
ENTRYPOINT ["tini", "--"]
CMD ["tadrib", "--help"]
HEALTHCHECK --interval=5m --timeout=30s CMD ["python", "/opt/tadrib/share/tadrib/smoke.py", "--quick"]

ARG VERSION=0.1.0
ARG REVISION=unknown
ARG BASE_IMAGE
ARG BASE_DIGEST
LABEL org.opencontainers.image.title="tadrib" \
      org.opencontainers.image.description="Fine-tune language models on Ray and Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="$BASE_IMAGE" \
      org.opencontainers.image.base.digest="$BASE_DIGEST" \
      tadrib.device="$DEVICE"
