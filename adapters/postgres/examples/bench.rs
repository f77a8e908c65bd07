use chrono::DateTime;
use goclaw_ports::{agents::*, sessions::*, tenants::*, *};
use std::time::Instant;
fn main() {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(async {
        let dsn = std::env::args().nth(1).unwrap();
        let stores = goclaw_postgres::open(goclaw_postgres::PostgresOptions { dsn: dsn.into(), max_connections: std::env::args().nth(2).unwrap().parse().unwrap(), migrate: true }).await.unwrap();
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let a: Agent = serde_json::from_value(serde_json::json!({"id": uuid::Uuid::now_v7(), "created_at": now, "updated_at": now, "tenant_id": TenantId::MASTER, "agent_key": uuid::Uuid::now_v7().to_string(), "owner_id": "o", "provider":"", "model":"", "context_window": 1, "max_tool_iterations": 1, "workspace":"", "restrict_to_workspace": true, "agent_type":"open", "is_default": false, "status":"active", "tools_config":{}, "other_config":{}})).unwrap();
        stores.agents.insert(TenantId::MASTER, &a, &[]).await.unwrap();
        let mut hs = vec![];
        for w in 0..64 { let k = format!("agent:{}:ws:{w}", a.agent_key); stores.sessions.open(TenantId::MASTER, &NewSession { id: SessionId(uuid::Uuid::now_v7()), key: k, agent_id: a.id, user_id: "u".into(), channel: "ws".into() }, now).await.unwrap(); }
        let t = Instant::now();
        for w in 0..64 { let s = stores.clone(); let k = format!("agent:{}:ws:{w}", a.agent_key);
            hs.push(tokio::spawn(async move { for _ in 0..500 { s.sessions.append(TenantId::MASTER, &k, &[ChatMessage::new(MessageRole::User, "hello there, how are you doing today? this is a message of common length for a chat.")], &SessionDelta::default(), now).await.unwrap(); } })); }
        for h in hs { h.await.unwrap(); }
        let e = t.elapsed(); println!("appends/s {:.0}", 32000.0 / e.as_secs_f64());
        let t = Instant::now(); let mut hs = vec![];
        for _ in 0..16 { let s = stores.clone(); let key = a.agent_key.clone(); hs.push(tokio::spawn(async move { for _ in 0..1000 { s.agents.find(TenantId::MASTER, &key).await.unwrap().unwrap(); } })); }
        for h in hs { h.await.unwrap(); }
        println!("finds/s {:.0}", 16000.0 / t.elapsed().as_secs_f64());
    });
}
