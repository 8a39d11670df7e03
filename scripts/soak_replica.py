"""The replica of scripts/soak.py as it really lies there: listed, frozen and damaged without either program under test.

What can be restored is worked out here a second time, by plain reachability: a file takes a database from any TXID in
min-1 … max-1 to max. No rule about which file is best is needed for that, so it shares nothing with the planners it judges.
"""

import os
import pathlib
import re
import shutil
import time
from typing import NamedTuple

import s3

BUCKET = "millstream-test"
NAME = re.compile(r"(?:ltx/)?(\d+)/([0-9a-f]{16})-([0-9a-f]{16})\.ltx$")
HEADER_LEN = 100


class File(NamedTuple):
    level: int
    min: int
    max: int
    name: str


def files(names):
    """The LTX files among these names."""
    found = []
    for name in names:
        # Levels of S3 have four digits, in hexadecimal; there are ten.
        if match := NAME.match(name):
            level, low, high = int(match[1]), int(match[2], 16), int(match[3], 16)
            found.append(File(level, low, high, name))
    return found


def reachable(files):
    """Every TXID at which a database made of these files can end, ascending."""
    ends = []
    for file in sorted(files, key=lambda f: f.max):
        connects = file.min == 1 or any(file.min - 1 <= end < file.max for end in ends)
        if connects and (not ends or ends[-1] != file.max):
            ends.append(file.max)
    return ends


def moment_of(header):
    """When the newest transaction in the file was shipped, from the file itself: Unix milliseconds."""
    return int.from_bytes(header[32:40], "big", signed=True)


class S3Replica:
    """A prefix. Every thread that looks at it needs an instance of its own: one connection each."""

    def __init__(self, endpoint, keys, prefix):
        self.endpoint, self.access, self.prefix = endpoint, keys, prefix
        # A busy machine may let a request wait.
        self.client = s3.Client(endpoint, *keys, timeout=60)

    def again(self):
        return S3Replica(self.endpoint, self.access, self.prefix)

    def url(self):
        return f"s3://{BUCKET}/{self.prefix}?endpoint={self.endpoint}&region=us-east-1&forcePathStyle=true"

    def names(self):
        try:
            keys = self.client.keys(BUCKET, f"{self.prefix}/")
        except OSError:
            # The server closes what was idle for long.
            keys = self.client.keys(BUCKET, f"{self.prefix}/")
        return [key[len(self.prefix) + 1 :] for key in keys]

    def read(self, name, limit=None):
        """The bytes, or `None` when the object is gone."""
        headers = {"range": f"bytes=0-{limit - 1}"} if limit else {}
        status, body = self.client.request("GET", f"/{BUCKET}/{self.prefix}/{name}", headers=headers)
        if status not in (200, 206, 404):
            raise OSError(f"GET {name}: HTTP {status}")
        return body if status != 404 else None

    def write(self, name, body):
        status, _ = self.client.request("PUT", f"/{BUCKET}/{self.prefix}/{name}", body)
        assert status == 200, status

    def remove(self, name):
        self.client.request("DELETE", f"/{BUCKET}/{self.prefix}/{name}")

    def copy_to(self, number, names):
        copy = S3Replica(self.endpoint, self.access, f"{self.prefix}-frozen-{number}")
        whole = all(self.client.copy(BUCKET, f"{self.prefix}/{n}", f"{copy.prefix}/{n}") for n in names)
        return copy, whole

    def drop(self):
        for name in self.names():
            self.remove(name)


class FileReplica:
    """A directory."""

    def __init__(self, root):
        self.root = pathlib.Path(root)

    def again(self):
        return self

    def url(self):
        return f"file://{self.root}"

    def names(self):
        found = []
        for folder, _, names in os.walk(self.root):
            found += [str((pathlib.Path(folder) / name).relative_to(self.root)) for name in names]
        return [name for name in found if not name.endswith(".tmp")]

    def read(self, name, limit=None):
        try:
            with open(self.root / name, "rb") as file:
                return file.read(limit or -1)
        except FileNotFoundError:
            return None

    def write(self, name, body):
        # Restores by time go by the time of the file.
        stat = os.stat(self.root / name)
        (self.root / name).unlink()
        (self.root / name).write_bytes(body)
        os.utime(self.root / name, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    def remove(self, name):
        (self.root / name).unlink(missing_ok=True)

    def copy_to(self, number, names):
        copy = FileReplica(f"{self.root}-frozen-{number}")
        for name in names:
            (copy.root / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copy2(self.root / name, copy.root / name)
            except FileNotFoundError:
                return copy, False
        return copy, True

    def drop(self):
        shutil.rmtree(self.root, ignore_errors=True)


class Frozen:
    """One moment of a replica, at a place of its own: what two programs say about it can be compared."""

    def __init__(self, replica, number):
        while True:
            listed = files(replica.names())
            self.replica, whole = replica.copy_to(number, [file.name for file in listed])
            if whole:
                break
            # Something was deleted between the LIST and the copy: that was no moment of it.
            self.replica.drop()
            time.sleep(0.05)
        self.files = [(file, moment_of(self.replica.read(file.name, HEADER_LEN))) for file in listed]

    def ends(self, before_ms=None):
        return reachable([file for file, at_ms in self.files if before_ms is None or at_ms < before_ms])

    def as_directory(self, folder):
        """The same files under the names of a directory, each with the time that it carries. Litestream answers for a moment
        only if it lies between times that a LIST of S3 shows, which are those of the copy."""
        directory = FileReplica(folder)
        for file, at_ms in self.files:
            path = directory.root / f"ltx/{file.level}/{file.min:016x}-{file.max:016x}.ltx"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.replica.read(file.name) or b"")
                os.utime(path, ns=(at_ms * 1_000_000,) * 2)
        return directory

    def keep(self, folder):
        """Leaves the objects behind as files, for whoever looks into a failure."""
        for name in self.replica.names():
            path = pathlib.Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.replica.read(name) or b"")
