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

struct Collector {
    generator: SchemaGenerator,
    /// Schemas of types that schemars would write in place.
    inline: Map<String, Value>,
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
    COLLECTOR.set(Some(Collector { generator: SchemaSettings::openapi3().into_generator(), inline: Map::new() }));
    let value = build();
    let Some(mut collector) = COLLECTOR.take() else { return Collected { value, schemas: Map::new() } };
    let mut schemas = collector.generator.take_definitions(true);
    for (name, schema) in collector.inline {
        let Ok(mut schema) = schemars::Schema::try_from(schema) else { continue };
        for transform in collector.generator.transforms_mut() {
            transform.transform(&mut schema);
        }
        schemas.insert(name, schema.to_value());
    }
    Collected { value, schemas }
}

/// The component name of `T`'s schema, which is gathered if a collection is going on.
pub fn component<T: JsonSchema>() -> String {
    COLLECTOR.with_borrow_mut(|collector| {
        let Some(collector) = collector else { return T::schema_name().into_owned() };
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
pub(super) fn reference<T: JsonSchema>() -> DefaultSchemaRaw {
    DefaultSchemaRaw { reference: Some(format!("#/definitions/{}", component::<T>())), ..DefaultSchemaRaw::default() }
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
