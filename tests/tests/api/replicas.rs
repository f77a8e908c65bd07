//! Two gateways on one database behave as one.

use crate::common::{create_agent, create_agent_with, message, question};
use goclaw_tests::{Answer, Edition, Server, Setup, eventually};
use serde_json::{Value, json};

async fn pair() -> (Server, Server) {
    let one = Server::start(Edition::Standard).await;
    let two = one.twin().await;
    (one, two)
}

/// Ends the connections on which the gateways wait for each other's events.
async fn cut_listeners(server: &Server) {
    let (client, connection) = tokio_postgres::connect(&server.environment()["GOCLAW_POSTGRES_DSN"], tokio_postgres::NoTls).await.unwrap();
    let driving = tokio::spawn(connection);
    let cut = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query ilike '%listen goclaw_events%' and pid <> pg_backend_pid()";
    assert!(client.query(cut, &[]).await.unwrap().len() >= 2, "both listen");
    drop(client);
    driving.await.unwrap().unwrap();
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runs_events_reach_the_sockets_of_both() {
    let (one, two) = pair().await;
    create_agent(&one.owner(), "fox").await;
    let (mut here, mut there) = (one.owner_socket().await, two.owner_socket().await);
    for round in 0..5 {
        one.llm.next(Answer::text("one two three four five six seven eight nine ten").chunks(10));
        let session = format!("agent:fox:ws:direct:{round}");
        here.call("chat.send", &json!({"message": "hi", "agentId": "fox", "sessionKey": session, "stream": true})).await.unwrap();
        let (own, others) = (here.run_events_of(&session).await, there.run_events_of(&session).await);
        assert_eq!(own, others, "the same events in the same order");
        assert_eq!((types(&own)[0], *types(&own).last().unwrap()), ("run.started", "run.completed"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_revoked_here_is_refused_there_and_its_sockets_are_closed() {
    let (one, two) = pair().await;
    let created = one.owner().post("/v1/api-keys", &json!({"name": "k", "scopes": ["operator.write"]})).await.expect(201);
    let key = created["key"].as_str().unwrap();
    let client = two.with_key(key).user("mai");
    assert_eq!(client.get("/v1/agents").await.status, 200);
    let mut socket = two.connected(&json!({"token": key, "user_id": "mai"})).await;
    one.owner().delete(&format!("/v1/api-keys/{}", created["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(socket.wait_for_close().await, Some(1008));
    eventually("the key is refused", async || client.get("/v1/agents").await.status == 401).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_removed_here_learns_it_there() {
    let (one, two) = pair().await;
    let tenant = one.owner().post("/v1/tenants", &json!({"name": "A", "slug": "a"})).await.expect(201)["id"].as_str().unwrap().to_owned();
    one.owner().post(&format!("/v1/tenants/{tenant}/users"), &json!({"user_id": "mai"})).await.expect(201);
    let mut socket = two.connected(&json!({"token": goclaw_tests::server::GATEWAY_TOKEN, "user_id": "mai", "tenant_id": "a"})).await;
    one.owner().delete(&format!("/v1/tenants/{tenant}/users/mai")).await.expect(200);
    assert_eq!(socket.event_named("tenant.access.revoked").await["payload"], json!({"user_id": "mai", "tenant_id": tenant}));
    assert_eq!(socket.call("agents.list", &json!({})).await.unwrap_err().code, "TENANT_ACCESS_REVOKED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_stored_here_answers_there() {
    let (one, two) = pair().await;
    create_agent_with(&one.owner(), "fox", json!({"provider": "mine", "model": "m"})).await;
    let asked = async || {
        two.owner().post("/v1/chat/completions", &question("fox", "hi")).await.expect(200);
        one.llm.questions().iter().chain(&two.llm.questions()).last().map(|asked| asked.header("authorization").unwrap_or_default().to_owned())
    };
    let stored = json!({"name": "mine", "provider_type": "openai_compat", "api_base": one.llm.base(), "api_key": "sk-of-mine", "enabled": true});
    let id = one.owner().post("/v1/providers", &stored).await.expect(201)["id"].as_str().unwrap().to_owned();
    eventually("the provider is used", async || {
        one.llm.forget();
        two.llm.forget();
        asked().await.is_some_and(|header| header == "Bearer sk-of-mine")
    })
    .await;
    one.owner().put(&format!("/v1/providers/{id}"), &json!({"api_key": "sk-new"})).await.expect(200);
    eventually("its new key is used", async || {
        one.llm.forget();
        two.llm.forget();
        asked().await.is_some_and(|header| header == "Bearer sk-new")
    })
    .await;
    one.owner().delete(&format!("/v1/providers/{id}")).await;
    eventually("another one answers", async || {
        one.llm.forget();
        two.llm.forget();
        asked().await.is_some_and(|header| header != "Bearer sk-new")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_set_here_holds_there() {
    let (one, two) = pair().await;
    create_agent_with(&one.owner(), "fox", json!({"model": ""})).await;
    two.owner().post("/v1/chat/completions", &question("fox", "hi")).await.expect(200);
    one.owner().put("/v1/system-configs/agent.default_model", &json!({"value": "own"})).await.expect(200);
    eventually("the value holds", async || {
        two.owner().post("/v1/chat/completions", &question("fox", "hi")).await.expect(200);
        let questions: Vec<_> = one.llm.questions().into_iter().chain(two.llm.questions()).collect();
        questions.iter().any(|question| question.body["model"] == "own")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_counted_together() {
    let one = Setup::new(Edition::Standard).await.config(json!({"gateway": {"rate_limit_rpm": 1}})).start().await;
    let two = one.twin().await;
    create_agent(&one.owner(), "fox").await;
    let mut statuses = Vec::new();
    for turn in 0..7 {
        let gateway = if turn % 2 == 0 { &one } else { &two };
        statuses.push(gateway.owner().post("/v1/chat/completions", &question("fox", "hi")).await.status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 5, "{statuses:?}");
    assert_eq!(statuses.last(), Some(&429));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_line_between_them_loses_nothing() {
    let (one, two) = pair().await;
    create_agent(&one.owner(), "fox").await;
    let (mut here, mut there) = (one.owner_socket().await, two.owner_socket().await);
    cut_listeners(&one).await;
    for round in 0..20 {
        let session = format!("agent:fox:ws:direct:{round}");
        here.call("chat.send", &json!({"message": "hi", "agentId": "fox", "sessionKey": session})).await.unwrap();
        let own = here.run_events_of(&session).await;
        assert_eq!(own, there.run_events_of(&session).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_talk_at_once_and_nothing_is_lost_or_doubled() {
    let (one, two) = pair().await;
    create_agent(&one.owner(), "fox").await;
    let (mut left, mut right) = (one.owner_socket().await, two.owner_socket().await);
    const ROUNDS: usize = 20;
    for round in 0..ROUNDS {
        for (socket, side) in [(&mut left, "l"), (&mut right, "r")] {
            socket.send("chat.send", &message(&format!("agent:fox:ws:direct:{side}{round}"), "hi")).await;
        }
    }
    let mut seen: Vec<Vec<(String, String)>> = Vec::new();
    for socket in [&mut left, &mut right] {
        let (mut events, mut ended) = (Vec::new(), 0);
        while ended < 2 * ROUNDS {
            let payload = socket.event(|event| event["event"] == "agent").await["payload"].take();
            let kind = payload["type"].as_str().unwrap().to_owned();
            ended += usize::from(kind == "run.completed");
            events.push((payload["sessionKey"].as_str().unwrap().to_owned(), kind));
        }
        seen.push(events);
    }
    // Between sides the order is free; within a session it is one.
    for side in &mut seen {
        side.sort_by(|one, other| one.0.cmp(&other.0));
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_token_changed_here_holds_there() {
    let setup = Setup::new(Edition::Standard).await.without_env("GOCLAW_GATEWAY_TOKEN");
    let one = setup.config(json!({"gateway": {"token": goclaw_tests::server::GATEWAY_TOKEN}})).start().await;
    let two = one.twin().await;
    let mut socket = two.owner_socket().await;
    let token = "another-gateway-token-of-the-test-0123456789";
    let raw = format!("{{gateway: {{token: '{token}'}}}}");
    one.owner_socket().await.call("config.patch", &json!({"raw": raw})).await.unwrap();
    eventually("the new token opens the other gateway", async || two.anonymous().token(token).user("system").get("/v1/agents").await.status == 200).await;
    assert_eq!(two.owner().get("/v1/agents").await.status, 401);
    assert_eq!(socket.call("agents.list", &json!({})).await.unwrap_err().code, "UNAUTHORIZED");
    // A gateway that starts later begins with it.
    let three = one.twin().await;
    assert_eq!(three.anonymous().token(token).user("system").get("/v1/agents").await.status, 200);
}
