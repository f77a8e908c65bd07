//! `heartbeat`: an agent sets up what it looks after by itself.

use super::{HeartbeatChange, Heartbeats, checklist_of, owns};
use crate::{caller::Caller, config_permissions::ConfigPermissions};
use async_trait::async_trait;
use goclaw_ports::{
    Error, ErrorKind, JsonObject, Result,
    agents::Agent,
    message,
    roles::Role,
    tools::{Tool, ToolContext, ToolEffect, ToolResult, ToolSpec},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// Places where no chat is that somebody could be written to.
const NO_CHATS: [&str; 11] = ["", "ws", "http", "cli", "wake", "responses", "system", "subagent", "cron", "heartbeat", "teammate"];
const ACTIONS: [&str; 8] = ["status", "get", "set", "toggle", "set_checklist", "get_checklist", "test", "logs"];
const PAGE: i64 = 10;

/// What may be done with the heartbeat of the agent that calls.
pub(crate) struct HeartbeatTool {
    spec: ToolSpec,
    heartbeats: Arc<Heartbeats>,
    permissions: Arc<ConfigPermissions>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Arguments {
    action: String,
    enabled: Option<bool>,
    interval: Option<i64>,
    prompt: Option<String>,
    ack_max_chars: Option<i64>,
    max_retries: Option<i64>,
    isolated_session: Option<bool>,
    light_context: Option<bool>,
    active_hours: Option<String>,
    timezone: Option<String>,
    channel: Option<String>,
    chat_id: Option<String>,
    content: Option<String>,
    limit: Option<i64>,
    offset: Option<i64>,
}

impl HeartbeatTool {
    pub fn new(heartbeats: Arc<Heartbeats>, permissions: Arc<ConfigPermissions>) -> Self {
        let text = |description: &str| json!({"type": "string", "description": description});
        let number = |description: &str| json!({"type": "integer", "description": description});
        let switch = |description: &str| json!({"type": "boolean", "description": description});
        let spec = ToolSpec {
            name: "heartbeat",
            description: "Look after something regularly without being asked: a clock wakes you, you work through your checklist, and what is worth \
                reporting is delivered. Write the checklist first (set_checklist), then set an interval and switch it on (set with enabled)."
                .into(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "action": {"type": "string", "enum": ACTIONS, "description": "status is short, get shows all settings, test runs it soon, logs shows what came of it."},
                    "enabled": switch("Whether it runs by itself (set, toggle)."),
                    "interval": number("Seconds between two runs, at least 300 (set)."),
                    "prompt": text("Your order for each run, in place of the usual one (set)."),
                    "ack_max_chars": number("Kept for clients; 300 at first (set)."),
                    "max_retries": number("How often a failed run is tried again, 0 to 10; 2 at first (set)."),
                    "isolated_session": switch("Whether each run starts without memory of the last; true at first (set)."),
                    "light_context": switch("Whether your context files are left out; false at first (set)."),
                    "active_hours": text("When it may run, as HH:MM-HH:MM; empty for always (set)."),
                    "timezone": text("IANA time zone of the hours, such as Europe/Berlin; empty for UTC (set)."),
                    "channel": text("The channel to report to; this chat's if it has one (set)."),
                    "chat_id": text("The chat there (set)."),
                    "content": text("The checklist in Markdown (set_checklist)."),
                    "limit": number("How many log entries; 10 if left out (logs)."),
                    "offset": number("After how many (logs)."),
                },
                "required": ["action"],
            }),
            effect: ToolEffect::Either,
        };
        Self { spec, heartbeats, permissions }
    }

    async fn answer(&self, context: &ToolContext, mut arguments: JsonObject) -> Result<Value> {
        arguments.retain(|_, value| !value.is_null());
        let asked: Arguments = serde_json::from_value(Value::Object(arguments)).map_err(Error::invalid_request)?;
        let Some(own) = &context.agent else { return Err(Error::invalid_request("only an agent has a heartbeat")) };
        let agent = self.heartbeats.files.find(context.tenant, &own.id.to_string()).await?;
        let agent = agent.filter(|agent| agent.id == own.id).ok_or_else(|| Error::not_found("agent", own.id))?;
        let caller = Caller::without_credential(context.tenant, "", context.role, &context.user);
        let beats = &self.heartbeats;
        match asked.action.as_str() {
            "status" => {
                let beat = beats.store.find(context.tenant, agent.id).await?.ok_or_else(|| super::unconfigured(&agent))?;
                Ok(json!({
                    "enabled": beat.enabled, "intervalSec": beat.interval_sec, "nextRunAt": beat.next_run_at, "lastRunAt": beat.last_run_at,
                    "lastStatus": beat.last_status, "lastError": beat.last_error, "runCount": beat.run_count, "suppressCount": beat.suppress_count,
                }))
            }
            "get" => pretty("heartbeat", beats.store.find(context.tenant, agent.id).await?),
            "set" => {
                self.permit(context, &caller, &agent).await?;
                pretty("heartbeat", beats.change(&caller, &agent, self.change(context, &agent, asked).await?).await?)
            }
            "toggle" => {
                self.permit(context, &caller, &agent).await?;
                let enabled = asked.enabled.ok_or_else(|| Error::required("enabled"))?;
                pretty("heartbeat", beats.switch(&caller, &agent, enabled).await?)
            }
            "set_checklist" => {
                self.permit(context, &caller, &agent).await?;
                let content = asked.content.ok_or_else(|| Error::required("content"))?;
                Ok(json!({"length": beats.write_checklist(&caller, &agent, content).await?}))
            }
            "get_checklist" => Ok(json!({"content": checklist_of(&*beats.files, &agent).await?})),
            "test" => {
                // It would wake itself for ever.
                if context.session_key.split(':').nth(2) == Some("heartbeat") {
                    return Err(Error::invalid_request("this is the heartbeat; it cannot start itself"));
                }
                beats.begin(&caller, &agent).await?;
                Ok(json!({"started": true, "note": "It runs when you have finished here."}))
            }
            "logs" => {
                let (logs, total) = beats.store.logs(context.tenant, agent.id, asked.limit.unwrap_or(PAGE).clamp(1, 100), asked.offset.unwrap_or(0)).await?;
                Ok(json!({"logs": logs, "total": total}))
            }
            _ => Err(Error::invalid(message::not_one_of("action", ACTIONS.join(", ")))),
        }
    }

    /// What `set` is to change. A heartbeat that reports nowhere yet reports to the chat it is set up in.
    async fn change(&self, context: &ToolContext, agent: &Agent, asked: Arguments) -> Result<HeartbeatChange> {
        let hours = asked.active_hours.as_deref().map(|hours| match hours.trim() {
            "" => Ok((String::new(), String::new())),
            hours => hours
                .split_once('-')
                .map(|(start, end)| (start.trim().to_owned(), end.trim().to_owned()))
                .ok_or_else(|| Error::invalid_request("active_hours must look like 08:00-22:00")),
        });
        let (active_hours_start, active_hours_end) = hours.transpose()?.unzip();
        let (mut channel, mut chat_id) = (asked.channel, asked.chat_id);
        if !NO_CHATS.contains(&context.channel.as_str()) && !context.chat_id.is_empty() {
            let here = channel.as_ref().is_none_or(|channel| *channel == context.channel);
            let chosen = channel.is_some() || self.heartbeats.store.find(context.tenant, agent.id).await?.is_none_or(|beat| beat.channel.is_none());
            if here && chosen && chat_id.is_none() {
                (channel, chat_id) = (Some(context.channel.clone()), Some(context.chat_id.clone()));
            }
        }
        Ok(HeartbeatChange {
            enabled: asked.enabled,
            interval_sec: asked.interval,
            prompt: asked.prompt,
            isolated_session: asked.isolated_session,
            light_context: asked.light_context,
            ack_max_chars: asked.ack_max_chars,
            max_retries: asked.max_retries,
            active_hours_start,
            active_hours_end,
            timezone: asked.timezone,
            channel,
            chat_id,
            ..HeartbeatChange::default()
        })
    }

    /// Whether whoever the agent works for may change its heartbeat: its owner, an admin, whom a rule allows it, and nobody
    /// at all, which is the gateway itself.
    async fn permit(&self, context: &ToolContext, caller: &Caller, agent: &Agent) -> Result<()> {
        if context.user.is_empty() || context.role >= Role::Admin || owns(caller, agent) {
            return Ok(());
        }
        let says = async |scope: &str| self.permissions.may(context.tenant, agent.id, &context.user, scope, "heartbeat").await;
        let group = context.peer_kind == "group";
        let here = if group { says(&format!("group:{}:{}", context.channel, context.chat_id)).await? } else { None };
        let allowed = match here {
            Some(allowed) => allowed,
            None => says("agent").await? == Some(true),
        };
        if allowed { Ok(()) } else { Err(Error::new(ErrorKind::Forbidden, message::owner_only("change this agent's heartbeat"))) }
    }
}

fn pretty(name: &str, value: impl Serialize) -> Result<Value> {
    Ok(json!({name: serde_json::to_value(value).map_err(Error::internal)?}))
}

#[async_trait]
impl Tool for HeartbeatTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, context: &ToolContext, arguments: JsonObject) -> ToolResult {
        match self.answer(context, arguments).await {
            Ok(answer) => ToolResult::silent(format!("{answer:#}")),
            Err(error) if error.kind == ErrorKind::Internal => {
                tracing::error!(%error, "the heartbeat tool failed");
                ToolResult::error("The heartbeat cannot be reached just now. Try again later.")
            }
            Err(error) => ToolResult::error(error.message.to_string()),
        }
    }
}
