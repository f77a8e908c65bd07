//! What the operator decided: built-in defaults, then the file, then the secret store, then the environment.

pub mod edition;
pub mod environment;
mod file;
pub mod first_start;
mod overlay;
mod settings;

use edition::{EditionName, Storage};
use environment::Environment;
use secrecy::SecretString;
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
    file: file::File,
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
        let (found, mut file) = match fs::read_to_string(&path) {
            Ok(text) => (true, file::parse(&text).map_err(|detail| ConfigError::Malformed { path: path.clone(), detail })?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (false, file::File::default()),
            Err(error) => return Err(ConfigError::Unreadable { path, error }),
        };
        overlay::environment(&mut file, &environment).map_err(ConfigError::Variable)?;
        let data_dir = environment.path(file.data_dir.as_deref().filter(|dir| !dir.is_empty()).unwrap_or("~/.goclaw/data"));
        let workspace = environment.path(file.agents.defaults.workspace.as_deref().filter(|dir| !dir.is_empty()).unwrap_or("~/.goclaw/workspace"));
        let (edition, storage) = edition::choose(file.edition.as_ref(), &environment, &data_dir)?;
        Ok(Self { path, found, data_dir, workspace, edition, storage, environment, file })
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
        overlay::secrets(&mut self.file, secrets);
        overlay::environment(&mut self.file, &self.environment).map_err(ConfigError::Variable)
    }

    /// Where to listen. Lite stays on this machine unless it is told otherwise.
    #[must_use]
    pub fn host(&self) -> &str {
        match (self.file.gateway.host.as_deref().filter(|host| !host.is_empty()), self.edition) {
            (Some(host), _) => host,
            (None, EditionName::Lite) => "127.0.0.1",
            (None, EditionName::Standard) => "0.0.0.0",
        }
    }

    /// The port to listen on; 0 for any that is free.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.file.gateway.port.unwrap_or(DEFAULT_PORT)
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
        self.file.gateway.token.as_ref()
    }

    /// Makes `token` hold.
    pub fn set_token(&mut self, token: SecretString) {
        self.file.gateway.token = Some(token);
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

    /// How much is logged: a level, or a filter with levels per module.
    #[must_use]
    pub fn log_level(&self) -> &str {
        self.file.logging.level.as_deref().unwrap_or("info")
    }

    /// Whether the log is JSON.
    ///
    /// # Errors
    /// If the format is neither `pretty` nor `json`.
    pub fn log_json(&self) -> Result<bool, ConfigError> {
        match self.file.logging.format.as_deref().unwrap_or("pretty") {
            "json" => Ok(true),
            "pretty" | "text" | "" => Ok(false),
            other => Err(ConfigError::Value { source_name: "logging.format", detail: format!("unknown format {other:?}; it must be pretty or json") }),
        }
    }

    /// What an operator should know before it surprises them.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let dormant = self.file.dormant();
        if !dormant.is_empty() {
            warnings.push(format!("this version does not use these parts of {}: {}", self.path.display(), dormant.join(", ")));
        }
        let unused: Vec<_> = self.environment.unused().collect();
        if !unused.is_empty() {
            warnings.push(format!("this version does not use these variables: {}", unused.join(", ")));
        }
        warnings
    }
}

#[cfg(test)]
mod tests;
