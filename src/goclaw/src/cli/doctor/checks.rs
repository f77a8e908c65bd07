//! What `doctor` looks at.

use super::Check;
use crate::{
    cli::client::Gateway,
    config::{
        Config,
        edition::{EditionName, Storage},
        first_start::readable_by_others,
    },
    run::{describe, plain},
};
use goclaw_ports::ErrorKind;
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use std::{fs, path::Path};

/// Every check, in the order of the report.
pub async fn all(config: &Config) -> Vec<Check> {
    let mut checks = vec![system(), configuration(config)];
    checks.extend(config.warnings().into_iter().map(|warning| Check::warning("configuration", warning)));
    checks.push(Check::ok("edition", format!("{} on {}", config.edition.as_str(), describe(&config.storage))));
    checks.push(encryption_key(config));
    checks.push(token(config));
    checks.push(writable("data directory", &config.data_dir));
    checks.push(writable("workspace", &config.workspace));
    checks.extend(database(config).await);
    checks.push(configured_providers(config));
    checks.extend(gateway(config).await);
    checks
}

/// The machine.
pub fn system() -> Check {
    Check::ok("system", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH))
}

fn configuration(config: &Config) -> Check {
    let path = config.path.display();
    let faults = [config.settings().err(), config.exec_approval().err(), config.web_fetch().err(), config.log_json().err()];
    match faults.into_iter().flatten().next() {
        Some(fault) => Check::failed("configuration", fault.to_string()),
        None if config.found => Check::ok("configuration", path.to_string()),
        None => Check::ok("configuration", format!("{path} is not there; built-in defaults hold")),
    }
}

fn encryption_key(config: &Config) -> Check {
    let path = config.key_file();
    match (config.encryption_keys().0, readable_by_others(&path)) {
        (Some(_), _) => Check::ok("encryption key", "from GOCLAW_ENCRYPTION_KEY"),
        (None, Some(true)) => Check::failed("encryption key", format!("others may read {0}: chmod 600 {0}", path.display())),
        (None, Some(false)) => Check::ok("encryption key", path.display().to_string()),
        (None, None) if config.edition == EditionName::Lite => Check::ok("encryption key", "made at the first start"),
        (None, None) => Check::failed("encryption key", "set GOCLAW_ENCRYPTION_KEY to 64 hex characters (openssl rand -hex 32)"),
    }
}

fn token(config: &Config) -> Check {
    let path = config.token_file();
    match (config.token(), readable_by_others(&path)) {
        (Some(_), _) if config.token_from_environment() => Check::ok("gateway token", "from GOCLAW_GATEWAY_TOKEN"),
        (Some(_), _) if readable_by_others(&config.path) == Some(true) => {
            Check::warning("gateway token", format!("from {0}, which others may read: chmod 600 {0}", config.path.display()))
        }
        (Some(_), _) => Check::ok("gateway token", format!("from {}", config.path.display())),
        (None, Some(true)) => Check::failed("gateway token", format!("others may read {0}: chmod 600 {0}", path.display())),
        (None, Some(false)) => Check::ok("gateway token", path.display().to_string()),
        (None, None) if config.edition == EditionName::Lite => Check::ok("gateway token", "made at the first start"),
        (None, None) => {
            Check::warning("gateway token", "none in file or environment: unless the secret store has one, everybody who reaches the gateway may use it")
        }
    }
}

fn writable(name: &'static str, directory: &Path) -> Check {
    let shown = directory.display();
    if !directory.exists() {
        return Check::ok(name, format!("{shown} is made at the first start"));
    }
    let probe = directory.join(format!(".goclaw-doctor-{}", std::process::id()));
    match fs::write(&probe, "").and_then(|()| fs::remove_file(&probe)) {
        Ok(()) => Check::ok(name, shown.to_string()),
        Err(error) => Check::failed(name, format!("{shown} cannot be written to: {error}")),
    }
}

async fn database(config: &Config) -> Vec<Check> {
    match &config.storage {
        #[cfg(feature = "lite")]
        Storage::Sqlite { path } => vec![match goclaw_sqlite::inspect(path.clone(), true).await {
            Ok(None) => Check::ok("database", format!("{} is made at the first start", path.display())),
            Ok(Some(found)) if !found.problems.is_empty() => Check::failed("database", format!("damaged: {}", found.problems.join("; "))),
            Ok(Some(found)) if found.schema_version > found.newest_version => {
                Check::failed("database", format!("schema {} is newer than the {} this build knows", found.schema_version, found.newest_version))
            }
            Ok(Some(found)) if found.schema_version < found.newest_version => {
                Check::warning("database", format!("sound; schema {} becomes {} at the next start", found.schema_version, found.newest_version))
            }
            Ok(Some(found)) => Check::ok("database", format!("sound; schema {}", found.schema_version)),
            Err(error) if error.kind == ErrorKind::Precondition => Check::ok("database", format!("{error}; not checked")),
            Err(error) => Check::failed("database", plain(error).to_string()),
        }],
        #[cfg(feature = "standard")]
        Storage::Postgres { dsn: Some(dsn) } => postgres(dsn).await,
        Storage::Postgres { dsn: None } => vec![Check::failed("database", "set GOCLAW_POSTGRES_DSN (postgres://user:password@host:5432/goclaw)")],
        #[expect(unreachable_patterns, reason = "a build may lack a database")]
        _ => vec![Check::failed("database", "this build has no such database")],
    }
}

#[cfg(feature = "standard")]
async fn postgres(dsn: &SecretString) -> Vec<Check> {
    // Opening checks the schema against what this build needs, and changes nothing.
    match goclaw_postgres::open(goclaw_postgres::PostgresOptions { dsn: dsn.clone(), max_connections: 2, migrate: false }).await {
        Ok(stores) => {
            let mut checks = vec![match stores.database.schema_version().await {
                Ok(version) => Check::ok("database", format!("reachable; schema {version}")),
                Err(error) => Check::failed("database", plain(error).to_string()),
            }];
            match stores.providers.list(goclaw_ports::TenantId::MASTER).await {
                Ok(rows) => checks.extend(rows.iter().map(|row| {
                    let key = if row.api_key.is_some() { "key sealed" } else { "no key" };
                    Check::ok("provider", format!("{} ({}, {key}{})", row.name, row.provider_type, if row.enabled { "" } else { ", not enabled" }))
                })),
                Err(error) => checks.push(Check::failed("provider", plain(error).to_string())),
            }
            stores.database.close().await;
            checks
        }
        Err(error) => vec![Check::failed("database", plain(error).to_string())],
    }
}

fn configured_providers(config: &Config) -> Check {
    let named: Vec<_> = config
        .providers()
        .iter()
        .map(|provider| match &provider.api_key {
            Some(key) => format!("{} ({})", provider.name, mask(key)),
            None => format!("{} ({})", provider.name, provider.api_base),
        })
        .collect();
    let detail = if named.is_empty() { "none in file or environment".to_owned() } else { named.join(", ") };
    Check::ok("providers", detail)
}

/// Enough of a key to recognise it by, and too little to use.
fn mask(key: &SecretString) -> String {
    let key: Vec<char> = key.expose_secret().chars().collect();
    if key.len() < 16 {
        return "****".to_owned();
    }
    let ends = |part: &[char]| part.iter().collect::<String>();
    format!("{}****{}", ends(&key[..4]), ends(&key[key.len() - 4..]))
}

async fn gateway(config: &Config) -> Vec<Check> {
    let gateway = match Gateway::of(config) {
        Ok(gateway) => gateway,
        Err(error) => return vec![Check::failed("gateway", format!("{error:#}"))],
    };
    if !gateway.is_running().await {
        return vec![Check::ok("gateway", format!("none runs at {}", gateway.url))];
    }
    let mut checks = vec![Check::ok("gateway", format!("runs at {}", gateway.url))];
    match gateway.call(Method::GET, "/v1/providers", None).await {
        Ok((StatusCode::UNAUTHORIZED, _)) => checks.push(Check::failed("gateway", "it does not accept the token")),
        Ok((status, body)) if status.is_success() => {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let rows = body["providers"].as_array().into_iter().flatten();
            checks.extend(rows.map(|row| Check::ok("provider", format!("{} ({})", text(&row["name"]), text(&row["provider_type"])))));
        }
        Ok((status, _)) => checks.push(Check::failed("gateway", format!("it answers {status} when asked for its providers"))),
        Err(error) => checks.push(Check::failed("gateway", format!("{error:#}"))),
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_masked() {
        assert_eq!(mask(&SecretString::from("sk-ant-0123456789abcdef")), "sk-a****cdef");
        assert_eq!(mask(&SecretString::from("short-key")), "****");
    }
}
