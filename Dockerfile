# syntax=docker/dockerfile:1
# One image for worker, beat, web server, Flower, simulator and command line.

FROM python:3.11-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/kitsweep
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY config ./config
COPY worker ./worker
COPY tasks ./tasks
COPY cli ./cli
COPY local ./local
COPY simulator ./simulator
COPY web ./web
# The versions that are tested.
RUN /opt/kitsweep/bin/pip install --constraint constraints.txt '.[flower]'

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin kitsweep
COPY --from=build /opt/kitsweep /opt/kitsweep
ENV PATH=/opt/kitsweep/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# An empty directory. `.env` and `cleanup.toml` are read from here if they are mounted.
WORKDIR /app
USER kitsweep

# The worker must respond to a ping through Redis. Services with another command have their own check
# (docker-compose.yml).
HEALTHCHECK --interval=60s --timeout=20s --start-period=30s --retries=3 \
    CMD celery -A worker.app inspect ping --destination "celery@$HOSTNAME" --timeout 10

# Without a shell, SIGTERM reaches the worker, which finishes the calls in flight and stops.
CMD ["celery", "-A", "worker.app", "worker"]
