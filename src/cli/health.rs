//! `millstream health`: for the HEALTHCHECK of a container that has no other program.

use std::io::Write;

use url::Url;

use super::args::Health;
use super::process::Environment;
use super::{logger, printed};
use crate::http::ask;
use crate::run::Failure;

/// The only code that Docker knows for any problem.
const UNHEALTHY: u8 = 1;

pub async fn health(command: Health) -> Result<u8, Failure> {
    let unhealthy = |error: anyhow::Error| Failure { code: UNHEALTHY, error };
    logger::start_without_file(command.file.log.level());
    let url = address(&command).map_err(unhealthy)?;
    let (status, text) = ask(&url, command.timeout).await.map_err(|error| unhealthy(error.into()))?;
    let printed = printed(write!(std::io::stdout(), "{}", text.trim_end().to_owned() + "\n"))?;
    Ok(if (200..300).contains(&status) { printed } else { UNHEALTHY })
}

fn address(command: &Health) -> anyhow::Result<Url> {
    let text = match &command.url {
        Some(url) => url.clone(),
        None => configured(command)?,
    };
    let mut url = Url::parse(&text).map_err(|error| anyhow::anyhow!("{text} is not a URL: {error}"))?;
    if matches!(url.path(), "" | "/") {
        url.set_path("/readyz");
    }
    Ok(url)
}

fn configured(command: &Health) -> anyhow::Result<String> {
    let environment = Environment::of_process().map_err(|failure| failure.error)?;
    let loaded = environment.load(|env, cwd| command.sources(env, cwd)).map_err(|failure| failure.error)?;
    let addr = loaded.options.monitoring.addr.as_ref();
    let addr = addr.ok_or_else(|| {
        anyhow::anyhow!(
            "{}: no `addr` is configured, so nothing can be asked; add for example addr: \"127.0.0.1:9090\"",
            loaded.origin
        )
    })?;
    let port_0 =
        || anyhow::anyhow!("{}: addr has port 0, which is another one at every start; pass -url", loaded.origin);
    addr.url().ok_or_else(port_0)
}
