"""One thread that commits as fast as it can: alone, beside millstream, beside Litestream, in turns."""

import statistics
import subprocess
import sys
import time

from .rig import connect

WRITER = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
db.execute("PRAGMA synchronous = NORMAL")
{autocheckpoint}
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
    # Alone, SQLite checkpoints; beside a replicator, that does.
    code = WRITER.format(autocheckpoint="")
    output = subprocess.run([sys.executable, "-c", code, str(path), str(seconds)], check=True, capture_output=True, text=True)
    count, longest = output.stdout.split()
    return int(count) / seconds, float(longest) * 1000


def one(rig, program, number, seconds):
    """Commits per second, longest stall in ms, processor µs per commit, peak MB."""
    name = program.name.split()[0] if program else "alone"
    path = rig.directory("writer") / f"{name}-{number}.db"
    db = connect(path)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)")
    if program is None:
        rate, longest = run_writer(path, seconds)
        return rate, longest, 0.0, 0.0
    prefix = f"bench-writer-{name}-{number}"
    process = rig.start(program, "replicate", path, rig.url(prefix))
    rig.wait_for("first object", lambda: rig.ltx_files(prefix), process)
    time.sleep(1)
    before = process.cpu_now()
    rate, longest = run_writer(path, seconds)
    used = process.cpu_now() - before
    process.stop()
    db.close()
    return rate, longest, used * 1e6 / (rate * seconds), process.peak_mb


def measure(rig, seconds, rounds):
    print(f"a writer at full speed, one thread, {seconds} s, median of {rounds} rounds")
    subjects = [None, *rig.programs()]
    results = {s.name if s else "alone": [] for s in subjects}
    for number in range(rounds):
        for subject in subjects:
            results[subject.name if subject else "alone"].append(one(rig, subject, number, seconds))
    alone = statistics.median(rate for rate, *_ in results["alone"])
    for name, runs in results.items():
        rate, longest, cpu, peak = (statistics.median(column) for column in zip(*runs))
        print(
            f"  {name:<30} {rate:8.0f} commits/s  {alone / rate:5.2f} × slower  longest stall {longest:6.1f} ms"
            f"  {cpu:5.1f} µs CPU/commit  {peak:4.0f} MB"
        )
