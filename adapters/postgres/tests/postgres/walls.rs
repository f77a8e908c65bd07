//! The second wall: what SQL that forgets the tenant can do.

use crate::support::{Database, agent, at, member, pairing, session, tenant, trace};
use chrono::{DateTime, Utc};
use goclaw_ports::{
    AgentId, ErrorKind, JsonObject, TenantId,
    activity::Activity,
    agents::{Agent, AgentShare, ContextFile},
    config_permissions::{ConfigPermission, Permission},
    pairing::PendingLimits,
    sessions::{ChatMessage, MessageRole, SessionDelta},
    stores::Stores,
};
use tokio_postgres::{Client, error::SqlState};
use uuid::Uuid;

const PROTECTED: &str = "select c.relname::text, c.relrowsecurity and c.relforcerowsecurity from pg_class c join pg_attribute a on a.attrelid = c.oid \
    where c.relkind = 'r' and a.attname = 'tenant_id' and c.relnamespace = current_schema()::regnamespace order by 1";

async fn as_tenant(client: &Client, tenant: TenantId) {
    client.batch_execute(&format!("set role goclaw_tenant; select set_config('goclaw.tenant', '{tenant}', false)")).await.unwrap();
}

fn share(agent: AgentId, user: &str, role: &str, granted_by: &str, when: DateTime<Utc>) -> AgentShare {
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

fn rule(agent: &Agent) -> ConfigPermission {
    ConfigPermission {
        id: Uuid::now_v7(),
        agent_id: agent.id,
        scope: "*".into(),
        config_type: "*".into(),
        user_id: "uma".into(),
        permission: Permission::Deny,
        granted_by: "olga".into(),
        metadata: JsonObject::new(),
        created_at: at(0),
        updated_at: at(0),
    }
}

/// A tenant with a row in each of the tables that the walls are tested on.
async fn populated(stores: &Stores) -> TenantId {
    let tenant = tenant(stores).await;
    let agent = agent(tenant, "a");
    let file = ContextFile { name: "SOUL.md".into(), content: "me".into() };
    stores.agents.insert(tenant, &agent, std::slice::from_ref(&file)).await.unwrap();
    stores.agents.touch_profile(tenant, agent.id, "uma", "/w", &[file], at(0)).await.unwrap();
    stores.agents.put_share(tenant, &share(agent.id, "uma", "user", "olga", at(0))).await.unwrap();
    stores.tenants.put_member(tenant, &member(tenant, "uma")).await.unwrap();
    stores.config_permissions.put(tenant, &rule(&agent)).await.unwrap();
    for code in ["waits", "paired"] {
        let code = format!("{code} {tenant}");
        stores.pairing.request(tenant, &pairing(&code), PendingLimits { together: 2, channel: 2 }, at(0)).await.unwrap();
    }
    stores.pairing.approve(tenant, &format!("paired {tenant}"), "olga", at(1), at(100)).await.unwrap().unwrap();
    stores.sessions.open(tenant, &session(&agent, "agent:a:ws:1"), at(0)).await.unwrap();
    let message = ChatMessage::new(MessageRole::User, "hello");
    stores.sessions.append(tenant, "agent:a:ws:1", &[message], &SessionDelta::default(), at(1)).await.unwrap();
    stores.system_configs.put(tenant, "k", "v", at(0)).await.unwrap();
    stores.traces.insert(tenant, &trace(0)).await.unwrap();
    let entry = Activity {
        id: Uuid::now_v7(),
        actor_type: "user".into(),
        actor_id: "uma".into(),
        action: "agent.created".into(),
        entity_type: String::new(),
        entity_id: String::new(),
        details: None,
        ip_address: String::new(),
        created_at: at(0),
    };
    stores.activity.append(tenant, &[entry]).await.unwrap();
    tenant
}

const POPULATED: [&str; 13] = [
    "activity_logs",
    "agent_config_permissions",
    "agent_context_files",
    "agent_shares",
    "agents",
    "paired_devices",
    "pairing_requests",
    "session_messages",
    "sessions",
    "system_configs",
    "tenant_users",
    "traces",
    "user_context_files",
];

#[tokio::test]
async fn every_table_with_a_tenant_has_its_wall() {
    let (database, _stores) = Database::opened().await;
    let tables = database.client().await.query(PROTECTED, &[]).await.unwrap();
    assert!(tables.len() >= 19);
    for table in tables {
        assert!(table.get::<_, bool>(1), "{} has no forced row-level security", table.get::<_, String>(0));
    }
}

#[tokio::test]
async fn sql_without_a_filter_sees_only_the_own_tenants_rows() {
    let (database, stores) = Database::opened().await;
    let (one, other) = (populated(&stores).await, tenant(&stores).await);
    let client = database.client().await;
    for table in POPULATED {
        let count = format!("select count(*) from {table}");
        as_tenant(&client, one).await;
        assert_eq!(client.query_one(&count, &[]).await.unwrap().get::<_, i64>(0), 1, "{table} as its owner");
        as_tenant(&client, other).await;
        assert_eq!(client.query_one(&count, &[]).await.unwrap().get::<_, i64>(0), 0, "{table} as another tenant");
        assert_eq!(client.execute(&format!("delete from {table}"), &[]).await.unwrap(), 0, "{table} as another tenant");
        client.batch_execute("set role goclaw_engine").await.unwrap();
        assert_eq!(client.query_one(&count, &[]).await.unwrap().get::<_, i64>(0), 1, "{table} as the engine");
    }
    as_tenant(&client, other).await;
    assert_eq!(client.query_one("select count(*) from tenants", &[]).await.unwrap().get::<_, i64>(0), 1);
}

#[tokio::test]
async fn without_a_tenant_nothing_is_seen() {
    let (database, stores) = Database::opened().await;
    populated(&stores).await;
    let client = database.client().await;
    client.batch_execute("set role goclaw_tenant").await.unwrap();
    assert_eq!(client.query_one("select count(*) from agents", &[]).await.unwrap().get::<_, i64>(0), 0);
    client.batch_execute("select set_config('goclaw.tenant', '', false)").await.unwrap();
    assert_eq!(client.query_one("select count(*) from agents", &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn rows_for_another_tenant_are_refused() {
    let (database, stores) = Database::opened().await;
    let (one, other) = (tenant(&stores).await, tenant(&stores).await);
    let client = database.client().await;
    as_tenant(&client, other).await;
    let insert = format!("insert into system_configs (tenant_id, key, value) values ('{one}', 'k', 'v')");
    assert_eq!(client.batch_execute(&insert).await.unwrap_err().code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    client.batch_execute(&insert.replace(&one.to_string(), &other.to_string())).await.unwrap();
    let moved = client.execute(&format!("update system_configs set tenant_id = '{one}'"), &[]).await.unwrap_err();
    assert_eq!(moved.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    let tool = client.batch_execute("insert into builtin_tools (name, display_name, description, category) values ('x', 'x', 'x', 'x')").await;
    assert_eq!(tool.unwrap_err().code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
}

#[tokio::test]
async fn nothing_hangs_on_another_tenants_agent() {
    let (_database, stores) = Database::opened().await;
    let (one, other) = (tenant(&stores).await, tenant(&stores).await);
    let agent = agent(one, "a");
    stores.agents.insert(one, &agent, &[]).await.unwrap();
    stores.agents.put_share(one, &share(agent.id, "uma", "user", "olga", at(0))).await.unwrap();
    let file = ContextFile { name: "USER.md".into(), content: String::new() };
    let refused = [
        stores.agents.put_share(other, &share(agent.id, "uma", "admin", "eve", at(0))).await.err(),
        stores.agents.put_file(other, agent.id, &file, at(0)).await.err(),
        stores.agents.put_user_file(other, agent.id, "uma", &file, at(0)).await.err(),
        stores.agents.touch_profile(other, agent.id, "uma", "/w", &[], at(0)).await.err(),
        stores.sessions.open(other, &session(&agent, "agent:a:ws:1"), at(0)).await.err(),
        stores.config_permissions.put(other, &rule(&agent)).await.err(),
    ];
    for outcome in refused {
        assert_eq!(outcome.unwrap().kind, ErrorKind::NotFound);
    }
    assert_eq!(stores.agents.share_role(one, agent.id, "uma").await.unwrap().as_deref(), Some("user"));
}

#[tokio::test]
async fn what_all_tenants_share_is_the_engines_alone() {
    let (database, stores) = Database::opened().await;
    let one = tenant(&stores).await;
    let client = database.client().await;
    for table in ["bus_events", "rate_limits"] {
        as_tenant(&client, one).await;
        for statement in [format!("select * from {table}"), format!("delete from {table}"), format!("insert into {table} default values")] {
            assert_eq!(client.batch_execute(&statement).await.unwrap_err().code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}");
        }
        client.batch_execute(&format!("set role goclaw_engine; select * from {table}")).await.unwrap();
        let kept = "select relpersistence = 'u' from pg_class where oid = $1::text::regclass";
        assert!(client.query_one(kept, &[&table]).await.unwrap().get::<_, bool>(0), "{table} is written ahead");
    }
}
