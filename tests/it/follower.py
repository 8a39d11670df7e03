"""A source of transactions, and readers of a copy that keep it open.

    follower.py write DB SECONDS SEED   random transactions; table s always holds the number of rows of table t and their sum
    follower.py read DB SECONDS         counts read transactions in which that does not hold, or that are not intact
    follower.py hold DB FILE            keeps DB open with a read transaction until FILE is there
    follower.py stray DB                one foreign write, if it gets the lock within ten seconds
"""

import os
import random
import sqlite3
import sys
import time


def connect(path):
    return sqlite3.connect(path, isolation_level=None, timeout=20)


def write(path, seconds, seed):
    db, dice = connect(path), random.Random(int(seed))
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = OFF")
    db.execute("CREATE TABLE IF NOT EXISTS t (k INTEGER PRIMARY KEY, n INTEGER, x BLOB)")
    db.execute("CREATE INDEX IF NOT EXISTS t_n ON t (n)")
    db.execute("CREATE TABLE IF NOT EXISTS s (rows, total)")
    end, turn = time.monotonic() + float(seconds), 0
    while time.monotonic() < end or turn == 0:
        turn += 1
        db.execute("BEGIN IMMEDIATE")
        for _ in range(dice.randrange(1, 20)):
            db.execute("INSERT INTO t (n, x) VALUES (?, randomblob(?))", (dice.randrange(1000), dice.randrange(10, 4000)))
        if dice.random() < 0.3:
            db.execute("DELETE FROM t WHERE k % 5 = ?", (dice.randrange(5),))
        if dice.random() < 0.05:
            db.execute(f"CREATE TABLE IF NOT EXISTS u{dice.randrange(50)} (a, b)")
        if dice.random() < 0.05:
            db.execute(f"DROP TABLE IF EXISTS u{dice.randrange(50)}")
        db.execute("DELETE FROM s")
        db.execute("INSERT INTO s SELECT count(*), total(n) FROM t")
        db.execute("COMMIT")
        if dice.random() < 0.03:
            db.execute("VACUUM")
        time.sleep(0.01)
    print(f"wrote {turn}")


def read(path, seconds):
    while not os.path.exists(path):
        time.sleep(0.01)
    db = connect(path)
    end, count, bad, states = time.monotonic() + float(seconds), 0, 0, set()
    while time.monotonic() < end:
        count += 1
        db.execute("BEGIN")
        seen = db.execute("SELECT count(*), total(n) FROM t").fetchone()
        said = db.execute("SELECT rows, total FROM s").fetchone()
        if seen != said:
            print(f"violation: {seen} is not {said}")
            bad += 1
        if count % 20 == 0 and (found := db.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
            print(f"violation: {found}")
            bad += 1
        states.add(said)
        db.execute("COMMIT")
    print(f"read {count}, {len(states)} states, {bad} violations")


def hold(path, until):
    db = connect(path)
    db.execute("BEGIN")
    db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    print("holds", flush=True)
    while not os.path.exists(until):
        time.sleep(0.01)


def stray(path):
    db, end = sqlite3.connect(path, isolation_level=None, timeout=0), time.monotonic() + 10
    while time.monotonic() < end:
        try:
            db.execute("UPDATE s SET total = -1")
            return print("slipped in")
        except sqlite3.OperationalError:
            pass
    print("kept out")


globals()[sys.argv[1]](*sys.argv[2:])
