//! What the configuration file may hold. `Option` stands where the file's silence means something; unknown keys are ignored.
//!
//! Every key is here, also those of parts that this version does not have: they are checked and kept.

pub mod agents;
mod channels;
pub mod gateway;
pub mod providers;
pub mod services;
pub mod tools;
pub mod values;

use super::defaults;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The whole file.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct File {
    /// Where the gateway keeps its own files.
    pub data_dir: Option<String>,
    /// Which edition this is: `lite` or `standard`, or an object with name and limits.
    pub edition: Option<gateway::EditionSection>,
    /// Agents.
    pub agents: agents::Agents,
    /// Where messages come from.
    pub channels: channels::Channels,
    /// Where models are.
    pub providers: providers::Providers,
    /// The gateway itself.
    pub gateway: gateway::Gateway,
    /// What models may do.
    pub tools: tools::Tools,
    /// How conversations are told apart.
    pub sessions: gateway::Sessions,
    /// Always empty: where the database is, the environment says.
    pub database: Map<String, Value>,
    /// Speaking.
    pub tts: services::Tts,
    /// Schedules.
    pub cron: services::Cron,
    /// What other systems learn about runs.
    pub telemetry: services::Telemetry,
    /// A second listener in a Tailscale network.
    pub tailscale: services::Tailscale,
    /// Which agent answers where.
    pub bindings: Vec<services::Binding>,
    /// What may be reached, and who is believed.
    pub security: gateway::Security,
    /// The log.
    pub logging: gateway::Logging,
    /// Looking for newer releases.
    pub updates: gateway::Updates,
}

/// The JSON Schema of the file, with the values that hold where it says nothing.
#[must_use]
pub fn json_schema() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let mut schema = settings.into_generator().into_root_schema_for::<File>().to_value();
    without_defaults(&mut schema);
    add_defaults(&mut schema, &defaults::built_in(super::edition::EditionName::Standard));
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("title".into(), "GoClaw configuration".into());
    }
    schema
}

/// Takes out the defaults that come of Rust's own, which say nothing.
fn without_defaults(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            // `default` is also the name of properties, which have a schema for a value.
            if map.contains_key("type") || map.contains_key("anyOf") || map.contains_key("$ref") {
                map.remove("default");
            }
            map.values_mut().for_each(without_defaults);
        }
        Value::Array(items) => items.iter_mut().for_each(without_defaults),
        _ => {}
    }
}

fn add_defaults(schema: &mut Value, default: &Value) {
    if let Value::Object(entries) = default {
        for (key, value) in entries {
            if let Some(property) = schema.get_mut("properties").and_then(|properties| properties.get_mut(key)) {
                add_defaults(property, value);
            }
        }
    } else if let Some(schema) = schema.as_object_mut() {
        schema.insert("default".into(), default.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_an_object_of_sections_that_are_objects() {
        let schema = json_schema();
        assert_eq!(schema["type"], "object");
        for section in ["agents", "channels", "providers", "gateway", "tools", "sessions", "tts", "cron", "telemetry"] {
            let section = &schema["properties"][section];
            assert_eq!(section["type"], "object", "{section}");
            assert!(section["description"].is_string() && section["properties"].is_object(), "{section}");
        }
        let gateway = &schema["properties"]["gateway"]["properties"];
        assert_eq!(gateway["port"]["default"], 18790);
        assert_eq!(gateway["rate_limit_rpm"]["minimum"], -1);
        assert_eq!(schema["properties"]["telemetry"]["properties"]["model_pricing"]["additionalProperties"]["type"], "object");
    }
}
