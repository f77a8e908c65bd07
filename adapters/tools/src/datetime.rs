//! `datetime`: what time it is.

use crate::arguments::{Arguments, Refusal};
use async_trait::async_trait;
use chrono::SecondsFormat;
use chrono_tz::Tz;
use goclaw_ports::{
    JsonObject,
    clock::Clock,
    tools::{Tool, ToolContext, ToolEffect, ToolResult, ToolSpec},
};
use serde_json::json;
use std::sync::Arc;

/// Tells the time, in UTC and in a time zone.
pub struct Datetime {
    spec: ToolSpec,
    clock: Arc<dyn Clock>,
}

impl Datetime {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let spec = ToolSpec {
            name: "datetime",
            description: "Tell the current date and time in UTC and, on request, in a time zone.".into(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "timezone": {"type": "string", "description": "IANA time zone, for example Europe/Berlin. Without it only UTC is told."},
                },
            }),
            effect: ToolEffect::Reads,
        };
        Self { spec, clock }
    }

    fn answer(&self, arguments: &Arguments) -> Result<ToolResult, Refusal> {
        let now = self.clock.now();
        let mut answer = json!({"utc": now.to_rfc3339_opts(SecondsFormat::Secs, true), "unix_ms": now.timestamp_millis()});
        if let Some(name) = arguments.text("timezone")?.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()) {
            let Ok(zone) = name.parse::<Tz>() else {
                return Err(Refusal::new(format!("unknown timezone: {name}; use an IANA name such as Asia/Tokyo")));
            };
            answer["local"] = now.with_timezone(&zone).to_rfc3339_opts(SecondsFormat::Secs, false).into();
            answer["timezone"] = zone.name().into();
        }
        Ok(ToolResult::silent(format!("{answer:#}")))
    }
}

#[async_trait]
impl Tool for Datetime {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, _: &ToolContext, arguments: JsonObject) -> ToolResult {
        self.answer(&Arguments(arguments)).unwrap_or_else(ToolResult::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, TimeZone, Utc};
    use serde_json::Value;

    struct Still;

    impl Clock for Still {
        fn now(&self) -> DateTime<Utc> {
            Utc.with_ymd_and_hms(2024, 7, 1, 12, 0, 0).unwrap()
        }
    }

    fn ask(arguments: Value) -> ToolResult {
        Datetime::new(Arc::new(Still)).answer(&Arguments(arguments.as_object().cloned().unwrap())).unwrap_or_else(ToolResult::from)
    }

    #[test]
    fn it_tells_utc_and_milliseconds() {
        let answer: Value = serde_json::from_str(&ask(json!({})).for_llm).unwrap();
        assert_eq!(answer, json!({"utc": "2024-07-01T12:00:00Z", "unix_ms": 1_719_835_200_000_i64}));
    }

    #[test]
    fn a_zone_adds_its_local_time() {
        let answer: Value = serde_json::from_str(&ask(json!({"timezone": "Asia/Ho_Chi_Minh"})).for_llm).unwrap();
        assert_eq!(answer["local"], "2024-07-01T19:00:00+07:00");
        assert_eq!(answer["timezone"], "Asia/Ho_Chi_Minh");
    }

    #[test]
    fn an_unknown_zone_is_an_error() {
        let answer = ask(json!({"timezone": "Mars/X"}));
        assert!(answer.is_error && answer.for_llm.contains("Mars/X"));
    }
}
