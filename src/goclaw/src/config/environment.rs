//! The environment, read once. Nothing else in the program looks at it.

use std::{collections::BTreeMap, path::PathBuf};

/// Variables that are read here or by a library of ours; another `GOCLAW_…` is named in a warning.
const KNOWN: &[&str] = &[
    "GOCLAW_CONFIG",
    "GOCLAW_LOG_LEVEL",
    "GOCLAW_LOG_FORMAT",
    "GOCLAW_EDITION",
    "GOCLAW_ENCRYPTION_KEY",
    "GOCLAW_ENCRYPTION_KEY_PREVIOUS",
    "GOCLAW_AUTO_UPGRADE",
    "GOCLAW_DESKTOP",
    "GOCLAW_GATEWAY_TOKEN",
    "GOCLAW_GATEWAY_URL",
    "GOCLAW_TOKEN",
    "GOCLAW_HOST",
    "GOCLAW_PORT",
    "GOCLAW_OWNER_IDS",
    "GOCLAW_ALLOWED_ORIGINS",
    "GOCLAW_ALLOW_PRIVATE_HOSTS",
    "GOCLAW_TRUSTED_PROXIES",
    "GOCLAW_PROVIDER",
    "GOCLAW_MODEL",
    "GOCLAW_DATA_DIR",
    "GOCLAW_WORKSPACE",
    "GOCLAW_POSTGRES_DSN",
    "GOCLAW_REDIS_DSN",
    "GOCLAW_STORAGE_BACKEND",
    "GOCLAW_SQLITE_PATH",
    "GOCLAW_LANE_MAIN",
    "GOCLAW_LANE_SUBAGENT",
    "GOCLAW_LANE_TEAM",
    "GOCLAW_LANE_DELEGATE",
    "GOCLAW_LANE_CRON",
    "GOCLAW_ANTHROPIC_BASE_URL",
    "GOCLAW_OPENAI_BASE_URL",
    "GOCLAW_OLLAMA_CLOUD_API_BASE",
    "GOCLAW_OLLAMA_HOST",
    "GOCLAW_OAUTH_AUTHORIZE_URL",
    "GOCLAW_OAUTH_TOKEN_URL",
    "GOCLAW_OAUTH_CALLBACK_PORT",
    "GOCLAW_CLAUDE_CLI_PATH",
    "GOCLAW_CLAUDE_CLI_MODEL",
    "GOCLAW_CLAUDE_CLI_WORK_DIR",
    "GOCLAW_DEBUG",
    "GOCLAW_TTS_OPENAI_API_KEY",
    "GOCLAW_TTS_ELEVENLABS_API_KEY",
    "GOCLAW_TTS_MINIMAX_API_KEY",
    "GOCLAW_TTS_MINIMAX_GROUP_ID",
    "GOCLAW_TELEMETRY_ENABLED",
    "GOCLAW_TELEMETRY_INSECURE",
    "GOCLAW_TELEMETRY_ENDPOINT",
    "GOCLAW_TELEMETRY_PROTOCOL",
    "GOCLAW_TELEMETRY_SERVICE_NAME",
    "GOCLAW_TSNET_HOSTNAME",
    "GOCLAW_TSNET_AUTH_KEY",
    "GOCLAW_TSNET_DIR",
    "GOCLAW_TRACE_VERBOSE",
];

/// A snapshot of the environment.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    /// The environment of this process. Variables that are not UTF-8 are left out.
    #[must_use]
    pub fn of_process() -> Self {
        Self { variables: std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect() }
    }

    /// Sets a variable of this snapshot.
    #[cfg(test)]
    pub fn insert(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    /// A variable's value. An empty variable is the same as none.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// All variables, as they are.
    pub fn all(&self) -> Vec<(String, String)> {
        self.variables.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The variables of these names that are set, as they are.
    pub fn only(&self, names: &[&str]) -> Vec<(String, String)> {
        names.iter().filter_map(|name| Some(((*name).to_owned(), self.variables.get(*name)?.clone()))).collect()
    }

    /// A variable that is a list with commas. An empty variable is the same as none.
    #[must_use]
    pub fn list(&self, name: &str) -> Option<Vec<String>> {
        self.get(name).map(|value| value.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect())
    }

    /// Whether a variable says yes: `1`, `true`, `yes` or `on`.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| ["1", "true", "yes", "on"].iter().any(|yes| value.eq_ignore_ascii_case(yes)))
    }

    /// The path that `text` names: `~` is the home directory, and a relative path starts at the working directory.
    #[must_use]
    pub fn path(&self, text: &str) -> PathBuf {
        let expanded = match (text.strip_prefix('~'), self.get("HOME")) {
            (Some(""), Some(home)) => PathBuf::from(home),
            (Some(rest), Some(home)) if rest.starts_with('/') => PathBuf::from(home).join(rest.trim_start_matches('/')),
            _ => PathBuf::from(text),
        };
        std::path::absolute(&expanded).unwrap_or(expanded)
    }

    /// Variables that look like ours and do nothing here.
    pub fn unused(&self) -> impl Iterator<Item = &str> {
        let read = |name: &str| KNOWN.contains(&name) || goclaw_core::presets::PRESETS.iter().any(|preset| preset.key_variable == name);
        self.variables.keys().map(String::as_str).filter(move |name| name.starts_with("GOCLAW_") && !name.starts_with("GOCLAW_TEST_") && !read(name))
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self { variables: pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_variables_are_not_set() {
        let environment = Environment::from([("A", ""), ("B", "  "), ("C", " x "), ("L", "a, b,,c ")]);
        assert_eq!((environment.get("A"), environment.get("B"), environment.get("C")), (None, None, Some("x")));
        assert_eq!(environment.list("L").unwrap(), ["a", "b", "c"]);
        assert_eq!(environment.list("A"), None);
    }

    #[test]
    fn a_tilde_is_the_home_directory() {
        let environment = Environment::from([("HOME", "/home/ana")]);
        assert_eq!(environment.path("~/.goclaw/data"), PathBuf::from("/home/ana/.goclaw/data"));
        assert_eq!(environment.path("~"), PathBuf::from("/home/ana"));
        assert_eq!(environment.path("/srv/~x"), PathBuf::from("/srv/~x"));
        assert!(environment.path("relative").is_absolute());
    }

    #[test]
    fn documented_variables_do_something() {
        let documents =
            [include_str!("../../../../docs/configuration.md"), include_str!("../../../../docs/operations.md"), include_str!("../../../../README.md")];
        let text = documents.concat();
        let names = text.split(|c: char| !(c.is_ascii_uppercase() || c == '_')).filter(|word| word.starts_with("GOCLAW_") && !word.ends_with('_'));
        let environment = Environment { variables: names.map(|name| (name.to_owned(), "x".to_owned())).collect() };
        assert!(environment.variables.len() > 40, "{:?}", environment.variables.keys());
        assert_eq!(environment.unused().collect::<Vec<_>>(), Vec::<&str>::new());
    }

    #[test]
    fn variables_that_do_nothing_are_found() {
        let environment = Environment::from([("GOCLAW_TELEGRAM_TOKEN", "x"), ("GOCLAW_GROQ_API_KEY", "x"), ("GOCLAW_PORT", "1"), ("OTHER", "x")]);
        assert_eq!(environment.unused().collect::<Vec<_>>(), ["GOCLAW_TELEGRAM_TOKEN"]);
    }
}
