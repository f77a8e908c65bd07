//! Identifiers. One type each, so that an agent's id cannot be passed where a tenant's is meant.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(transparent)]
        #[schemars(inline)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::from_str(text).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    )*};
}

id! {
    /// A tenant.
    TenantId;
    /// An agent.
    AgentId;
    /// An API key's row.
    ApiKeyId;
    /// An LLM provider's row.
    ProviderId;
    /// A session's row; the wire names sessions by their key.
    SessionId;
    /// A link between two agents.
    LinkId;
    /// A file that came with a message.
    MediaId;
    /// An agent's heartbeat.
    HeartbeatId;
    /// A task that a run handed over to another.
    SubagentTaskId;
    /// A message that is owed an answer.
    InboundId;
    /// A trace: one run.
    TraceId;
    /// A span of a trace.
    SpanId;
}

impl TenantId {
    /// The tenant that always exists: slug `master`, seeded by the first migration.
    pub const MASTER: Self = Self(Uuid::from_u128(0x0193_a5b0_7000_7000_8000_0000_0000_0001));
}
