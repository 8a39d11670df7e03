//! Messages to a service manager such as systemd: one datagram each, in the protocol of
//! `sd_notify`, without its library.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News<'a> {
    /// The start is over.
    Ready,
    /// One line for people.
    Status(&'a str),
    /// We are alive.
    Watchdog,
    /// The end has begun.
    Stopping,
    /// The start takes longer: extend its timeout by this much.
    StillStarting(Duration),
}

/// The socket of the service manager.
#[derive(Debug)]
pub struct Notify {
    socket: UnixDatagram,
    address: SocketAddr,
    watchdog: Option<Duration>,
}

/// What the service manager has put into the environment.
#[derive(Clone, Copy, Debug, Default)]
pub struct NotifyEnvironment<'a> {
    /// `NOTIFY_SOCKET`.
    pub socket: Option<&'a OsStr>,
    /// `WATCHDOG_USEC`.
    pub watchdog_usec: Option<&'a str>,
    /// `WATCHDOG_PID`.
    pub watchdog_pid: Option<&'a str>,
}

impl Notify {
    /// `None` if there is no service manager.
    pub fn of(environment: NotifyEnvironment<'_>) -> Option<Notify> {
        let name = environment.socket.filter(|name| !name.is_empty())?;
        match Notify::open(name, watchdog(environment, std::process::id())) {
            Ok(notify) => Some(notify),
            Err(error) => {
                tracing::warn!(
                    "cannot use NOTIFY_SOCKET={}: {error}; the service manager gets no messages",
                    name.display()
                );
                None
            }
        }
    }

    fn open(name: &OsStr, watchdog: Option<Duration>) -> io::Result<Notify> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => return Err(io::Error::other("it is neither a path nor an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Notify { socket, address, watchdog })
    }

    /// How often it wants to hear that we are alive.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Sends a message without waiting. A message that cannot be delivered is dropped.
    pub fn tell(&self, news: &News<'_>) {
        let text = match news {
            News::Ready => "READY=1".to_owned(),
            News::Status(line) => {
                let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                format!("STATUS={line}")
            }
            News::Watchdog => "WATCHDOG=1".to_owned(),
            News::Stopping => "STOPPING=1".to_owned(),
            News::StillStarting(time) => format!("EXTEND_TIMEOUT_USEC={}", time.as_micros()),
        };
        if let Err(error) = self.socket.send_to_addr(text.as_bytes(), &self.address) {
            tracing::debug!("the service manager was not told {text}: {error}");
        }
    }
}

/// Only if it is meant for this process, and not for the one that started it.
fn watchdog(environment: NotifyEnvironment<'_>, own_pid: u32) -> Option<Duration> {
    let is_ours = environment.watchdog_pid.is_none_or(|pid| pid.parse() == Ok(own_pid));
    let usec = environment.watchdog_usec.filter(|_| is_ours)?.parse().ok()?;
    (usec > 0).then(|| Duration::from_micros(usec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_arrive_by_path_and_by_abstract_name() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("notify");
        let abstract_name = format!("millstream-test-{}", std::process::id());
        let bound = SocketAddr::from_abstract_name(&abstract_name).expect("a name");
        for (manager, name) in [
            (UnixDatagram::bind(&path).expect("bind"), path.clone().into_os_string()),
            (UnixDatagram::bind_addr(&bound).expect("bind"), format!("@{abstract_name}").into()),
        ] {
            let environment = NotifyEnvironment { socket: Some(&name), ..NotifyEnvironment::default() };
            let notify = Notify::of(environment).expect("somebody listens");
            let mut heard = Vec::new();
            for news in [
                News::Ready,
                News::Status("a\nb"),
                News::Watchdog,
                News::StillStarting(Duration::from_secs(1)),
                News::Stopping,
            ] {
                notify.tell(&news);
                let mut buffer = [0; 64];
                let len = manager.recv(&mut buffer).expect("a datagram");
                heard.push(String::from_utf8_lossy(&buffer[..len]).into_owned());
            }
            assert_eq!(heard, ["READY=1", "STATUS=a b", "WATCHDOG=1", "EXTEND_TIMEOUT_USEC=1000000", "STOPPING=1"]);
        }
    }

    #[test]
    fn nobody_is_told_where_nobody_listens() {
        let of = |socket: Option<&str>| {
            Notify::of(NotifyEnvironment { socket: socket.map(OsStr::new), ..Default::default() })
        };
        assert!(of(None).is_none() && of(Some("")).is_none() && of(Some("vsock:2:1")).is_none());
        of(Some("/nonexistent/notify")).expect("it may appear").tell(&News::Ready);
    }

    #[test]
    fn the_watchdog_is_for_the_process_that_it_names() {
        let of = |usec, pid| watchdog(NotifyEnvironment { watchdog_usec: usec, watchdog_pid: pid, socket: None }, 42);
        assert_eq!(of(Some("3000000"), None), Some(Duration::from_secs(3)));
        assert_eq!(of(Some("3000000"), Some("42")), Some(Duration::from_secs(3)));
        for none in [of(Some("3000000"), Some("41")), of(None, None), of(Some("0"), None), of(Some("x"), None)] {
            assert_eq!(none, None);
        }
    }
}
