//! The commands that change the role of a node, through its control socket.

use clap::Args;

use super::control::{Asking, asking};
use super::help::Page;

const PROMOTE: Page = asking(
    "The primary uploads its last commits and becomes a follower, then this node is the primary: no commit is lost, and writes \
     wait a few seconds. To be used on the node that is to be the primary.",
    &["millstream promote", "millstream promote -socket /run/app.sock -timeout 60"],
);

/// Makes the node of a cluster that answers on the control socket the primary
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = PROMOTE.text(), override_usage = "millstream promote [FLAGS]")]
pub struct Promote {
    #[command(flatten)]
    pub asking: Asking,
}

const DEMOTE: Page = asking(
    "This node uploads its last commits and becomes a follower; another candidate goes on as the primary. If there is none, this \
     node is it again after twice the `ttl`.",
    &["millstream demote", "millstream demote -json"],
);

/// Lets another node of the cluster be the primary
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = DEMOTE.text(), override_usage = "millstream demote [FLAGS]")]
pub struct Demote {
    #[command(flatten)]
    pub asking: Asking,
}
