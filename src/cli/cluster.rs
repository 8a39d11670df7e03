//! `nodes`, `promote` and `demote`: the commands about a cluster.

use std::io::{self, Write};
use std::time::Duration;

use super::args::{Asking, Demote, Nodes, Promote};
use super::control::{client, failure, show};
use super::{table, terminal};
use crate::control::RoleChanged;
use crate::ltx::Txid;
use crate::members::{Member, MemberDatabase, Members};
use crate::run::Failure;

pub async fn nodes(command: Nodes) -> Result<u8, Failure> {
    let answer = client(&command.asking, command.asking.short()).nodes().await;
    let members = answer.map_err(|error| failure("nodes", error))?;
    show(command.asking.json, &members, |out| describe(&members, out))
}

pub async fn promote(command: Promote) -> Result<u8, Failure> {
    let changed = client(&command.asking, command.asking.long()).promote(command.node).await;
    show_role(&command.asking, &changed.map_err(|error| failure("promote", error))?)
}

pub async fn demote(command: Demote) -> Result<u8, Failure> {
    let changed = client(&command.asking, command.asking.long()).demote().await;
    show_role(&command.asking, &changed.map_err(|error| failure("demote", error))?)
}

fn show_role(asking: &Asking, changed: &RoleChanged) -> Result<u8, Failure> {
    show(asking.json, changed, |out| {
        writeln!(out, "role: {}\nprimary: {}", changed.role, changed.primary.as_deref().unwrap_or("not known yet"))
    })
}

/// A line for each database of each node.
fn describe(members: &Members, out: &mut dyn Write) -> io::Result<()> {
    let mut rows = vec![["NODE", "ROLE", "REPLICA", "TXID", "BEHIND", "HEARD"].map(str::to_owned).to_vec()];
    for member in &members.nodes {
        if member.databases.is_empty() {
            rows.push(row(member, "", "", ""));
        }
        for database in &member.databases {
            let txid = database.txid.and_then(Txid::new).map_or_else(|| "none yet".into(), |txid| txid.to_string());
            rows.push(row(member, &database.replica, &txid, &behind(member, database)));
        }
    }
    table::write(&rows, &[2], terminal::width(), out)?;
    match &members.note {
        Some(note) => writeln!(out, "{note}"),
        None => Ok(()),
    }
}

fn row(member: &Member, replica: &str, txid: &str, behind: &str) -> Vec<String> {
    let role = match (member.role.as_str(), member.candidate) {
        ("follower", false) => "follower (no candidate)",
        (role, _) => role,
    };
    let heard = member.heard_ms_ago.map(|ms| format!("{:.1}s ago", Duration::from_millis(ms).as_secs_f64()));
    [&member.name, role, replica, txid, behind, heard.as_deref().unwrap_or_default()].map(str::to_owned).to_vec()
}

fn behind(member: &Member, database: &MemberDatabase) -> String {
    match (database.behind_txids, database.behind_ms) {
        _ if member.role == "primary" => String::new(),
        (Some(0), _) => "0".into(),
        (Some(txids), Some(ms)) => format!("{txids} ({:.1}s)", Duration::from_millis(ms).as_secs_f64()),
        _ => "not known".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_its_line() {
        let members = r#"{"nodes":[
            {"name":"a","role":"primary","candidate":true,"databases":[{"replica":"s3://b/p","txid":18,"behind_txids":0,"behind_ms":0}]},
            {"name":"b","role":"follower","candidate":false,"heard_ms_ago":340,"databases":[{"replica":"s3://b/p","txid":16,"behind_txids":2,"behind_ms":1500}]},
            {"name":"c","role":"follower","candidate":true,"heard_ms_ago":40,"databases":[{"replica":"s3://b/p"}]}],
            "note":"and more"}"#;
        let members: Members = serde_json::from_str(members).expect("JSON");
        let mut out = Vec::new();
        describe(&members, &mut out).expect("memory");
        let expected = "\
NODE  ROLE                     REPLICA   TXID              BEHIND     HEARD
a     primary                  s3://b/p  0000000000000012
b     follower (no candidate)  s3://b/p  0000000000000010  2 (1.5s)   0.3s ago
c     follower                 s3://b/p  none yet          not known  0.0s ago
and more
";
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }
}
