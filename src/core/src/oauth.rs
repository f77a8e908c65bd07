//! Accounts that people sign in to instead of giving a key.

mod claims;
mod flow;
mod quota;
mod tokens;

pub(crate) use quota::Quotas;
pub use quota::{CoreUsage, CoreWindow, QuotaEnvelope, QuotaWindow};
pub(crate) use tokens::{CHATGPT, OWN_SETTINGS, Tokens};

use crate::{
    agents::is_slug,
    audit::Audit,
    caller::{Access, Caller},
    coherence::{Coherence, Kind},
    presets,
    providers::StoredProviders,
};
use async_trait::async_trait;
use flow::{Flow, Returned, flow_name};
use goclaw_ports::{
    Error, ErrorKind, ProviderId, Result, TenantId,
    clock::{Clock, Ids},
    llm::ProviderFactory,
    message,
    oauth::{Grant, Listening, Reception, ReturnPlace},
    providers::{ProviderPatch, ProviderRow},
    roles::Role,
};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio_util::sync::CancellationToken;

/// Signing in and out.
pub struct OAuth {
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) stored: Arc<StoredProviders>,
    pub(crate) factory: Arc<dyn ProviderFactory>,
    pub(crate) place: Arc<dyn ReturnPlace>,
    pub(crate) coherence: Arc<Coherence>,
    pub(crate) audit: Audit,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) desk: Desk,
}

/// Who is awaited, and whether anybody listens for them.
#[derive(Default)]
pub(crate) struct Desk {
    /// By their `state`.
    awaited: Mutex<HashMap<String, Awaited>>,
    /// Held while the place is opened or closed.
    listening: tokio::sync::Mutex<Option<Listening>>,
}

#[derive(Clone)]
struct Awaited {
    caller: Caller,
    provider: String,
    over: CancellationToken,
}

/// What a sign-in begins with. Both may be left out.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SignIn {
    /// For people; at most 255 characters.
    pub display_name: String,
    /// Another backend than the usual one.
    pub api_base: String,
}

/// Whether somebody is signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SignInStatus {
    /// Whether they are.
    pub authenticated: bool,
    /// The account's provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_name: Option<String>,
    /// Why they are not any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a sign-in goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Started {
    /// Where to go with a browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_url: Option<String>,
    /// `already_authenticated`, if there is nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<&'static str>,
    /// The account's provider.
    pub provider_name: String,
}

/// Who signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SignedIn {
    /// Always true.
    pub authenticated: bool,
    /// The account's provider.
    pub provider_name: String,
    /// Its id.
    pub provider_id: ProviderId,
}

impl OAuth {
    /// Whether somebody is signed in, by getting a token.
    ///
    /// # Errors
    /// `Forbidden` below admin, `Invalid` for a bad name, `AlreadyExists` for one of another type.
    pub async fn status(&self, caller: &Caller, provider: &str) -> Result<SignInStatus> {
        let none = SignInStatus { authenticated: false, provider_name: None, error: None };
        let Some(row) = self.account(caller, provider, "status").await? else { return Ok(none) };
        if self.tokens.stored(&row)?.is_none() {
            return Ok(none);
        }
        Ok(match self.tokens.account(caller.tenant, provider).token(false).await {
            Ok(_) => SignInStatus { authenticated: true, provider_name: Some(row.name), error: None },
            Err(_) => SignInStatus { error: Some("token invalid or expired".to_owned()), ..none },
        })
    }

    /// What the account has used up and may still use.
    ///
    /// # Errors
    /// `Forbidden` below admin, `Invalid` for a bad name, `NotFound`, `AlreadyExists` for a provider of another type. Whatever the
    /// vendor says is no error.
    pub async fn quota(&self, caller: &Caller, provider: &str) -> Result<QuotaEnvelope> {
        let row = match self.account(caller, provider, "quota").await? {
            None if caller.tenant != TenantId::MASTER => typed(self.tokens.providers.find_by_name(TenantId::MASTER, provider).await?)?,
            found => found,
        };
        let row = row.ok_or_else(|| Error::not_found("provider", provider))?;
        Ok(self.quotas.read(&row).await)
    }

    /// Begins a sign-in, or goes on with the caller's own.
    ///
    /// # Errors
    /// `Forbidden` below admin, `Invalid` for bad fields, `AlreadyExists` for a provider of another type, `Precondition` while another
    /// user signs in to this one, `Upstream` if nobody can listen for the browser.
    pub async fn start(self: &Arc<Self>, caller: &Caller, provider: &str, sign_in: SignIn) -> Result<Started> {
        let row = self.account(caller, provider, "start").await?;
        crate::providers::check_account(&sign_in.display_name, &sign_in.api_base, &*self.factory)?;
        let this = (self.clone(), caller.clone(), provider.to_owned());
        let begin = async move {
            let (oauth, caller, provider) = this;
            oauth.begin(&caller, &provider, row, sign_in).await
        };
        // Who listens must not end with the connection of whoever asked.
        self.tokens.runtime.spawn(begin).await.map_err(Error::internal)?
    }

    async fn begin(self: Arc<Self>, caller: &Caller, provider: &str, row: Option<ProviderRow>, sign_in: SignIn) -> Result<Started> {
        if let Some(row) = row
            && self.tokens.stored(&row)?.is_some()
            && let Ok(token) = self.tokens.account(caller.tenant, provider).token(false).await
            && token.expires_at > self.clock.now()
        {
            return Ok(Started { auth_url: None, status: Some("already_authenticated"), provider_name: provider.to_owned() });
        }
        let _held = self.tokens.lock(caller.tenant, provider).await?;
        let flow = match self.flow(caller.tenant, provider).await? {
            Some(flow) if flow.user == *caller.user => flow,
            Some(_) => return Err(Error::new(ErrorKind::Precondition, message::oauth_flow_active())),
            None => {
                let flow = Flow::begin(self.tokens.server.authorize_url(), &self.place.redirect_uri(), &caller.user, self.clock.now())?;
                let flow = Flow { display_name: sign_in.display_name, api_base: sign_in.api_base, ..flow };
                let text = SecretString::from(serde_json::to_string(&flow).map_err(Error::internal)?);
                self.tokens.put_secret(caller.tenant, &flow_name(provider), &text).await?;
                flow
            }
        };
        let auth_url = Some(flow.auth_url.clone());
        if let Err(error) = self.clone().listen_for(caller, provider, &flow).await {
            tracing::warn!(%error, cause = error.cause.as_deref().map(tracing::field::display), "nobody can listen for browsers that sign in");
            self.end_flow(caller.tenant, provider).await?;
            let port = self.place.redirect_uri();
            let port = url::Url::parse(&port).ok().and_then(|url| url.port()).unwrap_or_default();
            return Err(Error::new(ErrorKind::Upstream, message::oauth_port(port)).because(error));
        }
        self.audit.record(caller, "oauth.login_started", "oauth", "openai", None).await;
        Ok(Started { auth_url, status: None, provider_name: provider.to_owned() })
    }

    /// Ends a sign-in with the address that the browser was sent to.
    ///
    /// # Errors
    /// `Forbidden` below admin; `Invalid` for a bad address, one of another sign-in, or if the caller has not begun one;
    /// `AlreadyExists` for a provider of another type; `Upstream` if the token could not be kept.
    pub async fn callback(self: &Arc<Self>, caller: &Caller, provider: &str, redirect_url: &str) -> Result<SignedIn> {
        self.account(caller, provider, "callback").await?;
        if redirect_url.trim().is_empty() {
            return Err(Error::required("redirect_url"));
        }
        let this = (self.clone(), caller.clone(), provider.to_owned(), redirect_url.to_owned());
        let end = async move {
            let (oauth, caller, provider, redirect_url) = this;
            let _held = oauth.tokens.lock(caller.tenant, &provider).await?;
            let flow = oauth.flow(caller.tenant, &provider).await?.filter(|flow| flow.user == *caller.user);
            let flow = flow.ok_or_else(|| Error::invalid(message::oauth_no_flow()))?;
            let returned = Returned::of_url(&redirect_url)?;
            let code = returned.code()?;
            if !flow.began(&returned) {
                return Err(Error::invalid(message::oauth_bad_state()));
            }
            oauth.complete(&caller, &provider, &flow, code).await
        };
        self.tokens.runtime.spawn(end).await.map_err(Error::internal)?
    }

    /// Signs out and deletes the account's provider. Nobody being signed in is not an error.
    ///
    /// # Errors
    /// `Forbidden` below admin, `Invalid` for a bad name, `AlreadyExists` for a provider of another type.
    pub async fn logout(&self, caller: &Caller, provider: &str) -> Result<()> {
        self.account(caller, provider, "logout").await?;
        let held = self.tokens.lock(caller.tenant, provider).await?;
        let deleted = match self.tokens.row(caller.tenant, provider).await? {
            Some(row) => self.tokens.providers.delete(caller.tenant, row.id).await?.is_some(),
            None => false,
        };
        self.forget(caller.tenant, provider).await?;
        drop(held);
        if deleted {
            self.stored.refresh(caller.tenant, provider).await;
            self.coherence.changed(caller.tenant, Kind::Providers, provider);
        }
        self.audit.record(caller, "oauth.logout", "oauth", "openai", None).await;
        Ok(())
    }

    /// Forgets what is kept of an account beside its row.
    pub(crate) async fn forget(&self, tenant: TenantId, provider: &str) -> Result<()> {
        self.tokens.secrets.delete(tenant, &tokens::refresh_name(provider)).await?;
        self.end_flow(tenant, provider).await?;
        self.tokens.drop_account(tenant, provider);
        Ok(())
    }

    /// The caller's provider of this name, if there is one.
    async fn account(&self, caller: &Caller, provider: &str, what: &str) -> Result<Option<ProviderRow>> {
        caller.require(Role::Admin, Access::Manage, &format!("/v1/auth/chatgpt/{{provider}}/{what}"))?;
        if !is_slug(provider) || provider.len() > 50 {
            return Err(Error::invalid(message::invalid_slug("provider")));
        }
        typed(self.tokens.providers.find_by_name(caller.tenant, provider).await?)
    }

    /// The sign-in to this provider that goes on.
    async fn flow(&self, tenant: TenantId, provider: &str) -> Result<Option<Flow>> {
        let Some(text) = self.tokens.secret(tenant, &flow_name(provider)).await? else { return Ok(None) };
        let flow: Flow = serde_json::from_str(text.expose_secret()).map_err(|_| Error::internal("a sign-in that goes on cannot be read"))?;
        Ok(Some(flow).filter(|flow| flow.expires_at > self.clock.now()))
    }

    async fn end_flow(&self, tenant: TenantId, provider: &str) -> Result<()> {
        self.tokens.secrets.delete(tenant, &flow_name(provider)).await?;
        let over = |awaited: &Awaited| awaited.caller.tenant == tenant && awaited.provider == provider;
        self.awaited().values().filter(|awaited| over(awaited)).for_each(|awaited| awaited.over.cancel());
        Ok(())
    }

    fn awaited(&self) -> MutexGuard<'_, HashMap<String, Awaited>> {
        self.desk.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the browser of this sign-in in when it comes back, until the sign-in is over.
    async fn listen_for(self: Arc<Self>, caller: &Caller, provider: &str, flow: &Flow) -> Result<()> {
        let awaited = Awaited { caller: caller.clone(), provider: provider.to_owned(), over: CancellationToken::new() };
        if self.awaited().contains_key(&flow.state) {
            return Ok(());
        }
        let over = awaited.over.clone();
        self.awaited().insert(flow.state.clone(), awaited);
        let opened = self.open().await;
        let (state, life) = (flow.state.clone(), (flow.expires_at - self.clock.now()).to_std().unwrap_or_default());
        if opened.is_err() {
            over.cancel();
        }
        let runtime = self.tokens.runtime.clone();
        runtime.spawn(async move {
            let _ = tokio::time::timeout(life, over.cancelled()).await;
            self.awaited().remove(&state);
            self.close_if_idle().await;
        });
        opened
    }

    async fn open(self: &Arc<Self>) -> Result<()> {
        let mut listening = self.desk.listening.lock().await;
        if listening.is_none() {
            *listening = Some(self.place.listen(self.clone()).await?);
        }
        Ok(())
    }

    async fn close_if_idle(&self) {
        let mut listening = self.desk.listening.lock().await;
        if self.awaited().is_empty() {
            *listening = None;
        }
    }

    /// Asks for the grant and keeps it. The account's lock must be held.
    async fn complete(&self, caller: &Caller, provider: &str, flow: &Flow, code: &str) -> Result<SignedIn> {
        let form: [(&'static str, SecretString); 5] = [
            ("grant_type", "authorization_code".into()),
            ("client_id", tokens::CLIENT_ID.into()),
            ("code", code.into()),
            ("redirect_uri", self.place.redirect_uri().into()),
            ("code_verifier", flow.verifier.as_str().into()),
        ];
        let grant = self.tokens.server.grant(&form).await.map_err(|error| Error::invalid(message::oauth_exchange_failed(error)))?;
        let row = self.keep(caller.tenant, provider, flow, &grant).await.map_err(|error| {
            tracing::error!(%error, cause = error.cause.as_deref().map(tracing::field::display), "the token of a sign-in could not be kept");
            if error.kind == ErrorKind::AlreadyExists { error } else { Error::new(ErrorKind::Upstream, message::oauth_not_saved()).because(error) }
        })?;
        self.end_flow(caller.tenant, provider).await?;
        self.tokens.forget(caller.tenant, provider);
        self.stored.refresh(caller.tenant, provider).await;
        self.coherence.changed(caller.tenant, Kind::Providers, provider);
        self.audit.record(caller, "oauth.login_completed", "oauth", "openai", None).await;
        Ok(SignedIn { authenticated: true, provider_name: row.name, provider_id: row.id })
    }

    async fn keep(&self, tenant: TenantId, provider: &str, flow: &Flow, grant: &Grant) -> Result<ProviderRow> {
        let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let row = match typed(self.tokens.providers.find_by_name(tenant, provider).await?)? {
            Some(row) => row,
            None => {
                let row = ProviderRow {
                    id: ProviderId(self.ids.row()),
                    tenant_id: tenant,
                    name: provider.to_owned(),
                    display_name: String::new(),
                    provider_type: CHATGPT.to_owned(),
                    api_base: presets::preset(CHATGPT).map(|preset| preset.api_base).unwrap_or_default().to_owned(),
                    api_key: None,
                    enabled: false,
                    settings: Default::default(),
                    created_at: self.clock.now(),
                    updated_at: self.clock.now(),
                };
                self.tokens.providers.insert(tenant, &row).await?;
                row
            }
        };
        let patch = ProviderPatch { enabled: Some(true), display_name: given(&flow.display_name), api_base: given(&flow.api_base), ..ProviderPatch::default() };
        self.tokens.keep(&row, grant, patch).await?.ok_or_else(|| Error::not_found("provider", provider))
    }
}

/// A row that may be an account's.
///
/// # Errors
/// `AlreadyExists` if it is of another type.
fn typed(row: Option<ProviderRow>) -> Result<Option<ProviderRow>> {
    match row {
        Some(row) if row.provider_type != CHATGPT => Err(Error::new(ErrorKind::AlreadyExists, message::provider_of_other_type(row.name, row.provider_type))),
        row => Ok(row),
    }
}

#[async_trait]
impl Reception for OAuth {
    async fn returned(&self, query: &str) -> Result<(), String> {
        let returned = Returned::parse(query);
        let found = self.awaited().get(&returned.state).cloned();
        let Some(Awaited { caller, provider, .. }) = found else { return Err(message::oauth_bad_state().to_string()) };
        let end = async {
            let _held = self.tokens.lock(caller.tenant, &provider).await?;
            let flow = self.flow(caller.tenant, &provider).await?.filter(|flow| flow.began(&returned));
            let flow = flow.ok_or_else(|| Error::invalid(message::oauth_no_flow()))?;
            match returned.code() {
                Ok(code) => self.complete(&caller, &provider, &flow, code).await,
                // The person said no, so nobody need be awaited any more.
                Err(error) => self.end_flow(caller.tenant, &provider).await.and(Err(error)),
            }
        };
        match end.await {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::warn!(provider, tenant = %caller.tenant, %error, "a sign-in failed");
                Err(if error.kind == ErrorKind::Internal { "internal error".to_owned() } else { error.to_string() })
            }
        }
    }
}
