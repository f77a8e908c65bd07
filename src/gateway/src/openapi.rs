//! The OpenAPI document: made once, from the route tables and the handlers' signatures.

mod finish;

use crate::{
    api::{Collected, Way, collect, component},
    error::{ErrorBody, OpenAiErrorBody},
    http::DOMAINS,
};
use actix_web::App;
use bytes::Bytes;
use paperclip::actix::OpenApiExt;
use serde_json::Value;
use std::sync::OnceLock;

static DOCUMENT: OnceLock<Value> = OnceLock::new();
static BYTES: OnceLock<Bytes> = OnceLock::new();

/// The document.
pub fn document() -> &'static Value {
    DOCUMENT.get_or_init(build)
}

/// The document, as it is served.
pub(crate) fn bytes() -> Bytes {
    BYTES.get_or_init(|| Bytes::from(document().to_string())).clone()
}

fn build() -> Value {
    let Collected { value, schemas } = collect(|| {
        component::<ErrorBody>(Way::Out);
        component::<OpenAiErrorBody>(Way::Out);
        let app = DOMAINS.iter().fold(App::new().wrap_api(), |app, domain| app.service((domain.documented)()));
        let mut document = Value::Null;
        app.with_raw_json_spec_v3(|app, value| {
            document = value;
            app
        });
        document
    });
    finish::finish(value, schemas)
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_ports::roles::Role;
    use serde_json::json;
    use std::{
        collections::BTreeSet,
        fs,
        path::{Path, PathBuf},
    };

    #[test]
    fn every_route_is_in_the_document_with_its_role_and_nothing_else_is() {
        let documented: BTreeSet<(String, String, String)> = document()["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| item.as_object().unwrap().iter().map(move |(method, operation)| (path, method, operation)))
            .map(|(path, method, operation)| (path.clone(), method.clone(), operation["x-role"].as_str().unwrap().to_owned()))
            .collect();
        let mut routes: BTreeSet<(String, String, String)> = DOMAINS
            .iter()
            .flat_map(|domain| domain.routes)
            .map(|route| (route.path.to_owned(), route.method.to_owned(), route.role.map_or("none", Role::as_str).to_owned()))
            .collect();
        routes.insert(("/ws".to_owned(), "get".to_owned(), "none".to_owned()));
        assert_eq!(documented, routes);
    }

    #[test]
    fn every_operation_has_an_id_of_its_own_a_summary_a_tag_and_answers() {
        let mut ids = BTreeSet::new();
        for (path, item) in document()["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap();
                assert!(ids.insert(id), "{id} is there twice");
                assert!(!operation["summary"].as_str().unwrap().is_empty(), "{method} {path}");
                assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{method} {path}");
                assert!(operation["responses"].as_object().unwrap().keys().any(|status| status.starts_with(['1', '2'])), "{method} {path}");
            }
        }
        for example in DOMAINS.iter().flat_map(|domain| domain.examples) {
            assert!(ids.contains(example.operation), "an example of an unknown operation: {}", example.operation);
            for text in [example.request, example.response] {
                assert!(text.is_empty() || serde_json::from_str::<Value>(text).is_ok(), "{}", example.operation);
            }
        }
    }

    #[test]
    fn every_reference_points_somewhere() {
        fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
            match value {
                Value::Object(object) => {
                    found.extend(object.get("$ref").and_then(Value::as_str));
                    object.values().for_each(|value| references(value, found));
                }
                Value::Array(array) => array.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        references(document(), &mut found);
        assert!(!found.is_empty());
        for reference in found {
            assert!(document().pointer(reference.trim_start_matches('#')).is_some(), "{reference} points nowhere");
        }
    }

    #[test]
    fn no_two_types_share_a_component_name() {
        // schemars numbers the second type of a name.
        for name in document()["components"]["schemas"].as_object().unwrap().keys() {
            assert!(!name.ends_with(|last: char| last.is_ascii_digit()), "{name}: rename one of the types");
            assert!(name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_'), "{name} is no valid name");
        }
    }

    #[test]
    fn public_operations_need_no_credential_and_the_others_do() {
        assert_eq!(document()["paths"]["/health"]["get"]["security"], json!([]));
        assert_eq!(document()["paths"]["/v1/agents"]["get"]["security"], json!([{"bearerAuth": []}, {"pairedBrowser": []}]));
        assert_eq!(document()["paths"]["/v1/api-keys"]["get"]["security"], json!([{"bearerAuth": []}]), "a paired browser is no admin");
        assert_eq!(document()["components"]["securitySchemes"]["pairedBrowser"]["name"], "X-GoClaw-Sender-Id");
        assert_eq!(document()["security"], json!([{"bearerAuth": []}]));
    }

    #[test]
    fn chat_completions_answer_with_json_or_events_and_openais_errors() {
        let operation = &document()["paths"]["/v1/chat/completions"]["post"];
        let content = &operation["responses"]["200"]["content"];
        assert_eq!(content["application/json"]["schema"]["$ref"], "#/components/schemas/ChatCompletion");
        assert_eq!(content["text/event-stream"]["schema"]["$ref"], "#/components/schemas/ChatCompletionChunk");
        assert_eq!(operation["responses"]["429"]["$ref"], "#/components/responses/OpenAiError");
    }

    #[test]
    fn paperclips_own_schemas_are_used_for_path_parameters_only() {
        // Its derive is silently wrong for enums with data, recursive types and types of one name.
        fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { sources(&path, found) } else { found.push(path) }
            }
        }
        let derive = ["derive(", "Apiv2Schema"];
        let mut found = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        for path in found {
            let text = fs::read_to_string(&path).unwrap();
            let mut lines = text.lines();
            while let Some(line) = lines.next() {
                if derive.iter().all(|part| line.contains(part)) && line.trim_start().starts_with("#[") {
                    let item = lines.find(|line| line.contains("struct ") || line.contains("enum ")).unwrap_or_default();
                    assert!(item.contains("struct ") && item.contains('(') && item.ends_with(");"), "{}: {item}", path.display());
                }
            }
        }
    }
}
