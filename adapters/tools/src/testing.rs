//! What the tests of several tools share.

use goclaw_ports::{
    JsonObject, TenantId,
    roles::Role,
    tools::{Tool, ToolContext, ToolResult},
};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

/// A call in `workspace`, for nobody in particular.
pub fn context(workspace: &Path) -> ToolContext {
    ToolContext {
        tenant: TenantId::from(uuid::Uuid::from_u128(1)),
        agent: None,
        user: "alice".into(),
        role: Role::Operator,
        run: None,
        session_key: "agent:a:ws:direct:alice".into(),
        channel: "ws".into(),
        chat_id: "alice".into(),
        peer_kind: "direct".into(),
        workspace: workspace.to_owned(),
        shell_deny_groups: BTreeMap::new(),
        run_share: 0.0,
        settings: JsonObject::new(),
    }
}

/// Calls `tool` in `context`.
pub async fn call(tool: &dyn Tool, context: &ToolContext, arguments: Value) -> ToolResult {
    tool.call(context, arguments.as_object().cloned().unwrap_or_default()).await
}
