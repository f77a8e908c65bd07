//! The bodies of provider requests, checked, and what answers show.

use super::{MASK, programs, settings_of};
use crate::{agents::is_slug, presets};
use chrono::{DateTime, Utc};
use goclaw_ports::{
    Error, JsonObject, ProviderId, Result, TenantId,
    llm::ProviderFactory,
    message,
    providers::{ProviderPatch, ProviderRow},
    sealer::Sealed,
};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The only vector length that memory search works with.
const EMBEDDING_DIMENSIONS: i64 = 1536;
/// How many of the keys that an update may not name are logged, and how many characters of each.
const LOGGED: usize = 10;
const LOGGED_CHARS: usize = 50;

/// A provider, as the wire shows it. Its key never leaves the server.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields are those of ProviderRow")]
pub struct ProviderView {
    pub id: ProviderId,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub tenant_id: TenantId,
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub display_name: String,
    pub provider_type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_base: String,
    /// `***` if a key is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<&'static str>,
    pub enabled: bool,
    pub settings: JsonObject,
}

impl From<&ProviderRow> for ProviderView {
    fn from(row: &ProviderRow) -> Self {
        Self {
            id: row.id,
            created_at: row.created_at,
            updated_at: row.updated_at,
            tenant_id: row.tenant_id,
            name: row.name.clone(),
            display_name: row.display_name.clone(),
            provider_type: row.provider_type.clone(),
            api_base: row.api_base.clone(),
            api_key: row.api_key.is_some().then_some(MASK),
            enabled: row.enabled,
            settings: row.settings.clone(),
        }
    }
}

/// A new provider, as a request describes it.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of ProviderRow")]
pub struct NewProvider {
    /// A slug of at most 50 characters, unique in the tenant.
    pub name: String,
    pub provider_type: String,
    pub display_name: String,
    pub api_base: String,
    /// `***` or nothing leaves a stored key as it is.
    pub api_key: Option<String>,
    /// Left out, the provider is stored but not used.
    pub enabled: bool,
    pub settings: Option<JsonObject>,
}

/// Changes to a provider. Keys that are left out change nothing; other keys are ignored, and named in the log.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of ProviderRow")]
pub struct ProviderUpdate {
    pub name: Option<String>,
    /// Accepted only if it is the stored one.
    pub provider_type: Option<String>,
    pub display_name: Option<String>,
    pub api_base: Option<String>,
    /// `***` or "" leaves the stored key as it is.
    pub api_key: Option<String>,
    pub enabled: Option<bool>,
    /// Replaces the settings as a whole.
    pub settings: Option<JsonObject>,
    /// What no request may change.
    #[serde(flatten)]
    #[schemars(skip)]
    pub others: JsonObject,
}

impl NewProvider {
    /// Refuses what cannot be stored, but for what [`NewProvider::check_addresses`] sees to.
    pub(super) fn check(&self, tenant: TenantId) -> Result<()> {
        if self.name.is_empty() {
            return Err(Error::required("name"));
        }
        check_name(&self.name)?;
        if presets::preset(&self.provider_type).is_none() {
            return Err(Error::invalid(message::unsupported_provider_type()));
        }
        check_display_name(&self.display_name)?;
        programs::check_settings(tenant, &self.provider_type, self.settings.as_ref())
    }

    /// Refuses vectors of a length that nothing works with, and addresses where nothing may be asked. This comes last.
    pub(super) fn check_addresses(&self, tenant: TenantId, factory: &dyn ProviderFactory) -> Result<()> {
        check_embedding(self.settings.as_ref(), factory, tenant, &self.provider_type)?;
        check_base(factory, tenant, &self.provider_type, &self.api_base)
    }

    pub(super) fn as_row(&self, id: ProviderId, tenant: TenantId, api_key: Option<Sealed>, now: DateTime<Utc>) -> ProviderRow {
        ProviderRow {
            id,
            tenant_id: tenant,
            name: self.name.clone(),
            display_name: self.display_name.clone(),
            provider_type: self.provider_type.clone(),
            api_base: self.api_base.clone(),
            api_key,
            enabled: self.enabled,
            settings: settings_of(self.settings.clone()),
            created_at: now,
            updated_at: now,
        }
    }

    pub(super) fn as_patch(&self) -> ProviderPatch {
        ProviderPatch {
            name: None,
            display_name: Some(self.display_name.clone()),
            api_base: Some(self.api_base.clone()),
            api_key: None,
            enabled: Some(self.enabled),
            settings: Some(settings_of(self.settings.clone())),
            set: JsonObject::new(),
        }
    }
}

impl ProviderUpdate {
    /// The changes that are asked for, and the new key in clear.
    pub(super) fn into_patch(self, before: &ProviderRow, factory: &dyn ProviderFactory) -> Result<(ProviderPatch, Option<SecretString>)> {
        if self.provider_type.is_some_and(|provider_type| provider_type != before.provider_type) {
            return Err(Error::invalid(message::provider_type_fixed()));
        }
        if let Some(name) = &self.name {
            check_name(name)?;
        }
        if !self.others.is_empty() {
            let keys: Vec<_> = self.others.keys().take(LOGGED).map(|key| key.chars().take(LOGGED_CHARS).collect::<String>()).collect();
            tracing::warn!(provider = before.name, ignored = ?keys, "security.keys_ignored: an update names what it may not change");
        }
        check_display_name(self.display_name.as_deref().unwrap_or_default())?;
        programs::check_settings(before.tenant_id, &before.provider_type, self.settings.as_ref())?;
        check_embedding(self.settings.as_ref(), factory, before.tenant_id, &before.provider_type)?;
        check_base(factory, before.tenant_id, &before.provider_type, self.api_base.as_deref().unwrap_or_default())?;
        let key = self.api_key.filter(|key| !key.is_empty() && key != MASK).map(SecretString::from);
        let patch = ProviderPatch {
            name: self.name,
            display_name: self.display_name,
            api_base: self.api_base,
            api_key: None,
            enabled: self.enabled,
            settings: self.settings,
            set: JsonObject::new(),
        };
        Ok((patch, key))
    }
}

/// Refuses what an account cannot be signed in to with.
pub(crate) fn check_account(display_name: &str, api_base: &str, factory: &dyn ProviderFactory) -> Result<()> {
    check_display_name(display_name)?;
    if api_base.is_empty() { Ok(()) } else { factory.check_base(api_base) }
}

fn check_name(name: &str) -> Result<()> {
    if !is_slug(name) {
        return Err(Error::invalid(message::invalid_slug("name")));
    }
    if name.len() > 50 { Err(Error::invalid(message::too_long("name", 50))) } else { Ok(()) }
}

fn check_display_name(name: &str) -> Result<()> {
    if name.chars().count() > 255 { Err(Error::invalid(message::too_long("display_name", 255))) } else { Ok(()) }
}

fn check_embedding(settings: Option<&JsonObject>, factory: &dyn ProviderFactory, tenant: TenantId, provider_type: &str) -> Result<()> {
    let Some(embedding) = settings.and_then(|settings| settings.get("embedding")) else { return Ok(()) };
    let enabled = embedding.get("enabled").and_then(Value::as_bool).unwrap_or(false);
    let fits = |dimensions: &Value| dimensions.is_null() || matches!(dimensions.as_i64(), Some(0 | EMBEDDING_DIMENSIONS));
    if enabled && !embedding.get("dimensions").is_none_or(fits) {
        return Err(Error::invalid_request(format!("embedding.dimensions must be {EMBEDDING_DIMENSIONS}")));
    }
    check_base(factory, tenant, provider_type, embedding.get("api_base").and_then(Value::as_str).unwrap_or_default())
}

fn check_base(factory: &dyn ProviderFactory, tenant: TenantId, provider_type: &str, base: &str) -> Result<()> {
    match provider_type {
        _ if base.is_empty() => Ok(()),
        "acp" | "claude_cli" => programs::check_program(tenant, provider_type, base),
        // The usual home of Ollama is the machine itself, which is the operator's and no other tenant's.
        "ollama" if tenant == TenantId::MASTER && is_loopback(base) => Ok(()),
        _ => factory.check_base(base),
    }
}

fn is_loopback(base: &str) -> bool {
    match url::Url::parse(base).ok().filter(|url| matches!(url.scheme(), "http" | "https")).and_then(|url| url.host().map(|host| host.to_owned())) {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}
