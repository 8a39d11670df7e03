"""What scripts/release makes of a binary: a tarball, a Debian package, a layer of an image, a bill of materials.

The same binary and the same commit give the same bytes: names are sorted, times are the commit's, owners are root.
"""

import gzip
import hashlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import tarfile
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts/package"
NAME = "millstream"
SUMMARY = "makes plain SQLite safe in production: restore, migrate, run, replicate"
ABOUT = """\
 In front of an application it restores the database from object storage if the
 disk is empty, runs the migrations, starts the application, and ships every
 commit to the bucket as it happens. It reads Litestream's configuration and
 writes Litestream's files.
"""
# Debian's and Docker's names of an architecture.
DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}


def write(path, data, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    path.chmod(mode)


def compressed(data):
    return gzip.compress(data, compresslevel=9, mtime=0)


def tar_of(tree, epoch, prefix=""):
    """The bytes of a tar archive of everything below `tree`."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(tree.rglob("*")):
            info = tar.gettarinfo(path, arcname=prefix + str(path.relative_to(tree)))
            info.uid = info.gid = 0
            info.uname = info.gname = "root"
            info.mtime = epoch
            info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
            with open(path, "rb") if path.is_file() else io.BytesIO() as data:
                tar.addfile(info, data)
    return out.getvalue()


def documents(runnable, tree):
    """Completions and manual pages, as the binary itself writes them, below `tree`."""
    subprocess.run([runnable, "man", tree / "man"], check=True, stdout=subprocess.DEVNULL)
    for shell, file in [("bash", NAME), ("zsh", "_" + NAME), ("fish", NAME + ".fish")]:
        script = subprocess.run([runnable, "completions", shell], check=True, stdout=subprocess.PIPE).stdout
        write(tree / "completions" / shell / file, script)


def tarball(binary, docs, version, arch, out, epoch, work):
    """millstream-VERSION-linux-ARCH.tar.gz: the binary and what belongs to it, in a directory of that name."""
    stem = f"{NAME}-{version}-linux-{arch}"
    tree = work / stem
    write(tree / NAME, binary.read_bytes(), 0o755)
    for name in ["README.md", "LICENSE", "CHANGELOG.md", "litestream.yml.example"]:
        write(tree / name, (ROOT / name).read_bytes())
    write(tree / "millstream.service", (SCRIPTS / "millstream.service").read_bytes())
    shutil.copytree(docs, tree, dirs_exist_ok=True)
    path = out / f"{stem}.tar.gz"
    write(path, compressed(tar_of(tree, epoch, stem + "/")))
    return path


def deb(binary, docs, version, arch, out, epoch, work):
    """millstream_VERSION_ARCH.deb. It enables nothing, and leaves /etc/litestream.yml to whoever writes it."""
    tree = work / f"deb-{arch}"
    write(tree / "usr/bin" / NAME, binary.read_bytes(), 0o755)
    write(tree / "usr/lib/systemd/system/millstream.service", (SCRIPTS / "millstream.service").read_bytes())
    write(tree / "etc/default" / NAME, (SCRIPTS / "millstream.default").read_bytes())
    for page in (docs / "man").iterdir():
        write(tree / "usr/share/man/man1" / (page.name + ".gz"), compressed(page.read_bytes()))
    completions = {"bash": "bash-completion/completions", "zsh": "zsh/vendor-completions", "fish": "fish/vendor_completions.d"}
    for shell, place in completions.items():
        shutil.copytree(docs / "completions" / shell, tree / "usr/share" / place, dirs_exist_ok=True)
    doc = tree / "usr/share/doc" / NAME
    write(doc / "copyright", (ROOT / "LICENSE").read_bytes())
    write(doc / "changelog.gz", compressed((ROOT / "CHANGELOG.md").read_bytes()))
    write(doc / "litestream.yml.example", (ROOT / "litestream.yml.example").read_bytes())
    size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file()) // 1024
    control = {
        "Package": NAME, "Version": version, "Architecture": arch, "Maintainer": "The millstream authors",
        "Installed-Size": size, "Section": "database", "Priority": "optional", "Recommends": "ca-certificates",
        "Description": f"{SUMMARY}\n{ABOUT}",
    }
    write(tree / "DEBIAN/control", "".join(f"{key}: {value}\n" for key, value in control.items()).replace("\n\n", "\n"))
    write(tree / "DEBIAN/conffiles", f"/etc/default/{NAME}\n")
    for script in ["postinst", "prerm", "postrm"]:
        write(tree / "DEBIAN" / script, (SCRIPTS / script).read_bytes(), 0o755)
    path = out / f"{NAME}_{version}_{arch}.deb"
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", tree, path]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return path


class Image:
    """An OCI image layout with one manifest for each architecture: a scratch image with the binary in it."""

    def __init__(self, version, epoch, work):
        self.version, self.epoch, self.work = version, epoch, work
        self.tree = work / "image"
        self.manifests = []
        self.archives = []

    def blob(self, data, media):
        digest = hashlib.sha256(data).hexdigest()
        write(self.tree / "blobs/sha256" / digest, data)
        return {"mediaType": f"application/vnd.oci.image.{media}", "digest": f"sha256:{digest}", "size": len(data)}

    def json(self, value, media):
        return self.blob(json.dumps(value, sort_keys=True).encode(), media)

    def add(self, binary, arch):
        root = self.work / f"layer-{arch}"
        write(root / NAME, binary.read_bytes(), 0o755)
        layer = tar_of(root, self.epoch)
        platform = {"architecture": arch, "os": "linux"}
        config = {
            **platform,
            "config": {"Entrypoint": ["/" + NAME]},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
        }
        config = self.json(config, "config.v1+json")
        layer = self.blob(compressed(layer), "layer.v1.tar+gzip")
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": [layer],
        }
        self.manifests.append({**self.json(manifest, "manifest.v1+json"), "platform": platform})
        place = lambda blob: "blobs/sha256/" + blob["digest"].removeprefix("sha256:")  # noqa: E731
        tag = f"{NAME}:{self.version}-{arch}"
        self.archives.append({"Config": place(config), "RepoTags": [tag], "Layers": [place(layer)]})

    def save(self, out):
        """millstream-VERSION.oci.tar, as skopeo, podman, buildah and containerd read it, and `docker load` by manifest.json."""
        index = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": self.manifests,
        }
        named = {**self.json(index, "index.v1+json"), "annotations": {"org.opencontainers.image.ref.name": self.version}}
        write(self.tree / "index.json", json.dumps({**index, "manifests": [named]}, sort_keys=True))
        write(self.tree / "manifest.json", json.dumps(self.archives, sort_keys=True))
        write(self.tree / "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}))
        path = out / f"{NAME}-{self.version}.oci.tar"
        write(path, tar_of(self.tree, self.epoch))
        return path


def crates_of(graph):
    """The crates that are linked into the binary, by `cargo metadata` of one target."""
    nodes = {node["id"]: node for node in graph["resolve"]["nodes"]}
    linked, open_ = set(), [graph["resolve"]["root"]]
    while open_:
        crate = open_.pop()
        if crate in linked:
            continue
        linked.add(crate)
        normal = [dep["pkg"] for dep in nodes[crate]["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]
        open_.extend(normal)
    packages = {package["id"]: package for package in graph["packages"]}
    return packages[graph["resolve"]["root"]], [packages[crate] for crate in sorted(linked) if crate != graph["resolve"]["root"]]


def bill_of_materials(graph, arch, out, epoch_iso):
    """millstream-VERSION-linux-ARCH.cdx.json: CycloneDX 1.5, the crates that are linked into the binary."""
    root, crates = crates_of(graph)

    def component(package, kind):
        purl = f"pkg:cargo/{package['name']}@{package['version']}"
        licence = [{"expression": package["license"].replace("/", " OR ")}] if package.get("license") else []
        return {
            "type": kind, "bom-ref": purl, "name": package["name"], "version": package["version"], "purl": purl,
            **({"licenses": licence} if licence else {}),
        }

    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"timestamp": epoch_iso, "component": component(root, "application")},
        "components": [component(package, "library") for package in crates],
    }
    # Of the content, so that the same content has the same number.
    bill["serialNumber"] = "urn:uuid:" + str(uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(bill, sort_keys=True)))
    path = out / f"{NAME}-{root['version']}-linux-{arch}.cdx.json"
    write(path, json.dumps(bill, indent=1) + "\n")
    return path


def checksums(out):
    """SHA256SUMS of everything in `out`, as sha256sum -c reads it."""
    files = sorted(path for path in out.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    write(out / "SHA256SUMS", "".join(lines))
