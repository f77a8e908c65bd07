//! Gathers the schemas of everything that operations mention, while the document is built.

use super::MEDIA_MARK;
use paperclip::v2::models::{DefaultOperationRaw, DefaultSchemaRaw, Either, Response};
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value};
use std::cell::RefCell;

thread_local! {
    // paperclip asks types for their part of an operation through static methods, so the collector has no other way to them.
    static COLLECTOR: RefCell<Option<Collector>> = const { RefCell::new(None) };
}

/// Which way values of a type go. What may be left out of a request is not what may be missing in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To us.
    In,
    /// To the client.
    Out,
}

struct Collector {
    requests: Gathered,
    answers: Gathered,
}

/// The schemas of what goes one way.
struct Gathered {
    generator: SchemaGenerator,
    /// Schemas of types that schemars would write in place.
    inline: Map<String, Value>,
}

impl Gathered {
    fn with(settings: SchemaSettings) -> Self {
        Self { generator: settings.into_generator(), inline: Map::new() }
    }

    fn finish(mut self) -> Map<String, Value> {
        let mut schemas = self.generator.take_definitions(true);
        for (name, schema) in self.inline {
            let Ok(mut schema) = schemars::Schema::try_from(schema) else { continue };
            for transform in self.generator.transforms_mut() {
                transform.transform(&mut schema);
            }
            schemas.insert(name, schema.to_value());
        }
        schemas
    }
}

/// What was gathered.
pub struct Collected<T> {
    /// What the closure answered.
    pub value: T,
    /// The schemas, by component name.
    pub schemas: Map<String, Value>,
}

/// Runs `build` and gathers every schema that is asked for meanwhile, on this thread.
pub fn collect<T>(build: impl FnOnce() -> T) -> Collected<T> {
    let (requests, answers) = (SchemaSettings::openapi3(), SchemaSettings::openapi3().for_serialize());
    COLLECTOR.set(Some(Collector { requests: Gathered::with(requests), answers: Gathered::with(answers) }));
    let value = build();
    let Some(Collector { requests, answers }) = COLLECTOR.take() else { return Collected { value, schemas: Map::new() } };
    let mut schemas = answers.finish();
    for (name, schema) in requests.finish() {
        match schemas.get_mut(&name) {
            Some(both) => require_less(both, &schema),
            None => drop(schemas.insert(name, schema)),
        }
    }
    Collected { value, schemas }
}

/// Of a type that goes both ways, only those fields are required that are required both ways.
fn require_less(schema: &mut Value, other: &Value) {
    let Some(Value::Array(required)) = schema.get_mut("required") else { return };
    required.retain(|field| other["required"].as_array().is_some_and(|other| other.contains(field)));
    if required.is_empty()
        && let Value::Object(schema) = schema
    {
        schema.remove("required");
    }
}

/// The component name of the schema of `T`, going this way, which is gathered if a collection is going on.
pub fn component<T: JsonSchema>(way: Way) -> String {
    COLLECTOR.with_borrow_mut(|collector| {
        let Some(collector) = collector else { return T::schema_name().into_owned() };
        let collector = if way == Way::In { &mut collector.requests } else { &mut collector.answers };
        let schema = collector.generator.subschema_for::<T>().to_value();
        if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.rsplit('/').next()) {
            return name.to_owned();
        }
        let name = T::schema_name().into_owned();
        collector.inline.insert(name.clone(), schema);
        name
    })
}

/// A reference to `T`'s component, as paperclip writes it.
pub(super) fn reference<T: JsonSchema>(way: Way) -> DefaultSchemaRaw {
    DefaultSchemaRaw { reference: Some(format!("#/definitions/{}", component::<T>(way))), ..DefaultSchemaRaw::default() }
}

/// Documents the 200 answer of an operation that is not JSON.
pub(crate) fn typed(operation: &mut DefaultOperationRaw, media: &str, description: &str) {
    answer(operation, "200", &format!("{MEDIA_MARK}{media}{MEDIA_MARK}{description}"), None);
}

/// Documents an answer of an operation.
pub(super) fn answer(operation: &mut DefaultOperationRaw, status: &str, description: &str, schema: Option<DefaultSchemaRaw>) {
    let response = Response { description: Some(description.to_owned()), schema, ..Response::default() };
    operation.responses.insert(status.to_owned(), Either::Right(response));
}
