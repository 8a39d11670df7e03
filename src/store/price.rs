//! What requests and storage cost, by the list prices of S3 Standard in us-east-1. Pure.
//!
//! Other providers and regions have other prices, most of them lower; the kinds of requests that
//! are told apart are the same. Deletes are free, and so is what goes in.

/// US dollars for a thousand requests that write or list.
pub const WRITES: f64 = 0.005;
/// The same for those that read.
pub const READS: f64 = 0.0004;
/// For a GB (2^30 bytes) that is kept for a month.
pub const STORAGE: f64 = 0.023;
/// A month.
pub const HOURS: f64 = 730.0;

/// US dollars for so many requests of this kind, as the SDK names it.
pub fn of_requests(request: &str, count: f64) -> f64 {
    let thousand = match request {
        "GetObject" | "HeadObject" => READS,
        "DeleteObject" | "DeleteObjects" | "AbortMultipartUpload" => 0.0,
        _ => WRITES,
    };
    thousand * count / 1000.0
}

/// US dollars for so many bytes, kept for a month.
pub fn of_storage(bytes: u64) -> f64 {
    STORAGE * bytes as f64 / f64::from(1 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_cost_more_than_reads_and_deletes_nothing() {
        assert_eq!(of_requests("PutObject", 1000.0), 0.005);
        assert_eq!(of_requests("ListObjectsV2", 2000.0), 0.01);
        assert_eq!(of_requests("GetObject", 1000.0), 0.0004);
        assert_eq!(of_requests("DeleteObjects", 1000.0), 0.0);
        assert_eq!(of_storage(2 << 30), 0.046);
    }
}
