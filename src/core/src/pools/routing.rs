//! How an agent's questions are spread over accounts: what the provider says, and what the agent says instead.

use super::membership::{Pool, names};
use goclaw_ports::{Error, JsonObject, Result, message};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// Which account is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The pool's owner, unless it cannot be used.
    #[default]
    PrimaryFirst,
    /// One after the other.
    RoundRobin,
    /// The first in the pool's order that can be used.
    PriorityOrder,
}

impl Strategy {
    /// Reads a setting. What is empty or unknown is the default, and so is `manual`, its old name.
    pub fn parse(text: &str) -> Self {
        match text {
            "round_robin" => Self::RoundRobin,
            "priority_order" => Self::PriorityOrder,
            _ => Self::PrimaryFirst,
        }
    }

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PrimaryFirst => "primary_first",
            Self::RoundRobin => "round_robin",
            Self::PriorityOrder => "priority_order",
        }
    }
}

/// What an agent says of its routing.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Own {
    Inherit,
    Custom(Pool),
}

/// What an agent's `other_config` says of its routing; `None` if nothing.
fn own(other_config: &JsonObject) -> Option<Own> {
    let routing = other_config.get("chatgpt_oauth_routing")?.as_object()?;
    if !["override_mode", "strategy", "extra_provider_names"].iter().any(|key| routing.contains_key(*key)) {
        return None;
    }
    let text = |key: &str| routing.get(key).and_then(Value::as_str).unwrap_or_default();
    Some(match text("override_mode") {
        "inherit" => Own::Inherit,
        _ => Own::Custom(Pool { strategy: Strategy::parse(text("strategy")), extras: names(routing.get("extra_provider_names")) }),
    })
}

/// Refuses a routing that the agent's provider does not allow. `pool` is the provider's own.
///
/// # Errors
/// `Invalid`.
pub(super) fn check(other_config: &JsonObject, provider: &str, pool: &Pool) -> Result<()> {
    let Some(Own::Custom(own)) = own(other_config) else { return Ok(()) };
    if own.extras.is_empty() && (own.strategy == Strategy::PrimaryFirst || !pool.extras.is_empty()) {
        return Ok(());
    }
    if pool.extras.is_empty() {
        return Err(Error::invalid(message::routing_without_pool(provider)));
    }
    if own.extras == pool.extras { Ok(()) } else { Err(Error::invalid(message::routing_not_the_pool(provider, pool.extras.join(", ")))) }
}

/// The routing that holds for an agent. `pool` is its provider's own.
pub(super) fn effective(other_config: &JsonObject, pool: Pool) -> Pool {
    match own(other_config) {
        None | Some(Own::Inherit) => pool,
        Some(Own::Custom(own)) if own.strategy == Strategy::PrimaryFirst && own.extras.is_empty() => Pool::default(),
        Some(Own::Custom(own)) => Pool { strategy: own.strategy, extras: if pool.extras.is_empty() { own.extras } else { pool.extras } },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn object(value: Value) -> JsonObject {
        value.as_object().cloned().unwrap_or_default()
    }

    fn pool(strategy: Strategy, extras: &[&str]) -> Pool {
        Pool { strategy, extras: extras.iter().map(|name| (*name).to_owned()).collect() }
    }

    #[rstest]
    #[case(json!(null), &["b"], true)]
    #[case(json!({}), &["b"], true)]
    #[case(json!({"override_mode": "inherit", "extra_provider_names": ["x"]}), &[], true)]
    #[case(json!({"strategy": "primary_first"}), &[], true)]
    #[case(json!({"override_mode": "custom"}), &[], true)]
    #[case(json!({"strategy": "round_robin"}), &[], false)]
    #[case(json!({"extra_provider_names": ["b"]}), &[], false)]
    #[case(json!({"override_mode": "odd", "strategy": "round_robin"}), &["b"], true)]
    #[case(json!({"override_mode": "custom", "extra_provider_names": [" b ", "c", "b"]}), &["b", "c"], true)]
    #[case(json!({"override_mode": "custom", "extra_provider_names": ["c", "b"]}), &["b", "c"], false)]
    fn an_agent_may_say_no_more_than_its_provider(#[case] routing: Value, #[case] extras: &[&str], #[case] fine: bool) {
        let config = object(json!({"chatgpt_oauth_routing": routing}));
        assert_eq!(check(&config, "a", &pool(Strategy::RoundRobin, extras)).is_ok(), fine);
    }

    #[rstest]
    #[case(json!(null), &["b"], Strategy::RoundRobin, &["b"])]
    #[case(json!({"override_mode": "inherit", "strategy": "priority_order"}), &["b"], Strategy::RoundRobin, &["b"])]
    #[case(json!({"strategy": "priority_order"}), &["b"], Strategy::PriorityOrder, &["b"])]
    #[case(json!({"strategy": "manual"}), &["b"], Strategy::PrimaryFirst, &[])]
    #[case(json!({"strategy": "primary_first", "extra_provider_names": ["b"]}), &["b"], Strategy::PrimaryFirst, &["b"])]
    #[case(json!({"strategy": "round_robin", "extra_provider_names": ["x"]}), &[], Strategy::RoundRobin, &["x"])]
    fn the_agent_wins_where_it_says_something(#[case] routing: Value, #[case] extras: &[&str], #[case] strategy: Strategy, #[case] members: &[&str]) {
        let config = object(json!({"chatgpt_oauth_routing": routing}));
        assert_eq!(effective(&config, pool(Strategy::RoundRobin, extras)), pool(strategy, members));
    }
}
