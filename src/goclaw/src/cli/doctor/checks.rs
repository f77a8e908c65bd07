//! What `doctor` looks at.

use super::{Check, Status};
#[cfg(feature = "standard")]
use crate::cli::backup::postgres::newest;
use crate::{
    cli::{client::Gateway, configuration::mask, print, restore::free_space},
    config::{
        Config,
        edition::{EditionName, Storage},
        first_start::readable_by_others,
    },
    run::{describe, place, plain},
};
use goclaw_ports::{ErrorKind, sealer::Sealer, stores::Stores};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use std::{fs, path::Path};

/// With less than this on the disk, in bytes, somebody should look at it.
const LITTLE: u64 = 1_000_000_000;
/// With less, nothing can be relied on.
const TOO_LITTLE: u64 = 100_000_000;

/// Every check, in the order of the report.
pub async fn all(config: &Config) -> Vec<Check> {
    let mut checks = vec![system(), configuration(config)];
    checks.extend(config.warnings().into_iter().map(|warning| Check::warning("configuration", warning)));
    checks.push(Check::ok("edition", format!("{} on {}", config.edition.as_str(), describe(&config.storage))));
    checks.push(encryption_key(config));
    checks.push(token(config));
    checks.push(data_directory(config));
    checks.push(writable("workspace", &config.workspace));
    checks.extend(space(&config.data_dir));
    let (database, stored) = database(config).await;
    checks.extend(database);
    checks.extend(backup_program(config).await);
    checks.extend(redis(config).await);
    checks.extend(tailscale(config));
    checks.push(configured_providers(config));
    let (gateway, served) = gateway(config).await;
    checks.extend(gateway);
    // A running gateway knows them better than its database.
    checks.extend(if served.is_empty() { stored } else { served });
    checks
}

/// The machine.
pub fn system() -> Check {
    Check::ok("system", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH))
}

fn configuration(config: &Config) -> Check {
    let path = config.path.display();
    // It could not be loaded if something were wrong with it.
    if config.found { Check::ok("configuration", path.to_string()) } else { Check::ok("configuration", format!("{path} is not there; built-in defaults hold")) }
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

fn data_directory(config: &Config) -> Check {
    let path = config.data_dir.display();
    match writable("data directory", &config.data_dir) {
        Check { status: Status::Ok, .. } if readable_by_others(&config.data_dir) == Some(true) => {
            Check::warning("data directory", format!("others may look into {path}: chmod 700 {path}"))
        }
        check => check,
    }
}

/// What is left on the disk that holds the path, or will hold it.
fn space(path: &Path) -> Option<Check> {
    let free = path.ancestors().find_map(|path| free_space(path).ok())?;
    let detail = format!("{} free", print::bytes(free));
    Some(match free {
        ..TOO_LITTLE => Check::failed("disk space", detail),
        TOO_LITTLE..LITTLE => Check::warning("disk space", detail),
        _ => Check::ok("disk space", detail),
    })
}

/// What `goclaw backup` needs with PostgreSQL.
#[cfg(feature = "standard")]
async fn backup_program(config: &Config) -> Option<Check> {
    if !matches!(config.storage, Storage::Postgres { .. }) {
        return None;
    }
    Some(match newest(config).await {
        Ok((_, version)) => Check::ok("backup", version),
        Err(error) => Check::warning("backup", format!("`goclaw backup` does not work: {error:#}")),
    })
}

#[cfg(not(feature = "standard"))]
async fn backup_program(_: &Config) -> Option<Check> {
    None
}

/// Whether the key that the gateway would start with opens what is sealed.
async fn sealed(config: &Config, stores: &Stores) -> Check {
    let sealed = match stores.secrets.list(goclaw_ports::TenantId::MASTER).await {
        Ok(sealed) => sealed,
        Err(error) => return Check::failed("secrets", plain(error).to_string()),
    };
    if sealed.is_empty() {
        return Check::ok("secrets", "none are sealed");
    }
    match config.sealer(true) {
        Err(error) => Check::failed("secrets", format!("{error:#}")),
        Ok(sealer) if sealed.iter().all(|(name, value)| sealer.open(place(name), value).is_ok()) => Check::ok("secrets", "the encryption key opens them"),
        Ok(_) => Check::failed("secrets", "the encryption key is not the one that they were sealed with; restore the key that was used before"),
    }
}

/// The providers that the database holds.
async fn stored_providers(stores: &Stores) -> Vec<Check> {
    match stores.providers.list(goclaw_ports::TenantId::MASTER).await {
        Ok(rows) => rows
            .iter()
            .map(|row| {
                let key = if row.api_key.is_some() { "key sealed" } else { "no key" };
                Check::ok("provider", format!("{} ({}, {key}{})", row.name, row.provider_type, if row.enabled { "" } else { ", not enabled" }))
            })
            .collect(),
        Err(error) => vec![Check::failed("provider", plain(error).to_string())],
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

/// The database, and the providers in it.
async fn database(config: &Config) -> (Vec<Check>, Vec<Check>) {
    match &config.storage {
        #[cfg(feature = "lite")]
        Storage::Sqlite { path } => sqlite(config, path).await,
        #[cfg(feature = "standard")]
        Storage::Postgres { dsn: Some(dsn) } => postgres(config, dsn).await,
        Storage::Postgres { dsn: None } => (vec![Check::failed("database", "set GOCLAW_POSTGRES_DSN (postgres://user:password@host:5432/goclaw)")], vec![]),
        #[expect(unreachable_patterns, reason = "a build may lack a database")]
        _ => (vec![Check::failed("database", "this build has no such database")], vec![]),
    }
}

#[cfg(feature = "lite")]
async fn sqlite(config: &Config, path: &Path) -> (Vec<Check>, Vec<Check>) {
    let found = match goclaw_sqlite::inspect(path.to_owned(), true).await {
        Ok(Some(found)) => found,
        Ok(None) => return (vec![Check::ok("database", format!("{} is made at the first start", path.display()))], vec![]),
        Err(error) if error.kind == ErrorKind::Precondition => return (vec![Check::ok("database", format!("{error}; not checked"))], vec![]),
        Err(error) => return (vec![Check::failed("database", plain(error).to_string())], vec![]),
    };
    let check = match (found.schema_version, found.newest_version) {
        _ if !found.problems.is_empty() => Check::failed("database", format!("damaged: {}", found.problems.join("; "))),
        (schema, newest) if schema > newest => Check::failed("database", format!("schema {schema} is newer than the {newest} this build knows")),
        (schema, newest) if schema < newest => Check::warning("database", format!("sound; schema {schema} becomes {newest} at the next start")),
        (schema, _) => {
            // Opening a database with this schema changes nothing.
            return match goclaw_sqlite::open(goclaw_sqlite::SqliteOptions { path: path.to_owned(), readers: 1 }).await {
                Ok(stores) => {
                    let (secrets, providers) = (sealed(config, &stores).await, stored_providers(&stores).await);
                    stores.database.close().await;
                    (vec![Check::ok("database", format!("sound; schema {schema}")), secrets], providers)
                }
                Err(error) => (vec![Check::failed("database", plain(error).to_string())], vec![]),
            };
        }
    };
    (vec![check], vec![])
}

#[cfg(feature = "standard")]
async fn postgres(config: &Config, dsn: &SecretString) -> (Vec<Check>, Vec<Check>) {
    // Opening checks the schema against what this build needs, and changes nothing.
    let options = goclaw_postgres::PostgresOptions { dsn: dsn.clone(), max_connections: 2, migrate: false, fallback_limiter: None };
    match goclaw_postgres::open(options).await {
        Ok(goclaw_postgres::Opened { stores, .. }) => {
            let database = match stores.database.schema_version().await {
                Ok(version) => Check::ok("database", format!("reachable; schema {version}")),
                Err(error) => Check::failed("database", plain(error).to_string()),
            };
            let (secrets, providers) = (sealed(config, &stores).await, stored_providers(&stores).await);
            stores.database.close().await;
            (vec![database, secrets], providers)
        }
        Err(error) => (vec![Check::failed("database", plain(error).to_string())], vec![]),
    }
}

/// The server that gateways count requests with.
async fn redis(config: &Config) -> Option<Check> {
    Some(match goclaw_redis::check(&config.redis()?).await {
        Ok(()) => Check::ok("redis", "reachable; it counts requests"),
        Err(why) => Check::warning("redis", format!("GOCLAW_REDIS_DSN: {why}; requests are counted without it")),
    })
}

/// The programs that the gateway needs to be in a Tailscale network.
fn tailscale(config: &Config) -> Option<Check> {
    let options = config.tailscale()?;
    Some(match goclaw_tailscale::Programs::find(&config.search_path()) {
        Err(trouble) => Check::warning("tailscale", trouble.to_string()),
        Ok(programs) => Check::ok("tailscale", format!("{} with {}", options.hostname, programs.daemon().display())),
    })
}

fn configured_providers(config: &Config) -> Check {
    let named: Vec<_> = config
        .providers()
        .iter()
        .map(|provider| match &provider.api_key {
            Some(key) => format!("{} ({})", provider.name, mask(key.expose_secret())),
            None => format!("{} ({})", provider.name, provider.api_base),
        })
        .collect();
    let detail = if named.is_empty() { "none in file or environment".to_owned() } else { named.join(", ") };
    Check::ok("providers", detail)
}

/// The gateway, and the providers that it has.
async fn gateway(config: &Config) -> (Vec<Check>, Vec<Check>) {
    let gateway = match Gateway::of(config).await {
        Ok(gateway) => gateway,
        Err(error) => return (vec![Check::failed("gateway", format!("{error:#}"))], vec![]),
    };
    if !gateway.is_running().await {
        return (vec![Check::ok("gateway", format!("none runs at {}", gateway.url))], vec![]);
    }
    let mut checks = vec![Check::ok("gateway", format!("runs at {}", gateway.url))];
    checks.push(match gateway.call(Method::GET, "/ready", None).await {
        Ok((status, _)) if status.is_success() => Check::ok("gateway", "it is ready"),
        Ok((status, body)) => Check::failed("gateway", format!("it is not ready ({status}): {}", print::shown(&body.to_string()))),
        Err(error) => Check::failed("gateway", format!("{error:#}")),
    });
    let mut providers = Vec::new();
    match gateway.call(Method::GET, "/v1/providers", None).await {
        Ok((StatusCode::UNAUTHORIZED, _)) => checks.push(Check::failed("gateway", "it does not accept the token")),
        Ok((status, body)) if status.is_success() => {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let rows = body["providers"].as_array().into_iter().flatten();
            providers.extend(rows.map(|row| Check::ok("provider", format!("{} ({})", text(&row["name"]), text(&row["provider_type"])))));
        }
        Ok((status, _)) => checks.push(Check::failed("gateway", format!("it answers {status} when asked for its providers"))),
        Err(error) => checks.push(Check::failed("gateway", format!("{error:#}"))),
    }
    (checks, providers)
}
