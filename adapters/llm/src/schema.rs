//! Tool schemas, rewritten into what each vendor accepts.

use serde_json::{Map, Value, json};

/// How deep a schema is followed.
const DEPTH_LIMIT: usize = 64;

const REFS: &[&str] = &["$ref", "$defs", "definitions"];
const XAI: &[&str] = &["minLength", "maxLength", "minItems", "maxItems", "minContains", "maxContains"];
const GEMINI: &[&str] = &[
    "$ref",
    "$defs",
    "definitions",
    "additionalProperties",
    "patternProperties",
    "$schema",
    "$id",
    "examples",
    "default",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "multipleOf",
    "pattern",
    "format",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
];

/// Which vendor's rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaProfile {
    /// Anthropic: only references are resolved.
    Anthropic,
    /// Gemini: the narrowest.
    Gemini,
    /// xAI.
    Xai,
    /// OpenAI's strict mode.
    Strict,
    /// Everyone else.
    Plain,
}

impl SchemaProfile {
    /// The profile of a provider type, or of a provider's name where no type is known.
    #[must_use]
    pub fn of(key: &str) -> Self {
        if key.starts_with("anthropic") {
            Self::Anthropic
        } else if key.contains("gemini") {
            Self::Gemini
        } else if key == "xai" || key.starts_with("xai-") {
            Self::Xai
        } else if !key.contains("compat") && (key == "openai" || key == "codex" || key.contains("chatgpt")) {
            Self::Strict
        } else {
            Self::Plain
        }
    }
}

/// A tool's schema for a vendor.
#[derive(Debug, Clone, PartialEq)]
pub struct CleanSchema {
    /// The schema.
    pub schema: Value,
    /// Whether it keeps the rules of strict mode.
    pub strict: bool,
}

/// Rewrites the schema of a tool's arguments for a vendor.
#[must_use]
pub fn clean(schema: &Value, profile: SchemaProfile) -> CleanSchema {
    use SchemaProfile::{Anthropic, Gemini, Plain, Strict, Xai};
    let mut schema = inline_refs(schema, schema, &mut Vec::new(), 0);
    if profile == Gemini {
        each(&mut schema, 0, &drop_null_variants);
    }
    if profile != Anthropic {
        each(&mut schema, 0, &flatten_unions);
    }
    if profile == Gemini {
        each(&mut schema, 0, &const_to_enum);
    }
    if matches!(profile, Xai | Strict | Plain) {
        each(&mut schema, 0, &add_object_type);
    }
    if profile == Gemini {
        each(&mut schema, 0, &drop_type_beside_union);
    }
    let strip: &[&str] = match profile {
        Anthropic | Strict | Plain => REFS,
        Gemini => GEMINI,
        Xai => XAI,
    };
    each(&mut schema, 0, &|schema| {
        schema.retain(|key, _| !strip.contains(&key.as_str()));
        if schema.get("required").and_then(Value::as_array).is_some_and(Vec::is_empty) {
            schema.shift_remove("required");
        }
    });
    let strict = profile == Strict && !is_action_switch(&schema);
    if strict {
        make_strict(&mut schema, 0);
    }
    CleanSchema { schema, strict }
}

/// Tools with one `action` among several take different arguments for each; strict mode would demand all of them.
fn is_action_switch(schema: &Value) -> bool {
    schema.pointer("/properties/action/enum").and_then(Value::as_array).is_some_and(|values| values.len() >= 2)
}

/// Calls `change` on every schema, the outer ones first. Names inside `properties` are names, never keywords; what stands in `enum`, `const`,
/// `default` and `examples` is data.
fn each(value: &mut Value, depth: usize, change: &impl Fn(&mut Map<String, Value>)) {
    let Value::Object(schema) = value else { return };
    if depth > DEPTH_LIMIT {
        return;
    }
    change(schema);
    for (key, value) in schema {
        match key.as_str() {
            "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" => {
                if let Value::Object(named) = value {
                    named.values_mut().for_each(|schema| each(schema, depth + 1, change));
                }
            }
            "items" | "prefixItems" | "additionalProperties" | "anyOf" | "oneOf" | "allOf" | "not" | "if" | "then" | "else" | "contains" | "propertyNames" => {
                match value {
                    Value::Array(schemas) => schemas.iter_mut().for_each(|schema| each(schema, depth + 1, change)),
                    schema => each(schema, depth + 1, change),
                }
            }
            _ => {}
        }
    }
}

fn circular() -> Value {
    json!({"type": "object", "description": "circular reference"})
}

/// The schema with every local reference replaced by what it names. `open` holds the references being followed.
fn inline_refs(value: &Value, root: &Value, open: &mut Vec<String>, depth: usize) -> Value {
    let schema = match value {
        Value::Array(_) | Value::Object(_) if depth > DEPTH_LIMIT => return circular(),
        Value::Array(values) => return values.iter().map(|value| inline_refs(value, root, open, depth + 1)).collect(),
        Value::Object(schema) => schema,
        other => return other.clone(),
    };
    if let Some(Value::String(name)) = schema.get("$ref") {
        let notes = schema.iter().filter(|(key, _)| matches!(key.as_str(), "description" | "title"));
        if open.contains(name) {
            return circular();
        }
        let target = name.strip_prefix('#').filter(|path| path.starts_with("/$defs/") || path.starts_with("/definitions/")).and_then(|path| root.pointer(path));
        let Some(target) = target else {
            return Value::Object(notes.map(|(key, value)| (key.clone(), value.clone())).collect());
        };
        open.push(name.clone());
        let mut target = inline_refs(target, root, open, depth + 1);
        open.pop();
        if let Value::Object(target) = &mut target {
            for (key, value) in notes {
                target.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        return target;
    }
    let mut clean = Map::new();
    for (key, value) in schema {
        let value = match (key.as_str(), value) {
            // The names below these are not keywords: a property may be called `$ref`.
            ("properties" | "patternProperties" | "dependentSchemas", Value::Object(named)) => {
                named.iter().map(|(name, schema)| (name.clone(), inline_refs(schema, root, open, depth + 1))).collect()
            }
            ("enum" | "const" | "default" | "examples" | "required" | "$defs" | "definitions", value) => value.clone(),
            (_, value) => inline_refs(value, root, open, depth + 1),
        };
        clean.insert(key.clone(), value);
    }
    Value::Object(clean)
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").is_some_and(|kind| kind == "null")
        || schema.get("const").is_some_and(Value::is_null)
        || schema.get("enum").and_then(Value::as_array).is_some_and(|values| values.len() == 1 && values[0].is_null())
}

fn drop_null_variants(schema: &mut Map<String, Value>) {
    for union in ["anyOf", "oneOf"] {
        let Some(Value::Array(variants)) = schema.get_mut(union) else { continue };
        variants.retain(|variant| !is_null(variant));
        if let [Value::Object(only)] = variants.as_slice() {
            let only = only.clone();
            schema.remove(union);
            for (key, value) in only {
                if !matches!(key.as_str(), "description" | "title") || !schema.contains_key(&key) {
                    schema.insert(key, value);
                }
            }
            // What was inside may be a union again.
            return drop_null_variants(schema);
        }
    }
    if let Some(Value::Array(kinds)) = schema.get("type")
        && let [kind] = kinds.iter().filter(|kind| *kind != "null").collect::<Vec<_>>()[..]
    {
        let kind = kind.clone();
        schema.insert("type".to_owned(), kind);
    }
}

/// The one value that a schema allows, with its type.
fn literal(schema: &Value) -> Option<(String, Value)> {
    let value = match (schema.get("const"), schema.get("enum").and_then(Value::as_array).map(Vec::as_slice)) {
        (Some(value), _) | (None, Some([value])) => value.clone(),
        _ => return None,
    };
    let kind = match (schema.get("type"), &value) {
        (Some(Value::String(kind)), _) => kind.clone(),
        (_, Value::String(_)) => "string".to_owned(),
        (_, Value::Number(_)) => "number".to_owned(),
        (_, Value::Bool(_)) => "boolean".to_owned(),
        _ => return None,
    };
    Some((kind, value))
}

fn flatten_unions(schema: &mut Map<String, Value>) {
    for union in ["anyOf", "oneOf"] {
        let Some(Value::Array(variants)) = schema.get(union) else { continue };
        if variants.is_empty() {
            continue;
        }
        if let Some(literals) = variants.iter().map(literal).collect::<Option<Vec<_>>>()
            && literals.iter().all(|(kind, _)| *kind == literals[0].0)
        {
            let kind = literals[0].0.clone();
            let values = literals.into_iter().map(|(_, value)| value).collect();
            schema.remove(union);
            schema.insert("type".to_owned(), kind.into());
            schema.insert("enum".to_owned(), Value::Array(values));
        } else if variants.iter().all(|variant| variant.get("properties").is_some_and(Value::is_object)) {
            let variants = variants.clone();
            schema.remove(union);
            merge_objects(schema, &variants);
        }
    }
}

fn merge_objects(schema: &mut Map<String, Value>, variants: &[Value]) {
    let mut properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    for (name, property) in variants.iter().filter_map(|variant| variant.get("properties")?.as_object()).flatten() {
        properties.entry(name.clone()).or_insert_with(|| property.clone());
    }
    let required_of = |variant: &Value| variant.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    for name in required_of(&variants[0]) {
        if variants.iter().all(|variant| required_of(variant).contains(&name)) && !required.contains(&name) {
            required.push(name);
        }
    }
    schema.insert("type".to_owned(), "object".into());
    schema.insert("properties".to_owned(), Value::Object(properties));
    if !required.is_empty() {
        schema.insert("required".to_owned(), Value::Array(required));
    }
}

fn const_to_enum(schema: &mut Map<String, Value>) {
    if let Some(value) = schema.remove("const") {
        schema.insert("enum".to_owned(), Value::Array(vec![value]));
    }
}

fn add_object_type(schema: &mut Map<String, Value>) {
    let has = |key: &str| schema.contains_key(key);
    if (has("properties") || has("required")) && !has("type") && !has("anyOf") && !has("oneOf") {
        schema.insert("type".to_owned(), "object".into());
    }
}

fn drop_type_beside_union(schema: &mut Map<String, Value>) {
    if schema.contains_key("anyOf") || schema.contains_key("oneOf") {
        schema.remove("type");
    }
}

fn make_strict(value: &mut Value, depth: usize) {
    let Value::Object(schema) = value else { return };
    if depth > DEPTH_LIMIT {
        return;
    }
    if let Some(items) = schema.get_mut("items") {
        make_strict(items, depth + 1);
    }
    for union in ["anyOf", "oneOf"] {
        if let Some(Value::Array(variants)) = schema.get_mut(union) {
            variants.iter_mut().for_each(|variant| make_strict(variant, depth + 1));
        }
    }
    let required: Vec<Value> = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    for (name, property) in properties.iter_mut() {
        make_strict(property, depth + 1);
        if !required.iter().any(|required| required == name) {
            make_nullable(property);
        }
    }
    let names = properties.keys().map(|name| Value::String(name.clone())).collect();
    schema.insert("required".to_owned(), Value::Array(names));
    schema.insert("additionalProperties".to_owned(), Value::Bool(false));
}

fn make_nullable(value: &mut Value) {
    let Value::Object(schema) = value else { return };
    // An enumeration without null would still forbid it.
    if let Some(Value::Array(values)) = schema.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
    match schema.get_mut("type") {
        Some(Value::String(kind)) if kind == "null" => {}
        Some(Value::String(kind)) => {
            let kind = std::mem::take(kind);
            schema.insert("type".to_owned(), json!([kind, "null"]));
        }
        Some(Value::Array(kinds)) => {
            if !kinds.iter().any(|kind| kind == "null") {
                kinds.push("null".into());
            }
        }
        _ => {
            for union in ["anyOf", "oneOf"] {
                if let Some(Value::Array(variants)) = schema.get_mut(union) {
                    if !variants.iter().any(is_null) {
                        variants.push(json!({"type": "null"}));
                    }
                    return;
                }
            }
            schema.insert("type".to_owned(), json!(["object", "null"]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cleaned(schema: Value, profile: SchemaProfile) -> Value {
        clean(&schema, profile).schema
    }

    #[test]
    fn the_profile_follows_the_type() {
        for (key, profile) in [
            ("anthropic_native", SchemaProfile::Anthropic),
            ("gemini_native", SchemaProfile::Gemini),
            ("my-gemini", SchemaProfile::Gemini),
            ("xai", SchemaProfile::Xai),
            ("xai-eu", SchemaProfile::Xai),
            ("openai", SchemaProfile::Strict),
            ("codex", SchemaProfile::Strict),
            ("chatgpt_oauth", SchemaProfile::Strict),
            ("openai_compat", SchemaProfile::Plain),
            ("groq", SchemaProfile::Plain),
        ] {
            assert_eq!(SchemaProfile::of(key), profile, "{key}");
        }
    }

    #[test]
    fn references_are_inlined_and_circles_cut() {
        let schema = json!({
            "type": "object",
            "properties": {
                "a": {"$ref": "#/$defs/Node", "description": "mine", "title": "T"},
                "b": {"$ref": "#/definitions/Gone", "description": "kept", "type": "string"},
                "c": {"$ref": "https://example.com/x"},
                "$ref": {"type": "string"}
            },
            "$defs": {"Node": {"type": "object", "description": "own", "properties": {"next": {"$ref": "#/$defs/Node"}}}}
        });
        assert_eq!(
            cleaned(schema, SchemaProfile::Anthropic),
            json!({
                "type": "object",
                "properties": {
                    "a": {"type": "object", "description": "own", "properties": {"next": {"type": "object", "description": "circular reference"}}, "title": "T"},
                    "b": {"description": "kept"},
                    "c": {},
                    "$ref": {"type": "string"}
                }
            })
        );
    }

    #[test]
    fn gemini_gets_neither_nulls_nor_constants_nor_limits() {
        let schema = json!({
            "$schema": "x", "type": "object", "additionalProperties": false, "required": [],
            "properties": {
                "a": {"description": "outer", "anyOf": [{"type": "string", "description": "inner", "minLength": 1}, {"type": "null"}]},
                "b": {"type": ["integer", "null"], "minimum": 1, "default": 3},
                "c": {"const": 5},
                "d": {"type": "string", "oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string", "format": "uri"}}]},
                "e": {"anyOf": [{"const": "x"}, {"enum": ["y"]}, {"enum": [null]}]}
            }
        });
        assert_eq!(
            cleaned(schema, SchemaProfile::Gemini),
            json!({
                "type": "object",
                "properties": {
                    "a": {"description": "outer", "type": "string"},
                    "b": {"type": "integer"},
                    "c": {"enum": [5]},
                    "d": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
                    "e": {"type": "string", "enum": ["x", "y"]}
                }
            })
        );
    }

    #[test]
    fn unions_of_objects_become_one_object() {
        let schema = json!({"oneOf": [
            {"properties": {"a": {"type": "string"}, "b": {"type": "integer"}}, "required": ["a", "b"]},
            {"properties": {"a": {"type": "boolean"}, "c": {"type": "string", "maxLength": 3}}, "required": ["a"]}
        ]});
        assert_eq!(
            cleaned(schema, SchemaProfile::Xai),
            json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}, "c": {"type": "string"}}, "required": ["a"]})
        );
    }

    #[test]
    fn plain_schemas_get_their_type_and_keep_their_limits() {
        let schema = json!({"properties": {"a": {"type": "string", "maxLength": 3, "default": "x"}}});
        assert_eq!(cleaned(schema, SchemaProfile::Plain), json!({"properties": {"a": {"type": "string", "maxLength": 3, "default": "x"}}, "type": "object"}));
    }

    #[test]
    fn strict_schemas_require_everything_and_allow_null_instead() {
        let schema = json!({"type": "object", "required": ["a"], "properties": {
            "a": {"type": "string"},
            "b": {"type": "string", "enum": ["x"]},
            "c": {"type": ["string", "integer"]},
            "d": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            "e": {},
            "f": {"type": "array", "items": {"type": "object", "properties": {"g": {"type": "number"}}}}
        }});
        assert_eq!(
            clean(&schema, SchemaProfile::Strict),
            CleanSchema {
                strict: true,
                schema: json!({
                    "type": "object",
                    "required": ["a", "b", "c", "d", "e", "f"],
                    "properties": {
                        "a": {"type": "string"},
                        "b": {"type": ["string", "null"], "enum": ["x", null]},
                        "c": {"type": ["string", "integer", "null"]},
                        "d": {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
                        "e": {"type": ["object", "null"]},
                        "f": {
                            "type": ["array", "null"],
                            "items": {"type": "object", "properties": {"g": {"type": ["number", "null"]}}, "required": ["g"], "additionalProperties": false}
                        }
                    },
                    "additionalProperties": false
                })
            }
        );
    }

    #[test]
    fn tools_with_several_actions_are_not_strict() {
        let schema = json!({"type": "object", "properties": {"action": {"type": "string", "enum": ["add", "remove"]}}, "required": ["action"]});
        assert_eq!(clean(&schema, SchemaProfile::Strict), CleanSchema { schema: schema.clone(), strict: false });
    }

    proptest! {
        #[test]
        fn a_property_survives_whatever_its_name(
            name in prop_oneof![Just("format".to_owned()), Just("default".to_owned()), Just("$ref".to_owned()), Just("pattern".to_owned()), "[a-z$]{1,8}"],
            profile in prop_oneof![Just(SchemaProfile::Anthropic), Just(SchemaProfile::Gemini), Just(SchemaProfile::Xai), Just(SchemaProfile::Strict), Just(SchemaProfile::Plain)],
        ) {
            let schema = json!({"type": "object", "properties": {name.clone(): {"type": "string", "description": "d"}}, "required": [name.clone()]});
            let cleaned = cleaned(schema, profile);
            prop_assert_eq!(&cleaned["properties"][&name]["type"], "string");
            prop_assert_eq!(&cleaned["required"], &json!([name]));
        }

        #[test]
        fn cleaning_twice_changes_nothing(depth in 0usize..80, profile in prop_oneof![Just(SchemaProfile::Gemini), Just(SchemaProfile::Xai), Just(SchemaProfile::Plain)]) {
            let mut schema = json!({"type": "string", "format": "uri"});
            for level in 0..depth {
                schema = if level % 2 == 0 { json!({"type": "array", "items": schema}) } else { json!({"properties": {"p": schema}}) };
            }
            let once = cleaned(schema, profile);
            prop_assert_eq!(&cleaned(once.clone(), profile), &once);
        }
    }
}
