//! Embeddings in OpenAI's dialect, which all who give any speak: Gemini at its compatible base too.

use crate::transport::{Failure, Transport};
use async_trait::async_trait;
use goclaw_ports::{embeddings::Embedder, llm::LlmError};
use serde::Deserialize;
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// How many texts one request holds.
const BATCH: usize = 100;
/// The longest wait for vectors.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A model that embeds.
pub(crate) struct OpenAiEmbedder {
    pub(crate) transport: Arc<Transport>,
    pub(crate) model: String,
    pub(crate) dimensions: Option<u32>,
    pub(crate) attempts: u32,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    /// Which text it belongs to; those who leave it out keep the order.
    index: Option<usize>,
    embedding: Vec<f32>,
}

impl OpenAiEmbedder {
    async fn ask(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, LlmError> {
        let transport = &self.transport;
        let mut body = json!({"input": texts, "model": self.model});
        if let Some(dimensions) = self.dimensions {
            body["dimensions"] = dimensions.into();
        }
        let mut attempt = 1;
        loop {
            let outcome = async {
                let answer = transport.send(transport.post("embeddings").json(&body), TIMEOUT).await?;
                Ok::<_, Failure>(transport.whole(answer, TIMEOUT).await?)
            };
            let failure = match tokio::time::timeout(TIMEOUT, outcome).await {
                Ok(Ok(bytes)) => return self.read(&bytes, texts.len()),
                Ok(Err(failure)) => failure,
                Err(_) => Failure::from(transport.errors.idle(TIMEOUT.as_secs_f64())),
            };
            if attempt >= self.attempts || !failure.soon_passes() {
                return Err(failure.error);
            }
            let Some(pause) = transport.retry.pause(attempt, failure.error.retry_after, rand::random()) else { return Err(failure.error) };
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    fn read(&self, bytes: &[u8], count: usize) -> Result<Vec<Vec<f32>>, LlmError> {
        let told = |text: &str| self.transport.errors.told(text);
        let answer: Answer = serde_json::from_slice(bytes).map_err(|error| told(&format!("the vectors cannot be read: {error}")))?;
        let mut vectors = vec![None; count];
        for (at, vector) in answer.data.into_iter().enumerate() {
            let place = vectors.get_mut(vector.index.unwrap_or(at)).filter(|place| place.is_none());
            *place.ok_or_else(|| told("there are vectors of no text"))? = Some(vector.embedding);
        }
        vectors.into_iter().collect::<Option<_>>().ok_or_else(|| told("there are fewer vectors than texts"))
    }

    /// Refuses a vector that cannot be compared with others.
    fn check(&self, vector: &[f32], length: usize) -> Result<(), LlmError> {
        let told = |text: &str| Err(self.transport.errors.told(text));
        if vector.len() != length {
            return told(&format!("a vector has length {} instead of {length}", vector.len()));
        }
        if vector.iter().all(|number| number.is_finite()) { Ok(()) } else { told("a vector holds a number that is infinite") }
    }
}

#[async_trait]
impl Embedder for OpenAiEmbedder {
    fn model(&self) -> &str {
        &self.model
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, LlmError> {
        let mut vectors = Vec::with_capacity(texts.len());
        // Some servers give no other length than their model's, whatever they are asked for: the caller sees which it is.
        let mut length = None;
        for batch in texts.chunks(BATCH) {
            for vector in self.ask(batch).await? {
                self.check(&vector, *length.get_or_insert(vector.len()))?;
                vectors.push(vector);
            }
        }
        Ok(vectors)
    }
}
