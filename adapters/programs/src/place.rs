//! The directory of a conversation.

use goclaw_ports::{TenantId, llm::Conversation};
use std::{
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The longest name of a directory, in bytes.
const LONGEST: usize = 255;

/// A session's key as the name of a directory.
pub fn sanitised(session_key: &str) -> String {
    let plain = session_key.replace([':', '/', '\\'], "-").replace('\0', "").replace("..", "_");
    let mut end = plain.len().min(LONGEST);
    while !plain.is_char_boundary(end) {
        end -= 1;
    }
    match &plain[..end] {
        "" | "." => "default".to_owned(),
        name => name.to_owned(),
    }
}

/// The directory of a conversation below `base`. Tenants other than master have a directory of their own there.
pub fn of(base: &Path, conversation: &Conversation) -> PathBuf {
    let name = sanitised(&conversation.session_key);
    if conversation.tenant == TenantId::MASTER { base.join(name) } else { base.join("tenants").join(conversation.tenant.to_string()).join(name) }
}

/// Makes a directory, open to others for reading if `shared`. Blocks.
pub fn make(directory: &Path, shared: bool) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(if shared { 0o755 } else { 0o700 }).create(directory)
}

/// Makes `content` the file's, for its owner alone, in one step; one that holds it already stays as it is. Blocks.
pub fn put(file: &Path, content: &str) -> io::Result<()> {
    if fs::symlink_metadata(file).is_ok_and(|metadata| metadata.is_file()) && fs::read_to_string(file).is_ok_and(|before| before == content) {
        return fs::set_permissions(file, fs::Permissions::from_mode(0o600));
    }
    let draft = file.with_extension(format!("{}.tmp", uuid::Uuid::new_v4().simple()));
    let written = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).and_then(|mut draft| draft.write_all(content.as_bytes()));
    let written = written.and_then(|()| fs::rename(&draft, file));
    if written.is_err() {
        // The first failure is the one to tell.
        let _ = fs::remove_file(&draft);
    }
    written
}

/// Removes a file that may be missing. Blocks.
pub fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_one_directory_that_is_one_name() {
        for (key, name) in [
            ("agent:fox:ws:direct:ann", "agent-fox-ws-direct-ann"),
            ("a/b\\c", "a-b-c"),
            ("../..", "_-_"),
            ("", "default"),
            (".", "default"),
            ("\0", "default"),
            ("..", "_"),
        ] {
            assert_eq!(sanitised(key), name, "{key}");
        }
        assert_eq!(sanitised(&"é".repeat(300)).len(), 254);
    }

    #[test]
    fn tenants_do_not_share_directories() {
        let conversation = |tenant| Conversation { tenant, session_key: "agent:fox:1".into() };
        let other = TenantId(uuid::Uuid::from_u128(7));
        assert_eq!(of(Path::new("/b"), &conversation(TenantId::MASTER)), Path::new("/b/agent-fox-1"));
        assert_eq!(of(Path::new("/b"), &conversation(other)), Path::new("/b/tenants/00000000-0000-0000-0000-000000000007/agent-fox-1"));
    }

    #[test]
    fn a_file_is_its_owners_and_written_when_it_changes() {
        let directory = tempfile::TempDir::new().unwrap();
        let file = directory.path().join("CLAUDE.md");
        put(&file, "one").unwrap();
        let before = fs::metadata(&file).unwrap();
        assert_eq!(before.permissions().mode() & 0o777, 0o600);
        put(&file, "one").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), before.modified().unwrap());
        put(&file, "two").unwrap();
        assert_eq!((fs::read_to_string(&file).unwrap().as_str(), fs::read_dir(directory.path()).unwrap().count()), ("two", 1));
    }
}
