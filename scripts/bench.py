"""The table behind scripts/bench, which starts it beside an S3 server: every figure for both programs, in one run."""

import argparse
import os
import pathlib
import shutil
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from figures import cluster, hang, idle, loss, proxy, restore, snapshot, start, writer  # noqa: E402  (beside this file)
from figures.rig import MB, Rig  # noqa: E402

FIGURES = ["restore", "snapshot", "writer", "hang", "loss", "start", "idle", "large", "proxy", "follower", "failover"]
BY_NAME = ("large", "proxy", "follower", "failover")


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"some of {', '.join(FIGURES)}; all but {', '.join(BY_NAME)} without")
    parser.add_argument("--megabytes", type=int, default=538, help="size of the database for restore and snapshot (538)")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions (3)")
    parser.add_argument("--databases", type=int, action="append", metavar="N", help="only so many idle databases (1, 100, 1000, 10000)")
    args = parser.parse_args()
    unknown = set(args.figures) - set(FIGURES)
    if unknown:
        parser.error(f"no figure {', '.join(sorted(unknown))}; there are {', '.join(FIGURES)}")
    return args


def main():
    args = arguments()
    wanted = args.figures or [name for name in FIGURES if name not in BY_NAME]
    home = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=pathlib.Path(__file__).resolve().parent.parent / "target"))
    rig = Rig.from_environment(home)
    steps = {
        "restore": lambda: restore.measure(rig, args.megabytes, args.rounds),
        "snapshot": lambda: snapshot.measure(rig, args.megabytes),
        "writer": lambda: writer.measure(rig, 10, args.rounds),
        "hang": lambda: hang.measure(rig, 20),
        "loss": lambda: loss.measure(rig, 8),
        "start": lambda: start.measure(rig, 10),
        "idle": lambda: idle.measure(rig, args.databases or [1, 100, 1000, 10000], 30),
        "large": lambda: restore.measure_large(rig, 4096),
        # Needs nginx-light, caddy and wrk from Debian.
        "proxy": lambda: proxy.measure(rig, args.rounds),
        "follower": lambda: cluster.follower(rig, args.rounds),
        "failover": lambda: cluster.failover(rig, args.rounds),
    }
    try:
        sizes = ", ".join(f"{p.name} {os.path.getsize(p.binary) / MB:.1f} MB" for p in rig.programs())
        print(f"binaries: {sizes}; {os.cpu_count()} cores, the S3 server on the same machine\n", flush=True)
        for name in wanted:
            steps[name]()
            print(flush=True)
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
