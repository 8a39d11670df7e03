"""One container after the other is replaced under load; see scripts/deploys.

Every client is a thread that asks at fixed moments, whatever the answers take, so that a pause of the service is seen by every
request that it meets. A write is acknowledged by its row number; at the end a restore must have every one of them.
"""

import argparse
import http.client
import json
import os
import pathlib
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
HEALTHY_WITHIN = 60
ANSWER_WITHIN = 60


class NotHealthy(Exception):
    pass


class Container:
    """A process with an empty disk, as the platform starts one."""

    def __init__(self, number, place, prefix, handover):
        self.address = f"127.0.0.1:{machines.free_port()}"
        self.disk = place / f"disk-{number}"
        self.disk.mkdir()
        port = machines.free_port()
        self.config = self.disk / "litestream.yml"
        proxy = {"listen": self.address, "target": f"127.0.0.1:{port}"}
        if handover:
            # Where the containers reach each other, handover is on.
            proxy |= {"advertise": f"http://{self.address}", "secret": "of-these-containers-only"}
        config = {"grace": "20s", "proxy": proxy, "dbs": [{"path": str(self.disk / "app.db"), "replica": machines.replica(prefix)}]}
        self.config.write_text(json.dumps(config))
        self.log = open(place / f"log-{number}", "w")
        self.process = subprocess.Popen(
            [BINARY, "run", "-config", self.config, "--", sys.executable, WEB, str(port), self.disk / "app.db", str(number), "200"],
            stderr=self.log)

    def is_healthy(self):
        try:
            connection = http.client.HTTPConnection(self.address, timeout=ANSWER_WITHIN)
            connection.request("GET", "/name")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False

    def wait_until_healthy(self):
        deadline = time.monotonic() + HEALTHY_WITHIN
        while not self.is_healthy():
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = pathlib.Path(self.log.name).read_text().splitlines()
                raise NotHealthy("\n  ".join(["the container did not become healthy:", *said[-5:]]))
            time.sleep(0.05)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


class Load:
    """Requests at a fixed rate to where the load balancer points."""

    def __init__(self, rate, clients, tries_again):
        self.target, self.is_over, self.tries_again = None, False, tries_again
        self.begun = time.monotonic()
        self.answers, self.lock = [], threading.Lock()
        pause = clients / rate
        self.threads = [threading.Thread(target=self.client, args=(n, pause * n / clients, pause)) for n in range(clients)]

    def start(self, target):
        self.target = target
        for thread in self.threads:
            thread.start()

    def client(self, number, offset, pause):
        turn = 0
        while not self.is_over:
            due = self.begun + offset + turn * pause
            time.sleep(max(0, due - time.monotonic()))
            method = "POST" if (turn + number) % 2 else "GET"
            row, error = self.ask(method)
            with self.lock:
                self.answers.append((due - self.begun, time.monotonic() - due, method, row, error))
            turn += 1

    def ask(self, method):
        deadline = time.monotonic() + ANSWER_WITHIN
        while True:
            connection = http.client.HTTPConnection(self.target, timeout=ANSWER_WITHIN)
            try:
                connection.connect()
            except OSError as error:
                # A load balancer may try again as long as nothing was sent.
                if not self.tries_again or time.monotonic() > deadline:
                    return None, f"connect: {error}"
                time.sleep(0.02)
                continue
            try:
                connection.request(method, "/rows", headers={"Connection": "close"})
                response = connection.getresponse()
                body = response.read().decode()
                if response.status != 200:
                    return None, f"{response.status} {body.strip()}"
                return int(body), None
            except (OSError, http.client.HTTPException) as error:
                return None, f"{type(error).__name__}: {error}"
            finally:
                connection.close()

    def end(self):
        self.is_over = True
        for thread in self.threads:
            thread.join()


def deploy(shape, old, new, load):
    """Returns the new container, serving."""
    if shape == "kamal":
        new = new()
        new.wait_until_healthy()
        load.target = new.address
        # What is under way there is waited for.
        time.sleep(0.2)
        code = old.stop()
    else:
        code = old.stop()
        new = new()
        load.target = new.address
        new.wait_until_healthy()
    if code not in (0, 143):
        print(f"deploys: the old container ended with {code}")
    return new


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0


def plot(answers, moments):
    """The longest wait of each second; a mark where a deploy began."""
    seconds = {}
    for due, took, *_ in answers:
        seconds[int(due)] = max(seconds.get(int(due), 0), took)
    longest = max(seconds.values())
    begun = {int(moment) for moment in moments}
    print(f"\nlongest wait of the requests of each second (a full bar: {longest * 1000:.0f} ms; > a deploy begins)")
    for second in range(max(seconds) + 1):
        took = seconds.get(second, 0)
        print(f"{second:4} {'>' if second in begun else ' '} {'#' * round(50 * took / longest)} {took * 1000:.0f}")


def main():
    parser = argparse.ArgumentParser(prog="scripts/deploys", description="Deploys under load.")
    parser.add_argument("--deploys", type=int, default=10)
    parser.add_argument("--rate", type=int, default=200, help="requests a second, half of them writes")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--pause", type=float, default=3, help="seconds between two deploys")
    parser.add_argument("--shape", choices=["kamal", "fly"], default="kamal")
    parser.add_argument("--self-test", action="store_true", help="without handover: it must be found out")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deploys-") as place:
        place = pathlib.Path(place)
        prefix = f"deploys-{uuid.uuid4()}"
        started = 0

        def start():
            nonlocal started
            started += 1
            return Container(started, place, prefix, handover=not args.self_test)

        current = start()
        current.wait_until_healthy()
        load = Load(args.rate, args.clients, tries_again=args.shape == "fly")
        load.start(current.address)
        moments, times, trouble = [], [], None
        try:
            for _ in range(args.deploys):
                time.sleep(args.pause)
                moments.append(time.monotonic() - load.begun)
                current = deploy(args.shape, current, start, load)
                times.append(time.monotonic() - load.begun - moments[-1])
            time.sleep(args.pause)
        except NotHealthy as error:
            trouble = error
        finally:
            load.end()
            code = current.stop()
        found = machines.restored_rows(BINARY, current.config, current.disk / "app.db", place / "restored.db")
        writes = [answer for answer in load.answers if answer[2] == "POST"]
        failed = [answer for answer in load.answers if answer[4]]
        acknowledged = {row for _, _, method, row, _ in writes if row is not None}
        lost = len([1 for _, _, _, row, _ in writes if row is not None]) - len(acknowledged & found)
        plot(load.answers, moments)
        print(f"\n{args.deploys} deploys in the shape of {args.shape}, {len(load.answers)} requests, {len(writes)} of them writes")
        print(f"failed requests: {len(failed)}    acknowledged rows that are lost: {lost}    last exit code: {code}")
        for kind in ("GET", "POST"):
            took = [answer[1] * 1000 for answer in load.answers if answer[2] == kind]
            print(f"{kind:5} p50 {percentile(took, 0.5):.1f} ms, p99 {percentile(took, 0.99):.0f} ms, longest {max(took):.0f} ms")
        if trouble:
            print(f"deploys: {trouble}")
        else:
            print(f"a deploy took {min(times):.1f} to {max(times):.1f} s, from its beginning to the end of the old container")
        for due, _, method, _, error in failed[:5]:
            print(f"  at {due:.1f} s: {method}: {error}")
        is_perfect = not failed and not lost and not trouble and code in (0, 143)
        if args.self_test:
            print("self-test: without handover it is found out" if not is_perfect else "self-test: it cannot fail")
        sys.exit(0 if is_perfect != args.self_test else 1)


main()
