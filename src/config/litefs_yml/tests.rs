use std::path::Path;

use super::super::commands::RunsOn;
use super::super::options::Options;
use super::super::paths::PathContext;
use super::super::{expand, resolve, yaml};
use super::*;

/// What our program makes of the translation.
fn read(text: &str) -> Options {
    let env = |name: &str| match name {
        "PROXY_SECRET" => Some("0123456789abcdef".to_owned()),
        "FLY_REGION" | "PRIMARY_REGION" => Some("ams".to_owned()),
        _ => None,
    };
    let expanded = expand::expand(text, &env);
    assert!(expanded.missing.is_empty(), "{:?}\n{text}", expanded.missing);
    let parsed = yaml::parse("f", &expanded.text).unwrap_or_else(|why| panic!("{why}\n{text}"));
    assert!(parsed.notes.is_empty(), "{:?}", parsed.notes);
    let context = PathContext { cwd: Path::new("/srv"), env: &env };
    resolve::options(&parsed.root, context, &mut Vec::new()).unwrap_or_else(|why| panic!("{why}\n{text}"))
}

/// Every key of LiteFS's is in it.
const WHOLE: &str = r#"
fuse: {dir: "/litefs", allow-other: false, debug: false}
data: {dir: "/var/lib/litefs", compress: true, retention: "10m", retention-monitor-interval: "1m"}
exec:
  - cmd: "npx prisma migrate deploy"
    if-candidate: true
  - cmd: "node seed.js 'a b'"
  - cmd: "npm start"
skip-sync: false
exit-on-error: false
strict-verify: false
http: {addr: ":20202", snapshot-timeout: 10m}
proxy:
  addr: ":8080"
  target: "localhost:8081"
  db: "my.db"
  max-lag: 10s
  debug: false
  passthrough: ["/debug/*", "*.png"]
  always-forward: ["/live/*"]
  primary-redirect-timeout: 5s
  read-timeout: 0
  read-header-timeout: 10s
  write-timeout: 0
  idle-timeout: 30s
lease:
  type: "consul"
  advertise-url: "http://${HOSTNAME:-web-1}.vm.app.internal:20202"
  hostname: "web-1"
  candidate: ${FLY_REGION == PRIMARY_REGION}
  promote: true
  reconnect-delay: 1s
  demote-delay: 10s
  databases: [my.db]
  consul: {url: "http://myhost:8500", key: "litefs/primary", ttl: "10s", lock-delay: "1s"}
backup: {type: litefs-cloud, path: x, url: y, cluster: z, auth-token: t}
log: {format: json, timestamp: true, debug: true}
tracing: {enabled: true, path: "/var/log/lifefs/trace.log", max-size: 64, max-count: 10, compress: true}
"#;

#[test]
fn a_whole_file_becomes_one_of_ours() {
    let text = translate(WHOLE).expect("it is LiteFS's");
    let options = read(&text);
    let commands = options.exec.iter().map(|command| (command.line.as_str(), command.on));
    let expected = [
        ("npx prisma migrate deploy", RunsOn::Primary),
        ("node seed.js 'a b'", RunsOn::Every),
        ("npm start", RunsOn::Every),
    ];
    assert_eq!(commands.collect::<Vec<_>>(), expected);
    let cluster = options.cluster.expect("it is a cluster");
    assert_eq!((cluster.node.as_deref(), cluster.ttl.as_secs(), cluster.candidate), (Some("web-1"), 10, true));
    assert_eq!(options.litefs.and_then(|litefs| litefs.listen).expect("it is served").port, 20202);
    let proxy = options.proxy.expect("it has a proxy");
    assert_eq!(proxy.advertise.as_deref(), Some("http://web-1.vm.app.internal:8080"));
    assert_eq!((proxy.listen.port, proxy.settings.hold.wait.as_secs()), (8080, 5));
    assert_eq!(proxy.settings.routes.passthrough.len(), 2);
    assert_eq!(options.databases[0].path, Path::new("/litefs/my.db"));
    for (key, fate) in KEYS {
        let named = text.lines().any(|line| line.starts_with(&format!("#   {key}: ")));
        assert_eq!(named, matches!(fate, Left(_)), "{key}\n{text}");
    }
    let [debug, json] = ["level: debug", "type: json"].map(|part| text.contains(part));
    assert!(debug && json, "{text}");
}

#[test]
fn every_key_of_the_table_is_in_the_whole_file() {
    let mut keys = BTreeMap::new();
    flatten("", &serde_yaml::from_str(WHOLE).expect("YAML"), &mut keys);
    let known: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
    let mut sorted = known.clone();
    sorted.sort_unstable();
    assert_eq!(keys.keys().map(String::as_str).collect::<Vec<_>>(), sorted);
}

#[test]
fn small_files_get_litefs_defaults() {
    let text = translate("fuse: {dir: /data/}\nexec: ./app\nlease: {type: static, candidate: false}\n").expect("valid");
    let options = read(&text);
    assert_eq!((options.exec[0].line.as_str(), options.migrate.len()), ("./app", 0));
    let cluster = options.cluster.expect("it is a cluster");
    assert_eq!((cluster.candidate, cluster.failover), (false, super::super::cluster::Failover::Manual));
    assert_eq!(options.databases[0].path, Path::new("/data/app.db"));
    assert!(options.proxy.is_none() && text.contains("TODO: one entry for each database"), "{text}");
    assert_eq!(read(&translate("").expect("empty")).databases[0].path, Path::new("/litefs/app.db"));
}

#[test]
fn what_is_not_known_is_named_and_what_is_no_file_of_litefs_is_refused() {
    let text = translate("fuse: {dir: /litefs, mount: x}\nlease: {kind: consul}\n").expect("YAML");
    for key in ["fuse.mount", "lease.kind"] {
        assert!(text.contains(&format!("#   {key}: LiteFS does not know it either")), "{text}");
    }
    for (text, part) in
        [("- a\n", "no keys"), ("a: [\n", "YAML"), ("exec: 5\n", "exec: "), ("exec: [{c: 1}]\n", "no `cmd`")]
    {
        let why = translate(text).expect_err(text);
        assert!(why.contains(part), "{why}");
    }
}

#[test]
fn texts_survive() {
    for text in ["a b", "x: y", "#", "it's \"so\"", "- a", "yes", "", "a\\b"] {
        let options = read(&translate(&format!("exec: {}\n", quoted(&format!("cmd {text}")))).expect("valid"));
        assert_eq!(options.exec[0].line, format!("cmd {text}"));
    }
}
