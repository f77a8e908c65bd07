use chrono::TimeDelta;
use goclaw_ports::{
    AgentId, TenantId, TraceId,
    llm::Routing,
    traces::{CostFilter, CostRow, LEASE, LlmCall, LlmCallFilter, LostRun, ROUTING, Span, Trace, TraceEnd, TraceFilter, TraceStatus},
};
use goclaw_tests::{
    TestDatabase,
    fixtures::{at, odd_json, span, trace},
};
use uuid::Uuid;

fn all() -> TraceFilter {
    TraceFilter { limit: 100, ..TraceFilter::default() }
}

fn end(status: TraceStatus, error: &str) -> TraceEnd {
    TraceEnd { end_time: at(2), status, error: error.into(), output_preview: "the end".into() }
}

async fn started(db: &TestDatabase, tenant: TenantId) -> Trace {
    let trace = trace();
    db.stores.traces.insert(tenant, &trace).await.unwrap();
    trace
}

on_both_databases! {
    async fn calls_of_models_are_found_by_their_providers(db) {
        let (tenant, other) = (db.tenant("a").await, db.tenant("b").await);
        let (fox, owl) = (db.agent(tenant, "fox").await, db.agent(tenant, "owl").await);
        let of = |agent: AgentId, second: i64| Trace { agent_id: Some(agent), start_time: at(second), created_at: at(second), ..trace() };
        let (old, new, owls) = (of(fox.id, 1), of(fox.id, 10), of(owl.id, 20));
        let child = Trace { parent_trace_id: Some(new.id), ..of(fox.id, 30) };
        for trace in [&old, &new, &owls, &child] {
            db.stores.traces.insert(tenant, trace).await.unwrap();
        }
        let call = |trace: &Trace, provider: &str, second: i64| Span {
            provider: provider.into(), model: "m".into(), agent_id: trace.agent_id, start_time: at(second), duration_ms: Some(7), status: TraceStatus::Error, ..span(tenant, trace.id, "llm_call")
        };
        let routed = Routing { selected_provider: "a".into(), serving_provider: "b".into(), attempt_count: 2, ..Routing::default() };
        let metadata = goclaw_tests::fixtures::object(serde_json::json!({ROUTING: routed}));
        let with_routing = Span { metadata, status: TraceStatus::Completed, ..call(&new, "elsewhere", 11) };
        let spans = [
            call(&old, "a", 1), with_routing.clone(), call(&new, "other", 12), call(&owls, "a", 21), call(&child, "a", 31),
            Span { span_type: "tool_call".into(), ..call(&new, "a", 13) },
        ];
        db.stores.traces.put_spans(tenant, &spans).await.unwrap();
        let found = async |providers: &[&str], agent_id, since, limit| {
            let filter = LlmCallFilter { providers: providers.iter().map(|name| (*name).to_owned()).collect(), agent_id, since, limit };
            let calls = db.stores.traces.llm_calls(tenant, &filter).await.unwrap();
            calls.into_iter().map(|call| (call.start_time - at(0)).num_seconds()).collect::<Vec<_>>()
        };
        assert_eq!(found(&["a"], None, None, 10).await, [21, 11, 1], "the newest first; neither tools nor runs of runs");
        assert_eq!(found(&["b"], None, None, 10).await, [11], "the one that answered counts");
        assert_eq!(found(&["a", "other"], Some(fox.id), None, 10).await, [12, 11, 1]);
        assert_eq!(found(&["a"], None, Some(at(10)), 10).await, [21, 11]);
        assert_eq!(found(&["a"], None, None, 1).await, [21]);
        assert!(found(&[], None, None, 10).await.is_empty());
        let filter = LlmCallFilter { providers: vec!["b".into()], limit: 10, ..LlmCallFilter::default() };
        let expected = LlmCall {
            span_id: with_routing.id, trace_id: new.id, agent_id: Some(fox.id), start_time: at(11), status: TraceStatus::Completed, duration_ms: Some(7),
            provider: "elsewhere".into(), model: "m".into(), routing: Some(routed),
        };
        assert_eq!(db.stores.traces.llm_calls(tenant, &filter).await.unwrap(), [expected]);
        assert!(db.stores.traces.llm_calls(other, &filter).await.unwrap().is_empty());
    }

    async fn a_trace_comes_back_as_it_was_stored(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        let parent = started(&db, tenant).await;
        let full = Trace {
            parent_trace_id: Some(parent.id),
            agent_id: Some(fox.id),
            user_id: "mai 🦀".into(),
            session_key: "agent:fox:ws:1".into(),
            run_id: Uuid::new_v4().to_string(),
            end_time: Some(at(3)),
            duration_ms: Some(3000),
            name: "chat".into(),
            channel: "ws".into(),
            input_preview: "hỏi".into(),
            output_preview: "đáp".into(),
            total_input_tokens: 5_000_000_000,
            total_output_tokens: 2,
            total_cost: 0.123_456,
            span_count: 3,
            llm_call_count: 2,
            tool_call_count: 1,
            status: TraceStatus::Cancelled,
            error: "stopped".into(),
            metadata: odd_json(),
            tags: vec!["one".into(), "🦀".into()],
            created_at: at(4),
            ..trace()
        };
        db.stores.traces.insert(tenant, &full).await.unwrap();
        assert_eq!(db.stores.traces.find(tenant, full.id).await.unwrap(), Some((full, vec![])));
        assert_eq!(db.stores.traces.find(tenant, parent.id).await.unwrap(), Some((parent, vec![])));
        assert_eq!(db.stores.traces.find(tenant, TraceId(Uuid::now_v7())).await.unwrap(), None);
    }

    async fn a_span_comes_back_as_it_was_stored(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        let trace = started(&db, tenant).await;
        let parent = Span { start_time: at(-1), ..span(tenant, trace.id, "agent") };
        let full = Span {
            parent_span_id: Some(parent.id),
            agent_id: Some(fox.id),
            status: TraceStatus::Error,
            error: "lỗi 🦀".into(),
            model: "m".repeat(200),
            provider: "p".repeat(50),
            input_tokens: Some(10),
            output_tokens: Some(0),
            total_cost: Some(0.000_012_5),
            finish_reason: "stop".into(),
            tool_name: "t".repeat(200),
            tool_call_id: "c".repeat(100),
            input_preview: "in".into(),
            output_preview: "out".into(),
            metadata: odd_json(),
            ..span(tenant, trace.id, "llm_call")
        };
        db.stores.traces.put_spans(tenant, &[parent.clone(), full.clone()]).await.unwrap();
        assert_eq!(db.stores.traces.find(tenant, trace.id).await.unwrap().unwrap().1, [parent, full]);
    }

    async fn spans_are_listed_by_start(db) {
        let tenant = db.tenant("a").await;
        let trace = started(&db, tenant).await;
        let spans = [3, 1, 2].map(|n| Span { start_time: at(n), name: n.to_string(), ..span(tenant, trace.id, "event") });
        db.stores.traces.put_spans(tenant, &spans).await.unwrap();
        let names: Vec<_> = db.stores.traces.find(tenant, trace.id).await.unwrap().unwrap().1.into_iter().map(|span| span.name).collect();
        assert_eq!(names, ["1", "2", "3"]);
    }

    async fn the_totals_of_a_trace_follow_its_spans(db) {
        let tenant = db.tenant("a").await;
        let (first, second) = (started(&db, tenant).await, started(&db, tenant).await);
        let llm = |trace: &Trace, input, output, cost| Span { input_tokens: Some(input), output_tokens: Some(output), total_cost: Some(cost), ..span(tenant, trace.id, "llm_call") };
        // Tokens of other spans than model calls are no tokens of the run; their cost is.
        let embedding = Span { input_tokens: Some(1000), total_cost: Some(0.25), ..span(tenant, first.id, "embedding") };
        let spans = [
            llm(&first, 10, 1, 0.5),
            Span { input_tokens: None, output_tokens: None, ..llm(&first, 0, 0, 0.0) },
            span(tenant, first.id, "tool_call"),
            span(tenant, first.id, "agent"),
            embedding,
            llm(&second, 7, 3, 0.125),
        ];
        db.stores.traces.put_spans(tenant, &spans).await.unwrap();
        db.stores.traces.put_spans(tenant, &[llm(&first, 20, 2, 1.0)]).await.unwrap();
        let totals = |trace: &Trace| (trace.span_count, trace.llm_call_count, trace.tool_call_count, trace.total_input_tokens, trace.total_output_tokens, trace.total_cost);
        let one = db.stores.traces.find(tenant, first.id).await.unwrap().unwrap().0;
        assert_eq!(totals(&one), (6, 3, 1, 30, 3, 1.75));
        let two = db.stores.traces.find(tenant, second.id).await.unwrap().unwrap().0;
        assert_eq!(totals(&two), (1, 1, 0, 7, 3, 0.125));
        assert_eq!((one.status, one.end_time), (TraceStatus::Running, None));
    }

    async fn a_span_replaces_the_one_with_its_id(db) {
        let tenant = db.tenant("a").await;
        let trace = started(&db, tenant).await;
        let running = Span { status: TraceStatus::Running, end_time: None, duration_ms: None, ..span(tenant, trace.id, "llm_call") };
        db.stores.traces.put_spans(tenant, std::slice::from_ref(&running)).await.unwrap();
        let done = Span { status: TraceStatus::Completed, end_time: Some(at(1)), duration_ms: Some(1000), input_tokens: Some(4), output_tokens: Some(2), ..running };
        db.stores.traces.put_spans(tenant, std::slice::from_ref(&done)).await.unwrap();
        let (found, spans) = db.stores.traces.find(tenant, trace.id).await.unwrap().unwrap();
        assert_eq!(spans, [done]);
        assert_eq!((found.span_count, found.llm_call_count, found.total_input_tokens, found.total_output_tokens), (1, 1, 4, 2));
    }

    async fn a_span_keeps_an_input_that_is_not_said_again(db) {
        let tenant = db.tenant("a").await;
        let trace = started(&db, tenant).await;
        let put = async |spans: &[Span]| {
            db.stores.traces.put_spans(tenant, spans).await.unwrap();
            let (_, spans) = db.stores.traces.find(tenant, trace.id).await.unwrap().unwrap();
            spans.into_iter().map(|span| (span.input_preview.to_string(), span.output_preview)).collect::<Vec<_>>()
        };
        let asked = Span { input_preview: "what was asked".into(), ..span(tenant, trace.id, "llm_call") };
        let answered = Span { input_preview: "".into(), output_preview: "an answer".into(), ..asked.clone() };
        let kept = [("what was asked".to_owned(), "an answer".to_owned())];
        put(std::slice::from_ref(&asked)).await;
        assert_eq!(put(std::slice::from_ref(&answered)).await, kept);
        assert_eq!(put(&[asked.clone(), answered.clone()]).await, kept);
        let other = Span { input_preview: "something else".into(), ..answered };
        assert_eq!(put(&[other]).await, [("something else".to_owned(), "an answer".to_owned())]);
    }

    async fn spans_of_unknown_traces_are_left_out(db) {
        let tenant = db.tenant("a").await;
        let trace = started(&db, tenant).await;
        let known = span(tenant, trace.id, "event");
        let unknown = span(tenant, TraceId(Uuid::now_v7()), "event");
        db.stores.traces.put_spans(tenant, &[unknown.clone(), known.clone()]).await.unwrap();
        assert_eq!(db.stores.traces.find(tenant, trace.id).await.unwrap().unwrap().1, [known]);
        assert_eq!(db.stores.traces.find(tenant, unknown.trace_id).await.unwrap(), None);
        db.stores.traces.put_spans(tenant, &[]).await.unwrap();
    }

    async fn a_trace_is_ended(db) {
        let tenant = db.tenant("a").await;
        let (one, other) = (started(&db, tenant).await, started(&db, tenant).await);
        assert!(db.stores.traces.finish(tenant, one.id, &end(TraceStatus::Error, "no money")).await.unwrap());
        let expected = Trace { end_time: Some(at(2)), duration_ms: Some(2000), status: TraceStatus::Error, error: "no money".into(), output_preview: "the end".into(), ..one };
        assert_eq!(db.stores.traces.find(tenant, expected.id).await.unwrap().unwrap().0, expected);
        assert_eq!(db.stores.traces.find(tenant, other.id).await.unwrap().unwrap().0, other);
        assert!(!db.stores.traces.finish(tenant, TraceId(Uuid::now_v7()), &end(TraceStatus::Completed, "")).await.unwrap());
    }

    async fn traces_are_listed_newest_first_in_pages_with_the_number_of_all(db) {
        let tenant = db.tenant("a").await;
        for n in [3, 1, 5, 2, 4] {
            db.stores.traces.insert(tenant, &Trace { created_at: at(n), start_time: at(n), name: n.to_string(), ..trace() }).await.unwrap();
        }
        for (limit, offset, expected) in [(100, 0, "54321"), (2, 0, "54"), (2, 2, "32"), (2, 4, "1"), (2, 6, "")] {
            let (page, total) = db.stores.traces.list(tenant, &TraceFilter { limit, offset, ..all() }).await.unwrap();
            assert_eq!((page.into_iter().map(|trace| trace.name).collect::<String>(), total), (expected.to_owned(), 5));
        }
    }

    async fn all_conditions_of_a_filter_hold(db) {
        let tenant = db.tenant("a").await;
        let fox = db.agent(tenant, "fox").await;
        let make = |agent_id, user: &str, session: &str, status, channel: &str| Trace { agent_id, user_id: user.into(), session_key: session.into(), status, channel: channel.into(), ..trace() };
        for trace in [
            make(Some(fox.id), "mai", "s1", TraceStatus::Completed, "ws"),
            make(Some(fox.id), "lan", "s2", TraceStatus::Error, "http"),
            make(None, "mai", "s1", TraceStatus::Running, "ws"),
        ] {
            db.stores.traces.insert(tenant, &trace).await.unwrap();
        }
        let some = |text: &str| Some(text.to_owned());
        for (filter, expected) in [
            (all(), 3),
            (TraceFilter { agent_id: Some(fox.id), ..all() }, 2),
            (TraceFilter { agent_id: Some(AgentId(Uuid::now_v7())), ..all() }, 0),
            (TraceFilter { user_id: some("mai"), ..all() }, 2),
            (TraceFilter { session_key: some("s1"), ..all() }, 2),
            (TraceFilter { session_key: some("s%"), ..all() }, 0),
            (TraceFilter { status: Some(TraceStatus::Error), ..all() }, 1),
            (TraceFilter { channel: some("ws"), ..all() }, 2),
            (TraceFilter { agent_id: Some(fox.id), user_id: some("mai"), session_key: some("s1"), status: Some(TraceStatus::Completed), channel: some("ws"), ..all() }, 1),
            (TraceFilter { user_id: some("mai"), status: Some(TraceStatus::Error), ..all() }, 0),
        ] {
            let (page, total) = db.stores.traces.list(tenant, &filter).await.unwrap();
            assert_eq!((page.len(), total), (expected, expected as i64), "{filter:?}");
        }
    }

    async fn the_runs_that_a_run_started_are_listed(db) {
        let tenant = db.tenant("a").await;
        let parent = started(&db, tenant).await;
        for n in [1, 2] {
            db.stores.traces.insert(tenant, &Trace { parent_trace_id: Some(parent.id), created_at: at(n), name: n.to_string(), ..trace() }).await.unwrap();
        }
        let (children, total) = db.stores.traces.list(tenant, &TraceFilter { parent_trace_id: Some(parent.id), ..all() }).await.unwrap();
        assert_eq!((children.into_iter().map(|trace| trace.name).collect::<String>(), total), ("21".to_owned(), 2));
        assert_eq!(db.stores.traces.list(tenant, &all()).await.unwrap().1, 3);
    }

    async fn costs_are_summed_by_agent_over_the_runs_that_match(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let (fox, owl) = (db.agent(a, "fox").await, db.agent(a, "owl").await);
        let run = |agent_id, user: &str, cost, created| Trace { agent_id, user_id: user.into(), total_cost: cost, total_input_tokens: 10, total_output_tokens: 1, created_at: at(created), ..trace() };
        let parent = run(Some(fox.id), "mai", 0.25, 1);
        let child = Trace { parent_trace_id: Some(parent.id), ..run(Some(fox.id), "mai", 0.5, 1) };
        for trace in [parent, child, run(Some(fox.id), "lan", 0.5, 2), run(Some(owl.id), "mai", 2.0, 3), run(None, "mai", 0.125, 4)] {
            db.stores.traces.insert(a, &trace).await.unwrap();
        }
        db.stores.traces.insert(b, &run(None, "mai", 1.0, 1)).await.unwrap();
        // A run that another run started costs, and is none of those that users started.
        let row = |agent_id, total_cost, runs| CostRow { agent_id, total_cost, total_input_tokens: 10 * runs, total_output_tokens: runs, trace_count: runs };
        let with_child = CostRow { trace_count: 2, ..row(Some(fox.id), 1.25, 3) };
        let some = |text: &str| Some(text.to_owned());
        for (filter, expected) in [
            (CostFilter::default(), vec![row(Some(owl.id), 2.0, 1), with_child.clone(), row(None, 0.125, 1)]),
            (CostFilter { agent_id: Some(fox.id), ..CostFilter::default() }, vec![with_child]),
            (CostFilter { user_id: some("lan"), ..CostFilter::default() }, vec![row(Some(fox.id), 0.5, 1)]),
            (CostFilter { from: Some(at(2)), to: Some(at(4)), ..CostFilter::default() }, vec![row(Some(owl.id), 2.0, 1), row(Some(fox.id), 0.5, 1)]),
            (CostFilter { from: Some(at(5)), ..CostFilter::default() }, vec![]),
        ] {
            assert_eq!(db.stores.traces.costs(a, &filter).await.unwrap(), expected, "{filter:?}");
        }
        assert_eq!(db.stores.traces.costs(b, &CostFilter::default()).await.unwrap(), [row(None, 1.0, 1)]);
    }

    async fn after_a_crash_running_traces_and_spans_have_failed(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let old = started(&db, a).await;
        let of_b = started(&db, b).await;
        let done = Trace { status: TraceStatus::Completed, end_time: Some(at(1)), ..trace() };
        db.stores.traces.insert(a, &done).await.unwrap();
        let young = Trace { start_time: at(100), created_at: at(100), ..trace() };
        db.stores.traces.insert(a, &young).await.unwrap();
        let running = Span { status: TraceStatus::Running, end_time: None, duration_ms: None, ..span(a, old.id, "llm_call") };
        let finished = span(a, old.id, "tool_call");
        let young_span = Span { status: TraceStatus::Running, start_time: at(100), end_time: None, duration_ms: None, ..span(a, young.id, "llm_call") };
        db.stores.traces.put_spans(a, &[running.clone(), finished.clone(), young_span.clone()]).await.unwrap();

        db.stores.traces.all_tenants_renew_leases(&[young.id], LEASE * 3).await.unwrap();
        assert!(db.stores.traces.all_tenants_fail_running(Some(TimeDelta::zero()), at(60), "interrupted").await.unwrap().is_empty(), "their leases hold");
        let (one, two) = tokio::join!(
            db.stores.traces.all_tenants_fail_running(Some(LEASE * 2), at(60), "interrupted"),
            db.stores.traces.all_tenants_fail_running(Some(LEASE * 2), at(60), "interrupted"),
        );
        let lost = [one.unwrap(), two.unwrap()].concat();
        assert_eq!(lost.iter().map(|run| run.tenant).collect::<std::collections::BTreeSet<_>>(), [a, b].into());
        assert_eq!(lost.len(), 2, "each is told of once");

        let (trace, spans) = db.stores.traces.find(a, old.id).await.unwrap().unwrap();
        assert_eq!((trace.status, trace.error.as_str(), trace.end_time), (TraceStatus::Error, "interrupted", Some(at(60))));
        let failed = spans.iter().find(|span| span.id == running.id).unwrap();
        assert_eq!((failed.status, failed.error.as_str()), (TraceStatus::Error, "interrupted"));
        assert!(spans.contains(&finished));
        assert_eq!(db.stores.traces.find(b, of_b.id).await.unwrap().unwrap().0.status, TraceStatus::Error);
        assert_eq!(db.stores.traces.find(a, done.id).await.unwrap().unwrap().0, done);
        let (kept, spans) = db.stores.traces.find(a, young.id).await.unwrap().unwrap();
        assert_eq!(kept.status, TraceStatus::Running);
        assert_eq!(spans, [young_span]);
    }

    async fn a_lease_that_is_renewed_holds_and_the_run_is_told_of_when_it_ends(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let fox = db.agent(a, "fox").await;
        let run = Trace { agent_id: Some(fox.id), user_id: "mai".into(), session_key: "agent:fox:ws:1".into(), run_id: "r1".into(), channel: "ws".into(), ..trace() };
        db.stores.traces.insert(a, &run).await.unwrap();
        let of_b = started(&db, b).await;
        let ended = Trace { status: TraceStatus::Completed, end_time: Some(at(1)), ..trace() };
        db.stores.traces.insert(a, &ended).await.unwrap();
        let unknown = goclaw_ports::TraceId(uuid::Uuid::now_v7());
        assert_eq!(db.stores.traces.all_tenants_renew_leases(&[run.id, ended.id, unknown], TimeDelta::minutes(10)).await.unwrap(), [run.id]);
        let lost = db.stores.traces.all_tenants_fail_running(Some(TimeDelta::minutes(5)), at(400), "gone").await.unwrap();
        assert_eq!(lost.iter().map(|run| run.tenant).collect::<Vec<_>>(), [b], "a lease that was not renewed is over");
        assert!(db.stores.traces.all_tenants_renew_leases(&[of_b.id], LEASE).await.unwrap().is_empty(), "what was given up stays so");

        let expected = LostRun { tenant: a, run_id: "r1".into(), agent_key: "fox".into(), user_id: "mai".into(), session_key: "agent:fox:ws:1".into(), channel: "ws".into() };
        assert_eq!(db.stores.traces.all_tenants_fail_running(Some(TimeDelta::minutes(11)), at(501), "gone").await.unwrap(), [expected]);
        assert_eq!(db.stores.traces.find(a, run.id).await.unwrap().unwrap().0.status, TraceStatus::Error);
    }

    async fn what_clocks_gateways_have_makes_no_difference_to_leases(db) {
        let a = db.tenant("a").await;
        let fox = db.agent(a, "fox").await;
        let (behind, ahead) = (at(0) - TimeDelta::days(20_000), at(0) + TimeDelta::days(20_000));
        let runs = [behind, ahead].map(|start_time| Trace { agent_id: Some(fox.id), run_id: "r".into(), start_time, created_at: start_time, ..trace() });
        for run in &runs {
            db.stores.traces.insert(a, run).await.unwrap();
        }
        let ids = runs.each_ref().map(|run| run.id);
        for now in [behind, ahead] {
            assert!(db.stores.traces.all_tenants_fail_running(Some(TimeDelta::zero()), now, "gone").await.unwrap().is_empty(), "both leases hold");
        }
        assert_eq!(db.stores.traces.running(a, Some(fox.id)).await.unwrap().len(), 2);
        db.stores.traces.all_tenants_renew_leases(&ids, TimeDelta::seconds(-1)).await.unwrap();
        assert!(db.stores.traces.running(a, Some(fox.id)).await.unwrap().is_empty());
        assert_eq!(db.stores.traces.all_tenants_fail_running(Some(TimeDelta::zero()), behind, "gone").await.unwrap().len(), 2, "both are over");
    }

    async fn with_nobody_else_at_work_all_runs_have_failed(db) {
        let a = db.tenant("a").await;
        let run = started(&db, a).await;
        db.stores.traces.all_tenants_renew_leases(&[run.id], TimeDelta::days(1_000)).await.unwrap();
        let orphan = Span { status: TraceStatus::Running, end_time: None, duration_ms: None, ..span(a, run.id, "llm_call") };
        db.stores.traces.put_spans(a, std::slice::from_ref(&orphan)).await.unwrap();
        assert_eq!(db.stores.traces.all_tenants_fail_running(None, at(2), "gone").await.unwrap().len(), 1);
        let (trace, spans) = db.stores.traces.find(a, run.id).await.unwrap().unwrap();
        assert_eq!((trace.status, spans[0].status, spans[0].error.as_str()), (TraceStatus::Error, TraceStatus::Error, "gone"));
    }

    async fn old_traces_are_pruned_in_steps(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        assert_eq!(db.stores.traces.all_tenants_kept_from().await.unwrap(), None);
        for tenant in [a, b] {
            for n in [1, 2, 100] {
                let trace = Trace { created_at: at(n), ..trace() };
                db.stores.traces.insert(tenant, &trace).await.unwrap();
                db.stores.traces.put_spans(tenant, &[span(tenant, trace.id, "event")]).await.unwrap();
            }
        }
        let steps = [db.stores.traces.all_tenants_prune(at(50), 3).await.unwrap(), db.stores.traces.all_tenants_prune(at(50), 3).await.unwrap(), db.stores.traces.all_tenants_prune(at(50), 3).await.unwrap()];
        assert_eq!(steps, [3, 1, 0]);
        assert_eq!(db.stores.traces.all_tenants_kept_from().await.unwrap(), Some(at(50)));
        assert_eq!(db.stores.traces.all_tenants_prune(at(40), 3).await.unwrap(), 0);
        assert_eq!(db.stores.traces.all_tenants_kept_from().await.unwrap(), Some(at(50)), "what is gone does not come back");
        for tenant in [a, b] {
            let (left, total) = db.stores.traces.list(tenant, &all()).await.unwrap();
            assert_eq!((left[0].created_at, total), (at(100), 1));
            assert_eq!(db.stores.traces.find(tenant, left[0].id).await.unwrap().unwrap().1.len(), 1);
        }
    }

    async fn traces_of_one_tenant_are_out_of_reach_of_another(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let of_a = started(&db, a).await;
        let of_b = started(&db, b).await;
        let span_of_a = span(a, of_a.id, "event");
        db.stores.traces.put_spans(a, std::slice::from_ref(&span_of_a)).await.unwrap();
        let before = db.stores.traces.find(a, of_a.id).await.unwrap();

        let fox = db.agent(a, "fox").await;
        let of_fox = Trace { agent_id: Some(fox.id), run_id: "r".into(), ..trace() };
        let no_run = Trace { agent_id: Some(fox.id), run_id: String::new(), ..trace() };
        for trace in [&of_fox, &no_run] {
            db.stores.traces.insert(a, trace).await.unwrap();
        }
        for agent in [None, Some(fox.id)] {
            assert_eq!(db.stores.traces.running(a, agent).await.unwrap(), [(of_fox.id, fox.id)], "and neither the one without an agent nor what is no run");
            assert!(db.stores.traces.running(b, agent).await.unwrap().is_empty());
        }
        let owl = db.agent(a, "owl").await;
        assert!(db.stores.traces.running(a, Some(owl.id)).await.unwrap().is_empty());
        assert_eq!(db.stores.traces.find(b, of_a.id).await.unwrap(), None);
        assert_eq!(db.stores.traces.list(b, &all()).await.unwrap().0, std::slice::from_ref(&of_b));
        assert!(!db.stores.traces.finish(b, of_a.id, &end(TraceStatus::Error, "stolen")).await.unwrap());
        db.stores.traces.put_spans(b, &[span(b, of_a.id, "llm_call"), span(a, of_a.id, "llm_call")]).await.unwrap();
        assert_eq!(db.stores.traces.find(a, of_a.id).await.unwrap(), before);
        // A span of b that takes the id of a's span must not move or change it.
        drop(db.stores.traces.put_spans(b, &[Span { id: span_of_a.id, name: "stolen".into(), ..span(b, of_b.id, "event") }]).await);
        assert!(db.stores.traces.insert(b, &Trace { name: "stolen".into(), ..of_a.clone() }).await.is_err());
        assert_eq!(db.stores.traces.find(a, of_a.id).await.unwrap(), before);
    }
}
