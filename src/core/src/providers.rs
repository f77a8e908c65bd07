//! LLM providers: where models are, who may manage that, and which one answers.

mod body;
mod embedding;
mod programs;
mod registry;
mod stored;
mod verify;

pub(crate) use body::check_account;
pub use body::{NewProvider, ProviderUpdate, ProviderView};
pub use embedding::{EmbeddingStatus, EmbeddingTrial, EmbeddingVerification};
pub use programs::CliLogin;
pub use registry::{ConfiguredProvider, Registry};
pub(crate) use stored::StoredProviders;
pub use verify::Verification;

use crate::{
    audit::{self, Audit},
    caller::{Access, Caller},
    coherence::{Coherence, Kind},
    oauth::{CHATGPT, OAuth, OWN_SETTINGS},
    pools::{check_membership, listed_by},
    presets,
    runs::reasoning::{Capability, ReasoningDefaults, capability},
};
use goclaw_ports::{
    Error, ErrorKind, JsonObject, ProviderId, Result, TenantId,
    clock::{Clock, Ids},
    llm::{ClaudeCli, ModelInfo, ProviderFactory},
    locks::Held,
    message,
    providers::{ProviderPatch, ProviderRow, ProviderStore},
    roles::Role,
    sealer::{Place, Sealed, Sealer},
    system_configs::SystemConfigStore,
};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// The table and column that provider keys are sealed for.
pub(crate) const TABLE: &str = "llm_providers";
pub(crate) const COLUMN: &str = "api_key";
/// The type of which there is one on a machine, which has one login.
const CLAUDE_CLI: &str = "claude_cli";
/// What stands for a stored key on the wire; sent back, it means "leave it".
pub const MASK: &str = "***";

/// What may be done with providers.
pub struct Providers {
    pub(crate) store: Arc<dyn ProviderStore>,
    pub(crate) system_configs: Arc<dyn SystemConfigStore>,
    pub(crate) sealer: Arc<dyn Sealer>,
    pub(crate) factory: Arc<dyn ProviderFactory>,
    pub(crate) claude_cli: Arc<dyn ClaudeCli>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) stored: Arc<StoredProviders>,
    pub(crate) oauth: Arc<OAuth>,
    pub(crate) coherence: Arc<Coherence>,
    pub(crate) audit: Audit,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
}

/// The models that a provider offers.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ProviderModels {
    /// As the provider names them; empty if it could not be asked.
    pub models: Vec<ProviderModel>,
    /// How hard models think for agents that do not say; absent if nothing is saved, or none of the models can think more or less hard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_defaults: Option<ReasoningDefaults>,
}

/// A model that a provider offers.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ProviderModel {
    /// Its id.
    pub id: String,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How hard it can think, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Capability>,
}

impl ProviderModels {
    /// These models, with what is known about them.
    fn new(row: &ProviderRow, models: Vec<ModelInfo>) -> Self {
        let thinks = !matches!(row.provider_type.as_str(), "claude_cli" | "acp");
        let annotated = |ModelInfo { id, name }| ProviderModel { reasoning: capability(&id).filter(|_| thinks), id, name };
        let models: Vec<_> = models.into_iter().map(annotated).collect();
        let defaults = ReasoningDefaults::of(&row.settings).filter(|_| models.iter().any(|model| model.reasoning.is_some()));
        Self { models, reasoning_defaults: defaults }
    }
}

impl Providers {
    /// The tenant's providers, by name, keys masked.
    ///
    /// # Errors
    /// `Forbidden` below admin.
    pub async fn list(&self, caller: &Caller) -> Result<Vec<ProviderView>> {
        admin(caller)?;
        Ok(self.store.list(caller.tenant).await?.iter().map(ProviderView::from).collect())
    }

    /// Stores a provider. One of the same name is overwritten and keeps its id; its key stays if the request has none.
    ///
    /// # Errors
    /// `Forbidden` below admin, `Invalid` for bad fields.
    pub async fn create(&self, caller: &Caller, new: NewProvider) -> Result<ProviderView> {
        admin(caller)?;
        new.check(caller.tenant)?;
        let _held = self.held(caller.tenant, &new.provider_type).await?;
        let key = new.api_key.as_deref().filter(|key| !key.is_empty() && *key != MASK).map(|key| SecretString::from(key.to_owned()));
        let row = loop {
            if let Some(existing) = self.store.find_by_name(caller.tenant, &new.name).await? {
                if existing.provider_type != new.provider_type {
                    return Err(Error::invalid(message::provider_type_fixed()));
                }
                let mut patch = ProviderPatch { api_key: self.seal(caller.tenant, existing.id, key.as_ref())?, ..new.as_patch() };
                keep_own_settings(&existing, &mut patch);
                self.check_pool(&patched(&existing, &patch)).await?;
                new.check_addresses(caller.tenant, &*self.factory)?;
                match self.store.update(caller.tenant, existing.id, &patch, self.clock.now()).await? {
                    Some(row) => break row,
                    None => continue,
                }
            }
            if new.provider_type == CLAUDE_CLI && self.store.all_tenants_have(CLAUDE_CLI).await? {
                return Err(Error::new(ErrorKind::AlreadyExists, message::claude_cli_exists()));
            }
            let id = ProviderId(self.ids.row());
            let row = new.as_row(id, caller.tenant, self.seal(caller.tenant, id, key.as_ref())?, self.clock.now());
            self.check_pool(&row).await?;
            new.check_addresses(caller.tenant, &*self.factory)?;
            match self.store.insert(caller.tenant, &row).await {
                Ok(()) => break row,
                // Somebody else stored that name in the meantime: overwrite theirs.
                Err(error) if error.kind == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        };
        self.changed(caller.tenant, &row.name).await;
        self.audit.record(caller, "provider.created", "provider", row.id, Some(json!({"name": row.name, "provider_type": row.provider_type}))).await;
        Ok(ProviderView::from(&row))
    }

    /// The provider with this id.
    ///
    /// # Errors
    /// `Forbidden` below admin, `Invalid` for a bad id, `NotFound`.
    pub async fn get(&self, caller: &Caller, id: &str) -> Result<ProviderView> {
        Ok(ProviderView::from(&self.row(caller, id).await?))
    }

    /// Changes a provider.
    ///
    /// # Errors
    /// `Forbidden` below admin, `Invalid` for bad fields, `NotFound`, `AlreadyExists` for a name that is taken.
    pub async fn update(&self, caller: &Caller, id: &str, update: ProviderUpdate) -> Result<()> {
        let before = self.row(caller, id).await?;
        let mut patch = update.into_patch(&before, &*self.factory)?;
        patch.0.api_key = self.seal(caller.tenant, before.id, patch.1.as_ref())?;
        let _held = self.held(caller.tenant, &before.provider_type).await?;
        keep_own_settings(&before, &mut patch.0);
        self.check_pool(&patched(&before, &patch.0)).await?;
        let update = async {
            let after = self.store.update(caller.tenant, before.id, &patch.0, self.clock.now()).await?;
            after.ok_or_else(|| Error::not_found("provider", id))
        };
        let after = match &patch.0.name {
            Some(name) if before.provider_type == CHATGPT && *name != before.name => {
                self.oauth.tokens.rename(caller.tenant, &before.name, name, update).await?
            }
            _ => update.await?,
        };
        if before.name != after.name {
            self.changed(caller.tenant, &before.name).await;
        }
        self.changed(caller.tenant, &after.name).await;
        let mut changes = audit::changes(&audited(&before), &audited(&after));
        if before.api_key != after.api_key {
            changes["api_key"] = "changed".into();
        }
        self.audit.record(caller, "provider.updated", "provider", after.id, Some(changes)).await;
        Ok(())
    }

    /// Deletes a provider; there being none is not an error. Answers with the owners of pools that still list it.
    ///
    /// # Errors
    /// `Forbidden` below admin, `Invalid` for a bad id.
    pub async fn delete(&self, caller: &Caller, id: &str) -> Result<Vec<String>> {
        admin(caller)?;
        let mut pools = vec![];
        if let Some(row) = self.store.delete(caller.tenant, provider_id(id)?).await? {
            if row.provider_type == CHATGPT {
                self.oauth.forget(caller.tenant, &row.name).await?;
                pools = listed_by(&row.name, &self.store.list(caller.tenant).await?);
            }
            self.changed(caller.tenant, &row.name).await;
            self.audit.record(caller, "provider.deleted", "provider", row.id, Some(json!({"name": row.name, "provider_type": row.provider_type}))).await;
        }
        Ok(pools)
    }

    /// The models that a provider says it offers; none if it cannot be asked.
    ///
    /// # Errors
    /// `Forbidden` below admin, `Invalid` for a bad id or without a key, `NotFound`.
    pub async fn models(&self, caller: &Caller, id: &str) -> Result<ProviderModels> {
        let row = self.row(caller, id).await?;
        if row.api_key.is_none() && !presets::keyless(&row.provider_type) && row.provider_type != CHATGPT {
            return Err(Error::invalid(message::api_key_required()));
        }
        if let Some(models) = presets::fixed_models(&row.provider_type) {
            let models = models.iter().map(|(id, name)| ModelInfo { id: (*id).to_owned(), name: Some((*name).to_owned()) });
            return Ok(ProviderModels::new(&row, models.collect()));
        }
        let models = match self.stored.open(&row).and_then(|key| self.registry.build(&row, key)) {
            Ok(provider) => provider.models().await.unwrap_or_else(|error| {
                tracing::warn!(provider = row.name, %error, "listing the provider's models failed");
                vec![]
            }),
            Err(error) => {
                tracing::warn!(provider = row.name, %error, "the provider cannot be asked for its models");
                vec![]
            }
        };
        Ok(ProviderModels::new(&row, models))
    }

    /// Whether the provider answers with this model, found out by asking it.
    ///
    /// # Errors
    /// `Forbidden` below admin, `Invalid` for a bad id or no model, `NotFound`.
    pub async fn verify(&self, caller: &Caller, id: &str, model: &str) -> Result<Verification> {
        let row = self.row(caller, id).await?;
        if model.is_empty() {
            return Err(Error::required("model"));
        }
        if let Some(verification) = self.verify_program(&row, model) {
            return Ok(verification);
        }
        Ok(verify::verify(self.registry.stored(caller.tenant, &row.name), &row.name, model).await)
    }

    /// Replaces the operator's providers, while runs go on. Stored ones that use the operator's addresses follow.
    ///
    /// # Errors
    /// What the store says; the operator's own providers hold all the same.
    pub async fn configure(&self, configured: Vec<ConfiguredProvider>) -> Result<()> {
        self.registry.configure(configured);
        self.stored.refresh_all().await
    }

    /// Uses what is stored under this name now, here at once and on other replicas in a moment.
    async fn changed(&self, tenant: TenantId, name: &str) {
        self.stored.refresh(tenant, name).await;
        self.coherence.changed(tenant, Kind::Providers, name);
    }

    /// Keeps two changes from being checked side by side: of a tenant's pools, or of the one command line of Claude's.
    async fn held(&self, tenant: TenantId, provider_type: &str) -> Result<Option<Held>> {
        let locks = &self.oauth.tokens.locks;
        match provider_type {
            CHATGPT => locks.lock(tenant, "pools").await.map(Some),
            CLAUDE_CLI => locks.lock(TenantId::MASTER, "claude_cli provider").await.map(Some),
            _ => Ok(None),
        }
    }

    async fn check_pool(&self, candidate: &ProviderRow) -> Result<()> {
        if candidate.provider_type != CHATGPT && !candidate.settings.contains_key("codex_pool") {
            return Ok(());
        }
        check_membership(candidate, &self.store.list(candidate.tenant_id).await?)
    }

    async fn row(&self, caller: &Caller, id: &str) -> Result<ProviderRow> {
        admin(caller)?;
        self.store.find(caller.tenant, provider_id(id)?).await?.ok_or_else(|| Error::not_found("provider", id))
    }

    fn seal(&self, tenant: TenantId, id: ProviderId, key: Option<&SecretString>) -> Result<Option<Sealed>> {
        let row = id.to_string();
        key.map(|key| self.sealer.seal(Place { tenant, table: TABLE, column: COLUMN, row: &row }, key)).transpose()
    }
}

/// What the audit log compares of a provider; whether its key changed is looked at apart, for it is nobody's to see.
fn audited(row: &ProviderRow) -> Value {
    json!({"name": row.name, "display_name": row.display_name, "api_base": row.api_base, "enabled": row.enabled, "settings": row.settings})
}

/// The row as it would be with this patch, as far as pools are concerned.
fn patched(row: &ProviderRow, patch: &ProviderPatch) -> ProviderRow {
    ProviderRow {
        name: patch.name.clone().unwrap_or_else(|| row.name.clone()),
        enabled: patch.enabled.unwrap_or(row.enabled),
        settings: patch.settings.clone().unwrap_or_else(|| row.settings.clone()),
        ..row.clone()
    }
}

/// What signing in has stored about an account stays when an admin replaces its settings and leaves that out.
fn keep_own_settings(row: &ProviderRow, patch: &mut ProviderPatch) {
    let Some(settings) = patch.settings.as_mut().filter(|_| row.provider_type == CHATGPT) else { return };
    for key in OWN_SETTINGS {
        if let Some(value) = row.settings.get(key) {
            settings.entry(key).or_insert_with(|| value.clone());
        }
    }
}

fn admin(caller: &Caller) -> Result<()> {
    caller.require(Role::Admin, Access::Manage, "/v1/providers")
}

fn provider_id(id: &str) -> Result<ProviderId> {
    id.parse().map_err(|_| Error::invalid(message::invalid_id("provider")))
}

/// The settings object of a request, or an empty one.
fn settings_of(settings: Option<JsonObject>) -> JsonObject {
    settings.unwrap_or_default()
}
