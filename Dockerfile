# The daemon's image: docker build -t instanced:0.1 .
# It suits Docker's legacy builder and BuildKit alike. How to run it: examples/docker/README.md
ARG RUST_IMAGE=rust:1-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY benches benches
COPY src src
RUN cargo build --release --locked --bin instanced

FROM ${BASE_IMAGE}
# For a repository as the source; without one, nothing but the program is needed.
RUN apt-get update -qq \
 && apt-get install -qq -y --no-install-recommends ca-certificates git openssh-client >/dev/null \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/* /var/cache/debconf/*-old
# Numbers that no host's person has; the engine's socket comes with a group at the start.
RUN groupadd --gid 10001 instanced \
 && useradd --uid 10001 --gid instanced --home-dir /var/lib/instanced --no-create-home --shell /usr/sbin/nologin instanced \
 && install -d -o instanced -g instanced -m 0700 /var/lib/instanced \
 && install -d /etc/instanced/instances.d
COPY --from=build /src/target/release/instanced /usr/local/bin/instanced

# Where `state` is not named, it is /var/lib/instanced.
ENV XDG_STATE_HOME=/var/lib
WORKDIR /etc/instanced
USER instanced
# That it answers: what it waits for, such as an engine, is not mended by a restart.
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s --retries=3 CMD ["instanced", "health", "--live"]
ENTRYPOINT ["instanced"]
CMD ["serve"]

ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="instanced" \
      org.opencontainers.image.description="Keeps a fleet of MCP instances exactly as a directory of YAML files says" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="MIT"
