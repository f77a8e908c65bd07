# syntax=docker/dockerfile:1

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p goclaw && cp target/release/goclaw /usr/local/bin/goclaw

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --home-dir /app --no-create-home --shell /usr/sbin/nologin goclaw \
    && mkdir -p /app/data /app/workspace \
    && chown -R goclaw:goclaw /app
COPY --from=build /usr/local/bin/goclaw /usr/local/bin/goclaw

ENV GOCLAW_CONFIG=/app/config.json \
    GOCLAW_DATA_DIR=/app/data \
    GOCLAW_WORKSPACE=/app/workspace \
    GOCLAW_HOST=0.0.0.0 \
    GOCLAW_PORT=18790
USER goclaw
WORKDIR /app
VOLUME ["/app/data", "/app/workspace"]
EXPOSE 18790

# The slim image has no HTTP client; bash speaks enough of it.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/$GOCLAW_PORT && printf 'GET /health HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && IFS= read -r -t 4 status <&3 && [[ $status == *' 200 '* ]]"]

ENTRYPOINT ["goclaw"]
