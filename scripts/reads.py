"""Reads of live copies while they are brought forward; see scripts/reads. tests/it/follower.py writes and reads."""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
MEMBER = ROOT / "tests/it/follower.py"
MILLSTREAM, LITESTREAM = os.environ["MILLSTREAM_TEST_BINARY"], os.environ["MILLSTREAM_TEST_LITESTREAM"]
ROUND_SECONDS = 30


def environment():
    # Litestream 0.5.17 does not start with AWS_CA_BUNDLE.
    env = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
    env["AWS_ACCESS_KEY_ID"] = os.environ["MILLSTREAM_TEST_S3_ACCESS_KEY"]
    env["AWS_SECRET_ACCESS_KEY"] = os.environ["MILLSTREAM_TEST_S3_SECRET_KEY"]
    return env


def member(*args):
    return subprocess.Popen([sys.executable, MEMBER, *map(str, args)], stdout=subprocess.PIPE, text=True)


def reads_of_a_round(place, number, args):
    """How many reads there were, how many different states they saw, and what was wrong."""
    home = place / f"round-{number}"
    home.mkdir()
    endpoint = os.environ["MILLSTREAM_TEST_S3_ENDPOINT"]
    url = f"s3://millstream-test/reads-{uuid.uuid4()}?endpoint={endpoint}&region=us-east-1&forcePathStyle=true"
    env, log = environment(), open(home / "log", "w")
    source = home / "source.db"
    writer = member("write", source, ROUND_SECONDS + 5, number)
    while not source.exists():
        time.sleep(0.01)
    processes = [subprocess.Popen([MILLSTREAM, "replicate", source, url], env=env, stdout=log, stderr=log)]
    copies = [home / f"copy-{n}.db" for n in range(args.copies)]
    # The first upload is waited for.
    time.sleep(2)
    for copy in copies:
        if args.litestream:
            command = [LITESTREAM, "restore", "-f", "-follow-interval", "100ms", "-o", copy, url]
        else:
            command = [MILLSTREAM, "follow", "-interval", "100ms", "-o", copy, url]
        processes.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))
    readers = [member("read", copy, ROUND_SECONDS) for copy in copies for _ in range(args.readers)]
    reads = states = violations = 0
    for reader in readers:
        said = reader.communicate()[0]
        counted = re.search(r"read (\d+), (\d+) states, (\d+) violations", said)
        if counted:
            reads, states, violations = reads + int(counted[1]), states + int(counted[2]), violations + int(counted[3])
        else:
            # It met an error of SQLite, such as a malformed page.
            violations += 1
    writer.wait()
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()
    if states <= len(readers) and args.litestream:
        # A reader that keeps it open keeps its follower out.
        print(f"the copies stood still: {len(readers)} readers saw {states} states")
        sys.exit(0)
    if states <= len(readers):
        sys.exit(f"reads: the copies did not move\n{(home / 'log').read_text()[-3000:]}")
    return reads, states, violations


def main():
    parser = argparse.ArgumentParser(prog="scripts/reads", description="Reads of live copies while they are brought forward.")
    parser.add_argument("--reads", type=int, default=100_000)
    parser.add_argument("--copies", type=int, default=2)
    parser.add_argument("--readers", type=int, default=2, help="of each copy")
    parser.add_argument("--litestream", action="store_true", help="of Litestream's copies: violations, or a standstill, must be found")
    args = parser.parse_args()
    total = [0, 0, 0]
    with tempfile.TemporaryDirectory(prefix="reads-") as place:
        number = 0
        while total[0] < args.reads:
            number += 1
            total = [a + b for a, b in zip(total, reads_of_a_round(pathlib.Path(place), number, args))]
            print(f"{total[0]} reads of {total[1]} states: {total[2]} violations", flush=True)
            if args.litestream and total[2]:
                break
    sys.exit(0 if bool(total[2]) == args.litestream else 1)


main()
