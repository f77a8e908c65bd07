//! `goclaw restore`: puts a backup into the place of what is there, or into an empty place.

mod swap;
mod unpack;

use super::{
    backup::{Roots, TEMPORARY, archive::Manifest},
    exit::refused,
    print,
};
use crate::{
    config::{Config, edition::Storage, first_start::read_secret_file},
    run::{open, place, plain},
};
use anyhow::{Context, Result, anyhow, bail};
use goclaw_ports::{
    TenantId,
    clock::{Clock, SystemClock},
    sealer::Sealer,
};
use nix::sys::statvfs::statvfs;
use secrecy::ExposeSecret;
use serde::Serialize;
use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};
use swap::Swap;
use tempfile::TempDir;
use unpack::{Places, Reader};

/// What stays free on the disk, in bytes.
const RESERVE: u64 = 64 << 20;

/// What is restored, and over what.
#[derive(clap::Args)]
pub struct Options {
    /// The backup
    file: PathBuf,
    /// Replace what is there: database, files of the data directory, workspaces
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was restored.
#[derive(Serialize)]
struct Restored {
    #[serde(flatten)]
    manifest: Manifest,
    /// `ok`, `wrong`, `missing`, or `unchecked` if the schema must be brought up to date first.
    encryption_key: &'static str,
    /// What is to be done now.
    next: Vec<String>,
}

/// Restores a backup. The gateway must be stopped.
///
/// # Errors
/// If a gateway holds the database, the place is not empty, or the archive is damaged: then nothing is changed.
pub async fn run(config: &Config, options: Options) -> Result<()> {
    config.make_directories()?;
    let held = Held::take(config).await?;
    if !options.force {
        refuse_unless_empty(config, &held)?;
    }
    let stage = Stage::new(config)?;
    let manifest = unpack(config, &options.file, &stage).await?;
    stage.check(config)?;
    held.replace(config, &stage, &manifest).await?;
    let mut next = stage.keep_keys(config)?;
    drop(held);
    let encryption_key = check_key(config, &mut next).await;
    let restored = Restored { manifest, encryption_key, next };
    if options.json {
        return print::json(&restored);
    }
    let Manifest { created_at, gateway_version, schema_version, .. } = &restored.manifest;
    print::line(&format!("restored the backup of {} (goclaw {gateway_version}, schema {schema_version})", created_at.format("%Y-%m-%d %H:%M:%S UTC")))?;
    for hint in &restored.next {
        print::line(hint)?;
    }
    Ok(())
}

/// The database, kept from gateways while it is replaced.
enum Held {
    #[cfg(feature = "lite")]
    Sqlite { path: PathBuf, empty: bool, _lock: goclaw_sqlite::DatabaseLock },
    #[cfg(feature = "standard")]
    Postgres { dsn: secrecy::SecretString, empty: bool },
}

impl Held {
    async fn take(config: &Config) -> Result<Self> {
        match &config.storage {
            #[cfg(feature = "lite")]
            Storage::Sqlite { path } => {
                let directory = path.parent().context("the database has no directory")?;
                DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(|| format!("cannot make {}", directory.display()))?;
                let lock = goclaw_sqlite::DatabaseLock::take(path).map_err(plain)?;
                Ok(Self::Sqlite { path: path.clone(), empty: !path.exists(), _lock: lock })
            }
            #[cfg(feature = "standard")]
            Storage::Postgres { dsn } => {
                let dsn = dsn.as_ref().context("set GOCLAW_POSTGRES_DSN")?;
                let found = goclaw_postgres::inspect(dsn).await.map_err(plain)?;
                super::migrate::refuse_while_used(&found)?;
                if found.schema_version > found.newest_version {
                    return Err(refused(format!(
                        "the database has schema version {}, newer than the {} this build knows; use a newer build",
                        found.schema_version, found.newest_version
                    )));
                }
                Ok(Self::Postgres { dsn: dsn.clone(), empty: found.schema_version == 0 })
            }
            #[expect(unreachable_patterns, reason = "a build may lack a database")]
            _ => bail!("this build has no such database"),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            #[cfg(feature = "lite")]
            Self::Sqlite { empty, .. } => *empty,
            #[cfg(feature = "standard")]
            Self::Postgres { empty, .. } => *empty,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            #[cfg(feature = "lite")]
            Self::Sqlite { .. } => "sqlite",
            #[cfg(feature = "standard")]
            Self::Postgres { .. } => "postgres",
        }
    }

    /// Puts what was unpacked into its place. Files and a SQLite database are put back if something fails; a PostgreSQL database is
    /// replaced in one transaction.
    async fn replace(&self, config: &Config, stage: &Stage, manifest: &Manifest) -> Result<()> {
        let kind = self.kind();
        if manifest.database != kind {
            return Err(refused(format!("the backup is of a {} database, and this installation keeps its data in {kind}", manifest.database)));
        }
        match self {
            #[cfg(feature = "lite")]
            Self::Sqlite { path, .. } => {
                let fresh = stage.database.path().join("fresh/goclaw.db");
                let found = goclaw_sqlite::inspect(fresh.clone(), true).await.map_err(plain)?.ok_or_else(|| refused("the backup holds no database"))?;
                if !found.problems.is_empty() {
                    return Err(refused(format!("the database in the backup is damaged: {}", found.problems.join("; "))));
                }
                if found.schema_version > found.newest_version {
                    return Err(too_new(found.schema_version, found.newest_version));
                }
                stage.swap(config, manifest, Some((path, &fresh)))
            }
            #[cfg(feature = "standard")]
            Self::Postgres { dsn, .. } => {
                let newest = goclaw_postgres::inspect(dsn).await.map_err(plain)?.newest_version;
                if manifest.schema_version > newest {
                    return Err(too_new(manifest.schema_version, newest));
                }
                let dump = stage.database.path().join("fresh/goclaw.dump");
                if !dump.exists() {
                    return Err(refused("the backup holds no database"));
                }
                // Makes the roles that the dump's grants and policies name.
                goclaw_postgres::migrate(dsn).await.map_err(plain)?;
                super::backup::postgres::Programs::of(config, dsn).await?.restore(&dump, stage.database.path()).await?;
                stage.swap(config, manifest, None).context("the database is restored, the files are not")
            }
        }
    }
}

fn too_new(version: i64, known: i64) -> anyhow::Error {
    refused(format!("the backup has schema version {version}, newer than the {known} this build knows; use a newer build"))
}

fn refuse_unless_empty(config: &Config, held: &Held) -> Result<()> {
    let roots = Roots::of(config);
    let mut taken = Vec::new();
    if !held.is_empty() {
        taken.push("the database".to_owned());
    }
    let holds = |root: &Path, counts: &dyn Fn(&Path) -> bool| fs::read_dir(root).is_ok_and(|entries| entries.flatten().any(|entry| counts(&entry.path())));
    if holds(&roots.data, &|path| roots.keeps_data(path)) {
        taken.push(roots.data.display().to_string());
    }
    if holds(&roots.workspace, &|path| roots.keeps_workspace(path)) {
        taken.push(roots.workspace.display().to_string());
    }
    if taken.is_empty() {
        return Ok(());
    }
    Err(refused(format!("not empty: {}; say --force to replace what is there", taken.join(", "))))
}

/// Temporary directories, each beside what it will replace, so that a rename is enough. `fresh` in each holds what was unpacked,
/// `aside` what it replaced.
struct Stage {
    data: TempDir,
    workspace: TempDir,
    database: TempDir,
}

impl Stage {
    fn new(config: &Config) -> Result<Self> {
        let beside = match &config.storage {
            Storage::Sqlite { path } => path.parent().context("the database has no directory")?,
            Storage::Postgres { .. } => &config.data_dir,
        };
        let make = |directory: &Path| -> Result<TempDir> {
            let made = tempfile::Builder::new().prefix(&format!("{TEMPORARY}restore-")).tempdir_in(directory);
            let made = made.with_context(|| format!("cannot write to {}", directory.display()))?;
            for name in ["fresh", "aside", "keys"] {
                DirBuilder::new().mode(0o700).create(made.path().join(name))?;
            }
            Ok(made)
        };
        Ok(Self { data: make(&config.data_dir)?, workspace: make(&config.workspace)?, database: make(beside)? })
    }

    fn places(&self) -> Places {
        let fresh = |directory: &TempDir| directory.path().join("fresh");
        Places { data: fresh(&self.data), workspace: fresh(&self.workspace), database: fresh(&self.database), keys: self.data.path().join("keys") }
    }

    /// Refuses files that would come to stand where a backup takes none from: keys, locks, the database.
    fn check(&self, config: &Config) -> Result<()> {
        let roots = Roots::of(config);
        for name in fs::read_dir(self.places().data)?.flatten().map(|entry| entry.file_name()) {
            if !roots.keeps_data(&roots.data.join(&name)) {
                return Err(refused(format!(
                    "the archive is not a backup that can be restored: \"data/{}\" does not belong into a backup",
                    print::shown(&name.to_string_lossy())
                )));
            }
        }
        Ok(())
    }

    /// Puts the files, and a SQLite database, into their places; all or none.
    fn swap(&self, config: &Config, manifest: &Manifest, database: Option<(&Path, &Path)>) -> Result<()> {
        let roots = Roots::of(config);
        let mut swap = Swap::default();
        let work = |swap: &mut Swap| -> Result<()> {
            if manifest.files {
                let fresh = |directory: &TempDir| (directory.path().join("fresh"), directory.path().join("aside"));
                let ((data, data_aside), (workspace, workspace_aside)) = (fresh(&self.data), fresh(&self.workspace));
                swap.directory(&roots.data, &|path| roots.keeps_data(path), &data, &data_aside)?;
                swap.directory(&roots.workspace, &|path| roots.keeps_workspace(path), &workspace, &workspace_aside)?;
            }
            if let Some((path, fresh)) = database {
                let aside = self.database.path().join("aside");
                let beside = |ending: &str| {
                    let mut name = path.as_os_str().to_owned();
                    name.push(ending);
                    PathBuf::from(name)
                };
                // A log of the old database must never meet the new one.
                for ending in ["-wal", "-shm", "-journal"] {
                    swap.rename_if_there(&beside(ending), &aside.join(format!("old{ending}")))?;
                }
                // There is a database at any moment: a gateway that found none would make an empty one.
                swap.keep(path, &aside.join("old"))?;
                swap.rename(fresh, path)?;
                swap::sync(path.parent().context("the database has no directory")?)?;
            }
            Ok(())
        };
        match work(&mut swap) {
            Ok(()) => Ok(()),
            Err(error) => match swap.undo() {
                left if left.is_empty() => Err(error.context("nothing was changed")),
                left => Err(error.context(format!("not everything could be put back: {}", left.join("; ")))),
            },
        }
    }

    /// Puts keys, salt and token that the backup holds into the data directory. One that is replaced is kept under another name.
    fn keep_keys(&self, config: &Config) -> Result<Vec<String>> {
        let mut hints = Vec::new();
        let now = SystemClock.now().format("%Y%m%d-%H%M%S");
        for target in [config.salt_file(), config.key_file(), config.previous_key_file(), config.token_file()] {
            let name = target.file_name().unwrap_or_default().to_owned();
            let fresh = self.data.path().join("keys").join(&name);
            let Some(text) = read_secret_file(&fresh)? else { continue };
            match read_secret_file(&target)? {
                Some(there) if there.expose_secret() == text.expose_secret() => continue,
                Some(_) => {
                    let kept = target.with_file_name(format!("{}.before-restore-{now}", name.to_string_lossy()));
                    fs::rename(&target, &kept).with_context(|| format!("cannot rename {}", target.display()))?;
                    hints.push(format!("the former {} is now {}", name.to_string_lossy(), kept.display()));
                }
                None => {}
            }
            fs::rename(&fresh, &target).with_context(|| format!("cannot write {}", target.display()))?;
        }
        swap::sync(&config.data_dir)?;
        Ok(hints)
    }
}

async fn unpack(config: &Config, file: &Path, stage: &Stage) -> Result<Manifest> {
    let room = free_space(&config.data_dir)?.min(free_space(&config.workspace)?).saturating_sub(RESERVE);
    let reader = Reader::open(file, room)?;
    let places = stage.places();
    let kind = match config.storage {
        Storage::Sqlite { .. } => "sqlite",
        Storage::Postgres { .. } => "postgres",
    };
    let unpacked = tokio::task::spawn_blocking(move || {
        let mut progress = print::Progress::new("unpacking");
        let accepts = |manifest: &Manifest| match manifest.database == kind {
            true => Ok(()),
            false => Err(refused(format!("the backup is of a {} database, and this installation keeps its data in {kind}", manifest.database))),
        };
        reader.unpack(&places, &accepts, &mut |count| progress.bytes(count))
    });
    unpacked.await.map_err(|error| anyhow!("unpacking broke off: {error}"))?
}

/// How many bytes this user may still write to the file system of a path.
#[allow(clippy::useless_conversion, reason = "the number of blocks has 32 bits on some systems")]
pub fn free_space(path: &Path) -> nix::Result<u64> {
    statvfs(path).map(|space| u64::from(space.blocks_available()).saturating_mul(u64::from(space.fragment_size())))
}

/// Whether the key that the gateway would start with opens the secrets, and what to do if not.
async fn check_key(config: &Config, next: &mut Vec<String>) -> &'static str {
    let stores = match open(config).await {
        Ok(stores) => stores,
        Err(error) => {
            next.push(format!("{error:#}"));
            next.push("run `goclaw upgrade`, then `goclaw doctor`".to_owned());
            return "unchecked";
        }
    };
    let sealed = stores.secrets.list(TenantId::MASTER).await;
    stores.database.close().await;
    let sealed = match sealed {
        Ok(sealed) => sealed,
        Err(error) => {
            next.push(plain(error).to_string());
            return "unchecked";
        }
    };
    let advice = "put the key of the backed-up installation into GOCLAW_ENCRYPTION_KEY or into";
    match config.sealer(!sealed.is_empty()) {
        Err(error) => {
            next.push(format!("the encryption key is missing: {advice} {} before you start the gateway ({error:#})", config.key_file().display()));
            "missing"
        }
        Ok(sealer) if sealed.iter().all(|(name, value)| sealer.open(place(name), value).is_ok()) => {
            next.push("the encryption key opens the restored secrets; start the gateway with `goclaw`".to_owned());
            "ok"
        }
        Ok(_) => {
            next.push(format!(
                "the encryption key is another one than the restored secrets were sealed with: {advice} {} before you start the gateway",
                config.key_file().display()
            ));
            "wrong"
        }
    }
}
