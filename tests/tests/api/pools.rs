//! Pools of accounts.

use crate::{
    accounts::{account, plenty, pool, quota},
    common::{Tenants, ask, create_agent, create_agent_with, question, streamed},
};
use goclaw_tests::{Answer, Edition, Http, Server, eventually, fake_llm::Request};
use serde_json::{Value, json};

const UNKNOWN: &str = "01930000-0000-7000-8000-000000000000";

fn path(provider: &Value) -> String {
    format!("/v1/providers/{}", provider["id"].as_str().unwrap())
}

fn token(request: &Request) -> String {
    request.header("authorization").unwrap_or_default().trim_start_matches("Bearer token-").to_owned()
}

/// The accounts that were asked, in this order.
fn asked(server: &Server) -> Vec<String> {
    server.llm.questions().iter().map(token).collect()
}

/// Has the account `name` fail like this.
fn fails(server: &Server, name: &'static str, answer: Answer) {
    server.llm.at("/codex/responses", move |request| (token(request) == name).then(|| answer.clone()));
}

/// A gateway with three accounts and an agent `fox` that asks them.
async fn started(edition: Edition, strategy: &str) -> (Server, Vec<Value>) {
    let server = Server::start(edition).await;
    plenty(&server.llm);
    let made = pool(&server, &server.owner(), &["a", "b", "c"], strategy).await;
    create_agent_with(&server.owner(), "fox", json!({"provider": "a", "model": "gpt-5.4"})).await;
    (server, made)
}

/// What a provider's pool did, once `calls` calls are in the traces.
async fn activity(client: &Http, provider: &Value, calls: usize) -> Value {
    let path = format!("{}/codex-pool-activity", path(provider));
    eventually("the traces to be written", async || {
        let activity = client.get(&path).await.expect(200);
        let ended = activity["recent_requests"].as_array().unwrap().iter().filter(|request| request["status"] != "running").count();
        (ended >= calls).then_some(activity)
    })
    .await
}

fn count<'a>(activity: &'a Value, name: &str) -> &'a Value {
    activity["provider_counts"].as_array().unwrap().iter().find(|count| count["provider_name"] == name).unwrap()
}

/// How the last call of a model was routed, and by which provider its span says it was served.
async fn routing(client: &Http) -> (Value, Value) {
    eventually("the trace to be written", async || {
        let traces = client.get("/v1/traces?limit=1").await.expect(200);
        let detail = client.get(&format!("/v1/traces/{}", traces["traces"][0]["id"].as_str()?)).await.expect(200);
        let spans = detail["spans"].as_array().unwrap();
        let call = spans.iter().find(|span| span["span_type"] == "llm_call" && span["status"] != "running")?;
        Some((call["metadata"]["chatgpt_oauth_routing"].clone(), call["provider"].clone()))
    })
    .await
}

on_both_editions! {
    async fn pools_do_not_overlap(edition) {
        let server = Server::start(edition).await;
        let owner = server.owner();
        let create = async |name: &str, extras: Option<&[&str]>| owner.post("/v1/providers", &account(&server.llm, name, extras, "")).await;
        let b = create("b", None).await.expect(201);
        let a = create("a", Some(&["b"])).await.expect(201);
        let refused = async |name: &str, extras: Option<&[&str]>, why: &str| {
            let (text, code) = create(name, extras).await.expect_error(400);
            assert!(text.contains(why) && code == "INVALID_REQUEST", "{text}");
        };
        refused("c", Some(&["b"]), "\"b\" is a member of the pool of \"a\" already").await;
        refused("d", Some(&["d"]), "may not list its owner").await;
        refused("d", Some(&["a"]), "\"a\" owns a pool itself").await;
        refused("d", Some(&["nobody"]), "\"nobody\" is not known").await;
        let mut keys = json!({"name": "keys", "provider_type": "groq", "api_key": "k", "enabled": true});
        keys["settings"] = json!({"codex_pool": {}});
        assert!(owner.post("/v1/providers", &keys).await.expect_error(400).0.contains("only chatgpt_oauth providers may own a pool"));
        let names = |list: &Value| list["providers"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&owner.get("/v1/providers").await.expect(200)), ["a", "b"], "nothing refused was stored");

        let own_pool = json!({"settings": {"codex_pool": {"extra_provider_names": []}}});
        assert!(owner.put(&path(&b), &own_pool).await.expect_error(400).0.contains("is a member of the pool of \"a\""));
        let itself = json!({"settings": {"codex_pool": {"extra_provider_names": ["a"]}}});
        assert!(owner.put(&path(&a), &itself).await.expect_error(400).0.contains("may not list its owner"));
        owner.put(&path(&a), &json!({"enabled": false})).await.expect(200);
        create("c", Some(&["b"])).await.expect(201);
        assert!(owner.put(&path(&a), &json!({"enabled": true})).await.expect_error(400).0.contains("of the pool of \"c\" already"));
        assert_eq!(owner.delete(&path(&b)).await.expect(200), json!({"status": "deleted", "listed_by": ["a", "c"]}));
    }

    async fn pools_of_one_tenant_do_not_exist_for_another(edition) {
        let tenants = Tenants::start(edition).await;
        let (a, b) = (tenants.client(&tenants.a_admin, "mai"), tenants.client(&tenants.b_admin, "mai"));
        let made = pool(&tenants.server, &a, &["one", "two"], "round_robin").await;
        let theirs = account(&tenants.server.llm, "mine", Some(&["two"]), "");
        assert!(b.post("/v1/providers", &theirs).await.expect_error(400).0.contains("\"two\" is not known"));
        assert_eq!(b.get(&format!("{}/codex-pool-activity", path(&made[0]))).await.expect_error(404).1, "NOT_FOUND");
        let fox = create_agent_with(&a, "fox", json!({"provider": "one"})).await;
        let activity = format!("/v1/agents/{}/codex-pool-activity", fox["id"].as_str().unwrap());
        assert_eq!(b.get(&activity).await.expect_error(404).1, "NOT_FOUND");
        assert_eq!(a.get(&activity).await.expect(200)["pool_providers"], json!(["one", "two"]));
        for key in [&tenants.a_operator, &tenants.a_viewer] {
            assert_eq!(tenants.client(key, "mai").get(&format!("{}/codex-pool-activity", path(&made[0]))).await.status, 403);
            assert_eq!(tenants.client(key, "mai").get(&activity).await.status, 200);
            assert_eq!(tenants.client(key, "lan").get(&activity).await.expect_error(403).0, "no access to this agent");
            assert_eq!(tenants.server.with_key(key).get(&activity).await.status, 403, "who names no user may use nobody's agent");
        }
    }

    async fn an_agent_may_not_leave_its_providers_pool(edition) {
        let server = Server::start(edition).await;
        pool(&server, &server.owner(), &["a", "b", "c"], "").await;
        server.owner().post("/v1/providers", &account(&server.llm, "single", None, "")).await.expect(201);
        let routing = |provider: &str, routing: Value| json!({"agent_key": "fox", "provider": provider, "other_config": {"chatgpt_oauth_routing": routing}});
        for (provider, value) in [
            ("a", json!({"override_mode": "custom", "extra_provider_names": ["c", "b"]})), ("a", json!({"extra_provider_names": ["b"]})),
            ("single", json!({"strategy": "round_robin"})), ("single", json!({"extra_provider_names": ["b"]})),
        ] {
            let (text, code) = server.owner().post("/v1/agents", &routing(provider, value.clone())).await.expect_error(400);
            assert!(text.contains(&format!("\"{provider}\"")) && code == "INVALID_REQUEST", "{value}: {text}");
        }
        let fine = routing("a", json!({"override_mode": "custom", "strategy": "round_robin", "extra_provider_names": ["b", "c"]}));
        let made = server.owner().post("/v1/agents", &fine).await.expect(201);
        let agent = format!("/v1/agents/{}", made["id"].as_str().unwrap());
        assert_eq!(server.owner().put(&agent, &json!({"provider": "single"})).await.status, 400, "the routing goes with the provider");
        let lonely = json!({"provider": "single", "other_config": {"chatgpt_oauth_routing": {"override_mode": "inherit"}}});
        server.owner().put(&agent, &lonely).await.expect(200);
        assert_eq!(server.owner().put(&agent, &routing("single", json!({"strategy": "priority_order"}))).await.status, 400);
        assert_eq!(server.owner().get(&agent).await.expect(200)["other_config"], lonely["other_config"]);
    }

    async fn a_round_robin_goes_round(edition) {
        let (server, made) = started(edition, "round_robin").await;
        for _ in 0..6 {
            ask(&server.owner(), "fox", "hi").await;
        }
        assert_eq!(asked(&server), ["a", "b", "c", "a", "b", "c"]);
        let told = activity(&server.owner(), &made[0], 6).await;
        assert_eq!((&told["strategy"], &told["pool_providers"], &told["stats_sample_size"]), (&json!("round_robin"), &json!(["a", "b", "c"]), &json!(6)));
        for name in ["a", "b", "c"] {
            let count = count(&told, name);
            assert_eq!((&count["direct_selection_count"], &count["success_count"], &count["health_state"]), (&json!(2), &json!(2), &json!("healthy")), "{told}");
        }
        let selected: Vec<_> = told["recent_requests"].as_array().unwrap().iter().map(|request| request["selected_provider"].as_str().unwrap()).collect();
        assert_eq!(selected, ["c", "b", "a", "c", "b", "a"]);
        assert_eq!((&told["top_agents"][0]["agent_key"], &told["top_agents"][0]["request_count"]), (&json!("fox"), &json!(6)));
        let limited = server.owner().get(&format!("{}/codex-pool-activity?limit=2", path(&made[0]))).await.expect(200);
        assert_eq!((limited["recent_requests"].as_array().unwrap().len(), &limited["stats_sample_size"]), (2, &json!(6)));
        let (evidence, provider) = routing(&server.owner()).await;
        let expected = json!({
            "pool_owner_provider": "a", "strategy": "round_robin", "pool_providers": ["a", "b", "c"], "selected_provider": "c", "serving_provider": "c",
            "attempted_providers": ["c"], "attempt_count": 1,
        });
        assert_eq!((evidence, provider), (expected, json!("c")));
    }

    async fn another_account_answers_when_one_fails(edition) {
        let (server, made) = started(edition, "round_robin").await;
        fails(&server, "a", Answer::error(503, "busy"));
        ask(&server.owner(), "fox", "hi").await;
        assert_eq!(asked(&server), ["a", "a", "a", "b"], "an account is given its three attempts");
        let told = activity(&server.owner(), &made[0], 1).await;
        let request = &told["recent_requests"][0];
        assert_eq!((&request["used_failover"], &request["provider_name"], &request["selected_provider"]), (&json!(true), &json!("b"), &json!("a")));
        assert_eq!((&request["attempt_count"], &request["failover_providers"], &request["status"]), (&json!(2), &json!(["b"]), &json!("completed")));
        assert_eq!((&count(&told, "a")["failure_count"], &count(&told, "a")["health_state"]), (&json!(1), &json!("critical")));
        assert_eq!((&count(&told, "b")["failover_serve_count"], &count(&told, "b")["success_count"]), (&json!(1), &json!(1)));
        assert_eq!((&count(&told, "c")["health_state"], &count(&told, "c")["health_score"]), (&json!("idle"), &json!(0)));
        let (evidence, provider) = routing(&server.owner()).await;
        assert_eq!((&evidence["attempted_providers"], &evidence["serving_provider"], provider), (&json!(["a", "b"]), &json!("b"), json!("b")));
    }

    async fn an_account_that_lets_nobody_in_is_passed_over(edition) {
        let (server, _) = started(edition, "primary_first").await;
        fails(&server, "a", Answer::error(401, "sign in"));
        ask(&server.owner(), "fox", "hi").await;
        ask(&server.owner(), "fox", "hi").await;
        assert_eq!(asked(&server), ["a", "b", "b"], "what is known to fail is not asked again at once");
    }

    async fn accounts_with_nothing_left_are_not_asked(edition) {
        let server = Server::start(edition).await;
        server.llm.at("/wham/usage", |request| Some(quota(if token(request) == "b" { 10 } else { 100 })));
        pool(&server, &server.owner(), &["a", "b", "c"], "priority_order").await;
        create_agent_with(&server.owner(), "fox", json!({"provider": "a", "model": "gpt-5.4"})).await;
        ask(&server.owner(), "fox", "hi").await;
        assert_eq!(asked(&server), ["b"]);
        assert_eq!(server.llm.count_at("/wham/usage"), 3, "each account was looked at once");
        ask(&server.owner(), "fox", "hi").await;
        assert_eq!((asked(&server).len(), server.llm.count_at("/wham/usage")), (2, 3));
    }

    async fn that_no_account_can_be_asked_is_told(edition) {
        let server = Server::start(edition).await;
        server.llm.at("/wham/usage", |_| Some(quota(100)));
        pool(&server, &server.owner(), &["a", "b"], "round_robin").await;
        create_agent_with(&server.owner(), "fox", json!({"provider": "a", "model": "gpt-5.4"})).await;
        assert_eq!(server.owner().post("/v1/chat/completions", &question("fox", "hi")).await.status, 500);
        assert!(asked(&server).is_empty());
        assert!(server.log().contains("no route-eligible chatgpt_oauth providers available: a:exhausted, b:exhausted"));
    }

    async fn nobody_else_ends_an_answer_that_one_account_has_begun(edition) {
        let (server, _) = started(edition, "primary_first").await;
        fails(&server, "a", Answer::text("Half of").then_error("boom"));
        let mut stream = server.owner().stream("/v1/chat/completions", &streamed("fox", "hi")).await;
        while stream.next().await.is_some() {}
        assert_eq!(asked(&server), ["a"]);
        // A question that is at fault goes to nobody else either.
        server.llm.forget();
        fails(&server, "a", Answer::error(400, "bad question"));
        server.owner().post("/v1/chat/completions", &question("fox", "hi")).await;
        assert_eq!(asked(&server), ["a"]);
    }

    async fn an_agent_chooses_its_own_strategy(edition) {
        let (server, _) = started(edition, "round_robin").await;
        let first = json!({"provider": "a", "model": "gpt-5.4", "other_config": {"chatgpt_oauth_routing": {"strategy": "primary_first"}}});
        create_agent_with(&server.owner(), "first", first).await;
        let second = json!({"provider": "a", "model": "gpt-5.4", "other_config": {"chatgpt_oauth_routing": {"strategy": "priority_order"}}});
        create_agent_with(&server.owner(), "second", second).await;
        for agent in ["first", "first", "second", "second"] {
            ask(&server.owner(), agent, "hi").await;
        }
        assert_eq!(asked(&server), ["a", "a", "a", "a"]);
        let told = server.owner().get("/v1/agents/first/codex-pool-activity").await.expect(200);
        assert_eq!((&told["strategy"], &told["pool_providers"]), (&json!("primary_first"), &json!(["a"])));
        let told = server.owner().get("/v1/agents/second/codex-pool-activity").await.expect(200);
        assert_eq!((&told["strategy"], &told["pool_providers"], told.get("top_agents")), (&json!("priority_order"), &json!(["a", "b", "c"]), None));
    }

    async fn other_providers_have_no_pool(edition) {
        let server = Server::start(edition).await;
        let keys = json!({"name": "keys", "provider_type": "openai_compat", "api_key": "k", "enabled": true});
        let made = server.owner().post("/v1/providers", &keys).await.expect(201);
        let none = json!({"strategy": "primary_first", "pool_providers": [], "stats_sample_size": 0, "provider_counts": [], "recent_requests": []});
        let mut with_agents = none.clone();
        with_agents["top_agents"] = json!([]);
        let of = async |path: String| server.owner().get(&path).await;
        assert_eq!(of(format!("{}/codex-pool-activity", path(&made))).await.expect(200), with_agents);
        create_agent(&server.owner(), "fox").await;
        assert_eq!(of("/v1/agents/fox/codex-pool-activity".into()).await.expect(200), none);
        assert_eq!(of(format!("/v1/providers/{UNKNOWN}/codex-pool-activity")).await.expect_error(404).1, "NOT_FOUND");
        assert_eq!(of("/v1/providers/nonsense/codex-pool-activity".into()).await.expect_error(400).1, "INVALID_REQUEST");
        assert_eq!(of("/v1/agents/nobody/codex-pool-activity".into()).await.expect_error(404).0, "agent not found: nobody");
    }
}
