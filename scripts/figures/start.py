"""From `replicate -exec` on an existing database to the first instruction of the child."""

import statistics
import time

from .rig import connect


def measure(rig, rounds):
    home = rig.directory("start")
    print(f"`replicate -exec` to the child's first instruction, median of {rounds}")
    for program in rig.programs():
        name = program.name.split()[0]
        path, stamp = home / f"{name}.db", home / f"{name}.stamp"
        db = connect(path)
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
        db.close()
        millis = []
        for _ in range(rounds):
            child = f"/bin/date +%s.%N"
            before = time.time()
            process = rig.start(program, "replicate", "-exec", child, path, rig.url(f"bench-start-{name}"))
            process.wait()
            stamps = [line for line in process.log_text().splitlines() if line.replace(".", "").isdigit()]
            if not stamps:
                raise SystemExit(f"bench: no child of {program.name}\n{process.log_text()}")
            millis.append((float(stamps[0]) - before) * 1000)
        print(f"  {program.name:<30} {statistics.median(millis):6.1f} ms  (largest {max(millis):.1f})")
