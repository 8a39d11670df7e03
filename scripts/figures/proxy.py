"""The proxy in front of an application, beside nginx and Caddy doing the same: requests a second, latency, CPU per request.

The application is another nginx that answers with a few bytes, so that what is measured is the way through. nginx keeps its
connections to it, as millstream does, and writes no log.
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import time

SECONDS = 6
CONNECTIONS = 64
TICK = os.sysconf("SC_CLK_TCK")

SERVER = """
daemon off; user root; worker_processes 2; pid {home}/{name}.pid; error_log {home}/{name}.err;
events {{ worker_connections 4096; }}
http {{
    access_log off; client_body_temp_path {home}/{name}.body; proxy_temp_path {home}/{name}.proxy;
    fastcgi_temp_path {home}/{name}.f; uwsgi_temp_path {home}/{name}.u; scgi_temp_path {home}/{name}.s;
    keepalive_requests 1000000000;
    {content}
}}
"""
APPLICATION = "server {{ listen 127.0.0.1:{port}; location / {{ return 200 'hello, hello, hello'; }} location /large {{ root {home}; }} }}"
PROXY = """
    upstream application {{ server 127.0.0.1:{target}; keepalive 256; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://application; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $host;
        }}
    }}
"""
CADDY = """
{{
    admin off
    auto_https off
}}
http://127.0.0.1:{port} {{
    reverse_proxy 127.0.0.1:{target}
}}
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port, process):
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit(f"bench: {process.args[0]} has ended with {process.returncode}")
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"bench: nothing listens at port {port}")


def nginx(home, name, content):
    path = home / f"{name}.conf"
    path.write_text(SERVER.format(home=home, name=name, content=content))
    return subprocess.Popen([tool("nginx"), "-c", path, "-e", home / f"{name}.err"])


def caddy(home, port, target):
    path = home / "Caddyfile"
    path.write_text(CADDY.format(port=port, target=target))
    command = [tool("caddy"), "run", "--adapter", "caddyfile", "--config", path]
    return subprocess.Popen(command, stderr=(home / "caddy.err").open("w"), env={**os.environ, "HOME": str(home)})


def tool(name):
    found = shutil.which(name)
    if not found:
        raise SystemExit(f"bench: {name} is missing: apt-get install nginx-light caddy wrk")
    return found


def cpu_seconds(pid):
    """Of the process and its children that live, the application of millstream aside."""
    total, open_pids = 0.0, [pid]
    while open_pids:
        one = open_pids.pop()
        fields = pathlib.Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        name = pathlib.Path(f"/proc/{one}/comm").read_text().strip()
        if name != "sleep":
            total += (int(fields[11]) + int(fields[12])) / TICK
        children = pathlib.Path(f"/proc/{one}/task/{one}/children").read_text().split()
        open_pids.extend(int(child) for child in children)
    return total


def load(port, path, pid):
    before = cpu_seconds(pid) if pid else 0.0
    command = [tool("wrk"), "-t2", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", f"http://127.0.0.1:{port}{path}"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    spent = cpu_seconds(pid) - before if pid else 0.0
    if "Socket errors" in said or "Non-2xx" in said:
        raise SystemExit(f"bench: requests have failed\n{said}")
    requests = int(re.search(r"(\d+) requests in", said)[1])
    of = lambda part: millis(re.search(rf"^\s+{part}%\s+(\S+)", said, re.M)[1])
    return requests / SECONDS, of(50), of(99), 1e6 * spent / requests


def millis(text):
    number, unit = re.match(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


def measure(rig, rounds):
    home = rig.directory("proxy")
    ports = {name: free_port() for name in ("application", "nginx", "caddy", "millstream")}
    (home / "large").write_bytes(b"x" * 1_000_000)
    application = nginx(home, "application", APPLICATION.format(port=ports["application"], home=home))
    wait_for(ports["application"], application)
    other = nginx(home, "nginx", PROXY.format(port=ports["nginx"], target=ports["application"]))
    third = caddy(home, ports["caddy"], ports["application"])
    config = home / "millstream.yml"
    config.write_text(f"proxy: {{listen: '127.0.0.1:{ports['millstream']}', target: '127.0.0.1:{ports['application']}'}}\n")
    ours = subprocess.Popen(
        [rig.millstream.binary, "run", "-config", config, "--", "sleep", "1000"], stderr=(home / "millstream.err").open("w")
    )
    try:
        wait_for(ports["nginx"], other)
        wait_for(ports["caddy"], third)
        wait_for(ports["millstream"], ours)
        for path, what in (("/", "20 bytes"), ("/large", "1 MB")):
            print(f"requests for {what}, {CONNECTIONS} connections, median of {rounds} rounds of {SECONDS} s")
            figures = {"no proxy": [], "nginx": [], "caddy": [], "millstream": []}
            for _ in range(rounds):
                figures["no proxy"].append(load(ports["application"], path, None))
                figures["nginx"].append(load(ports["nginx"], path, other.pid))
                figures["caddy"].append(load(ports["caddy"], path, third.pid))
                figures["millstream"].append(load(ports["millstream"], path, ours.pid))
            medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in figures.items()}
            for name, (rate, p50, p99, cpu) in medians.items():
                per_request = "" if name == "no proxy" else f"  CPU {cpu:6.1f} µs a request"
                print(f"  {name:<12} {rate:9.0f} requests/s  p50 {p50:7.2f} ms  p99 {p99:7.2f} ms{per_request}")
            for beside in ("nginx", "caddy"):
                ratios = [x / y for x, y in zip(medians["millstream"], medians[beside])]
                print("  millstream / {}: rate {:.2f}, p50 {:.2f}, p99 {:.2f}, CPU {:.2f}".format(beside, *ratios))
    finally:
        for process in (ours, third, other, application):
            process.send_signal(signal.SIGTERM)
            process.wait()
