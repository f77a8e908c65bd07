//! How often somebody may ask, and whom that concerns.

use crate::common::{Tenants, create_agent_with, fox_session, message, question, with_fox};
use goclaw_ports::roles::Scope;
use goclaw_tests::{Edition, Http, Reply, Server, Setup, fixtures::add_api_key, server::GATEWAY_TOKEN};
use serde_json::{Value, json};

/// One request a minute, after five at once: slow enough that no test meets the next token.
async fn limited(edition: Edition) -> Setup {
    Setup::new(edition).await.config(json!({"gateway": {"rate_limit_rpm": 1}}))
}

async fn replies(client: &Http, path: &str, body: &Value, count: usize) -> Vec<Reply> {
    let mut replies = Vec::new();
    for _ in 0..count {
        replies.push(client.post(path, body).await);
    }
    replies
}

fn statuses(replies: &[Reply]) -> Vec<u16> {
    replies.iter().map(|reply| reply.status).collect()
}

/// A call of a tool that needs no agent.
fn tool_call() -> Value {
    json!({"tool": "read_file", "dryRun": true})
}

on_both_editions! {
    async fn a_bearer_may_chat_so_often_and_another_is_not_concerned(edition) {
        let mut setup = limited(edition).await;
        let stores = setup.stores().await;
        let (one, other) = (add_api_key(&stores, None, &[Scope::Admin], "").await, add_api_key(&stores, None, &[Scope::Admin], "").await);
        drop(stores);
        let server = setup.start().await;
        create_agent_with(&server.owner(), "fox", json!({"is_default": true})).await;
        let path = "/v1/chat/completions";
        let answers = replies(&server.with_key(&one).user("mai"), path, &question("fox", "hi"), 6).await;
        assert_eq!(statuses(&answers), [200, 200, 200, 200, 200, 429]);
        assert_eq!(answers[5].header("retry-after"), "60");
        assert_eq!(answers[5].json()["error"]["type"], "rate_limit_error");
        // The bearer counts and not the user, whom a client chooses.
        assert_eq!(statuses(&replies(&server.with_key(&one).user("lan"), path, &question("fox", "hi"), 1).await), [429]);
        assert_eq!(statuses(&replies(&server.with_key(&other).user("mai"), path, &question("fox", "hi"), 5).await), [200; 5]);
    }

    async fn a_user_may_send_so_often_over_all_sockets(edition) {
        let server = limited(edition).await.start().await;
        create_agent_with(&server.owner(), "fox", json!({"is_default": true})).await;
        let (mut one, mut two, mut other) = (server.socket_as("system").await, server.socket_as("system").await, server.socket_as("lan").await);
        for turn in 0..5 {
            let socket = if turn % 2 == 0 { &mut one } else { &mut two };
            socket.call("chat.send", &message(&fox_session(&turn.to_string()), "hi")).await.unwrap();
        }
        let id = two.send("chat.send", &message(&fox_session("6"), "hi")).await;
        let refused = two.response_frame(&id).await;
        assert_eq!((&refused["error"]["code"], &refused["error"]["retryable"]), (&json!("INVALID_REQUEST"), &json!(true)));
        assert!(refused["error"]["retryAfterMs"].as_u64().unwrap() > 0);
        other.call("chat.send", &json!({"message": "hi", "agentId": "fox"})).await.unwrap();
        assert_eq!(server.llm.questions().len(), 6);
    }

    async fn sockets_without_a_user_are_counted_one_by_one(edition) {
        let server = limited(edition).await.start().await;
        let (mut one, mut other) = (server.connected(&json!({"token": GATEWAY_TOKEN})).await, server.connected(&json!({"token": GATEWAY_TOKEN})).await);
        let send = json!({"message": "hi", "agentId": "fox"});
        let mut texts = Vec::new();
        for _ in 0..6 {
            texts.push(one.call("chat.send", &send).await.unwrap_err().message);
        }
        assert!(texts[..5].iter().all(|text| text.contains("user ID")), "{texts:?}");
        assert_eq!(texts[5], "too many requests, slow down");
        assert!(other.call("chat.send", &send).await.unwrap_err().message.contains("user ID"));
    }

    async fn calls_of_tools_have_a_limit_of_their_own(edition) {
        let server = limited(edition).await.start().await;
        create_agent_with(&server.owner(), "fox", json!({"is_default": true})).await;
        let owner = server.owner();
        let answers = replies(&owner, "/v1/tools/invoke", &tool_call(), 6).await;
        assert_eq!(statuses(&answers), [200, 200, 200, 200, 200, 429]);
        assert_eq!(answers[5].expect_error(429).1, "RESOURCE_EXHAUSTED");
        assert!(answers[5].header("retry-after").parse::<u64>().unwrap() > 0);
        owner.post("/v1/chat/completions", &question("fox", "hi")).await.expect(200);
    }

    async fn zero_is_no_limit(edition) {
        let server = with_fox(edition).await;
        assert_eq!(statuses(&replies(&server.owner(), "/v1/tools/invoke", &tool_call(), 20).await), [200; 20]);
    }

    async fn guessing_tokens_is_slowed_down_and_the_right_one_still_passes(edition) {
        let server = Server::start(edition).await;
        let mut refused = None;
        // 60 at once and 2 a second: a thousand guesses never take so long that all pass.
        for guess in 0..1_000 {
            let reply = server.anonymous().token(&format!("wrong-{guess}")).get("/v1/agents").await;
            if reply.status == 429 {
                refused = Some((guess, reply));
                break;
            }
            assert_eq!(reply.status, 401, "{}", reply.text());
        }
        let (guess, reply) = refused.expect("guesses are limited");
        assert!(guess >= 60, "only {guess} guesses passed");
        assert!(!reply.header("retry-after").is_empty());
        // The sockets of the same address are counted together with it.
        let mut codes = Vec::new();
        for guess in 0..20 {
            if let Err(error) = server.socket().await.call("connect", &json!({"token": format!("wrong-{guess}")})).await {
                codes.push(error.code);
            }
        }
        assert!(codes.contains(&"RESOURCE_EXHAUSTED".to_owned()), "{codes:?}");
        server.owner().get("/v1/agents").await.expect(200);
        server.owner_socket().await.call("status", &json!({})).await.unwrap();
    }

    async fn a_network_may_connect_so_often_even_with_the_right_token(edition) {
        let server = limited(edition).await.start().await;
        let mut socket = server.socket().await;
        let mut refused = None;
        // 300 at once and 10 a second: so many attempts never take so long that all pass.
        for attempt in 0..3_000 {
            if let Err(error) = socket.call("connect", &json!({"token": GATEWAY_TOKEN, "user_id": "system"})).await {
                refused = Some((attempt, error));
                break;
            }
        }
        let (attempt, error) = refused.expect("attempts are limited");
        assert!(attempt >= 300, "only {attempt} attempts passed");
        assert_eq!(error.code, "RESOURCE_EXHAUSTED");
        assert_eq!(socket.call("status", &json!({})).await.unwrap_err().code, "UNAUTHORIZED", "a failed connect leaves nobody behind");
        server.owner().get("/v1/agents").await.expect(200);
    }

    async fn a_tenants_limit_counts_its_own_callers_only(edition) {
        let tenants = Tenants::start(edition).await;
        let (a, b) = (tenants.client(&tenants.a_admin, "mai"), tenants.client(&tenants.b_admin, "mai"));
        a.put("/v1/system-configs/gateway.rate_limit_rpm", &json!({"value": "1"})).await.expect(200);
        assert_eq!(statuses(&replies(&a, "/v1/tools/invoke", &tool_call(), 6).await), [200, 200, 200, 200, 200, 429]);
        assert_eq!(statuses(&replies(&b, "/v1/tools/invoke", &tool_call(), 8).await), [200; 8]);
    }
}

/// Only the standard edition starts without a token; lite makes one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_bearer_the_address_counts_whatever_the_port() {
    let server = limited(Edition::Standard).await.without_env("GOCLAW_GATEWAY_TOKEN").start().await;
    let mut came = Vec::new();
    for user in 0..6 {
        // Each client has connections of its own, so each comes from another port.
        came.push(server.anonymous().user(&format!("u{user}")).post("/v1/tools/invoke", &tool_call()).await.status);
    }
    assert_eq!(came, [200, 200, 200, 200, 200, 429]);
}
