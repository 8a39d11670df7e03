"""Databases that nobody writes to: what keeping them replicated costs."""

import time

from counting_proxy import Proxy

from .rig import connect


def requests_of(proxy):
    return sum(proxy.read().kinds.values())


# Litestream has seven descriptors for each database: more than that is beyond the usual limit.
LITESTREAM_MAX = 1000


def settle(proxy, process, count):
    """Until each database was asked for, and no request was made for five seconds; or (Litestream never rests) for a minute."""
    deadline = time.monotonic() + 60 + count / 50
    last, since = requests_of(proxy), time.monotonic()
    while time.monotonic() < deadline and (last < count or time.monotonic() - since < 5):
        time.sleep(0.25)
        if requests_of(proxy) != last:
            last, since = requests_of(proxy), time.monotonic()
        if process.popen.poll() is not None:
            raise SystemExit(f"bench: {process.program.name} ended\n{process.log_text()}")


def rest(process):
    """Until it has held the same descriptors for long enough that nothing more is closed, or for three minutes."""
    deadline = time.monotonic() + 180
    began = last_change = time.monotonic()
    last = process.descriptors()
    while time.monotonic() < deadline and (time.monotonic() - last_change < 15 or time.monotonic() - began < 90):
        time.sleep(1)
        now = process.descriptors()
        if now != last:
            last, last_change = now, time.monotonic()


def measure(rig, counts, seconds):
    print(f"idle databases, watched for {seconds} s after they have settled")
    for count in counts:
        for program in rig.programs():
            if program is rig.litestream and count > LITESTREAM_MAX:
                print(f"  {count:5} × {program.name:<22} not measured: it would need {7 * count} descriptors")
                continue
            name = program.name.split()[0]
            home = rig.directory(f"idle-{name}-{count}")
            proxy = Proxy(rig.endpoint)
            entries = []
            for number in range(count):
                path = home / f"{number}.db"
                db = connect(path)
                db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
                db.close()
                url = rig.url(f"bench-{home.name}/{number}", proxy.endpoint)
                entries.append(f"  - {{path: {path}, replica: {{url: '{url}'}}}}")
            config = home / "litestream.yml"
            config.write_text("dbs:\n" + "\n".join(entries) + "\n")
            process = rig.start(program, "replicate", "-config", config)
            settle(proxy, process, count)
            rest(process)
            requests, cpu = requests_of(proxy), process.cpu_now()
            time.sleep(seconds)
            requests, cpu = requests_of(proxy) - requests, process.cpu_now() - cpu
            memory, descriptors = process.status("VmRSS") / 1000, process.descriptors()
            process.stop()
            print(
                f"  {count:5} × {program.name:<22} {memory:5.0f} MB  {100 * cpu / seconds:5.1f} % CPU"
                f"  {descriptors:5} descriptors  {requests * 3600 / seconds:9.0f} requests/h"
            )
