import { createServer } from "node:http";
import { open } from "./database.js";

const db = open();
const all = db.prepare("SELECT text FROM notes ORDER BY id");
const add = db.prepare("INSERT INTO notes (text) VALUES (?)");

async function body(request) {
  let text = "";
  for await (const chunk of request) text += chunk;
  return JSON.parse(text);
}

const server = createServer(async (request, response) => {
  const answer = (status, value) => {
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
  };
  try {
    if (request.url === "/up") return answer(200, "up");
    if (request.url !== "/notes") return answer(404, "not found");
    if (request.method === "POST") {
      add.run((await body(request)).text);
      return answer(201, "created");
    }
    answer(200, all.all().map((row) => row.text));
  } catch (error) {
    answer(500, error.message);
  }
});

server.listen(Number(process.env.PORT ?? 8080));

// What is under way is answered, then the process ends; the last commits are uploaded after that.
process.on("SIGTERM", () => {
  server.close(() => {
    db.close();
    process.exit(0);
  });
  server.closeIdleConnections();
});
