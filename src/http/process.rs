//! Figures of the kernel about this process.

use std::path::Path;
use std::time::Duration;

use super::facts::ProcessFacts;
use crate::fsx;

/// Ticks in a second, as `/proc` counts them on every Linux.
const TICKS: u64 = 100;

/// Reads `/proc`, so it blocks for a moment. Figures that cannot be read are `None`.
pub fn look(started_at_ms: i64) -> ProcessFacts {
    let read = |path: &str| fsx::read(Path::new(path)).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let stat = read("/proc/self/stat").unwrap_or_default();
    let limits = read("/proc/self/limits").unwrap_or_default();
    let status = read("/proc/self/status").unwrap_or_default();
    let open_files = std::fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1) as u64);
    ProcessFacts { started_at_ms: Some(started_at_ms), open_files, ..parsed(&stat, &limits, &status) }
}

fn parsed(stat: &str, limits: &str, status: &str) -> ProcessFacts {
    // The name in the second field may contain any character; it ends at the last parenthesis.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<u64>().ok());
    let ticks = field(14).zip(field(15)).map(|(user, system)| user + system);
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_ascii_whitespace().next());
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line?.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    ProcessFacts {
        cpu: ticks.map(|ticks| Duration::from_millis(ticks * 1000 / TICKS)),
        max_files: limit.and_then(|limit| limit.parse().ok()),
        resident_bytes: kib("VmRSS").map(|kib| kib * 1024),
        virtual_bytes: kib("VmSize").map(|kib| kib * 1024),
        ..ProcessFacts::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_the_right_ones() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 3 0 9 1000 20 184";
        let limits = "Limit   Soft Limit  Hard Limit  Units\nMax open files            1024                 4096                 files     \n";
        let facts = parsed(stat, limits, "Name:\tx\nVmSize:\t  2048 kB\nVmRSS:\t  512 kB\n");
        assert_eq!(facts.cpu, Some(Duration::from_secs(3)));
        assert_eq!(
            (facts.max_files, facts.resident_bytes, facts.virtual_bytes),
            (Some(1024), Some(512 << 10), Some(2 << 20))
        );
        let nothing = parsed("", "", "");
        assert!(nothing.cpu.is_none() && nothing.max_files.is_none() && nothing.resident_bytes.is_none());
    }

    #[test]
    fn this_process_has_all_of_them() {
        let facts = look(5);
        assert!(facts.cpu.is_some() && facts.open_files > Some(2) && facts.max_files > facts.open_files);
        assert!(facts.resident_bytes > Some(1 << 20) && facts.virtual_bytes >= facts.resident_bytes);
    }
}
