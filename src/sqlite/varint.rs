//! SQLite's variable-length integer: in records, in the cells of b-tree pages.

/// The integer that these bytes begin with, and what follows it; `None` when they end within it.
pub fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (at, &byte) in bytes.iter().take(9).enumerate() {
        if at == 8 {
            return Some((value << 8 | u64::from(byte), &bytes[9..]));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seven_bits_a_byte_and_eight_in_the_ninth() {
        type Case = (&'static [u8], Option<(u64, usize)>);
        let table: [Case; 7] = [
            (&[], None),
            (&[0x00, 9], Some((0, 1))),
            (&[0x7f], Some((0x7f, 0))),
            (&[0x81, 0x00], Some((0x80, 0))),
            (&[0x81], None),
            (&[0xff; 9], Some((u64::MAX, 0))),
            (&[0xff; 12], Some((u64::MAX, 3))),
        ];
        for (bytes, wanted) in table {
            assert_eq!(varint(bytes).map(|(value, rest)| (value, rest.len())), wanted, "{bytes:x?}");
        }
    }
}
