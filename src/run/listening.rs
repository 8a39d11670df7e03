//! Listening at an address that the process which we replace may still have.

use std::io;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::config::Addr;
use crate::http::listen;

/// Until the other one is gone.
pub const LISTEN_AGAIN: Duration = Duration::from_millis(500);

/// Tries again after each `pause`, and complains once. Also what was really bound: that may cover
/// more interfaces than were configured.
pub async fn listen_patiently(
    addr: &Addr,
    pause: Duration,
    complain: impl FnOnce(&str, &io::Error),
) -> (TcpListener, String) {
    let shown = format!("{}:{}", addr.host.as_deref().unwrap_or(""), addr.port);
    let mut complain = Some(complain);
    loop {
        match listen(addr.host.as_deref(), addr.port).await {
            Ok(listener) => {
                let bound = listener.local_addr().map_or(shown, |address| address.to_string());
                return (listener, bound);
            }
            Err(error) => match complain.take() {
                Some(complain) => complain(&shown, &error),
                None => tracing::debug!("{shown}: {error}"),
            },
        }
        tokio::time::sleep(pause).await;
    }
}
