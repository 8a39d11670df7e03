"""Kills of the primary under load; see scripts/kills.

A row counts as acknowledged when a client has read a response with its number. If it is not there at the end, or its number was
given twice, it is lost.
"""

import argparse
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid

import machines

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = os.environ["MILLSTREAM_TEST_BINARY"]
WEB = ROOT / "tests/it/web.py"
PATIENCE_SECONDS = 120
ANSWER_WITHIN = 40
SECRET = "of-these-three-nodes-only"


class Node:
    """A node of the cluster, which is started again after each kill."""

    def __init__(self, name, place, prefix, args):
        self.name, self.place = name, place / name
        self.front, self.app, own, page = (machines.free_port() for _ in range(4))
        self.page = f"127.0.0.1:{page}"
        self.log = open(place / f"log-{name}", "w")
        self.config = place / f"{name}.yml"
        self.config.write_text(json.dumps({
            "addr": self.page,
            "cluster": {"node": name, "ttl": f"{args.ttl}s", "listen": f"127.0.0.1:{own}", "advertise": f"http://127.0.0.1:{own}",
                        "secret": SECRET},
            "proxy": {"listen": f"127.0.0.1:{self.front}", "target": f"127.0.0.1:{self.app}",
                      "advertise": f"http://127.0.0.1:{self.front}", "secret": SECRET,
                      "ack": "local" if args.self_test else "uploaded"},
            "dbs": [{"path": str(self.place / "app.db"), "optional": True, "replica": machines.replica(prefix)}],
        }))
        self.process = None

    def start(self):
        self.place.mkdir(exist_ok=True)
        command = [sys.executable, WEB, str(self.app), self.place / "app.db", self.name]
        self.process = subprocess.Popen([BINARY, "run", "-config", self.config, "--", *command], stderr=self.log)

    def kill(self, loses_disk):
        machines.kill(self.process)
        self.process.wait()
        if loses_disk:
            # The application may take a moment to be gone.
            while self.place.exists():
                shutil.rmtree(self.place, ignore_errors=True)

    def is_primary(self):
        try:
            connection = http.client.HTTPConnection(self.page, timeout=2)
            connection.request("GET", "/primary")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False


class Load:
    """Clients that write through whichever node they find."""

    def __init__(self, nodes, clients):
        self.nodes, self.is_over, self.lock = nodes, False, threading.Lock()
        self.acknowledged, self.twice, self.failed = {}, [], {}
        self.threads = [threading.Thread(target=self.client, args=(random.Random(n),)) for n in range(clients)]

    def client(self, dice):
        while not self.is_over:
            row, error = self.write(dice.choice(self.nodes))
            with self.lock:
                if error:
                    self.failed[error] = self.failed.get(error, 0) + 1
                elif row in self.acknowledged:
                    self.twice.append(row)
                else:
                    self.acknowledged[row] = time.monotonic()
            time.sleep(0.05 if error else 0.01)

    def write(self, node):
        connection = http.client.HTTPConnection(f"127.0.0.1:{node.front}", timeout=ANSWER_WITHIN)
        try:
            connection.request("POST", "/rows", headers={"Connection": "close"})
            response = connection.getresponse()
            body = response.read().decode()
            return (int(body), None) if response.status == 200 else (None, f"{response.status}")
        except (OSError, http.client.HTTPException) as error:
            return None, type(error).__name__
        finally:
            connection.close()

    def wait_for_more(self, since, rows=20):
        """When the first row after `since` was acknowledged; waits for some of them."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with self.lock:
                later = [at for at in self.acknowledged.values() if at > since]
            if len(later) >= rows:
                return min(later)
            time.sleep(0.02)
        sys.exit(f"kills: no rows were acknowledged within {PATIENCE_SECONDS} s")


def the_primary(nodes):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found = [node for node in nodes if node.is_primary()]
        if len(found) == 1:
            return found[0]
        time.sleep(0.05)
    sys.exit(f"kills: there was no primary within {PATIENCE_SECONDS} s")


def main():
    parser = argparse.ArgumentParser(prog="scripts/kills", description="Kills of a cluster's primary under load.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--ttl", type=int, default=2, help="seconds")
    parser.add_argument("--self-test", action="store_true", help="with `ack: local`: it must be found out")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kills-") as place:
        place = pathlib.Path(place)
        prefix = f"kills-{uuid.uuid4()}"
        nodes = [Node(name, place, prefix, args) for name in "abc"]
        load = Load(nodes, args.clients)
        try:
            sys.exit(run(args, place, nodes, load))
        finally:
            load.is_over = True
            for node in nodes:
                if node.process and node.process.poll() is None:
                    node.kill(loses_disk=False)


def run(args, place, nodes, load):
    """The exit code."""
    for node in nodes:
        node.start()
        time.sleep(0.5)
    for thread in load.threads:
        thread.start()
    load.wait_for_more(0)
    pauses = []
    for number in range(1, args.kills + 1):
        time.sleep(random.random() * 2)
        primary = the_primary(nodes)
        loses_disk = args.self_test or number % 3 == 0
        killed = time.monotonic()
        primary.kill(loses_disk)
        # Responses that were sent before the kill may be read after it; no write takes so long.
        first = load.wait_for_more(killed + args.ttl / 2)
        pauses.append(first - killed)
        primary.start()
        # Of three nodes one may be away at a time.
        load.wait_for_more(time.monotonic())
        time.sleep(1)
        if number % 10 == 0:
            print(f"{number} kills, {len(load.acknowledged)} rows acknowledged", flush=True)
    load.is_over = True
    for thread in load.threads:
        thread.join()
    codes = []
    for node in nodes:
        node.process.send_signal(signal.SIGTERM)
    for node in nodes:
        codes.append(node.process.wait(timeout=60))
    found = machines.restored_rows(BINARY, nodes[0].config, nodes[0].place / "app.db", place / "restored.db")
    lost = sorted(set(load.acknowledged) - found)
    print(f"\n{args.kills} kills of the primary, {args.clients} clients, {len(load.acknowledged)} rows acknowledged; exit codes {codes}")
    print(f"acknowledged rows that are lost: {len(lost)}    numbers that were given twice: {len(load.twice)}")
    print(f"from the kill until the next acknowledged row: p50 {sorted(pauses)[len(pauses) // 2]:.2f} s, longest {max(pauses):.2f} s (ttl {args.ttl} s)")
    print(f"requests that failed while there was no primary: {load.failed}")
    is_perfect = not lost and not load.twice
    if args.self_test:
        print("self-test: with `ack: local` it is found out" if not is_perfect else "self-test: it cannot fail")
    return 0 if is_perfect != args.self_test else 1


main()
