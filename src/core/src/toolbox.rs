//! The tools of the installation: which there are, who may use them, and calling them.

mod invoke;

pub(crate) use invoke::tool_agent;
pub use invoke::{Invocation, Invoked};

use crate::{
    agents::Agents,
    caller::{Access, Caller},
    context_files::ContextFiles,
    counters,
    known::{KnownTools, Switches},
    policy,
    rate::RequestRate,
    redact::redact,
    settings::{LiveSettings, ToolSettings},
};
use futures_util::FutureExt;
use goclaw_ports::{
    Error, JsonObject, Result, TenantId,
    builtin_tools::{BuiltinTool, BuiltinToolStore as _},
    clock::Clock,
    llm::ToolDefinition,
    roles::Role,
    tools::{Tool, ToolContext, ToolResult, Tools},
};
use moka::sync::Cache;
use schemars::JsonSchema;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How many lists of tools are kept as models were told of them.
const TOLD: u64 = 100;
const HOUR: chrono::TimeDelta = chrono::TimeDelta::hours(1);

/// The catalogue's rows for the tools that this version has: name, display name, description, category, hint.
const CATALOGUE: &[(&str, &str, &str, &str, &str)] = &[
    ("sessions_list", "List Sessions", "Lists the agent's conversations with the same user.", "sessions", ""),
    ("session_status", "Session Status", "Tells about a conversation: its model, length, tokens and last change.", "sessions", ""),
    ("sessions_history", "Session History", "Reads the newest messages of another conversation with the same user.", "sessions", ""),
    ("sessions_send", "Send to Session", "Sends a message into another conversation with the same user.", "sessions", ""),
    ("read_file", "Read File", "Reads a text file in the workspace, as a whole or in part.", "filesystem", ""),
    ("write_file", "Write File", "Creates, replaces or extends a file in the workspace.", "filesystem", ""),
    ("edit", "Edit File", "Replaces an exact piece of text in a file of the workspace.", "filesystem", ""),
    ("list_files", "List Files", "Lists what is in a directory of the workspace.", "filesystem", ""),
    ("exec", "Execute Command", "Runs a shell command in the workspace, within the limits of the safety policy.", "runtime", "Config → Tools → Exec Approval"),
    ("tts", "Text to Speech", "Speaks a text and attaches the audio to the reply.", "media", "Config → TTS"),
    ("web_fetch", "Web Fetch", "Fetches a public web page and turns it into readable text.", "web", ""),
    ("spawn", "Spawn", "Hands a task to a copy of the agent that works on its own.", "subagents", "Config → Agents Defaults"),
    ("delegate", "Delegate", "Hands a task to another agent that a link leads to.", "subagents", ""),
];

/// What a tool cannot do without, for people who look at the catalogue.
fn requires(tool: &str) -> &'static [&'static str] {
    match tool {
        "tts" => &["tts_provider"],
        _ => &[],
    }
}

/// When a session called tools within the last hour.
type RecentCalls = Arc<Mutex<VecDeque<chrono::DateTime<chrono::Utc>>>>;

/// The tools of the installation.
pub struct ToolBox {
    tools: BTreeMap<&'static str, Arc<dyn Tool>>,
    pub(crate) store: Arc<KnownTools>,
    pub(crate) agents: Arc<Agents>,
    pub(crate) files: Arc<ContextFiles>,
    pub(crate) settings: Arc<LiveSettings>,
    pub(crate) rate: Arc<RequestRate>,
    pub(crate) clock: Arc<dyn Clock>,
    calls: Cache<(TenantId, String), RecentCalls>,
    /// What models were told of tools lately, by prefix and tools: the same thing for each run of an agent.
    told: Cache<(String, BTreeSet<&'static str>), Arc<[ToolDefinition]>>,
}

/// A tool of the catalogue as lists show it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CatalogueEntry {
    /// The tool.
    #[serde(flatten)]
    pub tool: BuiltinTool,
    /// The tenant's switch; absent if the tenant has set none at all, `null` if it has not set this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<bool>")]
    pub tenant_enabled: Option<Option<bool>>,
}

impl ToolBox {
    /// Holds these tools.
    pub(crate) fn new(
        tools: Tools,
        store: Arc<KnownTools>,
        agents: Arc<Agents>,
        files: Arc<ContextFiles>,
        settings: Arc<LiveSettings>,
        rate: Arc<RequestRate>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let tools = tools.into_iter().map(|tool| (tool.spec().name, tool)).collect();
        let calls = Cache::builder().max_capacity(50_000).time_to_idle(Duration::from_secs(3_600)).build();
        Self { tools, store, agents, files, settings, rate, clock, calls, told: Cache::new(TOLD) }
    }

    /// Makes the stored catalogue hold the tools of this version.
    pub(crate) async fn seed(&self) -> Result<()> {
        let now = self.clock.now();
        let row = |(name, display_name, description, category, hint): &(&str, &str, &str, &str, &str)| BuiltinTool {
            name: (*name).into(),
            display_name: (*display_name).into(),
            description: (*description).into(),
            category: (*category).into(),
            enabled: true,
            settings: JsonObject::new(),
            requires: requires(name).iter().map(|what| (*what).to_owned()).collect(),
            metadata: if hint.is_empty() { JsonObject::new() } else { JsonObject::from_iter([("config_hint".to_owned(), (*hint).into())]) },
            created_at: now,
            updated_at: now,
        };
        self.store.all_tenants_seed(&CATALOGUE.iter().map(row).collect::<Vec<_>>()).await
    }

    /// The catalogue, by category, then name, with the tenant's switches.
    ///
    /// # Errors
    /// `Forbidden` below viewer.
    pub async fn catalogue(&self, caller: &Caller) -> Result<Vec<CatalogueEntry>> {
        caller.require(Role::Viewer, Access::Read, "/v1/tools/builtin")?;
        let switches: BTreeMap<String, bool> = self.store.overrides(caller.tenant).await?.into_iter().collect();
        let tools = self.store.all_tenants_list().await?;
        let entry = |tool: BuiltinTool| {
            let tenant_enabled = (!switches.is_empty()).then(|| switches.get(&tool.name).copied());
            CatalogueEntry { tool, tenant_enabled }
        };
        Ok(tools.into_iter().map(entry).collect())
    }

    /// One tool of the catalogue.
    ///
    /// # Errors
    /// `Forbidden` below viewer, `NotFound`.
    pub async fn catalogue_entry(&self, caller: &Caller, name: &str) -> Result<BuiltinTool> {
        caller.require(Role::Viewer, Access::Read, "/v1/tools/builtin/{name}")?;
        let tools = self.store.all_tenants_list().await?;
        tools.into_iter().find(|tool| tool.name == name).ok_or_else(|| Error::not_found("tool", name))
    }

    /// How many tools there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.tools.len()
    }

    /// The tools that an agent of the tenant may use with a model of `provider`, under the tenant's policy and its own; of
    /// them those in `only`, if it names any.
    pub(crate) async fn offer(
        &self,
        tenant: TenantId,
        global: &policy::ToolPolicy,
        agent: &policy::ToolPolicy,
        provider: &str,
        only: &[String],
    ) -> Result<Offer> {
        let switches = self.store.switches(tenant).await?;
        let names = self.tools.keys().copied().filter(|name| !switches.off.contains(*name));
        let names: Vec<&'static str> = names.collect();
        let allowed = policy::allowed(names.iter().copied(), global, agent, provider, only);
        let allowed = names.into_iter().filter(|name| allowed.contains(name)).collect();
        Ok(Offer { allowed, prefix: agent.tool_call_prefix.clone(), switches })
    }

    /// What models are told of the tools on offer: each under its own name and its other names.
    pub(crate) fn definitions(&self, offer: &Offer) -> Arc<[ToolDefinition]> {
        self.told.get_with((offer.prefix.clone(), offer.allowed.clone()), || self.defined(offer))
    }

    fn defined(&self, offer: &Offer) -> Arc<[ToolDefinition]> {
        let define = |(name, tool): (&str, &Arc<dyn Tool>)| ToolDefinition {
            name: policy::with_prefix(&offer.prefix, name),
            description: tool.spec().description.clone(),
            parameters: tool.spec().parameters.clone(),
        };
        let named = offer.allowed.iter().filter_map(|name| self.tools.get(name).map(|tool| (*name, tool)));
        let with_aliases = named.flat_map(|(name, tool)| std::iter::once((name, tool)).chain(policy::aliases(name).map(move |alias| (alias, tool))));
        with_aliases.map(define).collect()
    }

    /// The tool of this name or other name.
    pub(crate) fn tool(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.tools.get(policy::canonical(name))
    }

    /// One line about each tool on offer, for the prompt.
    pub(crate) fn summaries(&self, offer: &Offer) -> Vec<(String, String)> {
        let summary = |name: &&'static str| {
            let tool = self.tools.get(name)?;
            let first = tool.spec().description.split_inclusive(". ").next().unwrap_or_default().trim().to_owned();
            Some((policy::with_prefix(&offer.prefix, name), first))
        };
        offer.allowed.iter().filter_map(summary).collect()
    }

    /// Calls a tool: within the hour's limit, with secrets struck out of the answer. A tool that panics has failed.
    pub(crate) async fn call(&self, context: &ToolContext, settings: &ToolSettings, tool: &Arc<dyn Tool>, arguments: JsonObject) -> ToolResult {
        if let Some(refused) = self.over_limit(context, settings.rate_limit_per_hour) {
            return refused;
        }
        let spec = tool.spec();
        let required: Vec<&str> = spec.parameters["required"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_str).collect();
        if arguments.is_empty() && !required.is_empty() {
            return ToolResult::error(format!(
                "The call of {} came without arguments; {} must be given. If the arguments were long, they were probably cut off: split the work into smaller calls.",
                spec.name,
                required.join(", ")
            ));
        }
        let started = std::time::Instant::now();
        let mut result = AssertUnwindSafe(tool.call(context, arguments)).catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!(tool = spec.name, "a tool panicked");
            ToolResult::error(format!("The tool {} failed unexpectedly.", spec.name))
        });
        counters::tool_call(spec.name, result.is_error, started.elapsed());
        if settings.scrub_credentials {
            result.for_llm = redact(&result.for_llm).into_owned();
            result.for_user = redact(&result.for_user).into_owned();
        }
        result
    }

    fn over_limit(&self, context: &ToolContext, limit: u32) -> Option<ToolResult> {
        if limit == 0 {
            return None;
        }
        let key = if context.session_key.is_empty() {
            format!("{}:{}", context.agent.as_ref().map_or("", |agent| &agent.key), context.user)
        } else {
            context.session_key.clone()
        };
        let calls = self.calls.get_with((context.tenant, key), Arc::default);
        let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        while calls.front().is_some_and(|at| now - *at >= HOUR) {
            calls.pop_front();
        }
        if calls.len() >= limit as usize {
            return Some(ToolResult::error(format!(
                "tool rate limit exceeded: {limit} actions/hour. Wait before calling more tools, or answer with what you have."
            )));
        }
        calls.push_back(now);
        None
    }
}

/// The tools that an agent may use.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offer {
    /// Their real names.
    pub allowed: BTreeSet<&'static str>,
    /// What their names carry for this agent's model.
    pub prefix: String,
    /// The settings of all tools.
    pub switches: Arc<Switches>,
}

impl Offer {
    /// The real name of what a model called, if it is on offer.
    pub fn accepts<'n>(&self, called: &'n str) -> Option<&'n str> {
        let name = policy::canonical(policy::without_prefix(&self.prefix, called.trim()));
        self.allowed.contains(name).then_some(name)
    }
}
