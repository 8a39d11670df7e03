"""The database of counter.exs: one request a line, one answer a line.

    count.py DB       create | count | read
"""

import sqlite3
import sys

db = sqlite3.connect(sys.argv[1], timeout=0.1, isolation_level=None)
for line in sys.stdin:
    try:
        match line.strip():
            case "create":
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("CREATE TABLE IF NOT EXISTS page_counts (page TEXT PRIMARY KEY, count INTEGER NOT NULL)")
                print("ok 0")
            case "count":
                # As the blog's application does it, in one transaction.
                db.execute("BEGIN IMMEDIATE")
                found = db.execute("SELECT count FROM page_counts WHERE page = 'home'").fetchone()
                count = (found[0] if found else 0) + 1
                db.execute("INSERT OR REPLACE INTO page_counts VALUES ('home', ?)", (count,))
                db.execute("COMMIT")
                print(f"ok {count}")
            case "read":
                found = db.execute("SELECT count FROM page_counts WHERE page = 'home'").fetchone()
                print(f"ok {found[0] if found else 0}")
    except sqlite3.Error as error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        print(f"error {error}")
