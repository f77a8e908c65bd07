//! The path of a file, as URLs name it.

use goclaw_ports::{Error, Result, message};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::path::{Path, PathBuf};

/// What a URL's path starts with.
pub(super) const PREFIX: &str = "/v1/files/";
/// What is escaped in a segment of a URL's path: all but RFC 3986's unreserved characters.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Directories of the system; they are never served, whatever a configuration says of workspaces.
const SYSTEM: [&str; 9] = ["/etc", "/proc", "/sys", "/dev", "/root", "/boot", "/run", "/var/run", "/var/log"];

/// A path whose parts are names: neither empty nor `.` nor `..`, and without NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FilePath {
    /// Without the leading slash.
    clean: String,
}

impl FilePath {
    /// Reads the rest of a URL's path, percent-escapes decoded, or an absolute path. One leading slash is ignored.
    ///
    /// # Errors
    /// `Invalid` if a part is no name.
    pub fn parse(text: &str) -> Result<Self> {
        let clean = text.strip_prefix('/').unwrap_or(text);
        if clean.is_empty() {
            return Err(Error::required("path"));
        }
        if clean.contains('\0') || clean.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(Error::invalid(message::bad_path()));
        }
        Ok(Self { clean: clean.to_owned() })
    }

    /// The same for a path of the server's own.
    pub fn of(path: &Path) -> Option<Self> {
        Self::parse(path.to_str()?).ok()
    }

    /// Whether it is a name and nothing else.
    pub fn is_bare(&self) -> bool {
        !self.clean.contains('/')
    }

    /// The last name.
    pub fn name(&self) -> &str {
        self.clean.rsplit('/').next().unwrap_or_default()
    }

    /// Where it is on disk.
    pub fn absolute(&self) -> PathBuf {
        Path::new("/").join(&self.clean)
    }

    /// The path of its URL, percent-escapes decoded: what a token is bound to.
    pub fn bound(&self) -> String {
        format!("{PREFIX}{}", self.clean)
    }

    /// The path of its URL, as it is written.
    pub fn url(&self) -> String {
        let segments: Vec<String> = self.clean.split('/').map(|segment| utf8_percent_encode(segment, ESCAPED).to_string()).collect();
        format!("{PREFIX}{}", segments.join("/"))
    }

    /// Whether it lies in a directory of the system.
    pub fn is_systems(&self) -> bool {
        let path = self.absolute();
        SYSTEM.iter().any(|directory| path.starts_with(directory))
    }
}

/// Whether a file of this name belongs to the installation or holds secrets, wherever it is.
pub(super) fn is_private(path: &Path) -> bool {
    path.components().any(|component| {
        let name = component.as_os_str().to_string_lossy().to_lowercase();
        let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        ["config.json", "config.json5", "gateway.token", ".ssh", ".git"].contains(&name.as_str())
            || name.starts_with(".env")
            || ends(&[".db", ".db-wal", ".db-shm", ".db-journal", ".db.lock", ".key", ".pem"])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_are_names() {
        for text in ["app/a.png", "/app/a.png", "a..b", "a", "tệp tin.png", "..a/b.."] {
            assert!(FilePath::parse(text).is_ok(), "{text}");
        }
        for text in ["", "/", "//a", "a/", "a//b", "a/./b", "../a", "a/..", "..", ".", "a\0b"] {
            assert!(FilePath::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_url_is_escaped_by_segment() {
        let path = FilePath::parse("/app/tệp tin/100%?.png").unwrap();
        assert_eq!(path.url(), "/v1/files/app/t%E1%BB%87p%20tin/100%25%3F.png");
        assert_eq!(path.bound(), "/v1/files/app/tệp tin/100%?.png");
        assert_eq!((path.name(), path.is_bare(), path.absolute()), ("100%?.png", false, PathBuf::from("/app/tệp tin/100%?.png")));
        assert!(FilePath::parse("a.png").unwrap().is_bare());
    }

    #[test]
    fn what_belongs_to_the_system_or_is_secret_is_known() {
        for (path, systems) in [("etc/passwd", true), ("var/log/x", true), ("root/x", true), ("etcetera/x", false), ("home/etc/x", false)] {
            assert_eq!(FilePath::parse(path).unwrap().is_systems(), systems, "{path}");
        }
        for path in ["/d/config.json", "/d/Config.JSON5", "/d/goclaw.db", "/d/goclaw.db-wal", "/w/.env", "/w/.env.local/x", "/d/encryption.key", "/w/.ssh/id"] {
            assert!(is_private(Path::new(path)), "{path}");
        }
        for path in ["/w/config.jsonl", "/w/env", "/w/key.txt", "/w/debug.log", "/w/a.dbx"] {
            assert!(!is_private(Path::new(path)), "{path}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_stays_below_the_root(text in "\\PC{0,40}") {
            if let Ok(path) = FilePath::parse(&text) {
                let absolute = path.absolute();
                prop_assert!(absolute.components().skip(1).all(|part| matches!(part, std::path::Component::Normal(_))));
                prop_assert_eq!(FilePath::of(&absolute), Some(path));
            }
        }
    }
}
