//! Upstreams behind TLS: HTTP/2 where they offer it, connections that are kept, and an authority that only the operator knows.

use crate::common::{ask, create_agent, question, streamed};
use bytes::Bytes;
use goclaw_tests::{Edition, Server, Setup, sse::joined_text};
use h2::{RecvStream, server::SendResponse};
use http::{Request, Response};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, pki_types::PrivateKeyDer},
    server::TlsStream,
};

/// What an upstream saw.
#[derive(Default)]
struct Seen {
    connections: usize,
    /// How many requests came over each connection, and in which version of HTTP.
    requests: Vec<(usize, &'static str)>,
}

/// An upstream behind TLS, certified by an authority of its own.
struct Upstream {
    base: String,
    /// The authority's certificate.
    authority: PathBuf,
    seen: Arc<Mutex<Seen>>,
    _directory: TempDir,
}

impl Upstream {
    /// Offers these protocols.
    async fn start(protocols: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = directory.path().join("authority.pem");
        std::fs::write(&authority, params.self_signed(&key).unwrap().pem()).unwrap();
        let own_key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&own_key, &Issuer::new(params, key)).unwrap();

        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let private = PrivateKeyDer::try_from(own_key.serialize_der()).unwrap();
        let mut config = versions.with_no_client_auth().with_single_cert(vec![own.der().clone()], private).unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("https://{}/v1", listener.local_addr().unwrap());
        let (seen, acceptor) = (Arc::new(Mutex::new(Seen::default())), TlsAcceptor::from(Arc::new(config)));
        let noted = seen.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(acceptor.clone(), socket, noted.clone()));
            }
        });
        Self { base, authority, seen, _directory: directory }
    }

    fn requests(&self) -> Vec<(usize, &'static str)> {
        self.seen.lock().unwrap().requests.clone()
    }
}

async fn serve(acceptor: TlsAcceptor, socket: TcpStream, seen: Arc<Mutex<Seen>>) {
    // Who does not know the authority goes away here.
    let Ok(stream) = acceptor.accept(socket).await else { return };
    let connection = {
        let mut seen = seen.lock().unwrap();
        seen.connections += 1;
        seen.connections
    };
    let note = move |version| seen.lock().unwrap().requests.push((connection, version));
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") { over_2(stream, note).await } else { over_1(stream, note).await }
}

/// The type and the text of the answer to a request with this body.
fn answer(body: &[u8]) -> (&'static str, String) {
    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
    if asked["stream"] == true {
        let piece = json!({"choices": [{"delta": {"content": "Hello over TLS."}, "finish_reason": "stop"}]});
        return ("text/event-stream", format!("data: {piece}\n\ndata: [DONE]\n\n"));
    }
    ("application/json", json!({"choices": [{"message": {"content": "Hello over TLS."}, "finish_reason": "stop"}]}).to_string())
}

async fn over_2(stream: TlsStream<TcpStream>, note: impl Fn(&'static str) + Clone + Send + 'static) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        note("2");
        tokio::spawn(answer_2(request, respond));
    }
}

async fn answer_2(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let (mut incoming, mut body) = (request.into_body(), Vec::new());
    while let Some(Ok(chunk)) = incoming.data().await {
        incoming.flow_control().release_capacity(chunk.len()).ok();
        body.extend_from_slice(&chunk);
    }
    let (kind, text) = answer(&body);
    let head = Response::builder().header("content-type", kind).body(()).unwrap();
    if let Ok(mut out) = respond.send_response(head, false) {
        out.send_data(text.into(), true).ok();
    }
}

async fn over_1(mut stream: TlsStream<TcpStream>, note: impl Fn(&'static str)) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        note("1.1");
        let (kind, text) = answer(&body);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{text}", text.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }
}

/// A gateway whose OpenAI is this upstream, and an agent `fox` that asks it.
async fn gateway(edition: Edition, upstream: &Upstream, trusts: bool) -> Server {
    let setup = Setup::new(edition).await.env("GOCLAW_OPENAI_BASE_URL", &upstream.base);
    let setup = if trusts { setup.env("SSL_CERT_FILE", upstream.authority.to_str().unwrap()) } else { setup };
    let server = setup.start().await;
    create_agent(&server.owner(), "fox").await;
    server
}

on_both_editions! {
    async fn http_2_is_spoken_to_those_who_offer_it_over_one_connection(edition) {
        let upstream = Upstream::start(&["h2", "http/1.1"]).await;
        let server = gateway(edition, &upstream, true).await;
        for _ in 0..5 {
            assert_eq!(ask(&server.owner(), "fox", "hello").await, "Hello over TLS.");
        }
        let records = server.owner().stream("/v1/chat/completions", &streamed("fox", "hi")).await.rest().await;
        assert_eq!(joined_text(&records), "Hello over TLS.");
        // Side by side as well.
        let owner = server.owner();
        futures_util::future::join_all((0..10).map(|_| ask(&owner, "fox", "hello"))).await;
        let requests = upstream.requests();
        assert!(requests.len() >= 16 && requests.iter().all(|request| *request == (1, "2")), "{requests:?}");
    }

    async fn http_1_is_spoken_to_others_and_their_connections_are_used_again(edition) {
        for protocols in [&["http/1.1"][..], &[]] {
            let upstream = Upstream::start(protocols).await;
            let server = gateway(edition, &upstream, true).await;
            for _ in 0..10 {
                assert_eq!(ask(&server.owner(), "fox", "hello").await, "Hello over TLS.");
            }
            let requests = upstream.requests();
            assert!(requests.iter().all(|(_, version)| *version == "1.1"), "{requests:?}");
            let connections = upstream.seen.lock().unwrap().connections;
            assert!(connections < 6, "{connections} connections for {} requests", requests.len());
        }
    }

    async fn an_authority_that_nobody_knows_certifies_nothing(edition) {
        let upstream = Upstream::start(&["h2"]).await;
        let server = gateway(edition, &upstream, false).await;
        let reply = server.owner().post("/v1/chat/completions", &question("fox", "hello")).await;
        assert!(reply.status >= 500, "{}", reply.text());
        assert!(upstream.requests().is_empty());
    }
}
