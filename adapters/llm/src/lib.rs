//! Language models over HTTP: Anthropic's dialect and OpenAI's, with the turns that each vendor gives it.
#![deny(missing_docs)]

mod anthropic;
mod chat;
mod errors;
mod factory;
mod models;
mod openai;
mod retry;
mod schema;
mod sse;
mod text;
mod transport;

pub use factory::{LlmOptions, factory};
pub use retry::RetryPolicy;
pub use schema::{CleanSchema, SchemaProfile, clean as clean_schema};
