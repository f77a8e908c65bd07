//! Channels: where people are reached outside of the gateway's own clients.

use crate::{Error, Result, TenantId, tools::MediaResult};
use async_trait::async_trait;
use serde::Serialize;
use std::collections::BTreeMap;

/// A chat that can be written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryTarget {
    /// The channel's name.
    pub channel: String,
    /// The chat there.
    pub chat_id: String,
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is.
    pub kind: TargetKind,
}

/// What kind of chat it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// With one person.
    Dm,
    /// With several.
    Group,
    /// A topic of a group.
    Topic,
}

/// A message that goes out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboundMessage {
    /// The channel's name.
    pub channel: String,
    /// The chat there.
    pub chat_id: String,
    /// The text; may be "" if there are files.
    pub content: String,
    /// Files that go with it.
    pub media: Vec<MediaResult>,
    /// What the channel has to know besides (`reply_to_message_id`, …).
    pub metadata: BTreeMap<String, String>,
}

/// The channels of all tenants.
#[async_trait]
pub trait Channels: Send + Sync {
    /// The chats of the tenant that are known, by channel and title.
    async fn targets(&self, tenant: TenantId) -> Result<Vec<DeliveryTarget>>;

    /// Hands a message over to a channel, once.
    ///
    /// # Errors
    /// `NotFound` if the tenant has no such channel; `Unavailable` if it takes nothing now.
    async fn send(&self, tenant: TenantId, message: OutboundMessage) -> Result<()>;
}

/// No channels at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoChannels;

#[async_trait]
impl Channels for NoChannels {
    async fn targets(&self, _: TenantId) -> Result<Vec<DeliveryTarget>> {
        Ok(vec![])
    }

    async fn send(&self, _: TenantId, message: OutboundMessage) -> Result<()> {
        Err(Error::not_found("channel", message.channel))
    }
}
