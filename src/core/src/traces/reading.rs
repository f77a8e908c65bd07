//! Reading traces, as far as the caller may see them: admins see the tenant's, others their own.

use crate::{
    caller::{Access, Caller},
    usage::whole_hour,
};
use chrono::{DateTime, Utc};
use goclaw_ports::{
    Error, Result, TraceId,
    clock::Clock,
    message,
    roles::Role,
    traces::{CostFilter, CostRow, Span, Trace, TraceFilter, TraceStore},
    usage::{UsageFilter, UsageKey, UsageStore, UsageSum},
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// The most traces of one page.
const MAX_PAGE: i64 = 200;
/// The traces of a page, where nothing sensible is asked for.
const PAGE: i64 = 50;
/// How deep the runs that runs started are exported.
const EXPORT_DEPTH: usize = 10;
/// The most traces of one export, so that its size has a bound.
const EXPORT_TRACES: usize = 200;

/// Traces, for those who read them.
pub struct Traces {
    pub(crate) store: Arc<dyn TraceStore>,
    pub(crate) usage: Arc<dyn UsageStore>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// A page of traces.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TracePage {
    /// Newest first.
    pub traces: Vec<Trace>,
    /// How many there are in all.
    pub total: i64,
    /// How many were asked for.
    pub limit: i64,
    /// After how many.
    pub offset: i64,
}

/// A trace with its steps.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TraceDetail {
    /// The run.
    pub trace: Trace,
    /// Its steps, by start.
    pub spans: Vec<Span>,
}

/// A trace with all that came of it.
#[derive(Debug, Serialize)]
pub struct ExportedTrace {
    /// When it was exported.
    pub exported_at: DateTime<Utc>,
    /// The run and those below it.
    #[serde(flatten)]
    pub tree: TraceTree,
}

/// A run with the runs that it started.
#[derive(Debug, Serialize)]
pub struct TraceTree {
    /// The run.
    pub trace: Trace,
    /// Its steps, by start.
    pub spans: Vec<Span>,
    /// The runs that it started, by creation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sub_traces: Vec<TraceTree>,
}

/// What runs cost.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CostSummary {
    /// By agent, the dearest first.
    pub rows: Vec<CostRow>,
}

impl Traces {
    /// The tenant's traces that match. A limit outside of 1 to 200 counts as 50, a negative offset as 0.
    ///
    /// # Errors
    /// `Forbidden` below viewer.
    pub async fn list(&self, caller: &Caller, wanted: TraceFilter) -> Result<TracePage> {
        caller.require(Role::Viewer, Access::Read, "/v1/traces")?;
        let limit = if (1..=MAX_PAGE).contains(&wanted.limit) { wanted.limit } else { PAGE };
        let offset = wanted.offset.max(0);
        let Some(user_id) = whose(caller, wanted.user_id.clone()) else { return Ok(TracePage { traces: vec![], total: 0, limit, offset }) };
        let (traces, total) = self.store.list(caller.tenant, &TraceFilter { user_id, limit, offset, ..wanted }).await?;
        Ok(TracePage { traces, total, limit, offset })
    }

    /// The trace with this id, and its steps.
    ///
    /// # Errors
    /// `Forbidden` below viewer, `Invalid` for a bad id, `NotFound` also for what the caller may not see.
    pub async fn get(&self, caller: &Caller, id: &str) -> Result<TraceDetail> {
        caller.require(Role::Viewer, Access::Read, "/v1/traces")?;
        let trace_id: TraceId = id.parse().map_err(|_| Error::invalid(message::invalid_id("trace")))?;
        let found = self.store.find(caller.tenant, trace_id).await?.filter(|(trace, _)| may_see(caller, trace));
        let (trace, spans) = found.ok_or_else(|| Error::not_found("trace", id))?;
        Ok(TraceDetail { trace, spans })
    }

    /// The trace with this id, and the runs below it that the caller may see.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn export(&self, caller: &Caller, id: &str) -> Result<ExportedTrace> {
        let TraceDetail { trace, spans } = self.get(caller, id).await?;
        let root = trace.id;
        let mut seen = HashSet::from([root]);
        let mut found = vec![(None, TraceTree { trace, spans, sub_traces: vec![] })];
        let mut level = vec![root];
        for _ in 0..EXPORT_DEPTH {
            let mut below = Vec::new();
            for parent in level {
                let filter = TraceFilter { parent_trace_id: Some(parent), limit: MAX_PAGE, ..TraceFilter::default() };
                let (children, _) = self.store.list(caller.tenant, &filter).await?;
                // The list is newest first, the export oldest first.
                for child in children.into_iter().rev().filter(|child| may_see(caller, child)) {
                    if found.len() < EXPORT_TRACES
                        && seen.insert(child.id)
                        && let Some((trace, spans)) = self.store.find(caller.tenant, child.id).await?
                    {
                        below.push(trace.id);
                        found.push((Some(parent), TraceTree { trace, spans, sub_traces: vec![] }));
                    }
                }
            }
            level = below;
        }
        let tree = tree(found).ok_or_else(|| Error::not_found("trace", id))?;
        Ok(ExportedTrace { exported_at: self.clock.now(), tree })
    }

    /// What runs cost, by agent. Admins get the sums of the tenant, others those of their own runs. Hours whose traces are deleted are
    /// those of usage, which knows no users: there only sums of the tenant go back so far.
    ///
    /// # Errors
    /// `Forbidden` below viewer.
    pub async fn costs(&self, caller: &Caller, wanted: CostFilter) -> Result<CostSummary> {
        caller.require(Role::Viewer, Access::Read, "/v1/costs/summary")?;
        let Some(user_id) = whose(caller, wanted.user_id.clone()) else { return Ok(CostSummary { rows: vec![] }) };
        let kept_from = if user_id.is_none() { self.store.all_tenants_kept_from().await? } else { None };
        let from = [wanted.from, kept_from].into_iter().flatten().max();
        let kept = self.store.costs(caller.tenant, &CostFilter { user_id, from, ..wanted.clone() }).await?;
        let Some(kept_from) = kept_from else { return Ok(CostSummary { rows: kept }) };
        let older = UsageFilter {
            agent_id: wanted.agent_id,
            ..UsageFilter::between(wanted.from.map_or(DateTime::UNIX_EPOCH, whole_hour), wanted.to.map_or(kept_from, whole_hour).min(kept_from))
        };
        let older = self.usage.breakdown(caller.tenant, &older, UsageKey::Agent).await?;
        Ok(CostSummary { rows: added(kept, older) })
    }
}

/// Whose traces the caller gets: everybody's, one user's, or (`None`) nobody's, because it is not known who asks.
fn whose(caller: &Caller, wanted: Option<String>) -> Option<Option<String>> {
    match (caller.is_admin(), caller.user.is_empty()) {
        (true, _) => Some(wanted),
        (false, false) => Some(Some(caller.user.to_string())),
        (false, true) => None,
    }
}

/// Costs that traces tell of, with those of hours whose traces are gone; the dearest first.
fn added(kept: Vec<CostRow>, older: Vec<(String, UsageSum)>) -> Vec<CostRow> {
    let older = older.into_iter().map(|(agent, sum)| CostRow {
        agent_id: agent.parse().ok(),
        total_cost: sum.total_cost,
        total_input_tokens: sum.input_tokens,
        total_output_tokens: sum.output_tokens,
        trace_count: sum.request_count,
    });
    let mut rows: Vec<CostRow> = vec![];
    for row in kept.into_iter().chain(older) {
        match rows.iter_mut().find(|known| known.agent_id == row.agent_id) {
            Some(known) => {
                known.total_cost += row.total_cost;
                known.total_input_tokens += row.total_input_tokens;
                known.total_output_tokens += row.total_output_tokens;
                known.trace_count += row.trace_count;
            }
            None => rows.push(row),
        }
    }
    rows.sort_by(|one, next| next.total_cost.total_cmp(&one.total_cost).then(one.agent_id.cmp(&next.agent_id)));
    rows
}

fn may_see(caller: &Caller, trace: &Trace) -> bool {
    caller.is_admin() || (!caller.user.is_empty() && *trace.user_id == *caller.user)
}

/// Hangs each run below the one that started it. Parents come before their children.
fn tree(found: Vec<(Option<TraceId>, TraceTree)>) -> Option<TraceTree> {
    let mut below: HashMap<TraceId, Vec<TraceTree>> = HashMap::new();
    for (parent, mut node) in found.into_iter().rev() {
        node.sub_traces = below.remove(&node.trace.id).unwrap_or_default();
        node.sub_traces.reverse();
        match parent {
            Some(parent) => below.entry(parent).or_default().push(node),
            None => return Some(node),
        }
    }
    None
}
