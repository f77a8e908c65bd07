//! The services over HTTP against an upstream on loopback.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use goclaw_outbound::{Outbound, OutboundOptions};
use goclaw_ports::speech::{Audio, AudioFormat, SpeechError, SpeechProvider, SpeechProviders, SpeechRequest, SpeechService};
use goclaw_speech::{EdgeConfig, ServiceConfig, Services, SpeechConfig};
use std::sync::Arc;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};

const KEY: &str = "key-0001-of-the-operator";
const GROUP: &str = "group-0002";
const MP3: &[u8] = b"\xff\xfb\x90 not really music";

/// A request as it came.
struct Seen {
    line: String,
    /// In lower case.
    headers: String,
    body: serde_json::Value,
}

/// An upstream that answers as it is told and remembers what it was asked.
struct Upstream {
    address: String,
    seen: mpsc::UnboundedReceiver<Seen>,
}

impl Upstream {
    /// Answers each request with the next of `answers`; one that is `None` is never answered.
    async fn start(answers: Vec<Option<Vec<u8>>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (to_seen, seen) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut unanswered = Vec::new();
            for answer in answers {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(socket.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let (line, headers) = head.split_once("\r\n").unwrap();
                let headers = headers.to_lowercase();
                let length = headers.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |length| length.parse().unwrap());
                let mut body = vec![0; length];
                socket.read_exact(&mut body).await.unwrap();
                to_seen.send(Seen { line: line.to_owned(), headers: headers.clone(), body: serde_json::from_slice(&body).unwrap() }).ok();
                match answer {
                    // The client may leave before it has read all.
                    Some(bytes) => drop(socket.write_all(&bytes).await),
                    None => unanswered.push(socket),
                }
            }
        });
        Self { address, seen }
    }

    async fn request(&mut self) -> Seen {
        self.seen.recv().await.unwrap()
    }
}

/// An answer.
fn answer(status: u16, content_type: &str, body: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = format!("HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    Some(bytes)
}

fn outbound() -> Outbound {
    Outbound::new(OutboundOptions::default()).unwrap()
}

fn service(base: &str) -> Option<ServiceConfig> {
    Some(ServiceConfig { api_key: KEY.into(), group_id: Some(GROUP.into()), base: base.to_owned(), model: "the-model".into(), voice: "the-voice".into() })
}

fn provider(config: SpeechConfig) -> Arc<dyn SpeechProvider> {
    Services::new(&outbound(), config).now().remove(0)
}

fn openai(base: &str) -> Arc<dyn SpeechProvider> {
    provider(SpeechConfig { openai: service(base), ..SpeechConfig::default() })
}

fn minimax(base: &str) -> Arc<dyn SpeechProvider> {
    provider(SpeechConfig { minimax: service(base), ..SpeechConfig::default() })
}

fn request(format: AudioFormat) -> SpeechRequest {
    SpeechRequest { text: "Xin chào, “bạn”!".into(), voice: None, model: None, format }
}

async fn fails(provider: &dyn SpeechProvider) -> String {
    let SpeechError(why) = provider.speak(&request(AudioFormat::Mp3)).await.unwrap_err();
    assert!(!why.contains(KEY) && !why.contains(GROUP) && !why.contains("127.0.0.1"), "{why}");
    why
}

#[tokio::test]
async fn openai_is_asked_in_its_own_words() {
    let mut upstream = Upstream::start(vec![answer(200, "audio/mpeg", MP3), answer(200, "audio/ogg", b"OggS")]).await;
    // A slash at the end of the base changes nothing.
    let openai = openai(&format!("{}/v1/", upstream.address));
    assert_eq!(openai.service(), SpeechService::Openai);
    assert_eq!(openai.speak(&request(AudioFormat::Mp3)).await.unwrap(), Audio { bytes: MP3.into(), format: AudioFormat::Mp3 });
    let seen = upstream.request().await;
    assert_eq!(seen.line, "POST /v1/audio/speech HTTP/1.1");
    assert!(seen.headers.contains(&format!("authorization: bearer {KEY}\r\n")), "{}", seen.headers);
    insta::assert_json_snapshot!("openai", seen.body);

    let named = SpeechRequest { voice: Some("nova".into()), model: Some("tts-1".into()), ..request(AudioFormat::Opus) };
    assert_eq!(openai.speak(&named).await.unwrap().format, AudioFormat::Opus);
    insta::assert_json_snapshot!("openai_named", upstream.request().await.body);
}

#[tokio::test]
async fn elevenlabs_is_asked_in_its_own_words() {
    let mut upstream = Upstream::start(vec![answer(200, "audio/mpeg", MP3), answer(200, "audio/ogg", b"OggS")]).await;
    let elevenlabs = provider(SpeechConfig { elevenlabs: service(&upstream.address), ..SpeechConfig::default() });
    assert_eq!(elevenlabs.speak(&request(AudioFormat::Mp3)).await.unwrap().bytes, MP3);
    let seen = upstream.request().await;
    assert_eq!(seen.line, "POST /v1/text-to-speech/the-voice?output_format=mp3_44100_128 HTTP/1.1");
    assert!(seen.headers.contains(&format!("xi-api-key: {KEY}\r\n")) && !seen.headers.contains("authorization"), "{}", seen.headers);
    insta::assert_json_snapshot!("elevenlabs", seen.body);

    // A voice is one segment of the path, whatever is in it.
    let named = SpeechRequest { voice: Some("a/../b?c".into()), ..request(AudioFormat::Opus) };
    elevenlabs.speak(&named).await.unwrap();
    assert_eq!(upstream.request().await.line, "POST /v1/text-to-speech/a%2F..%2Fb%3Fc?output_format=opus_48000_64 HTTP/1.1");
}

#[tokio::test]
async fn minimax_is_asked_in_its_own_words() {
    let body = format!(r#"{{"data":{{"audio":"{}"}},"base_resp":{{"status_code":0,"status_msg":"success"}}}}"#, hex::encode(MP3));
    let mut upstream = Upstream::start(vec![answer(200, "application/json", body.as_bytes())]).await;
    let minimax = minimax(&format!("{}/v1", upstream.address));
    assert_eq!(minimax.speak(&request(AudioFormat::Mp3)).await.unwrap().bytes, MP3);
    let seen = upstream.request().await;
    assert_eq!(seen.line, format!("POST /v1/t2a_v2?GroupId={GROUP} HTTP/1.1"));
    assert!(seen.headers.contains(&format!("authorization: bearer {KEY}\r\n")), "{}", seen.headers);
    insta::assert_json_snapshot!("minimax", seen.body);
}

#[tokio::test]
async fn minimax_fails_inside_a_good_answer() {
    let upstream = Upstream::start(vec![
        answer(200, "application/json", br#"{"data":null,"base_resp":{"status_code":1004,"status_msg":"login fail: key-0001-of-the-operator"}}"#),
        answer(200, "application/json", br#"{"data":{"audio":"xyz"},"base_resp":{"status_code":0}}"#),
        answer(200, "application/json", b"<html>"),
    ])
    .await;
    let minimax = minimax(&upstream.address);
    assert_eq!(fails(&*minimax).await, "minimax: login fail: *** (1004)");
    assert!(fails(&*minimax).await.starts_with("minimax: the audio cannot be read"));
    assert!(fails(&*minimax).await.starts_with("minimax: the answer cannot be read"));
}

#[tokio::test]
async fn an_error_is_told_without_secrets_and_cut() {
    let long = format!("{{\"error\":\"bad key {KEY}\"}}{}", "x".repeat(100_000));
    let upstream = Upstream::start(vec![
        answer(401, "application/json", long.as_bytes()),
        answer(302, "text/html", b"elsewhere"),
        answer(200, "application/json", br#"{"error":"no credit"}"#),
    ])
    .await;
    let openai = openai(&upstream.address);
    let why = fails(&*openai).await;
    assert!(why.starts_with("openai: HTTP 401: {\"error\":\"bad key ***\"}xxx") && why.len() < 400, "{why}");
    assert!(fails(&*openai).await.starts_with("openai: HTTP 302"));
    assert_eq!(fails(&*openai).await, "openai: no audio: {\"error\":\"no credit\"}");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_read_to_its_end() {
    let mut endless = b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\nconnection: close\r\n\r\n".to_vec();
    endless.resize(endless.len() + (33 << 20), 0);
    let upstream = Upstream::start(vec![Some(endless)]).await;
    assert_eq!(fails(&*openai(&upstream.address)).await, format!("openai: the answer is larger than {} bytes", 32 << 20));
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_told_without_its_address() {
    let upstream = Upstream::start(vec![Some(b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: 100\r\n\r\nhalf".to_vec())]).await;
    fails(&*openai(&upstream.address)).await;
    // Nobody listens any more.
    fails(&*minimax(&upstream.address)).await;
}

#[tokio::test]
async fn services_follow_their_configuration() {
    let ids = |services: &Services| services.now().iter().map(|provider| provider.service()).collect::<Vec<_>>();
    let edge = Some(EdgeConfig { voice: "v".into(), rate: None, environment: vec![] });
    let base = "https://voices.example.com";
    let services = Services::new(&outbound(), SpeechConfig { openai: service(base), elevenlabs: service(base), edge: edge.clone(), minimax: service(base) });
    assert_eq!(ids(&services), SpeechService::ALL);
    services.configure(SpeechConfig { edge, ..SpeechConfig::default() });
    assert_eq!(ids(&services), [SpeechService::Edge]);
    // What cannot be used is left out.
    let unsendable = ServiceConfig { api_key: "a\nb".into(), ..service(base).unwrap() };
    services.configure(SpeechConfig { openai: service("ftp://x"), elevenlabs: service("nowhere"), minimax: Some(unsendable), ..SpeechConfig::default() });
    assert_eq!(ids(&services), []);
}
