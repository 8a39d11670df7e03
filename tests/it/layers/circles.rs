//! Inside a module: no circle of files.
//!
//! A file needs another one if its code names something that stands there, directly or through
//! re-exports. Test code and re-exports themselves do not count. A file may name types, traits and
//! constants of the modules above it, which are the words that the files below share; if it calls a
//! function from there, that is a step up, and counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Steps that close a circle and are still to be removed. This list only ever gets shorter.
const STILL_THERE: &[(&str, &str)] = &[];

type Module = Vec<String>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Function,
    /// A type, a trait, a constant.
    Word,
}

/// What a path leads to.
#[derive(Clone, Debug)]
enum Place {
    Module(Module),
    Item(Module, Kind),
}

/// What one source file says, without its tests.
#[derive(Default)]
struct Source {
    items: BTreeMap<String, Kind>,
    /// Name and path of everything in `use` items; a name of `*` is a glob.
    uses: Vec<Use>,
    /// Every path and every single name outside of them.
    names: BTreeSet<Vec<String>>,
}

struct Use {
    name: String,
    path: Vec<String>,
    is_export: bool,
}

impl Source {
    fn parse(text: &str) -> Source {
        let tokens = tokens(&without_tests(text));
        let mut source = Source::default();
        let (mut at, mut depth) = (0, 0);
        while at < tokens.len() {
            let (token, next) = (tokens[at].as_str(), tokens.get(at + 1));
            let first = tokens[at].chars().next().unwrap_or(' ');
            at += 1;
            match (token, next) {
                ("{", _) => depth += 1,
                ("}", _) => depth -= 1,
                ("use", _) => {
                    let is_export = at > 1 && (tokens[at - 2] == "pub" || tokens[at - 2] == ")");
                    at = use_tree(&tokens, at, &mut Vec::new(), &mut |name, path| {
                        source.uses.push(Use { name, path, is_export })
                    });
                }
                ("fn" | "struct" | "enum" | "trait" | "type" | "const" | "static", Some(name)) if depth == 0 => {
                    let kind = if token == "fn" { Kind::Function } else { Kind::Word };
                    source.items.insert(name.clone(), kind);
                }
                // Fields and methods belong to a type.
                ("mod" | ".", Some(name)) if is_name(name) => at += 1,
                _ if first.is_alphabetic() || first == '_' => {
                    let mut path = vec![token.to_owned()];
                    while tokens.get(at).is_some_and(|t| t == "::") && tokens.get(at + 1).is_some_and(|t| is_name(t)) {
                        path.push(tokens[at + 1].clone());
                        at += 2;
                    }
                    source.names.insert(path);
                }
                _ => {}
            }
        }
        source
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// One branch of a `use` item from `at` on; returns where the next token stands.
fn use_tree(
    tokens: &[String],
    mut at: usize,
    base: &mut Vec<String>,
    found: &mut dyn FnMut(String, Vec<String>),
) -> usize {
    let depth = base.len();
    loop {
        match tokens.get(at).map(String::as_str) {
            Some("::") => at += 1,
            Some("{") => {
                at += 1;
                while tokens.get(at).is_some_and(|t| t != "}") {
                    at = use_tree(tokens, at, base, found);
                    at += usize::from(tokens.get(at).is_some_and(|t| t == ","));
                }
                base.truncate(depth);
                return at + 1;
            }
            Some("as") => {
                found(tokens[at + 1].clone(), base.clone());
                base.truncate(depth);
                return at + 2;
            }
            Some("self") if !base.is_empty() => at += 1,
            Some(name) if is_name(name) || name == "*" => {
                base.push(name.to_owned());
                at += 1;
            }
            _ => {
                if let Some(name) = base.last().filter(|_| base.len() > depth || depth > 0) {
                    found(name.clone(), base.clone());
                }
                base.truncate(depth);
                return at;
            }
        }
    }
}

/// The source without items that are compiled for tests only. It is formatted, so an item ends at a
/// brace as far to the right.
fn without_tests(text: &str) -> String {
    let mut kept = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept.push(line);
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        for line in lines.by_ref() {
            let is_end = line.len() - line.trim_start().len() == indent && !line.trim().is_empty();
            if is_end && (line.trim_end().ends_with([';', '}']) || line.trim_end().ends_with("},")) {
                break;
            }
        }
    }
    kept.join("\n")
}

/// Names, `::` and single signs. Comments, strings and characters are left out.
fn tokens(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let len = match c {
            _ if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '"' => string_len(rest),
            '\'' if rest[1..].starts_with('\\') => 2 + rest[3..].find('\'').map_or(0, |at| at + 2),
            '\'' if rest.chars().nth(2) == Some('\'') => rest.char_indices().nth(3).map_or(rest.len(), |(at, _)| at),
            _ if rest.starts_with("::") => 2,
            _ if c.is_alphanumeric() || c == '_' => {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            }
            _ => c.len_utf8(),
        };
        let is_text = c == '"' || c == '\'' || rest.starts_with("//");
        if !is_text && !c.is_whitespace() {
            found.push(rest[..len].to_owned());
        }
        rest = &rest[len..];
    }
    found
}

/// The length of the string literal at the beginning, with its quotes. (None in these sources is
/// raw and has quotes inside.)
fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// All sources by the path of their module; a module without a file of its own is not there.
pub(super) struct House {
    sources: BTreeMap<Module, Source>,
}

/// Paths that lead from re-export to re-export end after so many.
const FAR: usize = 12;

impl House {
    /// The files, without their tests, in which this name of `crate::ROOM` is imported.
    pub(super) fn files_that_import(&self, room: &str, name: &str) -> Vec<String> {
        let is_it =
            |path: &[String]| matches!(path, [first, at, last] if first == "crate" && at == room && last == name);
        let files = self.sources.iter().filter(|(_, source)| source.uses.iter().any(|import| is_it(&import.path)));
        files.map(|(module, _)| module.join("/")).collect()
    }

    /// A module and a function may have the same name: inside a path it is the module that is
    /// meant.
    fn lookup(&self, module: &Module, name: &str, is_last: bool, left: usize) -> Option<Place> {
        let child: Module = module.iter().cloned().chain([name.to_owned()]).collect();
        let child = self.sources.contains_key(&child).then_some(Place::Module(child));
        let item = || self.lookup_item(module, name, left);
        if is_last { item().or(child) } else { child.or_else(item) }
    }

    fn lookup_item(&self, module: &Module, name: &str, left: usize) -> Option<Place> {
        let source = self.sources.get(module)?;
        if let Some(kind) = source.items.get(name) {
            return Some(Place::Item(module.clone(), *kind));
        }
        let by_name = source.uses.iter().find(|u| u.name == name).and_then(|u| self.follow(module, &u.path, left));
        by_name.or_else(|| {
            let globs = source.uses.iter().filter(|u| u.name == "*");
            globs.into_iter().find_map(|glob| match self.follow(module, &glob.path[..glob.path.len() - 1], left)? {
                Place::Module(other) if other != *module => self.lookup(&other, name, true, left.checked_sub(1)?),
                _ => None,
            })
        })
    }

    fn follow(&self, from: &Module, path: &[String], left: usize) -> Option<Place> {
        let left = left.checked_sub(1)?;
        let mut place = None;
        for (at, name) in path.iter().enumerate() {
            let is_last = at + 1 == path.len();
            place = Some(match (place, name.as_str()) {
                (None, "crate") => Place::Module(Vec::new()),
                (None, "self") => Place::Module(from.clone()),
                (None, "super") => Place::Module(from[..from.len().checked_sub(1)?].to_vec()),
                (None, name) => self.lookup(from, name, is_last, left)?,
                (Some(Place::Module(module)), "super") => {
                    Place::Module(module[..module.len().checked_sub(1)?].to_vec())
                }
                (Some(Place::Module(module)), name) => self.lookup(&module, name, is_last, left)?,
                // What belongs to a type stands where the type does.
                (Some(item), _) => return Some(item),
            });
        }
        place
    }

    /// Which modules a module needs, and a name for which it does.
    fn needs(&self, module: &Module) -> BTreeMap<Module, String> {
        let source = &self.sources[module];
        let mut found = BTreeMap::new();
        let imports = source.uses.iter().filter(|u| !u.is_export).map(|u| &u.path);
        for path in imports.chain(&source.names) {
            let Some(Place::Item(other, kind)) = self.follow(module, path, FAR) else { continue };
            let is_above = module.starts_with(&other);
            let in_one_room = other.first() == module.first();
            if other != *module && in_one_room && !(is_above && kind == Kind::Word) {
                found.entry(other).or_insert_with(|| path.join("::"));
            }
        }
        found
    }

    /// The circles, each as the steps inside it.
    fn circles(&self, allowed: &[(&str, &str)]) -> Vec<Vec<Step>> {
        let is_allowed = |from: &Module, to: &Module| allowed.contains(&(&*from.join("/"), &*to.join("/")));
        let mut needs: BTreeMap<Module, BTreeMap<Module, String>> = BTreeMap::new();
        for module in self.sources.keys() {
            let mut steps = self.needs(module);
            steps.retain(|to, _| !is_allowed(module, to));
            needs.insert(module.clone(), steps);
        }
        let reach: BTreeMap<&Module, BTreeSet<&Module>> = needs.keys().map(|m| (m, reached(&needs, m))).collect();
        let mut done = BTreeSet::new();
        let mut circles = Vec::new();
        for module in needs.keys() {
            let circle: Vec<&Module> =
                reach[module].iter().copied().filter(|other| reach[*other].contains(module)).collect();
            if circle.is_empty() || !done.insert(circle.clone()) {
                continue;
            }
            let steps = circle.iter().flat_map(|from| needs[*from].iter().map(move |(to, name)| (*from, to, name)));
            let inside = steps.filter(|(_, to, _)| circle.contains(to));
            circles.push(
                inside
                    .map(|(from, to, name)| Step { from: from.join("/"), to: to.join("/"), name: name.clone() })
                    .collect(),
            );
        }
        circles
    }
}

#[derive(Debug)]
struct Step {
    from: String,
    to: String,
    name: String,
}

fn reached<'a>(needs: &'a BTreeMap<Module, BTreeMap<Module, String>>, from: &Module) -> BTreeSet<&'a Module> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&Module> = needs[from].keys().collect();
    while let Some(module) = open.pop() {
        if found.insert(module) {
            open.extend(needs.get(module).into_iter().flat_map(BTreeMap::keys));
        }
    }
    found
}

/// The sources below `src`, by module. Files that belong to tests are left out.
pub(super) fn house() -> House {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut texts: BTreeMap<Module, String> = BTreeMap::new();
    for path in super::files().into_keys() {
        let relative = path.strip_prefix(&root).expect("below src").with_extension("");
        let mut module: Module = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if module.last().is_some_and(|last| last == "mod") {
            module.pop();
        }
        texts.insert(module, fs::read_to_string(&path).expect("read a source file"));
    }
    let for_tests: Vec<Module> = texts.iter().flat_map(|(module, text)| test_children(module, text)).collect();
    texts.retain(|module, _| !for_tests.iter().any(|test| module.starts_with(test)));
    House { sources: texts.into_iter().map(|(module, text)| (module, Source::parse(&text))).collect() }
}

/// `#[cfg(test)]` before `mod name;`.
fn test_children(module: &Module, text: &str) -> Vec<Module> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let pairs = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]" && pair[1].ends_with(';'));
    let names =
        pairs.filter_map(|pair| pair[1].trim_end_matches(';').rsplit_once("mod ").map(|(_, name)| name.to_owned()));
    names.map(|name| module.iter().cloned().chain([name]).collect()).collect()
}

fn told(circles: &[Vec<Step>]) -> String {
    let lines = |circle: &Vec<Step>| {
        let steps = circle.iter().map(|s| format!("  {} needs {} for {}", s.from, s.to, s.name));
        steps.collect::<Vec<_>>().join("\n")
    };
    circles.iter().map(lines).collect::<Vec<_>>().join("\nand\n")
}

#[test]
fn no_files_of_a_module_need_each_other() {
    let house = house();
    let circles = house.circles(STILL_THERE);
    assert!(circles.is_empty(), "a circle of files: move what they share into a file below both\n{}", told(&circles));
    for (at, step) in STILL_THERE.iter().enumerate() {
        let others = [&STILL_THERE[..at], &STILL_THERE[at + 1..]].concat();
        assert!(!house.circles(&others).is_empty(), "{step:?} closes no circle any more: remove it from the list");
    }
}

#[test]
fn this_check_can_fail() {
    let circles = |files: &[(&str, &str)]| {
        let sources = files
            .iter()
            .map(|(name, text)| (name.split('/').map(str::to_owned).collect::<Module>(), Source::parse(text)));
        House { sources: sources.collect() }.circles(&[]).len()
    };
    let parent = ("m", "mod a;\nmod b;\npub use a::A;\npub use b::{B, b};\npub struct Shared;\nfn helper() {}");
    let a = |text| ("m/a", text);
    let uses_a = ("m/b", "use super::A;\npub struct B(A);\npub fn b() {}");
    assert_eq!(circles(&[parent, a("pub struct A;"), uses_a]), 0);
    assert_eq!(circles(&[parent, a("use super::b;\npub struct A;\nfn f() { b() }"), uses_a]), 1, "through re-exports");
    assert_eq!(circles(&[parent, a("pub struct A;\nfn f() { super::b::b() }"), uses_a]), 1, "inline");
    assert_eq!(circles(&[parent, a("use crate::m::{b::{self as x}};\npub struct A;\nfn f(_: x::B) {}"), uses_a]), 1);
    let tests = "pub struct A;\n#[cfg(test)]\nmod tests {\n    use super::super::b;\n}\n// super::b::b()";
    assert_eq!(circles(&[parent, a(tests), uses_a]), 0, "tests and comments do not count");
    let calls = "mod a;\nfn f() { a::g() }\nfn helper() {}\npub struct Word;";
    assert_eq!(circles(&[("m", calls), a("pub fn g() { super::helper() }")]), 1, "a call upwards");
    assert_eq!(circles(&[("m", calls), a("pub fn g(_: super::Word) {}")]), 0, "a word from above");
}
