//! The directory in which a conversation with Claude's command line takes place, and what it keeps there and elsewhere.

use crate::place;
use goclaw_ports::{TenantId, llm::Conversation};
use serde_json::{Value, json};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use uuid::Uuid;

/// The tools that ask the hook first.
const HOOKED: &[&str] = &["Bash", "Write", "Edit", "Read", "MultiEdit", "NotebookEdit", "Glob", "Grep"];

/// A conversation's directory.
#[derive(Debug, Clone)]
pub struct Home {
    /// Where the program works.
    pub directory: PathBuf,
    settings: PathBuf,
    user: Option<PathBuf>,
    id: Uuid,
}

/// A conversation, as the program knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: Uuid,
    /// Whether the program has it already.
    pub begun: bool,
    /// The settings with its hooks.
    pub settings: Option<PathBuf>,
}

impl Home {
    /// The place of a conversation below `base`, its settings below `hooks`. `user` is the program's home.
    pub fn new(base: &Path, hooks: &Path, conversation: &Conversation, user: Option<&str>) -> Self {
        let directory = place::of(base, conversation);
        // Tenants may have sessions of the same name.
        let name = if conversation.tenant == TenantId::MASTER {
            conversation.session_key.clone()
        } else {
            format!("{}\n{}", conversation.tenant, conversation.session_key)
        };
        let id = Uuid::new_v5(&Uuid::NAMESPACE_DNS, name.as_bytes());
        Self { directory, settings: hooks.join(format!("{id}.json")), user: user.map(PathBuf::from), id }
    }

    /// Makes the directory, with the system prompt in it, and the settings. Blocks.
    pub fn prepare(&self, prompt: &str, hook: Option<&str>) -> io::Result<Session> {
        place::make(&self.directory, true)?;
        place::put(&self.directory.join("CLAUDE.md"), prompt)?;
        let settings = match hook {
            Some(hook) => {
                if let Some(directory) = self.settings.parent() {
                    place::make(directory, false)?;
                }
                place::put(&self.settings, &hooks(hook).to_string())?;
                Some(self.settings.clone())
            }
            None => None,
        };
        Ok(Session { id: self.id, begun: self.transcript().is_some_and(|transcript| transcript.is_file()), settings })
    }

    /// Where the program keeps the conversation.
    fn transcript(&self) -> Option<PathBuf> {
        let real = self.directory.canonicalize().ok()?;
        let project = real.to_string_lossy().replace(['/', '_', '.', ':'], "-");
        Some(self.user.as_ref()?.join(".claude/projects").join(project).join(format!("{}.jsonl", self.id)))
    }

    /// Has the conversation begin anew. Blocks.
    pub fn forget(&self) -> io::Result<()> {
        if let Some(transcript) = self.transcript() {
            place::remove(&transcript)?;
        }
        place::remove(&self.directory.join("CLAUDE.md"))
    }

    /// Removes all that was made for the conversation. Blocks.
    pub fn forget_all(&self) -> io::Result<()> {
        self.forget()?;
        place::remove(&self.settings)?;
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn hooks(command: &str) -> Value {
    let ask = |tool: &&str| json!({"matcher": tool, "hooks": [{"type": "command", "command": command}]});
    json!({"hooks": {"PreToolUse": HOOKED.iter().map(ask).collect::<Vec<_>>()}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn a_conversation_has_begun_when_the_program_has_written_it_down_and_can_be_forgotten() {
        let place = TempDir::new().unwrap();
        let (base, hooks, user) = (place.path().join("b_1"), place.path().join("hooks"), place.path().join("home"));
        let conversation = Conversation { tenant: TenantId::MASTER, session_key: "agent:fox:ws".into() };
        let home = Home::new(&base, &hooks, &conversation, user.to_str());
        let session = home.prepare("be a fox", Some("ask me")).unwrap();
        assert_eq!((session.id, session.begun), (Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"agent:fox:ws"), false));
        let settings: Value = serde_json::from_str(&fs::read_to_string(session.settings.unwrap()).unwrap()).unwrap();
        assert_eq!(settings["hooks"]["PreToolUse"][0], json!({"matcher": "Bash", "hooks": [{"type": "command", "command": "ask me"}]}));

        let project = base.join("agent-fox-ws").canonicalize().unwrap().to_str().unwrap().replace(['/', '_', '.', ':'], "-");
        let transcript = user.join(".claude/projects").join(project).join(format!("{}.jsonl", session.id));
        fs::create_dir_all(transcript.parent().unwrap()).unwrap();
        fs::write(&transcript, "{}").unwrap();
        assert!(home.prepare("be a fox", None).unwrap().begun);
        home.forget().unwrap();
        assert!(!transcript.exists() && !home.directory.join("CLAUDE.md").exists());
        home.forget().unwrap();
        home.forget_all().unwrap();
        assert!(!home.directory.exists());
    }

    #[test]
    fn tenants_do_not_share_conversations() {
        let id = |tenant: u128| {
            let tenant = if tenant == 0 { TenantId::MASTER } else { TenantId(Uuid::from_u128(tenant)) };
            Home::new(Path::new("/b"), Path::new("/h"), &Conversation { tenant, session_key: "s".into() }, None).id
        };
        assert!(id(0) != id(7) && id(7) != id(8));
    }
}
