"""What every figure needs: the programs under test, a bucket, processes that are measured, databases of a known size."""

import dataclasses
import os
import pathlib
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import s3

BUCKET = "millstream-test"
PATIENCE_SECONDS = 180
MB = 1_000_000


@dataclasses.dataclass
class Program:
    name: str
    binary: str


@dataclasses.dataclass
class Rig:
    home: pathlib.Path
    endpoint: str
    client: s3.Client
    millstream: Program
    litestream: Program

    @staticmethod
    def from_environment(home):
        endpoint = os.environ["MILLSTREAM_TEST_S3_ENDPOINT"]
        keys = (os.environ["MILLSTREAM_TEST_S3_ACCESS_KEY"], os.environ["MILLSTREAM_TEST_S3_SECRET_KEY"])
        return Rig(
            home=home,
            endpoint=endpoint,
            client=s3.Client(endpoint, *keys),
            millstream=Program("millstream", os.environ["MILLSTREAM_TEST_BINARY"]),
            litestream=Program("Litestream 0.5.17", os.environ["MILLSTREAM_TEST_LITESTREAM"]),
        )

    def programs(self):
        return [self.millstream, self.litestream]

    def url(self, prefix, endpoint=None):
        return f"s3://{BUCKET}/{prefix}?endpoint={endpoint or self.endpoint}&region=us-east-1&forcePathStyle=true"

    def environment(self):
        # Litestream 0.5.17 does not start with AWS_CA_BUNDLE.
        env = {k: v for k, v in os.environ.items() if k != "AWS_CA_BUNDLE"}
        env["AWS_ACCESS_KEY_ID"] = self.client.access_key
        env["AWS_SECRET_ACCESS_KEY"] = self.client.secret_key
        return env

    def directory(self, name):
        path = self.home / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def start(self, program, *args):
        return Measured(program, args, self.environment(), self.home / f"log-{time.monotonic_ns()}")

    def objects(self, prefix):
        """Keys and sizes below the prefix."""
        return self.client.objects(BUCKET, prefix)

    def ltx_files(self, prefix):
        return [(key, size) for key, size in self.objects(f"{prefix}/") if key.endswith(".ltx")]

    def newest(self, prefix):
        """The highest TXID of level 0; 0 when there is none."""
        return max((int(key[-20:-4], 16) for key, _ in self.objects(f"{prefix}/0000/")), default=0)

    def restored(self, prefix, path):
        """The newest state of a replica, restored to `path` and opened."""
        self.start(self.millstream, "restore", "-o", path, self.url(prefix)).succeed()
        return sqlite3.connect(path)

    def wait_for(self, what, condition, process=None):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if process is not None and process.popen.poll() is not None:
                sys.exit(f"bench: {process.program.name} ended while waiting for {what}\n{process.log_text()}")
            if time.monotonic() > deadline:
                sys.exit(f"bench: no {what} within {PATIENCE_SECONDS} s\n{process.log_text() if process else ''}")
            time.sleep(0.005)

    def download_seconds(self, objects):
        """The objects fetched in large ranges, eight at a time, into one file: what this machine can do at best."""
        part = 4 << 20
        pieces = [
            (key, at, min(part, size - at)) for key, size in objects for at in range(0, size, part)
        ]
        local = threading.local()
        target = os.open(self.home / "limit", os.O_RDWR | os.O_CREAT | os.O_TRUNC)

        def fetch(number_and_piece):
            number, (key, at, length) = number_and_piece
            if not hasattr(local, "client"):
                local.client = s3.Client(self.endpoint, self.client.access_key, self.client.secret_key)
            ranged = {"range": f"bytes={at}-{at + length - 1}"}
            status, body = local.client.request("GET", f"/{BUCKET}/{key}", headers=ranged)
            assert status == 206 and len(body) == length, (key, status, len(body))
            os.pwrite(target, body, number * part)

        started = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(fetch, enumerate(pieces)))
        os.fsync(target)
        seconds = time.monotonic() - started
        os.close(target)
        return seconds


class Measured:
    """A process whose peak memory and processor time are known when it has ended."""

    def __init__(self, program, args, env, log):
        self.program, self.log = program, log
        with open(log, "wb") as out:
            self.popen = subprocess.Popen([program.binary, *map(str, args)], env=env, stdout=out, stderr=out)
        self.started = time.monotonic()
        self.seconds = self.cpu_seconds = 0.0
        self.peak_mb = 0.0
        self.code = None
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _watch(self):
        # Not ru_maxrss: that of a young process is its parent's.
        while self.popen.returncode is None:
            self.peak_mb = max(self.peak_mb, self.status("VmHWM") / 1000)
            time.sleep(0.005)

    def status(self, field):
        """A field of /proc/PID/status in kB; 0 when the process has ended."""
        try:
            for line in pathlib.Path(f"/proc/{self.popen.pid}/status").read_text().splitlines():
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1.024
        except OSError:
            pass
        return 0

    def cpu_now(self):
        """Processor seconds so far."""
        fields = pathlib.Path(f"/proc/{self.popen.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.popen.pid}/fd"))

    def wait(self):
        _, status, usage = os.wait4(self.popen.pid, 0)
        self.seconds = time.monotonic() - self.started
        self.cpu_seconds = usage.ru_utime + usage.ru_stime
        self.code = self.popen.returncode = os.waitstatus_to_exitcode(status)
        self._watcher.join()
        return self

    def succeed(self):
        self.wait()
        if self.code != 0:
            sys.exit(f"bench: {self.program.name} ended with {self.code}\n{self.log_text()}")
        return self

    def stop(self):
        if self.popen.returncode is None:
            self.popen.terminate()
            self.wait()
        return self

    def log_text(self):
        return self.log.read_text(errors="replace")[-4000:]


def connect(path):
    db = sqlite3.connect(path, timeout=20, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    return db


def make_database(path, megabytes):
    """Rows of which about half compresses, as text does."""
    db = connect(path)
    db.execute("PRAGMA synchronous = OFF")
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB)")
    words = b"the quick brown fox jumps over the lazy dog and runs away; " * 9
    count = megabytes * MB // 1040
    for first in range(0, count, 20_000):
        rows = ((os.urandom(480) + words[:510],) for _ in range(min(20_000, count - first)))
        db.execute("BEGIN")
        db.executemany("INSERT INTO t (body) VALUES (?)", rows)
        db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    return path.stat().st_size
