//! The file as a document: what is in it stays in it, known or not.

use super::schema::File;
use serde_json::{Map, Value};

/// Objects whose entries are named by the operator: a change replaces an entry as a whole.
const MAPS: &[&str] = &[
    "agents.list",
    "agents.defaults.sandbox.env",
    "gateway.quota.providers",
    "gateway.quota.channels",
    "gateway.quota.groups",
    "channels.telegram.groups",
    "tools.byProvider",
    "tools.mcp_servers",
    "tools.shellDenyGroups",
    "telemetry.model_pricing",
    "edition.limits.max_channels",
];

/// How deep a document may nest. The parser itself has no limit, and would run out of stack.
const DEPTH: usize = 128;

/// Something in a document that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where: `gateway.port`, or `line 3, column 7`.
    pub place: String,
    /// What is wrong. Repeats nothing of what stands there.
    pub detail: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.detail)
    }
}

/// Reads JSON5 text. Nothing at all is an empty document.
///
/// # Errors
/// Says where the text is no JSON5, or that it is no object.
pub fn read(text: &str) -> Result<Value, Fault> {
    if text.trim().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    if depth(text) > DEPTH {
        return Err(Fault { place: "the text".into(), detail: format!("nested more than {DEPTH} levels deep") });
    }
    let value: Value = json5::from_str(text).map_err(|error| Fault {
        place: error.position().map_or_else(|| "the text".to_owned(), |position| format!("line {}, column {}", position.line + 1, position.column + 1)),
        detail: error.to_string(),
    })?;
    if value.is_object() { Ok(value) } else { Err(Fault { place: "the text".into(), detail: "expected an object".into() }) }
}

/// How deep a text nests, as far as it is JSON5. Brackets in strings and comments are none.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '[' | '{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            ']' | '}' => depth = depth.saturating_sub(1),
            '"' | '\'' => {
                while let Some(inner) = chars.next().filter(|inner| *inner != char) {
                    if inner == '\\' {
                        chars.next();
                    }
                }
            }
            '/' if chars.peek() == Some(&'/') => while chars.next_if(|char| !matches!(char, '\n' | '\r' | '\u{2028}' | '\u{2029}')).is_some() {},
            '/' if chars.next_if_eq(&'*').is_some() => {
                let mut before = ' ';
                for inner in chars.by_ref() {
                    if before == '*' && inner == '/' {
                        break;
                    }
                    before = inner;
                }
            }
            _ => {}
        }
    }
    deepest
}

/// What a document says, in types.
///
/// # Errors
/// Names the path of a value that has the wrong type, is too small or too large, or is no word that is known there.
pub fn typed(document: &Value) -> Result<File, Fault> {
    check_sections(document, &super::defaults::built_in(super::edition::EditionName::Lite), "")?;
    let file: File = serde_path_to_error::deserialize(without_empty(document.clone()))
        .map_err(|error| Fault { place: error.path().to_string(), detail: without_text(&error.inner().to_string()) })?;
    if let Some(level) = file.logging.level.as_deref()
        && let Err(error) = tracing_subscriber::EnvFilter::try_new(level)
    {
        return Err(Fault { place: "logging.level".into(), detail: format!("expected error, warn, info, debug, trace or a filter: {error}") });
    }
    if let Some((place, detail)) = file.tts.fault() {
        return Err(Fault { place: place.into(), detail: detail.into() });
    }
    Ok(file)
}

/// Refuses anything but an object where a section stands. Types alone would take a list for the values of a section in order.
fn check_sections(document: &Value, built_in: &Value, path: &str) -> Result<(), Fault> {
    let Value::Object(sections) = built_in else { return Ok(()) };
    match document {
        Value::Null => Ok(()),
        Value::String(text) if text.is_empty() => Ok(()),
        Value::Object(document) => sections.iter().try_for_each(|(key, section)| match document.get(key) {
            Some(value) => check_sections(value, section, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") }),
            None => Ok(()),
        }),
        _ => Err(Fault { place: path.to_owned(), detail: "expected an object".into() }),
    }
}

/// An empty text or `null` says nothing.
fn without_empty(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, value)| !value.is_null() && value.as_str() != Some(""))
            .map(|(key, value)| (key, without_empty(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.into_iter().map(without_empty).collect(),
        other => other,
    }
}

/// A complaint about a value, without the text that stands where something else belongs: it may be a key in the wrong place.
fn without_text(complaint: &str) -> String {
    if let (Some((before, _)), Some((_, expected))) = (complaint.split_once("string \""), complaint.rsplit_once("\", expected ")) {
        return format!("{before}text, expected {expected}");
    }
    match (complaint.split_once("unknown variant `"), complaint.rfind("`, expected ")) {
        // What is expected holds back-ticks too: the word ends at the first of these ends.
        (Some((before, rest)), Some(_)) => match rest.split_once("`, expected ") {
            Some((_, expected)) => format!("{before}unknown value, expected {expected}"),
            None => complaint.to_owned(),
        },
        _ => complaint.to_owned(),
    }
}

/// Merges `changes` into `document`: objects merge, `null` removes, everything else replaces; entries of maps are replaced
/// as a whole.
pub fn merge(document: &mut Value, changes: Value) {
    merge_at(document, changes, "");
}

fn merge_at(document: &mut Value, changes: Value, path: &str) {
    let Value::Object(changes) = changes else {
        *document = changes;
        return;
    };
    if !document.is_object() {
        *document = Value::Object(Map::new());
    }
    let Some(object) = document.as_object_mut() else { return };
    let whole = MAPS.contains(&path) || path.ends_with(".topics");
    for (key, value) in changes {
        if value.is_null() {
            // Order matters to people: what stays, stays where it is.
            object.shift_remove(&key);
        } else if whole || !value.is_object() {
            object.insert(key, without_null(value));
        } else {
            let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            merge_at(object.entry(key).or_insert_with(|| Value::Object(Map::new())), value, &inner);
        }
    }
}

/// The same without entries that are `null`.
pub fn without_null(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            map.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key, without_null(value))).collect::<Map<_, _>>().into()
        }
        other => other,
    }
}

/// The parts of a document that hold something which this version does not use.
#[must_use]
pub fn dormant(document: &Value) -> Vec<&'static str> {
    const DORMANT: &[&str] = &["channels", "sessions", "database", "cron", "bindings", "agents.list", "tools.web", "tools.browser", "tools.mcp_servers"];
    let holds = |value: &Value| match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        other => !other.is_null(),
    };
    DORMANT.iter().copied().filter(|path| at(document, &path.split('.').collect::<Vec<_>>()).is_some_and(holds)).collect()
}

/// The value at a path.
#[must_use]
pub fn at<'v>(document: &'v Value, path: &[impl AsRef<str>]) -> Option<&'v Value> {
    path.iter().try_fold(document, |value, key| value.get(key.as_ref()))
}

/// Puts a value at a path; objects on the way are made.
pub fn put(document: &mut Value, path: &[impl AsRef<str>], value: Value) {
    let mut slot = document;
    for key in path {
        if !slot.is_object() {
            *slot = Value::Object(Map::new());
        }
        let Some(object) = slot.as_object_mut() else { return };
        slot = object.entry(key.as_ref()).or_insert(Value::Null);
    }
    *slot = value;
}

/// Removes what is at a path.
pub fn remove(document: &mut Value, path: &[impl AsRef<str>]) {
    let Some((last, parents)) = path.split_last() else { return };
    let parent = parents.iter().try_fold(document, |value, key| value.get_mut(key.as_ref()));
    if let Some(object) = parent.and_then(Value::as_object_mut) {
        object.shift_remove(last.as_ref());
    }
}

/// The same with the keys of all objects in order, so that equal documents are equal texts.
#[must_use]
pub fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            entries.into_iter().map(|(key, value)| (key.clone(), canonical(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(canonical).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(text: &str) -> String {
        read(text).and_then(|document| typed(&document)).err().unwrap().to_string()
    }

    #[test]
    fn comments_trailing_commas_and_bare_keys_are_fine() {
        let file = typed(&read("// mine\n{ gateway: { port: 1234, owner_ids: ['ana', 42,], }, unknown: { key: [1] } }").unwrap()).unwrap();
        assert_eq!(file.gateway.port.unwrap().get(), 1234);
        assert_eq!(*file.gateway.owner_ids, ["ana", "42"]);
    }

    #[test]
    fn what_stands_in_the_wrong_place_is_not_repeated() {
        for text in [
            "{ providers: { openai: 'sk-a\\\", expected b' } }",
            "{ gateway: 'sk-a' }",
            "{ gateway: { token: ['sk-a'] } }",
            "{ gateway: { injection_action: 'sk-a`, expected ' } }",
            "{ edition: { name: 'sk-a' } }",
            "{ tools: { mcp_servers: { x: { env: { KEY: ['sk-a'] } } } } }",
        ] {
            let refusal = refusal(text);
            assert!(!refusal.contains("sk-a") && refusal.contains("expected"), "{refusal}");
        }
    }

    #[test]
    fn what_cannot_be_is_named_with_its_path() {
        for (text, path) in [
            ("{ gateway: { port: 'many' } }", "gateway.port: "),
            ("{ gateway: { port: 70000 } }", "gateway.port: "),
            ("{ gateway: { port: -1 } }", "gateway.port: "),
            ("{ gateway: { rate_limit_rpm: -2 } }", "gateway.rate_limit_rpm: "),
            ("{ gateway: { injection_action: 'panic' } }", "gateway.injection_action: "),
            ("{ gateway: { owner_ids: [true] } }", "gateway.owner_ids[0]: "),
            ("{ gateway: { quota: { groups: { g: { hour: 'x' } } } } }", "gateway.quota.groups.g.hour: "),
            ("{ agents: { defaults: { contextPruning: { softTrim: { maxChars: 'x' } } } } }", "agents.defaults.contextPruning.softTrim.maxChars: "),
            ("{ agents: { defaults: { temperature: 2.5 } } }", "agents.defaults.temperature: "),
            ("{ agents: { defaults: { subagents: { maxSpawnDepth: 9 } } } }", "agents.defaults.subagents.maxSpawnDepth: "),
            ("{ agents: { list: { fox: { agent_type: 'closed' } } } }", "agents.list.fox.agent_type: "),
            ("{ channels: [] }", "channels: "),
            ("{ channels: { telegram: { dm_policy: 'all' } } }", "channels.telegram.dm_policy: "),
            ("{ edition: 5 }", "edition: "),
            ("{ edition: 'enterprise' }", "edition: "),
            ("{ edition: { limits: { max_agnets: 5 } } }", "edition: "),
            ("{ tools: { byProvider: { groq: { allow: 'all' } } } }", "tools.byProvider.groq.allow: "),
            ("{ tools: { execApproval: { ask: 'maybe' } } }", "tools.execApproval.ask: "),
            ("{ tools: { web_fetch: { policy: 'none' } } }", "tools.web_fetch.policy: "),
            ("{ tools: { mcp_servers: { x: { transport: 'pigeon' } } } }", "tools.mcp_servers.x.transport: "),
            ("{ telemetry: { protocol: 'smoke' } }", "telemetry.protocol: "),
            ("{ tts: { auto: 'often' } }", "tts.auto: "),
            ("{ tts: { openai: { api_base: 'voices.example.com' } } }", "tts.openai.api_base: "),
            ("{ tts: { edge: { rate: 'fast' } } }", "tts.edge.rate: "),
            ("{ logging: { format: 'xml' } }", "logging.format: "),
            ("{ logging: { level: 'goclaw=lots' } }", "logging.level: "),
            ("{ bindings: [{ match: { peer: { kind: 'x' } } }] }", "bindings[0].match.peer.kind: "),
        ] {
            let refusal = read(text).and_then(|document| typed(&document)).err().map_or_else(String::new, |fault| fault.to_string());
            assert!(refusal.starts_with(path), "{text}: {refusal}");
        }
    }

    #[test]
    fn no_nesting_exhausts_the_stack() {
        let nested = |levels: usize| format!("{{ a: {}{} }}", "[".repeat(levels), "]".repeat(levels));
        assert!(read(&nested(DEPTH - 1)).is_ok());
        for deep in [nested(DEPTH), nested(200_000), format!("// x\u{2028}{}", nested(200_000)), format!("/* '**/ {}", nested(200_000))] {
            assert!(refusal(&deep).contains("levels deep"));
        }
        let text = "[".repeat(1_000);
        assert!(read(&format!("{{ a: '\\'{text}', \"b\\\"{text}\": 1 /* {text} */ }} // {text}")).is_ok());
    }

    #[test]
    fn broken_json5_is_named_with_its_line() {
        assert!(refusal("{\n  gateway: {\n").starts_with("line "));
        assert!(refusal("[1]").contains("expected an object"));
    }

    #[test]
    fn the_whole_schema_parses() {
        let document = read(
            r#"{
                data_dir: "~/data", database: {}, sessions: { scope: "per-sender" }, cron: { max_retries: 3 }, tailscale: { hostname: "" },
                bindings: [{ agentId: "a", match: { channel: "telegram" } }], tts: { provider: "edge" },
                telemetry: { enabled: false, model_pricing: { "openai/gpt-4o": { input_per_million: 2.5, output_per_million: 10 } } },
                agents: { defaults: { restrict_to_workspace: true, subagents: { maxConcurrent: 2 }, sandbox: { mode: "off" } }, list: { a: { default: true } } },
                channels: { telegram: { enabled: true, token: "", allow_from: [1, "2"], groups: { "*": { topics: { "7": { skills: [] } } } } } },
                providers: { openai: { api_key: "k" }, ollama: { host: "h" }, acp: { binary: "claude", args: [] } },
                tools: { profile: "full", execApproval: { security: "full" }, web: { brave: { enabled: false } }, mcp_servers: { x: { transport: "stdio" } } },
            }"#,
        )
        .unwrap();
        assert!(typed(&document).unwrap().providers.openai.api_key.is_some());
    }

    #[test]
    fn a_change_merges_objects_removes_nulls_and_replaces_the_rest() {
        let mut document = json!({"mine": {"a": 1}, "gateway": {"port": 1, "owner_ids": ["a", "b"]}, "cron": {"max_retries": 1}});
        merge(&mut document, json!({"gateway": {"port": 2, "owner_ids": ["c"]}, "cron": null, "tts": {"auto": "off", "mode": null}}));
        assert_eq!(document, json!({"mine": {"a": 1}, "gateway": {"port": 2, "owner_ids": ["c"]}, "tts": {"auto": "off"}}));
    }

    #[test]
    fn entries_of_maps_are_replaced_as_a_whole() {
        let mut document = json!({"agents": {"list": {"x": {"model": "m", "provider": "p"}, "y": {"model": "m"}}}});
        merge(&mut document, json!({"agents": {"list": {"x": {"model": "n", "skills": null}, "z": {}}}}));
        assert_eq!(document, json!({"agents": {"list": {"x": {"model": "n"}, "y": {"model": "m"}, "z": {}}}}));
        merge(&mut document, json!({"agents": {"list": {"y": null}}}));
        assert_eq!(document["agents"]["list"], json!({"x": {"model": "n"}, "z": {}}));
    }

    #[test]
    fn the_order_of_keys_does_not_count() {
        assert_eq!(canonical(&json!({"b": {"y": 1, "x": 2}, "a": 3})).to_string(), canonical(&json!({"a": 3, "b": {"x": 2, "y": 1}})).to_string());
    }
}
