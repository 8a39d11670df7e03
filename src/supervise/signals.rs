//! The signals that arrive for the child, as one stream.
//!
//! Installed before anything else happens in the process: a signal that arrives while there is no
//! child yet waits here for whoever asks next. Of each kind one is kept, as the kernel does for its
//! standard signals; none is ever lost entirely.
//!
//! A signal that was ignored when this process was started stays ignored in the child until it says
//! otherwise (`nohup`, background jobs of a shell without job control). It arrives here all the
//! same, to be passed on, but asks for nothing: see [`Signals::heeds`].

use std::io;
use std::task::Poll;

use futures_util::FutureExt;
use tokio::signal::unix::{self, SignalKind};

use super::inherited;
use super::signal::Signal;
use super::sys;

#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("install a handler for {signal}: {source}")]
    Handler { signal: Signal, source: io::Error },
    #[error("start the thread that starts and reaps processes: {source}")]
    Thread { source: io::Error },
}

pub struct Signals {
    streams: Vec<(Signal, unix::Signal)>,
    /// Where to look next: a storm of one kind must not starve the others.
    next: usize,
}

impl Signals {
    /// Must be called within a tokio runtime, once per process.
    pub(super) fn install() -> Result<Signals, InstallError> {
        // Our log must not stop us when a terminal has `tostop` set and the child has the
        // foreground.
        sys::ignore(Signal::TTOU);
        let listen = |signal: Signal| {
            let stream = unix::signal(SignalKind::from_raw(signal.number()));
            stream.map(|stream| (signal, stream)).map_err(|source| InstallError::Handler { signal, source })
        };
        let streams = Signal::forwardable().map(listen);
        Ok(Signals { streams: streams.collect::<Result<_, _>>()?, next: 0 })
    }

    /// The next signal. Cancel safe: a signal is either returned or still there.
    pub async fn recv(&mut self) -> Signal {
        std::future::poll_fn(|cx| {
            let count = self.streams.len();
            for at in (self.next..count).chain(0..self.next) {
                let (signal, stream) = &mut self.streams[at];
                if let Poll::Ready(Some(())) = stream.poll_recv(cx) {
                    self.next = (at + 1) % count;
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Whether the signal means what it says to this process too. Whoever starts us with INT
    /// ignored does not want it to end anything; TERM is the common way to ask, and must always
    /// work.
    pub fn heeds(signal: Signal) -> bool {
        signal == Signal::TERM || !inherited::ignored(signal)
    }

    /// A signal that has arrived already; asked between two stages.
    pub fn try_recv(&mut self) -> Option<Signal> {
        tokio::task::unconstrained(self.recv()).now_or_never()
    }
}
