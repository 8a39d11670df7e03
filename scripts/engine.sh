# Sourced by scripts/docker and scripts/examples_compose: a Docker engine of our own, as root on Debian, without pulling any image. Its base
# image is made by debootstrap. The caller has `say` and `die`.

# The engine's data stays between runs, so that the images are made once; everything else is of this run.
state=$PWD/target/docker
mkdir -p "$state"
engine=

# What needs a network: the programs, and the files of the base image.
prepare_engine() {
    [ "$(id -u)" = 0 ] || die "must run as root: it starts a Docker engine of its own"
    local missing=()
    command -v dockerd >/dev/null || missing+=(docker.io)
    command -v debootstrap >/dev/null || missing+=(debootstrap)
    if [ ${#missing[@]} -gt 0 ]; then
        say "Installing ${missing[*]}"
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/dev/null
    fi
    [ ! -e "$state/rootfs/etc/debian_version" ] || return 0
    say "Making debian:bookworm-slim"
    debootstrap --variant=minbase bookworm "$state/rootfs" >"$state/debootstrap.log" ||
        { tail -n 20 "$state/debootstrap.log" >&2; die "debootstrap failed"; }
    rm -f "$state"/rootfs/var/cache/apt/archives/*.deb
}

# start_engine OPTION…: the options are dockerd's about the network.
start_engine() {
    run=$(mktemp -d)
    export DOCKER_HOST=unix://$run/docker.sock DOCKER_BUILDKIT=0
    trap stop_engine EXIT
    say "Starting a Docker engine of its own"
    dockerd --data-root "$state/root" --exec-root "$run/exec" -p "$run/pid" -H "$DOCKER_HOST" \
        --iptables=false --ip6tables=false "$@" >"$run/log" 2>&1 &
    engine=$!
    for _ in $(seq 300); do
        docker info >/dev/null 2>&1 && break
        kill -0 "$engine" 2>/dev/null || { tail -n 20 "$run/log" >&2; die "the engine did not start"; }
        sleep 0.1
    done
    have debian:bookworm-slim || tar -C "$state/rootfs" -c . | docker import -c 'CMD ["bash"]' - debian:bookworm-slim >/dev/null
}

stop_engine() {
    docker ps -aq --filter label=millstream-test 2>/dev/null | xargs -r docker rm -f >/dev/null 2>&1 || true
    if [ -n "$engine" ]; then
        kill "$engine" 2>/dev/null || true
        wait "$engine" 2>/dev/null || true
    fi
    # What the engine mounted for its networks.
    umount "$run"/exec/netns/* 2>/dev/null || true
    rm -rf "$run"
}

have() { docker image inspect "$1" >/dev/null 2>&1; }
