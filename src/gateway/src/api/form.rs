//! Forms that bring a file (`multipart/form-data`).

use super::{
    MEDIA_MARK,
    body::{patience, too_slow},
    collect::{Way, reference},
};
use crate::error::ApiError;
use actix_multipart::{Field, Multipart};
use actix_web::{
    FromRequest, HttpRequest,
    dev::{Decompress, Payload},
    error::PayloadError,
    http::header::{self, HeaderMap},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use goclaw_ports::{Error, JsonObject, Result, message};
use paperclip::{
    actix::OperationModifier,
    v2::{
        models::{DefaultOperationRaw, DefaultSchemaRaw, Either, Parameter, ParameterIn},
        schema::Apiv2Schema,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::File,
    future::{Ready, ready},
    marker::PhantomData,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncSeekExt, AsyncWriteExt},
    time::timeout,
};

/// The field that holds the file.
pub(crate) const FILE_FIELD: &str = "file";
/// The longest text field, in bytes.
const TEXT_LIMIT: usize = 64 << 10;
/// How many parts a form has at most.
const PARTS: usize = 32;
/// How much of a refused body is read and dropped, so that the client gets to read the refusal.
const DRAIN_LIMIT: u64 = 8 << 20;
/// How much longer than one piece of it a whole form may take to arrive.
const PIECES: u32 = 20;

/// A form with a file in the field `file` and text fields `T`, at most `LIMIT` bytes in all. Nothing of it is read before
/// [`FileForm::read`] is called, so that a caller who may not send it is refused first.
pub struct FileForm<const LIMIT: u64, T = NoFields> {
    headers: HeaderMap,
    body: Body,
    /// How long the next piece may take to arrive.
    patience: Duration,
    fields: PhantomData<T>,
}

/// What a form brought.
#[derive(Debug)]
pub struct Form<T> {
    /// The file.
    pub file: Upload,
    /// The text fields; those that `T` does not know are left out.
    pub fields: T,
}

/// A file that was sent along.
#[derive(Debug)]
pub struct Upload {
    /// What is in it, from the start. It has no name on disk and vanishes when it is dropped.
    pub content: File,
    /// Its size in bytes.
    pub size: u64,
    /// What the client calls it, as it says; "" if it does not.
    pub name: String,
    /// The MIME type that the client says it has; "" if it does not.
    pub content_type: String,
}

/// A form that holds only the file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub struct NoFields {}

impl<const LIMIT: u64, T> Apiv2Schema for FileForm<LIMIT, T> {}

impl<const LIMIT: u64, T: JsonSchema> OperationModifier for FileForm<LIMIT, T> {
    fn update_parameter(operation: &mut DefaultOperationRaw) {
        // Becomes a form with the file beside the fields when the document is finished.
        operation.parameters.push(Either::Right(Parameter {
            in_: ParameterIn::Body,
            name: "body".to_owned(),
            description: Some(format!("{MEDIA_MARK}multipart/form-data{MEDIA_MARK}At most {LIMIT} bytes.")),
            required: true,
            schema: Some(reference::<T>(Way::In)),
            ..Parameter::default()
        }));
    }
    fn update_definitions(_: &mut BTreeMap<String, DefaultSchemaRaw>) {}
}

impl<const LIMIT: u64, T: 'static> FromRequest for FileForm<LIMIT, T> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let headers = request.headers().clone();
        let chunks = Decompress::from_headers(payload.take(), &headers);
        let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(0);
        let body = Body(Rc::new(RefCell::new(Received { chunks, announced, bytes: 0, limit: LIMIT })));
        ready(Ok(Self { headers, body, patience: patience(request), fields: PhantomData }))
    }
}

impl<const LIMIT: u64, T: DeserializeOwned> FileForm<LIMIT, T> {
    /// Reads the form if `permission` says so; the file goes to a temporary file. A refusal is passed on.
    ///
    /// # Errors
    /// `Invalid` if it is no form, holds no file or two, is too large, too slow, or its fields do not fit `T`.
    pub async fn read(self, permission: Result<()>) -> Result<Form<T>> {
        let Self { headers, body, patience, .. } = self;
        let parts = Multipart::new(&headers, body.clone());
        let result = match permission {
            Ok(()) if body.is_over() => Err(Error::invalid(message::body_too_large(LIMIT))),
            Ok(()) => timeout(patience * PIECES, parsed(parts, patience)).await.unwrap_or_else(|_| Err(too_slow())),
            Err(refusal) => {
                body.drain(patience).await;
                return Err(refusal);
            }
        };
        let over = body.is_over();
        match result {
            Ok(form) => Ok(form),
            Err(error) => {
                body.drain(patience).await;
                // What was cut off at the limit looks malformed.
                Err(if over { Error::invalid(message::body_too_large(LIMIT)) } else { error })
            }
        }
    }
}

/// What the parts are; the next piece of each may take `patience`.
async fn parsed<T: DeserializeOwned>(mut parts: Multipart, patience: Duration) -> Result<Form<T>> {
    let mut file = None;
    let mut fields = JsonObject::new();
    for _ in 0..=PARTS {
        let Some(part) = next(&mut parts, patience).await? else {
            let file = file.ok_or_else(|| Error::invalid(message::required(FILE_FIELD)))?;
            let fields = serde_json::from_value(fields.into()).map_err(Error::invalid_request)?;
            return Ok(Form { file, fields });
        };
        match part.name() {
            Some(FILE_FIELD) if file.is_some() => break,
            Some(FILE_FIELD) => file = Some(spooled(part, patience).await?),
            Some(name) => {
                let name = name.to_owned();
                let text = text(part, &name, patience).await?;
                fields.insert(name, text.into());
            }
            None => break,
        }
    }
    Err(malformed("a part without a name, a second file, or too many parts"))
}

fn malformed(cause: impl std::fmt::Display) -> Error {
    Error::invalid(message::invalid_form()).because(cause.to_string())
}

/// The next item; `None` at the end.
async fn next<T>(items: &mut (impl Stream<Item = Result<T, actix_multipart::MultipartError>> + Unpin), patience: Duration) -> Result<Option<T>> {
    match timeout(patience, items.next()).await {
        Ok(item) => item.transpose().map_err(malformed),
        Err(_) => Err(too_slow()),
    }
}

async fn text(mut part: Field, name: &str, patience: Duration) -> Result<String> {
    let mut text = Vec::new();
    while let Some(chunk) = next(&mut part, patience).await? {
        if text.len() + chunk.len() > TEXT_LIMIT {
            return Err(Error::invalid(message::too_long(name, TEXT_LIMIT)));
        }
        text.extend_from_slice(&chunk);
    }
    String::from_utf8(text).map_err(malformed)
}

async fn spooled(mut part: Field, patience: Duration) -> Result<Upload> {
    let disposition = part.content_disposition();
    let plain = disposition.and_then(|disposition| disposition.get_filename());
    let extended = disposition.and_then(|disposition| disposition.get_filename_ext());
    let extended = extended.and_then(|name| String::from_utf8(name.value.clone()).ok());
    let name = extended.or_else(|| plain.map(str::to_owned)).unwrap_or_default();
    let content_type = part.content_type().map(ToString::to_string).unwrap_or_default();
    let file = tokio::task::spawn_blocking(tempfile::tempfile).await.map_err(|cause| Error::internal(cause.to_string()))?;
    let (content, size) = spool(file.map_err(Error::of_disk)?, &mut part, patience).await?;
    Ok(Upload { content, size, name, content_type })
}

/// Writes all that comes into the file, whose length is then known, and goes back to its start.
async fn spool(
    file: File,
    chunks: &mut (impl Stream<Item = Result<Bytes, actix_multipart::MultipartError>> + Unpin),
    patience: Duration,
) -> Result<(File, u64)> {
    let mut file = tokio::fs::File::from_std(file);
    let mut size = 0;
    while let Some(chunk) = next(chunks, patience).await? {
        size += chunk.len() as u64;
        file.write_all(&chunk).await.map_err(Error::of_disk)?;
    }
    // Writes go on in the background. That the last one failed is told here, and nowhere else.
    file.flush().await.map_err(Error::of_disk)?;
    file.rewind().await.map_err(Error::of_disk)?;
    Ok((file.into_std().await, size))
}

/// The bytes of a request, counted.
#[derive(Clone)]
struct Body(Rc<RefCell<Received>>);

struct Received {
    chunks: Decompress<Payload>,
    announced: u64,
    bytes: u64,
    limit: u64,
}

impl Body {
    /// Whether it is longer than it may be, or says that it will be.
    fn is_over(&self) -> bool {
        let received = self.0.borrow();
        received.bytes > received.limit || received.announced > received.limit
    }

    /// Reads on for nothing, for at most so long.
    async fn drain(mut self, patience: Duration) {
        let end = {
            let received = self.0.borrow();
            if received.announced > received.limit.saturating_add(DRAIN_LIMIT) {
                return;
            }
            received.limit.max(received.bytes).saturating_add(DRAIN_LIMIT)
        };
        self.0.borrow_mut().limit = u64::MAX;
        let drained = async {
            while let Some(Ok(_)) = self.next().await {
                if self.0.borrow().bytes > end {
                    return;
                }
            }
        };
        drop(timeout(patience, drained).await);
    }
}

impl Stream for Body {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut received = self.0.borrow_mut();
        if received.bytes > received.limit {
            return Poll::Ready(Some(Err(PayloadError::Overflow)));
        }
        let chunk = received.chunks.poll_next_unpin(context);
        if let Poll::Ready(Some(Ok(chunk))) = &chunk {
            received.bytes = received.bytes.saturating_add(chunk.len() as u64);
            if received.bytes > received.limit {
                return Poll::Ready(Some(Err(PayloadError::Overflow)));
            }
        }
        chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;
    use goclaw_ports::ErrorKind;
    use std::io::Read;

    #[derive(Debug, Deserialize, JsonSchema)]
    struct Named {
        #[serde(default)]
        agent_key: String,
    }

    const LIMIT: u64 = 100 << 10;

    fn part(head: &str, body: &str) -> String {
        format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{body}\r\n")
    }

    #[actix_web::test]
    async fn what_the_disk_has_no_room_for_is_refused_however_short() {
        for length in [1, 100_000] {
            let full = File::options().read(true).write(true).open("/dev/full").unwrap();
            let mut chunks = futures_util::stream::iter([Ok(Bytes::from(vec![b'x'; length]))]);
            assert_eq!(spool(full, &mut chunks, Duration::from_secs(10)).await.unwrap_err().kind, ErrorKind::Unavailable, "{length}");
        }
    }

    async fn read(body: String, permission: Result<()>) -> Result<Form<Named>> {
        let request = TestRequest::post().insert_header((header::CONTENT_TYPE, "multipart/form-data; boundary=b"));
        let (request, mut payload) = request.set_payload(body).to_http_parts();
        let form = FileForm::<LIMIT, Named>::from_request(&request, &mut payload).await;
        form.unwrap().read(permission).await
    }

    fn key(form: Result<Form<Named>>) -> &'static str {
        form.map(|form| form.file.size).unwrap_err().message.key
    }

    #[actix_web::test]
    async fn a_form_brings_a_file_and_fields_in_any_order() {
        let file = part("name=\"file\"; filename=\"tệp tin.txt\"", "hello\r\n--c");
        let body = file + &part("name=\"agent_key\"", "helper") + &part("name=\"other\"", "x") + "--b--\r\n";
        let mut form = read(body, Ok(())).await.unwrap();
        let mut content = String::new();
        form.file.content.read_to_string(&mut content).unwrap();
        assert_eq!((content.as_str(), form.file.size, form.file.name.as_str()), ("hello\r\n--c", 10, "tệp tin.txt"));
        assert_eq!(form.fields.agent_key, "helper");
    }

    #[actix_web::test]
    async fn what_is_no_form_with_one_file_is_refused() {
        let (file, end) = (part("name=\"file\"", "x"), "--b--\r\n");
        assert_eq!(key(read(part("name=\"agent_key\"", "x") + end, Ok(())).await), "error-required");
        assert_eq!(key(read(file.clone() + &file + end, Ok(())).await), "error-invalid-form");
        assert_eq!(key(read(part("filename=\"a\"", "x") + end, Ok(())).await), "error-invalid-form");
        assert_eq!(key(read("--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\ncut off".into(), Ok(())).await), "error-invalid-form");
        assert_eq!(key(read("{}".into(), Ok(())).await), "error-invalid-form");
        assert_eq!(key(read(part("name=\"f\"", "x").repeat(PARTS + 1) + &file + end, Ok(())).await), "error-invalid-form");
    }

    #[actix_web::test]
    async fn a_body_of_another_type_is_refused() {
        let (request, mut payload) = TestRequest::post().set_payload("{}").to_http_parts();
        let form = FileForm::<LIMIT>::from_request(&request, &mut payload).await.unwrap();
        assert_eq!(form.read(Ok(())).await.unwrap_err().message.key, "error-invalid-form");
    }

    #[actix_web::test]
    async fn the_whole_and_each_text_are_bounded() {
        let end = "--b--\r\n";
        let fits = part("name=\"file\"", &"x".repeat(LIMIT as usize - 80)) + end;
        assert!(fits.len() as u64 <= LIMIT);
        assert!(read(fits, Ok(())).await.is_ok());
        assert_eq!(key(read(part("name=\"file\"", &"x".repeat(LIMIT as usize)) + end, Ok(())).await), "error-body-too-large");
        let long = part("name=\"agent_key\"", &"x".repeat(TEXT_LIMIT + 1)) + &part("name=\"file\"", "x") + end;
        assert_eq!(key(read(long, Ok(())).await), "error-too-long");
    }

    #[actix_web::test]
    async fn who_may_not_send_it_is_told_so() {
        let refusal = Error::new(ErrorKind::Forbidden, message::permission_denied("upload"));
        assert_eq!(key(read(part("name=\"file\"", "x") + "--b--\r\n", Err(refusal)).await), "error-permission-denied");
    }
}
