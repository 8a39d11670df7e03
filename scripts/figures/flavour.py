#!/usr/bin/env python3
"""The two flavours of LTX side by side: processor time and size of a page, compression and checksums included.

flavour.py [--megabytes N] [--rounds N]. Needs no server: it builds the codec alone and runs it over three databases.
"""

import argparse
import os
import pathlib
import shutil
import sqlite3
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def build():
    """Millstream's lock file decides the versions; what the codec does not need drops out of the copy."""
    package = ROOT / "target/flavour"
    package.mkdir(parents=True, exist_ok=True)
    manifest = (HERE / "flavour/Cargo.toml").read_text().replace('"main.rs"', f'"{HERE}/flavour/main.rs"')
    (package / "Cargo.toml").write_text(manifest)
    shutil.copy(ROOT / "Cargo.lock", package)
    subprocess.run(["cargo", "build", "--quiet", "--release", "--target-dir", package / "target"], cwd=package, check=True)
    return package / "target/release/flavour"


def fill(path, page_size, megabytes, body):
    database = sqlite3.connect(path, isolation_level=None)
    database.execute(f"PRAGMA page_size = {page_size}")
    database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB)")
    database.execute("BEGIN")
    size = len(body(0))
    database.executemany("INSERT INTO t (body) VALUES (?)", ((body(n),) for n in range(megabytes * 1_000_000 // size)))
    database.execute("COMMIT")
    database.close()


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench flavour", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=64, help="size of each database (64)")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions (5)")
    args = parser.parse_args()
    program = build()
    words = b"the quick brown fox jumps over the lazy dog and runs away; " * 9
    kinds = [
        ("half of it compresses", 4096, lambda n: os.urandom(480) + words[:510]),
        ("text", 4096, lambda n: f"row {n} of {n * 7919 % 10007}: ".encode() + words[: 100 + n % 300]),
        ("nothing compresses", 4096, lambda n: os.urandom(4050)),
        ("half of it compresses", 65536, lambda n: os.urandom(480) + words[:510]),
    ]
    print(f"a page of LTX in either flavour, best of {args.rounds} rounds in turns, {args.megabytes} MB each")
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as scratch:
        for name, page_size, body in kinds:
            path = pathlib.Path(scratch) / f"{page_size}-{name.split()[0]}.db"
            fill(path, page_size, args.megabytes, body)
            print(f"  pages of {page_size} bytes, {name}", flush=True)
            subprocess.run([program, path, str(args.rounds)], check=True)


if __name__ == "__main__":
    main()
