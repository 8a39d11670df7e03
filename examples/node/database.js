import { DatabaseSync } from "node:sqlite";

export function open() {
  const db = new DatabaseSync(process.env.DATABASE_PATH ?? "notes.db");
  // Another connection may hold the lock for a moment; without a timeout that is an error at once.
  db.exec("PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
  return db;
}
