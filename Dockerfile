# The smallest image with millstream in it: one static binary, nothing else (CA roots are inside the binary).
#
#   docker build -t millstream .
#
# examples/Dockerfile.app shows how an application's image takes the binary from here.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# A target of its own, because static linking must not reach the build scripts and procedural macros.
RUN target="$(uname -m)-unknown-linux-gnu" && \
    RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs -C force-unwind-tables=no" cargo build --release --locked --bin millstream --target "$target" && \
    install -D "target/$target/release/millstream" /out/millstream

FROM scratch
COPY --from=build /out/millstream /millstream
ENTRYPOINT ["/millstream"]
