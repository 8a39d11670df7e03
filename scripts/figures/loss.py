"""SIGKILL of everything at 50 commits a second: how much of what was committed the bucket does not have."""

import random
import statistics
import time

from .rig import connect


def measure(rig, rounds):
    print(f"lost when everything is killed at 50 commits/s, {rounds} kills each")
    for program in rig.programs():
        name = program.name.split()[0]
        losses = []
        for number in range(rounds):
            home = rig.directory(f"loss-{name}-{number}")
            path, prefix = home / "app.db", f"bench-loss-{name}-{number}"
            db = connect(path)
            db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, at REAL)")
            process = rig.start(program, "replicate", path, rig.url(prefix))
            rig.wait_for("first object", lambda: rig.objects(f"{prefix}/0000/"), process)
            end = time.monotonic() + random.uniform(2.5, 4.5)
            while time.monotonic() < end:
                db.execute("INSERT INTO t (at) VALUES (?)", (time.time(),))
                time.sleep(0.02)
            process.popen.kill()
            killed = time.time()
            process.wait()
            committed = db.execute("SELECT count(*) FROM t").fetchone()[0]
            db.close()
            restored = rig.restored(prefix, home / "copy.db")
            count, newest = restored.execute("SELECT count(*), max(at) FROM t").fetchone()
            restored.close()
            losses.append(((killed - (newest or killed)) * 1000, committed - count))
        millis = sorted(ms for ms, _ in losses)
        commits = sorted(lost for _, lost in losses)
        print(
            f"  {program.name:<30} p50 {statistics.median(millis):6.0f} ms ({statistics.median(commits):.0f} commits)"
            f"  max {millis[-1]:6.0f} ms ({commits[-1]} commits)"
        )
