"""Brings a process into each state that the status page tells of, and has Chromium take pictures of it (scripts/page-screenshots).

The store is a directory; an outage is that directory without permissions to write, or a file in its place. Every process is
stopped by its pid.
"""

import base64
import json
import os
import pathlib
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request

BINARY = os.environ["MILLSTREAM_TEST_BINARY"]
OUT = pathlib.Path(sys.argv[1])
WIDTHS = (1280, 360)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Site:
    """One process with its databases in a directory of its own."""

    def __init__(self, names):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="millstream-page-"))
        self.port = free_port()
        self.databases = []
        entries = []
        for name in names:
            path = self.dir / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(path, isolation_level=None)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("CREATE TABLE t(x)")
            self.databases.append(db)
            replica = self.dir / "bucket" / name
            entries.append(f"  - path: {path}\n    replica: {{path: {replica}, type: file}}\n")
        config = self.dir / "app.yml"
        config.write_text(f'addr: "127.0.0.1:{self.port}"\ndbs:\n' + "".join(entries))
        log = open(self.dir / "log", "w")
        self.process = subprocess.Popen([BINARY, "replicate", "-config", str(config)], stderr=log, stdout=log)

    def status(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status.json", timeout=10) as answer:
            return json.load(answer)

    def until(self, holds, what):
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                if holds(self.status()):
                    return
            except OSError:
                pass
            time.sleep(0.2)
        sys.exit(f"page-screenshots: {what}: it did not come to that\n{(self.dir / 'log').read_text()}")

    def write(self, at=0, rows=1):
        for _ in range(rows):
            self.databases[at].execute("INSERT INTO t VALUES (randomblob(2000))")

    def shoot(self, browser, name, query=""):
        # A listing may be under way at the first opening.
        urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{query}", timeout=30).read()
        time.sleep(1.5)
        for width in WIDTHS:
            for theme in ("light", "dark"):
                url = f"http://127.0.0.1:{self.port}/{query}"
                browser.shoot(url, OUT / f"{name}-{width}-{theme}.png", width, theme)

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


class Chromium:
    """A browser that is driven through a pipe: descriptors 3 and 4, JSON that ends with a zero byte."""

    def __init__(self):
        self.profile = tempfile.mkdtemp(prefix="millstream-chromium-")
        their_in, self.to = os.pipe()
        self.back, their_out = os.pipe()
        flags = "--headless=new --no-sandbox --disable-gpu --disable-extensions --no-first-run --remote-debugging-pipe"
        command = 'exec "$@" 3<&"$IN" 4>&"$OUT"'
        env = {**os.environ, "IN": str(their_in), "OUT": str(their_out)}
        argv = ["bash", "-c", command, "chromium", "chromium", *flags.split(), f"--user-data-dir={self.profile}"]
        self.process = subprocess.Popen(argv, env=env, pass_fds=(their_in, their_out), stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        os.close(their_in)
        os.close(their_out)
        self.number, self.read = 0, b""
        target = self.ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        self.session = self.ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        self.events = []
        for domain in ("Page", "Log", "Runtime"):
            self.tell(f"{domain}.enable")

    def receive(self):
        while b"\0" not in self.read:
            more = os.read(self.back, 1 << 20)
            if not more:
                sys.exit("page-screenshots: chromium has ended")
            self.read += more
        message, _, self.read = self.read.partition(b"\0")
        return json.loads(message)

    def ask(self, method, params=None, session=None):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params or {}}
        if session:
            message["sessionId"] = session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                if "error" in answer:
                    sys.exit(f"page-screenshots: {method}: {answer['error']}")
                return answer["result"]
            if "method" in answer and hasattr(self, "events"):
                self.events.append(answer)

    def tell(self, method, params=None):
        return self.ask(method, params, self.session)

    def shoot(self, url, file, width, theme):
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.tell("Emulation.setDeviceMetricsOverride", metrics)
        self.tell("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]})
        self.tell("Page.navigate", {"url": url})
        # Two rounds of the script.
        time.sleep(5)
        whole = self.tell("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": width, "height": whole["height"], "scale": 1}
        picture = self.tell("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        file.write_bytes(base64.b64decode(picture["data"]))
        measured = "document.documentElement.scrollWidth + ' ' + document.getElementById('live').textContent"
        value = self.tell("Runtime.evaluate", {"expression": measured})["result"].get("value")
        said = [event["params"]["entry"]["text"] for event in self.events if event["method"] == "Log.entryAdded"]
        said += [str(event["params"]) for event in self.events if event["method"] == "Runtime.exceptionThrown"]
        self.events.clear()
        print(f"{file}: width of the content and the script's words: {value}; the console says {said or 'nothing'}")

    def close(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)


def break_store(site, name):
    """A file where the replica's directory was: nothing can be written there."""
    bucket = site.dir / "bucket" / name
    bucket.rename(site.dir / "aside")
    bucket.write_text("in the way")


def mend_store(site, name):
    bucket = site.dir / "bucket" / name
    bucket.unlink()
    (site.dir / "aside").rename(bucket)


def main(browser):
    site = Site(["app.db", "jobs & <queue>.db"])
    try:
        site.write(0, 30)
        site.write(1, 3)
        site.until(lambda now: now["level"] == "safe", "quiet")
        break_store(site, "app.db")
        site.write(0, 5)
        site.until(lambda now: now["level"] == "problem" and now["databases"][0]["lag_seconds"] > 12, "outage")
        site.shoot(browser, "outage")
        mend_store(site, "app.db")
        site.until(lambda now: now["level"] == "safe", "after the outage")
        site.shoot(browser, "quiet")
        site.shoot(browser, "chosen", "?db=" + urllib.request.quote(str(site.dir / "data/app.db")) + "&at=2026-01-31T14:00:00")
        with open(site.dir / "data/app.db", "r+b") as file:
            file.truncate(0)
        site.until(lambda now: now["databases"][0]["state"] == "ended", "ended")
        site.shoot(browser, "ended")
    finally:
        site.close()
    site = Site([f"tenants/{n:03}/app.db" for n in range(40)])
    try:
        site.until(lambda now: now["level"] == "safe", "many")
        site.shoot(browser, "many")
    finally:
        site.close()


browser = Chromium()
try:
    main(browser)
finally:
    browser.close()
