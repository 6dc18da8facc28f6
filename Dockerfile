# syntax=docker/dockerfile:1
#
# The image is one static file in an empty root: no shell, no libraries, no root user.
#
#   docker build --tag redcar .                        compiles in a container
#   docker build --target prebuilt --tag redcar DIR    takes DIR/amd64/proxy or DIR/arm64/proxy,
#                                                      as image/build-static writes it

FROM rust:1.95-trixie AS compile
WORKDIR /src
COPY . .
ARG REVISION=unknown
# A cache mount is gone after its command, so the program is copied out of it.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    REDCAR_REVISION="$REVISION" image/build-static && cp target/static/proxy /proxy

FROM scratch AS base
ARG REVISION=unknown
LABEL org.opencontainers.image.title="redcar" \
      org.opencontainers.image.description="RED metrics per path from a sidecar" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="https://github.com/redcar/redcar" \
      org.opencontainers.image.documentation="https://github.com/redcar/redcar/blob/v0.1.0/README.md" \
      org.opencontainers.image.licenses="Apache-2.0"
# A number: Kubernetes cannot tell from a name whether it is root.
USER 65532:65532
EXPOSE 7001 9464
STOPSIGNAL SIGTERM
# There is no shell; the program asks itself. Kubernetes does not look at this.
HEALTHCHECK --interval=10s --timeout=3s --start-period=2s --retries=3 \
    CMD ["/usr/local/bin/proxy", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/proxy"]

FROM base AS prebuilt
# Set by the builder for each platform; a default here could win over that.
ARG TARGETARCH
COPY --chmod=0755 ${TARGETARCH}/proxy /usr/local/bin/proxy

# The last one is what `docker build .` makes.
FROM base AS build
COPY --from=compile /proxy /usr/local/bin/proxy
