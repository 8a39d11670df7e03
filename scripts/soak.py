"""The soak behind scripts/soak, which starts it beside an S3 server.

A writer (soak_writer.py) commits, deletes, vacuums, checkpoints and closes its connections. `millstream replicate` ships it
and is killed, stopped and started at random, with compaction, snapshots and retention every few seconds. Meanwhile restores
are asked for, and each answer is judged:

    sound     integrity_check says ok
    a commit  the content is that of one commit, hash for hash, as the writer wrote it down
    exact     a TXID always means the same content, later TXIDs never mean earlier commits
    complete  every TXID that the files reach can be restored; every moment of the retention window can be; "latest" is
              never older than what lay in the bucket before, and after a clean end it is the last commit
    in time   nothing younger than the moment that was asked for; the last one before it that the files reach
    agreed    the real `litestream restore` gives the same bytes for the same question

Live restores race with retention: a TXID that is refused counts only if it is still listed afterwards. Everything that two
programs are asked is asked of a frozen copy.

With -turns Litestream 0.5.17 replicates every other time, on the same database and path, and takes two promises back:
- It deletes every snapshot older than the retention, so that the beginning of the window has no base any more: moments count
  from `retention - snapshot interval` on.
- It compacts the first image of a history with what follows and deletes it: the first seconds of a history are one moment.
And one thing is not told apart from a failure of ours: if the application commits and then lets the WAL start over while nobody
replicates, Litestream takes the new generation for the continuation of the newest level-0 object, never ships what was
committed between, and its history is torn from there on. (It does so without us, too.) In a run that fails with -turns, look
at the first level-0 object of the Litestream life before: WAL offset 32 and a first salt that is one higher mean that.

A check that cannot fail is a defect: -break damages a run in one of the ways of BREAKS and -self-test shows that each is
found. Exit code 1 is a failure; the seed is printed, the directory stays. A seed replays the schedule, not the machine's timing.
"""

import argparse
import collections
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from soak_replica import HEADER_LEN, FileReplica, Frozen, S3Replica, files, moment_of, reachable  # noqa: E402
from soak_writer import hash_of, now_ms  # noqa: E402

BREAKS = {
    "delete": "the newest object of the replica is deleted",
    "flip": "a bit of the newest object is flipped",
    "page": "a byte of a restored database is changed",
    "stale": "a restore of an older TXID is taken for the newest",
    "late": "a restore of the newest TXID is taken for that of a moment",
    "hole": "an object in the middle of a frozen copy is deleted",
}
PATIENCE_SECONDS = 60
# A file carries the time at which its capture began; a commit that slips in behind it is a little younger.
CAPTURE_MS = 250
# How long Litestream may take until it has compacted the beginning of a history.
COMPACTION_MS = 15_000
FAILURES_MAX = 10


class Failure(Exception):
    """A probe that went wrong."""


def text_of(ms):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}Z"


class Oracle:
    """Which content every commit has, as the writer wrote it down."""

    def __init__(self, path):
        self.path, self.read = path, 0
        self.hashes = collections.defaultdict(set)
        self.last = 0

    def learn(self):
        with open(self.path, "rb") as file:
            file.seek(self.read)
            news = file.read()
        news = news[: news.rfind(b"\n") + 1]
        self.read += len(news)
        for line in news.splitlines():
            commit = json.loads(line)
            self.hashes[commit["number"]].add(commit["hash"])
            self.last = commit["number"]
        return self.last

    def knows(self, number, content):
        """Waits a while: the writer, or its next life, writes a commit down after it is done."""
        deadline = time.monotonic() + 10
        while True:
            self.learn()
            if content in self.hashes[number] or time.monotonic() > deadline:
                return content in self.hashes[number]
            time.sleep(0.05)


class Soak:
    def __init__(self, args, seed):
        self.args, self.seed = args, seed
        self.random = random.Random(f"{seed} probes")
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="soak-"))
        self.db = self.home / "data" / "app.db"
        self.db.parent.mkdir()
        endpoint = os.environ["MILLSTREAM_TEST_S3_ENDPOINT"]
        keys = (os.environ["MILLSTREAM_TEST_S3_ACCESS_KEY"], os.environ["MILLSTREAM_TEST_S3_SECRET_KEY"])
        s3_replica = S3Replica(endpoint, keys, self.home.name)
        self.replica = FileReplica(self.home / "replica") if args.file else s3_replica
        # Litestream 0.5.17 does not start with AWS_CA_BUNDLE.
        self.env = {k: v for k, v in os.environ.items() if k != "AWS_CA_BUNDLE"}
        self.env |= {"AWS_ACCESS_KEY_ID": keys[0], "AWS_SECRET_ACCESS_KEY": keys[1], "RUST_BACKTRACE": "1"}
        self.binaries = {
            "millstream": os.environ["MILLSTREAM_TEST_BINARY"],
            "litestream": os.environ["MILLSTREAM_TEST_LITESTREAM"],
        }
        self.hashed = "rows" if args.turns else "pages"
        self.oracle = Oracle(self.home / "oracle")
        self.counts = collections.Counter()
        self.failures = []
        self.failures_max = 1 if args.breaks else FAILURES_MAX
        self.problem = None  # of a thread
        self.outputs = 0
        self.frozen = 0
        # TXID → the commit and the bytes that it was restored to; the time of its level-0 object.
        self.contents, self.moments = {}, {}
        self.began_ms = now_ms()
        self.replicator = self.writer = None
        self.writers = self.lives_over = 0
        self.barrier = threading.Lock()
        self.write_config()

    def write_config(self):
        a = self.args
        (self.home / "litestream.yml").write_text(
            f"levels:\n  - interval: {a.level1}s\n  - interval: {a.level1 * 3}s\n"
            f"snapshot:\n  interval: {a.snapshot}s\n  retention: {a.retention}s\n"
            f"l0-retention: {a.l0_retention}s\nl0-retention-check-interval: 1s\n"
            f"dbs:\n  - path: {self.db}\n    monitor-interval: 100ms\n    checkpoint-interval: 2s\n"
            f"    min-checkpoint-page-count: 60\n"
            f'    replica:\n      url: "{self.replica.url()}"\n      sync-interval: 100ms\n'
            f"      retention-check-interval: 1s\n"
        )

    # ------------------------------------------------------------------ processes

    def spawn(self, name, command):
        with open(self.home / f"{name}.log", "ab") as log:
            log.write(f"--- {text_of(now_ms())} {' '.join(map(str, command))}\n".encode())
            return subprocess.Popen(command, env=self.env, cwd=self.home, stdout=log, stderr=log)

    def start_writer(self):
        self.writers += 1
        script = HERE / "soak_writer.py"
        seed = f"{self.seed}-{self.writers}"
        command = [sys.executable, script, self.db, self.home / "oracle", seed, self.hashed]
        self.writer = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE)
        if self.writer.stdout.readline() != b"ready\n":
            raise Failure("the writer does not start")

    def stop_writer(self, number=signal.SIGTERM):
        self.writer.send_signal(number)
        code = self.writer.wait(PATIENCE_SECONDS)
        self.writer.stdout.close()
        if code not in (0, -number):
            raise Failure(f"the writer ended with {code}")

    def lives(self):
        """The replicator's lives and deaths, and now and then the writer's."""
        dice = random.Random(f"{self.seed} lives")
        kills = turn = 0
        while kills < self.args.kills and len(self.failures) < self.failures_max:
            who = "litestream" if self.args.turns and turn % 2 else "millstream"
            turn += 1
            self.replicator = self.spawn(who, [self.binaries[who], "replicate", "-config", "litestream.yml"])
            self.counts[f"lives of {who}"] += 1
            time.sleep(dice.uniform(0.05, 1.0) if dice.random() < 0.3 else dice.uniform(1, self.args.life))
            if self.replicator.poll() is not None:
                raise Failure(f"{who} ended by itself with {self.replicator.returncode}")
            if dice.random() < 0.75:
                self.replicator.kill()
                self.replicator.wait()
                kills += 1
            else:
                self.end_cleanly(who)
            if dice.random() < 0.25:
                self.stop_writer(dice.choice([signal.SIGTERM, signal.SIGKILL]))
                time.sleep(dice.uniform(0, 1))
                self.start_writer()
            time.sleep(dice.choice([0, dice.uniform(0, 3)]))
        self.counts["kills"] = kills

    def end_cleanly(self, who):
        """What was committed before SIGTERM is in the bucket when it ends: exit code 0 says so."""
        committed = self.oracle_now()
        self.replicator.terminate()
        code = self.replicator.wait(PATIENCE_SECONDS)
        if code in (128 + signal.SIGTERM, -signal.SIGTERM):
            # Not armed yet, or not even listening to signals: it claims nothing.
            self.counts["ends before it was armed"] += 1
            return
        if code:
            raise Failure(f"{who} ended with {code} after SIGTERM")
        if who == "millstream":
            with self.barrier:
                number, _ = self.restore_latest()
            if number < committed:
                raise Failure(f"after a clean end commit {number} is restored, {committed} was done before it")
            self.counts["clean ends"] += 1

    def oracle_now(self):
        return Oracle(self.home / "oracle").learn()

    def watch(self, over):
        """Notes the time of every level-0 object."""
        replica = self.replica.again()
        while not over.is_set():
            for file in files(replica.names()):
                if file.level == 0 and file.max not in self.moments:
                    if header := replica.read(file.name, HEADER_LEN):
                        self.moments[file.max] = moment_of(header)
            over.wait(0.2)

    def guarded(self, work, *args):
        try:
            work(*args)
        except Exception as problem:  # of any kind: the run must not look sound
            self.problem = problem

    # ------------------------------------------------------------------ restores

    def restore(self, who, replica, *question):
        """Runs `restore`; returns the file (or `None`), the TXID as far as it is said, and what was said."""
        self.outputs += 1
        output = self.home / f"restored-{self.outputs}.db"
        command = [self.binaries[who], "restore", *(["-json"] if who == "millstream" else []), *question]
        done = subprocess.run(
            [*command, "-o", str(output), replica.url()],
            env=self.env, cwd=self.home, capture_output=True, text=True, timeout=PATIENCE_SECONDS,
        )  # fmt: skip
        said = done.stderr.strip()[-2000:]
        if done.returncode:
            return None, None, f"exit code {done.returncode}: {said}"
        txid = int(json.loads(done.stdout)["txid"], 16) if who == "millstream" else None
        if who == "millstream" and self.args.breaks == "page" and self.outputs > 20:
            with open(output, "r+b") as file:
                file.seek(-5, os.SEEK_END)
                byte = file.read(1)[0]
                file.seek(-5, os.SEEK_END)
                file.write(bytes([byte ^ 1]))
        return output, txid, said

    def judge(self, output, txid, what):
        """Sound, a commit, exact. Returns the commit's number and time; the file is removed."""
        db = sqlite3.connect(f"file:{output}?immutable=1", uri=True)
        report = db.execute("PRAGMA integrity_check").fetchall()
        if report != [("ok",)]:
            raise Failure(f"{what}: integrity_check says {report[:3]} of {output}")
        number, at_ms = db.execute("SELECT number, at_ms FROM state").fetchone()
        data = output.read_bytes()
        pages = hashlib.blake2b(data, digest_size=16).hexdigest()
        content = pages if self.hashed == "pages" else hash_of(db, self.hashed)
        db.close()
        if not self.oracle.knows(number, content):
            raise Failure(f"{what}: {output} is no content that commit {number} ever had")
        if txid is not None:
            known = self.contents.setdefault(txid, (number, pages))
            if known != (number, pages):
                raise Failure(f"{what}: TXID {txid:x} was commit {known[0]} {known[1]}, now {number} {pages}: {output}")
            earlier = [(t, n) for t, (n, _) in self.contents.items() if t < txid and n > number]
            later = [(t, n) for t, (n, _) in self.contents.items() if t > txid and n < number]
            if earlier or later:
                raise Failure(f"{what}: TXID {txid:x} is commit {number}, but {(earlier + later)[:3]} were restored")
        output.unlink()
        self.counts["restores"] += 1
        return number, at_ms, data

    def restore_latest(self):
        replica = self.replica.again()
        seen = max(self.moments, default=0)
        question = []
        if self.args.breaks == "stale" and len(self.contents) > 20:
            question = ["-txid", f"{random.choice(reachable(files(replica.names()))[:-5]):016x}"]
        output, txid, said = self.restore("millstream", replica, *question)
        if output is None:
            raise Failure(f"live, latest: {said}")
        number, _, _ = self.judge(output, txid, "live, latest")
        if txid < seen:
            raise Failure(f"live, latest: TXID {txid:x} is restored, {seen:x} was there before")
        return number, txid

    def live_latest(self):
        with self.barrier:
            self.restore_latest()

    def live_txid(self):
        """A TXID that our own listing shows, which must not be refused as long as it is listed."""
        ends = self.listed_ends()
        if not ends:
            return
        txid = self.random.choice(ends)
        output, reached, said = self.restore("millstream", self.replica, "-txid", f"{txid:016x}")
        if output is None:
            if txid in self.listed_ends():
                raise Failure(f"live, TXID {txid:x} of {len(ends)}: {said}")
            self.counts["overtaken by retention"] += 1
            return
        self.judge(output, reached, f"live, TXID {txid:x}")

    def listed_ends(self):
        command = [self.binaries["millstream"], "ltx", "-level", "all", "-json", self.replica.url()]
        done = subprocess.run(command, env=self.env, cwd=self.home, capture_output=True, text=True, check=True)
        rows = json.loads(done.stdout)
        names = [f"{row['level']}/{row['min_txid']}-{row['max_txid']}.ltx" for row in rows]
        return reachable(files(names))

    def freeze(self):
        self.frozen += 1
        frozen = Frozen(self.replica, self.frozen)
        if self.args.breaks == "hole" and self.frozen > 5:
            last = max(file.min for file, _ in frozen.files if file.level == 0)
            for file, _ in frozen.files:
                if file.max == last - 1 or (file.level and file.min < last <= file.max):
                    frozen.replica.remove(file.name)
        return frozen

    def frozen_probes(self):
        frozen = self.freeze()
        asked_ms = now_ms()
        try:
            ends = frozen.ends()
            listed = max(file.max for file, _ in frozen.files)
            if not ends or ends[-1] != listed:
                raise Failure(f"the history ends at {ends[-1:]}, but {listed:x} is there: a gap")
            self.points(frozen, ends)
            self.both(frozen, "latest", ends[-1])
            for txid in self.random.sample(ends, min(3, len(ends))):
                self.both(frozen, f"TXID {txid:x}", txid, "-txid", f"{txid:016x}")
            for _ in range(3):
                self.moment(frozen, ends, asked_ms)
        except Failure:
            frozen.keep(self.home / f"failed-{len(self.failures) + 1}")
            raise
        finally:
            frozen.replica.drop()

    def points(self, frozen, ends):
        command = [self.binaries["millstream"], "points", "-json", frozen.replica.url()]
        done = subprocess.run(command, env=self.env, cwd=self.home, capture_output=True, text=True, check=True)
        shown = json.loads(done.stdout)
        said = [int(shown[end]["txid"], 16) for end in ("oldest", "newest")]
        if said != [ends[0], ends[-1]] or shown["holes"]:
            raise Failure(f"points says {said} with holes {shown['holes']}; the files reach {ends[0]:x} … {ends[-1]:x}")

    def moment(self, frozen, ends, asked_ms):
        """Any moment of the window: the last transaction before it that the files reach."""
        promised = self.args.retention * 1000
        if self.args.turns:
            promised -= self.args.snapshot * 1000
        newest_ms = max(at_ms for file, at_ms in frozen.files if file.max == ends[-1])
        first_ms = min(self.moments.values()) + 1
        if self.args.turns:
            first_ms += COMPACTION_MS
        oldest_ms = max(first_ms, asked_ms - promised)
        if oldest_ms >= newest_ms:
            return
        ms = self.random.randrange(oldest_ms, newest_ms)
        what = f"moment {text_of(ms)} ({(asked_ms - ms) / 1000:.1f} s ago)"
        expected = frozen.ends(before_ms=ms)
        if not expected:
            raise Failure(f"{what}: no files reach it, though it is in the window")
        question = ["-timestamp", text_of(ms)]
        if self.args.breaks == "late" and self.frozen > 5:
            question = []
        folder = self.home / f"frozen-{self.frozen}"
        number, at_ms = self.both(frozen, what, expected[-1], *question, theirs=frozen.as_directory(folder))
        shutil.rmtree(folder)
        if at_ms > ms + CAPTURE_MS:
            raise Failure(f"{what}: commit {number} of {text_of(at_ms)} is younger")
        self.counts["late ms"] = max(self.counts["late ms"], at_ms - ms)
        exact = max((txid for txid, at_ms in list(self.moments.items()) if at_ms < ms), default=expected[-1])
        coarse = self.moments.get(exact, 0) - self.moments.get(expected[-1], self.moments.get(exact, 0))
        self.counts["coarse ms"] = max(self.counts["coarse ms"], coarse)

    def both(self, frozen, what, expected, *question, theirs=None):
        """The same question to both programs; `theirs` is where Litestream finds the same files."""
        output, txid, said = self.restore("millstream", frozen.replica, *question)
        if output is None:
            raise Failure(f"{what}: refused: {said}")
        if txid != expected:
            raise Failure(f"{what}: TXID {txid:x} instead of {expected:x}")
        number, at_ms, ours = self.judge(output, txid, what)
        output, _, said = self.restore("litestream", theirs or frozen.replica, *question)
        if output is None:
            raise Failure(f"{what}: Litestream refuses what we restore: {said}")
        if output.read_bytes() != ours:
            raise Failure(f"{what}: Litestream restores other pages: {output}")
        output.unlink()
        self.counts["agreed with Litestream"] += 1
        return number, at_ms

    def probe(self):
        chosen = self.random.choices([self.live_latest, self.live_txid, self.frozen_probes], [2, 3, 2])[0]
        self.attempt(chosen)

    def attempt(self, work, *args):
        self.counts["probes"] += 1
        try:
            return work(*args)
        except Failure as failure:
            self.failed(failure)

    def failed(self, failure):
        self.failures.append(str(failure))
        print(f"soak: FAILED at {text_of(now_ms())}: {failure} (seed {self.seed})", flush=True)

    # ------------------------------------------------------------------ the run

    def damage(self):
        """For -break: the newest object, once there is a history."""
        if self.args.breaks not in ("delete", "flip") or self.counts["probes"] < 10:
            return
        newest = max((file for file in files(self.replica.names()) if file.level == 0), key=lambda f: f.max)
        body = bytearray(self.replica.read(newest.name))
        if self.args.breaks == "delete":
            self.replica.remove(newest.name)
        else:
            body[-20] ^= 4
            self.replica.write(newest.name, bytes(body))
        self.args.breaks = f"{self.args.breaks} done"

    def run(self):
        over = threading.Event()
        threads = [threading.Thread(target=self.guarded, args=work) for work in ((self.lives,), (self.watch, over))]
        try:
            self.start_writer()
            for thread in threads:
                thread.start()
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not self.moments and self.problem is None and time.monotonic() < deadline:
                time.sleep(0.05)
            while threads[0].is_alive() and self.problem is None and len(self.failures) < self.failures_max:
                self.damage()
                self.probe()
            threads[0].join()
            if self.problem is None:
                self.attempt(self.finish)
        finally:
            over.set()
            for process in (self.replicator, self.writer):
                if process is not None and process.poll() is None:
                    process.kill()
                    process.wait()
            for thread in threads:
                if thread.ident:
                    thread.join()
        if self.problem is not None:
            if not isinstance(self.problem, Failure):
                raise self.problem
            self.failed(self.problem)

    def finish(self):
        """A clean end of everything: the bucket alone has the last commit, page for page."""
        self.replicator = self.spawn("millstream", [self.binaries["millstream"], "replicate", "-config", "litestream.yml"])
        time.sleep(3)
        self.stop_writer()
        self.replicator.terminate()
        if code := self.replicator.wait(PATIENCE_SECONDS):
            raise Failure(f"millstream ended with {code} after SIGTERM")
        last = self.oracle.learn()
        frozen = Frozen(self.replica, "last")
        ends = frozen.ends()
        number, _ = self.both(frozen, "the end, latest", ends[-1])
        if number != last:
            raise Failure(f"the end: commit {number} is restored, {last} was the last one")
        for txid in self.random.sample(ends, min(40, len(ends))):
            self.both(frozen, f"the end, TXID {txid:x}", txid, "-txid", f"{txid:016x}")
        output, _, _ = self.restore("millstream", frozen.replica)
        db = sqlite3.connect(self.db)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        db.close()
        if output.read_bytes() != self.db.read_bytes():
            raise Failure(f"the end: {output} is not the database, page for page")
        frozen.replica.drop()

    def report(self):
        counts = collections.Counter(file.level for file in files(self.replica.names()))
        left = ", ".join(f"{count} in level {level}" for level, count in sorted(counts.items()))
        figures = ", ".join(f"{value} {name}" for name, value in sorted(self.counts.items()))
        return f"{figures}; {self.oracle.learn()} commits, {len(self.moments)} uploads seen; {left}"


def once(args, seed):
    soak = Soak(args, seed)
    print(f"soak: seed {seed}, {args.kills} kills in {soak.home}", flush=True)
    try:
        soak.run()
    finally:
        print(f"soak: {soak.report()}")
    if soak.failures:
        print(f"soak: {len(soak.failures)} failures with seed {seed}; everything is in {soak.home}")
        return 1
    if not args.keep:
        shutil.rmtree(soak.home)
    print("soak: no failures")
    return 0


def self_test(args):
    """Every way of breaking a run must be found."""
    found = []
    for name in BREAKS:
        args.breaks, args.kills = name, 8
        print(f"soak: --- {name}: {BREAKS[name]}")
        found.append(once(args, args.seed) == 1)
    missed = [name for name, was_found in zip(BREAKS, found) if not was_found]
    print(f"soak: {'not found: ' + ', '.join(missed) if missed else 'every damage was found'}")
    return 1 if missed else 0


def main():
    parser = argparse.ArgumentParser(prog="scripts/soak", description="The whole life of a backup, with real processes.")
    number = {"type": int, "metavar": "N"}
    parser.add_argument("-kills", default=50, help="how often the replicator is killed (50)", **number)
    parser.add_argument("-seed", default=random.SystemRandom().randrange(2**32), help="replays a schedule", **number)
    parser.add_argument("-file", action="store_true", help="the replica is a directory")
    parser.add_argument("-turns", action="store_true", help="Litestream replicates every other time")
    parser.add_argument("-life", default=5, help="how long a replicator lives at most (5 s)", **number)
    parser.add_argument("-level1", default=2, help="interval of level 1; of level 2 it is three times that (2 s)", **number)
    parser.add_argument("-snapshot", default=10, help="snapshot interval (10 s)", **number)
    parser.add_argument("-retention", default=40, help="snapshot retention (40 s)", **number)
    parser.add_argument("-l0-retention", default=4, help="level-0 retention (4 s)", **number)
    parser.add_argument("-keep", action="store_true", help="keep the directory of a sound run, too")
    parser.add_argument("-break", dest="breaks", choices=BREAKS, help="damage the run: it must be found")
    parser.add_argument("-self-test", action="store_true", help="every damage of -break, one after the other")
    args = parser.parse_args()
    return self_test(args) if args.self_test else once(args, args.seed)


if __name__ == "__main__":
    sys.exit(main())
