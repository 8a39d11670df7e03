//! An HTTP server in front of the test's S3 server that passes requests on, or answers them as somebody else would.
//!
//! One request a connection: what is passed on goes to the server byte for byte, so signatures stay valid, and what comes back
//! is copied until the server closes.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::process::setting;
use super::remote::BUCKET;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Passes everything on.
    Fair,
    /// A captive portal: a page with an ETag, whatever was asked.
    Portal,
    /// Takes every put for itself, and says with an ETag of its own that all is well.
    Sink,
    /// Refuses conditional requests, as some stores do.
    NoConditions,
    /// Answers every range with the whole object.
    NoRanges,
    /// Denies every delete.
    NoDeletes,
    /// Denies everything that is about claims.
    NoClaims,
    /// Denies every put of a claim.
    NoNewClaims,
    /// Takes a conditional put as if it had no condition.
    IgnoresConditions,
    /// Says in every answer that it is two hours later.
    TwoHoursLater,
}

pub struct Gateway {
    endpoint: String,
    shared: Arc<Shared>,
}

struct Shared {
    mood: Mutex<Mood>,
    /// Requests that were not passed on.
    kept: AtomicUsize,
    stopped: AtomicBool,
}

impl Gateway {
    pub fn start(mood: Mood) -> Gateway {
        let server = setting("MILLSTREAM_TEST_S3_ENDPOINT").trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind a loopback port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let shared =
            Arc::new(Shared { mood: Mutex::new(mood), kept: AtomicUsize::new(0), stopped: AtomicBool::new(false) });
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().filter_map(Result::ok) {
                if of_thread.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (shared, server) = (Arc::clone(&of_thread), server.clone());
                // A client that goes away in the middle is its own affair.
                std::thread::spawn(move || drop(shared.serve(client, &server)));
            }
        });
        Gateway { endpoint, shared }
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub fn turn(&self, mood: Mood) {
        *self.shared.mood.lock().expect("no thread panics with it") = mood;
    }

    pub fn kept(&self) -> usize {
        self.shared.kept.load(Ordering::SeqCst)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the listener, so that its thread ends and the port is free.
        let _ = TcpStream::connect(self.endpoint.trim_start_matches("http://"));
    }
}

impl Shared {
    fn serve(&self, client: TcpStream, server: &str) -> io::Result<()> {
        let mut client = BufReader::new(client);
        let Some(request) = Request::read(&mut client)? else { return Ok(()) };
        let mood = *self.mood.lock().expect("no thread panics with it");
        let answer = match mood {
            Mood::Fair => None,
            Mood::Portal => Some(request.reply("200 OK", "ETag: \"6a-5f3\"\r\nContent-Type: text/html\r\n", PAGE)),
            Mood::Sink => (request.method == "PUT").then(|| request.reply("200 OK", "ETag: \"sink\"\r\n", b"")),
            Mood::NoConditions => request.header("if-none-match").map(|_| {
                let error =
                    b"<Error><Code>NotImplemented</Code><Message>A header is not implemented.</Message></Error>";
                request.reply("501 Not Implemented", "Content-Type: application/xml\r\n", error)
            }),
            Mood::NoDeletes => {
                let is_delete = request.method == "DELETE" || request.target.contains("?delete");
                is_delete.then(|| request.deny("No deletes."))
            }
            Mood::NoClaims => request.is_about_claims().then(|| request.deny("No claims.")),
            Mood::NoNewClaims => {
                (request.is_about_claims() && request.method == "PUT").then(|| request.deny("No claims."))
            }
            Mood::IgnoresConditions => {
                // The header is signed, so it is the object that goes.
                if request.header("if-none-match").is_some() {
                    super::remote::delete(&request.key());
                }
                None
            }
            Mood::TwoHoursLater => {
                let mut answer = Vec::new();
                let mut upstream = TcpStream::connect(server)?;
                upstream.write_all(&request.passed_on())?;
                io::Read::read_to_end(&mut upstream, &mut answer)?;
                Some(two_hours_later(&answer))
            }
            Mood::NoRanges => request.header("range").and_then(|_| {
                let whole = super::remote::fetch(&request.key())?;
                Some(request.reply("200 OK", "ETag: \"whole\"\r\nContent-Type: application/octet-stream\r\n", &whole))
            }),
        };
        let client = client.get_mut();
        match answer {
            Some(answer) => {
                self.kept.fetch_add(1, Ordering::SeqCst);
                client.write_all(&answer)?;
            }
            None => {
                let mut upstream = TcpStream::connect(server)?;
                upstream.write_all(&request.passed_on())?;
                io::copy(&mut upstream, client)?;
            }
        }
        client.shutdown(Shutdown::Both)
    }
}

/// The answer with another `Date`.
fn two_hours_later(answer: &[u8]) -> Vec<u8> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(answer.len());
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(2);
    let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&later).expect("a date");
    let head = String::from_utf8_lossy(&answer[..end]);
    let others = head.split("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("date:"));
    let head = others.chain([format!("Date: {date}").as_str()]).collect::<Vec<_>>().join("\r\n");
    [head.as_bytes(), &answer[end..]].concat()
}

const PAGE: &[u8] = b"<!DOCTYPE html><html><body>Welcome. Please accept the conditions of this network.</body></html>";

struct Request {
    method: String,
    target: String,
    /// Request line and headers without the empty line.
    head: String,
    body: Vec<u8>,
}

impl Request {
    fn read(client: &mut impl BufRead) -> io::Result<Option<Request>> {
        let mut head = String::new();
        loop {
            let mut line = String::new();
            if client.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            if line.trim_end().is_empty() {
                break;
            }
            head.push_str(&line);
        }
        let mut words = head.split_whitespace().map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut request = Request { method, target, head, body: Vec::new() };
        let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        request.body.resize(length, 0);
        client.read_exact(&mut request.body)?;
        Ok(Some(request))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let of = |line: &'_ str| line.split_once(':').is_some_and(|(n, _)| n.eq_ignore_ascii_case(name));
        self.head
            .lines()
            .skip(1)
            .find(|line| of(line))
            .and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim())
    }

    /// The object's key; the tests' names need no decoding.
    fn key(&self) -> String {
        let path = self.target.split('?').next().unwrap_or_default();
        path.trim_start_matches('/').trim_start_matches(BUCKET).trim_start_matches('/').to_owned()
    }

    fn passed_on(&self) -> Vec<u8> {
        [self.head.as_bytes(), b"Connection: close\r\n\r\n", &self.body].concat()
    }

    fn is_about_claims(&self) -> bool {
        self.target.contains("claims%2F") || self.target.contains("/claims/")
    }

    fn deny(&self, why: &str) -> Vec<u8> {
        let error = format!("<Error><Code>AccessDenied</Code><Message>{why}</Message></Error>");
        self.reply("403 Forbidden", "Content-Type: application/xml\r\n", error.as_bytes())
    }

    fn reply(&self, status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        let body = if self.method == "HEAD" { b"" } else { body };
        [head.as_bytes(), body].concat()
    }
}
