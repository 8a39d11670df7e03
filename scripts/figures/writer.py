"""One thread that commits as fast as it can: alone, beside millstream, beside Litestream, in turns."""

import os
import statistics
import subprocess
import sys
import time

from .rig import MB, connect

WRITER = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
db.execute("PRAGMA synchronous = NORMAL")
insert, body, clock = db.execute, "x" * 100, time.perf_counter
count, longest, last = 0, 0.0, clock()
end = last + float(sys.argv[2])
while last < end:
    insert("INSERT INTO t (body) VALUES (?)", (body,))
    now = clock()
    longest, last, count = max(longest, now - last), now, count + 1
print(count, longest)
"""


def run_writer(path, seconds):
    """Commits per second, longest stall in ms, largest size of the WAL file in MB."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(seconds)], stdout=subprocess.PIPE, text=True)
    wal_max = 0
    while writer.poll() is None:
        try:
            wal_max = max(wal_max, os.stat(f"{path}-wal").st_size)
        except FileNotFoundError:
            pass
        time.sleep(0.01)
    count, longest = writer.stdout.read().split()
    return int(count) / seconds, float(longest) * 1000, wal_max / MB


def one(rig, program, number, seconds):
    """Commits per second, longest stall in ms, largest WAL in MB, processor µs per commit, peak MB."""
    name = program.name.split()[0] if program else "alone"
    path = rig.directory("writer") / f"{name}-{number}.db"
    db = connect(path)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)")
    if program is None:
        return *run_writer(path, seconds), 0.0, 0.0
    prefix = f"bench-writer-{name}-{number}"
    process = rig.start(program, "replicate", path, rig.url(prefix))
    rig.wait_for("first object", lambda: rig.ltx_files(prefix), process)
    time.sleep(1)
    before = process.cpu_now()
    rate, longest, wal_max = run_writer(path, seconds)
    used = process.cpu_now() - before
    process.stop()
    db.close()
    return rate, longest, wal_max, used * 1e6 / (rate * seconds), process.peak_mb


def measure(rig, seconds, rounds):
    print(f"a writer at full speed, one thread, {seconds} s, median of {rounds} rounds")
    subjects = [None, *rig.programs()]
    results = {s.name if s else "alone": [] for s in subjects}
    for number in range(rounds):
        for subject in subjects:
            results[subject.name if subject else "alone"].append(one(rig, subject, number, seconds))
    alone = statistics.median(rate for rate, *_ in results["alone"])
    for name, runs in results.items():
        rate, longest, wal_max, cpu, peak = (statistics.median(column) for column in zip(*runs))
        print(
            f"  {name:<30} {rate:8.0f} commits/s  {alone / rate:5.2f} × slower  longest stall {longest:6.1f} ms"
            f"  WAL up to {wal_max:5.0f} MB"
            f"  {cpu:5.1f} µs CPU/commit  {peak:4.0f} MB"
        )
