//! A database per test, and things to put into it.

use chrono::{DateTime, TimeDelta, Utc};
use goclaw_ports::{
    AgentId, JsonObject, SessionId, SpanId, TenantId, TraceId,
    agents::{Agent, AgentStatus, AgentType},
    limits::RateLimiter,
    pairing::PairingRequest,
    sessions::NewSession,
    stores::Stores,
    tenants::{Member, MemberRole, Tenant, TenantStatus},
    traces::{Span, Trace, TraceStatus},
};
use goclaw_postgres::{Opened, PostgresOptions};
use secrecy::SecretString;
use std::{collections::BTreeMap, sync::Arc};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// A database of its own, dropped at the end.
pub struct Database {
    server: String,
    name: String,
}

impl Database {
    pub async fn new() -> Self {
        let database = Self { server: server(), name: format!("t_{}", Uuid::new_v4().simple()) };
        client(&database.server).await.batch_execute(&format!("create database {}", database.name)).await.unwrap();
        database
    }

    /// A new database with the schema in it, and its stores.
    pub async fn opened() -> (Self, Stores) {
        let database = Self::new().await;
        let stores = database.open(true).await.unwrap();
        (database, stores)
    }

    pub async fn open(&self, migrate: bool) -> goclaw_ports::Result<Stores> {
        Ok(self.open_all(migrate, None).await?.stores)
    }

    /// All of the adapter, with what decides about rate limits while the database cannot.
    pub async fn open_all(&self, migrate: bool, fallback_limiter: Option<Arc<dyn RateLimiter>>) -> goclaw_ports::Result<Opened> {
        goclaw_postgres::open(PostgresOptions { dsn: self.dsn(), max_connections: 10, migrate, fallback_limiter }).await
    }

    pub fn dsn(&self) -> SecretString {
        SecretString::from(self.url())
    }

    /// The DSN of this database for another user, who is given it.
    pub async fn dsn_of_owner(&self, user: &str) -> SecretString {
        client(&self.server).await.batch_execute(&format!("alter database {} owner to {user}", self.name)).await.unwrap();
        let url = self.url();
        let (_, address) = url.split_once('@').unwrap();
        SecretString::from(format!("postgres://{user}:{user}@{address}"))
    }

    /// A connection of the connecting user's own, behind no wall.
    pub async fn client(&self) -> Client {
        client(&self.url()).await
    }

    fn url(&self) -> String {
        let (address, options) =
            self.server.split_once('?').map_or((self.server.as_str(), String::new()), |(address, options)| (address, format!("?{options}")));
        let (server, _) = address.rsplit_once('/').unwrap();
        format!("{server}/{}{options}", self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, drop) = (self.server.clone(), format!("drop database if exists {} with (force)", self.name));
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { client(&server).await.batch_execute(&drop).await.unwrap() });
        });
        if dropping.join().is_err() {
            eprintln!("the test's database {} is left behind", self.name);
        }
    }
}

/// The server's DSN.
#[expect(clippy::disallowed_methods, reason = "only the one who runs the tests knows where the server is")]
pub fn server() -> String {
    std::env::var("GOCLAW_TEST_POSTGRES_DSN").expect("set GOCLAW_TEST_POSTGRES_DSN=postgres://user:password@host:port/database, or run `make test`")
}

pub async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A fixed time, this many seconds after another.
pub fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap() + TimeDelta::seconds(seconds)
}

pub async fn tenant(stores: &Stores) -> TenantId {
    let id = TenantId(Uuid::now_v7());
    let slug = id.0.simple().to_string();
    let tenant = Tenant { id, name: "Acme".into(), slug, status: TenantStatus::Active, settings: JsonObject::new(), created_at: at(0), updated_at: at(0) };
    stores.tenants.insert(&tenant).await.unwrap();
    id
}

pub fn agent(tenant: TenantId, key: &str) -> Agent {
    Agent {
        id: AgentId(Uuid::now_v7()),
        created_at: at(0),
        updated_at: at(0),
        tenant_id: tenant,
        agent_key: key.into(),
        display_name: String::new(),
        frontmatter: String::new(),
        owner_id: "olga".into(),
        provider: String::new(),
        model: String::new(),
        context_window: 200_000,
        max_tool_iterations: 30,
        workspace: "/w".into(),
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

pub fn member(tenant: TenantId, user: &str) -> Member {
    Member {
        id: Uuid::now_v7(),
        tenant_id: tenant,
        user_id: user.into(),
        display_name: None,
        role: MemberRole::Member,
        metadata: JsonObject::new(),
        created_at: at(0),
        updated_at: at(0),
    }
}

/// A request of a browser, void an hour later.
pub fn pairing(code: &str) -> PairingRequest {
    PairingRequest {
        code: code.into(),
        sender: format!("alias of {code}"),
        channel: "browser".into(),
        chat_id: String::new(),
        account_id: "default".into(),
        user_id: String::new(),
        counted_as: "192.0.2.1".into(),
        metadata: BTreeMap::new(),
        created_at: at(0),
        expires_at: at(3600),
    }
}

pub fn session(agent: &Agent, key: &str) -> NewSession {
    NewSession { id: SessionId(Uuid::now_v7()), key: key.into(), agent_id: agent.id, user_id: "uma".into(), channel: "ws".into() }
}

pub fn trace(start: i64) -> Trace {
    Trace {
        id: TraceId(Uuid::now_v7()),
        parent_trace_id: None,
        agent_id: None,
        user_id: "uma".into(),
        session_key: "agent:a:ws:1".into(),
        run_id: "run".into(),
        start_time: at(start),
        end_time: None,
        duration_ms: None,
        name: String::new(),
        channel: "ws".into(),
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
        tags: vec!["t".into()],
        team_id: None,
        created_at: at(start),
    }
}

pub fn span(trace: &Trace, span_type: &str, tokens: i64, cost: f64) -> Span {
    Span {
        id: SpanId(Uuid::now_v7()),
        trace_id: trace.id,
        parent_span_id: None,
        agent_id: None,
        span_type: span_type.into(),
        name: "s".into(),
        start_time: trace.start_time,
        end_time: None,
        duration_ms: None,
        status: TraceStatus::Running,
        error: String::new(),
        level: "DEFAULT".into(),
        model: String::new(),
        provider: String::new(),
        input_tokens: Some(tokens),
        output_tokens: Some(tokens),
        total_cost: Some(cost),
        finish_reason: String::new(),
        tool_name: String::new(),
        tool_call_id: String::new(),
        input_preview: Default::default(),
        output_preview: String::new(),
        metadata: JsonObject::new(),
        tenant_id: TenantId::MASTER,
        created_at: trace.created_at,
    }
}
