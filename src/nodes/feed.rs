//! One follower's connection, on the side of the primary.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::frame::{ALIVE_EVERY, Frame, send};
use super::hub::Hub;
use super::introduction::Introduction;
use crate::remote::Epoch;

/// A follower says where it is at least once a second.
const SILENCE: Duration = Duration::from_secs(10);

/// Until this node is no primary by this claim any more, or the connection ends.
pub async fn feed(
    hub: &Hub,
    epoch: Epoch,
    (follower, connection): (Introduction, u64),
    stream: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<()> {
    let (mut from, mut to) = tokio::io::split(stream);
    let addresses = hub.databases().to_vec();
    send(&mut to, &Frame::Databases { epoch, addresses }).await?;
    let name = follower.name.clone();
    hub.joined(follower, connection);
    let listen = async {
        loop {
            let frame = tokio::time::timeout(SILENCE, Frame::read(&mut from)).await;
            match frame.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
                Frame::Report(positions) => hub.reported(&name, connection, positions),
                Frame::Databases { .. } | Frame::Pushed { .. } | Frame::Alive => {}
            }
        }
    };
    let mut lead = hub.lead();
    let done = tokio::select! {
        done = listen => done,
        done = push(hub, &mut to) => done,
        _ = lead.wait_for(|lead| *lead != Some(epoch)) => Ok(()),
    };
    hub.left(&name, connection);
    done
}

async fn push(hub: &Hub, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut end = hub.end();
    let (first, mut cursor) = hub.begin();
    for frame in first {
        send(to, &frame).await?;
    }
    loop {
        end.mark_unchanged();
        loop {
            let frames = hub.read(&mut cursor);
            if frames.is_empty() {
                break;
            }
            for frame in frames {
                send(to, &frame).await?;
            }
        }
        match tokio::time::timeout(ALIVE_EVERY, end.changed()).await {
            Ok(Ok(())) => {}
            // The hub lives as long as `hub`.
            Ok(Err(_)) => return Ok(()),
            Err(_) => send(to, &Frame::Alive).await?,
        }
    }
}
