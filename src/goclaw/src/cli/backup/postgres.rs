//! PostgreSQL's own programs: `pg_dump`, `pg_restore` and `psql`.

use crate::{cli::exit::refused, config::Config};
use anyhow::{Context, Result, bail};
use secrecy::{ExposeSecret, SecretString};
use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{io::AsyncReadExt, process::Command};

/// The longest that one of the programs may take.
const LIMIT: Duration = Duration::from_secs(12 * 3600);
/// How much of what a program complains about is shown.
const COMPLAINT: usize = 4_000;
/// Variables of this process that must not lead the programs elsewhere, or that are none of their business.
const REMOVED: &[&str] = &[
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGUSER",
    "PGPASSWORD",
    "PGDATABASE",
    "PGOPTIONS",
    "PGSERVICE",
    "PGSSLMODE",
    "GOCLAW_POSTGRES_DSN",
    "GOCLAW_ENCRYPTION_KEY",
    "GOCLAW_ENCRYPTION_KEY_PREVIOUS",
    "GOCLAW_GATEWAY_TOKEN",
    "GOCLAW_TOKEN",
];

/// The programs, and the database that they work on.
pub struct Programs {
    environment: Vec<(&'static str, SecretString)>,
    /// Where they are.
    directory: PathBuf,
}

impl Programs {
    /// For this database. Its password goes to the programs by their environment, never by their arguments.
    ///
    /// # Errors
    /// If the DSN is malformed, or the programs are not in PATH.
    pub async fn of(config: &Config, dsn: &SecretString) -> Result<Self> {
        let environment = goclaw_postgres::client_environment(dsn).map_err(crate::run::plain)?;
        let (directory, _) = newest(config).await?;
        Ok(Self { environment, directory })
    }

    /// Dumps a schema of the database into a new file (0600).
    ///
    /// # Errors
    /// If `pg_dump` is missing or fails.
    pub async fn dump(&self, schema: &str, target: &Path) -> Result<()> {
        let file = create(target)?;
        let schema = format!("--schema=\"{}\"", schema.replace('"', "\"\""));
        // In a role that row-level security shows every row to: the owner of the tables is shown none.
        let arguments =
            ["--format=custom", "--no-owner", &schema, "--role=goclaw_engine", "--enable-row-security", "--lock-wait-timeout=30000", "--no-password"];
        self.run("pg_dump", &arguments, file.try_clone()?.into()).await?;
        file.sync_all().with_context(|| format!("cannot write {}", target.display()))
    }

    /// Replaces what migrations made in the database by a dump, in one transaction: it is done whole or not at all. `scratch` is a
    /// directory for the SQL.
    ///
    /// # Errors
    /// If a program is missing or fails.
    pub async fn restore(&self, dump: &Path, scratch: &Path) -> Result<()> {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let [contents, list, sql, clear, grant] = ["contents", "list", "restore.sql", "clear.sql", "grant.sql"].map(|name| scratch.join(name));
        self.run("pg_restore", &["--list", &path(dump)], create(&contents)?.into()).await?;
        let wanted: String = fs::read_to_string(&contents)?.lines().filter(|line| is_wanted(line)).map(|line| format!("{line}\n")).collect();
        create(&list)?.write_all(wanted.as_bytes())?;
        create(&clear)?.write_all(format!("set client_min_messages = warning;\nset lock_timeout = '30s';\n{}\n", goclaw_postgres::drop_script()).as_bytes())?;
        // A dump empties the search path for its own sake.
        create(&grant)?.write_all(format!("reset search_path;\n{}\n", goclaw_postgres::grant_script()).as_bytes())?;
        // Not by a pipe: if the first program fails half-way, the second must not take the half for the whole.
        let output = create(&sql)?;
        self.run("pg_restore", &["--no-owner", "--file=-", &format!("--use-list={}", path(&list)), &path(dump)], output.into()).await?;
        let [clear, sql, grant] = [&clear, &sql, &grant].map(|file| format!("--file={}", path(file)));
        let arguments = ["--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1", "--no-password", &clear, &sql, &grant];
        self.run("psql", &arguments, Stdio::null()).await
    }

    async fn run(&self, program: &str, arguments: &[&str], output: Stdio) -> Result<()> {
        let mut command = Command::new(self.directory.join(program));
        for name in REMOVED {
            command.env_remove(name);
        }
        command.args(arguments).envs(self.environment.iter().map(|(name, value)| (name, value.expose_secret())));
        command.stdin(Stdio::null()).stdout(output).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| missing(program, &error))?;
        let mut stderr = child.stderr.take().context("the program has no standard error")?;
        let running = async {
            let mut complaint = Vec::new();
            let mut buffer = [0; 1024];
            loop {
                let read = stderr.read(&mut buffer).await?;
                if read == 0 {
                    break;
                }
                let room = COMPLAINT.saturating_sub(complaint.len());
                complaint.extend_from_slice(&buffer[..read.min(room)]);
            }
            Ok::<_, std::io::Error>((child.wait().await?, complaint))
        };
        let (status, complaint) = tokio::time::timeout(LIMIT, running).await.with_context(|| format!("{program} took too long"))??;
        if status.success() {
            return Ok(());
        }
        bail!("{program} failed ({status}): {}", String::from_utf8_lossy(&complaint).trim())
    }
}

/// The directory of PATH with the newest `pg_dump`, and what that says its version is: `pg_dump` refuses servers that are newer
/// than itself, and many machines have more than one.
///
/// # Errors
/// If there is none.
pub async fn newest(config: &Config) -> Result<(PathBuf, String)> {
    let mut best: Option<(u32, PathBuf, String)> = None;
    for directory in config.search_path() {
        let program = directory.join("pg_dump");
        if !program.is_file() {
            continue;
        }
        let Ok(told) = version(&program).await else { continue };
        let major = major(&told).unwrap_or_default();
        if best.as_ref().is_none_or(|(newest, ..)| major > *newest) {
            best = Some((major, directory, told));
        }
    }
    match best {
        Some((_, directory, told)) => Ok((directory, told)),
        None => Err(missing("pg_dump", &ErrorKind::NotFound.into())),
    }
}

async fn version(program: &Path) -> Result<String> {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(5), command.output()).await.context("pg_dump does not answer")??;
    if !output.status.success() {
        bail!("pg_dump does not say its version");
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// 16 of `pg_dump (PostgreSQL) 16.14 (Debian 16.14-1)`.
fn major(version: &str) -> Option<u32> {
    version.split_whitespace().find_map(|word| word.split('.').next().filter(|_| word.starts_with(|c: char| c.is_ascii_digit()))?.parse().ok())
}

fn missing(program: &str, error: &std::io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::NotFound => refused(format!(
            "{program} is not in PATH; it comes with PostgreSQL's client programs, which must be at least as new as the server (Debian, Ubuntu: postgresql-client; Fedora: postgresql; Alpine: postgresql-client; Homebrew: libpq)"
        )),
        _ => anyhow::anyhow!("{program} cannot be run: {error}"),
    }
}

/// Whether a line of a dump's table of contents is to be restored. What concerns the schema or the database as a whole belongs to
/// the target and to its own user.
fn is_wanted(line: &str) -> bool {
    let kind = line.split_once(';').and_then(|(_, rest)| rest.trim().splitn(3, ' ').nth(2)).unwrap_or_default();
    !["SCHEMA ", "DEFAULT ACL ", "ACL - SCHEMA ", "COMMENT - SCHEMA ", "EXTENSION ", "COMMENT - EXTENSION "].iter().any(|unwanted| kind.starts_with(unwanted))
}

fn create(path: &Path) -> Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{is_wanted, major};

    #[test]
    fn a_version_is_read() {
        for (told, expected) in [("pg_dump (PostgreSQL) 16.14 (Debian 16.14-1)", Some(16)), ("pg_dump (PostgreSQL) 17devel", None), ("", None)] {
            assert_eq!(major(told), expected, "{told}");
        }
    }

    #[test]
    fn what_belongs_to_the_target_is_not_restored() {
        for line in [
            "5; 2615 2200 SCHEMA - public pg_database_owner",
            "3500; 0 0 ACL - SCHEMA public pg_database_owner",
            "2100; 826 16500 DEFAULT ACL public DEFAULT PRIVILEGES FOR TABLES postgres",
            "2; 3079 16400 EXTENSION - vector ",
            "3501; 0 0 COMMENT - SCHEMA public pg_database_owner",
        ] {
            assert!(!is_wanted(line), "{line}");
        }
        for line in [
            "220; 1259 16600 TABLE public agents postgres",
            "3502; 0 0 ACL public TABLE agents postgres",
            "3400; 0 16600 TABLE DATA public agents postgres",
            "3390; 3256 16700 POLICY public agents tenant_rows postgres",
            "; Archive created at 2026-01-01",
        ] {
            assert!(is_wanted(line), "{line}");
        }
    }
}
