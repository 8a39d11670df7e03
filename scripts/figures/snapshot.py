"""The first full image of a database that exists already: from the start of the program until a restore is possible."""

import time

from .rig import MB, make_database


def measure(rig, megabytes):
    home = rig.directory("snapshot")
    path = home / "app.db"
    size = make_database(path, megabytes)
    print(f"first image of {size // MB} MB, until it is in the bucket")
    for program in rig.programs():
        prefix = f"bench-snapshot-{program.name.split()[0]}"
        process = rig.start(program, "replicate", path, rig.url(prefix))
        rig.wait_for("first image", lambda: rig.ltx_files(prefix), process)
        seconds = time.monotonic() - process.started
        # What follows (Litestream's snapshot, say) belongs to the cost, not to the time.
        time.sleep(8)
        process.stop()
        sent = sum(s for _, s in rig.ltx_files(prefix)) // MB
        print(
            f"  {program.name:<30} {seconds:6.2f} s  {process.cpu_seconds:5.2f} s CPU  {process.peak_mb:4.0f} MB  {sent} MB in the bucket"
        )
