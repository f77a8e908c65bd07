//! The tokens of accounts that people signed in to: one holder per account in the process, and one at a time over all processes that
//! gets a new token, because what it is got with is good for one use.

use super::claims::Claims;
use crate::{
    pools::Standings,
    providers::{COLUMN, TABLE},
};
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use goclaw_ports::{
    Error, ErrorKind, JsonObject, Result, TenantId,
    clock::Clock,
    llm::{Bearer, Credentials, LlmError, LlmErrorKind},
    locks::{Held, Locks},
    message,
    oauth::{AuthorizationServer, Grant},
    providers::{ProviderPatch, ProviderRow, ProviderStore},
    sealer::{Place, Sealed, Sealer},
    secrets::SecretStore,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::runtime::Handle;

/// The type of providers that are such accounts.
pub(crate) const CHATGPT: &str = "chatgpt_oauth";
/// Settings of such a provider that are ours and not its admin's.
pub(crate) const OWN_SETTINGS: [&str; 4] = ["expires_at", "scopes", "account_id", "plan_type"];
/// As which application we ask.
pub(super) const CLIENT_ID: &str = "app_EMoamEEZ73f0CkXaXp7hrann";
/// A token that is good for less than this is replaced.
const MARGIN: TimeDelta = TimeDelta::minutes(5);
/// How long a token is good that does not say.
const USUAL_LIFE: i64 = 3600;
/// After a failure nobody asks the server again for this long.
const AFTER_FAILURE: TimeDelta = TimeDelta::seconds(30);

/// Where an account's secrets are kept.
pub(super) fn refresh_name(provider: &str) -> String {
    format!("oauth.{provider}.refresh_token")
}

/// A token, and how long it is good.
#[derive(Clone)]
pub(crate) struct Token {
    pub access: SecretString,
    pub account_id: Option<String>,
    pub plan_type: Option<String>,
    pub expires_at: DateTime<Utc>,
}

/// Every account's tokens.
pub(crate) struct Tokens {
    pub providers: Arc<dyn ProviderStore>,
    pub secrets: Arc<dyn SecretStore>,
    pub sealer: Arc<dyn Sealer>,
    pub locks: Arc<dyn Locks>,
    pub server: Arc<dyn AuthorizationServer>,
    pub standings: Arc<Standings>,
    pub clock: Arc<dyn Clock>,
    /// Where tokens are got: it goes on, whoever has stopped waiting.
    pub runtime: Handle,
    pub accounts: Mutex<HashMap<(TenantId, String), Account>>,
}

/// The holder of one account's token.
#[derive(Clone)]
pub(crate) struct Account(Arc<Holder>);

struct Holder {
    tokens: Arc<Tokens>,
    tenant: TenantId,
    provider: String,
    /// Held while a token is got, so that all who wait get the same.
    turn: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    token: Option<Token>,
    failed_at: Option<DateTime<Utc>>,
}

impl Tokens {
    /// The holder of an account's token.
    pub fn account(self: &Arc<Self>, tenant: TenantId, provider: &str) -> Account {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let holder = Holder { tokens: self.clone(), tenant, provider: provider.to_owned(), turn: tokio::sync::Mutex::default(), known: Mutex::default() };
            Account(Arc::new(holder))
        };
        accounts.entry((tenant, provider.to_owned())).or_insert_with(new).clone()
    }

    /// Reads an account's row again before its token is used the next time.
    pub fn forget(&self, tenant: TenantId, provider: &str) {
        let account = self.accounts.lock().unwrap_or_else(PoisonError::into_inner).get(&(tenant, provider.to_owned())).cloned();
        if let Some(account) = account {
            *account.known() = Known::default();
        }
        self.standings.forget(tenant, provider);
    }

    /// Forgets an account that is gone.
    pub fn drop_account(&self, tenant: TenantId, provider: &str) {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).remove(&(tenant, provider.to_owned()));
        self.standings.forget(tenant, provider);
    }

    /// Keeps others from getting tokens for, signing in to or renaming this account.
    pub async fn lock(&self, tenant: TenantId, provider: &str) -> Result<Held> {
        self.locks.lock(tenant, &format!("account {provider}")).await
    }

    /// The tenant's row of this name, if it is such an account.
    pub async fn row(&self, tenant: TenantId, provider: &str) -> Result<Option<ProviderRow>> {
        Ok(self.providers.find_by_name(tenant, provider).await?.filter(|row| row.provider_type == CHATGPT))
    }

    /// The token that a row holds. One that does not say how long it is good may have ended.
    pub fn stored(&self, row: &ProviderRow) -> Result<Option<Token>> {
        let id = row.id.to_string();
        let Some(sealed) = &row.api_key else { return Ok(None) };
        let access = self.sealer.open(Place { tenant: row.tenant_id, table: TABLE, column: COLUMN, row: &id }, sealed)?;
        if access.expose_secret().is_empty() {
            return Ok(None);
        }
        let said = |key: &str| row.settings.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        let told = Claims { account_id: said("account_id"), plan_type: said("plan_type") }.or(Claims::of(access.expose_secret()));
        let expires_at = row.settings.get("expires_at").and_then(Value::as_i64).and_then(|at| DateTime::from_timestamp(at, 0));
        let Claims { account_id, plan_type } = told;
        Ok(Some(Token { access, account_id, plan_type, expires_at: expires_at.unwrap_or(DateTime::UNIX_EPOCH) }))
    }

    /// Keeps what the server gave: the refresh token first, since the one before is used up. `patch` is what else changes in the row.
    /// `None` if the row is gone.
    pub async fn keep(&self, row: &ProviderRow, grant: &Grant, patch: ProviderPatch) -> Result<Option<ProviderRow>> {
        self.keep_refresh_token(row.tenant_id, &row.name, grant).await?;
        let id = row.id.to_string();
        let api_key = self.sealer.seal(Place { tenant: row.tenant_id, table: TABLE, column: COLUMN, row: &id }, &grant.access_token)?;
        let patch = ProviderPatch { api_key: Some(api_key), set: self.settings_of(grant), ..patch };
        self.providers.update(row.tenant_id, row.id, &patch, self.clock.now()).await
    }

    /// Keeps the refresh token of a grant, if there is one.
    pub async fn keep_refresh_token(&self, tenant: TenantId, provider: &str, grant: &Grant) -> Result<()> {
        let Some(token) = &grant.refresh_token else { return Ok(()) };
        self.put_secret(tenant, &refresh_name(provider), token).await
    }

    /// The settings that a grant makes.
    pub fn settings_of(&self, grant: &Grant) -> JsonObject {
        let life = grant.expires_in.filter(|seconds| *seconds > 0).unwrap_or(USUAL_LIFE);
        let mut settings = JsonObject::from_iter([("expires_at".to_owned(), (self.clock.now().timestamp().saturating_add(life)).into())]);
        let id_claims = grant.id_token.as_ref().map(|token| Claims::of(token.expose_secret())).unwrap_or_default();
        let Claims { account_id, plan_type } = id_claims.or(Claims::of(grant.access_token.expose_secret()));
        let scopes = Some(grant.scope.clone()).filter(|scope| !scope.is_empty());
        let said = [("scopes", scopes), ("account_id", account_id), ("plan_type", plan_type)];
        settings.extend(said.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.into()))));
        settings
    }

    /// A secret of an account.
    pub async fn secret(&self, tenant: TenantId, name: &str) -> Result<Option<SecretString>> {
        let sealed = self.secrets.get(tenant, name).await?;
        sealed.map(|sealed: Sealed| self.sealer.open(secret_place(tenant, name), &sealed)).transpose()
    }

    /// Keeps a secret of an account.
    pub async fn put_secret(&self, tenant: TenantId, name: &str, secret: &SecretString) -> Result<()> {
        let sealed = self.sealer.seal(secret_place(tenant, name), secret)?;
        self.secrets.put(tenant, name, &sealed, self.clock.now()).await
    }

    /// Moves the refresh token of an account that gets another name: copies it, has the row renamed, removes the old one. What is left
    /// behind if that breaks off in between opens nothing that the account's tenant could not open before.
    pub async fn rename<T>(&self, tenant: TenantId, from: &str, to: &str, rename: impl Future<Output = Result<T>>) -> Result<T> {
        let _held = self.lock(tenant, from).await?;
        if self.providers.find_by_name(tenant, to).await?.is_some() {
            return Err(Error::already_exists("provider", to));
        }
        let token = self.secret(tenant, &refresh_name(from)).await?;
        if let Some(token) = &token {
            self.put_secret(tenant, &refresh_name(to), token).await?;
        }
        let renamed = rename.await;
        if token.is_some() {
            let unused = if renamed.is_ok() { from } else { to };
            self.secrets.delete(tenant, &refresh_name(unused)).await?;
        }
        self.drop_account(tenant, from);
        renamed
    }
}

/// Where such a secret is kept.
fn secret_place(tenant: TenantId, name: &str) -> Place<'_> {
    Place { tenant, table: "config_secrets", column: "value", row: name }
}

impl Account {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token that is good now, as far as is known; a new one if `anew`. If none can be got, the old one, which may still be good.
    ///
    /// # Errors
    /// `NotFound` without such an account, `Precondition` without any token.
    pub async fn token(&self, anew: bool) -> Result<Token> {
        if let Some(token) = self.good().filter(|_| !anew) {
            return Ok(token);
        }
        // A token that was got and not kept would lock the account out, so this ends with nobody's connection.
        let account = self.clone();
        self.0.tokens.runtime.spawn(async move { account.got(anew).await }).await.map_err(Error::internal)?
    }

    /// What is at hand, if it can be used.
    fn good(&self) -> Option<Token> {
        let (known, now) = (self.known(), self.0.tokens.clock.now());
        let failed_lately = known.failed_at.is_some_and(|at| now - at < AFTER_FAILURE);
        known.token.clone().filter(|token| failed_lately || is_fresh(token, now))
    }

    async fn got(&self, anew: bool) -> Result<Token> {
        let Holder { tokens, tenant, provider, turn, .. } = &*self.0;
        let _turn = turn.lock().await;
        if let Some(token) = self.good().filter(|_| !anew) {
            return Ok(token);
        }
        // Another process may have got one.
        if let Some(token) = self.read().await?.1.filter(|token| !anew && is_fresh(token, tokens.clock.now())) {
            return Ok(self.remember(token));
        }
        let _held = tokens.lock(*tenant, provider).await?;
        let (row, stored) = self.read().await?;
        if let Some(token) = stored.clone().filter(|token| !anew && is_fresh(token, tokens.clock.now())) {
            return Ok(self.remember(token));
        }
        match self.refreshed(&row).await {
            Ok(token) => {
                tokens.standings.forget(*tenant, provider);
                Ok(self.remember(token))
            }
            Err(error) => {
                tracing::warn!(provider, %tenant, cause = error.cause.as_deref().map(tracing::field::display), %error, "no new token was got for the account");
                *self.known() = Known { token: stored.clone(), failed_at: Some(tokens.clock.now()) };
                stored.ok_or_else(signed_out)
            }
        }
    }

    async fn read(&self) -> Result<(ProviderRow, Option<Token>)> {
        let Holder { tokens, tenant, provider, .. } = &*self.0;
        let row = tokens.row(*tenant, provider).await?.ok_or_else(|| Error::not_found("provider", provider))?;
        let token = tokens.stored(&row)?;
        Ok((row, token))
    }

    fn remember(&self, token: Token) -> Token {
        *self.known() = Known { token: Some(token.clone()), failed_at: None };
        token
    }

    async fn refreshed(&self, row: &ProviderRow) -> Result<Token> {
        let tokens = &self.0.tokens;
        let refresh_token = tokens.secret(row.tenant_id, &refresh_name(&row.name)).await?.ok_or_else(signed_out)?;
        let form: [(&'static str, SecretString); 3] =
            [("grant_type", "refresh_token".into()), ("client_id", CLIENT_ID.into()), ("refresh_token", refresh_token)];
        let grant = tokens.server.grant(&form).await.map_err(|error| signed_out().because(error))?;
        let row = tokens.keep(row, &grant, ProviderPatch::default()).await?.ok_or_else(|| Error::not_found("provider", &row.name))?;
        tokens.stored(&row)?.ok_or_else(signed_out)
    }
}

fn is_fresh(token: &Token, now: DateTime<Utc>) -> bool {
    token.expires_at - now >= MARGIN
}

/// Nobody is signed in, or not any more.
fn signed_out() -> Error {
    Error::new(ErrorKind::Precondition, message::signed_out())
}

#[async_trait]
impl Credentials for Account {
    async fn bearer(&self) -> Result<Bearer, LlmError> {
        match self.token(false).await {
            Ok(Token { access: token, account_id, .. }) => Ok(Bearer { token, account_id }),
            Err(error) => {
                let kind = if matches!(error.kind, ErrorKind::Precondition | ErrorKind::NotFound) { LlmErrorKind::Auth } else { LlmErrorKind::Other };
                Err(LlmError { kind, status: None, text: format!("{}: {}", self.0.provider, error.message), retry_after: None })
            }
        }
    }
}
