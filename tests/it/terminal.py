"""Runs a command on a pseudo-terminal of its own and plays a user.

    terminal.py OUTPUT PLAY… -- COMMAND ARG…

  expect:TEXT    reads until TEXT was written to the terminal        send:TEXT    types TEXT (\\x03 is Ctrl-C)

Everything the terminal showed goes to OUTPUT; the exit code is the command's (128+n for a signal), 99 when TEXT did not come.
"""

import os
import pty
import select
import sys
import time

cut = sys.argv.index("--")
output, plays, command = sys.argv[1], sys.argv[2:cut], sys.argv[cut + 1 :]
shown = b""


def read(terminal, seconds):
    global shown
    if not select.select([terminal], [], [], seconds)[0]:
        return True
    try:
        chunk = os.read(terminal, 4096)
    except OSError:  # EIO: the last one closed the terminal
        chunk = b""
    shown += chunk
    return bool(chunk)


pid, terminal = pty.fork()
if pid == 0:
    os.execvp(command[0], command)
code, seen = None, 0
for play in plays:
    kind, _, text = play.partition(":")
    text = text.encode().decode("unicode_escape").encode()
    if kind == "send":
        os.write(terminal, text)
        continue
    deadline = time.monotonic() + 30
    while (at := shown.find(text, seen)) < 0:
        if time.monotonic() > deadline or not read(terminal, 0.1):
            code = 99
            break
    seen = max(at, 0) + len(text)
    if code:
        break
while code is None and read(terminal, 30):
    pass
with open(output, "wb") as f:
    f.write(shown)
status = os.waitpid(pid, 0)[1]
ended = os.waitstatus_to_exitcode(status)
sys.exit(code or (ended if ended >= 0 else 128 - ended))
