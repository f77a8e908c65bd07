//! `/v1/traces` and `/v1/costs`: what runs did, and what they cost.

use crate::{
    behind::Database,
    common::{Tenants, ask, create_agent, fox_session, message, with_fox},
};
use flate2::read::GzDecoder;
use goclaw_ports::{
    TenantId,
    traces::{Trace, TraceFilter, TraceStatus},
};
use goclaw_tests::{
    Answer, Edition, Http, Reply, Setup, eventually,
    fixtures::{at, span, trace},
};
use serde_json::{Value, json};
use std::io::Read;

const UNKNOWN: &str = "01930000-0000-7000-8000-000000000000";

fn names(answer: &Value) -> Vec<&str> {
    answer["traces"].as_array().unwrap().iter().map(|trace| trace["name"].as_str().unwrap()).collect()
}

fn unpacked(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let mut text = String::new();
    GzDecoder::new(reply.body.as_slice()).read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn of(user: &str, name: &str, n: i64) -> Trace {
    Trace { user_id: user.into(), name: name.into(), created_at: at(n), status: TraceStatus::Completed, ..trace() }
}

/// A gateway with these traces in master, and keys of master.
async fn with_traces(edition: Edition, traces: &[Trace]) -> goclaw_tests::Server {
    let mut setup = Setup::new(edition).await;
    let stores = setup.stores().await;
    for trace in traces {
        stores.traces.insert(TenantId::MASTER, trace).await.unwrap();
        stores.traces.put_spans(TenantId::MASTER, &[span(TenantId::MASTER, trace.id, "agent")]).await.unwrap();
    }
    drop(stores);
    setup.start().await
}

/// The one trace there is, when its run has ended and its spans are written.
async fn written(client: &Http) -> Value {
    eventually("the trace of a run", async || {
        let page = client.get("/v1/traces").await.expect(200);
        let trace = page["traces"].get(0).cloned().filter(|trace| trace["status"] == "completed" && trace["span_count"] != 0)?;
        let detail = client.get(&format!("/v1/traces/{}", trace["id"].as_str().unwrap())).await.expect(200);
        let done = detail["spans"].as_array().unwrap().iter().all(|span| span["status"] == "completed");
        done.then_some(detail)
    })
    .await
}

on_both_editions! {
    async fn a_run_is_listed_with_its_steps_below_it(edition) {
        let server = with_fox(edition).await;
        ask(&server.owner(), "fox", "hi").await;
        let detail = written(&server.owner()).await;
        let (trace, spans) = (&detail["trace"], detail["spans"].as_array().unwrap());
        assert_eq!((&trace["span_count"], &trace["llm_call_count"], &trace["tool_call_count"]), (&json!(2), &json!(1), &json!(0)));
        let root = spans.iter().find(|span| span["span_type"] == "agent").unwrap();
        let call = spans.iter().find(|span| span["span_type"] == "llm_call").unwrap();
        assert_eq!((&call["parent_span_id"], &call["tenant_id"]), (&root["id"], &json!(TenantId::MASTER.to_string())));
        assert_eq!((&call["input_tokens"], &call["output_tokens"]), (&trace["total_input_tokens"], &trace["total_output_tokens"]));
        assert!(trace["duration_ms"].is_i64() && call["duration_ms"].is_i64(), "{detail}");
        let costs = server.owner().get("/v1/costs/summary").await.expect(200);
        assert_eq!((&costs["rows"][0]["agent_id"], &costs["rows"][0]["trace_count"]), (&trace["agent_id"], &json!(1)));
        assert_eq!(costs["rows"][0]["total_input_tokens"], trace["total_input_tokens"]);
    }

    async fn a_run_that_was_stopped_is_told_apart_and_one_that_failed_says_why(edition) {
        let server = with_fox(edition).await;
        let owner = server.owner();
        let mut socket = server.owner_socket().await;
        server.llm.next(Answer::text("some words").then_stall());
        let id = socket.send("chat.send", &message(&fox_session("1"), "hello")).await;
        socket.agent_event("chunk").await;
        socket.call("chat.abort", &json!({"sessionKey": fox_session("1")})).await.unwrap();
        socket.answer(&id).await.unwrap();
        server.llm.next(Answer::error(401, "no key sk-abcdefghijklmnopqrstuvwxyz"));
        socket.call("chat.send", &message(&fox_session("2"), "hello")).await.unwrap_err();
        let of = async |session: &str| {
            eventually("the run to have ended", async || {
                let page = owner.get(&format!("/v1/traces?session_key={session}")).await.expect(200);
                let trace = page["traces"].get(0).filter(|trace| trace["status"] != "running")?.clone();
                let detail = owner.get(&format!("/v1/traces/{}", trace["id"].as_str().unwrap())).await.expect(200);
                let call = detail["spans"].as_array().unwrap().iter().find(|span| span["span_type"] == "llm_call" && span["status"] != "running")?.clone();
                Some((trace, call))
            })
            .await
        };
        let (stopped, call) = of(&fox_session("1")).await;
        assert_eq!((&stopped["status"], stopped["end_time"].is_string()), (&json!("cancelled"), true), "{stopped}");
        assert_eq!((&call["status"], &call["error"], call["end_time"].is_string()), (&json!("error"), &json!("cancelled"), true), "what was under way has ended with it");
        let (failed, call) = of(&fox_session("2")).await;
        assert_eq!((&failed["status"], &call["status"]), (&json!("error"), &json!("error")));
        let why = call["error"].as_str().unwrap();
        assert!(why.contains("HTTP 401") && !why.contains("sk-abc") && !failed.to_string().contains("sk-abc"), "{why}");
    }

    async fn what_waits_to_be_written_is_written_before_the_gateway_ends(edition) {
        let mut server = with_fox(edition).await;
        ask(&server.owner(), "fox", "hi").await;
        server.stop().await;
        let stores = server.stores().await;
        let mut traces = stores.traces.list(TenantId::MASTER, &TraceFilter { limit: 10, ..TraceFilter::default() }).await.unwrap().0;
        let (trace, spans) = stores.traces.find(TenantId::MASTER, traces.remove(0).id).await.unwrap().unwrap();
        stores.database.close().await;
        assert!(traces.is_empty() && trace.status == TraceStatus::Completed && trace.llm_call_count == 1, "{trace:?}");
        assert!(spans.len() == 2 && spans.iter().all(|span| span.status == TraceStatus::Completed), "{spans:?}");
    }

    async fn traces_are_filtered_and_paged_and_what_cannot_be_read_is_ignored(edition) {
        let failed = Trace { status: TraceStatus::Error, session_key: "s".into(), channel: "ws".into(), ..of("mai", "3", 3) };
        let server = with_traces(edition, &[of("mai", "1", 1), of("lan", "2", 2), failed]).await;
        let get = async |query: &str| server.owner().get(&format!("/v1/traces{query}")).await.expect(200);
        for (query, expected) in [
            ("", "321"), ("?user_id=mai", "31"), ("?status=error", "3"), ("?session_key=s&channel=ws", "3"), ("?channel=none", ""), ("?limit=1&offset=1", "2"),
            ("?agent_id=nonsense&limit=x&offset=-4&status=nonsense", "321"), (&format!("?agent_id={UNKNOWN}"), ""),
        ] {
            assert_eq!(names(&get(query).await).concat(), expected, "{query}");
        }
        let page = get("?limit=999&user_id=mai").await;
        assert_eq!((&page["limit"], &page["offset"], &page["total"]), (&json!(50), &json!(0), &json!(2)));
        assert_snapshot!("page", get("?user_id=lan").await);
        let id = page["traces"][0]["id"].as_str().unwrap();
        assert_snapshot!("detail", server.owner().get(&format!("/v1/traces/{id}")).await.expect(200));
    }

    async fn below_admin_everybody_sees_the_own_traces_only(edition) {
        let mut setup = Setup::new(edition).await;
        let stores = setup.stores().await;
        let key = goclaw_tests::fixtures::add_api_key(&stores, Some(TenantId::MASTER), &[goclaw_ports::roles::Scope::Write], "").await;
        let (of_mai, of_nobody) = (of("mai", "m", 1), of("", "n", 3));
        let of_lan = Trace { parent_trace_id: Some(of_mai.id), ..of("lan", "l", 2) };
        for trace in [&of_mai, &of_lan, &of_nobody] {
            stores.traces.insert(TenantId::MASTER, trace).await.unwrap();
        }
        drop(stores);
        let server = setup.start().await;
        let mai = server.with_key(&key).user("mai");
        assert_eq!(names(&mai.get("/v1/traces?user_id=lan").await.expect(200)), ["m"]);
        mai.get(&format!("/v1/traces/{}", of_mai.id)).await.expect(200);
        assert_eq!(mai.get("/v1/costs/summary").await.expect(200)["rows"][0]["trace_count"], 1);
        let exported = |reply: Reply| unpacked(&reply)["sub_traces"].clone();
        assert_eq!(exported(mai.get(&format!("/v1/traces/{}/export", of_mai.id)).await), Value::Null, "what came of it is another user's");
        assert_eq!(exported(server.owner().get(&format!("/v1/traces/{}/export", of_mai.id)).await)[0]["trace"]["name"], "l");
        let unnamed = server.with_key(&key);
        assert_eq!(unnamed.get("/v1/traces").await.expect(200)["traces"], json!([]));
        assert_eq!(unnamed.get("/v1/costs/summary").await.expect(200), json!({"rows": []}));
        for (client, id) in [(&mai, of_lan.id), (&mai, of_nobody.id), (&unnamed, of_nobody.id)] {
            for path in [format!("/v1/traces/{id}"), format!("/v1/traces/{id}/export")] {
                assert_eq!(client.get(&path).await.expect_error(404).1, "NOT_FOUND");
            }
        }
        assert_eq!(names(&server.owner().get("/v1/traces").await.expect(200)).concat(), "nlm");
    }

    async fn an_export_holds_the_runs_below_and_a_circle_ends(edition) {
        let root = of("mai", "root", 1);
        let child = Trace { parent_trace_id: Some(root.id), ..of("mai", "child", 2) };
        let younger = Trace { parent_trace_id: Some(root.id), ..of("mai", "younger", 3) };
        let grandchild = Trace { parent_trace_id: Some(child.id), ..of("lan", "grandchild", 4) };
        let mut one = of("mai", "one", 5);
        let two = Trace { parent_trace_id: Some(one.id), ..of("mai", "two", 6) };
        one.parent_trace_id = Some(two.id);
        let server = with_traces(edition, &[root.clone(), child, younger, grandchild, one.clone(), two]).await;
        let reply = server.owner().get(&format!("/v1/traces/{}/export", root.id)).await;
        assert_eq!(reply.header("content-type"), "application/gzip");
        let short = &root.id.to_string()[..8];
        assert!(reply.header("content-disposition").starts_with(&format!("attachment; filename=\"trace-{short}-20")), "{}", reply.header("content-disposition"));
        let file = unpacked(&reply);
        assert!(file["exported_at"].is_string());
        assert_eq!((&file["trace"]["name"], file["spans"].as_array().unwrap().len()), (&json!("root"), 1));
        assert_eq!((&file["sub_traces"][0]["trace"]["name"], &file["sub_traces"][1]["trace"]["name"]), (&json!("child"), &json!("younger")));
        assert_eq!(file["sub_traces"][0]["sub_traces"][0]["trace"]["name"], "grandchild");
        assert_eq!(file["sub_traces"][1].get("sub_traces"), None);
        let circle = unpacked(&server.owner().get(&format!("/v1/traces/{}/export", one.id)).await);
        assert_eq!(circle["sub_traces"][0]["trace"]["name"], "two");
        assert_eq!(circle["sub_traces"][0].get("sub_traces"), None);
    }

    async fn traces_of_one_tenant_do_not_exist_for_another(edition) {
        let tenants = Tenants::start(edition).await;
        let a = tenants.client(&tenants.a_admin, "mai");
        create_agent(&a, "fox").await;
        ask(&a, "fox", "hi").await;
        let id = written(&a).await["trace"]["id"].as_str().unwrap().to_owned();
        let b = tenants.client(&tenants.b_admin, "mai");
        assert_eq!(b.get("/v1/traces").await.expect(200)["total"], 0);
        assert_eq!(b.get("/v1/costs/summary").await.expect(200), json!({"rows": []}));
        for path in [format!("/v1/traces/{id}"), format!("/v1/traces/{id}/export")] {
            assert_eq!(b.get(&path).await.expect_error(404).1, "NOT_FOUND");
        }
    }

    async fn who_may_see_a_trace_hears_when_it_changes(edition) {
        let tenants = Tenants::start(edition).await;
        let a = tenants.client(&tenants.a_admin, "mai");
        create_agent(&a, "fox").await;
        let mut admin = tenants.socket(&tenants.a_admin, "kim").await;
        let mut mai = tenants.socket(&tenants.a_viewer, "mai").await;
        let mut deaf = [tenants.socket(&tenants.a_viewer, "lan").await, tenants.socket(&tenants.b_admin, "mai").await, tenants.server.owner_socket().await];
        ask(&a, "fox", "hi").await;
        let id = written(&a).await["trace"]["id"].clone();
        for socket in [&mut admin, &mut mai] {
            let event = socket.event_named("trace.updated").await;
            assert_eq!(event["payload"], json!({"trace_ids": [id]}));
        }
        for socket in &mut deaf {
            let heard = socket.events_until_now().await;
            assert!(heard.iter().all(|event| event["event"] != "trace.updated"), "{heard:?}");
        }
    }

    async fn ids_must_be_ids_of_traces(edition) {
        let server = with_fox(edition).await;
        for path in ["/v1/traces/nonsense", "/v1/traces/nonsense/export"] {
            assert_eq!(server.owner().get(path).await.expect_error(400), ("invalid trace ID".to_owned(), "INVALID_REQUEST".to_owned()));
        }
        for path in [format!("/v1/traces/{UNKNOWN}"), format!("/v1/traces/{UNKNOWN}/export")] {
            assert_eq!(server.owner().get(&path).await.expect_error(404).0, format!("trace not found: {UNKNOWN}"));
        }
        assert_eq!(server.anonymous().get("/v1/traces").await.status, 401);
    }

    async fn costs_are_of_the_time_that_is_asked_for(edition) {
        let dear = Trace { total_cost: 2.5, ..of("mai", "dear", 0) };
        let mut setup = Setup::new(edition).await;
        let stores = setup.stores().await;
        stores.traces.insert(TenantId::MASTER, &dear).await.unwrap();
        drop(stores);
        let server = setup.start().await;
        let (before, after) = (at(-60).format("%Y-%m-%dT%H:%M:%SZ"), at(60).format("%Y-%m-%dT%H:%M:%S.5Z"));
        let rows = async |query: &str| server.owner().get(&format!("/v1/costs/summary{query}")).await.expect(200)["rows"].clone();
        let row = json!([{"total_cost": 2.5, "total_input_tokens": 0, "total_output_tokens": 0, "trace_count": 1}]);
        for query in [String::new(), format!("?from={before}&to={after}"), "?from=nonsense&to=&agent_id=x".to_owned()] {
            assert_eq!(rows(&query).await, row, "{query}");
        }
        for query in [format!("?from={after}"), format!("?to={before}"), format!("?agent_id={UNKNOWN}")] {
            assert_eq!(rows(&query).await, json!([]), "{query}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_begin_and_end_while_spans_cannot_be_written() {
    let server = with_fox(Edition::Standard).await;
    let database = Database::of(&server, Edition::Standard).await;
    let Database::Standard(behind, _) = &database else { unreachable!("it is the standard edition") };
    behind.batch_execute("begin; lock table spans in exclusive mode").await.unwrap();
    ask(&server.owner(), "fox", "first").await;
    eventually("somebody waits to write spans", async || {
        let waiting = behind.query_one("select count(*) from pg_locks where relation = 'spans'::regclass and not granted", &[]).await.unwrap();
        (waiting.get::<_, i64>(0) > 0).then_some(())
    })
    .await;
    ask(&server.owner(), "fox", "second").await;
    let ended = eventually("both runs have ended", async || {
        let page = server.owner().get("/v1/traces").await.expect(200);
        let traces = page["traces"].as_array().unwrap().clone();
        (traces.len() == 2 && traces.iter().all(|trace| trace["status"] == "completed")).then_some(traces)
    })
    .await;
    assert!(ended.iter().all(|trace| trace["span_count"] == 0), "{ended:?}");
    behind.batch_execute("commit").await.unwrap();
    eventually("their spans are written", async || {
        let page = server.owner().get("/v1/traces").await.expect(200);
        page["traces"].as_array().unwrap().iter().all(|trace| trace["span_count"] == 2).then_some(())
    })
    .await;
    database.close().await;
}
