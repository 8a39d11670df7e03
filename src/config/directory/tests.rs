use super::super::resolve;
use super::super::yaml;
use super::*;

fn read(text: &str) -> Result<Options, String> {
    let root = yaml::parse("f", text)?.root;
    let context = PathContext { cwd: Path::new("/srv"), env: &|_: &str| None };
    resolve::options(&root, context, &mut Vec::new())
}

fn accept(text: &str) -> Options {
    read(text).unwrap_or_else(|problem| panic!("{text}: {problem}"))
}

fn problem(text: &str) -> String {
    read(text).err().unwrap_or_else(|| panic!("{text} was accepted"))
}

/// The first database of a directory entry with these keys.
fn database(keys: &str, relative: &str) -> Database {
    let options = accept(&format!("dbs: [{{{keys}}}]\n"));
    options.directories[0].database(Path::new(relative)).expect("a database")
}

fn prefix(database: &Database) -> String {
    match &database.replicas.first.target {
        Target::S3(settings) => settings.prefix.clone(),
        Target::File { path } => path.display().to_string(),
    }
}

#[test]
fn an_entry_is_read_with_litestreams_defaults() {
    let options = accept("dbs: [{dir: data, pattern: '*.db', replica: {url: 's3://b/p'}}]\n");
    let directory = &options.directories[0];
    assert!(options.databases.is_empty());
    assert_eq!((directory.root(), directory.selection.pattern.as_str()), (Path::new("/srv/data"), "*.db"));
    assert!(!directory.watch && !directory.selection.recursive && !directory.model.restore_if_db_not_exists);
    let options = accept(
        "dbs: [{dir: /d, pattern: '*', recursive: true, watch: true, restore-if-db-not-exists: true, \
         replica: {url: 's3://b/p'}}]\n",
    );
    let directory = &options.directories[0];
    assert!(directory.watch && directory.selection.recursive && directory.model.restore_if_db_not_exists);
    assert!(directory.model.may_vanish && directory.model.optional);
}

#[test]
fn keys_that_exclude_or_need_each_other_are_refused() {
    let replica = "replica: {url: 's3://b/p'}";
    for (keys, part) in [
        ("path: /a, dir: /d, pattern: '*'", "`path` and `dir` exclude each other"),
        ("pattern: '*'", "`path` is missing or empty, and so is `dir`"),
        ("dir: ''", "`path` is missing or empty, and so is `dir`"),
        ("dir: /d", "`dir` needs a `pattern`"),
        ("dir: /d, pattern: ''", "`dir` needs a `pattern`"),
        ("dir: /d, pattern: '[a'", "dbs[0].pattern: \"[a\" is malformed"),
        ("dir: /d, pattern: 'x/*.db'", "set `recursive: true`"),
        ("path: /a, watch: true", "`watch` is for an entry with `dir`"),
        ("path: /a, meta-dir: /m", "write `meta-path`"),
        ("dir: /d, pattern: '*', meta-dir: /m, meta-path: /n", "`meta-path` and `meta-dir` exclude each other"),
    ] {
        let told = problem(&format!("dbs: [{{{keys}, {replica}}}]\n"));
        assert!(told.starts_with("dbs[0]") && told.contains(part), "{keys}: {told}");
    }
    accept(&format!("dbs: [{{path: /a, watch: false, recursive: false, pattern: x, {replica}}}]\n"));
    assert!(problem("dbs: [{dir: /d, pattern: '*'}]\n").contains("no replica"));
}

/// Seen with Litestream 0.5.17.
#[test]
fn the_relative_path_is_appended_to_the_replicas() {
    for (replica, relative, wanted) in [
        ("url: 's3://b/p'", "a.db", "p/a.db"),
        ("url: 's3://b/p/'", "sub/a.db", "p/sub/a.db"),
        ("url: 's3://b'", "a.db", "a.db"),
        ("url: 's3://b//x//y/../z/'", "a.db", "x/z/a.db"),
        ("url: 's3://b/p?endpoint=http://h'", "50%?#.db", "p/50%?#.db"),
        ("type: s3, bucket: b, path: p/", "sub/a.db", "p/sub/a.db"),
        ("type: s3, bucket: b, path: /p", "a.db", "/p/a.db"),
        ("type: s3, bucket: b", "a.db", "a.db"),
        ("path: /backup", "sub/a.db", "/backup/sub/a.db"),
        ("url: 'file:///backup/'", "a.db", "/backup/a.db"),
        ("path: backup", "a.db", "/srv/backup/a.db"),
    ] {
        let database = database(&format!("dir: /d, pattern: '*', recursive: true, replica: {{{replica}}}"), relative);
        assert_eq!(prefix(&database), wanted, "{replica} {relative}");
        assert_eq!(database.path, Path::new("/d").join(relative));
    }
    let shown = database("dir: /d, pattern: '*', replica: {url: 's3://b/p/?endpoint=http://h'}", "a.db");
    assert_eq!(shown.replicas.first.url, "s3://b/p/a.db?endpoint=http://h");
    let both = database("dir: /d, pattern: '*', replicas: [{url: 's3://b/p'}, {path: /x}]", "a.db");
    assert_eq!(both.replicas.mirrors[0].url, "/x/a.db");
}

#[test]
fn each_database_has_notes_of_its_own() {
    let notes =
        |keys: &str| database(&format!("dir: /d, pattern: '*', {keys} replica: {{path: /x}}"), "s/a.db").meta_path;
    assert_eq!(notes(""), Path::new("/d/s/.a.db-millstream"));
    assert_eq!(notes("meta-dir: /m,"), Path::new("/m/s/a.db-millstream"));
    assert_eq!(notes("meta-path: /m,"), Path::new("/m/s/.a.db-millstream"));
}

#[test]
fn a_name_that_no_bucket_can_hold_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let options = accept("dbs: [{dir: /d, pattern: '*', replica: {url: 's3://b/p'}}]\n");
    let name = Path::new(std::ffi::OsStr::from_bytes(b"\xff.db"));
    assert!(options.directories[0].database(name).expect_err("no text").contains("UTF-8"));
}

#[test]
fn directories_that_would_destroy_each_other_are_refused() {
    let entry = |dir: &str, url: &str| format!("{{dir: {dir}, pattern: '*.db', replica: {{url: '{url}'}}}}");
    let two = |a: String, b: String| format!("dbs: [{a}, {b}]\n");
    let told = problem(&two(entry("/a", "s3://b/p"), entry("/b", "s3://b/p/")));
    assert!(told.starts_with("dbs[0] and dbs[1] have the same replica for different directories"), "{told}");
    // Different patterns for one directory, as Litestream's users write them.
    accept(&two(entry("/a", "s3://b/p"), entry("/a", "s3://b/p").replace("*.db", "*.sqlite")));
    accept(&two(entry("/a", "s3://b/p"), entry("/b", "s3://b/q")));
    let database = |url: &str| format!("{{path: /x.db, replica: {{url: '{url}'}}}}");
    for url in ["s3://b/p", "s3://b/p/"] {
        let told = problem(&two(database(url), entry("/a", "s3://b/p")));
        assert!(told.contains("is where those of the databases of the other lie"), "{told}");
    }
    problem(&two(entry("/a", "s3://b/p/ltx"), database("s3://b/p")));
    accept(&two(entry("/a", "s3://b/p"), database("s3://b/p/x.db")));
}

fn sqlite(path: &Path) {
    std::fs::create_dir_all(path.parent().expect("has a parent")).expect("create");
    let connection = rusqlite::Connection::open(path).expect("open");
    connection.execute_batch("CREATE TABLE t(x)").expect("create");
}

#[test]
fn what_lies_there_is_found_once_and_entries_of_their_own_come_first() {
    let dir = tempfile::tempdir().expect("tempdir");
    let root = dir.path().canonicalize().expect("a path");
    for name in ["a.db", "b.db", "sub/c.db", "d.sqlite"] {
        sqlite(&root.join(name));
    }
    let shown = root.display();
    let options = accept(&format!(
        "dbs:\n  - {{path: {shown}/a.db, replica: {{url: 's3://b/elsewhere'}}}}\n  \
         - {{dir: {shown}, pattern: '*.db', recursive: true, replica: {{url: 's3://b/p'}}}}\n  \
         - {{dir: {shown}, pattern: '*', replica: {{url: 's3://b/p'}}}}\n"
    ));
    let urls: Vec<String> =
        options.with_those_in_directories().iter().map(|database| database.replicas.first.url.clone()).collect();
    assert_eq!(urls, ["s3://b/elsewhere", "s3://b/p/b.db", "s3://b/p/sub/c.db", "s3://b/p/d.sqlite"]);
    let find = |name: &str| options.find(&root.join(name)).map(|database| database.replicas.first.url);
    assert_eq!(find("a.db").as_deref(), Some("s3://b/elsewhere"));
    assert_eq!(find("sub/gone.db").as_deref(), Some("s3://b/p/sub/gone.db"), "it need not be there");
    assert_eq!((find("sub/x.sqlite"), find("../x.db")), (None, None));
}

#[test]
fn a_database_in_the_place_of_another_is_told() {
    let dir = tempfile::tempdir().expect("tempdir");
    let root = dir.path().canonicalize().expect("a path");
    sqlite(&root.join("a.db"));
    let shown = root.display();
    let options = accept(&format!(
        "dbs:\n  - {{path: /elsewhere/x.db, replica: {{url: 's3://b/p/a.db'}}}}\n  \
         - {{dir: {shown}, pattern: '*.db', replica: {{url: 's3://b/p'}}}}\n"
    ));
    let found = options.in_directories(&mut Places::of(&options.databases));
    let why = found[0].database.as_ref().expect_err("it collides");
    assert!(why.contains("is the replica of /elsewhere/x.db already"), "{why}");
}

#[test]
fn what_fails_at_the_start_stops_or_not() {
    use super::super::OnDatabaseFailure;
    let read_policy = |text: &str| accept(text).on_database_failure;
    assert_eq!(read_policy(""), None);
    assert_eq!(read_policy("on-database-failure: stop\n"), Some(OnDatabaseFailure::Stop));
    assert_eq!(read_policy("on-database-failure: continue\n"), Some(OnDatabaseFailure::Continue));
    assert!(problem("on-database-failure: maybe\n").contains("neither stop nor continue"));
}
