//! How the accounts of a pool have fared, by the traces of the calls that went through them.

use super::Strategy;
use chrono::{DateTime, Utc};
use goclaw_ports::{
    AgentId, SpanId, TraceId,
    llm::Routing,
    traces::{LlmCall, TraceStatus},
};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::HashMap;

/// How a pool has fared.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PoolActivity {
    /// Which account is asked first.
    pub strategy: Strategy,
    /// The accounts, in the pool's order.
    pub pool_providers: Vec<String>,
    /// How many calls were looked at.
    pub stats_sample_size: usize,
    /// Each account, in the pool's order.
    pub provider_counts: Vec<PoolProviderCount>,
    /// The newest calls, the newest first.
    pub recent_requests: Vec<PoolRequest>,
}

/// The same, with those whose calls they were.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ProviderPoolActivity {
    /// How the pool has fared.
    #[serde(flatten)]
    pub activity: PoolActivity,
    /// The agents with the most calls.
    pub top_agents: Vec<PoolAgent>,
}

/// An agent whose calls went through a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PoolAgent {
    /// Its id.
    pub agent_id: AgentId,
    /// Its key; absent if it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_key: Option<String>,
    /// How many calls.
    pub request_count: usize,
}

/// How well an account does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// It was not used.
    #[default]
    Idle,
    /// Well.
    Healthy,
    /// Not so well.
    Degraded,
    /// Badly.
    Critical,
}

/// How one account has fared.
#[derive(Debug, Clone, PartialEq, Default, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the names say it, and dashboards know them")]
pub struct PoolProviderCount {
    pub provider_name: String,
    pub request_count: u32,
    pub direct_selection_count: u32,
    pub failover_serve_count: u32,
    pub success_count: u32,
    pub failure_count: u32,
    /// Since the last success.
    pub consecutive_failures: u32,
    /// In percent.
    pub success_rate: i64,
    /// 0 to 100.
    pub health_score: i64,
    pub health_state: HealthState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_selected_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failover_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure_at: Option<DateTime<Utc>>,
}

/// One call through a pool.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the names say it, and dashboards know them")]
pub struct PoolRequest {
    pub span_id: SpanId,
    pub trace_id: TraceId,
    pub started_at: DateTime<Utc>,
    pub status: TraceStatus,
    pub duration_ms: i64,
    /// The account that answered; "" if none did.
    pub provider_name: String,
    /// The account that was asked first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selected_provider: Option<String>,
    pub model: String,
    /// How many accounts were asked, at least 1.
    pub attempt_count: u32,
    pub used_failover: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failover_providers: Vec<String>,
}

/// A call, and which accounts it went through; "" for none.
struct Routed<'a> {
    call: &'a LlmCall,
    routing: Routing,
    selected: String,
    serving: String,
    failover: bool,
}

impl<'a> Routed<'a> {
    /// `None` if the call has nothing to do with the pool.
    fn of(call: &'a LlmCall, pool: &[String]) -> Option<Self> {
        let routing = call.routing.clone().unwrap_or_default();
        let first = |texts: [&String; 3]| texts.into_iter().find(|text| !text.is_empty()).cloned().unwrap_or_default();
        let selected = first([&routing.selected_provider, &call.provider, &String::new()]);
        let serving = match call.status {
            TraceStatus::Completed => first([&routing.serving_provider, &call.provider, &selected]),
            _ => routing.serving_provider.clone(),
        };
        let outside = |name: &String| !name.is_empty() && !pool.contains(name);
        if outside(&selected) || outside(&serving) || (selected.is_empty() && serving.is_empty()) {
            return None;
        }
        let failover = !routing.failover_providers.is_empty() || (!selected.is_empty() && !serving.is_empty() && selected != serving);
        Some(Self { call, routing, selected, serving, failover })
    }

    fn attempted(&self) -> impl Iterator<Item = &str> {
        let mut names: Vec<&str> = Vec::new();
        for name in self.routing.attempted_providers.iter().chain([&self.selected, &self.serving]) {
            if !name.is_empty() && !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names.into_iter()
    }
}

#[derive(Default)]
struct Tally {
    count: PoolProviderCount,
    succeeded: bool,
}

fn latest(at: &mut Option<DateTime<Utc>>, time: DateTime<Utc>) {
    *at = (*at).max(Some(time));
}

impl Tally {
    fn outcome(&mut self, succeeded: bool, at: DateTime<Utc>) {
        latest(&mut self.count.last_used_at, at);
        if succeeded {
            self.succeeded = true;
            self.count.success_count += 1;
            latest(&mut self.count.last_success_at, at);
        } else {
            self.count.failure_count += 1;
            // The newest come first, so these are the failures since the last success.
            self.count.consecutive_failures += u32::from(!self.succeeded);
            latest(&mut self.count.last_failure_at, at);
        }
    }

    fn counted(self, provider_name: &str) -> PoolProviderCount {
        let PoolProviderCount { success_count, failure_count, consecutive_failures, .. } = self.count;
        let (good, bad) = (i64::from(success_count), i64::from(failure_count));
        let all = good + bad;
        let rate = if all == 0 { 0 } else { (200 * good + all) / (2 * all) };
        let never = if bad > 0 && good == 0 { 10 } else { 0 };
        let score = (rate - (15 * i64::from(consecutive_failures)).min(45) - never).clamp(0, 100);
        let health_state = match score {
            _ if all == 0 => HealthState::Idle,
            score if consecutive_failures >= 3 || score < 40 => HealthState::Critical,
            score if score < 80 => HealthState::Degraded,
            _ => HealthState::Healthy,
        };
        PoolProviderCount {
            provider_name: provider_name.to_owned(),
            success_rate: rate,
            health_score: if all == 0 { 0 } else { score },
            health_state,
            ..self.count
        }
    }
}

/// How a pool has fared by these calls, the newest first. At most `limit` of them are shown.
pub(super) fn activity(strategy: Strategy, pool: Vec<String>, calls: &[LlmCall], limit: usize) -> (PoolActivity, Vec<(AgentId, usize)>) {
    let routed: Vec<Routed<'_>> = calls.iter().filter_map(|call| Routed::of(call, &pool)).collect();
    let mut tallies: HashMap<&str, Tally> = pool.iter().map(|name| (name.as_str(), Tally::default())).collect();
    let mut agents: HashMap<AgentId, usize> = HashMap::new();
    for request in &routed {
        let at = request.call.start_time;
        if let Some(agent) = request.call.agent_id {
            *agents.entry(agent).or_default() += 1;
        }
        if let Some(tally) = tallies.get_mut(request.selected.as_str()) {
            tally.count.request_count += 1;
            tally.count.direct_selection_count += 1;
            latest(&mut tally.count.last_selected_at, at);
            latest(&mut tally.count.last_used_at, at);
        }
        if request.failover
            && request.serving != request.selected
            && let Some(tally) = tallies.get_mut(request.serving.as_str())
        {
            tally.count.failover_serve_count += 1;
            latest(&mut tally.count.last_failover_at, at);
            latest(&mut tally.count.last_used_at, at);
        }
        let served = request.call.status == TraceStatus::Completed;
        if served || request.call.status == TraceStatus::Error {
            for name in request.attempted() {
                if let Some(tally) = tallies.get_mut(name) {
                    tally.outcome(served && name == request.serving, at);
                }
            }
        }
    }
    let provider_counts = pool.iter().map(|name| tallies.remove(name.as_str()).unwrap_or_default().counted(name)).collect();
    drop(tallies);
    let mut agents: Vec<_> = agents.into_iter().collect();
    agents.sort_by_key(|(agent, count)| (std::cmp::Reverse(*count), agent.0));
    let recent_requests = routed.iter().take(limit).map(shown).collect();
    (PoolActivity { strategy, stats_sample_size: routed.len(), provider_counts, recent_requests, pool_providers: pool }, agents)
}

fn shown(request: &Routed<'_>) -> PoolRequest {
    let call = request.call;
    PoolRequest {
        span_id: call.span_id,
        trace_id: call.trace_id,
        started_at: call.start_time,
        status: call.status,
        duration_ms: call.duration_ms.unwrap_or(0),
        provider_name: request.serving.clone(),
        selected_provider: Some(request.selected.clone()).filter(|name| !name.is_empty()),
        model: call.model.clone(),
        attempt_count: request.routing.attempt_count.max(1),
        used_failover: request.failover,
        failover_providers: request.routing.failover_providers.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use uuid::Uuid;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(second)
    }

    fn call(n: i64, provider: &str, status: TraceStatus, routing: Option<Routing>) -> LlmCall {
        LlmCall {
            span_id: SpanId(Uuid::from_u128(n.unsigned_abs().into())),
            trace_id: TraceId(Uuid::nil()),
            agent_id: Some(AgentId(Uuid::from_u128(u128::from(n > 2)))),
            start_time: at(n),
            status,
            duration_ms: None,
            provider: provider.into(),
            model: "m".into(),
            routing,
        }
    }

    fn routed(attempted: &[&str], serving: &str) -> Option<Routing> {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        Some(Routing {
            selected_provider: attempted[0].into(),
            serving_provider: serving.into(),
            attempted_providers: names(attempted),
            failover_providers: names(&attempted[1..]),
            attempt_count: u32::try_from(attempted.len()).unwrap(),
            ..Routing::default()
        })
    }

    fn pool() -> Vec<String> {
        ["a", "b", "c"].map(str::to_owned).into()
    }

    /// The outcomes of account `a`, the newest first: `S` or `F`.
    fn health(outcomes: &str) -> PoolProviderCount {
        let status = |outcome| if outcome == 'S' { TraceStatus::Completed } else { TraceStatus::Error };
        let calls: Vec<_> = outcomes.chars().enumerate().map(|(n, outcome)| call(100 - n as i64, "a", status(outcome), None)).collect();
        activity(Strategy::PrimaryFirst, pool(), &calls, 5).0.provider_counts.remove(0)
    }

    #[test]
    fn health_follows_success_and_the_failures_since() {
        let of = |outcomes: &str| {
            let count = health(outcomes);
            (count.success_rate, count.health_score, count.health_state)
        };
        assert_eq!(of("FSSSS"), (80, 65, HealthState::Degraded));
        assert_eq!(of("FFFSSSS"), (57, 12, HealthState::Critical));
        assert_eq!(of("SSSSF"), (80, 80, HealthState::Healthy));
        assert_eq!(of("F"), (0, 0, HealthState::Critical));
        assert_eq!(of(""), (0, 0, HealthState::Idle));
    }

    #[test]
    fn failures_and_rescues_are_told_apart() {
        let calls = [
            call(5, "b", TraceStatus::Completed, routed(&["a", "b"], "b")),
            call(4, "c", TraceStatus::Error, routed(&["c", "a"], "")),
            call(3, "c", TraceStatus::Running, routed(&["c"], "")),
            call(2, "other", TraceStatus::Completed, None),
            call(1, "a", TraceStatus::Completed, None),
        ];
        let (activity, agents) = activity(Strategy::RoundRobin, pool(), &calls, 2);
        assert_eq!((activity.stats_sample_size, activity.recent_requests.len()), (4, 2));
        let counts: Vec<_> = activity
            .provider_counts
            .iter()
            .map(|c| (c.request_count, c.direct_selection_count, c.failover_serve_count, c.success_count, c.failure_count, c.consecutive_failures))
            .collect();
        assert_eq!(counts, [(2, 2, 0, 1, 2, 2), (0, 0, 1, 1, 0, 0), (2, 2, 0, 0, 1, 1)]);
        let b = &activity.provider_counts[1];
        assert_eq!((b.last_failover_at, b.last_used_at, b.last_selected_at, b.last_failure_at), (Some(at(5)), Some(at(5)), None, None));
        let rescued = &activity.recent_requests[0];
        assert_eq!(
            (rescued.provider_name.as_str(), rescued.selected_provider.as_deref(), rescued.attempt_count, rescued.used_failover),
            ("b", Some("a"), 2, true)
        );
        assert_eq!(activity.recent_requests[1].provider_name, "");
        assert_eq!(agents, [(AgentId(Uuid::from_u128(1)), 3), (AgentId(Uuid::from_u128(0)), 1)]);
    }
}
