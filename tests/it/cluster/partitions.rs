//! Three nodes in network namespaces of their own, under load: partitions of pairs and of the bucket, kill -9, SIGSTOP.
//!
//! What an application was told is uploaded must be in the end, with the node that wrote it (I12); all nodes show one history
//! (I9, I10, I11). `MILLSTREAM_TEST_PARTITION_SECONDS` makes it longer (`scripts/soak cluster`), `MILLSTREAM_TEST_SEED`
//! repeats what was done.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use super::*;
use crate::harness::process::setting;

const NODES: [&str; 3] = ["a", "b", "c"];
const SAFE_APP: [&str; 1] = ["safe-member:20"];

/// A bridge, and a namespace for each node on it.
struct Net {
    prefix: String,
    subnet: String,
}

fn ip(words: &str) -> Result<(), String> {
    let output = Command::new("ip").args(words.split(' ')).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("ip {words}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("ip {words}: {error}")),
    }
}

impl Net {
    fn new() -> Net {
        let pid = std::process::id();
        let net = Net { prefix: format!("ms{}", pid % 100_000), subnet: format!("10.213.{}", pid % 250) };
        let needs = "this test makes network namespaces: it needs root (CAP_NET_ADMIN, CAP_SYS_ADMIN) and iproute2";
        net.make().unwrap_or_else(|why| panic!("{needs}: {why}"));
        net
    }

    fn make(&self) -> Result<(), String> {
        let Net { prefix, subnet } = self;
        ip(&format!("link add {prefix} type bridge"))?;
        ip(&format!("addr add {subnet}.254/24 dev {prefix}"))?;
        ip(&format!("link set {prefix} up"))?;
        for node in 0..NODES.len() {
            let space = self.space(node);
            ip(&format!("netns add {space}"))?;
            ip(&format!("link add {space} type veth peer name eth0 netns {space}"))?;
            ip(&format!("link set {space} master {prefix} up"))?;
            ip(&format!("-n {space} addr add {}/24 dev eth0", self.address(node)))?;
            ip(&format!("-n {space} link set eth0 up"))?;
            ip(&format!("-n {space} link set lo up"))?;
        }
        Ok(())
    }

    fn space(&self, node: usize) -> String {
        format!("{}n{node}", self.prefix)
    }

    fn address(&self, node: usize) -> String {
        format!("{}.{}", self.subnet, node + 1)
    }

    fn bucket(&self) -> String {
        format!("{}.254", self.subnet)
    }

    /// Nothing goes from the node to the address any more.
    fn cut(&self, node: usize, address: &str) {
        ip(&format!("-n {} route replace blackhole {address}/32", self.space(node))).expect("cut");
    }

    fn heal(&self, node: usize) {
        let others = (0..NODES.len()).map(|other| self.address(other)).chain([self.bucket()]);
        for address in others {
            // Most of them are not there.
            let _ = ip(&format!("-n {} route del blackhole {address}/32", self.space(node)));
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for node in 0..NODES.len() {
            let _ = ip(&format!("netns del {}", self.space(node)));
        }
        let _ = ip(&format!("link del {}", self.prefix));
    }
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

struct World {
    net: Net,
    members: Vec<Member>,
    running: Vec<Option<Running>>,
    dice: Dice,
    done: BTreeMap<&'static str, u32>,
    trace: Vec<String>,
}

impl World {
    fn start(&mut self, node: usize) {
        let member = &self.members[node];
        let run = ["run".into(), "-config".into(), member.rig.config().into(), "--".into()];
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/app.py");
        let mut argv: Vec<OsString> =
            vec![python(), script.into(), member.rig.db().into(), (&member.acks).into(), member.life.into()];
        argv.extend(SAFE_APP.iter().map(OsString::from));
        let invocation = member.rig.millstream::<OsString>(run).args(argv);
        let invocation = invocation.env("CONTROL", member.rig.path("control.sock"));
        self.running[node] = Some(invocation.under("ip", ["netns", "exec", &self.net.space(node)]).spawn());
    }

    /// What ends by itself is started again, as by a restart policy.
    fn restart(&mut self) {
        for node in 0..NODES.len() {
            if self.running[node].as_mut().is_none_or(|running| !running.is_running()) {
                self.running[node] = None;
                self.start(node);
            }
        }
    }

    fn note(&mut self, what: &'static str, node: usize) {
        *self.done.entry(what).or_insert(0) += 1;
        self.trace.push(format!("{what}: {}", NODES[node]));
    }

    /// One fault, and its end some seconds later.
    fn fault(&mut self) {
        let node = self.dice.roll(3) as usize;
        let other = (node + 1 + self.dice.roll(2) as usize) % 3;
        let pause = Duration::from_millis(1000 + self.dice.roll(5000));
        match self.dice.roll(6) {
            0 | 1 => {
                self.note("cut off from another node", node);
                self.net.cut(node, &self.net.address(other));
                self.net.cut(other, &self.net.address(node));
                std::thread::sleep(pause);
            }
            2 | 3 => {
                self.note("cut off from the bucket", node);
                self.net.cut(node, &self.net.bucket());
                if self.dice.roll(3) == 0 {
                    self.net.cut(node, &self.net.address(other));
                    self.net.cut(other, &self.net.address(node));
                }
                std::thread::sleep(pause * 2);
            }
            4 => {
                self.note("killed", node);
                // Everything on it, as when the machine goes away.
                self.running[node] = None;
                std::thread::sleep(pause);
            }
            _ => {
                self.note("stopped for a while", node);
                if let Some(running) = &mut self.running[node] {
                    running.signal_if_running(Signal::SIGSTOP);
                    std::thread::sleep(pause * 2);
                    running.signal_if_running(Signal::SIGCONT);
                }
            }
        }
        self.net.heal(node);
        self.net.heal(other);
        self.restart();
        std::thread::sleep(Duration::from_millis(self.dice.roll(4000)));
    }

    fn acknowledged(&self) -> Vec<(i64, String)> {
        let text = fs::read_to_string(&self.members[0].acks).unwrap_or_default();
        let parse = |line: &str| {
            let (life, seq) = line.split_once(' ')?;
            Some((seq.parse().ok()?, life.to_owned()))
        };
        text.lines().filter_map(parse).collect()
    }

    /// Everything works again: rows are acknowledged, and all nodes show them.
    fn settle(&mut self) {
        let before = self.acknowledged().len();
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            self.restart();
            let acknowledged = self.acknowledged();
            let newest = acknowledged.last().map_or(0, |(seq, _)| *seq);
            let shows_all = |member: &Member| member.rows() >= newest;
            if acknowledged.len() >= before + 20 && self.members.iter().all(shows_all) {
                return;
            }
            assert!(Instant::now() < deadline, "it does not work again: {}", self.told());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn told(&self) -> String {
        let rows: Vec<i64> = self.members.iter().map(Member::rows).collect();
        let nodes = self.running.iter().flatten().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        format!("{:?}\n{:?}, rows {rows:?}\n{nodes}", self.trace, self.done)
    }
}

fn history(database: &std::path::Path) -> Vec<(i64, String)> {
    let db = rusqlite::Connection::open(database).expect("open");
    let whole: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("check");
    assert_eq!(whole, "ok", "{}", database.display());
    let mut rows = db.prepare("SELECT seq, life FROM t ORDER BY seq").expect("prepare");
    let found = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("query");
    found.collect::<Result<_, _>>().expect("rows")
}

#[test]
fn whatever_is_cut_killed_or_stopped_there_is_one_history_and_nothing_uploaded_is_lost() {
    let number = |name: &str, usual: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let seconds = number("MILLSTREAM_TEST_PARTITION_SECONDS", 45);
    let seed = number("MILLSTREAM_TEST_SEED", u64::from(std::process::id()));
    println!("seed {seed}: MILLSTREAM_TEST_SEED={seed} does the same again");
    let net = Net::new();
    let bucket = Proxy::at(&net.bucket(), &setting("MILLSTREAM_TEST_S3_ENDPOINT"));
    let mut first = Rig::on_s3();
    let direct = first.remote.clone();
    first.remote = direct.through(bucket.endpoint());
    let mut members = vec![Member::first(first, NODES[0])];
    members.extend(NODES[1..].iter().map(|life| members[0].next(life)).collect::<Vec<_>>());
    let configured = |(node, member): (usize, Member)| {
        let own = format!("{}:4000", net.address(node));
        let keys =
            format!(", listen: \"{own}\", advertise: \"http://{own}\", secret: 0123456789abcdef0123456789abcdef");
        let mut member = member.with(&keys);
        let socket = member.rig.path("control.sock");
        member.rig.settings.push_str(&format!("socket: {{enabled: true, path: {}}}\n", socket.display()));
        member
    };
    let members: Vec<Member> = members.into_iter().enumerate().map(configured).collect();
    let (running, dice) = ((0..3).map(|_| None).collect(), Dice(seed));
    let mut world = World { net, members, running, dice, done: BTreeMap::new(), trace: Vec::new() };
    world.restart();
    world.settle();
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        world.fault();
    }
    world.settle();
    let running: Vec<Running> = world.running.iter_mut().filter_map(Option::take).collect();
    running.into_iter().for_each(|running| is_over(running, &[143, 74]));
    let acknowledged = world.acknowledged();
    println!("{} rows, {:?}", acknowledged.len(), world.done);
    let rig = &mut world.members[0].rig;
    rig.remote = direct;
    let restored = rig.restored();
    let all: BTreeMap<i64, String> = history(&restored).into_iter().collect();
    let lost: Vec<_> = acknowledged.iter().filter(|(seq, life)| all.get(seq) != Some(life)).collect();
    assert!(lost.is_empty(), "{} acknowledged rows are lost: {lost:?}\n{}", lost.len(), world.told());
    assert_eq!(all.last_key_value().map(|(last, _)| *last), Some(all.len() as i64), "no row is missing");
    for member in &world.members {
        for (seq, life) in history(&member.rig.db()) {
            assert_eq!(all.get(&seq), Some(&life), "row {seq} on node {}\n{}", member.life, world.told());
        }
        let mixed = fs::read_to_string(format!("{}.{}.mixed", member.acks.display(), member.life)).unwrap_or_default();
        assert!(!mixed.contains("rows up to"), "a reader on node {} saw a mix: {mixed}", member.life);
    }
}
