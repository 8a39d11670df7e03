//! Connections whose protocol was changed, such as WebSockets: bytes in both directions, until one
//! side closes.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional_with_sizes;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::link::Link;

const BUFFER: usize = 16 << 10;

/// Those that are open.
#[derive(Clone, Default)]
pub struct Tunnels {
    tasks: TaskTracker,
    end: CancellationToken,
}

impl Tunnels {
    pub fn open(&self, link: Link, client: OnUpgrade, server: OnUpgrade) {
        let end = self.end.clone();
        self.tasks.spawn(async move {
            if let Some(Err(error)) = end.run_until_cancelled(carry(link, client, server)).await {
                tracing::debug!("a connection with another protocol has ended: {error}");
            }
        });
    }

    /// Closes them.
    pub async fn close(&self) {
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn carry(link: Link, client: OnUpgrade, server: OnUpgrade) -> std::io::Result<()> {
    let ((), client, server) = tokio::join!(link.run(), client, server);
    let mut client = TokioIo::new(client.map_err(std::io::Error::other)?);
    let mut server = TokioIo::new(server.map_err(std::io::Error::other)?);
    copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER).await.map(drop)
}
