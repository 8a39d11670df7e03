//! What surrounds the replica: servers with habits of their own, keys with newlines, proxies,
//! metadata services.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::harness::process::setting;
use crate::harness::remote::BUCKET;
use crate::harness::{Finished, Rig};

/// Starts `run` with this replica, written as the lines of its section.
fn run_with(rig: &Rig, replica: &str, steps: &[&str], env: &[(&str, &str)]) -> Finished {
    let path = rig.path("s3.yml");
    let text = format!("dbs:\n  - path: {}\n    replica: {{ {replica} }}\n", rig.db().display());
    std::fs::write(&path, text).expect("write the configuration");
    let run = rig.millstream(["run".into(), "-config".into(), path.into_os_string(), "--".into()]).args(rig.app(steps));
    env.iter().fold(run, |run, (name, value)| run.env(*name, *value)).finish()
}

fn replica(path: &str, endpoint: &str) -> String {
    format!("type: s3, bucket: {BUCKET}, path: \"{path}\", endpoint: \"{endpoint}\", region: us-east-1")
}

#[track_caller]
fn assert_one_short_sentence(ended: &Finished) {
    let errors: Vec<_> =
        ended.stderr.lines().filter(|line| line.starts_with("error: ") || line.contains(" ERROR ")).collect();
    assert_eq!(errors.len(), 1, "{ended}");
    assert!(errors[0].len() < 330, "{} characters: {ended}", errors[0].len());
    for dump in ["{", "Response", "panicked", "SdkBody", "provider was not enabled"] {
        assert!(!ended.stderr.contains(dump), "{dump}: {ended}");
    }
}

/// SeaweedFS keeps `/a//b` as `a/b`; with `restore` the backup must be found under the name that
/// was written.
#[test]
fn a_backup_under_a_path_that_the_server_rewrites_is_restored() {
    let endpoint = setting("MILLSTREAM_TEST_S3_ENDPOINT");
    for (n, shape) in ["/ID/data/app.db", "ID//b", "ID/", "/ID/b/"].iter().enumerate() {
        let rig = Rig::on_s3();
        let path = shape.replace("ID", &format!("rewritten-{}-{n}", std::process::id()));
        run_with(&rig, &replica(&path, &endpoint), &["create", "rows:3"], &[]).assert_code(0);
        rig.lose_the_disk();
        // The application would fail on a database without its table.
        run_with(&rig, &replica(&path, &endpoint), &["open", "rows:2"], &[]).assert_code(0);
    }
}

#[test]
fn keys_with_a_newline_at_the_end_work_and_others_are_78() {
    let endpoint = setting("MILLSTREAM_TEST_S3_ENDPOINT");
    let (id, secret) = (setting("MILLSTREAM_TEST_S3_ACCESS_KEY"), setting("MILLSTREAM_TEST_S3_SECRET_KEY"));
    let rig = Rig::on_s3();
    let replica = replica(&format!("newline-{}", std::process::id()), &endpoint);
    let (in_env, in_secret) = (format!("{id}\n"), format!(" {secret}\r\n"));
    let env = [("AWS_ACCESS_KEY_ID", in_env.as_str()), ("AWS_SECRET_ACCESS_KEY", in_secret.as_str())];
    run_with(&rig, &replica, &["create", "rows:1"], &env).assert_code(0);
    let written = format!("{replica}, access-key-id: \"{id}\\n\", secret-access-key: \"{secret}\\r\\n\"");
    run_with(&rig, &written, &["open", "rows:1"], &[("AWS_ACCESS_KEY_ID", "")]).assert_code(0);
    for (name, value) in
        [("AWS_ACCESS_KEY_ID", "hun\nter2"), ("AWS_SESSION_TOKEN", "hun\nter2"), ("AWS_SECRET_ACCESS_KEY", "hun\nter2")]
    {
        rig.lose_the_disk();
        let ended = run_with(&rig, &replica, &["create"], &[(name, value)]);
        ended.assert_code(78).assert_says(&["contains a line break"]);
        assert!(!ended.stderr.contains("ter2") && !rig.db().exists(), "{ended}");
        assert_one_short_sentence(&ended);
    }
}

#[test]
fn a_proxy_is_not_asked_for_this_machine() {
    let rig = Rig::on_s3();
    let replica = replica(&format!("proxy-{}", std::process::id()), &setting("MILLSTREAM_TEST_S3_ENDPOINT"));
    // Nothing listens there.
    let env = [("HTTP_PROXY", "http://127.0.0.1:1"), ("HTTPS_PROXY", "http://127.0.0.1:1")];
    run_with(&rig, &replica, &["create", "rows:1"], &env).assert_code(0);
}

#[test]
fn an_endpoint_without_a_scheme_that_is_plain_http_is_told_so() {
    let rig = Rig::on_s3();
    let endpoint = setting("MILLSTREAM_TEST_S3_ENDPOINT");
    let bare = endpoint.strip_prefix("http://").expect("plain HTTP");
    let ended = run_with(&rig, &replica("plain", bare), &["create"], &[]);
    ended.assert_code(78).assert_says(&["write http://"]);
    assert!(!rig.db().exists(), "{ended}");
    assert_one_short_sentence(&ended);
}

/// Answers every request with this status.
fn metadata_service(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let body = "<html>Forbidden</html>";
            let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    format!("http://{address}")
}

#[test]
fn without_credentials_the_reason_is_one_short_sentence() {
    let endpoint = setting("MILLSTREAM_TEST_S3_ENDPOINT");
    let none = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
    let refusing = metadata_service("403 Forbidden");
    let missing = metadata_service("404 Not Found");
    for (name, value, says) in [
        ("AWS_EC2_METADATA_DISABLED", "true", "no credentials found"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", refusing.as_str(), "the instance metadata service refuses"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", missing.as_str(), "credentials"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", refusing.as_str(), "the container's credentials service refuses"),
    ] {
        let rig = Rig::on_s3();
        let ended = run_with(&rig, &replica("none", &endpoint), &["create"], &[none[0], none[1], (name, value)]);
        ended.assert_code(77).assert_says(&[says, "set access-key-id"]);
        assert!(!rig.db().exists(), "{ended}");
        assert_one_short_sentence(&ended);
    }
}

/// A profile may name the endpoint, for all services or for S3 alone.
#[test]
fn an_endpoint_of_a_profile_is_used() {
    let endpoint = setting("MILLSTREAM_TEST_S3_ENDPOINT");
    for text in [
        format!("[default]\nendpoint_url = {endpoint}\n"),
        format!("[default]\nservices = here\n[services here]\ns3 =\n  endpoint_url = {endpoint}\n"),
    ] {
        let rig = Rig::on_s3();
        let profile = rig.path("aws-config");
        std::fs::write(&profile, text).expect("write the profile");
        let profile = profile.display().to_string();
        // A path that the server rewrites and AWS would not.
        let path = format!("/of-a-profile-{}-{:p}/app.db", std::process::id(), &rig);
        let replica =
            format!("type: s3, bucket: {BUCKET}, path: \"{path}\", region: us-east-1, force-path-style: true");
        let env = [("AWS_CONFIG_FILE", profile.as_str())];
        run_with(&rig, &replica, &["create", "rows:3"], &env).assert_code(0);
        rig.lose_the_disk();
        run_with(&rig, &replica, &["open", "rows:2"], &env).assert_code(0);
    }
}

#[test]
fn a_variable_that_is_no_text_is_named_and_78() {
    use std::os::unix::ffi::OsStringExt;
    let rig = Rig::on_file();
    let config = rig.path("env.yml");
    let text = format!("dbs:\n  - path: {}\n    replica: {{ path: \"${{WHERE}}/x\" }}\n", rig.db().display());
    std::fs::write(&config, text).expect("write the configuration");
    for (name, command) in [
        ("WHERE", vec!["run".into(), "-config".into(), config.clone().into_os_string(), "--".into(), "true".into()]),
        ("WHERE", vec!["databases".into(), "-config".into(), config.clone().into_os_string()]),
        ("LITESTREAM_CONFIG", vec!["databases".into()]),
        ("AWS_ENDPOINT_URL", vec!["ltx".into(), "s3://bucket/path".into()]),
        ("AWS_SECRET_ACCESS_KEY", vec!["ltx".into(), "s3://bucket/path".into()]),
    ] {
        let value = std::ffi::OsString::from_vec(b"/hush\xff".to_vec());
        let ended = rig.millstream::<std::ffi::OsString>(command).env(name, value).finish();
        ended.assert_code(78).assert_says(&[name, "not valid UTF-8"]);
        assert!(!ended.stderr.contains("hush"), "{ended}");
        assert_eq!(ended.stderr.matches(name).count(), 1, "{ended}");
    }
}

#[test]
fn too_few_files_that_can_be_opened_are_one_sentence() {
    let rig = Rig::on_file();
    for limit in [6, 8, 10, 12, 13, 14, 16, 20, 22] {
        let script = format!("ulimit -n {limit}; exec \"$@\"");
        let run = rig.supervise(["true"]).under("sh", ["-c", &script, "sh"]);
        let ended = run.finish();
        ended.assert_code(78).assert_says(&["more files", "ulimit -n"]);
        assert_eq!(ended.stderr.lines().count(), 1, "{limit}: {ended}");
    }
    let run = rig.supervise(rig.app(&["create", "rows:1"])).under("sh", ["-c", "ulimit -n 40; exec \"$@\"", "sh"]);
    run.finish().assert_code(0);
}

/// Keys and the URL as Docker hands out secrets; the application sees its environment as it was.
#[test]
fn secrets_are_read_from_the_files_that_variables_name() {
    let endpoint = setting("MILLSTREAM_TEST_S3_ENDPOINT");
    let (id, secret) = (setting("MILLSTREAM_TEST_S3_ACCESS_KEY"), setting("MILLSTREAM_TEST_S3_SECRET_KEY"));
    let rig = Rig::on_s3();
    let file = |name: &str, content: &str| {
        std::fs::write(rig.path(name), format!("{content}\n")).expect("write a secret");
        rig.path(name).display().to_string()
    };
    let url =
        format!("s3://{BUCKET}/files-{}?endpoint={endpoint}&region=us-east-1&forcePathStyle=true", std::process::id());
    let (id, secret, url) = (file("id", &id), file("secret", &secret), file("url", &url));
    for prefix in ["AWS", "LITESTREAM"] {
        let (id_file, secret_file) =
            (format!("{prefix}_ACCESS_KEY_ID_FILE"), format!("{prefix}_SECRET_ACCESS_KEY_FILE"));
        let env = [
            ("AWS_ACCESS_KEY_ID", ""),
            ("AWS_SECRET_ACCESS_KEY", ""),
            ("LITESTREAM_ACCESS_KEY_ID", ""),
            ("LITESTREAM_SECRET_ACCESS_KEY", ""),
            (id_file.as_str(), id.as_str()),
            (secret_file.as_str(), secret.as_str()),
            ("REPLICA_URL_FILE", url.as_str()),
        ];
        run_with(&rig, "url: \"${REPLICA_URL}\"", &["create", "rows:1"], &env).assert_code(0);
        rig.lose_the_disk();
        run_with(&rig, "url: \"${REPLICA_URL}\"", &["open", "rows:1"], &env).assert_code(0);
        let both =
            [env.as_slice(), &[("AWS_ACCESS_KEY_ID", "hunter2"), ("AWS_ACCESS_KEY_ID_FILE", id.as_str())]].concat();
        let ended = run_with(&rig, "url: \"${REPLICA_URL}\"", &["open"], &both);
        ended.assert_code(78).assert_says(&["AWS_ACCESS_KEY_ID and AWS_ACCESS_KEY_ID_FILE are both set"]);
        assert!(!ended.stderr.contains("hunter2"), "{ended}");
        let missing = [env.as_slice(), &[("REPLICA_URL_FILE", "/nonexistent/url")]].concat();
        let ended = run_with(&rig, "url: \"${REPLICA_URL}\"", &["open"], &missing);
        ended.assert_code(78).assert_says(&["REPLICA_URL_FILE", "/nonexistent/url"]);
    }
}

/// No replica named: the application runs as if it had been started directly, and it is said in one
/// line.
#[test]
fn without_a_replica_the_application_just_runs() {
    let rig = Rig::on_file();
    let empty = rig.path("empty.yml");
    std::fs::write(&empty, "exec: sh -c 'exit 7'\n").expect("write");
    let run = |words: &[&str]| rig.millstream([&["run"], words].concat()).finish();
    let empty = empty.display().to_string();
    let ended = run(&["-config", &empty]);
    ended.assert_code(7).assert_says(&["runs without replication"]);
    run(&["--", "sh", "-c", "exit 9"]).assert_code(9).assert_says(&["runs without replication", "/etc/litestream.yml"]);
    assert_eq!(ended.stderr.lines().filter(|line| line.contains("replication")).count(), 1, "{ended}");
    run(&["-require-backup", "--", "true"]).assert_code(78).assert_says(&["a backup is required"]);
    run(&["-config", "/nonexistent.yml", "--", "true"]).assert_code(78);
}
