"""The measurement behind scripts/requests, which starts it beside an S3 server.

Six databases, one per program and load, are replicated to one server at the same time, each through a counting proxy of its own.
Time runs FACTOR times as fast: every interval of both programs' configuration is divided by it, and so are the pauses between
writes. What is counted is one hour of that time; what comes before it, a quarter of an hour with the first upload, its
compaction and the first deletions, is counted apart.

What cannot be scaled, and what that does to the figures:

- Requests take their real time. Where many are due at once a program that has one PUT in flight at a time falls behind, and
  commits leave together: the fewer level-0 objects, the more that happened. The table shows commits beside them.
- Litestream compares ages by LastModified, which counts whole seconds: FACTOR seconds of this time.
- millstream keeps what it may delete for another minute (or as long as l0-retention, if that is shorter): the same requests,
  only later.
- Snapshots are daily, and the hour has none: a month has 30 of them, less than a cent.
- Idle databases are not written to at all. After a last write compaction takes an hour to reach level 3, and a day later
  there is one snapshot: ten requests or so, and then nothing either.
- Retries, timeouts and backoffs are real time; none of them happens on a healthy server.
- Storage is what lies there after the hour, not after a day of it.
"""

import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import s3  # noqa: E402  (beside this file)
from counting_proxy import Counts, Proxy  # noqa: E402

BUCKET = "millstream-test"
HOURS_PER_MONTH = 730
SETTLING_SECONDS = 900
# "S3 list price us-east-1", standard storage class, as published in 2025; dollars.
PER_1000 = {"WRITE": 0.005, "READ": 0.0004, "DELETE": 0.0}
PER_GB_MONTH = 0.023
# The pause between writes, seconds; None: no writes.
LOADS = {"idle": None, "1 write a minute": 60, "1 write a second": 1}

# Both programs' defaults, divided.
CONFIG = """
access-key-id: {access_key}
secret-access-key: {secret_key}
levels: [{{interval: {s30}}}, {{interval: {m5}}}, {{interval: {h1}}}]
snapshot: {{interval: {h24}, retention: {h24}}}
l0-retention: {m5}
l0-retention-check-interval: {s15}
dbs:
  - path: {path}
    monitor-interval: {s1}
    checkpoint-interval: {m1}
    replica:
      type: s3
      bucket: {bucket}
      path: {prefix}
      endpoint: {endpoint}
      region: us-east-1
      force-path-style: true
      sync-interval: {s1}
{of_03}
"""
# A key of Litestream 0.3, which 0.5 does not know (and has no interval to divide).
ONLY_MILLSTREAM = "      retention-check-interval: {h1}"


def config_for(name, factor, **values):
    spans = {"s1": 1, "s15": 15, "s30": 30, "m1": 60, "m5": 300, "h1": 3600, "h24": 86400}
    values |= {key: f"{seconds * 1e6 / factor:.0f}us" for key, seconds in spans.items()}
    of_03 = ONLY_MILLSTREAM.format(**values) if name == "millstream" else ""
    return CONFIG.format(of_03=of_03, **values)


class Subject:
    """One program under one load, with its database, its prefix in the bucket and its proxy."""

    def __init__(self, name, binary, load, home, endpoint, factor):
        self.name, self.load, self.prefix = name, load, f"requests-{name}-{load}".replace(" ", "-").lower()
        self.proxy = Proxy(endpoint)
        home = home / self.prefix
        home.mkdir()
        path = home / "app.db"
        self.db = sqlite3.connect(path, timeout=20, isolation_level=None, check_same_thread=False)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)")
        self.commits = 0
        config = home / "litestream.yml"
        config.write_text(
            config_for(
                name,
                factor,
                path=path,
                bucket=BUCKET,
                prefix=self.prefix,
                endpoint=self.proxy.endpoint,
                access_key=os.environ["MILLSTREAM_TEST_S3_ACCESS_KEY"],
                secret_key=os.environ["MILLSTREAM_TEST_S3_SECRET_KEY"],
            )
        )
        # Litestream 0.5.17 does not start with AWS_CA_BUNDLE.
        env = {key: value for key, value in os.environ.items() if key != "AWS_CA_BUNDLE"}
        self.log = home / "log"
        with open(self.log, "wb") as log:
            command = [binary, "replicate", "-config", str(config)]
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log)

    def commit(self):
        self.db.execute("INSERT INTO t (body) VALUES (?)", ("x" * 80,))
        self.commits += 1

    def check(self):
        if self.process.poll() is not None:
            sys.exit(f"requests: {self.prefix} ended with {self.process.returncode}\n{self.log.read_text()}")
        if self.proxy.broken:
            sys.exit(f"requests: {self.prefix}: {self.proxy.broken[0]}")

    def mark(self):
        """The measured hour begins."""
        self.before, self.commits = self.proxy.read(), 0

    def measure(self):
        """It has ended."""
        self.check()
        self.at_start, self.hour = self.before.since(Counts()), self.proxy.read().since(self.before)

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.db.close()


def write(subjects, pause, until):
    """Commits to all of them at the same moments, on a schedule that does not drift."""
    due = time.monotonic()
    while (due := due + pause) < until:
        time.sleep(max(0, due - time.monotonic()))
        for subject in subjects:
            subject.commit()


def live(subjects, factor, seconds):
    """Some time of their life."""
    until = time.monotonic() + seconds / factor
    writers = []
    for load, pause in LOADS.items():
        if pause:
            pair = [subject for subject in subjects if subject.load == load]
            writers.append(threading.Thread(target=write, args=(pair, pause / factor, until)))
    for writer in writers:
        writer.start()
    while time.monotonic() < until:
        time.sleep(0.2)
        for subject in subjects:
            subject.check()
    for writer in writers:
        writer.join()


def dollars(kinds, stored):
    requests = sum(kinds[kind] * price / 1000 for kind, price in PER_1000.items()) * HOURS_PER_MONTH
    return requests + stored / 1e9 * PER_GB_MONTH


def tables(subjects, verbose):
    yield "One hour\n"
    yield f"| {'load':<16} | {'program':<17} | commits | PUT, COPY, POST, LIST | GET, HEAD | DELETE |   up kB | down kB |"
    yield f"|{'-' * 18}|{'-' * 19}|--------:|----------------------:|----------:|-------:|--------:|--------:|"
    for subject in subjects:
        hour, kinds = subject.hour, subject.hour.kinds
        yield (
            f"| {subject.load:<16} | {subject.name:<17} | {subject.commits:7} | {kinds['WRITE']:21} | {kinds['READ']:9} |"
            f" {kinds['DELETE']:6} | {hour.up / 1000:7.0f} | {hour.down / 1000:7.0f} |"
        )
    yield "\nOne month of such hours, at the S3 list price us-east-1 (requests and storage); and what the start took\n"
    yield f"| {'load':<16} | {'program':<17} | PUT, COPY, POST, LIST | GET, HEAD | stored kB | $ a month | requests at start |"
    yield f"|{'-' * 18}|{'-' * 19}|----------------------:|----------:|----------:|----------:|------------------:|"
    for subject in subjects:
        kinds = subject.hour.kinds
        yield (
            f"| {subject.load:<16} | {subject.name:<17} | {kinds['WRITE'] * HOURS_PER_MONTH:21} |"
            f" {kinds['READ'] * HOURS_PER_MONTH:9} | {subject.stored / 1000:9.0f} | {dollars(kinds, subject.stored):9.2f} |"
            f" {sum(subject.at_start.kinds.values()):17} |"
        )
    if verbose:
        for subject in subjects:
            yield f"\n{subject.name}, {subject.load}"
            for when, counts in (("at start", subject.at_start), ("the hour", subject.hour)):
                for shape, count in sorted(counts.shapes.items()):
                    yield f"  {when}  {count:6}  {shape}"


def main():
    arguments = sys.argv[1:]
    verbose = "-v" in arguments
    arguments = [argument for argument in arguments if argument != "-v"]
    factor = float(arguments[0]) if arguments else 24
    endpoint = os.environ["MILLSTREAM_TEST_S3_ENDPOINT"]
    client = s3.Client(
        endpoint, os.environ["MILLSTREAM_TEST_S3_ACCESS_KEY"], os.environ["MILLSTREAM_TEST_S3_SECRET_KEY"]
    )
    binaries = {
        "millstream": os.environ["MILLSTREAM_TEST_BINARY"],
        "Litestream 0.5.17": os.environ["MILLSTREAM_TEST_LITESTREAM"],
    }
    home = pathlib.Path(tempfile.mkdtemp(prefix="requests-"))
    subjects = []
    try:
        for load in LOADS:
            for name, binary in binaries.items():
                subjects.append(Subject(name, binary, load, home, endpoint, factor))
        live(subjects, factor, SETTLING_SECONDS)
        for subject in subjects:
            subject.mark()
        live(subjects, factor, 3600)
        for subject in subjects:
            subject.measure()
        for subject in subjects:
            subject.stored = sum(size for _, size in client.objects(BUCKET, subject.prefix + "/"))
    finally:
        for subject in subjects:
            subject.stop()
        shutil.rmtree(home, ignore_errors=True)
    print(f"Time runs {factor:g} times as fast as in real life; every interval is a {factor:g}th of its default.\n")
    print("\n".join(tables(subjects, verbose)))
    idle = next(subject for subject in subjects if (subject.name, subject.load) == ("millstream", "idle"))
    if idle.hour.kinds:
        sys.exit(f"requests: an idle millstream made requests: {dict(idle.hour.shapes)}")


if __name__ == "__main__":
    main()
