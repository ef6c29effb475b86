# Syncer as a container. docs/deploy.md says how to run it:
#
#   docker build --tag syncer:0.1.0 .
#   docker run --read-only --tmpfs /tmp --stop-timeout 40 --cap-drop ALL --security-opt no-new-privileges \
#     --volume "$PWD/config:/etc/syncer:ro" --volume "$PWD/secrets:/run/syncer/secrets:ro" \
#     --volume syncer-state:/var/lib/syncer --publish 127.0.0.1:8080:8080 syncer:0.1.0

FROM python:3.13-slim-trixie AS build

WORKDIR /src
COPY pyproject.toml README.md config.example.toml ./
COPY syncer ./syncer
COPY destinations ./destinations
COPY mappings ./mappings
RUN python -m venv /opt/syncer \
    && /opt/syncer/bin/pip install --no-cache-dir --disable-pip-version-check . \
    && /opt/syncer/bin/python -m compileall -q /opt/syncer \
    && /opt/syncer/bin/pip uninstall --yes pip

FROM python:3.13-slim-trixie

# A number, so that Kubernetes can see that it is not root.
RUN groupadd --system --gid 10001 syncer \
    && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/syncer --shell /usr/sbin/nologin syncer \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/syncer
COPY --from=build /opt/syncer /opt/syncer

ENV PATH=/opt/syncer/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SYNCER_CONFIG=/etc/syncer/config.toml \
    SYNCER_HEALTH=http://127.0.0.1:8080/healthz

USER 10001:10001
WORKDIR /var/lib/syncer
VOLUME ["/var/lib/syncer"]
EXPOSE 8080

# The first signal lets what is in flight end, which takes 25 seconds at most.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(os.environ['SYNCER_HEALTH'], timeout=4)"]

ENTRYPOINT ["syncer"]
CMD ["serve"]
