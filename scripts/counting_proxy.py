"""An HTTP/1.1 proxy for one S3 client that passes every byte on as it is and counts the requests.

Only the way up is understood, and only as far as needed to find where the next request begins: request line, headers, and a
body by Content-Length or in chunks. The way down is copied. The Host header stays what the client signed.
"""

import collections
import socket
import threading
import urllib.parse

CHUNK = 64 * 1024


def kind_of(method, target):
    """The class that S3's price list puts a request in."""
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(target).query, keep_blank_values=True)
    if method == "DELETE" or (method == "POST" and "delete" in query):
        return "DELETE"
    if method in ("PUT", "POST", "COPY") or (method == "GET" and "list-type" in query):
        return "WRITE"
    return "READ"


def shape_of(method, target):
    """What the request is, without the names that make it unique: `PUT 0001/`, `LIST 0000/`, `POST ?delete`."""
    url = urllib.parse.urlsplit(target)
    query = urllib.parse.parse_qs(url.query, keep_blank_values=True)
    if "list-type" in query:
        # Behind the first segment of the prefix, which names the subject.
        return f"LIST {query.get('prefix', [''])[0].partition('/')[2] or '(everything)'}"
    key = urllib.parse.unquote(url.path).strip("/").split("/", 2)[2:]
    folder = key[0].rpartition("/")[0] + "/" if key else "(bucket)"
    words = sorted(name for name in query if name in ("delete", "uploads", "uploadId", "location", "tagging"))
    return " ".join([method, folder] + [f"?{word}" for word in words])


class Counts:
    """What went through, by class and by shape."""

    def __init__(self):
        self.kinds, self.shapes = collections.Counter(), collections.Counter()
        self.up = self.down = 0

    def since(self, earlier):
        later = Counts()
        later.kinds, later.shapes = self.kinds - earlier.kinds, self.shapes - earlier.shapes
        later.up, later.down = self.up - earlier.up, self.down - earlier.down
        return later


class Proxy:
    """Listens on a free port of 127.0.0.1 until the process ends."""

    def __init__(self, upstream):
        url = urllib.parse.urlsplit(upstream)
        self.upstream = (url.hostname, url.port)
        self.lock, self.counts = threading.Lock(), Counts()
        self.broken = []
        self.answers = threading.Event()
        self.answers.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def hang(self):
        """From now on requests are taken, and nothing is answered."""
        self.answers.clear()

    def answer(self):
        self.answers.set()

    def read(self):
        with self.lock:
            return self.counts.since(Counts())

    def _accept(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self._connection, args=(client,), daemon=True).start()

    def _connection(self, client):
        server = socket.create_connection(self.upstream)
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self._down, args=(server, client), daemon=True).start()
        try:
            Up(self, client, server).pass_on()
        except OSError:
            pass
        except ValueError as error:
            # A request that was not understood makes every number worthless.
            self.broken.append(str(error))
        finally:
            shut(server, socket.SHUT_WR)

    def _down(self, server, client):
        try:
            while data := server.recv(CHUNK):
                self.answers.wait()
                client.sendall(data)
                with self.lock:
                    self.counts.down += len(data)
        except OSError:
            pass
        finally:
            # Both ways: a client that is still sending learns it, too.
            shut(client, socket.SHUT_RDWR)
            server.close()

    def count(self, method, target):
        with self.lock:
            self.counts.kinds[kind_of(method, target)] += 1
            self.counts.shapes[shape_of(method, target)] += 1

    def count_up(self, size):
        with self.lock:
            self.counts.up += size


def shut(end, how):
    try:
        end.shutdown(how)
    except OSError:
        pass


class Up:
    """The requests of one connection, one behind the other."""

    def __init__(self, proxy, client, server):
        self.proxy, self.client, self.server, self.buffer = proxy, client, server, b""

    def pass_on(self):
        while head := self._until(b"\r\n\r\n"):
            lines = head.decode("latin-1").split("\r\n")
            words = lines[0].split(" ")
            if len(words) != 3 or not words[2].startswith("HTTP/1."):
                raise ValueError(f"not a request: {lines[0]!r}")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            self.proxy.count(words[0], words[1])
            self._send(head)
            if "chunked" in headers.get("transfer-encoding", "").lower():
                self._chunks()
            else:
                self._body(int(headers.get("content-length", 0)))

    def _chunks(self):
        while True:
            line = self._until(b"\r\n")
            self._send(line)
            size = int(line.split(b";")[0], 16)
            if size == 0:
                break
            self._body(size + 2)
        # The trailers end with an empty line.
        while (line := self._until(b"\r\n")) != b"\r\n":
            self._send(line)
        self._send(line)

    def _body(self, size):
        while size > 0:
            part = (self.buffer or self._more())[:size]
            self.buffer = self.buffer[len(part) :]
            self._send(part)
            size -= len(part)

    def _until(self, end):
        """Through `end`; nothing when the client is done."""
        while end not in self.buffer:
            if not self._more(may_end=True):
                return b""
        found, _, self.buffer = self.buffer.partition(end)
        return found + end

    def _more(self, may_end=False):
        data = self.client.recv(CHUNK)
        if not data and not may_end:
            raise OSError("the client went away in the middle of a request")
        self.buffer += data
        return self.buffer if data else b""

    def _send(self, data):
        self.server.sendall(data)
        self.proxy.count_up(len(data))
