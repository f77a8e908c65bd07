//! Requests and devices, as clients see them. No secret is among it.

use goclaw_ports::pairing::{PairedDevice, PairingRequest};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// Who asks and who was let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PairingRequests {
    /// Who asks.
    pub pending: Vec<RequestView>,
    /// Who was let in.
    pub paired: Vec<DeviceView>,
}

/// Somebody who asks to be let in. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RequestView {
    /// What an admin approves or denies by.
    pub code: String,
    /// Who asks; of a browser a public alias.
    pub sender_id: String,
    /// On which channel.
    pub channel: String,
    /// In which chat.
    pub chat_id: String,
    /// On which account of the channel.
    pub account_id: String,
    /// When they asked.
    pub created_at: i64,
    /// When the request is void.
    pub expires_at: i64,
    /// More about them: `user_id` is the user they say they are, `ip` from where they ask.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// Somebody who was let in. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DeviceView {
    /// Who it is; of a browser a public alias.
    pub sender_id: String,
    /// On which channel.
    pub channel: String,
    /// In which chat.
    pub chat_id: String,
    /// Since when.
    pub paired_at: i64,
    /// Who let it in.
    pub paired_by: String,
    /// More about it: `user_id` is the user it acts as.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl From<PairingRequest> for RequestView {
    fn from(request: PairingRequest) -> Self {
        Self {
            code: request.code,
            sender_id: request.sender,
            channel: request.channel,
            chat_id: request.chat_id,
            account_id: request.account_id,
            created_at: request.created_at.timestamp_millis(),
            expires_at: request.expires_at.timestamp_millis(),
            metadata: with_user(request.metadata, request.user_id),
        }
    }
}

impl From<PairedDevice> for DeviceView {
    fn from(device: PairedDevice) -> Self {
        Self {
            sender_id: device.sender,
            channel: device.channel,
            chat_id: device.chat_id,
            paired_at: device.paired_at.timestamp_millis(),
            paired_by: device.paired_by,
            metadata: with_user(device.metadata, device.user_id),
        }
    }
}

fn with_user(mut metadata: BTreeMap<String, String>, user: String) -> BTreeMap<String, String> {
    if !user.is_empty() {
        metadata.insert("user_id".to_owned(), user);
    }
    metadata
}
