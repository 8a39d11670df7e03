//! millstream gives a plain SQLite application a life outside its disk.
//!
//! As a container's entrypoint it restores the database from object storage if it is missing, runs
//! the migrations, starts the application as its child, ships every committed transaction to the
//! bucket as it happens, and, when the child ends, makes sure the last commit is safe before it
//! passes on the child's exit code.
//!
//! # The house
//!
//! Modules depend only on modules in rows below them; two modules of one row do not know each
//! other, and no two files of a module need each other (`tests/it/layers.rs` keeps it so).
//!
//! ```text
//!    main → cli/            what the user types; the one place where an error becomes a sentence and an exit code
//!             │
//!           run/            boot order, one event loop, shutdown order (the composition root)
//!             │
//!          config/          litestream.yml + env + flags → typed Options; nothing below reads YAML or env
//!             │
//!     ┌───────┴────────┐
//!  http/  verify/  control/  doctor/   page, metrics, health · the proof that a replica restores · the socket · what is wrong here
//!  copy/  follow/  proxy/  litefs/     a replica copied to another place · a live copy for readers on this machine · in front of the application · for the clients of LiteFS
//!  nodes/                              what the nodes of a cluster say to each other
//!     └───────┬────────┘
//!          fleet/           the databases that are replicated now: one task, asked by commands
//!     ┌───────┴────────┐
//!  replicate/      restore/  claim/    up and down · who writes: claims, and the handover to the next process
//!     │      ╲     ╱   │        │
//!    db/  state/   remote/  status  directory/   the local file · our notes beside it · the bucket (LTX names, once for every store) · databases found in directories
//!     │      │        │
//!  sqlite/  ltx/    store/  supervise/ formats and ports: SQLite's files · LTX codec · bytes by key · child processes
//!     └──────┴───┬────┘
//!     page · fsx · clock · figures · exposition · primary · endpoint · secret · members     words
//! ```
//!
//! # What must always hold
//!
//! | | | kept by | shown by |
//! |---|---|---|---|
//! | I1 | A restore is an error, or a database that equals the source page for page at some commit | `restore`, `verify` | `restore::tests`, `crash` |
//! | I2 | The exit code tells the truth: "synced" means that the bucket alone restores the last acknowledged commit | `run`, `replicate` | `exit_codes`, `supervision` |
//! | I3 | `remote ≤ captured ≤ wal`: a watermark moves only after the bytes are durable where it says they are | `replicate::core`, `status` | `core::sim` |
//! | I4 | One history per replica path: a second writer can lose the race, and never mixes in | `store` (`store::Put::create`), `replicate` | `store::conformance`, `doubt`, `hostile` |
//! | I5 | The application never starts on a partial, foreign or empty database while there is a backup; "no backup" is never confused with "cannot tell" | `run`, `restore` | `boot`, `local` |
//! | I6 | Nothing but SQLite's own checkpoint writes to the user's database, and an import that a person orders; the write lock is held for milliseconds | `sqlite`, `db` | `shipping`, `scripts/bench writer` |
//! | I7 | Memory, local disk, requests and descriptors are bounded; an idle database costs no request | `ltx`, `restore`, `db`, `replicate` | `scripts/requests`, `replicate::tests` |
//! | I8 | Nothing fails silently: since when something waits for its upload is known, logged and shown | `status`, `run` | `stderr`, `shipping` |
//!
//! # Words
//!
//! SQLite's, Litestream's and LiteFS's words mean here what they mean there: WAL, frame,
//! checkpoint, snapshot, LTX, TXID, level, compaction, retention, replica (a destination, as in
//! litestream.yml). A few are used more narrowly than elsewhere:
//!
//! | | |
//! |---|---|
//! | capture | frames of the WAL become pages |
//! | upload | pages become an object in the bucket |
//! | confirmed | the bucket has answered that an object is durable |
//! | merge | several LTX files become one; *compaction* is the rule that says which and when |
//! | spill | captured transactions that wait on the local disk, because the bucket is away and the WAL must not grow |
//! | fenced | another writer has created the next object: nothing more is uploaded, and no commit is possible |
//! | orphaned | what was committed after that, and is in no history |
//! | remote | the side of the bucket, whatever kind of store it is |
//!
//! # One commit, from the WAL to the bucket
//!
//! 1. `db/watch.rs` wakes up `replicate/driver.rs`, because the `-wal` file changed.
//! 2. `replicate/core/` decides what that calls for: a capture.
//! 3. `sqlite/connection.rs` begins a read transaction that pins the WAL; `sqlite/mark.rs` says on
//!    which frame it stands.
//! 4. `sqlite/wal.rs` reads the frames up to that mark and checks salts and checksums.
//! 5. `db/capture.rs` makes a batch of them: the newest version of every changed page.
//! 6. `ltx/encode.rs` turns the batch into the bytes of an LTX file.
//! 7. `replicate/upload.rs` creates the next level-0 object, and finds out what it means if that
//!    exists already.
//! 8. `store/s3/mod.rs` (or `store/file.rs`) makes the bytes durable; only then does the watermark
//!    move.
//!
//! # Working on it
//!
//! `.ci/run` is everything that must pass.
//!
//! | | |
//! |---|---|
//! | `scripts/test quick` | what is the same every time and soon done: a minute, no server |
//! | `scripts/test` | everything, against a real S3 server and the real Litestream |
//! | `scripts/test NAME`, `scripts/test --lib NAME`, `scripts/test --test it NAME` | the tests whose names contain NAME: all, unit tests, the real binary from outside |
//! | `MILLSTREAM_TEST_SEED=17 scripts/test NAME` | a test that prints a seed, with that one |
//! | `scripts/simulate 17`, `scripts/simulate 0..50000` | histories of the simulated replication: one with everything that happened, or many |
//! | `scripts/fuzz ltx 10m`, `scripts/fuzz ltx 4711` | random inputs for ten minutes; one of them again. Targets: `ltx`, `wal`, `yaml`, `url`, `list`, `all` |
//! | `scripts/deny` | licences and sources of all crates, banned and doubled ones (`deny.toml`) |
//! | `scripts/bench`, `scripts/latency`, `scripts/requests`, `scripts/deploys`, `scripts/soak` | the figures that the guides name, deploys under load, and hours of kills |
//! | `scripts/kills`, `scripts/reads` | a cluster's primary killed a hundred times, and what readers of copies see while they are brought forward |
//!
//! *A key* of litestream.yml is a row in the table of `config/keys.rs`: its section, its kind, and
//! whether we have it. Reading it takes a field in `options.rs` and a line in `resolve.rs` (or
//! `replica.rs`, for a key of a replica); then a line in `litestream.yml.example`. Suggestions,
//! kinds and errors with a line number come from the table.
//!
//! *A store* is one file (or directory) in `store/` that implements `Store`; `store/conformance.rs`
//! is the contract, and is called with it. Keys of the new kind are rows as above, its URL is
//! understood in `config/url.rs`, and `run/connect.rs` opens it. Nothing else knows which kinds
//! there are.
//!
//! *A command* is a file in `cli/args/` with its flags, a file in `cli/` that carries it out, a
//! line for each in `Command` (`cli/args.rs`) and `dispatch` (`cli/mod.rs`), one in `help::GROUPS`
//! (`cli/args/help.rs`), and its page of help among the golden files of `tests/it/help.rs`.
//! Everything that it prints is made there; the modules below return facts.
//!
//! *A fuzz target* is a test that calls `fuzz::fuzz` (`fuzz.rs`), beside the code that it is about,
//! a directory of small real files in `tests/corpus/`, and a line in `scripts/fuzz`.
//!
//! *A module* has its row in `tests/it/layers.rs`, which also sees to it that no two files of a
//! module need each other. Every check is shown once that it can fail.

#![cfg_attr(test, expect(clippy::disallowed_methods, reason = "tests wait for what is real"))]

mod clock;
mod endpoint;
mod exposition;
mod figures;
mod fsx;
mod members;
mod page;
mod primary;
mod secret;

#[cfg(test)]
mod fuzz;

mod ltx;
mod sqlite;
mod store;
mod supervise;

mod db;
mod directory;
mod remote;
mod state;
mod status;

mod claim;
mod replicate;
mod restore;

mod fleet;

mod control;
mod copy;
mod doctor;
mod follow;
mod http;
mod litefs;
mod nodes;
mod proxy;
mod verify;

mod config;

mod run;

mod cli;

/// Runs the command line and returns the exit code of the process.
pub fn main() -> std::process::ExitCode {
    keep_the_heap_small();
    sqlite::use_own_heap();
    supervise::ignore_fatal_signals();
    cli::main()
}

/// Parts of large objects come and go by the megabyte. glibc would keep them for later once the
/// first one was freed, in an arena for each thread: twice the memory for no gain in time
/// (`scripts/bench snapshot`).
fn keep_the_heap_small() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: no other thread exists yet, and the calls take numbers only.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 256 * 1024);
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}
