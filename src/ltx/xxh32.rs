//! xxHash-32 with seed 0, the checksum inside an LZ4 frame.

const P1: u32 = 0x9E37_79B1;
const P2: u32 = 0x85EB_CA77;
const P3: u32 = 0xC2B2_AE3D;
const P4: u32 = 0x27D4_EB2F;
const P5: u32 = 0x1656_67B1;

pub fn xxh32(bytes: &[u8]) -> u32 {
    let (stripes, rest) = bytes.as_chunks::<16>();
    let mut sum = if stripes.is_empty() { P5 } else { sum_of(stripes) };
    // The length counts modulo 2^32.
    sum = sum.wrapping_add(bytes.len() as u32);
    let (words, last) = rest.as_chunks::<4>();
    for word in words {
        sum = sum.wrapping_add(u32::from_le_bytes(*word).wrapping_mul(P3)).rotate_left(17).wrapping_mul(P4);
    }
    for &byte in last {
        sum = sum.wrapping_add(u32::from(byte).wrapping_mul(P5)).rotate_left(11).wrapping_mul(P1);
    }
    sum = (sum ^ sum >> 15).wrapping_mul(P2);
    sum = (sum ^ sum >> 13).wrapping_mul(P3);
    sum ^ sum >> 16
}

/// Four lanes that do not wait for each other. They are written out, because an unoptimised build
/// would spend ten times as long in iterators over them.
fn sum_of(stripes: &[[u8; 16]]) -> u32 {
    let (mut a, mut b, mut c, mut d) = (P1.wrapping_add(P2), P2, 0, 0u32.wrapping_sub(P1));
    for &[a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3] in stripes {
        a = round(a, [a0, a1, a2, a3]);
        b = round(b, [b0, b1, b2, b3]);
        c = round(c, [c0, c1, c2, c3]);
        d = round(d, [d0, d1, d2, d3]);
    }
    let (a, b) = (a.rotate_left(1), b.rotate_left(7));
    a.wrapping_add(b).wrapping_add(c.rotate_left(12)).wrapping_add(d.rotate_left(18))
}

#[inline(always)]
fn round(lane: u32, word: [u8; 4]) -> u32 {
    lane.wrapping_add(u32::from_le_bytes(word).wrapping_mul(P2)).rotate_left(13).wrapping_mul(P1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // The first three are the reference implementation's; the last one is longer than a stripe.
        assert_eq!(xxh32(b""), 0x02CC_5D05);
        assert_eq!(xxh32(b"a"), 0x550D_7456);
        assert_eq!(xxh32(b"abc"), 0x32D1_53FF);
        assert_eq!(xxh32(b"Nobody inspects the spammish repetition"), 0xE229_3B2F);
    }
}
