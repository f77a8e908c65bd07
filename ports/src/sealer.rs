//! Secrets at rest.

use crate::{Result, TenantId};
use async_trait::async_trait;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// A sealed secret: text that can be stored and shown in a dump, but not opened without the key and its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(pub String);

/// Where a secret is kept. It is sealed in: a ciphertext copied to another place does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// Whose it is.
    pub tenant: TenantId,
    /// Table.
    pub table: &'static str,
    /// Column.
    pub column: &'static str,
    /// The row's identity in that table.
    pub row: &'a str,
}

/// Seals and opens secrets.
pub trait Sealer: Send + Sync {
    /// Seals `secret` for `place`.
    ///
    /// # Errors
    /// `Internal` if the cipher fails.
    fn seal(&self, place: Place<'_>, secret: &SecretString) -> Result<Sealed>;

    /// Opens what was sealed for `place`.
    ///
    /// # Errors
    /// `Internal` if the key is another, or the text was changed or moved.
    fn open(&self, place: Place<'_>, sealed: &Sealed) -> Result<SecretString>;
}

/// A sealed secret and where it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// Table.
    pub table: &'static str,
    /// Column.
    pub column: &'static str,
    /// The row's identity in that table.
    pub row: String,
    /// The secret.
    pub sealed: Sealed,
}

impl SealedRow {
    /// The place that the secret is sealed for.
    #[must_use]
    pub fn place(&self) -> Place<'_> {
        Place { tenant: self.tenant, table: self.table, column: self.column, row: &self.row }
    }
}

/// Every sealed secret of the database, for changing the key.
#[async_trait]
pub trait SealedRows: Send + Sync {
    /// All of them.
    async fn all_tenants_sealed(&self) -> Result<Vec<SealedRow>>;

    /// Replaces secrets, all in one step. One that was changed since it was read is left alone. Answers with how many were replaced.
    async fn all_tenants_reseal(&self, changes: &[(SealedRow, Sealed)]) -> Result<usize>;
}
