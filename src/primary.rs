//! Where the primary is, as this node sees it: what the roles of nodes and the proxy in front of an
//! application tell each other.

/// Whose application may write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Primary {
    /// It is not known yet, or it is about to change: at the start, during a hand-off, after the
    /// primary has failed.
    #[default]
    Unknown,
    /// This node's.
    Here,
    /// Another node's; the databases of this one are live copies.
    At(Peer),
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub name: String,
    /// Where other nodes reach its proxy (`advertise`); `None`: it did not say.
    pub url: Option<String>,
}
