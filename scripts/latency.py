"""The measurement behind scripts/latency, which starts it beside an S3 server.

Both programs replicate a database of their own to the same server at the same time and with their default settings. Commits
are isolated: one row, then a pause of random length, so that no timer of either program is in step with them. "Durable" is
when the object that holds the commit can be read from the bucket; the clock starts when COMMIT has returned.
"""

import os
import pathlib
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import s3  # noqa: E402  (beside this file)

BUCKET = "millstream-test"
PATIENCE_SECONDS = 30


class Subject:
    """One program with its database and its prefix in the bucket."""

    def __init__(self, name, binary, home, client, endpoint):
        self.name, self.client, self.prefix = name, client, f"latency-{name}"
        self.millis = []
        home = home / name
        home.mkdir()
        path = home / "app.db"
        self.db = sqlite3.connect(path, timeout=20, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)")
        url = f"s3://{BUCKET}/{self.prefix}?endpoint={endpoint}&region=us-east-1&forcePathStyle=true"
        # Litestream 0.5.17 does not start with AWS_CA_BUNDLE.
        env = {k: v for k, v in os.environ.items() if k != "AWS_CA_BUNDLE"}
        env["AWS_ACCESS_KEY_ID"] = os.environ["MILLSTREAM_TEST_S3_ACCESS_KEY"]
        env["AWS_SECRET_ACCESS_KEY"] = os.environ["MILLSTREAM_TEST_S3_SECRET_KEY"]
        self.log = home / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([binary, "replicate", str(path), url], env=env, stdout=log, stderr=log)

    def newest(self):
        """The highest TXID of level 0; 0 when there is none."""
        keys = self.client.keys(BUCKET, f"{self.prefix}/0000/")
        return max((int(key[-20:-4], 16) for key in keys), default=0)

    def wait_until_settled(self):
        """Until something is in the bucket and nothing new has come for two seconds."""
        deadline, last, since = time.monotonic() + PATIENCE_SECONDS, 0, time.monotonic()
        while time.monotonic() < deadline:
            newest = self.newest()
            if newest != last:
                last, since = newest, time.monotonic()
            if last and time.monotonic() - since > 2:
                return
            self.check_alive()
            time.sleep(0.05)
        sys.exit(f"latency: {self.name} shipped nothing in {PATIENCE_SECONDS} s\n{self.log.read_text()}")

    def commit(self):
        """Commits a row, waits for its object, and returns the object's bytes."""
        # Past compacted and deleted files the newest name still counts up.
        path = f"/{BUCKET}/{self.prefix}/0000/{{0:016x}}-{{0:016x}}.ltx".format(self.newest() + 1)
        self.db.execute("INSERT INTO t (body) VALUES (?)", ("x" * 80,))
        committed = time.monotonic()
        while True:
            status, body = self.client.request("GET", path)
            now = time.monotonic()
            if status == 200:
                self.millis.append((now - committed) * 1000)
                return body
            if now - committed > PATIENCE_SECONDS:
                sys.exit(f"latency: {self.name} did not ship a commit in {PATIENCE_SECONDS} s\n{self.log.read_text()}")
            self.check_alive()
            time.sleep(0.0005)

    def check_alive(self):
        if self.process.poll() is not None:
            sys.exit(f"latency: {self.name} ended with {self.process.returncode}\n{self.log.read_text()}")

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.db.close()


def put_millis(client, body, number):
    started = time.monotonic()
    status, _ = client.request("PUT", f"/{BUCKET}/latency-put/{number}", body)
    assert status == 200, status
    return (time.monotonic() - started) * 1000


def row(name, millis):
    millis = sorted(millis)
    at = [millis[len(millis) // 2], millis[int(len(millis) * 0.9)], millis[-1]]
    return f"| {name:<28} |" + "".join(f" {value:7.1f} |" for value in at)


def main():
    commits = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    endpoint = os.environ["MILLSTREAM_TEST_S3_ENDPOINT"]
    keys = (os.environ["MILLSTREAM_TEST_S3_ACCESS_KEY"], os.environ["MILLSTREAM_TEST_S3_SECRET_KEY"])
    client = s3.Client(endpoint, *keys)
    home = pathlib.Path(tempfile.mkdtemp(prefix="latency-"))
    binaries = {
        "millstream": os.environ["MILLSTREAM_TEST_BINARY"],
        "litestream": os.environ["MILLSTREAM_TEST_LITESTREAM"],
    }
    subjects, puts = [], []
    try:
        subjects = [Subject(name, binary, home, client, endpoint) for name, binary in binaries.items()]
        for subject in subjects:
            # The first commit wakes up what waits for a first write.
            subject.db.execute("INSERT INTO t (body) VALUES ('first')")
        for subject in subjects:
            subject.wait_until_settled()
        for number in range(commits):
            time.sleep(random.uniform(1.2, 2.2))
            random.shuffle(subjects)
            for subject in subjects:
                body = subject.commit()
                puts.append(put_millis(client, body, number))
    finally:
        for subject in subjects:
            subject.stop()
        shutil.rmtree(home, ignore_errors=True)
    print(f"{commits} isolated commits each, milliseconds (object of {len(body)} bytes)\n")
    print(f"| {'':<28} |     p50 |     p90 |     max |")
    print(f"|{'-' * 30}|--------:|--------:|--------:|")
    print(row("plain PUT of the same bytes", puts))
    print(row("millstream, commit to bucket", next(s.millis for s in subjects if s.name == "millstream")))
    print(row("Litestream 0.5.17, the same", next(s.millis for s in subjects if s.name == "litestream")))


if __name__ == "__main__":
    main()
