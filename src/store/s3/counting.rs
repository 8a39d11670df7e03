//! What goes out to S3 is counted, and by each answer it is seen what time the server has.

use std::sync::Arc;

use aws_sdk_s3::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_types::date_time::{DateTime, Format};

use super::super::Traffic;
use crate::clock::MACHINE;

/// Counts the requests that really go out, retries included.
#[derive(Debug)]
pub(super) struct Counting(pub Arc<Traffic>);

#[dyn_dispatch_hint]
impl Intercept for Counting {
    fn name(&self) -> &'static str {
        "Counting"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        self.0.requested(config.load::<Metadata>().map_or("", |metadata| metadata.name()));
        Ok(())
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        let date = context.response().headers().get("date");
        if let Some(unix_ms) = date.and_then(unix_ms) {
            self.0.told_the_time(unix_ms, MACHINE.unix_ms());
        }
        Ok(())
    }
}

/// The time of an HTTP `Date`.
fn unix_ms(date: &str) -> Option<i64> {
    DateTime::from_str(date.trim(), Format::HttpDate).ok()?.to_millis().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_an_answer_is_read() {
        assert_eq!(unix_ms("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777_000));
        assert_eq!(unix_ms("yesterday"), None);
    }
}
