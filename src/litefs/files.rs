//! What stands in LiteFS's files, as its clients read them. Pure.

use crate::ltx::Txid;

/// Of a primary whose name is not known.
pub const UNKNOWN: &str = "unknown";

/// `.primary`: the host name of the primary.
pub fn primary(name: &str) -> String {
    format!("{name}\n")
}

/// `NAME-pos`: TXID and checksum. The checksum is not known, because neither a live copy nor a
/// capture has read all pages; zero is what LTX says then.
pub fn position(txid: Option<Txid>) -> String {
    format!("{:016x}/{:016x}\n", txid.map_or(0, Txid::get), 0)
}

/// `.lag`: milliseconds in eleven bytes; `None`: what the primary had has not arrived yet.
pub fn lag(lag_ms: Option<i64>) -> String {
    // The largest number has no room for a line break.
    let most = i64::from(i32::MAX);
    let shown = lag_ms.map_or(most, |ms| ms.min(most - 1));
    let mut text = format!("{shown:+010}\n");
    text.truncate(11);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_as_litefs_writes_them() {
        assert_eq!(primary("web-2"), "web-2\n");
        assert_eq!(position(Txid::new(0xabc)), "0000000000000abc/0000000000000000\n");
        assert_eq!(position(None), "0000000000000000/0000000000000000\n");
        assert_eq!(position(None).len(), 34);
        assert_eq!(lag(Some(0)), "+000000000\n");
        assert_eq!(lag(Some(1234)), "+000001234\n");
        assert_eq!(lag(None), "+2147483647", "the initial sync is not finished");
        assert_eq!(lag(Some(i64::MAX)), "+2147483646", "that is another thing than a long time");
        for text in [lag(None), lag(Some(1)), lag(Some(999_999_999_999))] {
            assert_eq!(text.len(), 11, "{text:?}");
            assert!(text.trim().parse::<i32>().is_ok(), "as litefs-go reads it: {text:?}");
        }
    }
}
