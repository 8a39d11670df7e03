//! Which requests are writes. Pure.

use hyper::Method;

use super::core::Need;

/// Paths, as LiteFS writes them: `*` is any number of any characters, everything else is itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Vec<String>);

impl Glob {
    pub fn parse(text: &str) -> Result<Glob, String> {
        match text.starts_with(['/', '*']) {
            true => Ok(Glob(text.split('*').map(str::to_owned).collect())),
            false => Err(format!("{text:?} is not a path: write for example /live/*, or *.png")),
        }
    }

    pub fn matches(&self, path: &str) -> bool {
        let [first, rest @ ..] = &self.0[..] else { return false };
        let Some(mut path) = path.strip_prefix(first.as_str()) else { return false };
        let [middle @ .., last] = rest else { return path.is_empty() };
        for part in middle {
            let Some(at) = path.find(part.as_str()) else { return false };
            path = &path[at + part.len()..];
        }
        path.ends_with(last.as_str())
    }
}

/// What the configuration says of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// For the application of this node, whatever its role.
    pub passthrough: Vec<Glob>,
    /// For the primary, whatever the method.
    pub always_forward: Vec<Glob>,
    pub acks: AckRoutes,
}

/// Which responses wait until what was committed before them is in the bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AckRoutes {
    /// Those to every method that is not safe.
    pub all_writes: bool,
    /// Those to every request to these paths.
    pub paths: Vec<Glob>,
}

impl AckRoutes {
    pub fn include(&self, method: &Method, path: &str) -> bool {
        (self.all_writes && !method.is_safe()) || self.paths.iter().any(|glob| glob.matches(path))
    }
}

impl Routes {
    /// A safe method changes nothing (RFC 9110, 9.2.1); what comes over a connection with another
    /// protocol is not known.
    pub fn need(&self, method: &Method, path: &str, wants_upgrade: bool) -> Need {
        let is_in = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(path));
        if is_in(&self.passthrough) {
            return Need::Local;
        }
        match method.is_safe() && !wants_upgrade && !is_in(&self.always_forward) {
            true => Need::Read,
            false => Need::Write,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_are_litefss() {
        for (glob, path, matches) in [
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a/*", "/a/", true),
            ("/a/*", "/a/b/c", true),
            ("/a/*", "/b/a/", false),
            ("*.png", "/x/y.png", true),
            ("*.png", "/x/y.png.html", false),
            ("/a/*/c*d", "/a/b/ccd", true),
            ("/a/*/c*d", "/a/b/c", false),
            ("/ab*ba", "/aba", false),
            ("*", "/", true),
        ] {
            assert_eq!(Glob::parse(glob).expect(glob).matches(path), matches, "{glob} {path}");
        }
        assert!(Glob::parse("a/*").expect_err("no path").contains("write for example"));
        assert!(Glob::parse("").is_err());
    }

    #[test]
    fn which_responses_wait_for_the_bucket() {
        let paths = vec![Glob::parse("/orders/*").expect("valid")];
        for (all_writes, method, path, waits) in [
            (false, Method::POST, "/", false),
            (true, Method::POST, "/", true),
            (true, Method::GET, "/", false),
            (false, Method::POST, "/orders/1", true),
            (false, Method::GET, "/orders/1", true),
        ] {
            let acks = AckRoutes { all_writes, paths: paths.clone() };
            assert_eq!(acks.include(&method, path), waits, "{all_writes} {method} {path}");
        }
    }

    #[test]
    fn what_may_write_is_a_write() {
        let globs = |text: &str| vec![Glob::parse(text).expect(text)];
        let routes = Routes { passthrough: globs("/static/*"), always_forward: globs("/live/*"), ..Routes::default() };
        for (method, path, wants_upgrade, need) in [
            (Method::GET, "/", false, Need::Read),
            (Method::HEAD, "/", false, Need::Read),
            (Method::OPTIONS, "/", false, Need::Read),
            (Method::POST, "/", false, Need::Write),
            (Method::DELETE, "/", false, Need::Write),
            (Method::GET, "/", true, Need::Write),
            (Method::GET, "/live/x", false, Need::Write),
            (Method::POST, "/static/x", false, Need::Local),
            (Method::GET, "/static/x", true, Need::Local),
        ] {
            assert_eq!(routes.need(&method, path, wants_upgrade), need, "{method} {path}");
        }
    }
}
