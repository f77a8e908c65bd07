//! Usage as it is shown.

use chrono::{DateTime, NaiveTime, Utc};
use goclaw_ports::usage::UsageSum;
use schemars::JsonSchema;
use serde::Serialize;

/// Usage over time.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct UsageSeries {
    /// Oldest first; hours and days without usage are left out.
    pub points: Vec<UsagePoint>,
}

/// The usage of an hour or a day. Requests are runs that users started; sums over one provider or model have none.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct UsagePoint {
    /// Its beginning.
    pub bucket_time: DateTime<Utc>,
    /// What was used.
    #[serde(flatten)]
    pub sum: UsageSum,
    /// How long a request took on average, in milliseconds.
    pub avg_duration_ms: i64,
}

impl From<(DateTime<Utc>, UsageSum)> for UsagePoint {
    fn from((bucket_time, sum): (DateTime<Utc>, UsageSum)) -> Self {
        Self { bucket_time, sum, avg_duration_ms: sum.average_duration() }
    }
}

/// Usage by provider, model, channel or agent.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct UsageBreakdown {
    /// The most first.
    pub rows: Vec<UsageBreakdownRow>,
}

/// The usage of one provider, model, channel or agent.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields are those of UsageSum")]
pub struct UsageBreakdownRow {
    /// Its name, or the agent's id; "" for what belongs to no agent.
    pub key: String,
    pub input_tokens: i64,
    pub output_tokens: i64,
    pub cache_read_tokens: i64,
    pub cache_create_tokens: i64,
    pub total_cost: f64,
    pub request_count: i64,
    pub llm_call_count: i64,
    pub tool_call_count: i64,
    pub error_count: i64,
    pub avg_duration_ms: i64,
}

impl From<(String, UsageSum)> for UsageBreakdownRow {
    fn from((key, sum): (String, UsageSum)) -> Self {
        Self {
            key,
            input_tokens: sum.input_tokens,
            output_tokens: sum.output_tokens,
            cache_read_tokens: sum.cache_read_tokens,
            cache_create_tokens: sum.cache_create_tokens,
            total_cost: sum.total_cost,
            request_count: sum.request_count,
            llm_call_count: sum.llm_call_count,
            tool_call_count: sum.tool_call_count,
            error_count: sum.error_count,
            avg_duration_ms: sum.average_duration(),
        }
    }
}

/// The usage of a period and of the one before it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct UsageSummaries {
    /// Up to now.
    pub current: UsageSummary,
    /// As long, before it.
    pub previous: UsageSummary,
}

/// The usage of a period.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields are those of UsageSum")]
pub struct UsageSummary {
    pub requests: i64,
    pub input_tokens: i64,
    pub output_tokens: i64,
    /// US dollars.
    pub cost: f64,
    /// Summed over hours, agents and channels.
    pub unique_users: i64,
    pub errors: i64,
    pub llm_calls: i64,
    pub tool_calls: i64,
    pub avg_duration_ms: i64,
}

impl From<UsageSum> for UsageSummary {
    fn from(sum: UsageSum) -> Self {
        Self {
            requests: sum.request_count,
            input_tokens: sum.input_tokens,
            output_tokens: sum.output_tokens,
            cost: sum.total_cost,
            unique_users: sum.unique_users,
            errors: sum.error_count,
            llm_calls: sum.llm_call_count,
            tool_calls: sum.tool_call_count,
            avg_duration_ms: sum.average_duration(),
        }
    }
}

/// The usage of days. Memory is not used up: a day has what its last hour had.
pub(super) fn days(hours: Vec<(DateTime<Utc>, UsageSum)>) -> Vec<(DateTime<Utc>, UsageSum)> {
    let mut days: Vec<(DateTime<Utc>, UsageSum)> = vec![];
    for (hour, sum) in hours {
        let day = hour.date_naive().and_time(NaiveTime::MIN).and_utc();
        match days.last_mut() {
            Some((last, total)) if *last == day => {
                *total += sum;
                let UsageSum { memory_docs, memory_chunks, kg_entities, kg_relations, .. } = sum;
                *total = UsageSum { memory_docs, memory_chunks, kg_entities, kg_relations, ..*total };
            }
            _ => days.push((day, sum)),
        }
    }
    days
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_the_sum_of_its_hours_with_the_memory_of_the_last() {
        let hour = |text: &str, requests, duration_ms, memory_docs| {
            (text.parse().unwrap(), UsageSum { input_tokens: 10, request_count: requests, duration_ms, memory_docs, ..UsageSum::default() })
        };
        let days = days(vec![hour("2026-01-02T03:00:00Z", 1, 100, 7), hour("2026-01-02T23:00:00Z", 3, 700, 5), hour("2026-01-03T00:00:00Z", 0, 0, 6)]);
        let points: Vec<UsagePoint> = days.into_iter().map(UsagePoint::from).collect();
        let shown = |point: &UsagePoint| (point.bucket_time.to_rfc3339(), point.sum.input_tokens, point.avg_duration_ms, point.sum.memory_docs);
        assert_eq!(shown(&points[0]), ("2026-01-02T00:00:00+00:00".into(), 20, 200, 5));
        assert_eq!(shown(&points[1]), ("2026-01-03T00:00:00+00:00".into(), 10, 0, 6));
        assert_eq!(points.len(), 2);
    }
}
