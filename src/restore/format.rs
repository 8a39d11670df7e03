//! The choice between the two formats that can lie in one place: LTX, and the generations of
//! Litestream 0.3. Pure.
//!
//! An upgrade from 0.3 to 0.5 begins LTX files beside the old ones and deletes nothing, so both are
//! there for good. The choice is Litestream's: what was written last counts; for a moment in the
//! past, the last full image before it.

/// Which of the two to restore from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Ltx,
    Old,
}

/// `None` is "nothing there (in time)". A tie goes to LTX.
pub fn choose(ltx_ms: Option<i64>, old_ms: Option<i64>) -> Format {
    match (ltx_ms, old_ms) {
        (None, Some(_)) => Format::Old,
        (Some(ltx_ms), Some(old_ms)) if old_ms > ltx_ms => Format::Old,
        _ => Format::Ltx,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_younger_one_wins_and_a_tie_is_ltx() {
        for (ltx_ms, old_ms, wanted) in [
            (None, None, Format::Ltx),
            (Some(1), None, Format::Ltx),
            (None, Some(1), Format::Old),
            (Some(1), Some(1), Format::Ltx),
            (Some(1), Some(2), Format::Old),
            (Some(2), Some(1), Format::Ltx),
        ] {
            assert_eq!(choose(ltx_ms, old_ms), wanted, "{ltx_ms:?} {old_ms:?}");
        }
    }
}
