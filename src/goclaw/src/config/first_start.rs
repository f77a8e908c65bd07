//! What a first start leaves behind: the data directory, and in lite the encryption key and the gateway token.

use super::{Config, edition::EditionName};
use anyhow::{Context, Result, bail};
use goclaw_crypto::{Key, RowSealer, create_secret_file, generate_key, generate_token};
use secrecy::{ExposeSecret, SecretString};
use std::{
    fs::{self, DirBuilder},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Where the gateway token was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// `GOCLAW_GATEWAY_TOKEN`.
    Environment,
    /// The configuration file or the secret store.
    Configuration,
    /// A file of the data directory.
    File(PathBuf),
    /// Nowhere: development mode.
    None,
}

impl Config {
    /// The file with the encryption key.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.data_dir.join("encryption.key")
    }

    /// The file with the earlier encryption key, while secrets are sealed anew.
    #[must_use]
    pub fn previous_key_file(&self) -> PathBuf {
        self.data_dir.join("encryption.key.previous")
    }

    /// The file with the gateway token.
    #[must_use]
    pub fn token_file(&self) -> PathBuf {
        self.data_dir.join("gateway.token")
    }

    /// The salt of an encryption passphrase.
    #[must_use]
    pub fn salt_file(&self) -> PathBuf {
        self.data_dir.join("encryption.salt")
    }

    /// Makes the data directory (0700) and the workspaces' directory.
    ///
    /// # Errors
    /// If they cannot be made.
    pub fn make_directories(&self) -> Result<()> {
        for directory in [&self.data_dir, &self.workspace] {
            DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        }
        Ok(())
    }

    /// What seals secrets: with the environment's key, else with the key file. Lite makes the file if it is missing and
    /// nothing was sealed before (`sealed_before`).
    ///
    /// # Errors
    /// If there is no key, or it is none.
    pub fn sealer(&self, sealed_before: bool) -> Result<RowSealer> {
        let (key, previous) = self.encryption_keys();
        let key = match key {
            Some(key) => key,
            None => self.key_in_file(sealed_before)?,
        };
        // A change of the key that was interrupted left the earlier key there.
        let previous = match previous {
            Some(previous) => Some(previous),
            None => read_secret_file(&self.previous_key_file())?,
        };
        let parse = |text: &SecretString| Key::from_text(text.expose_secret(), &self.salt_file()).context("the encryption key cannot be used");
        let sealer = RowSealer::new(&parse(&key)?);
        Ok(match previous {
            Some(previous) => sealer.with_previous(&parse(&previous)?),
            None => sealer,
        })
    }

    fn key_in_file(&self, sealed_before: bool) -> Result<SecretString> {
        let path = self.key_file();
        if let Some(key) = read_secret_file(&path)? {
            return Ok(key);
        }
        if sealed_before {
            bail!(
                "the database holds sealed secrets, but their key is gone: restore {} or set GOCLAW_ENCRYPTION_KEY to the key that was used before",
                path.display()
            );
        }
        if self.edition == EditionName::Standard {
            bail!(
                "the standard edition needs an encryption key: set GOCLAW_ENCRYPTION_KEY to 64 hex characters (openssl rand -hex 32), the same for all replicas, and keep a copy"
            );
        }
        create_secret_file(&path, &generate_key()).with_context(|| format!("cannot write {}", path.display()))?;
        read_secret_file(&path)?.with_context(|| format!("{} is empty", path.display()))
    }

    /// Makes sure that there is a gateway token, if there should be one: what is configured, else the token file, which lite
    /// makes if it is missing.
    ///
    /// # Errors
    /// If the file cannot be read or made.
    pub fn settle_token(&mut self) -> Result<TokenSource> {
        if self.token().is_some() {
            return Ok(if self.token_from_environment() { TokenSource::Environment } else { TokenSource::Configuration });
        }
        let path = self.token_file();
        if self.edition == EditionName::Lite {
            create_secret_file(&path, &generate_token()).with_context(|| format!("cannot write {}", path.display()))?;
        }
        match read_secret_file(&path)? {
            Some(token) => {
                self.set_token(token);
                Ok(TokenSource::File(path))
            }
            None if self.edition == EditionName::Lite => bail!("{} is empty: remove it, and the next start makes a new one", path.display()),
            None => Ok(TokenSource::None),
        }
    }
}

/// The secret in a file, without the line end; `None` if there is no file, or nothing in it.
///
/// # Errors
/// If the file cannot be read.
pub fn read_secret_file(path: &Path) -> Result<Option<SecretString>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim()).filter(|text| !text.is_empty()).map(SecretString::from)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Whether others than the owner may read a file; `None` if it is not there.
#[must_use]
pub fn readable_by_others(path: &Path) -> Option<bool> {
    fs::metadata(path).ok().map(|metadata| metadata.permissions().mode() & 0o077 != 0)
}
