//! What the operator decided: built-in defaults, then the file, then the secret store, then the environment.

pub mod atomic;
mod defaults;
mod document;
pub mod edition;
pub mod environment;
pub mod first_start;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod live;
mod neighbours;
mod overlay;
mod schema;
mod secrets;
mod settings;
mod speech;
mod system_keys;
pub mod watch;

use edition::{EditionName, Storage};
use environment::Environment;
use schema::gateway::LogFormat;
use secrecy::SecretString;
use serde_json::Value;
use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

/// The port, if nobody names one.
pub const DEFAULT_PORT: u16 = 18790;

/// Why the configuration cannot be used. The text says what to change.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is there and cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is no JSON5, or something in it has the wrong type.
    #[error("{}: {detail}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where, and what is wrong.
        detail: String,
    },
    /// A value that makes no sense.
    #[error("{source_name}: {detail}")]
    Value {
        /// The path in the file, or the variable.
        source_name: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// A variable that makes no sense.
    #[error("{0}")]
    Variable(String),
}

/// What holds, whoever said it.
#[derive(Clone)]
pub struct Config {
    /// The configuration file.
    pub path: PathBuf,
    /// Whether there is one.
    pub found: bool,
    /// Where the gateway keeps its own files.
    pub data_dir: PathBuf,
    /// Where agents' workspaces are.
    pub workspace: PathBuf,
    /// The edition.
    pub edition: EditionName,
    /// The database.
    pub storage: Storage,
    environment: Environment,
    /// What the file holds, secrets included if somebody wrote some into it.
    document: Value,
    /// What the secret store holds, by path (`gateway.token`).
    secrets: HashMap<String, SecretString>,
    /// What file, secret store and environment say together.
    said: Value,
    /// The same, in types.
    file: schema::File,
}

impl Config {
    /// Reads the file that `flag`, else `GOCLAW_CONFIG` names, else `config.json` of the working directory. A missing file is an empty one.
    ///
    /// # Errors
    /// If the file cannot be read or understood, or a variable makes no sense.
    pub fn load(flag: Option<&Path>, environment: Environment) -> Result<Self, ConfigError> {
        let path = match (flag, environment.get("GOCLAW_CONFIG")) {
            (Some(flag), _) => environment.path(&flag.to_string_lossy()),
            (None, Some(variable)) => environment.path(variable),
            (None, None) => environment.path("config.json"),
        };
        let (found, document) = match fs::read_to_string(&path) {
            Ok(text) => (true, read(&path, &text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (false, Value::Object(serde_json::Map::new())),
            Err(error) => return Err(ConfigError::Unreadable { path, error }),
        };
        Self::of(path, found, document, HashMap::new(), environment)
    }

    /// What a document, the secret store and the environment say together.
    fn of(path: PathBuf, found: bool, document: Value, secrets: HashMap<String, SecretString>, environment: Environment) -> Result<Self, ConfigError> {
        let malformed = |fault: document::Fault| ConfigError::Malformed { path: path.clone(), detail: fault.to_string() };
        document::typed(&document).map_err(malformed)?;
        let mut said = document.clone();
        secrets::lay(&mut said, &secrets);
        overlay::enable_channels(&mut said);
        let assignments = overlay::environment(&environment, &said).map_err(ConfigError::Variable)?;
        for assignment in &assignments {
            document::put(&mut said, &assignment.path, assignment.value.clone());
        }
        let file = document::typed(&said).map_err(|fault| {
            let blamed = assignments.iter().find(|assignment| fault.place == assignment.path.join("."));
            blamed.map_or_else(|| malformed(fault.clone()), |assignment| ConfigError::Variable(format!("{}: {}", assignment.variable, fault.detail)))
        })?;
        let data_dir = environment.path(file.data_dir.as_deref().unwrap_or("~/.goclaw/data"));
        let workspace = environment.path(file.agents.defaults.workspace.as_deref().unwrap_or("~/.goclaw/workspace"));
        let (edition, storage) = edition::choose(file.edition.as_ref(), &environment, &data_dir)?;
        Ok(Self { path, found, data_dir, workspace, edition, storage, environment, document, secrets, said, file })
    }

    /// The same, read anew.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn reload(self) -> Result<Self, ConfigError> {
        Self::load(Some(&self.path), self.environment)
    }

    /// Lays the secret store between file and environment.
    ///
    /// # Errors
    /// As the environment's overlay.
    pub fn overlay_secrets(&mut self, secrets: &HashMap<String, SecretString>) -> Result<(), ConfigError> {
        let (path, document, environment) = (self.path.clone(), self.document.clone(), self.environment.clone());
        *self = Self::of(path, self.found, document, secrets.clone(), environment)?;
        Ok(())
    }

    /// Everything that holds, the built-in values included. Secrets are in clear.
    fn effective(&self) -> Value {
        let mut effective = self.said.clone();
        defaults::fill(&mut effective, &defaults::built_in(self.edition));
        effective
    }

    /// Everything that holds, the built-in values included; each secret is what `hide` makes of it.
    #[must_use]
    pub fn shown(&self, hide: impl Fn(&str) -> String) -> Value {
        let mut effective = self.effective();
        secrets::hide(&mut effective, hide);
        effective
    }

    /// Where to listen. Lite stays on this machine unless it is told otherwise.
    #[must_use]
    pub fn host(&self) -> &str {
        match (self.file.gateway.host.as_deref(), self.edition) {
            (Some(host), _) => host,
            (None, EditionName::Lite) => "127.0.0.1",
            (None, EditionName::Standard) => "0.0.0.0",
        }
    }

    /// The port to listen on; 0 for any that is free.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.file.gateway.port.and_then(|port| u16::try_from(port.get()).ok()).unwrap_or(DEFAULT_PORT)
    }

    /// Where a client on this machine finds the gateway, as `host:port`.
    #[must_use]
    pub fn local_address(&self) -> String {
        let host = match self.host() {
            "0.0.0.0" | "::" | "[::]" | "" => "127.0.0.1",
            host => host,
        };
        if host.contains(':') && !host.starts_with('[') { format!("[{host}]:{}", self.port()) } else { format!("{host}:{}", self.port()) }
    }

    /// Where the command line finds the gateway: `GOCLAW_GATEWAY_URL`, else this machine.
    #[must_use]
    pub fn gateway_url(&self) -> String {
        self.environment.get("GOCLAW_GATEWAY_URL").map_or_else(|| format!("http://{}", self.local_address()), |url| url.trim_end_matches('/').to_owned())
    }

    /// The user who owns the installation; the first, if there are more.
    #[must_use]
    pub fn owner(&self) -> &str {
        self.file.gateway.owner_ids.first().map_or("system", String::as_str)
    }

    /// The token that the file, the secret store or the environment gives.
    #[must_use]
    pub fn token(&self) -> Option<&SecretString> {
        self.file.gateway.token.as_deref()
    }

    /// Makes `token` hold.
    pub fn set_token(&mut self, token: SecretString) {
        document::put(&mut self.said, &["gateway", "token"], secrecy::ExposeSecret::expose_secret(&token).into());
        self.file.gateway.token = Some(token.into());
    }

    /// The token that the command line uses before any other.
    #[must_use]
    pub fn client_token(&self) -> Option<SecretString> {
        self.environment.get("GOCLAW_TOKEN").map(SecretString::from).or_else(|| self.token().cloned())
    }

    /// Whether the token comes from the environment.
    #[must_use]
    pub fn token_from_environment(&self) -> bool {
        self.environment.get("GOCLAW_GATEWAY_TOKEN").is_some()
    }

    /// The encryption key's text, as the environment has it: the key that seals, and an earlier one that still opens.
    #[must_use]
    pub fn encryption_keys(&self) -> (Option<SecretString>, Option<SecretString>) {
        let key = |name| self.environment.get(name).map(SecretString::from);
        (key("GOCLAW_ENCRYPTION_KEY"), key("GOCLAW_ENCRYPTION_KEY_PREVIOUS"))
    }

    /// Whether the gateway migrates the database at its start.
    #[must_use]
    pub fn auto_upgrade(&self) -> bool {
        self.environment.flag("GOCLAW_AUTO_UPGRADE")
    }

    /// Whether a desktop application talks to the gateway from another origin.
    #[must_use]
    pub fn desktop(&self) -> bool {
        self.environment.flag("GOCLAW_DESKTOP")
    }

    /// The environment of the gateway. Programs get to see a part of it only.
    #[must_use]
    pub fn environment_of_process(&self) -> Vec<(String, String)> {
        self.environment.all()
    }

    /// The directories in which programs are looked for.
    #[must_use]
    pub fn search_path(&self) -> Vec<PathBuf> {
        self.environment.get("PATH").map(|path| std::env::split_paths(path).collect()).unwrap_or_default()
    }

    /// How much is logged: a level, or a filter with levels per module.
    #[must_use]
    pub fn log_level(&self) -> &str {
        self.file.logging.level.as_deref().unwrap_or("info")
    }

    /// Whether the log is JSON.
    #[must_use]
    pub fn log_json(&self) -> bool {
        self.file.logging.format == Some(LogFormat::Json)
    }

    /// What an operator should know before it surprises them.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let dormant = document::dormant(&self.document);
        if !dormant.is_empty() {
            warnings.push(format!("this version does not use these parts of {}: {}", self.path.display(), dormant.join(", ")));
        }
        if self.has_idle_auth_key() {
            let advice = "set GOCLAW_TSNET_AUTH_KEY, or have config.patch put it into the secret store";
            warnings.push(format!("tailscale.auth_key in {} does not count: {advice}", self.path.display()));
        }
        let unused: Vec<_> = self.environment.unused().collect();
        if !unused.is_empty() {
            warnings.push(format!("this version does not use these variables: {}", unused.join(", ")));
        }
        warnings
    }
}

/// The document in a file's text.
fn read(path: &Path, text: &str) -> Result<Value, ConfigError> {
    document::read(text).map_err(|fault| ConfigError::Malformed { path: path.to_owned(), detail: fault.to_string() })
}

#[cfg(test)]
mod tests;
