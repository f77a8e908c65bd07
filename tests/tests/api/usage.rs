//! `/v1/usage`, `usage.*` and `quota.usage`: what runs took, hour by hour.

use crate::common::{Tenants, ask, create_agent, create_agent_with, with_fox};
use chrono::{DateTime, DurationRound, SecondsFormat, TimeDelta, Utc};
use goclaw_ports::{
    AgentId, TenantId,
    clock::{Clock, SystemClock},
    stores::Stores,
    traces::{Span, Trace, TraceStatus},
};
use goclaw_tests::{
    Answer, Edition, Http, Server, Setup, eventually,
    fixtures::{span, trace},
};
use serde_json::{Value, json};
use uuid::Uuid;

fn this_hour() -> DateTime<Utc> {
    SystemClock.now().duration_trunc(TimeDelta::hours(1)).unwrap()
}

fn hours_ago(n: i64) -> DateTime<Utc> {
    this_hour() - TimeDelta::hours(n)
}

fn wire(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A query for everything of the last days, this hour included.
fn lately() -> String {
    format!("from={}&to={}", wire(hours_ago(72)), wire(hours_ago(-2)))
}

/// A completed run of a second, begun ten minutes into that hour.
fn run(hour: DateTime<Utc>) -> Trace {
    let start = hour + TimeDelta::minutes(10);
    let ended = Some(start + TimeDelta::seconds(1));
    Trace {
        user_id: "mai".into(),
        channel: "ws".into(),
        start_time: start,
        created_at: start,
        end_time: ended,
        duration_ms: Some(1000),
        status: TraceStatus::Completed,
        ..trace()
    }
}

/// Stores a run with one call of this size.
async fn add(stores: &Stores, tenant: TenantId, trace: &Trace, provider: &str, model: &str, tokens: i64, cost: f64) {
    let (input_tokens, output_tokens) = (Some(tokens), Some(tokens / 2));
    let call =
        Span { provider: provider.into(), model: model.into(), input_tokens, output_tokens, total_cost: Some(cost), ..span(tenant, trace.id, "llm_call") };
    stores.traces.insert(tenant, trace).await.unwrap();
    stores.traces.put_spans(tenant, &[call, span(tenant, trace.id, "tool_call")]).await.unwrap();
}

async fn points(client: &Http, query: &str) -> Vec<Value> {
    client.get(&format!("/v1/usage/timeseries?{query}")).await.expect(200)["points"].as_array().unwrap().clone()
}

async fn rows(client: &Http, query: &str) -> Vec<Value> {
    client.get(&format!("/v1/usage/breakdown?{query}")).await.expect(200)["rows"].as_array().unwrap().clone()
}

/// The only point there is, when a run that was just asked for is in it.
async fn live_point(client: &Http) -> Value {
    eventually("the call of a run", async || points(client, &lately()).await.pop().filter(|point| point["llm_call_count"] == 1)).await
}

/// A gateway whose master tenant has three runs of before, which are counted.
async fn with_past(edition: Edition) -> (Server, AgentId) {
    let mut setup = Setup::new(edition).await;
    let stores = setup.stores().await;
    let fox = AgentId(Uuid::now_v7());
    let master = TenantId::MASTER;
    add(&stores, master, &Trace { agent_id: Some(fox), ..run(hours_ago(30)) }, "openai", "m", 100, 0.5).await;
    add(&stores, master, &Trace { agent_id: Some(fox), status: TraceStatus::Error, ..run(hours_ago(3)) }, "openai", "n", 10, 0.25).await;
    add(&stores, master, &Trace { channel: String::new(), user_id: "lan".into(), ..run(hours_ago(3)) }, "other", "m", 1, 0.125).await;
    drop(stores);
    let server = setup.start().await;
    (server, fox)
}

on_both_editions! {
    async fn hours_are_shown_with_what_runs_took(edition) {
        let (server, fox) = with_past(edition).await;
        let owner = server.owner();
        let all = points(&owner, &lately()).await;
        assert_eq!(all.len(), 2);
        assert_eq!(all[0], json!({
            "bucket_time": wire(hours_ago(30)), "input_tokens": 100, "output_tokens": 50, "cache_read_tokens": 0, "cache_create_tokens": 0, "thinking_tokens": 0,
            "total_cost": 0.5, "request_count": 1, "llm_call_count": 1, "tool_call_count": 1, "error_count": 0, "unique_users": 1, "avg_duration_ms": 1000,
            "memory_docs": 0, "memory_chunks": 0, "kg_entities": 0, "kg_relations": 0
        }));
        let second = &all[1];
        assert_eq!((&second["request_count"], &second["error_count"], &second["unique_users"], &second["total_cost"]), (&json!(2), &json!(1), &json!(2), &json!(0.375)));
        // A run may ask several providers, so their sums have calls and no requests.
        let of_openai = points(&owner, &format!("{}&provider=openai", lately())).await;
        assert_eq!(of_openai.iter().map(|point| (point["request_count"].as_i64(), point["input_tokens"].as_i64())).collect::<Vec<_>>(), [(Some(0), Some(100)), (Some(0), Some(10))]);
        for (filter, tokens) in [("model=m", vec![100, 1]), ("channel=ws", vec![100, 10]), (&format!("agent_id={fox}"), vec![100, 10]), ("provider=none", vec![]), ("agent_id=nonsense&model=", vec![100, 11])] {
            let found: Vec<_> = points(&owner, &format!("{}&{filter}", lately())).await.iter().map(|point| point["input_tokens"].as_i64().unwrap()).collect();
            assert_eq!(found, tokens, "{filter}");
        }
        // The hour that ends the time is not in it, the one that begins it is.
        let between = format!("from={}&to={}", wire(hours_ago(30)), wire(hours_ago(3)));
        assert_eq!(points(&owner, &between).await.len(), 1);
        let days = points(&owner, &format!("{}&group_by=day", lately())).await;
        assert_eq!(days.iter().map(|day| day["input_tokens"].as_i64().unwrap()).sum::<i64>(), 111);
        assert!(days.iter().all(|day| day["bucket_time"].as_str().unwrap().ends_with("T00:00:00Z")));
    }

    async fn usage_is_broken_down(edition) {
        let (server, fox) = with_past(edition).await;
        let owner = server.owner();
        let keys = async |by: &str| {
            let rows = rows(&owner, &format!("{}&group_by={by}", lately())).await;
            rows.iter().map(|row| (row["key"].as_str().unwrap().to_owned(), row["input_tokens"].as_i64().unwrap(), row["request_count"].as_i64().unwrap())).collect::<Vec<_>>()
        };
        let row = |key: &str, tokens, requests| (key.to_owned(), tokens, requests);
        assert_eq!(keys("provider").await, [row("openai", 110, 0), row("other", 1, 0)]);
        assert_eq!(keys("nonsense").await, keys("provider").await);
        assert_eq!(keys("model").await, [row("m", 101, 0), row("n", 10, 0)]);
        assert_eq!(keys("channel").await, [row("ws", 110, 2)]);
        // What belongs to no agent is there as well.
        assert_eq!(keys("agent").await, [row(&fox.to_string(), 110, 2), row("", 1, 1)]);
        let rows = rows(&owner, &format!("{}&group_by=agent&channel=ws", lately())).await;
        assert_eq!(rows[0], json!({
            "key": fox.to_string(), "input_tokens": 110, "output_tokens": 55, "cache_read_tokens": 0, "cache_create_tokens": 0, "total_cost": 0.75, "request_count": 2,
            "llm_call_count": 2, "tool_call_count": 2, "error_count": 1, "avg_duration_ms": 1000
        }));
    }

    async fn periods_are_summed_up_beside_the_ones_before(edition) {
        let (server, _) = with_past(edition).await;
        let owner = server.owner();
        let summary = async |query: &str| owner.get(&format!("/v1/usage/summary{query}")).await.expect(200);
        let day = summary("").await;
        assert_eq!(day["current"], json!({"requests": 2, "input_tokens": 11, "output_tokens": 5, "cost": 0.375, "unique_users": 2, "errors": 1, "llm_calls": 2, "tool_calls": 2, "avg_duration_ms": 1000}));
        assert_eq!((&day["previous"]["requests"], &day["previous"]["input_tokens"]), (&json!(1), &json!(100)));
        assert_eq!(summary("?period=custom").await, day);
        let week = summary("?period=7d&model=m").await;
        assert_eq!((&week["current"]["input_tokens"], &week["current"]["requests"], &week["previous"]["input_tokens"]), (&json!(101), &json!(0), &json!(0)));
        assert_eq!(summary("?period=30d").await["current"]["input_tokens"], 111);
        let today = summary("?period=today").await;
        let of_today = |n: i64| hours_ago(n).date_naive() == SystemClock.now().date_naive();
        assert_eq!(today["current"]["requests"], if of_today(3) { 2 } else { 0 });
    }

    async fn the_hour_that_goes_on_is_the_last_point(edition) {
        let prices = json!({"telemetry": {"model_pricing": {"openai/stub": {"input_per_million": 2, "output_per_million": 8}}}});
        let mut setup = Setup::new(edition).await.config(prices);
        let stores = setup.stores().await;
        add(&stores, TenantId::MASTER, &run(hours_ago(2)), "openai", "m", 100, 0.5).await;
        drop(stores);
        let server = setup.start().await;
        let owner = server.owner();
        create_agent(&owner, "fox").await;
        server.llm.always(Answer::text("hi").usage(1000, 500));
        ask(&owner, "fox", "hello").await;
        let last = live_point(&owner).await;
        assert_eq!((&last["request_count"], &last["input_tokens"], &last["output_tokens"], &last["total_cost"]), (&json!(1), &json!(1000), &json!(500), &json!(0.006)));
        assert!(DateTime::parse_from_rfc3339(last["bucket_time"].as_str().unwrap()).unwrap() >= hours_ago(1));
        assert_eq!(points(&owner, &format!("{}&provider=openai&model=stub", lately())).await.len(), 1);
        assert!(points(&owner, &format!("from={}&to={}", wire(hours_ago(72)), wire(hours_ago(1)))).await.len() == 1);

        // Days hold it with their other hours.
        let days = points(&owner, &format!("{}&group_by=day", lately())).await;
        assert_eq!(days.iter().map(|day| day["input_tokens"].as_i64().unwrap()).sum::<i64>(), 1_100);
        assert!(days.iter().all(|day| day["bucket_time"].as_str().unwrap().ends_with("T00:00:00Z")), "{days:?}");

        // The trace, the sum of costs and the summary say the same.
        let costs = owner.get("/v1/costs/summary").await.expect(200);
        let agents = rows(&owner, &format!("{}&group_by=agent", lately())).await;
        let of_fox = agents.iter().find(|row| row["input_tokens"] == 1000).unwrap();
        let cost = costs["rows"].as_array().unwrap().iter().find(|row| row["agent_id"] == of_fox["key"]).unwrap();
        assert_eq!((&of_fox["total_cost"], &cost["total_cost"]), (&json!(0.006), &json!(0.006)));
        let summary = owner.get("/v1/usage/summary").await.expect(200);
        assert_eq!((&summary["current"]["requests"], &summary["current"]["input_tokens"]), (&json!(2), &json!(1100)));
    }

    async fn usage_stays_when_its_traces_are_gone(edition) {
        let (mut server, _) = with_past(edition).await;
        let owner = server.owner();
        let before = eventually("the hours to be counted", async || server.log().contains("counted usage").then_some(points(&owner, &lately()).await)).await;
        server.stop().await;
        let stores = server.stores().await;
        stores.traces.all_tenants_prune(this_hour(), 100).await.unwrap();
        stores.database.close().await;
        drop(stores);
        server.restart().await;
        assert_eq!(points(&server.owner(), &lately()).await, before);
        assert_eq!(server.owner().get("/v1/traces").await.expect(200)["total"], 0);
    }

    async fn old_traces_are_given_up_and_what_they_cost_stays_known(edition) {
        let mut setup = Setup::new(edition).await.config(json!({"telemetry": {"trace_days": 2}}));
        let stores = setup.stores().await;
        let (fox, tenant) = (AgentId(Uuid::now_v7()), goclaw_tests::fixtures::add_tenant(&stores, "ta").await);
        let of_fox = |hours: i64| Trace { agent_id: Some(fox), ..run(hours_ago(hours)) };
        let (old, older) = (of_fox(60), of_fox(61));
        for (trace, cost) in [(&older, 0.5), (&old, 0.25), (&of_fox(3), 0.125)] {
            add(&stores, TenantId::MASTER, trace, "openai", "m", 100, cost).await;
        }
        // More than one batch, of which nothing may be left.
        for _ in 0..120 {
            add(&stores, tenant, &run(hours_ago(70)), "openai", "m", 1, 0.0).await;
        }
        let viewer = goclaw_tests::fixtures::add_api_key(&stores, Some(TenantId::MASTER), &[goclaw_ports::roles::Scope::Read], "").await;
        drop(stores);
        let server = setup.start().await;
        let owner = server.owner();
        eventually("old traces to be gone", async || server.log().contains("deleted old traces").then_some(())).await;
        assert_eq!(owner.get("/v1/traces").await.expect(200)["total"], 1);
        assert_eq!(owner.get(&format!("/v1/traces/{}", old.id)).await.status, 404);
        assert_eq!(points(&owner, &lately()).await.len(), 3, "usage is kept");
        let costs = async |query: &str| owner.get(&format!("/v1/costs/summary{query}")).await.expect(200)["rows"].clone();
        let row = |cost: f64, runs: i64| json!([{"agent_id": fox, "total_cost": cost, "total_input_tokens": 100 * runs, "total_output_tokens": 50 * runs, "trace_count": runs}]);
        assert_eq!(costs("").await, row(0.875, 3));
        assert_eq!(costs(&format!("?agent_id={fox}&from={}", wire(hours_ago(60)))).await, row(0.375, 2));
        assert_eq!(costs(&format!("?from={}&to={}", wire(hours_ago(61)), wire(hours_ago(60)))).await, row(0.5, 1));
        assert_eq!(costs(&format!("?to={}", wire(hours_ago(61)))).await, json!([]));
        assert_eq!(costs(&format!("?agent_id={}", Uuid::now_v7())).await, json!([]));
        // Usage knows no users, so below admin it is what is left of the own traces.
        assert_eq!(server.with_key(&viewer).user("mai").get("/v1/costs/summary").await.expect(200)["rows"], row(0.125, 1));
    }

    async fn a_user_whose_quota_is_used_up_is_turned_away_and_leaves_no_trace(edition) {
        let quota = json!({"gateway": {"quota": {"enabled": true, "default": {"hour": 2, "day": 9}, "groups": {"lan": {"week": 3}}}}});
        let mut setup = Setup::new(edition).await.config(quota);
        let stores = setup.stores().await;
        let (a, b) = (goclaw_tests::fixtures::add_tenant(&stores, "ta").await, goclaw_tests::fixtures::add_tenant(&stores, "tb").await);
        let admin = goclaw_ports::roles::Scope::Admin;
        let keys = [goclaw_tests::fixtures::add_api_key(&stores, Some(a), &[admin], "").await, goclaw_tests::fixtures::add_api_key(&stores, Some(b), &[admin], "").await];
        drop(stores);
        let server = setup.start().await;
        for key in &keys {
            create_agent(&server.with_key(key).user("mai"), "fox").await;
        }
        create_agent(&server.with_key(&keys[0]).user("lan"), "owl").await;
        let mai = server.with_key(&keys[0]).user("mai");
        let mut socket = server.connected(&json!({"token": keys[0], "user_id": "mai"})).await;
        ask(&mai, "fox", "one").await;
        socket.call("chat.send", &crate::common::message(&crate::common::fox_session("1"), "two")).await.unwrap();
        let refused = socket.call("chat.send", &crate::common::message(&crate::common::fox_session("2"), "three")).await.unwrap_err();
        assert_eq!((refused.message.as_str(), refused.code.as_str()), ("your quota is used up: 2 of 2 requests within an hour", "INVALID_REQUEST"));
        assert_eq!(mai.post("/v1/chat/completions", &crate::common::question("fox", "four")).await.status, 429);
        let wake = mai.post("/v1/agents/fox/wake", &json!({"message": "five"})).await;
        assert_eq!(wake.status, 429);
        // Nothing was run or stored.
        assert_eq!(mai.get("/v1/traces").await.expect(200)["total"], 2);
        assert_eq!(socket.call("sessions.list", &json!({})).await.unwrap()["total"], 2);
        // Others have quotas of their own, and so has the same name elsewhere.
        ask(&server.with_key(&keys[1]).user("mai"), "fox", "one").await;
        for text in ["one", "two", "three"] {
            ask(&server.with_key(&keys[0]).user("lan"), "owl", text).await;
        }
        let week = server.with_key(&keys[0]).user("lan").post("/v1/chat/completions", &crate::common::question("owl", "four")).await;
        assert!(week.status == 429 && week.text().contains("3 of 3 requests within a week"), "{}", week.text());

        let view = socket.call("quota.usage", &json!({})).await.unwrap();
        let window = |used: i64, limit: i64| json!({"used": used, "limit": limit});
        assert_eq!((&view["enabled"], &view["requestsToday"], &view["uniqueUsersToday"]), (&json!(true), &json!(5), &json!(2)));
        assert_eq!(
            view["entries"],
            json!([
                {"userId": "lan", "hour": window(3, 0), "day": window(3, 0), "week": window(3, 3)},
                {"userId": "mai", "hour": window(2, 2), "day": window(2, 9), "week": window(2, 0)},
            ])
        );
        let mut other = server.connected(&json!({"token": keys[1], "user_id": "mai"})).await;
        assert_eq!(other.call("quota.usage", &json!({})).await.unwrap()["entries"], json!([{"userId": "mai", "hour": window(1, 2), "day": window(1, 9), "week": window(1, 0)}]));
    }

    async fn a_quota_holds_as_soon_as_it_is_set(edition) {
        let server = with_fox(edition).await;
        ask(&server.owner(), "fox", "one").await;
        let patch = json!({"raw": json!({"gateway": {"quota": {"enabled": true, "channels": {"http": {"hour": 1}}}}}).to_string()});
        server.owner_socket().await.call("config.patch", &patch).await.unwrap();
        let refused = eventually("the quota to hold", async || {
            let reply = server.owner().post("/v1/chat/completions", &crate::common::question("fox", "two")).await;
            (reply.status == 429).then(|| reply.text())
        })
        .await;
        assert!(refused.contains("requests within an hour"), "{refused}");
        // It is the quota of one channel.
        server.owner_socket().await.call("chat.send", &crate::common::message(&crate::common::fox_session("1"), "hi")).await.unwrap();
    }

    async fn a_budget_holds_when_the_traces_are_gone(edition) {
        let mut server = with_fox(edition).await;
        let wolf = create_agent_with(&server.owner(), "wolf", json!({"budget_monthly_cents": 15})).await;
        let wolf: AgentId = wolf["id"].as_str().unwrap().parse().unwrap();
        server.stop().await;
        let stores = server.stores().await;
        add(&stores, TenantId::MASTER, &Trace { agent_id: Some(wolf), ..run(this_hour()) }, "openai", "stub", 100, 0.2).await;
        let now = SystemClock.now() + TimeDelta::hours(2);
        while stores.usage.all_tenants_count_hour(now).await.unwrap().is_some() {}
        stores.traces.all_tenants_prune(now, 100).await.unwrap();
        stores.database.close().await;
        drop(stores);
        server.restart().await;
        let mut socket = server.owner_socket().await;
        let error = socket.call("chat.send", &json!({"message": "hello", "agentId": "wolf"})).await.unwrap_err();
        assert_eq!(error.message, "monthly budget exceeded ($0.20 / $0.15)");
    }

    async fn usage_of_one_tenant_is_nothing_to_another(edition) {
        let mut setup = Setup::new(edition).await;
        let stores = setup.stores().await;
        let (a, b) = (goclaw_tests::fixtures::add_tenant(&stores, "ta").await, goclaw_tests::fixtures::add_tenant(&stores, "tb").await);
        add(&stores, a, &run(hours_ago(2)), "openai", "m", 100, 0.5).await;
        add(&stores, b, &run(hours_ago(2)), "openai", "m", 7, 0.25).await;
        let keys = [a, b].map(|tenant| (tenant, goclaw_ports::roles::Scope::Read));
        let mut clients = vec![];
        for (tenant, scope) in keys {
            clients.push(goclaw_tests::fixtures::add_api_key(&stores, Some(tenant), &[scope], "").await);
        }
        drop(stores);
        let server = setup.start().await;
        for (key, tokens) in clients.iter().zip([100, 7]) {
            let client = server.with_key(key).user("mai");
            assert_eq!(points(&client, &lately()).await.iter().map(|point| point["input_tokens"].as_i64().unwrap()).collect::<Vec<_>>(), [tokens]);
            assert_eq!(rows(&client, &lately()).await[0]["input_tokens"], tokens);
            assert_eq!(client.get("/v1/usage/summary").await.expect(200)["current"]["input_tokens"], tokens);
        }
        assert!(points(&server.owner(), &lately()).await.is_empty());
        let mut socket = server.owner_socket().await;
        assert_eq!(socket.call("quota.usage", &json!({})).await.unwrap()["requestsToday"], 0);
    }

    async fn times_are_needed(edition) {
        let server = Server::start(edition).await;
        for path in ["timeseries", "breakdown", "timeseries?from=2026-01-01T00:00:00Z", "breakdown?to=2026-01-01T00:00:00Z", "timeseries?from=yesterday&to=now"] {
            let error = server.owner().get(&format!("/v1/usage/{path}")).await.expect_error(400);
            assert_eq!(error, ("from and to are required".to_owned(), "INVALID_REQUEST".to_owned()), "{path}");
        }
        // Whatever times are asked for, there is an answer.
        for (from, to) in [("2026-01-02T00:00:00%2B07:00", "2026-01-01T00:00:00Z"), ("-9999-01-01T00:00:00Z", "%2B200000-12-31T23:59:59.999Z")] {
            assert!(points(&server.owner(), &format!("from={from}&to={to}")).await.is_empty());
        }
        assert_eq!(server.anonymous().get("/v1/usage/summary").await.status, 401);
    }

    async fn conversations_are_listed_with_what_they_took(edition) {
        let tenants = Tenants::start(edition).await;
        let admin = tenants.client(&tenants.a_admin, "mai");
        create_agent(&admin, "fox").await;
        let mut socket = tenants.socket(&tenants.a_admin, "mai").await;
        assert_eq!(socket.call("usage.summary", &json!({})).await.unwrap(), json!({"byAgent": {}, "totalRecords": 0}));
        for n in ["1", "2"] {
            socket.call("chat.send", &crate::common::message(&crate::common::fox_session(n), "hi")).await.unwrap();
        }
        let page = socket.call("usage.get", &json!({"offset": -1, "limit": 0})).await.unwrap();
        assert_eq!((&page["total"], &page["limit"], &page["offset"], page["records"].as_array().unwrap().len()), (&json!(2), &json!(20), &json!(0), 2));
        let newest = &page["records"][0];
        assert_eq!(
            *newest,
            json!({
                "agentId": "fox", "sessionKey": "agent:fox:ws:direct:2", "model": "stub", "provider": "openai", "inputTokens": newest["inputTokens"],
                "outputTokens": newest["outputTokens"], "totalTokens": newest["inputTokens"].as_i64().unwrap() + newest["outputTokens"].as_i64().unwrap(),
                "timestamp": newest["timestamp"],
            })
        );
        let far = socket.call("usage.get", &json!({"offset": 100, "limit": 999, "agentId": "fox"})).await.unwrap();
        assert_eq!((&far["offset"], &far["limit"], &far["records"]), (&json!(2), &json!(200), &json!([])));
        assert_eq!(socket.call("usage.get", &json!({"agentId": "wolf"})).await.unwrap()["total"], 0);
        let summary = socket.call("usage.summary", &json!({})).await.unwrap();
        assert_eq!((&summary["totalRecords"], &summary["byAgent"]["fox"]["sessions"]), (&json!(2), &json!(2)));
        let (input, output) = (summary["byAgent"]["fox"]["inputTokens"].as_i64().unwrap(), summary["byAgent"]["fox"]["outputTokens"].as_i64().unwrap());
        assert_eq!(summary["byAgent"]["fox"]["totalTokens"], input + output);

        // Below admin everybody sees the own conversations, and who has no name sees none.
        for (user, seen) in [("mai", 2), ("lan", 0), ("", 0)] {
            let mut viewer = tenants.server.connected(&if user.is_empty() { json!({"token": tenants.a_viewer}) } else { json!({"token": tenants.a_viewer, "user_id": user}) }).await;
            assert_eq!(viewer.call("usage.get", &json!({})).await.unwrap()["total"], seen, "{user}");
            assert_eq!(viewer.call("usage.summary", &json!({})).await.unwrap()["totalRecords"], seen, "{user}");
        }
        let mut other = tenants.socket(&tenants.b_admin, "mai").await;
        assert_eq!(other.call("usage.get", &json!({})).await.unwrap()["records"], json!([]));
        assert_eq!(other.call("usage.summary", &json!({})).await.unwrap()["byAgent"], json!({}));
    }

    async fn without_quotas_today_is_told_all_the_same(edition) {
        let server = with_fox(edition).await;
        ask(&server.owner(), "fox", "hello").await;
        let point = live_point(&server.owner()).await;
        let today = server.owner_socket().await.call("quota.usage", &json!({})).await.unwrap();
        assert_eq!(
            today,
            json!({
                "enabled": false, "requestsToday": 1, "inputTokensToday": point["input_tokens"], "outputTokensToday": point["output_tokens"], "costToday": point["total_cost"],
                "uniqueUsersToday": 1, "entries": []
            })
        );
    }
}
