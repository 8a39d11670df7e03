//! The commands about the nodes of a cluster, through the control socket of one of them.

use clap::Args;

use super::control::{Asking, asking};
use super::help::Page;

const NODES: Page = asking(
    "Every node can be asked: it asks the primary, to which followers say how far they are (`cluster.listen`). Without that it \
     shows what the claims say and what it knows of itself. BEHIND is what the bucket has and the node does not: so many \
     transactions, and the time between the newest of both.",
    &["millstream nodes", "millstream nodes -json"],
);

/// Shows the nodes of the cluster: who is the primary, who follows, and how far behind
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = NODES.text(), override_usage = "millstream nodes [FLAGS]")]
pub struct Nodes {
    #[command(flatten)]
    pub asking: Asking,
}

const PROMOTE: Page = asking(
    "The primary uploads its last commits and becomes a follower, then this node is the primary: no commit is lost, and writes \
     wait a few seconds. With -node it can be asked of any node, where the primary has a `cluster.listen`.",
    &["millstream promote", "millstream promote -node fra-2", "millstream promote -socket /run/app.sock -timeout 60"],
);

/// Makes a node of the cluster the primary
#[derive(Debug, Args)]
#[command(args_override_self = true, after_help = PROMOTE.text(), override_usage = "millstream promote [FLAGS]")]
pub struct Promote {
    /// The node that is to be the primary [default: the one that is asked]
    #[arg(long, value_name = "NAME", help_heading = super::help::PROCESS)]
    pub node: Option<String>,
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
