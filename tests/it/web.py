"""A web application for the black-box tests, with nothing but Python: it serves what a proxy must not spoil.

    web.py PORT DB NAME [START_MS]

    GET  /name        its NAME                         POST /rows        commits a row, answers its number
    GET  /rows        how many rows there are          POST /count       how many bytes the body had
    GET  /bytes/N     N bytes                          POST /slow/MS     commits a row after so long
    GET  /events      event by event, for ever         GET  /socket      a WebSocket that says everything twice
    GET  /head        the head of the request

It begins to listen START_MS after its start, finishes what it has on SIGTERM, and ends with 0.
"""

import base64
import hashlib
import os
import signal
import sqlite3
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT, DB, NAME = int(sys.argv[1]), sys.argv[2], sys.argv[3]
START_MS = int(sys.argv[4]) if len(sys.argv) > 4 else 0
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CHUNK = b"x" * 65536

lock = threading.Lock()
under_way = 0


def connect():
    db = sqlite3.connect(DB, timeout=20, isolation_level=None)
    db.execute("PRAGMA synchronous = NORMAL")
    return db


def insert():
    db = connect()
    try:
        return db.execute("INSERT INTO web (name) VALUES (?) RETURNING id", (NAME,)).fetchone()[0]
    finally:
        db.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 0
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def say(self, text, status=200):
        body = str(text).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def counted(self, work):
        global under_way
        with lock:
            under_way += 1
        try:
            work()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with lock:
                under_way -= 1

    def do_GET(self):
        self.counted(self.get)

    def do_POST(self):
        self.counted(self.post)

    def get(self):
        if self.path == "/name":
            self.say(NAME)
        elif self.path == "/rows":
            db = connect()
            self.say(db.execute("SELECT count(*) FROM web").fetchone()[0])
            db.close()
        elif self.path == "/head":
            self.say(f"{self.requestline}\n{self.headers}")
        elif self.path.startswith("/bytes/"):
            left = int(self.path[7:])
            self.send_response(200)
            self.send_header("Content-Length", str(left))
            self.end_headers()
            while left > 0:
                left -= self.connection.send(CHUNK[: min(left, len(CHUNK))])
        elif self.path == "/events":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.close_connection = True
            for n in range(1_000_000):
                self.wfile.write(f"data: {n}\n\n".encode())
                time.sleep(0.05)
        elif self.path == "/socket":
            self.socket()
        else:
            self.say("no such page", 404)

    def post(self):
        if self.path == "/count":
            left = self.headers["Content-Length"]
            if left is None:
                count = self.chunks()
            else:
                count = int(left)
                rest = count
                while rest > 0:
                    rest -= len(self.rfile.read(min(rest, 1 << 20)))
            self.say(count)
            return
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.path.startswith("/slow/"):
            time.sleep(int(self.path[6:]) / 1000)
        self.say(insert())

    def chunks(self):
        count = 0
        while size := int(self.rfile.readline().split(b";")[0], 16):
            count += len(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return count

    def socket(self):
        key = self.headers["Sec-WebSocket-Key"].encode()
        accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest()).decode()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        self.close_connection = True
        while head := self.rfile.read(2):
            length = head[1] & 127
            mask = self.rfile.read(4)
            text = bytes(byte ^ mask[n % 4] for n, byte in enumerate(self.rfile.read(length)))
            self.wfile.write(bytes([0x81, 2 * length]) + text + text)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    db = connect()
    db.execute("PRAGMA journal_mode = WAL")
    if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'web'").fetchone():
        db.execute("CREATE TABLE IF NOT EXISTS web (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
    db.close()
    time.sleep(START_MS / 1000)
    server = Server(("127.0.0.1", PORT), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.05)
    end = time.monotonic() + 5
    while under_way and time.monotonic() < end:
        time.sleep(0.01)
    os._exit(0)


main()
