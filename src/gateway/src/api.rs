//! The building blocks of endpoints: what handlers take and answer, and how that gets into the OpenAPI document.
//!
//! paperclip reads operations from handler signatures; schemars makes the schemas. The types here join the two: each is
//! an extractor or a response for actix-web, and writes itself into the operation that has it in its signature.

mod body;
mod collect;
mod form;
mod query;
mod routes;
mod sse;

pub use body::{Accepted, ApiJson, Created, JSON_LIMIT, MESSAGE_JSON_LIMIT, NoContent, OptionalJson, SMALL_JSON_LIMIT};
pub use collect::{Collected, Way, collect, component};
pub use form::{FileForm, Form, NoFields, Upload};
pub use query::{ApiQuery, number, parsed};
pub use routes::{Example, Pattern, Route};
pub use sse::{CreatedOrSse, JsonOrSse, MediaOrSse, Sse, SseBody};

pub(crate) use body::json;
pub(crate) use collect::typed;
pub(crate) use form::FILE_FIELD;
pub(crate) use routes::{get, routes};

/// The prefix of component names that stand for query structs until they are spread into parameters.
pub(crate) const QUERY_MARK: char = '@';
/// Separates media type and description in the description of a response that is not plain JSON.
pub(crate) const MEDIA_MARK: char = '@';
