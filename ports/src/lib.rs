//! What GoClaw is about, and what it needs from the world.
//!
//! Each module is one domain: its nouns (plain serde structs that carry the wire names) and the traits that adapters
//! implement. There is no I/O and no framework here, and every crate of the workspace may depend on this one.
#![deny(missing_docs)]

#[macro_use]
mod names;

pub mod activity;
pub mod agents;
pub mod api_keys;
pub mod archives;
pub mod builtin_tools;
pub mod channels;
pub mod clock;
pub mod config_permissions;
pub mod configuration;
pub mod embeddings;
pub mod error;
pub mod events;
pub mod files;
pub mod heartbeats;
pub mod ids;
pub mod inbound;
pub mod limits;
pub mod links;
pub mod llm;
pub mod locks;
pub mod logs;
pub mod media;
pub mod message;
pub mod oauth;
pub mod pairing;
pub mod providers;
pub mod releases;
pub mod roles;
pub mod sealer;
pub mod secrets;
pub mod sessions;
pub mod speech;
pub mod stores;
pub mod subagents;
pub mod system_configs;
pub mod tenants;
pub mod tools;
pub mod traces;
pub mod usage;

pub use error::{Error, ErrorKind, Result};
pub use ids::{AgentId, ApiKeyId, HeartbeatId, InboundId, LinkId, MediaId, ProviderId, SessionId, SpanId, SubagentTaskId, TenantId, TraceId};
pub use message::Message;

/// A JSON object.
pub type JsonObject = serde_json::Map<String, serde_json::Value>;
