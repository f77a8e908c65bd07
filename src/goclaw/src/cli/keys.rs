//! `goclaw keys rotate`: seals every secret of the database anew, with another key.
//!
//! With a key file, the gateway must be stopped. At every moment of it both files together open everything, and the gateway reads
//! both at its start, so an interrupted change is neither lost nor in the way; running the command again completes it. With keys
//! from the environment, gateways that have both may run meanwhile.

use super::{exit::refused, print};
use crate::{
    config::{Config, atomic, edition::Storage, first_start::read_secret_file},
    run::{open, plain},
};
use anyhow::{Context, Result, anyhow, bail};
use goclaw_crypto::{Key, RowSealer, generate_key};
use goclaw_ports::{
    sealer::{SealedRow, Sealer},
    stores::Stores,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use std::{fs, path::Path};

/// How often what others sealed meanwhile is looked for.
const ROUNDS: usize = 5;

/// What to do with the encryption key.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Seal every secret anew with another encryption key
    ///
    /// With a key file (lite): stop the gateway first; a new key is made and takes the place of the old one.
    /// With GOCLAW_ENCRYPTION_KEY: set it to the new key and GOCLAW_ENCRYPTION_KEY_PREVIOUS to the old one, for all gateways and
    /// for this command; when it is done, take the old one away. Running it again does no harm.
    Rotate(Options),
}

/// How.
#[derive(clap::Args)]
pub struct Options {
    /// Only count what is still sealed with the old key
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How many secrets there are, and what became of them.
#[derive(Debug, Default, PartialEq)]
struct Count {
    /// All of them.
    secrets: usize,
    /// Those that were sealed anew.
    resealed: usize,
    /// Those that are sealed with the old key.
    old: usize,
}

/// Does it.
///
/// # Errors
/// If a gateway holds the file, a secret opens with no key, or something cannot be written.
pub async fn run(config: &Config, command: Command) -> Result<()> {
    let Command::Rotate(options) = command;
    let stores = open(config).await?;
    let outcome = match config.encryption_keys() {
        (None, _) => rotate_file(config, &stores, &options).await,
        (Some(current), Some(previous)) => rotate_environment(config, &stores, &options, &current, &previous).await,
        (Some(_), None) => Err(refused(
            "set GOCLAW_ENCRYPTION_KEY to the new key (openssl rand -hex 32) and GOCLAW_ENCRYPTION_KEY_PREVIOUS to the one that was used so far, for all gateways and for this command",
        )),
    };
    stores.database.close().await;
    outcome
}

fn key(config: &Config, text: &SecretString) -> Result<Key> {
    Key::from_text(text.expose_secret(), &config.salt_file()).context("the encryption key cannot be used")
}

async fn rotate_environment(config: &Config, stores: &Stores, options: &Options, current: &SecretString, previous: &SecretString) -> Result<()> {
    let (new, old) = (RowSealer::new(&key(config, current)?), RowSealer::new(&key(config, previous)?));
    let count = count(stores, &new, &old).await?;
    if options.dry_run {
        return report_dry(options, &count);
    }
    print::confirm(options.yes, &format!("Seal {} secrets with the key in GOCLAW_ENCRYPTION_KEY?", count.old))?;
    let done = reseal(stores, &new, &old).await?;
    report(options, &done, "take GOCLAW_ENCRYPTION_KEY_PREVIOUS away once every gateway has the new key")
}

async fn rotate_file(config: &Config, stores: &Stores, options: &Options) -> Result<()> {
    if !matches!(config.storage, Storage::Sqlite { .. }) {
        return Err(refused(
            "with PostgreSQL, other gateways may use the key: set GOCLAW_ENCRYPTION_KEY and GOCLAW_ENCRYPTION_KEY_PREVIOUS instead of a key file",
        ));
    }
    let (file, kept) = (config.key_file(), config.previous_key_file());
    let text = read_secret_file(&file)?.ok_or_else(|| refused(format!("there is no key to replace in {}", file.display())))?;
    let earlier = read_secret_file(&kept)?;
    let current = RowSealer::new(&key(config, &text)?);
    let interrupted = earlier.as_ref().is_some_and(|earlier| earlier.expose_secret() != text.expose_secret());
    if let (Some(earlier), true) = (&earlier, interrupted) {
        // The key in the file is the new one already.
        let old = RowSealer::new(&key(config, earlier)?);
        let found = count(stores, &current, &old).await?;
        if options.dry_run {
            return report_dry(options, &found);
        }
        let done = reseal(stores, &current, &old).await?;
        remove(&kept)?;
        return report(options, &done, "this completed a change of the key that was interrupted; back up the new key file");
    }
    // Everything must open before anything is changed.
    let found = count(stores, &current, &current).await?;
    if options.dry_run {
        return report_dry(options, &Count { old: found.secrets, ..found });
    }
    print::confirm(options.yes, &format!("Seal {} secrets with a new key, and put it into {}?", found.secrets, file.display()))?;
    let fresh = SecretString::from(generate_key());
    write(&kept, &text)?;
    write(&file, &fresh)?;
    let done = reseal(stores, &RowSealer::new(&key(config, &fresh)?), &current).await?;
    remove(&kept)?;
    report(options, &done, "back up the new key file; backups that were made with the old key need the old one")
}

/// Says which of the keys opens what.
async fn count(stores: &Stores, new: &RowSealer, old: &RowSealer) -> Result<Count> {
    let rows = stores.sealed.all_tenants_sealed().await.map_err(plain)?;
    let of_old = sealed_with_old(&rows, new, old)?;
    Ok(Count { secrets: rows.len(), resealed: 0, old: of_old.len() })
}

fn sealed_with_old<'a>(rows: &'a [SealedRow], new: &RowSealer, old: &RowSealer) -> Result<Vec<(&'a SealedRow, SecretString)>> {
    let mut found = Vec::new();
    for row in rows {
        if new.open(row.place(), &row.sealed).is_ok() {
            continue;
        }
        let secret = old
            .open(row.place(), &row.sealed)
            .map_err(|_| anyhow!("the secret {}.{} of row {} opens with none of the keys; nothing was changed", row.table, row.column, row.row))?;
        found.push((row, secret));
    }
    Ok(found)
}

/// Seals with the new key what the old one opens, until nothing is left.
async fn reseal(stores: &Stores, new: &RowSealer, old: &RowSealer) -> Result<Count> {
    let mut total = Count::default();
    for _ in 0..ROUNDS {
        let rows = stores.sealed.all_tenants_sealed().await.map_err(plain)?;
        let mut changes = Vec::new();
        for (row, secret) in sealed_with_old(&rows, new, old)? {
            changes.push((row.clone(), new.seal(row.place(), &secret).map_err(plain)?));
        }
        total = Count { secrets: rows.len(), old: changes.len(), ..total };
        if changes.is_empty() {
            return Ok(total);
        }
        total.resealed += stores.sealed.all_tenants_reseal(&changes).await.map_err(plain)?;
    }
    bail!(
        "{} secrets are still sealed with the old key: a gateway that does not have the new one goes on sealing; restart it with both keys and run this again",
        total.old
    )
}

fn write(path: &Path, text: &SecretString) -> Result<()> {
    atomic::replace(path, &format!("{}\n", text.expose_secret())).with_context(|| format!("cannot write {}", path.display()))
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).with_context(|| format!("every secret is sealed with the new key, but the old one cannot be removed: {}", path.display()))
}

fn report_dry(options: &Options, count: &Count) -> Result<()> {
    if options.json {
        return print::json(&json!({"secrets": count.secrets, "sealed_with_old_key": count.old, "resealed": 0, "dry_run": true}));
    }
    print::line(&format!("{} of {} secrets are sealed with the old key", count.old, count.secrets))
}

fn report(options: &Options, count: &Count, next: &str) -> Result<()> {
    if options.json {
        return print::json(&json!({"secrets": count.secrets, "sealed_with_old_key": 0, "resealed": count.resealed, "dry_run": false}));
    }
    print::line(&format!("sealed {} of {} secrets with the new key; {next}", count.resealed, count.secrets))
}
