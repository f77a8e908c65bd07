//! Embeddings: texts as vectors, for search by meaning.

use crate::llm::{LlmError, ProviderSpec};
use async_trait::async_trait;

/// The model that stands in where none is named.
pub const DEFAULT_MODEL: &str = "text-embedding-3-small";
/// The only length of vectors that search works with.
pub const DIMENSIONS: usize = 1536;

/// Turns texts into vectors.
#[async_trait]
pub trait Embedder: Send + Sync {
    /// The model's id.
    fn model(&self) -> &str;

    /// One vector for each text, in their order, whatever number they are. Each has the length that the model gives.
    ///
    /// # Errors
    /// What the upstream says; or that it did not give as many vectors as there are texts.
    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, LlmError>;
}

/// What an embedder is made from.
#[derive(Clone)]
pub struct EmbedderSpec {
    /// Whom to ask.
    pub provider: ProviderSpec,
    /// The model.
    pub model: String,
    /// The length of vectors to ask for; `None` for the model's own.
    pub dimensions: Option<u32>,
    /// How often a request is made at most, if it fails with what may pass; at least 1.
    pub attempts: u32,
}
