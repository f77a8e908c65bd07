//! Programs that answer as they are told, and the ground they stand on.
#![allow(dead_code, reason = "not every test uses all of it")]

use futures_util::StreamExt;
use goclaw_ports::{
    TenantId,
    llm::{ChatEvent, ChatRequest, ChatResponse, Conversation, LlmError, Provider, ProviderFactory, ProviderSpec, ToolDefinition},
    media::ImagePart,
    sessions::{ChatMessage, MessageRole},
};
use goclaw_programs::{Ground, ProgramsOptions};
use goclaw_tools::Host;
use serde_json::{Value, json};
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;

/// The rules of the built-in tools.
struct Machine(Host);

impl Ground for Machine {
    fn read(&self, root: &Path, path: &str) -> Result<Vec<u8>, String> {
        self.0.read(root, path)
    }
    fn write(&self, root: &Path, path: &str, content: &[u8]) -> Result<(), String> {
        self.0.write(root, path, content)
    }
    fn directory(&self, root: &Path, path: &str) -> Result<PathBuf, String> {
        self.0.directory(root, path)
    }
    fn permit(&self, root: &Path, command: &str) -> Result<(), String> {
        self.0.permit(root, command)
    }
    fn hook(&self, _: &Path) -> Option<String> {
        Some("ask-me".to_owned())
    }
}

/// A machine with one program.
pub struct Site {
    pub home: TempDir,
    pub options: ProgramsOptions,
}

impl Site {
    pub fn new(name: &str, script: &str) -> Self {
        let home = TempDir::new().unwrap();
        install(&home.path().join(name), script);
        let path = home.path().to_str().unwrap().to_owned();
        let environment = [
            ("PATH", format!("{path}:/usr/local/bin:/usr/bin:/bin")),
            ("HOME", path),
            ("GOCLAW_ENCRYPTION_KEY", "secret-0001".to_owned()),
            ("CLAUDECODE", "1".to_owned()),
            ("CLAUDE_CODE_OAUTH_TOKEN", "login-0002".to_owned()),
            ("ANTHROPIC_API_KEY", "secret-0003".to_owned()),
        ];
        let options = ProgramsOptions {
            claude_directory: home.path().join("cli-workspaces"),
            hooks_directory: home.path().join("cli-hooks"),
            acp_directory: home.path().join("acp-workspaces"),
            environment: environment.map(|(name, value)| (name.to_owned(), value)).into(),
            ground: Arc::new(Machine(Host::default())),
            idle_timeout: Duration::from_secs(20),
        };
        Self { home, options }
    }

    pub fn factory(&self) -> Arc<dyn ProviderFactory> {
        goclaw_programs::factory(self.options.clone())
    }

    pub fn provider(&self, kind: &str, settings: Value) -> Arc<dyn Provider> {
        self.factory().build(spec(kind, settings)).unwrap()
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.home.path().join(name)).unwrap_or_default()
    }
}

pub fn spec(kind: &str, settings: Value) -> ProviderSpec {
    ProviderSpec {
        name: "mine".into(),
        provider_type: kind.into(),
        api_base: "claude".into(),
        api_key: None,
        credentials: None,
        default_model: "sonnet".into(),
        trusted: true,
        settings: settings.as_object().cloned().unwrap_or_default(),
    }
}

/// Another process writes the program: one of ours that is being forked could still hold it open when it is started.
pub fn install(program: &Path, script: &str) {
    let mut writing = Command::new("/bin/sh").arg("-c").arg("cat > \"$0\" && chmod 755 \"$0\"").arg(program).stdin(Stdio::piped()).spawn().unwrap();
    writing.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(writing.wait().unwrap().success());
}

/// A question of the session, with all tools.
pub fn question(session: &str, text: &str) -> ChatRequest {
    let tool = |name: &str| ToolDefinition { name: name.into(), description: String::new(), parameters: json!({}) };
    ChatRequest {
        messages: vec![ChatMessage::new(MessageRole::System, "Be a fox."), ChatMessage::new(MessageRole::User, text)],
        tools: ["exec", "read_file", "write_file", "web_fetch"].map(tool).into(),
        stream: true,
        conversation: Some(Conversation { tenant: TenantId::MASTER, session_key: session.into() }),
        ..ChatRequest::default()
    }
}

/// A question of the session about these pictures.
pub fn shown(session: &str, text: &str, pictures: &[ImagePart]) -> ChatRequest {
    let mut asking = question(session, text);
    asking.messages.last_mut().unwrap().images = pictures.to_vec();
    asking
}

/// A picture with these bytes, which are in base64.
pub fn picture(mime_type: &str, data: &str) -> ImagePart {
    ImagePart { mime_type: mime_type.into(), data: data.into() }
}

/// The pieces of an answer, and the whole.
pub async fn asked(provider: &dyn Provider, request: ChatRequest) -> Result<(Vec<String>, ChatResponse), LlmError> {
    let (mut events, mut pieces) = (provider.chat(request), Vec::new());
    loop {
        match events.next().await.unwrap()? {
            ChatEvent::Text(text) => pieces.push(text),
            ChatEvent::Done(response) => return Ok((pieces, *response)),
            _ => {}
        }
    }
}
