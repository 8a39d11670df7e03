//! The file of the socket: only users whom its mode allows can ever connect, and the file of a
//! killed process is replaced.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixSocket, UnixStream};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 64;
/// How long to wait for an answer on an existing socket, before it counts as left over.
const PATIENCE: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("the control socket {} cannot be made: another file is there; set `socket.path` to another path", .0.display())]
    NoSocket(PathBuf),
    #[error(
        "the control socket {} cannot be made: {why}; make its directory writable, set `socket.path`, or switch it off",
        path.display()
    )]
    Io { path: PathBuf, why: String },
}

/// A socket that takes connections.
#[derive(Debug)]
pub struct Socket {
    pub(super) listener: UnixListener,
    pub(super) file: SocketFile,
}

/// The file; removed at the end, if it is still ours.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Socket {
    /// Needs a runtime.
    pub async fn bind(path: &Path, mode: u32) -> Result<Socket, SocketError> {
        let failed = |error: io::Error| SocketError::Io { path: path.to_owned(), why: error.to_string() };
        make_way(path).await?;
        let socket = UnixSocket::new_stream().map_err(failed)?;
        socket.bind(path).map_err(failed)?;
        let file = SocketFile { path: path.to_owned(), identity: identity(path) };
        // Before a connection is possible.
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
        let listener = socket.listen(BACKLOG).map_err(failed)?;
        Ok(Socket { listener, file })
    }

    pub fn path(&self) -> &Path {
        &self.file.path
    }
}

/// Removes what an earlier process left, as Litestream does.
async fn make_way(path: &Path) -> Result<(), SocketError> {
    let failed = |error: io::Error| SocketError::Io { path: path.to_owned(), why: error.to_string() };
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(SocketError::NoSocket(path.to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    }
    if let Ok(Ok(_)) = tokio::time::timeout(PATIENCE, UnixStream::connect(path)).await {
        tracing::warn!(
            "another process listens on the control socket {}, and cannot be asked there any more: give each process a \
             `socket.path` of its own",
            path.display()
        );
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A process that was started meanwhile may have put its own there.
        if self.identity.is_some() && self.identity == identity(&self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_old_socket_is_replaced_and_anything_else_stays() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("control.sock");
        // As after a kill: the file stays, and no process listens there.
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bind"));
        let first = Socket::bind(&path, 0o640).await.expect("replaced");
        let mode = fs::symlink_metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        let second = Socket::bind(&path, 0o600).await.expect("as Litestream, also where somebody listens");
        drop(first);
        assert!(path.exists(), "it is the second one's");
        UnixStream::connect(&path).await.expect("the second one listens");
        drop(second);
        assert!(!path.exists());

        fs::write(&path, "precious").expect("write");
        let refused = Socket::bind(&path, 0o600).await.expect_err("a file");
        assert!(matches!(refused, SocketError::NoSocket(_)), "{refused}");
        assert_eq!(fs::read(&path).expect("read"), b"precious");
        let nowhere = Socket::bind(&dir.path().join("no/such/dir.sock"), 0o600).await.expect_err("no directory");
        assert!(nowhere.to_string().contains("No such file"), "{nowhere}");
        let long = Socket::bind(&dir.path().join("x".repeat(200)), 0o600).await.expect_err("too long for a socket");
        assert!(matches!(long, SocketError::Io { .. }), "{long}");
    }
}
