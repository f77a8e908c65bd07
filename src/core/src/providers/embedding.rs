//! Which provider turns texts into vectors, and whether one does.

use super::{Providers, verify::shaped};
use crate::caller::{Access, Caller};
use goclaw_ports::{
    Result,
    embeddings::{DEFAULT_MODEL, DIMENSIONS, EmbedderSpec},
    providers::ProviderRow,
    roles::Role,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The types that give no vectors.
const INCAPABLE: &[&str] = &["anthropic_native", "acp", "claude_cli", "chatgpt_oauth", "suno"];
/// The longest vectors that may be asked for.
const MOST_DIMENSIONS: i64 = 8_192;

/// What to try.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EmbeddingTrial {
    /// The model; the provider's own, else `text-embedding-3-small`, if it is left out.
    pub model: Option<String>,
    /// The length of vectors to ask for.
    pub dimensions: Option<i64>,
}

/// Whether a provider gives vectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EmbeddingVerification {
    /// Whether it does.
    pub valid: bool,
    /// How long they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<usize>,
    /// Whether search cannot work with vectors of this length.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dimension_mismatch: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Which provider turns texts into vectors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EmbeddingStatus {
    /// Whether there is one.
    pub configured: bool,
    /// What people call it; may be empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_name: Option<String>,
    /// The model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// A row's settings for vectors, as far as they make sense.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Settings {
    enabled: bool,
    model: String,
    api_base: String,
    dimensions: i64,
}

impl Settings {
    fn of(row: &ProviderRow) -> Self {
        row.settings.get("embedding").and_then(|embedding| serde_json::from_value(without_null(embedding)).ok()).unwrap_or_default()
    }
}

fn without_null(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.clone(), value.clone())).collect(),
        other => other.clone(),
    }
}

fn failed(error: String) -> EmbeddingVerification {
    EmbeddingVerification { valid: false, dimensions: None, dimension_mismatch: false, error: Some(error) }
}

fn first(texts: [&str; 3]) -> String {
    texts.into_iter().map(str::trim).find(|text| !text.is_empty()).unwrap_or_default().to_owned()
}

impl Providers {
    /// Whether a provider turns a text into a vector, found out by having it do so once.
    ///
    /// # Errors
    /// `Forbidden` below admin, `Invalid` for a bad id, `NotFound`.
    pub async fn verify_embedding(&self, caller: &Caller, id: &str, trial: EmbeddingTrial) -> Result<EmbeddingVerification> {
        let row = self.row(caller, id).await?;
        if INCAPABLE.contains(&row.provider_type.as_str()) {
            return Ok(failed("provider type does not support embeddings".into()));
        }
        let settings = Settings::of(&row);
        let mut row = row;
        if !settings.api_base.is_empty() {
            row.api_base.clone_from(&settings.api_base);
        }
        let wanted = [trial.dimensions.unwrap_or(0), settings.dimensions].into_iter().find(|dimensions| *dimensions > 0);
        let embedder = self.stored.open(&row).and_then(|key| self.registry.spec(&row, key)).and_then(|provider| {
            self.factory.embedder(EmbedderSpec {
                provider,
                model: first([trial.model.as_deref().unwrap_or_default(), &settings.model, DEFAULT_MODEL]),
                dimensions: wanted.filter(|dimensions| (1..=MOST_DIMENSIONS).contains(dimensions)).and_then(|dimensions| u32::try_from(dimensions).ok()),
                attempts: 1,
            })
        });
        let embedder = match embedder {
            Ok(embedder) => embedder,
            Err(error) => return Ok(failed(error.message.to_string())),
        };
        Ok(match embedder.embed(&["test".to_owned()]).await {
            Ok(vectors) => {
                let dimensions = vectors.first().map_or(0, Vec::len);
                let dimension_mismatch = dimensions != 0 && dimensions != DIMENSIONS;
                EmbeddingVerification { valid: true, dimensions: Some(dimensions), dimension_mismatch, error: None }
            }
            Err(error) => failed(shaped(&error)),
        })
    }

    /// Which provider turns the tenant's texts into vectors: the one that its values name, else the first, by name, that is meant for it.
    ///
    /// # Errors
    /// `Forbidden` below admin.
    pub async fn embedding_status(&self, caller: &Caller) -> Result<EmbeddingStatus> {
        caller.require(Role::Admin, Access::Manage, "/v1/embedding/status")?;
        let values = self.system_configs.list(caller.tenant).await?;
        let value = |key: &str| values.iter().find(|(own, _)| own == key).map(|(_, value)| value.as_str()).unwrap_or_default();
        let named = value("embedding.provider");
        let told = |provider: String, name: String, model: String| EmbeddingStatus {
            configured: true,
            provider: Some(provider),
            provider_name: Some(name),
            model: Some(model),
        };
        if !named.is_empty() {
            return Ok(told(named.to_owned(), named.to_owned(), first([value("embedding.model"), "", DEFAULT_MODEL])));
        }
        let rows = self.store.list(caller.tenant).await?;
        let meant = rows.into_iter().filter(|row| row.enabled && !INCAPABLE.contains(&row.provider_type.as_str()));
        let found = meant.map(|row| (Settings::of(&row), row)).find(|(settings, _)| settings.enabled);
        Ok(found.map_or_else(EmbeddingStatus::default, |(settings, row)| {
            told(row.display_name, row.name, first([value("embedding.model"), &settings.model, DEFAULT_MODEL]))
        }))
    }
}
