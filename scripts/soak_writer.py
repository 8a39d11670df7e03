"""The application of scripts/soak.py, and the one that knows what must be in its database.

    soak_writer.py DB ORACLE SEED pages|rows          until SIGTERM; SIGKILL is fine too

Every commit is numbered in the database itself (table `state`, with the time just before COMMIT). After it "number, time,
hash" is appended to ORACLE with one write(2). `pages`: the hash of every page as that commit's reader sees it, which needs
this to be the only writer. `rows`: the hash of the logical content, for when Litestream, which writes tables of its own,
shares the database.
"""

import hashlib
import json
import os
import random
import signal
import sqlite3
import sys
import time

BYTES_MAX = 1_500_000
SCHEMA = """
    CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL, at_ms INTEGER NOT NULL);
    CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL, body BLOB);
    CREATE INDEX item_name ON item (name);
    INSERT INTO state VALUES (1, 0, 0);
"""


def now_ms():
    return time.time_ns() // 1_000_000


def hash_of(db, what):
    if what == "pages":
        return hashlib.blake2b(db.serialize(), digest_size=16).hexdigest()
    digest = hashlib.blake2b(digest_size=16)
    for row in db.execute("SELECT id, name, body FROM item ORDER BY id"):
        digest.update(repr(row[:2]).encode() + row[2])
    return digest.hexdigest()


class Writer:
    def __init__(self, path, oracle, seed, what):
        self.path, self.what = path, what
        self.random = random.Random(seed)
        self.oracle = os.open(oracle, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.stopping = False
        self.connect()
        if not self.db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'state'").fetchone()[0]:
            size, vacuum = self.random.choice([1024, 4096, 8192]), self.random.choice(["NONE", "FULL", "INCREMENTAL"])
            self.db.execute(f"PRAGMA page_size = {size}")
            self.db.execute(f"PRAGMA auto_vacuum = {vacuum}")
            self.db.execute("PRAGMA journal_mode = WAL")
            self.db.executescript(f"BEGIN; {SCHEMA} COMMIT;")
        # What an earlier life committed and could not write down any more.
        self.record()

    def connect(self):
        self.db = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.execute(f"PRAGMA wal_autocheckpoint = {self.random.choice([0, 20, 200, 1000])}")

    def record(self):
        number, at_ms = self.db.execute("SELECT number, at_ms FROM state").fetchone()
        line = json.dumps({"number": number, "at_ms": at_ms, "hash": hash_of(self.db, self.what)})
        os.write(self.oracle, line.encode() + b"\n")

    def commit(self, change):
        self.db.execute("BEGIN IMMEDIATE")
        change()
        self.db.execute("UPDATE state SET number = number + 1, at_ms = ?", (now_ms(),))
        self.db.execute("COMMIT")
        self.record()

    def insert(self, rows, bytes_max):
        for _ in range(rows):
            body = self.random.randbytes(self.random.randrange(bytes_max))
            self.db.execute("INSERT INTO item (name, body) VALUES (?, ?)", (f"n{self.random.randrange(10**6)}", body))

    def some(self):
        """A condition that some of the rows meet."""
        share = self.random.randrange(2, 12)
        return f"WHERE id % {share} = {self.random.randrange(share)}"

    def step(self):
        pages, size = (self.db.execute(f"PRAGMA {p}").fetchone()[0] for p in ("page_count", "page_size"))
        if pages * size > BYTES_MAX:
            self.commit(lambda: self.db.execute("DELETE FROM item WHERE id % 2 = 0"))
        match self.random.randrange(100):
            case n if n < 45:
                self.commit(lambda: self.insert(self.random.randrange(1, 8), 2000))
            case n if n < 57:
                change = f"UPDATE item SET body = randomblob(length(body)), name = name || 'x' {self.some()}"
                self.commit(lambda: self.db.execute(change))
            case n if n < 67:
                self.commit(lambda: self.db.execute(f"DELETE FROM item {self.some()}"))
            case n if n < 70:
                self.commit(lambda: self.insert(1, 300_000))
            case n if n < 73:
                for _ in range(30):
                    self.commit(lambda: self.insert(1, 200))
            case n if n < 75:
                self.db.execute("VACUUM")
                self.record()
            case n if n < 77:
                self.db.execute("PRAGMA incremental_vacuum(20)").fetchall()
                self.record()
            case n if n < 82:
                # Not for long: it waits for everybody who reads, and replication always does.
                self.db.execute("PRAGMA busy_timeout = 100")
                self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                self.db.execute("PRAGMA busy_timeout = 30000")
            case n if n < 85:
                # The last connection: SQLite checkpoints and deletes the WAL, if it may.
                self.db.close()
                self.pause(0.3)
                self.connect()
            case _:
                self.pause(0.3)

    def pause(self, seconds):
        end = time.monotonic() + self.random.random() * seconds
        while not self.stopping and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.01))


def main():
    path, oracle, seed, what = sys.argv[1:]
    writer = Writer(path, oracle, seed, what)

    def stop(_number, _frame):
        writer.stopping = True

    signal.signal(signal.SIGTERM, stop)
    print("ready", flush=True)
    while not writer.stopping:
        writer.step()
        writer.pause(0.04)
    writer.db.close()


if __name__ == "__main__":
    main()
