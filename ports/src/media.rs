//! Media: files that come with messages, and pictures for models.

use crate::{MediaId, Result, TenantId};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What kind of file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MediaKind {
    /// A picture that models can be shown.
    Image,
    /// A film.
    Video,
    /// Sound.
    Audio,
    /// Anything else.
    Document,
}

impl MediaKind {
    /// The kind of files of this MIME type.
    #[must_use]
    pub fn of(mime_type: &str) -> Self {
        match mime_type.split('/').next().unwrap_or_default() {
            "image" => Self::Image,
            "video" => Self::Video,
            "audio" => Self::Audio,
            _ => Self::Document,
        }
    }
}

/// A file that belongs to a message, as the message names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MediaRef {
    /// Its id; what agents made goes by its name.
    pub id: String,
    /// Its MIME type.
    pub mime_type: String,
    /// What kind of file it is.
    pub kind: MediaKind,
    /// Where it is on the server; a link to it where it is shown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
}

/// A picture, as models get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePart {
    /// Its MIME type.
    pub mime_type: String,
    /// Its bytes in base64. Questions are copied often, pictures are not.
    pub data: Arc<str>,
}

impl ImagePart {
    /// The picture as a `data:` URL.
    #[must_use]
    pub fn data_url(&self) -> String {
        format!("data:{};base64,{}", self.mime_type, self.data)
    }
}

/// A file that came with a message and is kept for its conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// Its id.
    pub id: MediaId,
    /// The conversation that it came in.
    pub session_key: String,
    /// Where it is: an absolute path.
    pub path: String,
    /// Its MIME type.
    pub mime_type: String,
    /// When it came.
    pub created_at: DateTime<Utc>,
}

/// Remembers which file came in which conversation. Every method sees only rows of `tenant`, unless its name says otherwise.
#[async_trait]
pub trait MediaStore: Send + Sync {
    /// Remembers a file. The conversation need not be there yet.
    ///
    /// # Errors
    /// `AlreadyExists` if there is a file with this id.
    async fn insert(&self, tenant: TenantId, media: &Media) -> Result<()>;

    /// The file with this id.
    async fn find(&self, tenant: TenantId, id: MediaId) -> Result<Option<Media>>;

    /// The files of a conversation, oldest first.
    async fn of_session(&self, tenant: TenantId, session_key: &str) -> Result<Vec<Media>>;

    /// Files of the tenant by id, at most `limit` of those after the one with the id `after`.
    async fn of_tenant(&self, tenant: TenantId, after: Option<MediaId>, limit: i64) -> Result<Vec<Media>>;

    /// Forgets a file. `false` if there is none.
    async fn remove(&self, tenant: TenantId, id: MediaId) -> Result<bool>;

    /// The file with this id, whosever it is.
    async fn all_tenants_find(&self, id: MediaId) -> Result<Option<Media>>;

    /// At most `limit` files that came before `then` and whose conversation is gone, oldest first.
    async fn all_tenants_orphans(&self, then: DateTime<Utc>, limit: i64) -> Result<Vec<(TenantId, Media)>>;
}

/// Prepares pictures for models.
#[async_trait]
pub trait Images: Send + Sync {
    /// The picture upright, at most 1200 pixels wide and high, as a JPEG of at most 5 MiB. `None` if the bytes are no picture that
    /// can be read, or one that would take too much memory.
    async fn normalised(&self, picture: Vec<u8>) -> Option<Vec<u8>>;
}
