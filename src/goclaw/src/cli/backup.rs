//! `goclaw backup`: database and files of the installation in one archive.

pub mod archive;
#[cfg(feature = "standard")]
pub mod postgres;
mod tree;

use super::{exit::refused, print};
use crate::{
    config::{Config, edition::Storage},
    run::plain,
};
use anyhow::{Context, Result, bail};
use archive::{Archive, DATA, FORMAT, KEYS, Manifest, WORKSPACE};
use chrono::{DateTime, Utc};
use goclaw_ports::clock::{Clock, SystemClock};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use std::{
    collections::HashSet,
    ffi::OsStr,
    fs::{self, File},
    io::BufWriter,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};
use tempfile::TempDir;
use tree::LeftOut;

/// What a backup, or a restore that is under way, calls its own temporary files.
pub const TEMPORARY: &str = ".goclaw-";

/// What goes in, and where to.
#[derive(clap::Args)]
pub struct Options {
    /// The file to write, or a directory for it [default: goclaw-backup-<edition>-<time>.tar.gz here]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only the database, without the files of data directory and workspace
    #[arg(long)]
    without_files: bool,
    /// Also the encryption key and the gateway token: whoever has the file can then open every secret in it
    #[arg(long)]
    include_key: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was written.
#[derive(Serialize)]
struct Written {
    path: PathBuf,
    size: u64,
    #[serde(flatten)]
    manifest: Manifest,
    entries: usize,
    /// Files that became shorter while they were read, cannot be read, or have names that are not UTF-8.
    incomplete: Vec<String>,
    /// Links, sockets and devices, which are left out.
    left_out: u64,
}

/// Writes a backup. The gateway may run.
///
/// # Errors
/// If there is no database, or the file exists or cannot be written.
pub async fn run(config: &Config, options: Options) -> Result<()> {
    let now = SystemClock.now();
    let target = target(config, options.output.as_deref(), now)?;
    let directory = target.parent().context("the file has no directory")?;
    let scratch = tempfile::Builder::new()
        .prefix(&format!("{TEMPORARY}backup-"))
        .tempdir_in(directory)
        .with_context(|| format!("cannot write to {}", directory.display()))?;
    let (database, name, schema_version) = copy_database(config, &scratch).await?;
    let keys = if options.include_key { Keys::of(config)? } else { Keys::default() };
    let manifest = Manifest {
        format: FORMAT,
        gateway_version: env!("CARGO_PKG_VERSION").to_owned(),
        edition: config.edition.as_str().to_owned(),
        database: match config.storage {
            Storage::Sqlite { .. } => "sqlite",
            Storage::Postgres { .. } => "postgres",
        }
        .to_owned(),
        schema_version,
        created_at: now,
        files: !options.without_files,
        key: keys.key.is_some(),
    };
    let plan = Plan { roots: (!options.without_files).then(|| Roots::of(config)), database, name, keys, salt: config.salt_file() };
    let written = tokio::task::spawn_blocking(move || plan.write(&target, manifest, scratch)).await.context("the backup broke off")??;
    report(&written, options.json)
}

/// Where the backup goes. It replaces nothing.
fn target(config: &Config, output: Option<&Path>, now: DateTime<Utc>) -> Result<PathBuf> {
    let name = format!("goclaw-backup-{}-{}.tar.gz", config.edition.as_str(), now.format("%Y%m%d-%H%M%S"));
    let target = match output {
        Some(path) if path.is_dir() => path.join(name),
        Some(path) => path.to_owned(),
        None => PathBuf::from(name),
    };
    let target = std::path::absolute(target)?;
    if target.exists() {
        return Err(refused(format!("{} exists already", target.display())));
    }
    Ok(target)
}

/// Copies the database into the directory: the copy, its name in the archive, and the schema's version.
async fn copy_database(config: &Config, scratch: &TempDir) -> Result<(PathBuf, &'static str, i64)> {
    match &config.storage {
        #[cfg(feature = "lite")]
        Storage::Sqlite { path } => {
            let copy = scratch.path().join("goclaw.db");
            goclaw_sqlite::backup(path.clone(), copy.clone()).await.map_err(plain)?;
            let version = goclaw_sqlite::schema_version_of(copy.clone()).await.map_err(plain)?;
            Ok((copy, archive::SQLITE, version))
        }
        #[cfg(feature = "standard")]
        Storage::Postgres { dsn } => {
            let dsn = dsn.as_ref().context("set GOCLAW_POSTGRES_DSN")?;
            let found = goclaw_postgres::inspect(dsn).await.map_err(plain)?;
            if found.schema_version == 0 {
                return Err(refused(format!("the database {} holds nothing of GoClaw", found.database)));
            }
            let copy = scratch.path().join("goclaw.dump");
            postgres::Programs::of(config, dsn).await?.dump(&found.schema, &copy).await?;
            Ok((copy, archive::POSTGRES, found.schema_version))
        }
        #[expect(unreachable_patterns, reason = "a build may lack a database")]
        _ => bail!("this build has no such database"),
    }
}

/// What opens the secrets of the database, and the gateway.
#[derive(Default)]
struct Keys {
    key: Option<SecretString>,
    previous: Option<SecretString>,
    token: Option<SecretString>,
}

impl Keys {
    fn of(config: &Config) -> Result<Self> {
        use crate::config::first_start::read_secret_file;
        let (key, previous) = config.encryption_keys();
        let or_file = |key: Option<SecretString>, path: PathBuf| if key.is_some() { Ok(key) } else { read_secret_file(&path) };
        let key = or_file(key, config.key_file())?;
        if key.is_none() {
            return Err(refused("there is no encryption key to include"));
        }
        Ok(Self { key, previous: or_file(previous, config.previous_key_file())?, token: read_secret_file(&config.token_file())? })
    }
}

/// The directories whose files are kept, and what of them is not.
pub struct Roots {
    /// The data directory.
    pub data: PathBuf,
    /// The workspaces.
    pub workspace: PathBuf,
    database: Option<PathBuf>,
    /// Device and number of the files that must not get in, by whatever name.
    secret: HashSet<(u64, u64)>,
}

impl Roots {
    /// Those of this installation.
    pub fn of(config: &Config) -> Self {
        let canonical = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let database = match &config.storage {
            Storage::Sqlite { path } => Some(canonical(path)),
            Storage::Postgres { .. } => None,
        };
        let secret = [config.key_file(), config.previous_key_file(), config.token_file()].into_iter().chain(database.clone());
        let secret = secret.filter_map(|path| fs::metadata(path).ok()).map(|metadata| (metadata.dev(), metadata.ino())).collect();
        Self { data: canonical(&config.data_dir), workspace: canonical(&config.workspace), database, secret }
    }

    /// Whether a path of the data directory is kept: not the database, locks, logs, keys, or what is temporary.
    pub fn keeps_data(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let top = path.parent() == Some(&self.data);
        let database = self.database.as_ref().is_some_and(|database| {
            let own = database.file_name().and_then(OsStr::to_str).unwrap_or_default();
            path.parent() == database.parent() && name.strip_prefix(own).is_some_and(|ending| ["", "-wal", "-shm", "-journal", ".lock"].contains(&ending))
        });
        let own = top && (name == "logs" || ["encryption.", ".encryption.", "gateway.token"].iter().any(|prefix| name.starts_with(prefix)));
        let log = top && Path::new(name).extension().is_some_and(|extension| extension == "log");
        !database && !own && !log && path != self.workspace && self.keeps_any(path)
    }

    /// Whether a path of the workspaces is kept.
    pub fn keeps_workspace(&self, path: &Path) -> bool {
        path != self.data && self.keeps_any(path)
    }

    fn keeps_any(&self, path: &Path) -> bool {
        let temporary = path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(TEMPORARY));
        !temporary && !fs::symlink_metadata(path).is_ok_and(|metadata| self.secret.contains(&(metadata.dev(), metadata.ino())))
    }
}

/// What is written.
struct Plan {
    roots: Option<Roots>,
    database: PathBuf,
    name: &'static str,
    keys: Keys,
    salt: PathBuf,
}

impl Plan {
    fn write(self, target: &Path, manifest: Manifest, scratch: TempDir) -> Result<Written> {
        let directory = target.parent().context("the file has no directory")?;
        let temporary = tempfile::Builder::new().prefix(&format!("{TEMPORARY}backup-")).suffix(".tmp").tempfile_in(directory)?;
        let mut progress = print::Progress::new("backing up");
        let mut archive = Archive::begin(BufWriter::new(temporary.as_file().try_clone()?), &manifest)?;
        let mut incomplete = Vec::new();
        archive.file(self.name, File::open(&self.database)?, 0o600, &mut |count| progress.bytes(count))?;
        // Its disk space may be what the rest needs.
        drop(scratch);
        if let Ok(salt) = fs::read(&self.salt) {
            archive.text(&format!("{KEYS}/encryption.salt"), &salt)?;
        }
        for (name, secret) in [("encryption.key", &self.keys.key), ("encryption.key.previous", &self.keys.previous), ("gateway.token", &self.keys.token)] {
            if let Some(secret) = secret {
                archive.text(&format!("{KEYS}/{name}"), format!("{}\n", secret.expose_secret()).as_bytes())?;
            }
        }
        let mut left_out = LeftOut::default();
        if let Some(roots) = &self.roots {
            let data = (DATA, &roots.data, &(|path: &Path| roots.keeps_data(path)) as &dyn Fn(&Path) -> bool);
            let workspace = (WORKSPACE, &roots.workspace, &(|path: &Path| roots.keeps_workspace(path)) as &dyn Fn(&Path) -> bool);
            for (area, root, wanted) in [data, workspace] {
                tree::walk(root, wanted, &mut left_out, &mut |found| {
                    let path = format!("{area}/{}", found.path);
                    match found.file {
                        None => archive.directory(&path, found.mode)?,
                        Some(file) => {
                            if !archive.file(&path, file, found.mode, &mut |count| progress.bytes(count))? {
                                incomplete.push(path);
                            }
                            progress.file();
                        }
                    }
                    Ok(())
                })?;
            }
        }
        incomplete.extend(left_out.unreadable);
        let entries = archive.len();
        archive.finish()?.into_inner().map_err(|error| error.into_error())?.sync_all()?;
        let size = temporary.as_file().metadata()?.len();
        temporary.as_file().set_permissions(fs::Permissions::from_mode(0o600))?;
        temporary.persist_noclobber(target).map_err(|error| anyhow::Error::from(error.error).context(format!("cannot write {}", target.display())))?;
        File::open(directory)?.sync_all()?;
        Ok(Written { path: target.to_owned(), size, manifest, entries, incomplete, left_out: left_out.special })
    }
}

fn report(written: &Written, as_json: bool) -> Result<()> {
    for path in &written.incomplete {
        eprintln!("warning: not whole in the backup: {}", print::shown(path));
    }
    if as_json {
        return print::json(written);
    }
    print::line(&format!(
        "wrote {} ({}, {} entries, schema {})",
        written.path.display(),
        print::bytes(written.size),
        written.entries,
        written.manifest.schema_version
    ))?;
    if written.left_out > 0 {
        print::line(&format!("left out: {} links, sockets or devices", written.left_out))?;
    }
    if written.manifest.key {
        print::line("It holds the encryption key: whoever has this file can open every secret in it.")
    } else {
        print::line("It does not hold the encryption key: keep a copy of the key elsewhere, or the secrets in this backup can never be opened.")
    }
}
