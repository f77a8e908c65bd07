//! Which edition this is, and which database stands behind it.

use super::{
    ConfigError,
    environment::Environment,
    schema::{
        gateway::{EditionSection, EditionWord},
        values::Limit,
    },
};
use goclaw_core::settings::Edition;
use secrecy::SecretString;
use std::path::{Path, PathBuf};

/// The edition's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EditionName {
    /// One machine.
    Lite,
    /// Many tenants, many replicas.
    Standard,
}

/// The database.
#[derive(Debug, Clone)]
pub enum Storage {
    /// One file.
    Sqlite {
        /// Where it is.
        path: PathBuf,
    },
    /// A server; `None` if nobody said where, which only commands without a database survive.
    Postgres {
        /// How to reach it. Holds a password.
        dsn: Option<SecretString>,
    },
}

impl EditionName {
    fn parse(text: &str, source: &'static str) -> Result<Self, ConfigError> {
        match text.to_ascii_lowercase().as_str() {
            "lite" => Ok(Self::Lite),
            "standard" => Ok(Self::Standard),
            _ => Err(ConfigError::Value { source_name: source, detail: format!("unknown edition {text:?}; it must be lite or standard") }),
        }
    }

    /// The name in texts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lite => "lite",
            Self::Standard => "standard",
        }
    }
}

/// Chooses the edition and the database. What is said wins: the edition by `GOCLAW_EDITION`, else by the file; the database by
/// `GOCLAW_STORAGE_BACKEND`. Else a DSN means PostgreSQL, and each follows from the other.
///
/// # Errors
/// For names that are unknown.
pub fn choose(section: Option<&EditionSection>, environment: &Environment, data_dir: &Path) -> Result<(EditionName, Storage), ConfigError> {
    let named = match environment.get("GOCLAW_EDITION") {
        Some(name) => Some(EditionName::parse(name, "GOCLAW_EDITION")?),
        None => section.and_then(|section| section.name).map(|word| match word {
            EditionWord::Lite => EditionName::Lite,
            EditionWord::Standard => EditionName::Standard,
        }),
    };
    let dsn = environment.get("GOCLAW_POSTGRES_DSN").map(SecretString::from);
    let postgres = match environment.get("GOCLAW_STORAGE_BACKEND") {
        Some(name) if name.eq_ignore_ascii_case("postgres") => true,
        Some(name) if name.eq_ignore_ascii_case("sqlite") => false,
        Some(name) => {
            let detail = format!("unknown storage backend {name:?}; it must be postgres or sqlite");
            return Err(ConfigError::Value { source_name: "GOCLAW_STORAGE_BACKEND", detail });
        }
        None => dsn.is_some() || named == Some(EditionName::Standard),
    };
    let storage = if postgres {
        Storage::Postgres { dsn }
    } else {
        let path = environment.get("GOCLAW_SQLITE_PATH").map_or_else(|| data_dir.join("goclaw.db"), |path| environment.path(path));
        Storage::Sqlite { path }
    };
    let name = named.unwrap_or(if postgres { EditionName::Standard } else { EditionName::Lite });
    Ok((name, storage))
}

/// The edition as the core knows it. Limits come from the file only; neither edition has any of its own.
#[must_use]
pub fn describe(name: EditionName, section: Option<&EditionSection>) -> Edition {
    let limits = section.map(|section| section.limits.clone()).unwrap_or_default();
    let most = |limit: Option<Limit>| limit.map_or(0, |limit| limit.get().max(0));
    Edition {
        name: name.as_str().to_owned(),
        max_agents: most(limits.max_agents),
        max_teams: most(limits.max_teams),
        max_team_members: most(limits.max_team_members),
        max_channels: limits.max_channels.map(|channels| channels.into_iter().map(|(kind, limit)| (kind, most(Some(limit)))).collect()),
        max_subagent_concurrent: most(limits.max_subagent_concurrent),
        max_subagent_depth: most(limits.max_subagent_depth),
        kg_enabled: false,
        rbac_enabled: true,
        team_full_mode: false,
        vector_search: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EditionName::{Lite, Standard};

    fn chosen<const N: usize>(in_file: Option<&str>, variables: [(&str, &str); N]) -> (EditionName, &'static str) {
        let section: Option<EditionSection> = in_file.map(|name| serde_json::from_value(name.into()).unwrap());
        let (name, storage) = choose(section.as_ref(), &Environment::from(variables), Path::new("/data")).unwrap();
        (name, if matches!(storage, Storage::Postgres { .. }) { "postgres" } else { "sqlite" })
    }

    #[test]
    fn without_a_word_it_is_lite_on_sqlite() {
        assert_eq!(chosen(None, []), (Lite, "sqlite"));
    }

    #[test]
    fn a_dsn_means_standard_on_postgres() {
        assert_eq!(chosen(None, [("GOCLAW_POSTGRES_DSN", "postgres://db")]), (Standard, "postgres"));
    }

    #[test]
    fn what_is_said_wins() {
        assert_eq!(chosen(Some("lite"), [("GOCLAW_POSTGRES_DSN", "postgres://db")]), (Lite, "postgres"));
        assert_eq!(chosen(Some("standard"), []), (Standard, "postgres"));
        assert_eq!(chosen(Some("standard"), [("GOCLAW_EDITION", "lite")]), (Lite, "sqlite"));
        assert_eq!(chosen(None, [("GOCLAW_EDITION", "standard"), ("GOCLAW_STORAGE_BACKEND", "sqlite")]), (Standard, "sqlite"));
        assert_eq!(chosen(None, [("GOCLAW_STORAGE_BACKEND", "sqlite"), ("GOCLAW_POSTGRES_DSN", "x")]), (Lite, "sqlite"));
        assert_eq!(chosen(None, [("GOCLAW_STORAGE_BACKEND", "postgres")]), (Standard, "postgres"));
    }

    #[test]
    fn unknown_names_are_refused_with_their_source() {
        for (name, value) in [("GOCLAW_EDITION", "pro"), ("GOCLAW_STORAGE_BACKEND", "mysql")] {
            let refusal = choose(None, &Environment::from([(name, value)]), Path::new("/data")).unwrap_err().to_string();
            assert!(refusal.contains(name) && refusal.contains(value), "{refusal}");
        }
    }

    #[test]
    fn the_file_sets_limits() {
        let section: Option<EditionSection> =
            Some(serde_json::from_value(serde_json::json!({"name": "lite", "limits": {"max_agents": 3, "max_channels": {"telegram": 1}}})).unwrap());
        let edition = describe(Lite, section.as_ref());
        assert_eq!((edition.name.as_str(), edition.max_agents, edition.max_teams), ("lite", 3, 0));
        assert_eq!(edition.max_channels.unwrap()["telegram"], 1);
        assert_eq!(describe(Lite, None).max_channels, None);
    }
}
