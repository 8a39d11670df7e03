"""Databases that nobody writes to: what keeping them replicated costs."""

import re
import socket
import socketserver
import threading
import time
import urllib.parse

from .rig import connect

REQUEST = re.compile(rb"(?:GET|PUT|POST|HEAD|DELETE) /\S* HTTP/1\.1\r\n")


class Counter:
    """A TCP relay to the store that counts the requests passing through."""

    def __init__(self, endpoint):
        self.requests = 0
        host = urllib.parse.urlsplit(endpoint)
        counter = self

        class Relay(socketserver.BaseRequestHandler):
            def handle(self):
                upstream = socket.create_connection((host.hostname, host.port))
                back = threading.Thread(target=pump, args=(upstream, self.request, None), daemon=True)
                back.start()
                pump(self.request, upstream, counter)
                back.join()

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay, bind_and_activate=True)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"


def pump(source, sink, counter):
    try:
        while data := source.recv(65536):
            if counter is not None:
                counter.requests += len(REQUEST.findall(data))
            sink.sendall(data)
    except OSError:
        pass
    finally:
        for side in (source, sink):
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def settle(rig, counter, process):
    """Until no request was made for five seconds, or (Litestream never rests) for a minute at most."""
    deadline = time.monotonic() + 60
    last, since = counter.requests, time.monotonic()
    while time.monotonic() < deadline and time.monotonic() - since < 5:
        time.sleep(0.25)
        if counter.requests != last:
            last, since = counter.requests, time.monotonic()
        if process.popen.poll() is not None:
            raise SystemExit(f"bench: {process.program.name} ended\n{process.log_text()}")


def measure(rig, counts, seconds):
    print(f"idle databases, watched for {seconds} s after they have settled")
    for count in counts:
        for program in rig.programs():
            name = program.name.split()[0]
            home = rig.directory(f"idle-{name}-{count}")
            counter = Counter(rig.endpoint)
            entries = []
            for number in range(count):
                path = home / f"{number}.db"
                db = connect(path)
                db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
                db.close()
                url = rig.url(f"bench-{home.name}/{number}", counter.endpoint)
                entries.append(f"  - {{path: {path}, replica: {{url: '{url}'}}}}")
            config = home / "litestream.yml"
            config.write_text("dbs:\n" + "\n".join(entries) + "\n")
            process = rig.start(program, "replicate", "-config", config)
            settle(rig, counter, process)
            requests, cpu = counter.requests, process.cpu_now()
            time.sleep(seconds)
            requests, cpu = counter.requests - requests, process.cpu_now() - cpu
            memory, descriptors = process.status("VmRSS") / 1000, process.descriptors()
            process.stop()
            counter.server.shutdown()
            print(
                f"  {count:5} × {program.name:<22} {memory:5.0f} MB  {100 * cpu / seconds:5.1f} % CPU"
                f"  {descriptors:5} descriptors  {requests * 3600 / seconds:9.0f} requests/h"
            )
