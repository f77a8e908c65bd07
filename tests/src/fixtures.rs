//! Rows to begin with. Take one and change what the test is about: `Agent { is_default: true, ..agent(tenant, "fox") }`.

use crate::TestDatabase;
use chrono::{DateTime, TimeDelta, Utc};
use goclaw_ports::{
    AgentId, ApiKeyId, JsonObject, ProviderId, SessionId, SpanId, TenantId, TraceId,
    activity::Activity,
    agents::{Agent, AgentShare, AgentStatus, AgentType, ContextFile},
    api_keys::ApiKey,
    builtin_tools::BuiltinTool,
    providers::ProviderRow,
    roles::Scope,
    sealer::Sealed,
    sessions::{ChatMessage, MessageRole, NewSession, Session},
    stores::Stores,
    tenants::{Member, MemberRole, Tenant, TenantStatus},
    traces::{Span, Trace, TraceStatus},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A moment in the past that has microseconds, plus `seconds`.
#[must_use]
pub fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_767_323_045_678_901).expect("a valid time") + TimeDelta::seconds(seconds)
}

/// The JSON object that `value` is.
#[must_use]
pub fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(object) => object,
        other => panic!("not an object: {other}"),
    }
}

/// An object with what JSON columns must give back unchanged: unknown keys, nesting, every kind of value, text of all planes.
#[must_use]
pub fn odd_json() -> JsonObject {
    object(json!({
        "unknown key": {"deep": [1, [2, {"deeper": null}]]},
        "": "empty key",
        "big": 9_007_199_254_740_993_i64,
        "negative": -1,
        "fraction": 0.1,
        "yes": true,
        "text": "Xin chào 🦀 \u{10FFFF} 'quoted' \"twice\" back\\slash\nline",
        "ключ": [],
        "empty": {}
    }))
}

/// A tenant, made at `at(0)`.
#[must_use]
pub fn tenant(slug: &str) -> Tenant {
    Tenant {
        id: TenantId(Uuid::now_v7()),
        name: format!("Tenant {slug}"),
        slug: slug.to_owned(),
        status: TenantStatus::Active,
        settings: JsonObject::new(),
        created_at: at(0),
        updated_at: at(0),
    }
}

/// A membership without a display name, made at `at(0)`.
#[must_use]
pub fn member(tenant: TenantId, user: &str, role: MemberRole) -> Member {
    Member {
        id: Uuid::now_v7(),
        tenant_id: tenant,
        user_id: user.to_owned(),
        display_name: None,
        role,
        metadata: JsonObject::new(),
        created_at: at(0),
        updated_at: at(0),
    }
}

/// An active open agent of `owner@example.com`, made at `at(0)`.
#[must_use]
pub fn agent(tenant: TenantId, key: &str) -> Agent {
    Agent {
        id: AgentId(Uuid::now_v7()),
        created_at: at(0),
        updated_at: at(0),
        tenant_id: tenant,
        agent_key: key.to_owned(),
        display_name: String::new(),
        frontmatter: String::new(),
        owner_id: "owner@example.com".to_owned(),
        provider: "openai".to_owned(),
        model: "stub".to_owned(),
        context_window: 200_000,
        max_tool_iterations: 30,
        workspace: format!("/var/lib/goclaw/{key}"),
        restrict_to_workspace: true,
        agent_type: AgentType::Open,
        is_default: false,
        status: AgentStatus::Active,
        budget_monthly_cents: None,
        tools_config: JsonObject::new(),
        sandbox_config: None,
        subagents_config: None,
        memory_config: None,
        compaction_config: None,
        context_pruning: None,
        other_config: JsonObject::new(),
    }
}

/// A share of an agent, with an id of its own.
#[must_use]
pub fn share(agent: AgentId, user: &str, role: &str, granted_by: &str, when: DateTime<Utc>) -> AgentShare {
    AgentShare {
        id: Uuid::now_v7(),
        created_at: when,
        updated_at: when,
        agent_id: agent,
        user_id: user.to_owned(),
        role: role.to_owned(),
        granted_by: granted_by.to_owned(),
    }
}

/// A context file.
#[must_use]
pub fn file(name: &str, content: &str) -> ContextFile {
    ContextFile { name: name.to_owned(), content: content.to_owned() }
}

/// An enabled provider that speaks like OpenAI, made at `at(0)`.
#[must_use]
pub fn provider(tenant: TenantId, name: &str) -> ProviderRow {
    ProviderRow {
        id: ProviderId(Uuid::now_v7()),
        tenant_id: tenant,
        name: name.to_owned(),
        display_name: String::new(),
        provider_type: "openai_compat".to_owned(),
        api_base: "https://llm.example/v1".to_owned(),
        api_key: Some(Sealed(format!("x1:{name}"))),
        enabled: true,
        settings: JsonObject::new(),
        created_at: at(0),
        updated_at: at(0),
    }
}

/// An API key that may do everything in `tenant`, made at `at(0)`.
#[must_use]
pub fn api_key(tenant: Option<TenantId>, name: &str) -> ApiKey {
    ApiKey {
        id: ApiKeyId(Uuid::now_v7()),
        tenant_id: tenant,
        name: name.to_owned(),
        prefix: "goclaw_0".to_owned(),
        scopes: vec![Scope::Admin],
        owner_id: String::new(),
        expires_at: None,
        last_used_at: None,
        revoked: false,
        created_by: "seed".to_owned(),
        created_at: at(0),
        updated_at: at(0),
    }
}

/// A fresh raw API key: `goclaw_` and 128 bits in hex.
#[must_use]
pub fn raw_api_key() -> String {
    format!("goclaw_{}", Uuid::new_v4().simple())
}

/// What the server keeps of a raw API key.
#[must_use]
pub fn api_key_hash(raw: &str) -> String {
    hex::encode(Sha256::digest(raw.as_bytes()))
}

/// A session of `user@example.com`.
#[must_use]
pub fn new_session(agent: AgentId, key: &str) -> NewSession {
    NewSession { id: SessionId(Uuid::now_v7()), key: key.to_owned(), agent_id: agent, user_id: "user@example.com".to_owned(), channel: "ws".to_owned() }
}

/// A user's message, said at `at(0)`.
#[must_use]
pub fn said(text: impl Into<String>) -> ChatMessage {
    ChatMessage { created_at: Some(at(0)), ..ChatMessage::new(MessageRole::User, text) }
}

/// A running trace, started at `at(0)`.
#[must_use]
pub fn trace() -> Trace {
    Trace {
        id: TraceId(Uuid::now_v7()),
        parent_trace_id: None,
        agent_id: None,
        user_id: String::new(),
        session_key: String::new(),
        run_id: String::new(),
        start_time: at(0),
        end_time: None,
        duration_ms: None,
        name: String::new(),
        channel: String::new(),
        input_preview: String::new(),
        output_preview: String::new(),
        total_input_tokens: 0,
        total_output_tokens: 0,
        total_cost: 0.0,
        span_count: 0,
        llm_call_count: 0,
        tool_call_count: 0,
        status: TraceStatus::Running,
        error: String::new(),
        metadata: JsonObject::new(),
        tags: Vec::new(),
        team_id: None,
        created_at: at(0),
    }
}

/// A completed span of a second's length, started at `at(0)`.
#[must_use]
pub fn span(tenant: TenantId, trace: TraceId, span_type: &str) -> Span {
    Span {
        end_time: Some(at(1)),
        duration_ms: Some(1000),
        status: TraceStatus::Completed,
        ..Span::begun(SpanId(Uuid::now_v7()), tenant, trace, span_type, span_type, at(0))
    }
}

/// An entry of the audit log, made at `at(0)`.
#[must_use]
pub fn activity(action: &str) -> Activity {
    Activity {
        id: Uuid::now_v7(),
        actor_type: "user".to_owned(),
        actor_id: "user@example.com".to_owned(),
        action: action.to_owned(),
        entity_type: String::new(),
        entity_id: String::new(),
        details: None,
        ip_address: String::new(),
        created_at: at(0),
    }
}

/// An enabled tool of the catalogue, made at `at(0)`.
#[must_use]
pub fn builtin_tool(name: &str, category: &str) -> BuiltinTool {
    BuiltinTool {
        name: name.to_owned(),
        display_name: name.to_owned(),
        description: format!("Does {name}."),
        category: category.to_owned(),
        enabled: true,
        settings: JsonObject::new(),
        requires: Vec::new(),
        metadata: JsonObject::new(),
        created_at: at(0),
        updated_at: at(0),
    }
}

impl TestDatabase {
    /// Stores a tenant.
    pub async fn tenant(&self, slug: &str) -> TenantId {
        add_tenant(&self.stores, slug).await
    }

    /// Stores an agent.
    pub async fn agent(&self, tenant: TenantId, key: &str) -> Agent {
        let agent = agent(tenant, key);
        self.stores.agents.insert(tenant, &agent, &[]).await.expect("the agent is stored");
        agent
    }

    /// Opens a session.
    pub async fn session(&self, tenant: TenantId, agent: AgentId, key: &str) -> Session {
        self.stores.sessions.open(tenant, &new_session(agent, key), at(0)).await.expect("the session is opened")
    }
}

/// Stores a tenant.
pub async fn add_tenant(stores: &Stores, slug: &str) -> TenantId {
    let tenant = tenant(slug);
    stores.tenants.insert(&tenant).await.expect("the tenant is stored");
    tenant.id
}

/// Makes `user` a member of the tenant.
pub async fn add_member(stores: &Stores, tenant: TenantId, user: &str, role: MemberRole) {
    stores.tenants.put_member(tenant, &member(tenant, user, role)).await.expect("the member is stored");
}

/// Stores an API key with these scopes and answers with the raw key.
pub async fn add_api_key(stores: &Stores, tenant: Option<TenantId>, scopes: &[Scope], owner: &str) -> String {
    let raw = raw_api_key();
    let key = ApiKey { scopes: scopes.to_vec(), owner_id: owner.to_owned(), prefix: raw[..11].to_owned(), ..api_key(tenant, "seeded") };
    stores.api_keys.insert(&key, &api_key_hash(&raw)).await.expect("the API key is stored");
    raw
}
