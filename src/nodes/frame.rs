//! What goes over a connection between two nodes; `mod.rs` has the bytes.

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::ltx::Txid;
use crate::remote::{Epoch, Position};

/// After so long without another one, one says that its sender lives.
pub const ALIVE_EVERY: Duration = Duration::from_secs(1);
/// Who takes nothing in for so long is gone.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// A larger one is not from a node of ours.
const LONGEST: usize = 2 << 20;
const HEAD: usize = 5;
const POSITION: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Databases { epoch: Epoch, addresses: Vec<String> },
    Report(Vec<(u16, Position)>),
    Pushed { db: u16, onto: Option<Position>, position: Position, bytes: Option<Bytes> },
    Alive,
}

impl Frame {
    /// Everything but an LTX file, which follows as it is.
    pub fn encode(&self) -> (Bytes, Option<Bytes>) {
        let mut body = BytesMut::new();
        let (kind, file) = match self {
            Frame::Databases { epoch, addresses } => {
                body.put_slice(epoch.to_string().as_bytes());
                for address in addresses {
                    // The configuration has no longer ones.
                    let length = u16::try_from(address.len()).unwrap_or(u16::MAX);
                    body.put_u16(length);
                    body.put_slice(&address.as_bytes()[..usize::from(length)]);
                }
                (1, None)
            }
            Frame::Report(positions) => {
                for (db, position) in positions {
                    body.put_u16(*db);
                    put(&mut body, Some(*position));
                }
                (2, None)
            }
            Frame::Pushed { db, onto, position, bytes } => {
                body.put_u16(*db);
                put(&mut body, *onto);
                put(&mut body, Some(*position));
                (3, bytes.clone())
            }
            Frame::Alive => (4, None),
        };
        let length = body.len() + file.as_ref().map_or(0, Bytes::len);
        let mut frame = BytesMut::with_capacity(HEAD + body.len());
        frame.put_u8(kind);
        frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        frame.unsplit(body);
        (frame.freeze(), file)
    }

    /// The next frame, as a whole.
    pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
        let mut head = [0; HEAD];
        from.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if length > LONGEST {
            return Err(invalid("a frame is too long"));
        }
        let mut body = BytesMut::with_capacity(length);
        let mut rest = from.take(length as u64);
        while rest.read_buf(&mut body).await? > 0 {}
        match body.len() == length {
            true => Frame::decode(head[0], body.freeze()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn decode(kind: u8, mut body: Bytes) -> io::Result<Frame> {
        let short = || invalid("a frame is too short");
        let frame = match kind {
            1 => {
                let digits = body.split_to_checked(16).ok_or_else(short)?;
                let epoch = std::str::from_utf8(&digits).ok().and_then(Epoch::parse_hex);
                let mut addresses = Vec::new();
                while body.has_remaining() {
                    let length = body.try_get_u16().map_err(|_| short())?;
                    let text = body.split_to_checked(usize::from(length)).ok_or_else(short)?;
                    addresses.push(String::from_utf8(text.into()).map_err(|_| invalid("an address is no text"))?);
                }
                Frame::Databases { epoch: epoch.ok_or_else(|| invalid("a claim has no number"))?, addresses }
            }
            2 => {
                let mut positions = Vec::new();
                while body.has_remaining() {
                    let db = body.try_get_u16().map_err(|_| short())?;
                    positions.push((db, get(&mut body)?.ok_or_else(|| invalid("a position is none"))?));
                }
                Frame::Report(positions)
            }
            3 => {
                let db = body.try_get_u16().map_err(|_| short())?;
                let (onto, position) = (get(&mut body)?, get(&mut body)?);
                let position = position.ok_or_else(|| invalid("a position is none"))?;
                Frame::Pushed { db, onto, position, bytes: (!body.is_empty()).then_some(body) }
            }
            4 => Frame::Alive,
            _ => return Err(invalid("a frame is of no known kind")),
        };
        Ok(frame)
    }
}

fn put(body: &mut BytesMut, position: Option<Position>) {
    body.put_u64(position.map_or(0, |position| position.txid.get()));
    body.put_i64(position.map_or(0, |position| position.timestamp_ms));
}

fn get(body: &mut Bytes) -> io::Result<Option<Position>> {
    if body.remaining() < POSITION {
        return Err(invalid("a frame is too short"));
    }
    let (txid, timestamp_ms) = (body.get_u64(), body.get_i64());
    Ok(Txid::new(txid).map(|txid| Position { txid, timestamp_ms }))
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// `Bytes::split_to` panics where there is less.
trait SplitChecked: Sized {
    fn split_to_checked(&mut self, length: usize) -> Option<Self>;
}

impl SplitChecked for Bytes {
    fn split_to_checked(&mut self, length: usize) -> Option<Bytes> {
        (self.len() >= length).then(|| self.split_to(length))
    }
}

pub async fn send(to: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    let (head, file) = frame.encode();
    let writing = async {
        to.write_all(&head).await?;
        if let Some(file) = file {
            to.write_all(&file).await?;
        }
        to.flush().await
    };
    tokio::time::timeout(WRITE_TIME, writing).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn there_and_back(frame: &Frame) -> Frame {
        let (head, file) = frame.encode();
        let bytes = [head, file.unwrap_or_default()].concat();
        let mut rest = &bytes[..];
        let read = Frame::read(&mut rest).await.expect("a frame");
        assert!(rest.is_empty());
        // Whatever is cut off is noticed.
        for length in 0..bytes.len() {
            assert!(Frame::read(&mut &bytes[..length]).await.is_err(), "{length} bytes of {frame:?}");
        }
        read
    }

    fn at(txid: u64) -> Position {
        Position { txid: Txid::new(txid).expect("not zero"), timestamp_ms: -7 }
    }

    #[tokio::test]
    async fn frames_are_read_as_they_were_written() {
        let epoch = Epoch::new(0xab).expect("not zero");
        let frames = [
            Frame::Databases { epoch, addresses: vec!["s3://bucket/app".into(), String::new(), "/data/ä".into()] },
            Frame::Report(vec![]),
            Frame::Report(vec![(0, at(1)), (65_535, at(u64::MAX))]),
            Frame::Pushed { db: 3, onto: None, position: at(9), bytes: None },
            Frame::Pushed { db: 3, onto: Some(at(8)), position: at(9), bytes: Some(Bytes::from_static(b"LTX1")) },
            Frame::Alive,
        ];
        for frame in frames {
            assert_eq!(there_and_back(&frame).await, frame);
        }
    }

    #[tokio::test]
    async fn what_is_no_frame_is_an_error_and_takes_no_memory() {
        let long = [&[3u8][..], &u32::MAX.to_be_bytes()].concat();
        let unknown = [&[9u8][..], &0u32.to_be_bytes()].concat();
        let zero = [&[2u8][..], &18u32.to_be_bytes(), &[0; 18]].concat();
        let no_text = [&[1u8][..], &19u32.to_be_bytes(), b"0000000000000001", &[0, 1, 0xff]].concat();
        for bytes in [long, unknown, zero, no_text] {
            let error = Frame::read(&mut &bytes[..]).await.expect_err("no frame");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
    }
}
