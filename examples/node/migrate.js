import { open } from "./database.js";

const steps = [
  "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)",
];

const db = open();
const done = db.prepare("PRAGMA user_version").get().user_version;
for (const [index, step] of steps.entries()) {
  if (index < done) continue;
  db.exec(`BEGIN IMMEDIATE; ${step}; PRAGMA user_version = ${index + 1}; COMMIT`);
}
db.close();
