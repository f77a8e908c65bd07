//! Exports that are fetched.

use crate::{
    api::{routes, typed},
    auth::Who,
    error::ApiError,
    gateway::Gateway,
};
use actix_web::{
    HttpRequest, HttpResponse, Responder,
    body::{BoxBody, SizedStream},
    http::header,
    web,
};
use bytes::Bytes;
use futures_util::{Stream, stream};
use goclaw_core::exports::Export;
use paperclip::{
    actix::{OperationModifier, api_v2_operation},
    v2::{models::DefaultOperationRaw, schema::Apiv2Schema},
};
use std::{io, os::unix::fs::FileExt, sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// How much is read at once, in bytes.
const PIECE: usize = 128 << 10;
/// How many pieces wait for the client.
const QUEUE: usize = 2;
/// A client that takes nothing for this long is given up.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);

routes! {
    "/v1/export" {
        "/download/{token}" { get => download, Viewer; }
    }
}

/// An archive as a file.
pub struct ArchiveFile(pub(crate) Arc<Export>);

impl Apiv2Schema for ArchiveFile {}

impl OperationModifier for ArchiveFile {
    fn update_response(operation: &mut DefaultOperationRaw) {
        typed(operation, "application/gzip", "The archive");
    }
}

impl Responder for ArchiveFile {
    type Body = BoxBody;
    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        let (name, size) = (format!("attachment; filename=\"{}\"", self.0.name), self.0.archive.size);
        HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, "application/gzip"))
            .insert_header((header::CONTENT_DISPOSITION, name))
            .body(SizedStream::new(size, pieces(self.0)))
    }
}

fn pieces(export: Arc<Export>) -> impl Stream<Item = io::Result<Bytes>> {
    // The body of a response is only polled when the client takes something, so it cannot tell a slow client; a task can.
    let (client, receiver) = mpsc::channel(QUEUE);
    actix_web::rt::spawn(async move {
        let mut offset = 0;
        while offset < export.archive.size {
            let reading = export.clone();
            let piece = match web::block(move || piece(&reading, offset)).await {
                Ok(piece) => piece,
                Err(cause) => Err(io::Error::other(cause)),
            };
            offset += piece.as_ref().map_or(0, |piece| piece.len() as u64);
            let broken = piece.is_err();
            if client.send_timeout(piece, WRITE_DEADLINE).await.is_err() || broken {
                return;
            }
        }
    });
    stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)))
}

fn piece(export: &Export, offset: u64) -> io::Result<Bytes> {
    let left = usize::try_from(export.archive.size - offset).unwrap_or(usize::MAX);
    let mut bytes = vec![0; PIECE.min(left)];
    export.archive.content.read_exact_at(&mut bytes, offset)?;
    Ok(bytes.into())
}

/// Fetch an export
///
/// With the token that the export ended with, as often as wanted within five minutes. For whoever exported, and for owners.
#[api_v2_operation(tags("Agents"), operation_id = "export_download")]
async fn download(who: Who, token: web::Path<String>, gateway: web::Data<Gateway>) -> Result<ArchiveFile, ApiError> {
    Ok(ArchiveFile(gateway.core.exports.find(&who, &token)?))
}
