//! xxHash-32 with seed 0, the checksum inside an LZ4 frame.

const P1: u32 = 0x9E37_79B1;
const P2: u32 = 0x85EB_CA77;
const P3: u32 = 0xC2B2_AE3D;
const P4: u32 = 0x27D4_EB2F;
const P5: u32 = 0x1656_67B1;

const STRIPE: usize = 16;

pub fn xxh32(bytes: &[u8]) -> u32 {
    let stripes = bytes.chunks_exact(STRIPE);
    let rest = stripes.remainder();
    let mut sum = if bytes.len() < STRIPE { P5 } else { sum_of(stripes) };
    // The length counts modulo 2^32.
    sum = sum.wrapping_add(bytes.len() as u32);
    let words = rest.chunks_exact(4);
    let last = words.remainder();
    for word in words {
        sum = sum.wrapping_add(le32(word).wrapping_mul(P3)).rotate_left(17).wrapping_mul(P4);
    }
    for &byte in last {
        sum = sum.wrapping_add(u32::from(byte).wrapping_mul(P5)).rotate_left(11).wrapping_mul(P1);
    }
    sum = (sum ^ sum >> 15).wrapping_mul(P2);
    sum = (sum ^ sum >> 13).wrapping_mul(P3);
    sum ^ sum >> 16
}

/// Four lanes that do not wait for each other.
fn sum_of(stripes: std::slice::ChunksExact<'_, u8>) -> u32 {
    let mut lanes = [P1.wrapping_add(P2), P2, 0, 0u32.wrapping_sub(P1)];
    for stripe in stripes {
        for (lane, word) in lanes.iter_mut().zip(stripe.chunks_exact(4)) {
            *lane = lane.wrapping_add(le32(word).wrapping_mul(P2)).rotate_left(13).wrapping_mul(P1);
        }
    }
    let rotated = lanes.into_iter().zip([1, 7, 12, 18]).map(|(lane, by)| lane.rotate_left(by));
    rotated.fold(0, u32::wrapping_add)
}

fn le32(word: &[u8]) -> u32 {
    u32::from_le_bytes(word.try_into().expect("four bytes"))
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
