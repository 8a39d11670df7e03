#!/usr/bin/env bash
# deb.sh DEB WORK: installs, upgrades, removes and purges a Debian package on a copy of this machine's root.
# The copy is an overlay in a mount namespace of its own: nothing of it is left.
set -euo pipefail
if [ -z "${IN_NAMESPACE:-}" ]; then
    IN_NAMESPACE=1 exec unshare --mount --propagation private "$0" "$@"
fi
deb=$(realpath "$1")
work=$2
mount -t tmpfs tmpfs "$work"
mkdir "$work/upper" "$work/work" "$work/root"
mount -t overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" overlay "$work/root"
root=$work/root
for dir in dev proc sys; do mount --rbind "/$dir" "$root/$dir"; done
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/run"
cp "$deb" "$root/run/millstream.deb"
inside() { chroot "$root" "$@"; }
expect() { "$@" || { echo "failed: $*" >&2; exit 1; }; }
absent() { [ ! -e "$root/$1" ] || { echo "is there: $1" >&2; exit 1; }; }
listed() { inside dpkg-query -W -f '${db:Status-Abbrev}' millstream; }

absent usr/bin/millstream
inside dpkg --install /run/millstream.deb
expect test "$(listed)" = "ii "
expect test "$(inside dpkg-query -W -f '${Version}' millstream)" = "$(inside millstream version)"
# Nothing is replicated before there is a configuration, and the one of Litestream's own package is left alone.
absent etc/litestream.yml
absent etc/systemd/system/multi-user.target.wants/millstream.service
expect inside dpkg --verify millstream
expect inside bash -c '. /usr/share/bash-completion/completions/millstream && complete -p millstream'
expect inside bash -c 'zcat /usr/share/man/man1/millstream-restore.1.gz | grep -q "^\.TH"'
if command -v systemd-analyze >/dev/null; then
    expect inside env SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no /usr/lib/systemd/system/millstream.service
fi

# What it is for: a database that comes back.
mkdir "$root/run/data"
inside python3 - <<'EOF'
import sqlite3
db = sqlite3.connect("/run/data/app.db")
db.execute("CREATE TABLE t (x)")
db.execute("INSERT INTO t VALUES (17)")
db.commit()
EOF
printf 'dbs:\n  - path: /run/data/app.db\n    replica: {url: "file:///run/replica"}\n' >"$root/etc/litestream.yml"
inside millstream replicate -once -q
rm "$root"/run/data/*
inside millstream restore -q /run/data/app.db
expect test "$(inside python3 -c 'import sqlite3; print(sqlite3.connect("/run/data/app.db").execute("SELECT x FROM t").fetchone()[0])')" = 17

# A file of ours that was edited stays as it is, until the package is purged.
echo 'MILLSTREAM_OPTIONS="-log-level debug"' >>"$root/etc/default/millstream"
inside dpkg --install --force-confdef /run/millstream.deb
expect grep -q '^MILLSTREAM_OPTIONS' "$root/etc/default/millstream"
inside dpkg --remove millstream
absent usr/bin/millstream
absent usr/share/man/man1/millstream.1.gz
expect grep -q '^MILLSTREAM_OPTIONS' "$root/etc/default/millstream"
inside dpkg --purge millstream
absent etc/default/millstream
absent usr/share/doc/millstream
expect test -e "$root/etc/litestream.yml"
echo "installed, used, installed again, removed, purged"
