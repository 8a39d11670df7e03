//! Work that may take only so long.

/// `None` when the limit comes first.
pub async fn within<T>(limit: Option<impl Future<Output = ()>>, work: impl Future<Output = T>) -> Option<T> {
    let limit = async {
        match limit {
            Some(limit) => limit.await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        done = work => Some(done),
        () = limit => None,
    }
}
