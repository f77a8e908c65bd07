//! What the tests share: databases that live for one test, a scripted LLM upstream, the real server as a child process, and
//! clients for its REST and WebSocket sides.

pub mod database;
pub mod fake_llm;
pub mod fixtures;
pub mod http;
pub mod server;
pub mod sse;
pub mod ws;

pub use database::{Backend, TestDatabase};
pub use fake_llm::{Answer, FakeLlm};
pub use http::{Http, Reply};
pub use server::{Edition, Server, Setup};
pub use ws::WsClient;

use std::time::Duration;

/// How long a test waits for something that must happen, before it fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for `future`, at most [`PATIENCE`].
///
/// # Panics
/// If it does not end in time; `what` says what was awaited.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}
