"""A restore of a snapshot and 60 increments; the replica is Litestream's own, and both programs read the same objects."""

import hashlib
import random

from .rig import MB, connect, make_database

INCREMENTS = 60
ROWS_PER_INCREMENT = 400


def prepare(rig, megabytes):
    home = rig.directory("restore")
    path = home / "app.db"
    size = make_database(path, megabytes)
    prefix = "bench-restore"
    config = home / "litestream.yml"
    config.write_text(f"dbs: [{{path: {path}, replica: {{url: '{rig.url(prefix)}', sync-interval: 100ms}}}}]\n")
    process = rig.start(rig.litestream, "replicate", "-config", config)
    rig.wait_for("snapshot", lambda: rig.objects(f"{prefix}/0009/"), process)
    db = connect(path)
    rows = db.execute("SELECT max(id) FROM t").fetchone()[0]
    for _ in range(INCREMENTS):
        before = rig.newest(prefix)
        db.execute("BEGIN")
        for row in random.sample(range(1, rows), ROWS_PER_INCREMENT):
            db.execute("UPDATE t SET body = randomblob(990) WHERE id = ?", (row,))
        db.execute("COMMIT")
        rig.wait_for("increment", lambda: rig.newest(prefix) > before, process)
    process.stop()
    db.close()
    return prefix, size


def newest_chain(rig, prefix):
    """The newest snapshot and the level-0 files after it."""
    snapshot = max(rig.objects(f"{prefix}/0009/"))
    end = snapshot[0][-20:-4]
    return [snapshot, *(file for file in rig.objects(f"{prefix}/0000/") if file[0][-20:-4] > end)]


def measure(rig, megabytes, rounds):
    prefix, size = prepare(rig, megabytes)
    objects = newest_chain(rig, prefix)
    print(f"restore of {size // MB} MB: {len(objects)} objects, {sum(s for _, s in objects) // MB} MB, best of {rounds}")
    limit = min(rig.download_seconds(objects) for _ in range(rounds))
    print(f"  the same objects downloaded     {limit:6.2f} s")
    hashes = set()
    for program in rig.programs():
        best = None
        for number in range(rounds):
            output = rig.directory("restore") / f"{program.name}-{number}.db"
            run = rig.start(program, "restore", "-o", output, rig.url(prefix)).succeed()
            with open(output, "rb") as restored:
                hashes.add(hashlib.file_digest(restored, "sha256").hexdigest())
            output.unlink()
            best = run if best is None or run.seconds < best.seconds else best
        rate = size / MB / best.seconds
        print(f"  {program.name:<30} {best.seconds:6.2f} s  {rate:6.0f} MB/s  {best.cpu_seconds:5.2f} s CPU  {best.peak_mb:4.0f} MB")
    if len(hashes) != 1:
        raise SystemExit("bench: the restored databases differ")


def measure_large(rig, mebibytes):
    """Memory must not grow with the database."""
    home = rig.directory("large")
    path = home / "app.db"
    size = make_database(path, mebibytes * 1049 // 1000)
    print(f"peak memory with a database of {size / (1 << 30):.1f} GiB")
    for program in rig.programs():
        prefix = f"bench-large-{program.name.split()[0]}"
        process = rig.start(program, "replicate", path, rig.url(prefix))
        rig.wait_for("first image", lambda: rig.ltx_files(prefix), process)
        process.stop()
        output = home / "restored.db"
        run = rig.start(program, "restore", "-o", output, rig.url(prefix)).succeed()
        output.unlink()
        print(f"  {program.name:<30} up {process.peak_mb:4.0f} MB  down {run.peak_mb:4.0f} MB in {run.seconds:.0f} s")
