//! The last pass over the document: what paperclip cannot say.

use crate::{
    api::{Example, FILE_FIELD, MEDIA_MARK, QUERY_MARK, Route},
    auth::{PAIRED_SCHEME, SCHEME, SENDER_ID},
    http::DOMAINS,
};
use goclaw_ports::roles::Role;
use serde_json::{Map, Value, json};

/// The media type of forms.
const FORM: &str = "multipart/form-data";

type Object = Map<String, Value>;

/// Operations whose failures have a body of their own: operation, statuses (none: all), how the answer is called.
const OWN_ERRORS: &[(&str, &[&str], &str)] =
    &[("chat_completions", &[], "OpenAiError"), ("responses_create", &[], "EitherError"), ("tools_invoke", &["400", "404"], "ToolError")];

/// Operations that wait for a model, which may take too long.
const PATIENT: &[&str] = &["chat_completions", "responses_create", "agents_wake", "agents_regenerate", "agents_resummon"];

/// Operations that answer with files, and so to requests for ranges and for what has changed.
const FILES: &[&str] = &["files_get", "media_get"];
/// How they answer those.
const OF_FILES: [(&str, &str); 3] = [("206", "A range of the file"), ("304", "It has not changed"), ("416", "It has no such range")];

/// What each tag is about.
const TAGS: &[(&str, &str)] = &[
    ("Chat", "Talking with agents"),
    ("Agents", "Who answers, with which model, tools and files"),
    ("Providers", "Where the models are"),
    ("Tools", "What agents may do"),
    ("API keys", "Keys for programs"),
    ("Tenants", "Organisations, and who belongs to them"),
    ("Files", "What agents made and users sent"),
    ("Activity", "Who changed what"),
    ("Traces", "What runs did, and what they cost"),
    ("Usage", "What runs took, hour by hour"),
    ("Platform", "The installation itself"),
];

/// Joins paperclip's document and the gathered schemas.
pub(super) fn finish(paperclip: Value, mut schemas: Object) -> Value {
    let paths = match paperclip {
        Value::Object(mut document) => match document.remove("paths") {
            Some(Value::Object(paths)) => paths,
            _ => Object::new(),
        },
        _ => Object::new(),
    };
    // An empty path in a scope is documented with a slash that it does not have.
    let mut paths: Object = paths.into_iter().map(|(path, item)| (path.trim_end_matches('/').to_owned(), item)).collect();
    let mut spread = Vec::new();
    for domain in DOMAINS {
        for route in domain.routes {
            let operation = paths.get_mut(route.path).and_then(|item| item.get_mut(route.method)).and_then(Value::as_object_mut);
            if let Some(operation) = operation {
                complete(operation, route, domain.examples, &schemas, &mut spread);
            }
        }
    }
    paths.insert("/ws".to_owned(), json!({"get": websocket()}));
    // Structs of query strings were spread into parameters, and are no components.
    for name in spread {
        schemas.remove(&name);
    }
    let mut schemas = Value::Object(schemas);
    tidy(&mut schemas);
    let security = json!([{SCHEME: []}]);
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "GoClaw",
            "description": "A multi-tenant gateway for AI agents: agents, providers and tools over REST, chat in OpenAI's shape, and RPC over WebSocket at `/ws`.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT OR Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": security,
        "tags": TAGS.iter().map(|(name, description)| json!({"name": name, "description": description})).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "securitySchemes": {
                SCHEME: {"type": "http", "scheme": "bearer", "description": "The gateway token, or an API key."},
                PAIRED_SCHEME: {
                    "type": "apiKey", "in": "header", "name": SENDER_ID,
                    "description": "The secret of a paired browser, which is an operator. It got it from `connect` on `/ws`.",
                },
            },
            "responses": {
                "Error": error_response("Failed", &["ErrorBody"]),
                "OpenAiError": error_response("Failed, in OpenAI's shape", &["OpenAiErrorBody"]),
                "EitherError": error_response("Failed; in OpenAI's shape if the request is", &["ErrorBody", "OpenAiErrorBody"]),
                "ToolError": error_response("The request is at fault, or the tool failed", &["ErrorBody", "ToolFailure"]),
            },
            "schemas": schemas,
        },
    })
}

fn complete(operation: &mut Object, route: &Route, examples: &[Example], schemas: &Object, spread: &mut Vec<String>) {
    let id = operation.get("operationId").and_then(Value::as_str).unwrap_or_default().to_owned();
    // Doc comments come with the line breaks of the source.
    if let Some(Value::String(text)) = operation.get_mut("description") {
        *text = text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    }
    operation.insert("x-role".to_owned(), route.role.map_or("none", Role::as_str).into());
    operation.insert("security".to_owned(), security_of(route.role));
    if let Some(Value::Array(parameters)) = operation.get_mut("parameters") {
        *parameters = parameters.drain(..).flat_map(|parameter| parameters_of(parameter, schemas, spread)).collect();
    }
    if let Some(Value::Object(body)) = operation.get_mut("requestBody") {
        name_form(body, schemas, spread);
    }
    let errors = errors_of(operation, route, &id);
    if let Some(Value::Object(responses)) = operation.get_mut("responses") {
        responses.values_mut().for_each(name_media_type);
        responses.extend(errors);
        if FILES.contains(&id.as_str()) {
            responses.extend(OF_FILES.map(|(status, description)| (status.to_owned(), json!({"description": description}))));
        }
    }
    for example in examples.iter().filter(|example| example.operation == id) {
        illustrate(operation, example);
    }
}

/// What opens an operation: nothing is needed, or one of these. Paired browsers are operators.
fn security_of(role: Option<Role>) -> Value {
    match role {
        None => json!([]),
        Some(role) if role <= Role::Operator => json!([{SCHEME: []}, {PAIRED_SCHEME: []}]),
        Some(_) => json!([{SCHEME: []}]),
    }
}

/// The parameters that one of paperclip's stands for.
fn parameters_of(parameter: Value, schemas: &Object, spread: &mut Vec<String>) -> Vec<Value> {
    let Some(name) = parameter["name"].as_str().and_then(|name| name.strip_prefix(QUERY_MARK)) else { return vec![parameter] };
    spread.push(name.to_owned());
    let Some(Value::Object(fields)) = schemas.get(name).and_then(|schema| schema.get("properties")) else { return Vec::new() };
    let is_required = |field: &str| schemas[name]["required"].as_array().is_some_and(|required| required.iter().any(|entry| entry == field));
    let parameter = |(field, schema): (&String, &Value)| {
        let mut schema = schema.clone();
        never_null(&mut schema);
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        let mut parameter = json!({"in": "query", "name": field, "required": is_required(field), "schema": schema});
        if let Some(description) = description {
            parameter["description"] = description;
        }
        parameter
    };
    fields.iter().map(parameter).collect()
}

/// A query parameter is absent rather than null.
fn never_null(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    object.remove("nullable");
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    let Some(Value::Array(variants)) = object.get_mut("anyOf") else { return };
    variants.retain(|variant| variant.get("enum") != Some(&json!([null])));
    if let [only] = variants.as_mut_slice() {
        *schema = only.take();
        never_null(schema);
    }
}

/// The failures that an operation may end with.
fn errors_of(operation: &Object, route: &Route, id: &str) -> Object {
    let has_body = operation.contains_key("requestBody");
    let has_form = operation.get("requestBody").is_some_and(|body| body["content"].get(FORM).is_some());
    let has_id = route.path.contains('{');
    let has_role = route.role.is_some();
    let changes = ["post", "put", "patch"].contains(&route.method);
    // A name may be that of a provider of another type, or of none.
    let is_account = route.path.starts_with("/v1/auth/");
    let statuses = [
        ("400", has_role && (has_body || has_id || route.role != Some(Role::Admin))),
        ("401", has_role),
        ("403", has_role),
        // Owners may ask for a tenant that is not there.
        ("404", has_role || has_id),
        ("409", is_account || (changes && route.path != "/v1/tools/invoke")),
        // A form that is too large is a bad request.
        ("413", has_body && !has_form),
        ("429", has_role),
        ("500", has_role),
        // The database is away, there is too much to do, or the gateway is about to stop.
        ("503", has_role),
        ("504", PATIENT.contains(&id)),
    ];
    let body = |status: &str| {
        let own = OWN_ERRORS.iter().find(|(operation, own, _)| *operation == id && (own.is_empty() || own.contains(&status)));
        json!({"$ref": format!("#/components/responses/{}", own.map_or("Error", |(.., name)| name))})
    };
    statuses.into_iter().filter(|(_, possible)| *possible).map(|(status, _)| (status.to_owned(), body(status))).collect()
}

/// Makes a form with a file of the body whose description says that it is one (see [`crate::api::FileForm`]).
fn name_form(body: &mut Object, schemas: &Object, spread: &mut Vec<String>) {
    let described = body.get("description").and_then(Value::as_str).and_then(|text| text.strip_prefix(MEDIA_MARK)?.split_once(MEDIA_MARK));
    let Some((media, description)) = described.map(|(media, description)| (media.to_owned(), description.to_owned())) else { return };
    let reference = body["content"]["application/json"]["schema"]["$ref"].as_str().unwrap_or_default();
    let name = reference.rsplit('/').next().unwrap_or_default().to_owned();
    let fields = schemas.get(&name).cloned().unwrap_or_default();
    let mut properties = json!({FILE_FIELD: {"type": "string", "format": "binary", "description": "The file."}});
    let mut required = vec![json!(FILE_FIELD)];
    if let (Value::Object(properties), Value::Object(more)) = (&mut properties, fields["properties"].clone()) {
        properties.extend(more);
    }
    required.extend(fields["required"].as_array().cloned().unwrap_or_default());
    spread.push(name);
    body.insert("description".to_owned(), description.into());
    body.insert("content".to_owned(), json!({media: {"schema": {"type": "object", "properties": properties, "required": required}}}));
}

/// Moves the media type out of the description, where the types of [`crate::api`] had to put it.
fn name_media_type(response: &mut Value) {
    let Some((media, description)) = response["description"].as_str().and_then(|text| text.strip_prefix(MEDIA_MARK)?.split_once(MEDIA_MARK)) else { return };
    let (media, description) = (media.to_owned(), description.to_owned());
    let json = response["content"]["application/json"].take();
    let text = json!({"schema": {"type": "string"}});
    response["content"] = match media.split_once(':') {
        // An event stream, beside a media type of its own.
        Some((media, rest)) if rest.contains('+') => {
            let (schema, other) = rest.split_once('+').unwrap_or((rest, media));
            json!({other: text, media: {"schema": {"$ref": format!("#/components/schemas/{schema}")}}})
        }
        Some((media, schema)) => json!({"application/json": json, media: {"schema": {"$ref": format!("#/components/schemas/{schema}")}}}),
        None if json.is_null() => json!({media: text}),
        None => json!({media: json}),
    };
    response["description"] = description.into();
}

fn illustrate(operation: &mut Object, example: &Example) {
    let body = operation.get_mut("requestBody").and_then(|body| body.pointer_mut("/content/application~1json"));
    if let (Some(body), Ok(value)) = (body, serde_json::from_str::<Value>(example.request)) {
        body["example"] = value;
    }
    for status in ["200", "201"] {
        let answer = operation.get_mut("responses").and_then(|responses| responses.pointer_mut(&format!("/{status}/content/application~1json")));
        if let (Some(answer), Ok(value)) = (answer, serde_json::from_str::<Value>(example.response)) {
            answer["example"] = value;
        }
    }
}

fn error_response(description: &str, bodies: &[&str]) -> Value {
    let references: Vec<Value> = bodies.iter().map(|name| json!({"$ref": format!("#/components/schemas/{name}")})).collect();
    let schema = if let [only] = references.as_slice() { only.clone() } else { json!({"anyOf": references}) };
    json!({"description": description, "content": {"application/json": {"schema": schema}}})
}

fn websocket() -> Value {
    json!({
        "operationId": "ws",
        "tags": ["Platform"],
        "summary": "WebSocket RPC",
        "description": "Protocol version 3: JSON frames `{\"type\":\"req\",\"id\",\"method\",\"params\"}`, answered by `{\"type\":\"res\",\"id\",\"ok\",\"payload\"|\"error\"}`; \
                        events are `{\"type\":\"event\",\"event\",\"payload\",\"seq\"}`. The first method is `connect`.",
        "x-role": "none",
        "security": [],
        "responses": {
            "101": {"description": "Switching protocols"},
            "400": {"$ref": "#/components/responses/Error"},
            "403": {"$ref": "#/components/responses/Error"},
            "426": {"$ref": "#/components/responses/Error"},
            "429": {"$ref": "#/components/responses/Error"},
        },
    })
}

/// OpenAPI 3.0 wants a type beside `nullable`.
fn tidy(value: &mut Value) {
    if let Value::Object(object) = value
        && object.get("nullable").is_some_and(Value::is_boolean)
        && !["type", "anyOf", "oneOf", "allOf", "$ref"].iter().any(|key| object.contains_key(*key))
    {
        object.insert("type".to_owned(), "object".into());
    }
    match value {
        Value::Object(object) => object.values_mut().for_each(tidy),
        Value::Array(array) => array.iter_mut().for_each(tidy),
        _ => {}
    }
}
