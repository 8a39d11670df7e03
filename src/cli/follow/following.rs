//! One database that is followed: which replica, where its copy is, and what the end comes to.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use tokio_util::sync::CancellationToken;

use crate::cli::destination::Destination;
use crate::cli::replica_at;
use crate::cli::source::picked;
use crate::config::{Database, Options, Replica, default_meta_path};
use crate::follow::{End, Follower, Order, Position, Reason, take_place};
use crate::remote::Remote;
use crate::restore::{self as restoring, FileOwner, Request, Target};
use crate::run::exit::{BACKUP, CANNOT_WRITE, CONFIG, DENIED, Failure, UNAVAILABLE, USAGE};
use crate::run::{backups, cancelling, connect, restore_failure};
use crate::sqlite::{Presence, look_at_file};
use crate::supervise::Signals;

/// What to follow, and where.
pub(super) struct Following {
    /// More than one only if none was named.
    pub replicas: Vec<Replica>,
    pub all: Arc<[Database]>,
    pub copy: PathBuf,
    pub owner: Option<FileOwner>,
    pub mode: Option<u32>,
}

impl Following {
    pub fn of_url(url: &str, output: &Path) -> Result<Following, Failure> {
        let replicas = vec![replica_at(url)?];
        Ok(Following { replicas, all: Arc::default(), copy: file(output)?, owner: None, mode: None })
    }

    pub fn of_database(
        database: &Database,
        replica: Option<&str>,
        output: &Path,
        options: &Options,
    ) -> Result<Following, Failure> {
        let copy = file(output)?;
        refuse_configured(&copy, options)?;
        Following::at(database, replica, copy, options.databases.as_slice().into())
    }

    /// Its copy is there, which was checked.
    pub fn at(
        database: &Database,
        replica: Option<&str>,
        copy: PathBuf,
        all: Arc<[Database]>,
    ) -> Result<Following, Failure> {
        Ok(Following {
            replicas: picked(database, replica)?.into_iter().cloned().collect(),
            all,
            copy,
            owner: database.file_owner.map(|(uid, gid)| FileOwner { uid, gid }),
            mode: database.file_mode,
        })
    }

    pub fn is_there(&self) -> Result<bool, Failure> {
        let found = look_at_file(&self.copy).map_err(|error| Failure::told(CANNOT_WRITE, error))?;
        Ok(matches!(found, Presence::Database(_)))
    }

    pub fn order(&self, request: Request, interval: Duration, adopts: bool) -> Result<Order, Failure> {
        let owner = self.owner.map(|owner| (owner.uid, owner.gid));
        let taken = take_place(&self.copy, owner, default_meta_path);
        let (notes, locks) = taken.map_err(|error| Failure::new(CANNOT_WRITE, error))?;
        let request = Request { owner: self.owner, mode: self.mode, ..request };
        Ok(Order {
            copy: self.copy.clone(),
            notes,
            request,
            interval,
            adopts,
            locks,
            held: None,
            told: None,
            feed: None,
        })
    }

    pub async fn until_signalled(&self, order: Order, signals: &mut Signals) -> Result<End, Failure> {
        let cancel = CancellationToken::new();
        let follower = self.run(order, cancel.clone());
        tokio::pin!(follower);
        tokio::select! {
            biased;
            _ = cancelling(signals) => {
                cancel.cancel();
                follower.await
            }
            end = &mut follower => end,
        }
    }

    /// Until it is cancelled.
    pub async fn run(&self, order: Order, cancel: CancellationToken) -> Result<End, Failure> {
        let remote = match self.replicas.as_slice() {
            [replica] => connect(replica, &self.all).await?,
            _ => match self.newest(&cancel).await {
                Err(_) if cancel.is_cancelled() => return Ok(End::Stopped(None)),
                newest => newest?,
            },
        };
        Ok(Follower::new(remote, order, cancel).run().await)
    }

    /// The replica that has the newest state now.
    async fn newest(&self, cancel: &CancellationToken) -> Result<Remote, Failure> {
        let backups = backups(self.replicas.iter(), &self.all).await;
        let ((name, remote), _) = restoring::newest(&backups, Target::Latest, cancel).await.map_err(restore_failure)?;
        tracing::info!("following the replica {name}; -replica NAME picks another one");
        Ok(remote.clone())
    }
}

/// A copy is one file.
fn file(output: &Path) -> Result<PathBuf, Failure> {
    match Destination::parse(output).map_err(|error| Failure::new(USAGE, error))? {
        Destination::Database(path) => Ok(path),
        Destination::Gzip(_) | Destination::Stdout => {
            Err(Failure::new(USAGE, anyhow!("a copy that is followed is a database file: -o PATH")))
        }
    }
}

/// What is replicated cannot be a copy of its own replica.
pub(super) fn refuse_configured(copy: &Path, options: &Options) -> Result<(), Failure> {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let real_copy = real(copy);
    let is_configured = options.databases.iter().any(|database| real(&database.path) == real_copy);
    match is_configured || options.find(copy).is_some() {
        false => Ok(()),
        true => {
            let why = "is a database that the configuration replicates: name another file for its copy with -o";
            Err(Failure::new(CONFIG, anyhow!("{} {why}", copy.display())))
        }
    }
}

/// The exit code.
pub(super) fn code(copy: &Path, end: &End) -> Result<u8, Failure> {
    let (reason, why) = match end {
        End::Stopped(position) => {
            let at = position.map(|Position { txid, .. }| format!(", at TXID {txid}"));
            tracing::info!(db = %copy.display(), "stopped following{}", at.unwrap_or_default());
            return Ok(0);
        }
        End::Failed(reason, why) => (reason, why),
    };
    let code = match reason {
        Reason::NoBackup | Reason::Backup => BACKUP,
        Reason::CannotWrite => CANNOT_WRITE,
        Reason::Unavailable => UNAVAILABLE,
        Reason::Denied => DENIED,
        Reason::Config => CONFIG,
    };
    Err(Failure::told(code, why))
}
