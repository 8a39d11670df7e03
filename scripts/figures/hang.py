"""One thread that commits as fast as it can while the store takes every request and answers none: how long the WAL gets."""

from counting_proxy import Proxy

from .rig import connect
from .writer import run_writer

BUDGET_MB = (64 << 20) / 1e6


def measure(rig, seconds):
    print(f"a writer at full speed while the store does not answer, {seconds} s; max-sync-wal-bytes is {BUDGET_MB:.0f} MB")
    for program in rig.programs():
        name = program.name.split()[0]
        home = rig.directory(f"hang-{name}")
        path, prefix, proxy = home / "app.db", f"bench-hang-{name}", Proxy(rig.endpoint)
        db = connect(path)
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)")
        process = rig.start(program, "replicate", path, rig.url(prefix, proxy.endpoint))
        rig.wait_for("first object", lambda: rig.ltx_files(prefix), process)
        proxy.hang()
        rate, longest, wal_max = run_writer(path, seconds)
        proxy.answer()
        process.stop()
        committed = db.execute("SELECT count(*) FROM t").fetchone()[0]
        db.close()
        restored = rig.restored(prefix, home / "copy.db")
        missing = committed - restored.execute("SELECT count(*) FROM t").fetchone()[0]
        restored.close()
        print(
            f"  {program.name:<30} {rate:8.0f} commits/s  longest stall {longest:6.1f} ms  WAL up to {wal_max:5.0f} MB"
            f"  {process.peak_mb:4.0f} MB  {missing} of {committed} commits missing after the store answered and it was stopped"
        )
