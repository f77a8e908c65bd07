//! Which part of the gateway's environment programs get to see.

use std::path::{Path, PathBuf};

/// What agents must not see: the beginnings of names, in capitals.
const SECRET_PREFIXES: &[&str] = &[
    "GOCLAW",
    "CLAUDE",
    "ANTHROPIC",
    "OPENAI",
    "DATABASE",
    "POSTGRES",
    "MYSQL",
    "REDIS",
    "MONGO",
    "AWS_",
    "GOOGLE_",
    "AZURE_",
    "GCP_",
    "GITHUB_",
    "GH_",
    "GITLAB_",
    "BITBUCKET_",
    "DOCKER_",
    "REGISTRY_",
    "STRIPE_",
    "TWILIO_",
    "SENDGRID_",
    "SSH_",
    "GPG_",
];
/// The same: whole names.
const SECRET_NAMES: &[&str] = &[
    "DB_DSN",
    "PGPASSWORD",
    "PGUSER",
    "PGHOST",
    "NPM_TOKEN",
    "NPM_CONFIG_TOKEN",
    "HOMEBREW_GITHUB_API_TOKEN",
    "CODECOV_TOKEN",
    "COVERALLS_REPO_TOKEN",
    "SENTRY_DSN",
    "SENTRY_AUTH_TOKEN",
    "SECRET_KEY",
    "JWT_SECRET",
];
/// What would tell Claude's command line that it runs inside of another; its login is the one that it may keep.
const CLAUDE_PREFIX: &str = "CLAUDE";
const CLAUDE_LOGIN: &str = "CLAUDE_CODE_OAUTH_TOKEN";
/// The gateway's own secrets, which Claude's command line must not see either.
const OWN_PREFIXES: &[&str] = &["GOCLAW", "DATABASE", "POSTGRES", "OTEL_EXPORTER"];

fn begins(name: &str, prefixes: &[&str]) -> bool {
    let name = name.to_ascii_uppercase();
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// The environment of an agent, and of what it starts.
pub fn of_agent(environment: &[(String, String)]) -> Vec<(String, String)> {
    let hidden = |name: &str| begins(name, SECRET_PREFIXES) || SECRET_NAMES.iter().any(|secret| secret.eq_ignore_ascii_case(name));
    environment.iter().filter(|(name, _)| !hidden(name)).cloned().collect()
}

/// The environment of Claude's command line.
pub fn of_claude(environment: &[(String, String)]) -> Vec<(String, String)> {
    let own = |name: &str| begins(name, OWN_PREFIXES) || SECRET_NAMES.iter().any(|secret| secret.eq_ignore_ascii_case(name));
    let kept = |name: &str| !own(name) && (name == CLAUDE_LOGIN || !begins(name, &[CLAUDE_PREFIX]));
    environment.iter().filter(|(name, _)| kept(name)).cloned().collect()
}

/// The value of a variable.
pub fn get<'e>(environment: &'e [(String, String)], name: &str) -> Option<&'e str> {
    environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// The file behind a program's name: itself if it is a path, else the first in `PATH`.
pub fn find(name: &str, environment: &[(String, String)]) -> Option<PathBuf> {
    let path = Path::new(name);
    if path.is_absolute() {
        return path.is_file().then(|| path.to_owned());
    }
    if name.is_empty() || name.contains('/') {
        return None;
    }
    std::env::split_paths(get(environment, "PATH")?)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(names: &[&str]) -> Vec<(String, String)> {
        names.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect()
    }

    fn names(environment: &[(String, String)]) -> Vec<&str> {
        environment.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn agents_see_no_secrets() {
        let all = variables(&[
            "PATH",
            "HOME",
            "GOCLAW_ENCRYPTION_KEY",
            "goclaw_token",
            "ANTHROPIC_API_KEY",
            "aws_secret_access_key",
            "PGPASSWORD",
            "pguser",
            "GH_TOKEN",
            "LANG",
            "SSH_AUTH_SOCK",
            "JWT_SECRET",
            "PGPORT",
            "GHOST",
        ]);
        assert_eq!(names(&of_agent(&all)), ["PATH", "HOME", "LANG", "PGPORT", "GHOST"]);
    }

    #[test]
    fn claude_sees_its_own_login_and_none_of_ours() {
        let all = variables(&["PATH", "CLAUDECODE", "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CONFIG_DIR", "GOCLAW_POSTGRES_DSN", "POSTGRES_PASSWORD", "HOME"]);
        assert_eq!(names(&of_claude(&all)), ["PATH", "CLAUDE_CODE_OAUTH_TOKEN", "HOME"]);
    }

    #[test]
    fn a_program_is_found_in_the_path_or_where_it_is_said_to_be() {
        let path = vec![("PATH".to_owned(), "relative:/nowhere:/bin:/usr/bin".to_owned())];
        assert_eq!(find("sh", &path), Some("/bin/sh".into()));
        assert_eq!(find("/bin/sh", &[]), Some("/bin/sh".into()));
        for none in ["", "no-such-program-anywhere", "../sh", "bin/sh", "/bin", "/no/such"] {
            assert_eq!(find(none, &path), None, "{none}");
        }
    }
}
