//! Language models over HTTP: Anthropic's dialect and OpenAI's two, with the turns that each vendor gives them.
#![deny(missing_docs)]

mod answer;
mod anthropic;
mod chat;
mod embeddings;
mod errors;
mod factory;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod images;
mod models;
mod oauth;
mod openai;
mod responses;
mod retry;
mod schema;
#[cfg(test)]
mod splits;
mod sse;
mod text;
mod transport;

pub use factory::{LlmOptions, factory};
pub use oauth::{OAuthOptions, oauth};
pub use retry::RetryPolicy;
pub use schema::{CleanSchema, SchemaProfile, clean as clean_schema};
