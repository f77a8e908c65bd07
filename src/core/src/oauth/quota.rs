//! What an account has used up and may still use, as its vendor tells it.

use super::tokens::{Token, Tokens};
use crate::providers::Registry;
use chrono::{DateTime, TimeDelta, Utc};
use goclaw_ports::{
    clock::Clock,
    llm::{LlmError, LlmErrorKind},
    providers::ProviderRow,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// What is left of an account, or why nobody knows.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct QuotaEnvelope {
    /// The account's provider.
    pub provider_name: String,
    /// Whether the vendor told.
    pub success: bool,
    /// The account's plan, in lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_type: Option<String>,
    /// Empty on failure.
    pub windows: Vec<QuotaWindow>,
    /// The two windows that decide whether the account can be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub core_usage: Option<CoreUsage>,
    /// When it was asked.
    pub last_updated: DateTime<Utc>,
    /// Why nobody knows, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'static str>,
    /// The same, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<&'static str>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action_hint: Option<&'static str>,
    /// Whether somebody has to sign in again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub needs_reauth: bool,
    /// Whether the account may not know.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_forbidden: bool,
    /// Whether asking again may help.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub retryable: bool,
}

/// A span of time for which there is a limit.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct QuotaWindow {
    /// Which one.
    pub label: &'static str,
    /// 0 to 100.
    pub used_percent: i64,
    /// 0 to 100.
    pub remaining_percent: i64,
    /// In how many seconds it begins anew.
    pub reset_after_seconds: Option<i64>,
    /// When it begins anew.
    pub reset_at: Option<DateTime<Utc>>,
}

/// One of the two windows that count.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CoreWindow {
    /// Which one.
    pub label: &'static str,
    /// 0 to 100.
    pub remaining_percent: i64,
    /// In how many seconds it begins anew.
    pub reset_after_seconds: Option<i64>,
    /// When it begins anew.
    pub reset_at: Option<DateTime<Utc>>,
}

/// The two windows that count.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CoreUsage {
    /// The short one.
    pub five_hour: Option<CoreWindow>,
    /// The long one.
    pub weekly: Option<CoreWindow>,
}

/// Asks for quotas.
pub(crate) struct Quotas {
    pub tokens: Arc<Tokens>,
    pub registry: Arc<Registry>,
    pub clock: Arc<dyn Clock>,
}

impl Quotas {
    /// What is left of an account. That nobody knows is an answer too.
    pub async fn read(self: &Arc<Self>, row: &ProviderRow) -> QuotaEnvelope {
        let (quotas, asked) = (self.clone(), row.clone());
        let answer = self.tokens.runtime.spawn(async move { quotas.ask(&asked).await }).await;
        answer.unwrap_or_else(|_| failed(&row.name, None, self.clock.now(), &FAILED))
    }

    async fn ask(&self, row: &ProviderRow) -> QuotaEnvelope {
        let account = self.tokens.account(row.tenant_id, &row.name);
        let plan = row.settings.get("plan_type").and_then(Value::as_str).filter(|plan| !plan.is_empty()).map(str::to_lowercase);
        let now = self.clock.now();
        let token = match account.token(false).await {
            // What was signed in to long ago may not say which account it is.
            Ok(Token { account_id: None, .. }) => account.token(true).await,
            token => token,
        };
        let knows_account = row.settings.get("account_id").and_then(Value::as_str).is_some_and(|id| !id.is_empty());
        let plan = plan.or_else(|| token.as_ref().ok()?.plan_type.clone().map(|plan| plan.to_lowercase()));
        match token {
            Ok(Token { account_id: None, .. }) => return failed(&row.name, plan, now, &NO_ACCOUNT),
            Err(_) if !knows_account => return failed(&row.name, plan, now, &NO_ACCOUNT),
            Err(_) => return failed(&row.name, plan, now, &SIGNED_OUT),
            Ok(_) => {}
        }
        let asked = match self.registry.build(row, None) {
            Ok(provider) => provider.quota().await,
            Err(_) => None,
        };
        match asked {
            Some(told) => envelope(&row.name, plan, told, self.clock.now()),
            None => failed(&row.name, plan, now, &FAILED),
        }
    }
}

/// A way to fail.
struct Failure {
    code: &'static str,
    error: &'static str,
    hint: &'static str,
}

const NO_ACCOUNT: Failure = Failure {
    code: "missing_account_id",
    error: "It is not known which workspace this account belongs to.",
    hint: "Sign in again so that the account's workspace metadata is restored.",
};
const SIGNED_OUT: Failure = Failure { code: "reauth_required", error: "The account's sign-in has ended.", hint: "Sign in again for this account." };
const PAYMENT: Failure = Failure {
    code: "payment_required",
    error: "The vendor asks for payment before it answers.",
    hint: "Check the plan and the billing of the account's workspace.",
};
const FORBIDDEN: Failure = Failure {
    code: "quota_api_forbidden",
    error: "The vendor does not let this account read its quota.",
    hint: "This account may not read quota data; use another one, or ask the workspace's admin.",
};
const NO_ENDPOINT: Failure = Failure {
    code: "quota_endpoint_not_found",
    error: "There is no quota endpoint at this address.",
    hint: "This API base has no Codex quota endpoint; check the provider's API base.",
};
const RATE: Failure = Failure { code: "rate_limited", error: "The vendor limits how often the quota may be read.", hint: "Retry after a short wait." };
const UPSTREAM: Failure = Failure { code: "provider_unavailable", error: "The vendor has trouble.", hint: "This is temporary trouble upstream; retry later." };
const TIMEOUT: Failure = Failure { code: "network_timeout", error: "The vendor did not answer in time.", hint: "The quota endpoint is too slow; retry later." };
const NETWORK: Failure = Failure { code: "network_error", error: "The vendor cannot be reached.", hint: "Check the connectivity of the gateway, then retry." };
const FAILED: Failure =
    Failure { code: "quota_request_failed", error: "The vendor's answer could not be used.", hint: "Retry, or inspect the upstream's response." };
const UNKNOWN: Failure =
    Failure { code: "unknown_upstream_error", error: "The vendor answered with an unexpected status.", hint: "Inspect the upstream's response." };

fn failed(provider: &str, plan: Option<String>, now: DateTime<Utc>, failure: &Failure) -> QuotaEnvelope {
    QuotaEnvelope {
        provider_name: provider.to_owned(),
        success: false,
        plan_type: plan,
        windows: vec![],
        core_usage: None,
        last_updated: now,
        error: Some(failure.error),
        error_code: Some(failure.code),
        action_hint: Some(failure.hint),
        needs_reauth: failure.code == SIGNED_OUT.code,
        is_forbidden: failure.code == FORBIDDEN.code,
        retryable: [&RATE, &UPSTREAM, &TIMEOUT, &NETWORK].iter().any(|retryable| retryable.code == failure.code),
    }
}

fn failure_of(error: &LlmError) -> &'static Failure {
    match error.status {
        Some(401) => &SIGNED_OUT,
        Some(402) => &PAYMENT,
        Some(403) => &FORBIDDEN,
        Some(404) => &NO_ENDPOINT,
        Some(429) => &RATE,
        Some(500..) => &UPSTREAM,
        Some(_) => &UNKNOWN,
        None if error.kind == LlmErrorKind::Timeout => &TIMEOUT,
        None if error.kind == LlmErrorKind::Auth => &SIGNED_OUT,
        None => &NETWORK,
    }
}

#[derive(Deserialize)]
struct Told {
    #[serde(alias = "planType")]
    plan_type: Option<String>,
    #[serde(alias = "rateLimit")]
    rate_limit: Option<Limit>,
    #[serde(alias = "codeReviewRateLimit")]
    code_review_rate_limit: Option<Limit>,
}

#[derive(Deserialize)]
struct Limit {
    #[serde(alias = "primaryWindow")]
    primary_window: Option<Window>,
    #[serde(alias = "secondaryWindow")]
    secondary_window: Option<Window>,
}

#[derive(Deserialize)]
struct Window {
    #[serde(alias = "usedPercent")]
    used_percent: Option<f64>,
    #[serde(alias = "resetAfterSeconds")]
    reset_after_seconds: Option<f64>,
}

/// The outcome of asking, in the shape that clients get. `plan` is what was known before.
fn envelope(provider: &str, plan: Option<String>, told: Result<Vec<u8>, LlmError>, now: DateTime<Utc>) -> QuotaEnvelope {
    let body = match told {
        Ok(body) => body,
        Err(error) => return failed(provider, plan, now, failure_of(&error)),
    };
    let Ok(told) = serde_json::from_slice::<Told>(&body) else { return failed(provider, plan, now, &FAILED) };
    let (rate, review) = (told.rate_limit.map(split).unwrap_or_default(), told.code_review_rate_limit.map(split).unwrap_or_default());
    let windows = [("Primary", rate.0), ("Secondary", rate.1), ("Code Review (Primary)", review.0), ("Code Review (Secondary)", review.1)];
    let windows: Vec<_> = windows.into_iter().filter_map(|(label, window)| Some(window_of(label, &window?, now))).collect();
    QuotaEnvelope {
        plan_type: told.plan_type.map(|plan| plan.trim().to_lowercase()).filter(|plan| !plan.is_empty()).or(plan),
        core_usage: core_usage(&windows),
        windows,
        success: true,
        error: None,
        error_code: None,
        action_hint: None,
        ..failed(provider, None, now, &FAILED)
    }
}

fn split(limit: Limit) -> (Option<Window>, Option<Window>) {
    (limit.primary_window, limit.secondary_window)
}

#[expect(clippy::cast_possible_truncation, reason = "both are bounded before")]
fn window_of(label: &'static str, window: &Window, now: DateTime<Utc>) -> QuotaWindow {
    let used = window.used_percent.filter(|used| used.is_finite()).unwrap_or(0.0).clamp(0.0, 100.0).round() as i64;
    let seconds = window.reset_after_seconds.filter(|seconds| (1.0..=1e9).contains(seconds)).map(|seconds| seconds as i64);
    QuotaWindow {
        label,
        used_percent: used,
        remaining_percent: 100 - used,
        reset_after_seconds: seconds,
        reset_at: seconds.map(|seconds| now + TimeDelta::seconds(seconds)),
    }
}

fn core_usage(windows: &[QuotaWindow]) -> Option<CoreUsage> {
    let core: Vec<&QuotaWindow> = windows.iter().filter(|window| !window.label.starts_with("Code Review")).collect();
    let reset = |window: &&&QuotaWindow| window.reset_after_seconds.unwrap_or(i64::MAX);
    let labelled = |label: &str| core.iter().find(|window| window.label == label).copied();
    let five_hour = labelled("Primary").or_else(|| core.iter().min_by_key(reset).copied());
    let weekly = labelled("Secondary").or_else(|| core.iter().max_by_key(|window| window.reset_after_seconds.unwrap_or(-1)).copied());
    let weekly = weekly.filter(|weekly| core.len() >= 2 && five_hour.is_none_or(|five_hour| five_hour.label != weekly.label));
    let shown = |window: &QuotaWindow| CoreWindow {
        label: window.label,
        remaining_percent: window.remaining_percent,
        reset_after_seconds: window.reset_after_seconds,
        reset_at: window.reset_at,
    };
    (five_hour.is_some() || weekly.is_some()).then(|| CoreUsage { five_hour: five_hour.map(shown), weekly: weekly.map(shown) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn told(body: &Value) -> QuotaEnvelope {
        envelope("acct", Some("plus".into()), Ok(body.to_string().into_bytes()), DateTime::UNIX_EPOCH)
    }

    #[test]
    fn both_spellings_are_read() {
        let snake = json!({"plan_type": "Pro", "rate_limit": {"primary_window": {"used_percent": 12.5, "reset_after_seconds": 60}, "secondary_window": {"used_percent": 130, "reset_after_seconds": 0}},
            "code_review_rate_limit": {"primary_window": {"used_percent": -4}}});
        let camel = json!({"planType": "Pro", "rateLimit": {"primaryWindow": {"usedPercent": 12.5, "resetAfterSeconds": 60}, "secondaryWindow": {"usedPercent": 130, "resetAfterSeconds": 0}},
            "codeReviewRateLimit": {"primaryWindow": {"usedPercent": -4}}});
        let envelope = told(&snake);
        assert_eq!(envelope, told(&camel));
        let shown = serde_json::to_value(&envelope).unwrap();
        let windows = json!([
            {"label": "Primary", "used_percent": 13, "remaining_percent": 87, "reset_after_seconds": 60, "reset_at": "1970-01-01T00:01:00Z"},
            {"label": "Secondary", "used_percent": 100, "remaining_percent": 0, "reset_after_seconds": null, "reset_at": null},
            {"label": "Code Review (Primary)", "used_percent": 0, "remaining_percent": 100, "reset_after_seconds": null, "reset_at": null},
        ]);
        assert_eq!((&shown["windows"], &shown["plan_type"], &shown["success"]), (&windows, &json!("pro"), &json!(true)));
        assert_eq!((&shown["core_usage"]["five_hour"]["label"], &shown["core_usage"]["weekly"]["remaining_percent"]), (&json!("Primary"), &json!(0)));
        assert!(["error", "error_code", "needs_reauth", "is_forbidden", "retryable"].iter().all(|key| shown.get(key).is_none()), "{shown}");
    }

    #[test]
    fn one_window_is_the_short_one() {
        let primary = told(&json!({"rate_limit": {"primary_window": {"used_percent": 1}}}));
        let core = primary.core_usage.unwrap();
        assert_eq!((core.five_hour.unwrap().label, core.weekly, primary.plan_type.as_deref()), ("Primary", None, Some("plus")));
        let secondary = told(&json!({"rate_limit": {"secondary_window": {"used_percent": 1}}})).core_usage.unwrap();
        assert_eq!((secondary.five_hour.unwrap().label, secondary.weekly), ("Secondary", None));
        assert_eq!(told(&json!({"code_review_rate_limit": {"primary_window": {}}})).core_usage, None);
        assert_eq!((told(&json!({})).success, told(&json!({})).windows), (true, vec![]));
    }

    #[rstest]
    #[case(Some(401), LlmErrorKind::Auth, "reauth_required", [true, false, false])]
    #[case(Some(402), LlmErrorKind::Billing, "payment_required", [false, false, false])]
    #[case(Some(403), LlmErrorKind::Auth, "quota_api_forbidden", [false, true, false])]
    #[case(Some(404), LlmErrorKind::Other, "quota_endpoint_not_found", [false, false, false])]
    #[case(Some(429), LlmErrorKind::RateLimit, "rate_limited", [false, false, true])]
    #[case(Some(503), LlmErrorKind::Overloaded, "provider_unavailable", [false, false, true])]
    #[case(Some(418), LlmErrorKind::Other, "unknown_upstream_error", [false, false, false])]
    #[case(None, LlmErrorKind::Timeout, "network_timeout", [false, false, true])]
    #[case(None, LlmErrorKind::Other, "network_error", [false, false, true])]
    fn each_failure_has_its_code(#[case] status: Option<u16>, #[case] kind: LlmErrorKind, #[case] code: &str, #[case] flags: [bool; 3]) {
        let error = LlmError { kind, status, text: "the body".into(), retry_after: None };
        let envelope = envelope("acct", Some("plus".into()), Err(error), DateTime::UNIX_EPOCH);
        assert_eq!((envelope.error_code, [envelope.needs_reauth, envelope.is_forbidden, envelope.retryable]), (Some(code), flags));
        assert_eq!((envelope.success, envelope.windows.len(), envelope.core_usage.is_none(), envelope.plan_type.as_deref()), (false, 0, true, Some("plus")));
        assert!(!serde_json::to_string(&envelope).unwrap().contains("the body"));
    }

    #[test]
    fn what_cannot_be_read_is_a_failure() {
        let envelope = envelope("acct", None, Ok(b"<html>".to_vec()), DateTime::UNIX_EPOCH);
        assert_eq!((envelope.error_code, envelope.success), (Some("quota_request_failed"), false));
    }
}
