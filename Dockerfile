# syntax=docker/dockerfile:1
# The image of Freshet: one static program, no shell, not root. It writes nothing but
# the store of an embedded NATS server, in /data, so its root can be read-only.
#
#   docker build --build-arg VERSION=1.2.3 -t freshet .
#
# `--target shop` builds the service of examples/shop instead, for deploy/compose.yaml.
FROM --platform=$BUILDPLATFORM golang:1.26.8 AS build
ARG TARGETOS TARGETARCH VERSION COMMIT
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN mkdir -p /out/data && CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
    -ldflags "-s -w ${VERSION:+-X main.version=$VERSION} ${COMMIT:+-X main.commit=$COMMIT}" \
    -o /out/ ./cmd/freshet ./examples/shop

FROM scratch AS shop
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/shop /shop
USER 65532:65532
EXPOSE 8000
ENTRYPOINT ["/shop"]
CMD ["-listen", "0.0.0.0:8000"]

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/freshet /freshet
COPY --from=build --chown=65532:65532 /out/data /data
WORKDIR /data
USER 65532:65532
ENV FRESHET_CONFIG=/etc/freshet/freshet.yaml
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/freshet", "health"]
ENTRYPOINT ["/freshet"]
CMD ["run"]
