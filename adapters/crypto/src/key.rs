//! The key that secrets are sealed with.

use crate::{random, secret_file::create_secret_file};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use std::{fmt, fs, io, path::Path};
use zeroize::Zeroizing;

/// A shorter passphrase is guessed too easily, whatever is done to it.
const MIN_PASSPHRASE: usize = 12;

/// The key that secrets are sealed with. It is wiped from memory when dropped.
#[derive(Clone)]
pub struct Key(pub(crate) Zeroizing<[u8; 32]>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// Why a text gives no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Neither a key nor a passphrase of some length.
    #[error("the encryption key must be 64 hex characters, 44 characters of base64, 32 bytes, or a passphrase of at least {MIN_PASSPHRASE} characters")]
    TooShort,
    /// A passphrase, but its parameters cannot be kept.
    #[error("cannot keep the passphrase's salt in {path}: {source}")]
    Salt {
        /// The file.
        path: String,
        /// What went wrong.
        source: io::Error,
    },
    /// The file with the passphrase's parameters is damaged.
    #[error("{path} does not hold the salt and parameters of the encryption passphrase: {reason}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// How a passphrase becomes a key. Kept beside the data: without the salt the passphrase is worth nothing.
#[derive(Serialize, Deserialize)]
struct Derivation {
    algorithm: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
}

impl Key {
    /// A key of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key that is written out in `text`: 64 hex characters, 44 characters of base64, or 32 bytes. `None` for a passphrase.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        match text.len() {
            64 => hex::decode_to_slice(text, &mut bytes[..]).ok()?,
            44 => bytes.copy_from_slice(&Zeroizing::new(STANDARD.decode(text).ok().filter(|decoded| decoded.len() == 32)?)),
            32 => bytes.copy_from_slice(text.as_bytes()),
            _ => return None,
        }
        Some(Self(bytes))
    }

    /// The key that is written out in `text`, or else is derived from it with Argon2id. The salt and the parameters are read from
    /// `salt_file`, which is created (0600) at the first use. Takes about a tenth of a second for a passphrase.
    ///
    /// # Errors
    /// If the passphrase is too short, or `salt_file` cannot be created or is damaged.
    pub fn from_text(text: &str, salt_file: &Path) -> Result<Self, KeyError> {
        if let Some(key) = Self::parse(text) {
            return Ok(key);
        }
        if text.chars().count() < MIN_PASSPHRASE {
            return Err(KeyError::TooShort);
        }
        Derivation::at(salt_file)?.derive(text).map_err(|reason| KeyError::Damaged { path: salt_file.display().to_string(), reason })
    }
}

impl Derivation {
    fn at(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::Salt { path: path.display().to_string(), source };
        let damaged = |error: serde_json::Error| KeyError::Damaged { path: path.display().to_string(), reason: error.to_string() };
        if !path.exists() {
            let fresh = Self { algorithm: "argon2id".into(), memory_kib: 64 * 1024, passes: 3, lanes: 1, salt: hex::encode(random::<16>()) };
            create_secret_file(path, &serde_json::to_string(&fresh).map_err(damaged)?).map_err(failed)?;
        }
        serde_json::from_str(&fs::read_to_string(path).map_err(failed)?).map_err(damaged)
    }

    fn derive(&self, passphrase: &str) -> Result<Key, String> {
        if self.algorithm != "argon2id" {
            return Err(format!("unknown algorithm {}", self.algorithm));
        }
        let salt = hex::decode(&self.salt).map_err(|error| error.to_string())?;
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).map_err(|error| error.to_string())?;
        let mut bytes = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), &salt, &mut bytes[..])
            .map_err(|error| error.to_string())?;
        Ok(Key(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<[u8; 32]> {
        Key::parse(text).map(|key| *key.0)
    }

    #[test]
    fn hex_base64_and_raw_bytes_are_keys() {
        assert_eq!(read(&"0f".repeat(32)), Some([0x0f; 32]));
        assert_eq!(read(&STANDARD.encode([7; 32])), Some([7; 32]));
        assert_eq!(read(&"k".repeat(32)), Some([b'k'; 32]));
        assert_eq!(read(&"zz".repeat(32)), None, "64 characters that are not hex");
        assert_eq!(read("correct horse battery staple"), None);
    }

    #[test]
    fn a_passphrase_gives_the_same_key_as_long_as_its_salt_stays() {
        let directory = tempfile::tempdir().unwrap();
        let (salt, other) = (directory.path().join("salt"), directory.path().join("other"));
        let key = |file: &Path| *Key::from_text("correct horse battery staple", file).unwrap().0;
        assert_eq!(key(&salt), key(&salt));
        assert_ne!(key(&salt), key(&other));
        assert_ne!(key(&salt), *Key::from_text("correct horse battery stapler", &salt).unwrap().0);
    }

    #[test]
    fn a_written_out_key_needs_no_salt() {
        let directory = tempfile::tempdir().unwrap();
        let salt = directory.path().join("salt");
        Key::from_text(&"ab".repeat(32), &salt).unwrap();
        assert!(!salt.exists());
    }

    #[test]
    fn short_passphrases_and_damaged_salts_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let salt = directory.path().join("salt");
        assert!(matches!(Key::from_text("secret", &salt), Err(KeyError::TooShort)));
        fs::write(&salt, "{}").unwrap();
        assert!(matches!(Key::from_text("correct horse battery staple", &salt), Err(KeyError::Damaged { .. })));
    }

    #[test]
    fn debug_never_shows_the_key() {
        assert_eq!(format!("{:?}", Key::from_bytes([0x41; 32])), "Key(…)");
    }
}
