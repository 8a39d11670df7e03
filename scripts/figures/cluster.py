"""A cluster: how far a follower is behind the primary's commits, what followers cost the primary, and how long a failover takes."""

import sqlite3
import statistics
import sys
import threading
import time

import machines

from .rig import BUCKET

SECRET = "0123456789abcdef0123456789abcdef"
TTL_SECONDS = 5

# Commits as it is told while it may; what it committed and when is in its rows.
APPLICATION = """
import os, sqlite3, sys, time
path, pause = sys.argv[1], float(sys.argv[2])
db = sqlite3.connect(path, timeout=0, isolation_level=None)
made = False
while True:
    try:
        if not made:
            db.execute("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, at REAL, node TEXT)")
            db.execute("PRAGMA synchronous = NORMAL")
            made = True
        db.execute("INSERT INTO t (at, node) VALUES (?, ?)", (time.time(), sys.argv[3]))
        if pause:
            time.sleep(pause)
    except sqlite3.OperationalError:
        time.sleep(0.005)
"""


class Node:
    def __init__(self, rig, name, prefix, pushes, pause, ttl=TTL_SECONDS):
        self.rig, self.name = rig, name
        home = rig.directory(f"{prefix}-{name}")
        self.path = home / "app.db"
        keys = f"node: {name}, ttl: {ttl}s"
        if pushes:
            own = f"127.0.0.1:{machines.free_port()}"
            keys += f", listen: '{own}', advertise: 'http://{own}', secret: {SECRET}"
        config = home / "millstream.yml"
        config.write_text(
            f"cluster: {{{keys}}}\ndbs:\n  - path: {self.path}\n    optional: true\n    replica:\n      url: \"{rig.url(prefix)}\"\n"
        )
        application = [sys.executable, "-c", APPLICATION, self.path, str(pause), name]
        self.process = rig.start(rig.millstream, "run", "-config", config, "--", *application)

    def rows(self):
        try:
            db = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
            try:
                return db.execute("SELECT coalesce(max(id), 0) FROM t").fetchone()[0]
            finally:
                db.close()
        except sqlite3.Error:
            return 0

    def kill(self):
        machines.kill(self.process.popen)
        self.process.wait()


def start(rig, prefix, names, pushes, pause, ttl=TTL_SECONDS):
    nodes = []
    for name in names:
        node = Node(rig, name, prefix, pushes, pause, ttl)
        rig.wait_for("rows", lambda: node.rows() > 5, node.process)
        nodes.append(node)
    # Connected, and at the newest state.
    time.sleep(3)
    return nodes


def watch(path, seconds, lags):
    """The time from a commit until a reader of this copy sees it."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    last = db.execute("SELECT max(id) FROM t").fetchone()[0]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        rows = db.execute("SELECT id, at FROM t WHERE id > ?", (last,)).fetchall()
        now = time.time()
        lags.extend(1000 * (now - at) for _, at in rows)
        if rows:
            last = rows[-1][0]
        time.sleep(0.001)
    db.close()


def put_times(rig, prefix, seconds):
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        status, _ = rig.client.request("PUT", f"/{BUCKET}/{prefix}/put-{len(times)}", b"x" * 700)
        assert status == 200, status
        times.append(1000 * (time.monotonic() - began))
        time.sleep(0.05)
    return times


def shown(millis):
    ordered = sorted(millis)
    return f"p50 {statistics.median(ordered):6.1f} ms  p99 {ordered[len(ordered) * 99 // 100]:6.1f} ms  ({len(ordered)})"


def lag(rig, pushes, pause, seconds):
    prefix = f"bench-follower-{'push' if pushes else 'bucket'}-{time.monotonic_ns()}"
    nodes = start(rig, prefix, ["a", "b"], pushes, pause)
    lags = []
    watching = threading.Thread(target=watch, args=(nodes[1].path, seconds, lags))
    watching.start()
    puts = put_times(rig, prefix + "-put", seconds)
    watching.join()
    for node in reversed(nodes):
        node.process.stop()
    way, rate = "push" if pushes else "the bucket", round(1 / pause)
    print(f"  {rate:3} commits/s, by {way:10}: behind {shown(lags)}   a PUT beside it {shown(puts)}", flush=True)


def throughput(rig, followers, seconds):
    prefix = f"bench-writes-{followers}-{time.monotonic_ns()}"
    nodes = start(rig, prefix, ["a", "b", "c"][: 1 + followers], True, 0)
    # Not the row count of this moment: a busy writer lets no other program ask at once.
    counted = sqlite3.connect(f"file:{nodes[0].path}?mode=ro", uri=True, timeout=30)
    newest = lambda: (counted.execute("SELECT max(id) FROM t").fetchone()[0], time.monotonic())
    (before, began), _, (after, ended) = newest(), time.sleep(seconds), newest()
    counted.close()
    rate = (after - before) / (ended - began)
    for node in reversed(nodes):
        node.process.stop()
    return rate


def follower(rig, rounds):
    print(f"from a commit of the primary until a reader of a follower sees it, {rounds} rounds of 15 s")
    for _ in range(rounds):
        for pushes in (True, False):
            lag(rig, pushes, 0.25, 15)
        # Several commits share an upload.
        lag(rig, True, 0.05, 10)
    ratios = []
    for _ in range(rounds):
        alone, two = throughput(rig, 0, 8), throughput(rig, 2, 8)
        ratios.append(two / alone)
        print(f"  commits in a tight loop: alone {alone:.0f}/s, with two followers {two:.0f}/s, ratio {two / alone:.2f}", flush=True)
    print(f"  ratio, median: {statistics.median(ratios):.2f}")


def failover(rig, rounds):
    print(f"SIGKILL of the primary until the first commit elsewhere, {rounds} kills each")
    for ttl in (5, 15):
        times = []
        for _ in range(rounds):
            prefix = f"bench-failover-{time.monotonic_ns()}"
            a, b = start(rig, prefix, ["a", "b"], True, 0.02, ttl)
            killed = time.time()
            a.kill()
            first = lambda: sqlite3.connect(f"file:{b.path}?mode=ro", uri=True).execute(
                "SELECT min(at) FROM t WHERE node = 'b'"
            ).fetchone()[0]
            rig.wait_for("a commit elsewhere", lambda: first() is not None, b.process)
            times.append(first() - killed)
            b.process.stop()
        ordered = ", ".join(f"{seconds:.2f}" for seconds in sorted(times))
        print(f"  ttl {ttl:2} s: {ordered} s; the longest is the ttl and {max(times) - ttl:.2f} s", flush=True)
