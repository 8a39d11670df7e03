//! The README, the guides and the examples: no link leads nowhere, and every configuration is accepted.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::Rig;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `examples` with such an ending.
fn examples(ending: &str) -> Vec<PathBuf> {
    let mut open = vec![root().join("examples")];
    let mut found = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).expect("list the examples").filter_map(Result::ok) {
            let path = entry.path();
            match path.is_dir() {
                true => open.push(path),
                false if path.to_string_lossy().ends_with(ending) => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "there is no example that ends with {ending}");
    found
}

/// The targets of `[text](target)` outside of blocks of code.
fn links(text: &str) -> Vec<&str> {
    let mut is_code = false;
    let mut links = Vec::new();
    for line in text.lines() {
        is_code ^= line.trim_start().starts_with("```");
        if !is_code {
            links.extend(line.split("](").skip(1).filter_map(|rest| rest.split(')').next()));
        }
    }
    links
}

/// The anchors of a page, as the renderers of Markdown make them of its headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    headings.map(|heading| heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

/// What is wrong with the links of a page.
fn broken_links(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).expect("read a page");
    let dir = page.parent().expect("has a parent");
    let is_broken = |link: &&str| {
        let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
        let target = if file.is_empty() { page.to_owned() } else { dir.join(file) };
        let has_anchor = || anchors(&fs::read_to_string(&target).unwrap_or_default()).contains(anchor);
        !target.exists() || !anchor.is_empty() && !has_anchor()
    };
    let local = links(&text).into_iter().filter(|link| !link.contains("://"));
    local.filter(is_broken).map(|link| format!("{}: {link}", page.display())).collect()
}

#[test]
fn no_link_leads_nowhere() {
    let mut pages = examples(".md");
    pages.push(root().join("README.md"));
    let broken: Vec<String> = pages.iter().flat_map(|page| broken_links(page)).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn a_broken_link_would_be_seen() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let page = dir.path().join("page.md");
    fs::write(&page, "# A title, long\n[a](#a-title-long) [b](#b) [c](c.md) [d](https://d)\n```\n[e](e)\n```\n")
        .expect("write");
    let broken = broken_links(&page);
    assert_eq!(broken.len(), 2, "{broken:?}");
}

/// `litestream.yml` by itself, or in a ConfigMap.
fn configurations() -> Vec<(PathBuf, String)> {
    let read = |path: &PathBuf| fs::read_to_string(path).expect("read an example");
    let mut found: Vec<_> = examples("litestream.yml").iter().map(|path| (path.clone(), read(path))).collect();
    for path in examples("statefulset.yml") {
        let text = read(&path);
        let inner = text.lines().skip_while(|line| !line.ends_with("litestream.yml: |")).skip(1);
        let inner = inner.take_while(|line| line.starts_with("    "));
        found.push((path, inner.map(|line| format!("{}\n", &line[4..])).collect()));
    }
    found
}

#[test]
fn every_configuration_is_accepted() {
    let rig = Rig::on_file();
    for (path, text) in configurations() {
        assert!(text.contains("dbs:"), "{}: no database", path.display());
        let config = rig.path("litestream.yml");
        fs::write(&config, &text).expect("write the configuration");
        let ended = rig
            .millstream(["databases", "-json", "-config", config.to_str().expect("text")])
            .env("REPLICA_URL", "s3://my-bucket/app")
            .env("DATABASE_PATH", "/data/app.db")
            .env("DATA_DIR", "/data")
            .env("STORAGE", "/data")
            .finish();
        println!("{}\n{ended}", path.display());
        ended.assert_code(0);
        assert!(ended.stdout.contains("my-bucket"), "{}", path.display());
    }
}

/// The same three lines in all of them, and nothing is copied that is not there.
#[test]
fn every_image_takes_millstream_the_same_way() {
    let mut images = examples("Dockerfile");
    images.push(root().join("examples/Dockerfile.app"));
    assert!(images.len() > 5, "{images:?}");
    for path in images {
        let text = fs::read_to_string(&path).expect("read an example");
        let ending = "\nCOPY --from=millstream /millstream /usr/local/bin/millstream\n\
                      COPY litestream.yml /etc/litestream.yml\nCMD [\"millstream\", \"run\"]\n";
        assert!(text.starts_with("FROM millstream AS millstream\n") || path.ends_with("Dockerfile.app"), "{text}");
        assert!(text.ends_with(ending), "{}:\n{text}", path.display());
        let copied =
            text.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|line| !line.starts_with("--from"));
        for source in copied.flat_map(|line| line.split(' ').rev().skip(1)).filter(|name| !name.contains('*')) {
            let is_there = path.parent().expect("has a parent").join(source).exists();
            assert!(is_there || source == "page_views", "{}: there is no {source}", path.display());
        }
    }
}

/// Applications of the examples lose their machine, and come back from the bucket (`scripts/examples all` starts more of them).
#[test]
fn what_is_shown_is_started() {
    let mut script = Command::new(root().join("scripts/examples_started.py"));
    let started = script.args(["--binary", env!("CARGO_BIN_EXE_millstream"), "node", "django", "pocketbase", "dokku"]);
    let output = started.output().expect("run scripts/examples_started.py");
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(output.status.success(), "{}\n{out}{err}", output.status);
    assert_eq!(out.matches("comes back from its backup").count(), 4, "{out}");
    assert!(out.contains("does not come back, and that is seen"), "{out}");
}

/// The other files are YAML, at least.
#[test]
fn every_yaml_file_can_be_read() {
    for path in examples(".yml") {
        let text = fs::read_to_string(&path).expect("read an example");
        for document in serde_yaml::Deserializer::from_str(&text) {
            let read = <serde_yaml::Value as serde::Deserialize>::deserialize(document);
            assert!(read.is_ok_and(|value| value.is_mapping()), "{}", path.display());
        }
    }
}

/// The messages in the first column of the table.
fn explained(guide: &str) -> Vec<&str> {
    let rows = guide.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.flat_map(|row| row.split('|').next().unwrap_or_default().split('`').step_by(2))
        .filter(|text| !text.trim().is_empty())
        .collect()
}

#[test]
fn what_troubleshooting_explains_is_still_said() {
    let guide = fs::read_to_string(root().join("examples/guide/troubleshooting.md")).expect("read the guide");
    let sources: String = crate::layers::sources()
        .into_iter()
        .filter(|(name, _)| name.starts_with("src/"))
        .map(|(_, text)| text)
        .collect();
    let messages = explained(&guide);
    assert!(messages.len() > 15, "{messages:?}");
    let unsaid: Vec<_> = messages.into_iter().filter(|message| !sources.contains(message)).collect();
    assert!(unsaid.is_empty(), "no message has these words any more: {unsaid:?}");
    assert_eq!(explained("| `a` … `b c` | d `e` |\n| f |"), ["a", "b c"]);
}
