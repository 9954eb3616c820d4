# One image for every process of a network; the role is the command. `make image` builds it.
#
# BASE is any Debian with python3 (3.11 or later) and its venv module. Dependencies, compiled kernels and our own code are
# layers of their own, so that a new version of ours brings a few MB.
ARG BASE=docker.io/library/python:3.12-slim-bookworm

FROM ${BASE} AS dependencies
ARG UV_VERSION=0.13.8
# A secret named `certificates` is a bundle of authorities for package indexes that need their own; else the usual ones.
RUN --mount=type=secret,id=certificates,target=/run/secrets/certificates \
    if [ -s /run/secrets/certificates ]; then export PIP_CERT=/run/secrets/certificates; fi; \
    python3 -m venv /tools && /tools/bin/pip install --quiet --no-cache-dir --disable-pip-version-check uv==${UV_VERSION}
RUN python3 -m venv --without-pip /opt/haulout && \
    echo /opt/app > "$(/opt/haulout/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/app.pth"
WORKDIR /src
COPY requirements.lock requirements-dev.lock ./
RUN --mount=type=secret,id=certificates,target=/run/secrets/certificates \
    if [ -s /run/secrets/certificates ]; then export SSL_CERT_FILE=/run/secrets/certificates; fi; \
    /tools/bin/uv pip install --quiet --no-cache --compile-bytecode --python /opt/haulout/bin/python --require-hashes \
        -r requirements.lock

# Kernels for the CPU that builds; on another one a service compiles its own in the background and serves meanwhile.
# Only what they are made from is here, so that they stay while other code changes.
FROM dependencies AS kernels
COPY haulout/__init__.py haulout/errors.py haulout/primitives.py haulout/bcs.py /opt/app/haulout/
COPY haulout/chain /opt/app/haulout/chain
COPY haulout/codec /opt/app/haulout/codec
COPY haulout/crypto /opt/app/haulout/crypto
COPY haulout/ledger /opt/app/haulout/ledger
COPY haulout/ports /opt/app/haulout/ports
COPY haulout/world /opt/app/haulout/world
RUN NUMBA_CACHE_DIR=/opt/kernels /opt/haulout/bin/python -m haulout.world.kernels

FROM dependencies AS application
COPY pyproject.toml README.md LICENSE ./
COPY haulout haulout
COPY node_grpc node_grpc
COPY graphql_api graphql_api
COPY operator operator
RUN --mount=type=secret,id=certificates,target=/run/secrets/certificates \
    if [ -s /run/secrets/certificates ]; then export SSL_CERT_FILE=/run/secrets/certificates; fi; \
    /tools/bin/uv pip install --quiet --no-cache --compile-bytecode --python /opt/haulout/bin/python \
        --target /opt/app --no-deps --build-constraints requirements-dev.lock .

FROM ${BASE}
COPY --from=dependencies /opt/haulout /opt/haulout
COPY --from=kernels /opt/kernels /opt/kernels
COPY --from=application /opt/app /opt/app
# Large buffers stay out of mmap, so that a message costs no page faults (`haulout.embedded.founding` has the same).
ENV PATH=/opt/app/bin:/opt/haulout/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_MMAP_THRESHOLD_=67108864 \
    MALLOC_TRIM_THRESHOLD_=134217728 \
    MALLOC_TOP_PAD_=1048576 \
    MALLOC_ARENA_MAX=2
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["haulout"]
CMD ["--help"]
LABEL org.opencontainers.image.title="Haulout" \
      org.opencontainers.image.description="Decentralised, erasure-coded, provable blob storage as a network you own" \
      org.opencontainers.image.licenses="Apache-2.0"
