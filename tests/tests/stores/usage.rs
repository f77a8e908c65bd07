use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use goclaw_ports::{
    AgentId, TenantId, TraceId,
    sessions::SessionDelta,
    traces::{Span, Trace, TraceEnd, TraceStatus},
    usage::{AgentUsage, SessionUsage, SessionUsageFilter, UsageFilter, UsageKey, UsageSum, UserRequests},
};
use goclaw_tests::{
    TestDatabase,
    fixtures::{at, object, span, trace},
};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The beginning of hour number `n`.
fn hour(n: i64) -> DateTime<Utc> {
    at(0).duration_trunc(TimeDelta::hours(1)).unwrap() + TimeDelta::hours(n)
}

fn after(hour_number: i64, minutes: i64) -> DateTime<Utc> {
    hour(hour_number) + TimeDelta::minutes(minutes)
}

/// All there is.
fn ever() -> UsageFilter {
    UsageFilter::between(hour(-1_000), hour(1_000))
}

/// A run that is over, begun in this hour.
fn run(n: i64) -> Trace {
    let (start, end) = (after(n, 10), after(n, 11));
    Trace { start_time: start, created_at: start, end_time: Some(end), duration_ms: Some(60_000), status: TraceStatus::Completed, ..trace() }
}

fn call(tenant: TenantId, trace: &Trace, provider: &str, model: &str, tokens: (i64, i64), cost: f64) -> Span {
    let (input_tokens, output_tokens) = (Some(tokens.0), Some(tokens.1));
    Span { provider: provider.into(), model: model.into(), input_tokens, output_tokens, total_cost: Some(cost), ..span(tenant, trace.id, "llm_call") }
}

async fn put(db: &TestDatabase, tenant: TenantId, trace: &Trace, spans: &[Span]) {
    db.stores.traces.insert(tenant, trace).await.unwrap();
    db.stores.traces.put_spans(tenant, spans).await.unwrap();
}

async fn count_all(db: &TestDatabase, now: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let mut counted = vec![];
    while let Some(hour) = db.stores.usage.all_tenants_count_hour(now).await.unwrap() {
        counted.push(hour);
    }
    counted
}

async fn total(db: &TestDatabase, tenant: TenantId) -> UsageSum {
    let mut total = UsageSum::default();
    db.stores.usage.hours(tenant, &ever()).await.unwrap().into_iter().for_each(|(_, sum)| total += sum);
    total
}

async fn forget_traces(db: &TestDatabase) {
    db.stores.traces.all_tenants_prune(hour(1_000), 10_000).await.unwrap();
}

/// A run as the property draws it; numbers choose from the lists below.
#[derive(Debug, Clone)]
struct Drawn {
    tenant: usize,
    agent: usize,
    channel: usize,
    user: usize,
    hour: i64,
    failed: bool,
    child: bool,
    duration: i64,
    tools: usize,
    calls: Vec<(usize, i64, i64, i64, i64)>,
}

const CHANNELS: [&str; 3] = ["", "ws", "http"];
const USERS: [&str; 3] = ["", "mai", "lan"];
const MODELS: [(&str, &str); 4] = [("openai", "m"), ("openai", "n"), ("other", "m"), ("other", "")];

fn drawn() -> impl Strategy<Value = Vec<Drawn>> {
    let call = (0..MODELS.len(), 0..1000_i64, 0..1000_i64, 0..50_i64, 0..16_i64);
    let run = (
        (0..2_usize, 0..3_usize, 0..CHANNELS.len(), 0..USERS.len(), 0..4_i64),
        (any::<bool>(), prop::bool::weighted(0.2), 0..5_000_i64, 0..3_usize),
        prop::collection::vec(call, 0..4),
    );
    let run = run.prop_map(|((tenant, agent, channel, user, hour), (failed, child, duration, tools), calls)| Drawn {
        tenant,
        agent,
        channel,
        user,
        hour,
        failed,
        child,
        duration,
        tools,
        calls,
    });
    prop::collection::vec(run, 1..25)
}

/// What a filter must find, hour by hour, worked out from the runs themselves.
fn expected(runs: &[Drawn], tenant: usize, agents: &[Option<AgentId>], filter: &UsageFilter) -> BTreeMap<DateTime<Utc>, UsageSum> {
    let mut hours: BTreeMap<DateTime<Utc>, UsageSum> = BTreeMap::new();
    let mut users: BTreeSet<(i64, usize, usize, usize)> = BTreeSet::new();
    let calls_only = filter.provider.is_some() || filter.model.is_some();
    for run in runs.iter().filter(|run| run.tenant == tenant) {
        let begun = hour(run.hour);
        let matches = begun >= filter.from
            && begun < filter.to
            && filter.agent_id.is_none_or(|id| agents[run.agent] == Some(id))
            && filter.channel.as_ref().is_none_or(|channel| channel == CHANNELS[run.channel]);
        if !matches {
            continue;
        }
        if !run.child && !calls_only {
            let new = run.user > 0 && users.insert((run.hour, run.agent, run.channel, run.user));
            *hours.entry(begun).or_default() += UsageSum {
                request_count: 1,
                tool_call_count: run.tools as i64,
                error_count: i64::from(run.failed),
                unique_users: i64::from(new),
                duration_ms: run.duration,
                ..UsageSum::default()
            };
        }
        for (model, input, output, cached, eighths) in &run.calls {
            let (provider, model) = MODELS[*model];
            if filter.provider.as_ref().is_none_or(|wanted| wanted == provider) && filter.model.as_ref().is_none_or(|wanted| wanted == model) {
                *hours.entry(begun).or_default() += UsageSum {
                    llm_call_count: 1,
                    input_tokens: *input,
                    output_tokens: *output,
                    cache_read_tokens: *cached,
                    cache_create_tokens: cached / 2,
                    thinking_tokens: cached / 3,
                    total_cost: *eighths as f64 / 8.0,
                    ..UsageSum::default()
                };
            }
        }
    }
    hours
}

async fn store(db: &TestDatabase, tenants: &[TenantId], agents: &[Option<AgentId>], runs: &[Drawn]) {
    for run in runs {
        let tenant = tenants[run.tenant];
        let start = after(run.hour, 1 + run.duration % 58);
        let trace = Trace {
            parent_trace_id: run.child.then(|| TraceId(Uuid::now_v7())),
            agent_id: agents[run.agent],
            user_id: USERS[run.user].into(),
            channel: CHANNELS[run.channel].into(),
            start_time: start,
            created_at: start,
            end_time: Some(start),
            duration_ms: Some(run.duration),
            status: if run.failed { TraceStatus::Error } else { TraceStatus::Completed },
            ..trace()
        };
        let mut spans: Vec<Span> = (0..run.tools).map(|_| span(tenant, trace.id, "tool_call")).collect();
        for (model, input, output, cached, eighths) in &run.calls {
            let (provider, model) = MODELS[*model];
            let metadata =
                json!({"cache_read_tokens": cached, "cache_creation_tokens": cached / 2, "thinking_tokens": cached / 3, "reasoning": {"source": "x"}});
            spans.push(Span { metadata: object(metadata), ..call(tenant, &trace, provider, model, (*input, *output), *eighths as f64 / 8.0) });
        }
        put(db, tenant, &trace, &spans).await;
    }
}

/// Compares what the store says with what the runs say, under every kind of filter.
async fn check(db: &TestDatabase, when: &str, first: i64, tenants: &[TenantId], agents: &[Option<AgentId>], runs: &[Drawn]) {
    let text = |text: &str| Some(text.to_owned());
    for (index, tenant) in tenants.iter().enumerate() {
        let filters = [
            ever(),
            UsageFilter::between(hour(first + 1), hour(first + 3)),
            UsageFilter { agent_id: agents[1], ..ever() },
            UsageFilter { provider: text("openai"), ..ever() },
            UsageFilter { model: text("m"), ..ever() },
            UsageFilter { channel: text("ws"), ..ever() },
            UsageFilter {
                provider: text("other"),
                model: text("m"),
                channel: text("http"),
                agent_id: agents[2],
                ..UsageFilter::between(hour(first), hour(first + 2))
            },
            UsageFilter { provider: text("nobody"), ..ever() },
        ];
        for filter in filters {
            let found: BTreeMap<_, _> = db.stores.usage.hours(*tenant, &filter).await.unwrap().into_iter().collect();
            assert_eq!(found, expected(runs, index, agents, &filter), "{when}: {filter:?} of {runs:?}");
        }
        let sum = |filter: &UsageFilter| {
            let mut sum = UsageSum::default();
            expected(runs, index, agents, filter).into_values().for_each(|hour| sum += hour);
            sum
        };
        for (by, keys) in [(UsageKey::Channel, vec!["ws", "http"]), (UsageKey::Provider, vec!["openai", "other"])] {
            let found: BTreeMap<String, UsageSum> = db.stores.usage.breakdown(*tenant, &ever(), by).await.unwrap().into_iter().collect();
            for key in keys {
                let filter = match by {
                    UsageKey::Channel => UsageFilter { channel: text(key), ..ever() },
                    // A call without a model is left out here.
                    _ if key == "other" => UsageFilter { provider: text(key), model: text("m"), ..ever() },
                    _ => UsageFilter { provider: text(key), ..ever() },
                };
                assert_eq!(found.get(key).copied().unwrap_or_default(), sum(&filter), "{when}: {by:?} {key} of {runs:?}");
            }
        }
        let part = UsageFilter::between(hour(first + 1), hour(first + 3));
        let mut of_part = UsageSum::default();
        db.stores.usage.breakdown(*tenant, &part, UsageKey::Agent).await.unwrap().into_iter().for_each(|(_, sum)| of_part += sum);
        assert_eq!(of_part, sum(&part), "{when}: {runs:?}");
        let by_agent = db.stores.usage.breakdown(*tenant, &ever(), UsageKey::Agent).await.unwrap();
        let mut all = UsageSum::default();
        by_agent.iter().for_each(|(_, sum)| all += *sum);
        assert_eq!(all, sum(&ever()), "{when}: {runs:?}");
        assert!(by_agent.is_sorted_by(|one, next| one.1.input_tokens >= next.1.input_tokens));
        let of_fox = by_agent.iter().find(|(key, _)| Some(key) == agents[1].map(|id| id.to_string()).as_ref()).map(|(_, sum)| *sum);
        assert_eq!(of_fox.unwrap_or_default(), sum(&UsageFilter { agent_id: agents[1], ..ever() }));
    }
}

on_both_databases! {
    async fn sums_are_those_of_the_runs_whether_hours_are_counted_or_not_and_when_the_traces_are_gone(db) {
        let mut runner = TestRunner::default();
        let agents = [None, Some(AgentId(Uuid::now_v7())), Some(AgentId(Uuid::now_v7()))];
        for case in 0..6 {
            let first = case * 10;
            let runs = drawn().new_tree(&mut runner).unwrap().current();
            // Hours are counted for all tenants at once, so each case has an installation's life of its own: later hours.
            let tenants = [db.tenant(&format!("a{case}")).await, db.tenant(&format!("b{case}")).await];
            let shifted: Vec<Drawn> = runs.into_iter().map(|run| Drawn { hour: run.hour + first, ..run }).collect();
            store(&db, &tenants, &agents, &shifted).await;
            check(&db, "before counting", first, &tenants, &agents, &shifted).await;
            db.stores.usage.all_tenants_count_hour(after(first + 6, 0)).await.unwrap();
            check(&db, "with one hour counted", first, &tenants, &agents, &shifted).await;
            count_all(&db, after(first + 6, 0)).await;
            check(&db, "counted", first, &tenants, &agents, &shifted).await;
            forget_traces(&db).await;
            check(&db, "without traces", first, &tenants, &agents, &shifted).await;
        }
    }

    async fn hours_are_counted_once_each_in_order_and_empty_ones_are_passed_over(db) {
        let tenant = db.tenant("a").await;
        assert_eq!(count_all(&db, after(0, 30)).await, [hour(-1)]);
        for n in [0, 3] {
            put(&db, tenant, &run(n), &[]).await;
        }
        assert_eq!(count_all(&db, after(5, 4)).await, [hour(0), hour(3)]);
        assert_eq!(count_all(&db, after(5, 5)).await, [hour(4)]);
        assert!(count_all(&db, after(5, 59)).await.is_empty());
        assert_eq!(total(&db, tenant).await.request_count, 2);
    }

    async fn whole_days_and_the_hours_around_them_are_summed_up_together(db) {
        let tenant = db.tenant("a").await;
        let midnight = (0..24).map(|n| hour(21) + TimeDelta::hours(n)).find(|hour| hour.duration_trunc(TimeDelta::days(1)).unwrap() == *hour).unwrap();
        let at_midnight = (midnight - hour(0)).num_hours();
        for n in [-30, -2, -1, 0, 1, 23, 24, 47, 48, 49] {
            let trace = run(at_midnight + n);
            put(&db, tenant, &trace, &[call(tenant, &trace, "p", "m", (1, 0), 0.25), call(tenant, &trace, "q", "n", (1, 0), 0.5)]).await;
        }
        count_all(&db, after(at_midnight + 60, 30)).await;
        forget_traces(&db).await;
        for (from, to, runs) in [(-40, 60, 10), (-1, 49, 7), (0, 48, 5), (0, 24, 3), (1, 23, 1), (-1, 1, 2), (23, 24, 1), (24, 24, 0), (2, 1, 0), (-2, 0, 2)] {
            let times = UsageFilter::between(hour(at_midnight + from), hour(at_midnight + to));
            let (mut hours, mut agents) = (UsageSum::default(), UsageSum::default());
            db.stores.usage.hours(tenant, &times).await.unwrap().into_iter().for_each(|(_, sum)| hours += sum);
            db.stores.usage.breakdown(tenant, &times, UsageKey::Agent).await.unwrap().into_iter().for_each(|(_, sum)| agents += sum);
            assert_eq!((hours.request_count, hours.llm_call_count, hours), (runs, 2 * runs, agents), "{from} to {to}");
            let providers = db.stores.usage.breakdown(tenant, &UsageFilter { provider: Some("q".into()), ..times }, UsageKey::Provider).await.unwrap();
            assert_eq!(providers.iter().map(|(_, sum)| sum.llm_call_count).sum::<i64>(), runs, "{from} to {to}");
        }
        let other = db.tenant("b").await;
        assert!(db.stores.usage.breakdown(other, &ever(), UsageKey::Agent).await.unwrap().is_empty());
        assert!(db.stores.usage.hours(other, &ever()).await.unwrap().is_empty());
    }

    async fn hours_before_the_first_open_one_are_counted_for_good(db) {
        let tenant = db.tenant("a").await;
        assert_eq!(db.stores.usage.all_tenants_counted_until().await.unwrap(), None);
        put(&db, tenant, &run(0), &[]).await;
        let long = Trace { status: TraceStatus::Running, end_time: None, duration_ms: None, ..run(1) };
        put(&db, tenant, &long, &[]).await;
        count_all(&db, after(3, 30)).await;
        assert_eq!(db.stores.usage.all_tenants_counted_until().await.unwrap(), Some(hour(1)));
        let end = TraceEnd { end_time: after(3, 31), status: TraceStatus::Completed, error: String::new(), output_preview: String::new() };
        db.stores.traces.finish(tenant, long.id, &end).await.unwrap();
        count_all(&db, after(4, 30)).await;
        assert_eq!(db.stores.usage.all_tenants_counted_until().await.unwrap(), Some(hour(4)));
    }

    async fn what_users_ask_is_counted_in_windows(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let now = after(200, 0);
        let asked = |user: &str, minutes: i64| Trace { user_id: user.into(), created_at: now - TimeDelta::minutes(minutes), ..trace() };
        let child = Trace { parent_trace_id: Some(TraceId(Uuid::now_v7())), ..asked("mai", 5) };
        for trace in [asked("mai", 1), asked("mai", 59), asked("mai", 60), asked("mai", 1_439), asked("mai", 1_440), asked("mai", 10_079), asked("mai", 10_080), child, asked("lan", 61), asked("", 1)] {
            put(&db, a, &trace, &[]).await;
        }
        put(&db, b, &asked("mai", 1), &[]).await;
        let row = |user: &str, hour, day, week| UserRequests { user_id: user.into(), hour, day, week };
        let requests = async |tenant, user: Option<&str>, limit| db.stores.usage.requests(tenant, user, now, limit).await.unwrap();
        assert_eq!(requests(a, None, 50).await, [row("mai", 2, 4, 6), row("lan", 0, 1, 1)]);
        assert_eq!(requests(a, None, 1).await, [row("mai", 2, 4, 6)]);
        assert_eq!(requests(a, Some("lan"), 1).await, [row("lan", 0, 1, 1)]);
        assert_eq!(requests(a, Some(""), 1).await, [row("", 1, 1, 1)]);
        assert_eq!(requests(a, Some("nobody"), 1).await, []);
        assert_eq!(requests(b, None, 50).await, [row("mai", 1, 1, 1)]);
    }

    async fn after_a_long_pause_all_hours_are_caught_up(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        for n in [0, 1, 30] {
            put(&db, a, &run(n), &[]).await;
        }
        put(&db, b, &run(7), &[]).await;
        assert_eq!(count_all(&db, after(100, 30)).await, [hour(0), hour(1), hour(7), hour(30), hour(99)]);
        forget_traces(&db).await;
        assert_eq!((total(&db, a).await.request_count, total(&db, b).await.request_count), (3, 1));
    }

    async fn an_hour_with_a_run_under_way_is_counted_again_when_it_has_ended(db) {
        let tenant = db.tenant("a").await;
        let long = Trace { status: TraceStatus::Running, end_time: None, duration_ms: None, ..run(0) };
        put(&db, tenant, &long, &[call(tenant, &long, "p", "m", (10, 1), 0.5)]).await;
        put(&db, tenant, &run(1), &[]).await;
        assert_eq!(count_all(&db, after(2, 30)).await, [hour(0), hour(1)]);
        // What the run does from now on is seen at once.
        db.stores.traces.put_spans(tenant, &[call(tenant, &long, "p", "m", (5, 2), 0.25)]).await.unwrap();
        let sum = total(&db, tenant).await;
        assert_eq!((sum.request_count, sum.input_tokens, sum.total_cost), (2, 15, 0.75));
        let end = TraceEnd { end_time: after(2, 40), status: TraceStatus::Error, error: "e".into(), output_preview: String::new() };
        db.stores.traces.finish(tenant, long.id, &end).await.unwrap();
        assert_eq!(count_all(&db, after(3, 30)).await, [hour(0), hour(2)]);
        assert_eq!(count_all(&db, after(4, 30)).await, [hour(3)]);
        forget_traces(&db).await;
        let sum = total(&db, tenant).await;
        assert_eq!((sum.request_count, sum.error_count, sum.input_tokens, sum.output_tokens, sum.duration_ms), (2, 1, 15, 3, 9_060_000));
    }

    async fn a_run_that_never_ends_does_not_keep_its_hour_open_for_ever(db) {
        let tenant = db.tenant("a").await;
        put(&db, tenant, &Trace { status: TraceStatus::Running, end_time: None, ..run(0) }, &[]).await;
        assert_eq!(count_all(&db, after(8, 30)).await, [hour(0), hour(7)]);
        assert_eq!(count_all(&db, after(9, 30)).await, [hour(8)]);
    }

    async fn what_ended_a_moment_ago_is_counted_again(db) {
        let tenant = db.tenant("a").await;
        put(&db, tenant, &Trace { end_time: Some(after(1, 8)), ..run(0) }, &[]).await;
        assert_eq!(count_all(&db, after(1, 10)).await, [hour(0)]);
        assert_eq!(count_all(&db, after(2, 10)).await, [hour(0), hour(1)]);
        assert_eq!(count_all(&db, after(3, 10)).await, [hour(2)]);
    }

    async fn two_who_count_at_once_count_nothing_twice(db) {
        let tenant = db.tenant("a").await;
        for n in 0..4 {
            let trace = run(n);
            put(&db, tenant, &trace, &[call(tenant, &trace, "p", "m", (10, 1), 0.5)]).await;
        }
        let now = after(5, 30);
        let (one, other) = tokio::join!(count_all(&db, now), count_all(&db, now));
        let hours: BTreeSet<_> = one.iter().chain(&other).collect();
        assert_eq!((hours.len(), one.len() + other.len()), (5, 5));
        forget_traces(&db).await;
        let sum = total(&db, tenant).await;
        assert_eq!((sum.request_count, sum.llm_call_count, sum.input_tokens, sum.total_cost), (4, 4, 40, 2.0));
    }

    async fn calls_of_unknown_providers_are_calls(db) {
        let tenant = db.tenant("a").await;
        let trace = run(0);
        put(&db, tenant, &trace, &[call(tenant, &trace, "", "", (3, 4), 0.0)]).await;
        for _ in 0..2 {
            let sum = total(&db, tenant).await;
            assert_eq!((sum.request_count, sum.llm_call_count, sum.input_tokens, sum.average_duration()), (1, 1, 3, 60_000));
            count_all(&db, after(5, 0)).await;
        }
        assert!(db.stores.usage.breakdown(tenant, &ever(), UsageKey::Provider).await.unwrap().is_empty());
        let by_agent = db.stores.usage.breakdown(tenant, &ever(), UsageKey::Agent).await.unwrap();
        assert_eq!(by_agent.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), [""]);
    }

    async fn users_are_counted_once_however_often_they_ask(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let by = |user: &str, n| Trace { user_id: user.into(), ..run(n) };
        let child = Trace { parent_trace_id: Some(TraceId(Uuid::now_v7())), ..by("kim", 2) };
        for trace in [by("mai", 1), by("mai", 2), by("lan", 2), by("", 2), by("old", 0), child] {
            put(&db, a, &trace, &[]).await;
        }
        assert_eq!(db.stores.usage.users_since(a, hour(1)).await.unwrap(), 2);
        assert_eq!(db.stores.usage.users_since(b, hour(0)).await.unwrap(), 0);
    }

    async fn conversations_that_took_tokens_are_listed_and_summed_up(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let (fox, of_b) = (db.agent(a, "fox").await, db.agent(b, "fox").await);
        let open = async |tenant, agent: AgentId, key: &str, user: &str, tokens: i64, when: i64| {
            let new = goclaw_ports::sessions::NewSession { user_id: user.into(), ..goclaw_tests::fixtures::new_session(agent, key) };
            db.stores.sessions.open(tenant, &new, at(0)).await.unwrap();
            let delta = SessionDelta { input_tokens: tokens, output_tokens: tokens * 2, model: Some("m".into()), provider: Some("p".into()), ..SessionDelta::default() };
            db.stores.sessions.append(tenant, key, &[], &delta, at(when)).await.unwrap();
        };
        open(a, fox.id, "agent:fox:ws:1", "mai", 10, 1).await;
        open(a, fox.id, "agent:fox:ws:2", "lan", 20, 2).await;
        open(a, fox.id, "agent:foxes:ws:3", "mai", 30, 3).await;
        open(a, fox.id, "agent:fox:ws:unused", "mai", 0, 4).await;
        open(a, fox.id, "odd", "mai", 1, 5).await;
        open(b, of_b.id, "agent:fox:ws:1", "mai", 99, 9).await;
        let all = SessionUsageFilter { limit: 10, ..SessionUsageFilter::default() };
        let list = async |filter: SessionUsageFilter| {
            let (sessions, total) = db.stores.usage.sessions(a, &filter).await.unwrap();
            (sessions.iter().map(|session| session.session_key.clone()).collect::<Vec<_>>().join(" "), total)
        };
        assert_eq!(list(all.clone()).await, ("odd agent:foxes:ws:3 agent:fox:ws:2 agent:fox:ws:1".into(), 4));
        assert_eq!(list(SessionUsageFilter { limit: 1, offset: 2, ..all.clone() }).await, ("agent:fox:ws:2".into(), 4));
        assert_eq!(list(SessionUsageFilter { agent_key: Some("fox".into()), ..all.clone() }).await, ("agent:fox:ws:2 agent:fox:ws:1".into(), 2));
        assert_eq!(list(SessionUsageFilter { user_id: Some("lan".into()), ..all.clone() }).await, ("agent:fox:ws:2".into(), 1));
        let (of_b, _) = db.stores.usage.sessions(b, &all).await.unwrap();
        let expected = SessionUsage { session_key: "agent:fox:ws:1".into(), model: "m".into(), provider: "p".into(), input_tokens: 99, output_tokens: 198, updated_at: at(9) };
        assert_eq!(of_b, [expected]);
        let row = |agent: &str, input_tokens, sessions| AgentUsage { agent_key: agent.into(), input_tokens, output_tokens: input_tokens * 2, sessions };
        assert_eq!(db.stores.usage.sessions_by_agent(a, None).await.unwrap(), [row("fox", 30, 2), row("foxes", 30, 1), row("odd", 1, 1)]);
        assert_eq!(db.stores.usage.sessions_by_agent(a, Some("lan")).await.unwrap(), [row("fox", 20, 1)]);
        assert_eq!(db.stores.usage.sessions_by_agent(b, None).await.unwrap(), [row("fox", 99, 1)]);
    }

    async fn usage_of_one_tenant_is_out_of_reach_of_another(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let of_a = run(0);
        put(&db, a, &of_a, &[call(a, &of_a, "p", "m", (10, 5), 0.5)]).await;
        // While it is counted from the traces, and from what was summed up.
        for counted in [false, true] {
            if counted {
                count_all(&db, hour(2)).await;
            }
            assert!(db.stores.usage.hours(b, &ever()).await.unwrap().is_empty());
            for by in [UsageKey::Agent, UsageKey::Provider, UsageKey::Model, UsageKey::Channel] {
                assert!(db.stores.usage.breakdown(b, &ever(), by).await.unwrap().is_empty(), "{by:?}");
            }
            assert_eq!(total(&db, a).await.input_tokens, 10);
        }
    }
}
