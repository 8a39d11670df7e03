"""The application of the black-box tests: commits rows to a SQLite database and writes down every commit it was told is done.

    app.py DB ACKS LIFE STEP…

Row `seq` of life `life` has a body that follows from both, so a row of another history is noticed, not only a missing one.
After each commit "life seq" is appended to ACKS with one write(2): the oracle of the tests is that file. SIGTERM ends the
current step and runs the `term-…` steps, which may stand anywhere in the list.

Steps:
  create            WAL mode and the schema          open              no schema: the migration made it
  rows:N            N commits                        forever:MS        a commit every MS ms until SIGTERM
  big:N:BYTES       N commits of BYTES random bytes  grow:BYTES        one commit of a zero blob
  delete / vacuum   every second row / VACUUM        idle              until SIGTERM
  pause:MS          sleep                            until-file:F      until F exists
  touch:F           create F                         pid:F             write the process id to F
  say:TEXT          a line on stdout
  fork:MS           a child process that commits a row every MS ms and is not waited for
  fork-setsid:MS    the same in a session of its own
  record:F          append the name of each signal received to F
  ignore-term       SIGTERM does nothing
  exit:N / die:SIG  end                              look              reads
  member:MS         of a cluster: makes the schema if it is the primary's, and tries to commit every MS ms; what it reads must
                    be whole, and what is refused goes to ACKS.LIFE.refused
  safe-member:MS    the same, and a commit counts when the control socket $CONTROL says that it is uploaded
  until-followed    commits until somebody else keeps the application from checkpointing
  tear:SIG          one more commit, and SIG between the two copies of the wal-index header
  term-row, term-pause:MS, term-exit:N, term-die:SIG    what SIGTERM does, in this order of steps
"""

import fcntl
import http.client
import json
import mmap
import os
import signal
import socket
import sqlite3
import struct
import sys
import time

RECORDED = ["HUP", "QUIT", "USR1", "USR2", "INT", "WINCH", "ALRM", "PWR", "RTMIN"]


def body(life, seq):
    return f"{life}:{seq}:" + "x" * (seq * 37 % 400)


class App:
    def __init__(self, path, acks, life):
        self.path, self.acks, self.life = path, acks, life
        self.db = None
        self.stopping = False
        self.is_safe = False
        self.on_term = []

    def connect(self):
        if self.db is None:
            self.db = sqlite3.connect(self.path, timeout=20, isolation_level=None)
            self.db.execute("PRAGMA synchronous = NORMAL")
        return self.db

    def create(self):
        db = self.connect()
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE IF NOT EXISTS t (seq INTEGER PRIMARY KEY, life TEXT NOT NULL, body TEXT NOT NULL)")
        db.execute("CREATE INDEX IF NOT EXISTS t_body ON t (body)")
        db.execute("CREATE TABLE IF NOT EXISTS big (id INTEGER PRIMARY KEY, data BLOB)")

    def insert(self, db):
        seq = db.execute("SELECT coalesce(max(seq), 0) + 1 FROM t").fetchone()[0]
        db.execute("INSERT INTO t VALUES (?, ?, ?)", (seq, self.life, body(self.life, seq)))
        return seq

    def row(self):
        db = self.connect()
        db.execute("BEGIN IMMEDIATE")
        seq = self.insert(db)
        db.execute("COMMIT")
        if not self.is_safe or self.is_uploaded():
            self.acknowledge(seq)

    def acknowledge(self, seq):
        out = os.open(self.acks, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(out, f"{self.life} {seq}\n".encode())
        os.close(out)

    def is_uploaded(self):
        asked = json.dumps({"path": self.path, "wait": True, "timeout": 5})
        connection = http.client.HTTPConnection("localhost")
        try:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(6)
            connection.sock.connect(os.environ["CONTROL"])
            connection.request("POST", "/sync", asked, {"Content-Type": "application/json"})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def sleep(self, ms, until=lambda: False):
        """Sleeps in slices, so that a signal is never met inside SQLite."""
        end = time.monotonic() + ms / 1000
        while not self.stopping and not until() and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.005))

    def forever(self, ms):
        while not self.stopping:
            self.row()
            self.sleep(ms)

    def member(self, ms):
        self.db = sqlite3.connect(self.path, timeout=0.02, isolation_level=None)
        if os.environ.get("MILLSTREAM_ROLE") == "primary":
            self.create()
        while not self.stopping:
            count, last = self.db.execute("SELECT count(*), coalesce(max(seq), 0) FROM t").fetchone()
            if count != last:
                self.note("mixed", f"{count} rows up to {last}")
            try:
                self.row()
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    self.note("mixed", str(error))
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                self.note("refused", os.environ.get("MILLSTREAM_ROLE", ""))
            self.sleep(ms)

    def note(self, what, text):
        with open(f"{self.acks}.{self.life}.{what}", "a") as f:
            f.write(text + "\n")

    def fork(self, ms, setsid):
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if setsid:
                os.setsid()
            self.db = None
            self.forever(ms)
            os._exit(0)

    def end(self, how, value):
        if self.db is not None:
            self.db.close()
        sys.stdout.flush()
        if how == "exit":
            os._exit(int(value))
        number = getattr(signal, "SIG" + value)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        time.sleep(10)

    def shm(self):
        """The wal-index. Never closed: that would drop SQLite's own locks."""
        if not hasattr(self, "shm_fd"):
            self.shm_fd = os.open(self.path + "-shm", os.O_RDWR)
        return self.shm_fd

    def until_followed(self):
        checkpoint_lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 121, 1, 0)
        while not self.stopping:
            self.row()
            answer = fcntl.fcntl(self.shm(), fcntl.F_GETLK, checkpoint_lock)
            if struct.unpack_from("h", answer)[0] != fcntl.F_UNLCK:
                return

    def tear(self, name):
        header = mmap.mmap(self.shm(), 96)
        db = self.connect()
        db.execute("BEGIN IMMEDIATE")
        before = header[:48]
        self.insert(db)
        db.execute("COMMIT")
        # Under the write lock, as it would be. SQLite writes the second copy first.
        db.execute("BEGIN IMMEDIATE")
        header[:48] = before
        os.kill(os.getpid(), getattr(signal, "SIG" + name))
        header[:48] = header[48:]
        db.execute("COMMIT")

    def step(self, name, value):
        match name:
            case "create":
                self.create()
            case "open":
                self.connect()
            case "rows":
                for _ in range(int(value)):
                    self.row()
            case "forever":
                self.forever(int(value))
            case "member" | "safe-member":
                self.is_safe = name == "safe-member"
                self.member(int(value))
            case "big":
                count, size = value.split(":")
                for _ in range(int(count)):
                    self.connect().execute("INSERT INTO big (data) VALUES (randomblob(?))", (int(size),))
            case "grow":
                self.connect().execute("INSERT INTO big (data) VALUES (zeroblob(?))", (int(value),))
            case "delete":
                self.connect().execute("DELETE FROM big WHERE id % 2 = 0")
            case "vacuum":
                self.connect().execute("VACUUM")
            case "idle":
                self.sleep(600_000)
            case "pause":
                self.sleep(int(value))
            case "until-file":
                self.sleep(600_000, lambda: os.path.exists(value))
            case "say":
                print(value, flush=True)
            case "touch":
                open(value, "w").close()
            case "pid":
                with open(value + ".new", "w") as f:
                    f.write(str(os.getpid()))
                os.rename(value + ".new", value)
            case "fork" | "fork-setsid":
                self.fork(int(value), name == "fork-setsid")
            case "exit" | "die":
                self.end(name, value)
            case "look":
                self.connect().execute("SELECT count(*) FROM t").fetchone()
            case "until-followed":
                self.until_followed()
            case "tear":
                self.tear(value)
            case _:
                sys.exit(f"app.py: unknown step {name}")

    def terminate(self):
        self.stopping = False
        for name, value in self.on_term:
            match name:
                case "term-row":
                    self.row()
                case "term-pause":
                    end = time.monotonic() + int(value) / 1000
                    while time.monotonic() < end:
                        time.sleep(0.005)
                case "term-exit":
                    self.end("exit", value)
                case "term-die":
                    self.end("die", value)
        self.end("die", "TERM")


def main():
    app = App(sys.argv[1], sys.argv[2], sys.argv[3])
    steps = [(name, value) for name, _, value in (step.partition(":") for step in sys.argv[4:])]
    app.on_term = [s for s in steps if s[0].startswith("term-")]
    record = next((value for name, value in steps if name == "record"), None)
    ignore_term = ("ignore-term", "") in steps

    def recorder(name, then=lambda: None):
        def handle(_number, _frame):
            if record:
                out = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                os.write(out, f"{name}\n".encode())
                os.close(out)
            then()

        return handle

    def stop():
        app.stopping = not ignore_term

    signal.signal(signal.SIGTERM, recorder("TERM", stop))
    if record:
        for name in RECORDED:
            signal.signal(getattr(signal, "SIG" + name), recorder(name))
    for name, value in steps:
        if app.stopping:
            break
        if not name.startswith("term-") and name not in ("record", "ignore-term"):
            app.step(name, value)
    if app.stopping:
        app.terminate()
    app.end("exit", 0)


main()
