//! A log that nobody reads: a blocked log driver must not hold up the application, its signals or its last commit.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{Rig, Running};

/// The longest an ordinary end may take here; without the fix it never comes.
const HANG: Duration = Duration::from_secs(40);

/// A pipe as stderr. The reader must live, or writes would fail instead of wait.
struct Pipe {
    reader: io::PipeReader,
    writer: io::PipeWriter,
}

impl Pipe {
    fn new() -> Pipe {
        let (reader, writer) = io::pipe().expect("a pipe");
        Pipe { reader, writer }
    }

    fn full() -> Pipe {
        let pipe = Pipe::new();
        pipe.fill();
        pipe
    }

    /// Through a file description of its own: the one that is inherited stays a blocking one.
    fn fill(&self) {
        let path = format!("/proc/self/fd/{}", self.writer.as_raw_fd());
        let open = File::options().write(true).custom_flags(nix::libc::O_NONBLOCK).open(path);
        let mut own = open.expect("open the pipe again");
        for size in [4096, 1] {
            while own.write(&vec![b'.'; size]).is_ok() {}
        }
    }

    /// Everything that is said from now on, to the end of all writers.
    fn read_to_end(mut self) -> String {
        drop(self.writer);
        let mut text = Vec::new();
        self.reader.read_to_end(&mut text).expect("read the pipe");
        String::from_utf8(text).expect("UTF-8")
    }
}

fn supervised(rig: &Rig, pipe: &Pipe, steps: &[&str]) -> Running {
    let stderr = pipe.writer.try_clone().expect("a descriptor").into();
    rig.supervise(rig.app(steps)).stderr(stderr).spawn()
}

#[test]
fn full_before_the_start_the_application_lives_and_its_last_row_is_safe() {
    for mut rig in [Rig::on_file(), Rig::on_s3()] {
        let pipe = Pipe::full();
        let ready = format!("touch:{}", rig.path("ready").display());
        let mut running = supervised(&rig, &pipe, &["create", "rows:3", &ready, "idle", "term-row", "term-exit:7"]);
        running.wait_until("the application runs", || rig.path("ready").exists());
        running.signal(Signal::SIGTERM);
        running.wait_at_most(HANG).assert_code(7);
        assert_eq!(rig.assert_all_rows_are_safe(), 4);
    }
}

#[test]
fn full_in_the_middle_a_sigterm_is_forwarded_and_the_last_row_is_safe() {
    let mut rig = Rig::on_file();
    rig.settings += "logging: {level: trace}\n";
    let pipe = Pipe::new();
    let ready = format!("touch:{}", rig.path("ready").display());
    let mut running = supervised(&rig, &pipe, &["create", "rows:1", &ready, "forever:5", "term-row", "term-exit:0"]);
    running.wait_until("the application runs", || rig.path("ready").exists());
    pipe.fill();
    // Each forwarded signal is a line that nobody takes.
    for _ in 0..200 {
        running.signal(Signal::SIGWINCH);
        std::thread::sleep(Duration::from_millis(1));
    }
    running.signal(Signal::SIGTERM);
    running.wait_at_most(HANG).assert_code(0);
    assert!(rig.assert_all_rows_are_safe() > 2);
}

#[test]
fn what_was_said_meanwhile_is_read_later() {
    let rig = Rig::on_file();
    let pipe = Pipe::full();
    let ready = format!("touch:{}", rig.path("ready").display());
    let mut running = supervised(&rig, &pipe, &["create", "rows:1", &ready, "idle", "term-exit:3"]);
    running.wait_until("the application runs", || rig.path("ready").exists());
    running.signal(Signal::SIGTERM);
    let reading = std::thread::spawn(move || pipe.read_to_end());
    running.wait_at_most(HANG).assert_code(3);
    let said = reading.join().expect("the reader");
    let lines = said.trim_start_matches('.');
    assert!(lines.contains("started the application") && lines.contains("exit code 3"), "{lines}");
}

#[test]
fn a_command_that_is_refused_ends_although_nobody_reads_why() {
    let rig = Rig::on_file();
    let refused = [&["run", "-no-such-flag"][..], &["run", "-config", "missing.yml", "--", "true"], &["wal"]];
    for (args, code) in refused.into_iter().zip([64, 78, 64]) {
        let pipe = Pipe::full();
        let stderr = pipe.writer.try_clone().expect("a descriptor").into();
        rig.millstream(args).stderr(stderr).spawn().wait_at_most(HANG).assert_code(code);
    }
}

#[test]
fn a_reader_that_has_gone_away_changes_nothing() {
    let mut rig = Rig::on_file();
    let Pipe { reader, writer } = Pipe::new();
    drop(reader);
    rig.supervise(rig.app(&["create", "rows:2", "exit:5"])).stderr(writer.into()).finish().assert_code(5);
    assert_eq!(rig.assert_all_rows_are_safe(), 2);
    let Pipe { reader, writer } = Pipe::new();
    drop(reader);
    rig.millstream(["run", "-config", "missing.yml"]).stderr(writer.into()).finish().assert_code(78);
}
