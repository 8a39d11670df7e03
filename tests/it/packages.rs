//! What `scripts/release` makes: checksums, a tarball, an image, a bill of materials, and a Debian package that is installed, used and
//! removed on a copy of this machine's root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::Rig;

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(output.status.success(), "{command:?} ended with {}\n{out}{err}", output.status);
    output
}

fn text(command: &mut Command) -> String {
    String::from_utf8(run(command).stdout).expect("UTF-8").trim().to_owned()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("read")).expect("JSON")
}

/// The one file in `dir` that ends so.
fn the(dir: &Path, ending: &str) -> PathBuf {
    let entries = fs::read_dir(dir).expect("list").map(|entry| entry.expect("entry").path());
    let mut found: Vec<_> = entries.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    assert_eq!(found.len(), 1, "{found:?} end with {ending}");
    found.remove(0)
}

fn unpacked(archive: &Path, dir: PathBuf) -> PathBuf {
    fs::create_dir(&dir).expect("mkdir");
    run(Command::new("tar").arg("-C").arg(&dir).arg("-xf").arg(archive));
    dir
}

/// The blob that a descriptor names, after its digest was checked.
fn blob(image: &Path, descriptor: &Value) -> PathBuf {
    let digest = descriptor["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:")).expect("a digest");
    let path = image.join("blobs/sha256").join(digest);
    let sum = text(Command::new("sha256sum").arg(&path));
    assert_eq!(sum.split(' ').next(), Some(digest));
    assert_eq!(descriptor["size"].as_u64(), Some(fs::metadata(&path).expect("stat").len()));
    path
}

#[test]
fn what_a_release_hands_out_can_be_used() {
    let rig = Rig::on_file();
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let out = rig.path("packages");
    run(Command::new(scripts.join("release"))
        .args(["--check", "--binary", env!("CARGO_BIN_EXE_millstream"), "--out"])
        .arg(&out));
    run(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&out));

    let tree = unpacked(&the(&out, ".tar.gz"), rig.path("tarball"));
    let tree = the(&tree, "");
    let version = text(Command::new(tree.join("millstream")).arg("version"));
    assert!(tree.ends_with(format!("millstream-{version}-linux-{}", architecture())), "{}", tree.display());
    for name in [
        "LICENSE",
        "litestream.yml.example",
        "millstream.service",
        "man/millstream-run.1",
        "completions/zsh/_millstream",
    ] {
        assert!(tree.join(name).is_file(), "{name} is missing");
    }

    let image = unpacked(&the(&out, ".oci.tar"), rig.path("image"));
    let named = &json(&image.join("index.json"))["manifests"][0];
    assert_eq!(named["annotations"]["org.opencontainers.image.ref.name"], *version);
    let manifest = &json(&blob(&image, named))["manifests"][0];
    assert_eq!(manifest["platform"]["architecture"], architecture());
    let manifest = json(&blob(&image, manifest));
    // What `docker load` reads.
    let archive = &json(&image.join("manifest.json"))[0];
    let place = |blob: &Value| blob["digest"].as_str().expect("a digest").replace("sha256:", "blobs/sha256/");
    assert_eq!(archive["RepoTags"][0], format!("millstream:{version}-{}", architecture()));
    assert_eq!(archive["Config"], place(&manifest["config"]));
    assert_eq!(archive["Layers"][0], place(&manifest["layers"][0]));
    assert_eq!(json(&blob(&image, &manifest["config"]))["config"]["Entrypoint"][0], "/millstream");
    let layer = unpacked(&blob(&image, &manifest["layers"][0]), rig.path("layer"));
    assert_eq!(text(Command::new(layer.join("millstream")).arg("version")), version);

    let bill = json(&the(&out, ".cdx.json"));
    let crates: Vec<_> = bill["components"].as_array().expect("a list").iter().map(|crate_| &crate_["name"]).collect();
    assert!(crates.contains(&&Value::from("rusqlite")) && !crates.contains(&&Value::from("proptest")), "{crates:?}");
    assert!(bill["components"].as_array().expect("a list").iter().all(|crate_| crate_["licenses"].is_array()));

    let work = rig.path("root");
    fs::create_dir(&work).expect("mkdir");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/deb.sh");
    run(Command::new(script).arg(the(&out, ".deb")).arg(work));
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => panic!("packages are not made for {other}"),
    }
}
