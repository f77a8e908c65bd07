//! Tools: what a model may do in the world.

use crate::{AgentId, JsonObject, Result, TenantId, llm::Usage, roles::Role};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};
use uuid::Uuid;

/// What a tool is, for models and for the loop.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    /// The name that models call it by.
    pub name: &'static str,
    /// What it does and when to use it.
    pub description: String,
    /// The JSON Schema of its arguments: `{"type":"object","properties":…,"required":…}`.
    pub parameters: Value,
    /// What it does to the world.
    pub effect: ToolEffect,
}

/// What a tool does to the world. The loop counts calls that only read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolEffect {
    /// It only looks.
    Reads,
    /// It changes something.
    Changes,
    /// It may do either (a shell).
    Either,
}

/// For whom and where a tool works.
#[derive(Debug, Clone)]
pub struct ToolContext {
    /// Whose data it may see.
    pub tenant: TenantId,
    /// The agent that calls, if one does.
    pub agent: Option<ToolAgent>,
    /// The user it works for; "" if none.
    pub user: String,
    /// The caller's role.
    pub role: Role,
    /// The conversation; "" if none.
    pub session_key: String,
    /// The run that calls; `None` for a call without a model.
    pub run: Option<Uuid>,
    /// Where the conversation takes place: `ws`, `http`, …
    pub channel: String,
    /// The chat there.
    pub chat_id: String,
    /// `direct` or `group`.
    pub peer_kind: String,
    /// The only directory that files may be read from and written to. It exists.
    pub workspace: PathBuf,
    /// Switches of the shell's deny groups: `true` denies, `false` allows; groups that are not named deny.
    pub shell_deny_groups: BTreeMap<String, bool>,
    /// How much of the run's iterations is used, 0 to 1. Tools answer shorter towards the end.
    pub run_share: f32,
    /// The tool's settings from the catalogue.
    pub settings: JsonObject,
}

/// The agent that calls a tool.
#[derive(Debug, Clone)]
pub struct ToolAgent {
    /// Its id.
    pub id: AgentId,
    /// Its key.
    pub key: String,
    /// Whether each user has files of its own.
    pub open: bool,
    /// Whether chat may rewrite SOUL.md of a predefined agent.
    pub self_evolve: bool,
}

/// What a tool answers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ToolResult {
    /// For the model.
    pub for_llm: String,
    /// For the user; "" for nothing.
    pub for_user: String,
    /// Whether it failed.
    pub is_error: bool,
    /// Files that belong to the answer.
    pub media: Vec<MediaResult>,
    /// What it took, if it asked a model itself.
    pub usage: Option<Usage>,
}

impl ToolResult {
    /// A success that only the model sees.
    #[must_use]
    pub fn silent(text: impl Into<String>) -> Self {
        Self { for_llm: text.into(), ..Self::default() }
    }

    /// A failure; the text tells the model what to do about it.
    #[must_use]
    pub fn error(text: impl Into<String>) -> Self {
        Self { for_llm: text.into(), is_error: true, ..Self::default() }
    }
}

/// A file that belongs to an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MediaResult {
    /// Where it is.
    pub path: String,
    /// Its MIME type.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub content_type: String,
    /// Its size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Whether to play it as a voice message.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub as_voice: bool,
}

/// Something a model may do. One instance serves all calls at once, so it keeps nothing of a call.
#[async_trait]
pub trait Tool: Send + Sync {
    /// What it is.
    fn spec(&self) -> &ToolSpec;
    /// Does it. Dropping the future stops it and everything it started.
    async fn call(&self, context: &ToolContext, arguments: JsonObject) -> ToolResult;
}

/// Paths that are rows, not files: an agent's context files.
#[async_trait]
pub trait VirtualFiles: Send + Sync {
    /// The text behind `path`; `None` if the path is an ordinary file.
    async fn read(&self, context: &ToolContext, path: &str) -> Option<Result<String, String>>;
    /// Writes the text behind `path`; `None` if the path is an ordinary file. The answer is a text for the model.
    async fn write(&self, context: &ToolContext, path: &str, content: &str) -> Option<Result<String, String>>;
}

/// Virtual files that are not there: every path is an ordinary file.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoVirtualFiles;

#[async_trait]
impl VirtualFiles for NoVirtualFiles {
    async fn read(&self, _: &ToolContext, _: &str) -> Option<Result<String, String>> {
        None
    }
    async fn write(&self, _: &ToolContext, _: &str, _: &str) -> Option<Result<String, String>> {
        None
    }
}

/// The tools of an installation.
pub type Tools = Vec<Arc<dyn Tool>>;
