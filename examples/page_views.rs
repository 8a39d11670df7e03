//! A page-view counter: the smallest web application that would miss its database.
//!
//! ```text
//! page_views migrate     creates the schema          page_views     serves GET /, which counts and answers "Page Views N"
//! ```
//!
//! `DATABASE_PATH` names the database (default `page_views.db`), `PORT` the port on 127.0.0.1 (default 8080; 0 takes a free
//! one), `LISTEN` another address to listen on. It knows nothing of backups: WAL mode, a busy timeout, and plain SQL.

#![expect(clippy::print_stderr, reason = "an ordinary program, whose stderr is read")]

use std::env;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;

const WORKERS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    match env::args().nth(1).as_deref() {
        None => serve(),
        Some("migrate") => migrate(),
        Some(other) => Err(format!("unknown command {other:?}: say `page_views` or `page_views migrate`").into()),
    }
}

fn open() -> rusqlite::Result<Connection> {
    let path = env::var("DATABASE_PATH").unwrap_or_else(|_| "page_views.db".into());
    let db = Connection::open(path)?;
    db.busy_timeout(PATIENCE)?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", "normal")?;
    Ok(db)
}

fn migrate() -> Result<(), Box<dyn Error>> {
    open()?.execute_batch(
        "CREATE TABLE IF NOT EXISTS page_counts (page TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID",
    )?;
    Ok(())
}

fn serve() -> Result<(), Box<dyn Error>> {
    let address = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1".into());
    let port = env::var("PORT").unwrap_or_else(|_| "8080".into()).parse::<u16>()?;
    let listener = TcpListener::bind((address.as_str(), port))?;
    println!("listening on http://{}", listener.local_addr()?);
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        let (listener, db) = (listener.try_clone()?, open()?);
        workers.push(thread::spawn(move || {
            for connection in listener.incoming() {
                // One visitor's broken connection is nobody else's business.
                if let Err(error) = connection.map_err(Into::into).and_then(|stream| answer(stream, &db)) {
                    eprintln!("page_views: {error}");
                }
            }
        }));
    }
    for worker in workers {
        worker.join().map_err(|_| "a worker panicked")?;
    }
    Ok(())
}

fn answer(mut stream: TcpStream, db: &Connection) -> Result<(), Box<dyn Error>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    // The headers are read to their end, so that closing the connection does not reset it.
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let (status, body) = match request.split(' ').take(2).collect::<Vec<_>>()[..] {
        ["GET", "/"] => match count_view(db, "home") {
            Ok(views) => ("200 OK", format!("Page Views {views}\n")),
            Err(error) => ("500 Internal Server Error", format!("{error}\n")),
        },
        _ => ("404 Not Found", "not found\n".into()),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all((head + &body).as_bytes())?;
    Ok(())
}

fn count_view(db: &Connection, page: &str) -> rusqlite::Result<i64> {
    let mut statement = db.prepare_cached(
        "INSERT INTO page_counts (page, count) VALUES (?1, 1)
         ON CONFLICT (page) DO UPDATE SET count = count + 1 RETURNING count",
    )?;
    statement.query_row([page], |row| row.get(0))
}
