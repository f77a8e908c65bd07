//! The hand-written statements, and what PostgreSQL cannot store.

use crate::support::{Database, agent, at, session, span, tenant, trace};
use goclaw_ports::{
    JsonObject, TenantId,
    agents::{AgentPatch, ContextFile},
    builtin_tools::BuiltinTool,
    sessions::{ChatMessage, MessageRole, SessionDelta, SessionFilter},
    traces::{LEASE, TraceEnd, TraceFilter, TraceStatus},
};
use serde_json::json;

fn file(name: &str, content: &str) -> ContextFile {
    ContextFile { name: name.into(), content: content.into() }
}

#[tokio::test]
async fn nul_characters_are_replaced() {
    let (_database, stores) = Database::opened().await;
    let tenant = tenant(&stores).await;
    let agent = agent(tenant, "a");
    stores.agents.insert(tenant, &agent, &[file("SOUL.md", "x\0y")]).await.unwrap();
    assert_eq!(stores.agents.files(tenant, agent.id).await.unwrap()[0].content, "x\u{FFFD}y");
    stores.sessions.open(tenant, &session(&agent, "agent:a:ws:1"), at(0)).await.unwrap();
    let message = ChatMessage::new(MessageRole::User, "a\0b");
    stores.sessions.append(tenant, "agent:a:ws:1", &[message], &SessionDelta::default(), at(1)).await.unwrap();
    assert_eq!(stores.sessions.messages(tenant, "agent:a:ws:1", None).await.unwrap()[0].content, "a\u{FFFD}b");
    assert_eq!(stores.agents.find(tenant, "\0").await.unwrap(), None);
}

#[tokio::test]
async fn a_profile_is_seeded_once() {
    let (_database, stores) = Database::opened().await;
    let tenant = tenant(&stores).await;
    let agent = agent(tenant, "a");
    stores.agents.insert(tenant, &agent, &[]).await.unwrap();
    let first = stores.agents.touch_profile(tenant, agent.id, "uma", "/one", &[file("USER.md", "1")], at(1)).await.unwrap();
    assert_eq!((first.workspace.as_str(), first.first_seen_at, first.last_seen_at), ("/one", at(1), at(1)));
    let again = stores.agents.touch_profile(tenant, agent.id, "uma", "/two", &[file("OTHER.md", "2")], at(2)).await.unwrap();
    assert_eq!((again.workspace.as_str(), again.first_seen_at, again.last_seen_at), ("/one", at(1), at(2)));
    assert_eq!(stores.agents.user_files(tenant, agent.id, "uma").await.unwrap(), [file("USER.md", "1")]);
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_replaces_files() {
    let (_database, stores) = Database::opened().await;
    let tenant = tenant(&stores).await;
    let mut stored = agent(tenant, "a");
    stored.budget_monthly_cents = Some(5);
    stored.memory_config = Some(JsonObject::new());
    stores.agents.insert(tenant, &stored, &[file("A.md", "1"), file("B.md", "1")]).await.unwrap();
    let patch = AgentPatch { budget_monthly_cents: Some(None), display_name: Some("Ada".into()), ..AgentPatch::default() };
    let updated = stores.agents.update(tenant, stored.id, &patch, &[file("B.md", "2"), file("C.md", "2")], at(5)).await.unwrap().unwrap();
    assert_eq!(updated, goclaw_ports::agents::Agent { budget_monthly_cents: None, display_name: "Ada".into(), updated_at: at(5), ..stored.clone() });
    let files = stores.agents.files(tenant, stored.id).await.unwrap();
    assert_eq!(files, [file("A.md", "1"), file("B.md", "2"), file("C.md", "2")]);
    assert_eq!(stores.agents.find(tenant, &stored.id.to_string()).await.unwrap(), Some(updated));
}

#[tokio::test]
async fn sessions_are_found_by_the_parts_of_their_key() {
    let (_database, stores) = Database::opened().await;
    let tenant = tenant(&stores).await;
    let agent = agent(tenant, "a");
    stores.agents.insert(tenant, &agent, &[]).await.unwrap();
    for key in ["agent:a:ws:1", "agent:a_b:ws:1", "agent:axb:http:ws:1", "agent:a:ws"] {
        stores.sessions.open(tenant, &session(&agent, key), at(0)).await.unwrap();
    }
    let keys = async |agent_key: Option<&str>, channel: Option<&str>| {
        let filter = SessionFilter { agent_key: agent_key.map(Into::into), channel: channel.map(Into::into), limit: 50, ..SessionFilter::default() };
        let (sessions, total) = stores.sessions.list(tenant, &filter).await.unwrap();
        assert_eq!(sessions.len() as i64, total);
        let mut keys: Vec<_> = sessions.into_iter().map(|session| session.key).collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(Some("a_b"), None).await, ["agent:a_b:ws:1"]);
    assert_eq!(keys(None, Some("ws")).await, ["agent:a:ws:1", "agent:a_b:ws:1"]);
    assert_eq!(keys(Some("a"), Some("ws")).await, ["agent:a:ws:1"]);
    assert_eq!(keys(Some("%"), None).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_session_is_reset_to_nothing_said() {
    let (_database, stores) = Database::opened().await;
    let tenant = tenant(&stores).await;
    let agent = agent(tenant, "a");
    let key = "agent:a:ws:1";
    stores.agents.insert(tenant, &agent, &[]).await.unwrap();
    stores.sessions.open(tenant, &session(&agent, key), at(0)).await.unwrap();
    let say = |text: &str| ChatMessage { created_at: Some(at(1)), ..ChatMessage::new(MessageRole::User, text) };
    let delta = SessionDelta { model: Some("m".into()), metadata: [("k".to_owned(), "v".to_owned())].into(), ..SessionDelta::default() };
    stores.sessions.append(tenant, key, &[say("1"), say("2"), say("3")], &delta, at(1)).await.unwrap();
    assert_eq!(stores.sessions.messages(tenant, key, Some(2)).await.unwrap(), [say("2"), say("3")]);
    assert!(stores.sessions.reset(tenant, key, at(2)).await.unwrap());
    stores.sessions.append(tenant, key, &[say("4")], &SessionDelta::default(), at(3)).await.unwrap();
    assert_eq!(stores.sessions.messages(tenant, key, None).await.unwrap(), [say("4")]);
    let session = stores.sessions.find(tenant, key).await.unwrap().unwrap();
    assert_eq!((session.message_count, session.model.as_str(), session.metadata["k"].as_str()), (1, "m", "v"));
    assert!(!stores.sessions.reset(tenant, "agent:a:ws:2", at(2)).await.unwrap());
}

#[tokio::test]
async fn a_traces_totals_are_those_of_its_spans() {
    let (_database, stores) = Database::opened().await;
    let (tenant, other) = (tenant(&stores).await, tenant(&stores).await);
    let trace = trace(0);
    stores.traces.insert(tenant, &trace).await.unwrap();
    let (call, tool) = (span(&trace, "llm_call", 10, 0.5), span(&trace, "tool_call", 99, 0.25));
    stores.traces.put_spans(tenant, &[call.clone(), tool]).await.unwrap();
    let mut call_again = call.clone();
    call_again.input_tokens = Some(20);
    stores.traces.put_spans(tenant, &[call, call_again.clone()]).await.unwrap();
    stores.traces.put_spans(other, &[call_again]).await.unwrap();
    let (stored, spans) = stores.traces.find(tenant, trace.id).await.unwrap().unwrap();
    assert_eq!((stored.span_count, stored.llm_call_count, stored.tool_call_count), (2, 1, 1));
    assert_eq!((stored.total_input_tokens, stored.total_output_tokens, stored.total_cost), (20, 10, 0.75));
    assert!(spans.len() == 2 && spans.iter().all(|span| span.tenant_id == tenant));
    assert_eq!(stores.traces.find(other, trace.id).await.unwrap(), None);

    let end =
        TraceEnd { end_time: at(0) + chrono::TimeDelta::milliseconds(1234), status: TraceStatus::Completed, error: String::new(), output_preview: "ok".into() };
    assert!(!stores.traces.finish(other, trace.id, &end).await.unwrap());
    assert!(stores.traces.finish(tenant, trace.id, &end).await.unwrap());
    let (listed, total) = stores.traces.list(tenant, &TraceFilter { status: Some(TraceStatus::Completed), limit: 5, ..TraceFilter::default() }).await.unwrap();
    assert_eq!((listed[0].duration_ms, total), (Some(1234), 1));
}

#[tokio::test]
async fn the_tables_of_a_new_database_are_looked_at_as_soon_as_there_is_something_in_them() {
    let (database, stores) = Database::opened().await;
    let tenant = tenant(&stores).await;
    let looked_at = "select count(*) from pg_stat_user_tables where relname in ('traces', 'spans', 'sessions') and last_analyze is not null";
    let client = database.client().await;
    let count = async || client.query_one(looked_at, &[]).await.unwrap().get::<_, i64>(0);
    let trace = trace(0);
    stores.traces.insert(tenant, &trace).await.unwrap();
    let spans: Vec<_> = (0..100).map(|tokens| span(&trace, "event", tokens, 0.0)).collect();
    stores.traces.put_spans(tenant, &spans[..99]).await.unwrap();
    assert_eq!(count().await, 0);
    stores.traces.put_spans(tenant, &spans[99..]).await.unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(20), async { while count().await < 3 {} }).await.expect("statistics");
    let known = async || client.query_one("select reltuples from pg_class where oid = 'spans'::regclass", &[]).await.unwrap().get::<_, f32>(0) as i64;
    assert_eq!(known().await, 100);
    let more: Vec<_> = (0..900).map(|tokens| span(&trace, "event", tokens, 0.0)).collect();
    stores.traces.put_spans(tenant, &more).await.unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(20), async { while known().await < 1_000 {} }).await.expect("they are looked at again");
}

#[tokio::test]
async fn what_a_crash_left_running_fails_and_old_traces_go() {
    let (_database, stores) = Database::opened().await;
    let (one, other) = (tenant(&stores).await, tenant(&stores).await);
    let (early, late) = (trace(0), trace(100));
    stores.traces.insert(one, &early).await.unwrap();
    stores.traces.put_spans(one, &[span(&early, "agent", 0, 0.0)]).await.unwrap();
    stores.traces.insert(other, &late).await.unwrap();
    stores.traces.all_tenants_renew_leases(&[late.id], LEASE * 3).await.unwrap();
    assert_eq!(stores.traces.all_tenants_fail_running(Some(LEASE * 2), at(60), "gone").await.unwrap().len(), 1);
    let (failed, spans) = stores.traces.find(one, early.id).await.unwrap().unwrap();
    assert_eq!((failed.status, failed.error.as_str(), failed.duration_ms), (TraceStatus::Error, "gone", Some(60_000)));
    assert_eq!((spans[0].status, spans[0].end_time), (TraceStatus::Error, Some(at(60))));
    assert_eq!(stores.traces.find(other, late.id).await.unwrap().unwrap().0.status, TraceStatus::Running);
    assert_eq!(stores.traces.all_tenants_prune(at(200), 1).await.unwrap(), 1);
    assert_eq!(stores.traces.find(one, early.id).await.unwrap(), None);
    assert_eq!(stores.traces.all_tenants_prune(at(200), 10).await.unwrap(), 1);
}

fn tool(name: &str, settings: serde_json::Value, now: i64) -> BuiltinTool {
    BuiltinTool {
        name: name.into(),
        display_name: name.into(),
        description: format!("version {now}"),
        category: "web".into(),
        enabled: true,
        settings: serde_json::from_value(settings).unwrap(),
        requires: Vec::new(),
        metadata: JsonObject::new(),
        created_at: at(now),
        updated_at: at(now),
    }
}

#[tokio::test]
async fn seeding_keeps_what_was_set() {
    let (_database, stores) = Database::opened().await;
    stores.builtin_tools.all_tenants_seed(&[tool("a", json!({"k": 1}), 0), tool("b", json!({}), 0), tool("gone", json!({}), 0)]).await.unwrap();
    stores.builtin_tools.put_override(TenantId::MASTER, "a", false, at(0)).await.unwrap();
    stores.builtin_tools.put_override(TenantId::MASTER, "gone", false, at(0)).await.unwrap();
    stores.builtin_tools.all_tenants_seed(&[tool("a", json!({"k": 2}), 1), tool("b", json!({"n": 1}), 1), tool("c", json!({}), 1)]).await.unwrap();
    let tools = stores.builtin_tools.all_tenants_list().await.unwrap();
    let seen: Vec<_> = tools.iter().map(|tool| (tool.name.as_str(), json!(tool.settings), tool.created_at, tool.description.as_str())).collect();
    assert_eq!(seen, [("a", json!({"k": 1}), at(0), "version 1"), ("b", json!({"n": 1}), at(0), "version 1"), ("c", json!({}), at(1), "version 1")]);
    assert_eq!(stores.builtin_tools.overrides(TenantId::MASTER).await.unwrap(), [("a".to_owned(), false)]);
    stores.builtin_tools.all_tenants_seed(&[]).await.unwrap();
    assert_eq!(stores.builtin_tools.all_tenants_list().await.unwrap(), []);
}
