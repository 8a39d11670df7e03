//! A TCP proxy on loopback whose weather the test makes: fair, silent, or out after so many bytes.
//!
//! It stands in front of the test's S3 server and knows nothing of HTTP. Signatures stay valid because the client signs the
//! proxy's own address as the host.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::process::setting;

/// Everything passes.
const UNLIMITED: i64 = i64::MAX;

pub struct Proxy {
    endpoint: String,
    weather: Arc<Weather>,
}

struct Weather {
    refuse: AtomicBool,
    /// Bytes the server may still send to clients; at zero connections stay open and silent.
    budget: AtomicI64,
    open: Mutex<Vec<TcpStream>>,
    stopped: AtomicBool,
}

impl Proxy {
    /// In front of the test's S3 server.
    pub fn start() -> Proxy {
        Proxy::at("127.0.0.1", &setting("MILLSTREAM_TEST_S3_ENDPOINT"))
    }

    /// At this address, in front of another server.
    pub fn at(address: &str, server: &str) -> Proxy {
        let server = server.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind((address, 0)).expect("bind a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let weather = Arc::new(Weather {
            refuse: AtomicBool::new(false),
            budget: AtomicI64::new(UNLIMITED),
            open: Mutex::new(Vec::new()),
            stopped: AtomicBool::new(false),
        });
        let shared = Arc::clone(&weather);
        std::thread::spawn(move || {
            for client in listener.incoming().filter_map(Result::ok) {
                if shared.stopped.load(Ordering::SeqCst) {
                    return;
                }
                shared.connect(client, &server);
            }
        });
        Proxy { endpoint, weather }
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Cuts every connection and lets nobody in.
    pub fn down(&self) {
        self.weather.refuse.store(true, Ordering::SeqCst);
        self.weather.cut();
    }

    pub fn up(&self) {
        self.weather.budget.store(UNLIMITED, Ordering::SeqCst);
        self.weather.refuse.store(false, Ordering::SeqCst);
        // Whoever waits in a silent connection is told by a reset.
        self.weather.cut();
    }

    /// After so many more bytes of replies nothing is said any more, and nothing is closed.
    pub fn fall_silent_after(&self, bytes: i64) {
        self.weather.budget.store(bytes, Ordering::SeqCst);
    }

    pub fn is_silent(&self) -> bool {
        self.weather.budget.load(Ordering::SeqCst) <= 0
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.weather.stopped.store(true, Ordering::SeqCst);
        self.weather.cut();
        // Wakes the listener, so that its thread ends and the port is free.
        let _ = TcpStream::connect(self.endpoint.trim_start_matches("http://"));
    }
}

impl Weather {
    fn connect(self: &Arc<Weather>, client: TcpStream, server: &str) {
        if self.refuse.load(Ordering::SeqCst) {
            return;
        }
        let Ok(upstream) = TcpStream::connect(server) else { return };
        let _ = client.set_nodelay(true);
        let _ = upstream.set_nodelay(true);
        let (Ok(client_in), Ok(upstream_out)) = (client.try_clone(), upstream.try_clone()) else { return };
        {
            let mut open = self.open.lock().expect("no thread panics with it");
            open.extend([client.try_clone(), upstream.try_clone()].into_iter().filter_map(Result::ok));
        }
        std::thread::spawn(move || pump(client_in, upstream_out, |_| true));
        let weather = Arc::clone(self);
        std::thread::spawn(move || pump(upstream, client, |bytes| weather.may_pass(bytes)));
    }

    /// Takes the bytes from the budget; waits while there is none.
    fn may_pass(&self, bytes: usize) -> bool {
        loop {
            if self.stopped.load(Ordering::SeqCst) || self.refuse.load(Ordering::SeqCst) {
                return false;
            }
            let budget = self.budget.load(Ordering::SeqCst);
            if budget == UNLIMITED {
                return true;
            }
            if budget > 0 {
                self.budget.fetch_sub(bytes as i64, Ordering::SeqCst);
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn cut(&self) {
        for stream in self.open.lock().expect("no thread panics with it").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, may_pass: impl Fn(usize) -> bool) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 || !may_pass(count) || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
