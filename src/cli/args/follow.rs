//! The command `follow`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::help::{self, Page};
use super::life::duration;
use super::look::Look;
use crate::cli::source::Source;
use crate::config::Sources;

const FOLLOW: Page = Page {
    more: "DB is a database of the configuration file, URL a replica: s3://BUCKET/PATH or file:///PATH. The copy is \
           restored if it is missing. From then on, until a signal ends the program, every state of the replica is \
           installed into it as one ordinary transaction: programs that read the copy can keep it open, and see whole \
           states only. They must not write to it; the write lock is held, and what is written all the same is undone.\n\n\
           With -dir every database that has a replica below URL, or all of the configuration file, gets a copy in DIR; \
           every 60 intervals new ones are looked for. One that cannot be followed is said, and the others go on; the exit code \
           is that of the worst.\n\n\
           While nothing is new for a minute, the replica is asked less often: at last every five intervals. The copy \
           cannot be replicated: a note beside it (.NAME-millstream/follows.json) says that it is one.",
    examples: &[
        "millstream follow -o /data/copy.db s3://bucket/app",
        "millstream follow -o copy.db -interval 200ms file:///mnt/backup/app",
        "millstream follow -o /data/copy.db -config litestream.yml /srv/app.db",
        "millstream follow -dir /data/copies s3://bucket/tenants",
    ],
    variables: help::STORE_VARIABLES,
    codes: &[
        ("0", "stopped by a signal"),
        help::USAGE,
        help::UNREACHABLE,
        help::DEFECT,
        ("73", "the file is no copy, cannot be written, or another program keeps it"),
        help::BACKUP,
        help::DENIED,
        help::CONFIG,
    ],
};

/// Keeps a copy of a database at its newest state, for programs that read it
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    after_help = FOLLOW.text(),
    override_usage = "millstream follow [FLAGS] -o PATH DB|URL\n       millstream follow [FLAGS] -dir DIR [URL]"
)]
pub struct Follow {
    /// File of the copy
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<PathBuf>,
    /// Directory for a copy of each database below URL, or of each in the configuration file
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    pub dir: Option<PathBuf>,
    /// How often the replica is asked for something new
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub interval: Duration,
    /// Turn the database that is there into a copy, whatever it holds
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub look: Look,
}

impl Follow {
    pub fn sources<'a>(&self, env: &'a dyn Fn(&str) -> Option<String>, cwd: PathBuf) -> Sources<'a> {
        self.look.sources(env, cwd)
    }

    pub fn source(&self) -> Source {
        self.look.source()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.dir.is_some() {
            return self.look.check_below("follow");
        }
        self.look.check("follow -o PATH")?;
        match self.output {
            Some(_) => Ok(()),
            None => Err("the file of the copy is required: millstream follow -o PATH DB|URL".into()),
        }
    }
}
