//! LLM providers: where models are, who may manage that, and which one answers.

mod body;
mod registry;
mod verify;

pub use body::{NewProvider, ProviderUpdate, ProviderView};
pub use registry::{ConfiguredProvider, Registry};
pub use verify::Verification;

use crate::{
    audit::Audit,
    caller::{Access, Caller},
    presets,
};
use goclaw_ports::{
    Error, JsonObject, ProviderId, Result, TenantId,
    clock::{Clock, Ids},
    llm::{ModelInfo, ProviderFactory},
    message,
    providers::{ProviderPatch, ProviderRow, ProviderStore},
    roles::Role,
    sealer::{Place, Sealed, Sealer},
};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Serialize;
use std::sync::Arc;

/// The table and column that provider keys are sealed for.
const TABLE: &str = "llm_providers";
const COLUMN: &str = "api_key";
/// What stands for a stored key on the wire; sent back, it means "leave it".
pub const MASK: &str = "***";

/// What may be done with providers.
pub struct Providers {
    pub(crate) store: Arc<dyn ProviderStore>,
    pub(crate) sealer: Arc<dyn Sealer>,
    pub(crate) factory: Arc<dyn ProviderFactory>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) audit: Audit,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
}

/// The models that a provider offers.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ProviderModels {
    /// As the provider names them; empty if it could not be asked.
    pub models: Vec<ModelInfo>,
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
        new.check(caller.tenant, &*self.factory)?;
        let key = new.api_key.as_deref().filter(|key| !key.is_empty() && *key != MASK).map(|key| SecretString::from(key.to_owned()));
        let row = loop {
            if let Some(existing) = self.store.find_by_name(caller.tenant, &new.name).await? {
                if existing.provider_type != new.provider_type {
                    return Err(Error::invalid(message::provider_type_fixed()));
                }
                let patch = ProviderPatch { api_key: self.seal(caller.tenant, existing.id, key.as_ref())?, ..new.as_patch() };
                match self.store.update(caller.tenant, existing.id, &patch, self.clock.now()).await? {
                    Some(row) => break row,
                    None => continue,
                }
            }
            let id = ProviderId(self.ids.row());
            let row = new.as_row(id, caller.tenant, self.seal(caller.tenant, id, key.as_ref())?, self.clock.now());
            match self.store.insert(caller.tenant, &row).await {
                Ok(()) => break row,
                // Somebody else stored that name in the meantime: overwrite theirs.
                Err(error) if error.kind == goclaw_ports::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        };
        self.register(&row);
        self.audit.record(caller, "provider.created", "provider", row.id, None).await;
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
        let after = self.store.update(caller.tenant, before.id, &patch.0, self.clock.now()).await?;
        let after = after.ok_or_else(|| Error::not_found("provider", id))?;
        self.registry.remove(caller.tenant, &before.name);
        self.register(&after);
        self.audit.record(caller, "provider.updated", "provider", after.id, None).await;
        Ok(())
    }

    /// Deletes a provider; there being none is not an error.
    ///
    /// # Errors
    /// `Forbidden` below admin, `Invalid` for a bad id.
    pub async fn delete(&self, caller: &Caller, id: &str) -> Result<()> {
        admin(caller)?;
        if let Some(row) = self.store.delete(caller.tenant, provider_id(id)?).await? {
            self.registry.remove(caller.tenant, &row.name);
            self.audit.record(caller, "provider.deleted", "provider", row.id, None).await;
        }
        Ok(())
    }

    /// The models that a provider says it offers; none if it cannot be asked.
    ///
    /// # Errors
    /// `Forbidden` below admin, `Invalid` for a bad id or without a key, `NotFound`.
    pub async fn models(&self, caller: &Caller, id: &str) -> Result<ProviderModels> {
        let row = self.row(caller, id).await?;
        if row.api_key.is_none() && !presets::keyless(&row.provider_type) {
            return Err(Error::invalid(message::api_key_required()));
        }
        let models = match self.registry.build(&row, self.open(&row)?) {
            Ok(provider) => provider.models().await.unwrap_or_else(|error| {
                tracing::warn!(provider = row.name, %error, "listing the provider's models failed");
                vec![]
            }),
            Err(error) => {
                tracing::warn!(provider = row.name, %error, "the provider cannot be asked for its models");
                vec![]
            }
        };
        Ok(ProviderModels { models })
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
        Ok(verify::verify(self.registry.stored(caller.tenant, &row.name), &row.name, model).await)
    }

    /// Fills the registry with every stored provider that is enabled.
    pub(crate) async fn register_all(&self) -> Result<()> {
        for row in self.store.all_tenants_enabled().await? {
            self.register(&row);
        }
        Ok(())
    }

    fn register(&self, row: &ProviderRow) {
        if !row.enabled || (row.api_key.is_none() && !presets::keyless(&row.provider_type)) {
            self.registry.remove(row.tenant_id, &row.name);
            return;
        }
        match self.open(row).and_then(|key| self.registry.build(row, key)) {
            Ok(provider) => self.registry.put(row.tenant_id, provider),
            Err(error) => {
                tracing::warn!(provider = row.name, tenant = %row.tenant_id, %error, "the provider cannot be used");
                self.registry.remove(row.tenant_id, &row.name);
            }
        }
    }

    async fn row(&self, caller: &Caller, id: &str) -> Result<ProviderRow> {
        admin(caller)?;
        self.store.find(caller.tenant, provider_id(id)?).await?.ok_or_else(|| Error::not_found("provider", id))
    }

    fn seal(&self, tenant: TenantId, id: ProviderId, key: Option<&SecretString>) -> Result<Option<Sealed>> {
        let row = id.to_string();
        key.map(|key| self.sealer.seal(Place { tenant, table: TABLE, column: COLUMN, row: &row }, key)).transpose()
    }

    fn open(&self, row: &ProviderRow) -> Result<Option<SecretString>> {
        let id = row.id.to_string();
        let place = Place { tenant: row.tenant_id, table: TABLE, column: COLUMN, row: &id };
        row.api_key.as_ref().map(|sealed| self.sealer.open(place, sealed)).transpose()
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
