//! Signing in to a person's account at a vendor (OAuth 2): the vendor's authorization server, and where browsers come back to.

use crate::Result;
use async_trait::async_trait;
use secrecy::SecretString;
use std::{any::Any, fmt, sync::Arc};

/// What the authorization server gives.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Opens the account.
    pub access_token: SecretString,
    /// Gets the next grant, in place of the one it was got with.
    pub refresh_token: Option<SecretString>,
    /// Says whose account it is.
    pub id_token: Option<SecretString>,
    /// For how long the access token is good, in seconds.
    pub expires_in: Option<i64>,
    /// What it opens.
    pub scope: String,
}

/// Why there is no grant. The text is ours: what the server answered may hold what is nobody's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoGrant(pub String);

impl fmt::Display for NoGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoGrant {}

/// A vendor's authorization server.
#[async_trait]
pub trait AuthorizationServer: Send + Sync {
    /// Where people sign in, without a query.
    fn authorize_url(&self) -> &str;

    /// Asks for a grant with these values (`grant_type`, `code`, …).
    ///
    /// # Errors
    /// [`NoGrant`] if the server refuses, says nothing within 30 s or cannot be understood.
    async fn grant(&self, form: &[(&'static str, SecretString)]) -> Result<Grant, NoGrant>;
}

/// Takes in browsers that come back.
#[async_trait]
pub trait Reception: Send + Sync {
    /// A browser came back with this query. Answers with why that did not sign anybody in, for the person before it.
    ///
    /// # Errors
    /// The reason, in English.
    async fn returned(&self, query: &str) -> Result<(), String>;
}

/// Listens until it is dropped.
pub struct Listening(#[expect(dead_code, reason = "it is held to be dropped")] Box<dyn Any + Send + Sync>);

impl Listening {
    /// Listens until `held` is dropped.
    #[must_use]
    pub fn new(held: impl Any + Send + Sync) -> Self {
        Self(Box::new(held))
    }
}

/// Where the authorization server sends browsers: a place on this machine.
#[async_trait]
pub trait ReturnPlace: Send + Sync {
    /// Its address.
    fn redirect_uri(&self) -> String;

    /// Listens there, on the runtime that this is called on.
    ///
    /// # Errors
    /// `Unavailable` if somebody else does.
    async fn listen(&self, reception: Arc<dyn Reception>) -> Result<Listening>;
}
