# syntax=docker/dockerfile:1

# The same interpreter builds and runs. To move to a newer one:
#   docker buildx imagetools inspect python:3.11-slim-bookworm
FROM python:3.11.16-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b AS build
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore

# Dependencies first, as they seldom change. Only what the lock pins by hash is installed.
COPY deployments/image/requirements.lock deployments/image/build.lock ./
RUN python -m pip install --require-hashes --only-binary=:all: --no-compile --prefix=installed --requirement requirements.lock && \
    python -m pip install --require-hashes --only-binary=:all: --no-compile --requirement build.lock

COPY pyproject.toml README.md ./
COPY metrics_server metrics_server
# Bytecode does not depend on file times: the same sources give the same files. None for the Kubernetes
# client's models, which are large and never imported.
RUN python -m pip install --no-index --no-deps --no-build-isolation --no-compile --prefix=installed . && \
    python -m compileall -q --invalidation-mode unchecked-hash -x '/client/(api|models)/[^_/]' -s installed -p /usr/local installed


FROM python:3.11.16-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b
# Remove the parts of the base image that could install more.
RUN python -m pip uninstall --yes --root-user-action=ignore pip setuptools wheel
COPY --from=build /build/installed /usr/local

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="gpu-metrics-server" \
      org.opencontainers.image.description="GPU utilization for the native Kubernetes HorizontalPodAutoscaler, straight from the GPU exporters" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11.16-slim-bookworm"

# The user below has no home, and some libraries fail when they look for one and HOME is not set.
ENV HOME=/nonexistent \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
# A number, so that Kubernetes can check that it is not root.
USER 65532:65532
WORKDIR /
EXPOSE 6443
# For Docker and Podman; Kubernetes has probes of its own. Like them it does not verify the
# certificate: it connects to itself, on loopback.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import ssl, urllib.request as r; r.urlopen('https://127.0.0.1:6443/livez', context=ssl._create_unverified_context(), timeout=4)"]
ENTRYPOINT ["python", "-m", "metrics_server"]
CMD ["serve"]
