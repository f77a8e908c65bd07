//! The rules of the built-in tools, for programs that bring tools of their own.

use crate::{
    confine::{Access, PathError, Root},
    exec::{Decision, ExecApproval, deny},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 10 << 20;

/// What programs may do on this machine: in a directory of theirs, and as far as commands may run.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Which commands run.
    pub approval: ExecApproval,
    /// Switches of the shell's deny groups: `false` lets their commands through.
    pub deny_groups: BTreeMap<String, bool>,
    /// Absolute paths of the installation, which no program opens.
    pub protected: Vec<PathBuf>,
}

impl Host {
    /// The bytes of a file inside `root`. Blocks.
    ///
    /// # Errors
    /// Why it cannot be read, in words.
    pub fn read(&self, root: &Path, path: &str) -> Result<Vec<u8>, String> {
        self.within(root, path, |root| root.read(path, Access::Read, MAX_FILE))
    }

    /// Makes `content` the whole file inside `root`. Blocks.
    ///
    /// # Errors
    /// Why it cannot be written, in words.
    pub fn write(&self, root: &Path, path: &str, content: &[u8]) -> Result<(), String> {
        self.within(root, path, |root| root.replace(path, content).map(drop))
    }

    /// The path of a directory inside `root`. Blocks.
    ///
    /// # Errors
    /// Why it cannot be entered, in words.
    pub fn directory(&self, root: &Path, path: &str) -> Result<PathBuf, String> {
        self.within(root, path, |root| root.directory(path, Access::Read).map(|(_, relative)| root.absolute(&relative)))
    }

    /// Whether a tool may look at, or change, this path inside `root`, which may not exist yet. Blocks.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn reaches(&self, root: &Path, path: &str, changes: bool) -> Result<(), String> {
        self.within(root, path, |root| root.reaches(path, if changes { Access::Change } else { Access::Read }))
    }

    /// Whether a command line may run in `root`.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn permit(&self, root: &Path, command: &str) -> Result<(), String> {
        if let Some(denial) = deny::check_in(command, root, &self.deny_groups, &self.protected) {
            return Err(denial.to_string());
        }
        match self.approval.decide(command) {
            Decision::Allow => Ok(()),
            Decision::Ask | Decision::Deny => Err("command denied by exec approval policy".to_owned()),
        }
    }

    fn within<T>(&self, root: &Path, path: &str, work: impl FnOnce(&Root<'_>) -> Result<T, PathError>) -> Result<T, String> {
        Root::open(root, &self.protected).and_then(|root| work(&root)).map_err(|error| format!("{error}: {path}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Security;
    use std::{fs, os::unix::fs::symlink};
    use tempfile::TempDir;

    #[test]
    fn a_program_stays_in_its_directory() {
        let (root, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        fs::write(outside.path().join("secret"), "s").unwrap();
        symlink(outside.path(), root.path().join("out")).unwrap();
        let host = Host::default();
        host.write(root.path(), "a/b.txt", b"x").unwrap();
        assert_eq!(host.read(root.path(), "a/b.txt").unwrap(), b"x");
        let inside = root.path().join("a/b.txt");
        assert_eq!(host.read(root.path(), inside.to_str().unwrap()).unwrap(), b"x");
        assert_eq!(host.directory(root.path(), "a").unwrap(), root.path().canonicalize().unwrap().join("a"));
        for path in ["../secret", "out/secret", "/etc/passwd", "out/new/file"] {
            host.read(root.path(), path).unwrap_err();
            host.write(root.path(), path, b"x").unwrap_err();
            host.reaches(root.path(), path, true).unwrap_err();
        }
        host.directory(root.path(), "out").unwrap_err();
        host.reaches(root.path(), "new/file.txt", true).unwrap();
        assert!(!outside.path().join("new").exists());
    }

    #[test]
    fn commands_are_held_to_the_rules_of_the_shell() {
        let root = TempDir::new().unwrap();
        let host = Host { protected: vec!["/srv/goclaw".into()], ..Host::default() };
        host.permit(root.path(), "ls -l").unwrap();
        for command in ["sudo ls", "rm -rf x", "cat /srv/goclaw/key"] {
            host.permit(root.path(), command).unwrap_err();
        }
        let closed = Host { approval: ExecApproval { security: Security::Deny, ..ExecApproval::default() }, ..Host::default() };
        closed.permit(root.path(), "ls").unwrap_err();
    }
}
