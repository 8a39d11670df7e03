"""What the scripts that replace or kill whole machines share."""

import os
import pathlib
import signal
import socket
import sqlite3
import subprocess


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def replica(prefix):
    """The bucket of the tests, as a configuration names it."""
    return {"url": f"s3://millstream-test/{prefix}", "endpoint": os.environ["MILLSTREAM_TEST_S3_ENDPOINT"],
            "access-key-id": os.environ["MILLSTREAM_TEST_S3_ACCESS_KEY"],
            "secret-access-key": os.environ["MILLSTREAM_TEST_S3_SECRET_KEY"], "region": "us-east-1"}


def kill(process):
    """The program and its application, as when the machine goes away; the program is not waited for."""
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    for child in children:
        try:
            os.kill(int(child), signal.SIGKILL)
        except ProcessLookupError:
            pass


def restored_rows(binary, config, database, out):
    """The numbers of the rows that a restore gives."""
    subprocess.run([binary, "restore", "-config", config, "-o", out, database], check=True, stderr=subprocess.DEVNULL)
    with sqlite3.connect(out) as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        return {number for (number,) in db.execute("SELECT id FROM web")}
