use super::{Place, at};
use goclaw_ports::{
    AgentId, ErrorKind, JsonObject, SpanId, TenantId, TraceId,
    traces::{LEASE, Span, Trace, TraceEnd, TraceFilter, TraceStatus},
};
use uuid::Uuid;

const MASTER: TenantId = TenantId::MASTER;

fn trace(seconds: i64) -> Trace {
    Trace {
        id: TraceId(Uuid::now_v7()),
        parent_trace_id: Some(TraceId(Uuid::now_v7())),
        agent_id: Some(AgentId(Uuid::now_v7())),
        user_id: "bob".to_owned(),
        session_key: "agent:fox:ws:1".to_owned(),
        run_id: "run".to_owned(),
        start_time: at(seconds),
        end_time: None,
        duration_ms: None,
        name: "chat".to_owned(),
        channel: "ws".to_owned(),
        input_preview: "hello".to_owned(),
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
        tags: vec!["a".to_owned()],
        team_id: None,
        created_at: at(seconds),
    }
}

fn span(trace: TraceId, span_type: &str, seconds: i64) -> Span {
    Span {
        id: SpanId(Uuid::now_v7()),
        trace_id: trace,
        parent_span_id: None,
        agent_id: None,
        span_type: span_type.to_owned(),
        name: "step".to_owned(),
        start_time: at(seconds),
        end_time: Some(at(seconds + 1)),
        duration_ms: Some(1000),
        status: TraceStatus::Completed,
        error: String::new(),
        level: "DEFAULT".to_owned(),
        model: "small".to_owned(),
        provider: "openai".to_owned(),
        input_tokens: Some(10),
        output_tokens: Some(3),
        total_cost: Some(0.25),
        finish_reason: "stop".to_owned(),
        tool_name: String::new(),
        tool_call_id: String::new(),
        input_preview: Default::default(),
        output_preview: String::new(),
        metadata: JsonObject::new(),
        tenant_id: MASTER,
        created_at: at(seconds),
    }
}

#[tokio::test]
async fn spans_are_replaced_by_id_and_summed_up() {
    let place = Place::new().await;
    let traces = &place.stores.traces;
    let run = trace(1);
    traces.insert(MASTER, &run).await.unwrap();
    assert_eq!(traces.insert(MASTER, &run).await.unwrap_err().kind, ErrorKind::AlreadyExists);
    let (model, mut tool) = (span(run.id, "llm_call", 3), span(run.id, "tool_call", 2));
    (tool.input_tokens, tool.total_cost) = (Some(99), None);
    let elsewhere = span(TraceId(Uuid::now_v7()), "llm_call", 2);
    traces.put_spans(MASTER, &[model.clone(), tool.clone(), elsewhere]).await.unwrap();
    tool.total_cost = Some(0.5);
    traces.put_spans(MASTER, &[tool.clone()]).await.unwrap();

    let summed =
        Trace { span_count: 2, llm_call_count: 1, tool_call_count: 1, total_input_tokens: 10, total_output_tokens: 3, total_cost: 0.75, ..run.clone() };
    assert_eq!(traces.find(MASTER, run.id).await.unwrap().unwrap(), (summed, vec![tool, model]));

    let other = place.other_tenant().await;
    assert_eq!(traces.find(other, run.id).await.unwrap(), None);
    traces.put_spans(other, &[span(run.id, "llm_call", 4)]).await.unwrap();
    assert_eq!(traces.find(MASTER, run.id).await.unwrap().unwrap().0.span_count, 2);
}

#[tokio::test]
async fn another_tenants_span_cannot_be_replaced() {
    let place = Place::new().await;
    let traces = &place.stores.traces;
    let (ours, theirs, other) = (trace(1), trace(1), place.other_tenant().await);
    traces.insert(MASTER, &ours).await.unwrap();
    traces.insert(other, &theirs).await.unwrap();
    let step = span(ours.id, "llm_call", 1);
    traces.put_spans(MASTER, std::slice::from_ref(&step)).await.unwrap();
    let forged = Span { trace_id: theirs.id, name: "forged".to_owned(), ..step.clone() };
    assert_eq!(traces.put_spans(other, &[forged]).await.unwrap_err().kind, ErrorKind::AlreadyExists);
    assert_eq!(traces.find(MASTER, ours.id).await.unwrap().unwrap().1, [step]);
}

#[tokio::test]
async fn a_finished_trace_knows_how_long_it_took() {
    let place = Place::new().await;
    let traces = &place.stores.traces;
    let run = trace(1);
    traces.insert(MASTER, &run).await.unwrap();
    let end = TraceEnd { end_time: at(3), status: TraceStatus::Cancelled, error: "stopped".to_owned(), output_preview: "bye".to_owned() };
    let other = place.other_tenant().await;
    assert!(!traces.finish(other, run.id, &end).await.unwrap());
    assert!(traces.finish(MASTER, run.id, &end).await.unwrap());
    let (finished, _) = traces.find(MASTER, run.id).await.unwrap().unwrap();
    assert_eq!((finished.duration_ms, finished.end_time, finished.status), (Some(2000), Some(at(3)), TraceStatus::Cancelled));
    assert_eq!((finished.error.as_str(), finished.output_preview.as_str()), ("stopped", "bye"));
}

#[tokio::test]
async fn traces_are_listed_newest_first_by_all_conditions() {
    let place = Place::new().await;
    let traces = &place.stores.traces;
    let (old, new) = (trace(1), trace(2));
    traces.insert(MASTER, &old).await.unwrap();
    traces.insert(MASTER, &new).await.unwrap();
    let filter = TraceFilter { limit: 10, ..TraceFilter::default() };
    assert_eq!(traces.list(MASTER, &filter).await.unwrap(), (vec![new.clone(), old.clone()], 2));
    assert_eq!(traces.list(MASTER, &TraceFilter { limit: 1, offset: 1, ..filter.clone() }).await.unwrap(), (vec![old.clone()], 2));
    let exact = TraceFilter {
        agent_id: old.agent_id,
        user_id: Some("bob".to_owned()),
        session_key: Some(old.session_key.clone()),
        status: Some(TraceStatus::Running),
        channel: Some("ws".to_owned()),
        ..filter.clone()
    };
    assert_eq!(traces.list(MASTER, &exact).await.unwrap(), (vec![old], 1));
    assert_eq!(traces.list(MASTER, &TraceFilter { user_id: Some("eve".to_owned()), ..filter.clone() }).await.unwrap(), (Vec::new(), 0));
    assert_eq!(traces.list(place.other_tenant().await, &filter).await.unwrap(), (Vec::new(), 0));
}

#[tokio::test]
async fn runs_of_a_crashed_process_are_marked_and_old_ones_pruned() {
    let place = Place::new().await;
    let traces = &place.stores.traces;
    let (old, new) = (trace(1), trace(5));
    let mut done = trace(2);
    done.status = TraceStatus::Completed;
    for run in [&old, &new, &done] {
        traces.insert(MASTER, run).await.unwrap();
    }
    let step = Span { status: TraceStatus::Running, end_time: None, duration_ms: None, ..span(old.id, "llm_call", 2) };
    traces.put_spans(MASTER, &[step]).await.unwrap();
    traces.all_tenants_renew_leases(&[new.id], LEASE * 3).await.unwrap();
    assert_eq!(traces.all_tenants_fail_running(Some(LEASE * 2), at(11), "crashed").await.unwrap().len(), 1);
    let (failed, spans) = traces.find(MASTER, old.id).await.unwrap().unwrap();
    assert_eq!((failed.status, failed.error.as_str(), failed.end_time, failed.duration_ms), (TraceStatus::Error, "crashed", Some(at(11)), Some(10_000)));
    assert_eq!((spans[0].status, spans[0].error.as_str(), spans[0].duration_ms), (TraceStatus::Error, "crashed", Some(9_000)));
    assert_eq!(traces.find(MASTER, new.id).await.unwrap().unwrap().0.status, TraceStatus::Running);

    assert_eq!(traces.all_tenants_prune(at(5), 1).await.unwrap(), 1);
    assert_eq!(traces.find(MASTER, old.id).await.unwrap(), None);
    assert_eq!(traces.all_tenants_prune(at(5), 10).await.unwrap(), 1);
    assert_eq!(traces.list(MASTER, &TraceFilter { limit: 10, ..TraceFilter::default() }).await.unwrap(), (vec![new], 1));
}
