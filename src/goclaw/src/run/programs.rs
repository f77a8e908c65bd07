//! Programs of this machine as providers, and the rules that hold for them.

use super::assemble::protected_paths;
use crate::config::Config;
use async_trait::async_trait;
use goclaw_core::settings::LiveSettings;
use goclaw_ports::{
    Error, Result,
    embeddings::{Embedder, EmbedderSpec},
    llm::{ClaudeCli, CliAccount, Provider, ProviderFactory, ProviderSpec},
    message,
};
use goclaw_programs::{Ground, ProgramsOptions};
use goclaw_tools::{Ask, ExecApproval, Host, Security};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// How long a program may say nothing while it is asked: it may be running something.
const SILENCE: Duration = Duration::from_secs(600);

/// What this machine lets programs do: what it lets the built-in tools do.
pub struct Machine {
    settings: Arc<LiveSettings>,
    approval: Arc<RwLock<ExecApproval>>,
    protected: Vec<PathBuf>,
    /// The gateway's own program, which is asked before Claude's command line uses a tool.
    own: Option<PathBuf>,
}

impl Machine {
    /// The rules of this configuration, as they change.
    pub fn new(config: &Config, settings: Arc<LiveSettings>, approval: Arc<RwLock<ExecApproval>>) -> Self {
        Self { settings, approval, protected: protected_paths(config), own: std::env::current_exe().ok() }
    }

    fn host(&self) -> Host {
        let approval = self.approval.read().unwrap_or_else(PoisonError::into_inner).clone();
        Host { approval, deny_groups: self.settings.get().tools.shell_deny_groups.clone(), protected: self.protected.clone() }
    }
}

impl Ground for Machine {
    fn read(&self, root: &Path, path: &str) -> Result<Vec<u8>, String> {
        self.host().read(root, path)
    }

    fn write(&self, root: &Path, path: &str, content: &[u8]) -> Result<(), String> {
        self.host().write(root, path, content)
    }

    fn directory(&self, root: &Path, path: &str) -> Result<PathBuf, String> {
        self.host().directory(root, path)
    }

    fn permit(&self, root: &Path, command: &str) -> Result<(), String> {
        self.host().permit(root, command)
    }

    fn hook(&self, root: &Path) -> Option<String> {
        let host = self.host();
        let mut words = vec![self.own.as_ref()?.display().to_string(), "claude-hook".to_owned(), format!("--root={}", root.display())];
        words.extend(host.protected.iter().map(|path| format!("--protect={}", path.display())));
        words.extend(host.deny_groups.iter().filter(|(_, denies)| !**denies).map(|(group, _)| format!("--open={group}")));
        words.push(format!("--security={}", name_of(host.approval.security)));
        if host.approval.ask != Ask::Off {
            words.push(format!("--ask={}", if host.approval.ask == Ask::Always { "always" } else { "on-miss" }));
        }
        words.extend(host.approval.allowlist.iter().map(|glob| format!("--allow={glob}")));
        Some(words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "))
    }
}

fn name_of(security: Security) -> &'static str {
    match security {
        Security::Deny => "deny",
        Security::Allowlist => "allowlist",
        Security::Full => "full",
    }
}

/// A word as a shell takes it as it is.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// What programs work with.
pub fn options(config: &Config, machine: Machine) -> ProgramsOptions {
    ProgramsOptions {
        claude_directory: config.data_dir.join("cli-workspaces"),
        hooks_directory: config.data_dir.join("cli-hooks"),
        acp_directory: config.data_dir.join("acp-workspaces"),
        environment: config.environment_of_process(),
        ground: Arc::new(machine),
        idle_timeout: SILENCE,
    }
}

/// Claude's command line on this machine.
pub struct Login(pub ProgramsOptions);

#[async_trait]
impl ClaudeCli for Login {
    async fn account(&self, program: &str) -> Result<CliAccount, String> {
        goclaw_programs::auth_status(program, &self.0).await
    }

    fn finds(&self, program: &str) -> bool {
        goclaw_programs::finds(program, &self.0)
    }

    fn in_container(&self) -> bool {
        in_container()
    }
}

/// Whether this is a container of Docker.
fn in_container() -> bool {
    Path::new("/.dockerenv").exists()
}

/// In a container of Docker: the name of the machine that it runs on.
pub fn machine_outside() -> Option<String> {
    in_container().then(|| "host.docker.internal".to_owned())
}

/// Providers of every kind: over HTTP, and programs.
pub struct Factories {
    pub http: Arc<dyn ProviderFactory>,
    pub programs: Arc<dyn ProviderFactory>,
}

impl ProviderFactory for Factories {
    fn speaks(&self, provider_type: &str) -> bool {
        self.http.speaks(provider_type) || self.programs.speaks(provider_type)
    }

    fn build(&self, spec: ProviderSpec) -> Result<Arc<dyn Provider>> {
        if self.programs.speaks(&spec.provider_type) {
            return self.programs.build(spec);
        }
        if self.http.speaks(&spec.provider_type) { self.http.build(spec) } else { Err(Error::invalid(message::unsupported_provider_type())) }
    }

    fn embedder(&self, spec: EmbedderSpec) -> Result<Arc<dyn Embedder>> {
        self.http.embedder(spec)
    }

    fn check_base(&self, api_base: &str) -> Result<()> {
        self.http.check_base(api_base)
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_word_is_one_word_for_a_shell() {
        assert_eq!(quoted("/a b/c"), "'/a b/c'");
        assert_eq!(quoted("it's $(reboot)"), r"'it'\''s $(reboot)'");
    }
}
