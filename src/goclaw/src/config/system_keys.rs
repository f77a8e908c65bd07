//! The keys that tenants may set for themselves, and where the configuration has their values.

use super::document;
use serde_json::Value;

/// Key, and path of the configuration.
#[rustfmt::skip]
const KEYS: &[(&str, &str)] = &[
    ("embedding.provider", "agents.defaults.memory.embedding_provider"),
    ("embedding.model", "agents.defaults.memory.embedding_model"),
    ("embedding.max_chunk_len", "agents.defaults.memory.max_chunk_len"),
    ("embedding.chunk_overlap", "agents.defaults.memory.chunk_overlap"),
    ("agent.default_provider", "agents.defaults.provider"),
    ("agent.default_model", "agents.defaults.model"),
    ("agent.context_window", "agents.defaults.context_window"),
    ("agent.max_tool_iterations", "agents.defaults.max_tool_iterations"),
    ("gateway.rate_limit_rpm", "gateway.rate_limit_rpm"),
    ("gateway.max_message_chars", "gateway.max_message_chars"),
    ("gateway.injection_action", "gateway.injection_action"),
    ("gateway.inbound_debounce_ms", "gateway.inbound_debounce_ms"),
    ("gateway.block_reply", "gateway.block_reply"),
    ("gateway.tool_status", "gateway.tool_status"),
    ("gateway.task_recovery_interval_sec", "gateway.task_recovery_interval_sec"),
    ("gateway.intent_classify", "agents.defaults.intent_classify"),
    ("tools.profile", "tools.profile"),
    ("tools.rate_limit_per_hour", "tools.rate_limit_per_hour"),
    ("tools.scrub_credentials", "tools.scrub_credentials"),
    ("tts.provider", "tts.provider"),
    ("tts.auto", "tts.auto"),
    ("tts.mode", "tts.mode"),
    ("tts.max_length", "tts.max_length"),
    ("cron.max_retries", "cron.max_retries"),
    ("cron.default_timezone", "cron.default_timezone"),
    ("compaction.threshold", "channels.pending_compaction.threshold"),
    ("compaction.keep_recent", "channels.pending_compaction.keep_recent"),
    ("compaction.max_tokens", "channels.pending_compaction.max_tokens"),
    ("compaction.provider", "channels.pending_compaction.provider"),
    ("compaction.model", "channels.pending_compaction.model"),
];

/// The value of each key, as text. Keys that the configuration leaves empty are left out.
#[must_use]
pub fn values(effective: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    };
    let value = |path: &str| document::at(effective, &path.split('.').collect::<Vec<_>>()).and_then(text);
    KEYS.iter().filter_map(|(key, path)| Some(((*key).to_owned(), value(path)?))).collect()
}

/// The keys whose values differ, one that only one side has among them.
#[must_use]
pub fn changed(before: &[(String, String)], after: &[(String, String)]) -> Vec<String> {
    let of = |values: &[(String, String)], key: &str| values.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
    KEYS.iter().map(|(key, _)| *key).filter(|key| of(before, key) != of(after, key)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_texts_and_empty_ones_are_left_out() {
        let before = values(&json!({"gateway": {"rate_limit_rpm": 0, "tool_status": false, "injection_action": ""}, "agents": {"defaults": {"model": "m"}}}));
        let pairs: Vec<_> = before.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("agent.default_model", "m"), ("gateway.rate_limit_rpm", "0"), ("gateway.tool_status", "false")]);
        let after = values(&json!({"gateway": {"rate_limit_rpm": 5}, "agents": {"defaults": {"model": "m"}}}));
        assert_eq!(changed(&before, &after), ["gateway.rate_limit_rpm", "gateway.tool_status"]);
    }
}
