//! For programs that were written for LiteFS: `litefs: {dir, listen, secret}`, or `litefs: on`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::monitoring::Addr;
use super::paths::PathContext;
use super::section::Section;
use crate::litefs::Token;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Litefs {
    /// Where LiteFS's files appear; `None`: beside each database.
    pub dir: Option<PathBuf>,
    /// Where LiteFS's API is served; `None`: nowhere.
    pub listen: Option<Addr>,
    /// What other machines have to know to be answered.
    pub secret: Option<Token>,
}

/// LiteFS's port.
const PORT: u16 = 20202;

/// What the file says of the databases at these paths; `None`: there is no such thing.
pub fn of_root<'a>(
    root: &Section,
    mut databases: impl Iterator<Item = &'a Path>,
    context: PathContext<'_>,
) -> Result<Option<Litefs>, String> {
    let Some(section) = root.section("litefs") else { return Ok(None) };
    let dir = section.text("dir").map(|dir| context.absolute(Path::new(dir))).transpose();
    let dir = dir.map_err(|why| format!("litefs.dir: {why}"))?;
    let listen = match section.text("listen") {
        Some("off") => None,
        Some(text) => Some(Addr::parse(text).map_err(|why| format!("litefs.listen: {why}"))?),
        None => Some(Addr { host: Some("127.0.0.1".into()), port: PORT }),
    };
    let secret = section.text("secret").map(Token::parse).transpose().map_err(|why| format!("litefs.secret: {why}"))?;
    if section.bool("off").unwrap_or(false) {
        return Ok(None);
    }
    if root.section("cluster").is_none() {
        return Err("litefs: there is no `cluster`, and without one no node is the primary of another".into());
    }
    if secret.is_none() && !listen.as_ref().is_none_or(is_loopback) {
        return Err(
            "litefs.listen: other machines can reach it, and it hands out whole databases: set `litefs.secret`, for example by \
             `openssl rand -hex 32`, or listen at 127.0.0.1"
                .into(),
        );
    }
    // Programs know a database by the name of its file.
    let mut names = BTreeSet::new();
    if let Some(twice) = databases.find_map(|path| path.file_name().filter(|name| !names.insert(*name))) {
        return Err(format!(
            "litefs: two databases are named {twice:?}, and LiteFS's clients know them by these names: rename one"
        ));
    }
    Ok(Some(Litefs { dir, listen, secret }))
}

fn is_loopback(listen: &Addr) -> bool {
    let Some(host) = listen.host.as_deref() else { return false };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::super::resolve::options;
    use super::super::yaml;
    use super::*;

    fn read(text: &str) -> Result<Option<Litefs>, String> {
        let root = yaml::parse("f", text)?.root;
        let context = PathContext { cwd: Path::new("/srv"), env: &|_| None };
        options(&root, context, &mut Vec::new()).map(|options| options.litefs)
    }

    #[test]
    fn a_word_is_enough() {
        for text in ["", "litefs:", "litefs: off", "litefs: {off: yes, dir: x}\n"] {
            assert_eq!(read(text), Ok(None), "{text}");
        }
        let near = Addr { host: Some("127.0.0.1".into()), port: 20202 };
        let usual = Litefs { dir: None, listen: Some(near), secret: None };
        for text in ["cluster: {}\nlitefs: on", "cluster: {}\nlitefs: {}\n"] {
            assert_eq!(read(text), Ok(Some(usual.clone())), "{text}");
        }
        let text = "cluster: {}\nlitefs: {dir: state, listen: ':20202', secret: 0123456789abcdef}\n";
        let all = Litefs {
            dir: Some("/srv/state".into()),
            listen: Some(Addr { host: None, port: 20202 }),
            secret: Some(Token::parse("0123456789abcdef").expect("valid")),
        };
        assert_eq!(read(text), Ok(Some(all)));
        assert_eq!(read("cluster: {}\nlitefs: {listen: off}"), Ok(Some(Litefs { listen: None, ..usual })));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_name() {
        let two = "dbs:\n  - {path: a/x.db, replica: {path: /b}}\n  - {path: b/x.db, replica: {path: /c}}\n";
        for (text, part) in [
            ("litefs: on".to_owned(), "there is no `cluster`"),
            ("cluster: {}\nlitefs: maybe".to_owned(), "litefs"),
            ("cluster: {}\nlitefs: {listen: x}".to_owned(), "litefs.listen: "),
            ("cluster: {}\nlitefs: {listen: ':20202'}".to_owned(), "set `litefs.secret`"),
            ("cluster: {}\nlitefs: {listen: '10.0.0.1:20202'}".to_owned(), "set `litefs.secret`"),
            ("cluster: {}\nlitefs: {secret: short}".to_owned(), "litefs.secret: it is shorter"),
            ("cluster: {}\nlitefs: {directory: x}".to_owned(), "directory"),
            (format!("cluster: {{}}\nlitefs: on\n{two}"), "two databases are named \"x.db\""),
        ] {
            let error = read(&text).expect_err(&text);
            assert!(error.contains(part), "{text}: {error}");
        }
        for listen in ["'127.0.0.1:1'", "'[::1]:1'", "'localhost:1'", "'1'"] {
            let text = format!("cluster: {{}}\nlitefs: {{listen: {listen}}}");
            assert!(read(&text).is_ok_and(|litefs| litefs.is_some()), "{text}");
        }
    }
}
