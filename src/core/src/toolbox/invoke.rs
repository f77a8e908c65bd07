//! Calling a tool without a model: `POST /v1/tools/invoke`.

use super::ToolBox;
use crate::{
    caller::{Access, Caller},
    policy, workspace,
};
use goclaw_ports::{
    Error, ErrorKind, JsonObject, Result,
    agents::{Agent, AgentType},
    roles::Role,
    tools::{ToolAgent, ToolContext, ToolEffect},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, path::PathBuf};

/// A call of a tool.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Invocation {
    /// The tool's name, or one of its other names.
    pub tool: String,
    /// Put into the arguments as `action`, if it is not empty.
    pub action: String,
    /// The arguments.
    pub args: Option<JsonObject>,
    /// Describe the tool instead of calling it.
    pub dry_run: bool,
    /// The agent whose workspace and policy hold.
    pub agent_id: String,
    /// The session that the call counts for.
    pub session_key: String,
    /// `http` if it is empty.
    pub channel: String,
    /// `api` if it is empty.
    pub chat_id: String,
    /// `direct` if it is empty.
    pub peer_kind: String,
}

/// How a call of a tool went.
#[derive(Debug, Clone)]
pub enum Invoked {
    /// The tool, described.
    DryRun {
        /// The name that was asked for.
        tool: String,
        /// What it does.
        description: String,
        /// The schema of its arguments.
        parameters: Value,
    },
    /// What it answered.
    Result {
        /// For the model.
        output: String,
        /// For the user.
        for_user: String,
    },
    /// It failed, or there is none; rendered as a nested error.
    Refused {
        /// The HTTP status.
        status: u16,
        /// `NOT_FOUND` or `TOOL_ERROR`.
        code: &'static str,
        /// Why.
        message: String,
    },
}

impl Serialize for Invoked {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::DryRun { tool, description, parameters } => {
                serde_json::json!({"tool": tool, "description": description, "parameters": parameters, "dryRun": true})
            }
            Self::Result { output, for_user } => serde_json::json!({"result": {"output": output, "forUser": for_user, "metadata": {}}}),
            Self::Refused { code, message, .. } => serde_json::json!({"error": {"code": code, "message": message}}),
        }
        .serialize(serializer)
    }
}

impl ToolBox {
    /// Calls a tool as a run of the agent would: its policy, the tenant's switches, its workspace, the hourly limit.
    /// Tools that may change something need an agent, or an admin.
    ///
    /// # Errors
    /// `Forbidden` below operator, or for an agent that the caller may not use; `RateLimited`; `Invalid` without a tool.
    pub async fn invoke(&self, caller: &Caller, call: Invocation) -> Result<Invoked> {
        const PATH: &str = "/v1/tools/invoke";
        caller.require(Role::Operator, Access::Write, PATH)?;
        // A bucket of its own: whoever calls tools can still chat.
        self.rate.take(caller.tenant, &format!("tools:{}", caller.limit_key)).await?;
        if call.tool.is_empty() {
            return Err(Error::required("tool"));
        }
        let named = if call.agent_id.is_empty() { crate::agents::DEFAULT_KEY } else { &call.agent_id };
        let agent = match self.agents.resolve(caller, named).await {
            Ok(agent) => Some(agent),
            Err(error) if error.kind == ErrorKind::NotFound => None,
            Err(error) if error.kind == ErrorKind::Forbidden && call.agent_id.is_empty() => None,
            Err(error) => return Err(error),
        };
        let policy = agent.as_ref().map(|agent| policy::of_agent(&agent.tools_config)).unwrap_or_default();
        let provider = agent.as_ref().map_or("", |agent| &agent.provider);
        let settings = self.rate.settings.of(caller.tenant).await?;
        let offer = self.offer(caller.tenant, &settings.tools.policy, &policy, provider, &[]).await?;
        let tool = offer.accepts(&call.tool).and_then(|name| self.tool(name));
        let Some(tool) = tool else {
            let (status, code, message) = match (call.dry_run, self.tool(&call.tool)) {
                (true, _) => (404, "NOT_FOUND", format!("tool not found: {}", call.tool)),
                (false, None) => (400, "TOOL_ERROR", format!("unknown tool: {}", call.tool)),
                (false, Some(_)) => (400, "TOOL_ERROR", format!("tool not allowed by policy: {}", call.tool)),
            };
            return Ok(Invoked::Refused { status, code, message });
        };
        let spec = tool.spec();
        if call.dry_run {
            return Ok(Invoked::DryRun { tool: call.tool, description: spec.description.clone(), parameters: spec.parameters.clone() });
        }
        if spec.effect != ToolEffect::Reads && agent.is_none() && !caller.is_admin() {
            return Err(Error::forbidden(format!("{PATH} with {} needs an agent that you may use", spec.name)));
        }
        let mut arguments = call.args.clone().unwrap_or_default();
        if !call.action.is_empty() {
            arguments.insert("action".into(), call.action.clone().into());
        }
        let context = self.context_of(caller, &call, agent.as_ref(), offer.switches.settings.get(spec.name).cloned().unwrap_or_default()).await?;
        let result = self.call(&context, &settings.tools, tool, arguments).await;
        if result.is_error {
            return Ok(Invoked::Refused { status: 400, code: "TOOL_ERROR", message: result.for_llm });
        }
        Ok(Invoked::Result { output: result.for_llm, for_user: result.for_user })
    }

    async fn context_of(&self, caller: &Caller, call: &Invocation, agent: Option<&Agent>, settings: JsonObject) -> Result<ToolContext> {
        let or = |text: &str, default: &str| if text.is_empty() { default.to_owned() } else { text.to_owned() };
        let channel = or(&call.channel, "http");
        let workspace = self.workspace_of(caller, agent, &channel).await?;
        Ok(ToolContext {
            tenant: caller.tenant,
            agent: agent.map(tool_agent),
            user: caller.user.to_string(),
            role: caller.role,
            session_key: call.session_key.clone(),
            run: None,
            channel,
            chat_id: or(&call.chat_id, "api"),
            peer_kind: or(&call.peer_kind, "direct"),
            workspace,
            shell_deny_groups: self.deny_groups(agent),
            run_share: 0.0,
            settings,
        })
    }

    /// The directory in which an agent works for the caller; made if it is not there. Without an agent, a directory of
    /// the user's own.
    pub(crate) async fn workspace_of(&self, caller: &Caller, agent: Option<&Agent>, channel: &str) -> Result<PathBuf> {
        let current = self.settings.get();
        // Whatever the call says of its chat, it comes from one user.
        let directory = match agent {
            Some(agent) => {
                let first = workspace::of_agent(&current, caller.tenant, &caller.tenant_slug, agent).join(workspace::segment(channel));
                let onboarding = current.agents.onboarding;
                let (profile, _) = self.files.enter(caller.tenant, agent, &caller.user, &first.to_string_lossy(), onboarding).await?;
                workspace::of_conversation(&PathBuf::from(profile), agent, &caller.user, "direct")
            }
            None => {
                let shared = current.agents.workspace.join("tenants").join(workspace::segment(&caller.tenant_slug)).join("_direct");
                workspace::of_user(&shared, &caller.user)
            }
        };
        tokio::fs::create_dir_all(&directory).await.map_err(Error::internal)?;
        Ok(directory)
    }

    /// The shell's deny groups: the installation's switches, then the agent's.
    pub(crate) fn deny_groups(&self, agent: Option<&Agent>) -> BTreeMap<String, bool> {
        let mut groups = self.settings.get().tools.shell_deny_groups.clone();
        let own = agent.and_then(|agent| agent.other("shell_deny_groups")).and_then(Value::as_object);
        groups.extend(own.into_iter().flatten().filter_map(|(name, on)| Some((name.clone(), on.as_bool()?))));
        groups
    }
}

/// What tools know of an agent.
pub(crate) fn tool_agent(agent: &Agent) -> ToolAgent {
    ToolAgent {
        id: agent.id,
        key: agent.agent_key.clone(),
        open: agent.agent_type == AgentType::Open,
        self_evolve: agent.other("self_evolve").and_then(Value::as_bool).unwrap_or(false),
    }
}
