//! The guarded client against servers on loopback.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use goclaw_outbound::{FetchError, FetchRequest, Lookup, Outbound, OutboundOptions, Refused};
use std::{net::IpAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use url::Url;

/// A server that answers every request with the same bytes; `{port}` in them becomes its port.
async fn server(answer: &str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = answer.replace("{port}", &port.to_string());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = socket.read_u8().await else { return };
                    head.push(byte);
                }
                let seen = String::from_utf8(head).unwrap().to_lowercase();
                let answer = answer.replace("{cookie}", if seen.contains("cookie: ") { "sent" } else { "none" });
                socket.write_all(answer.as_bytes()).await.ok();
            });
        }
    });
    port
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn redirect(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

/// An outbound for which every name is `answers`.
fn outbound(allow: &[&str], answers: &[&str]) -> Outbound {
    let answers: Vec<IpAddr> = answers.iter().map(|ip| ip.parse().unwrap()).collect();
    Outbound::new(OutboundOptions {
        allow_private_hosts: allow.iter().map(ToString::to_string).collect(),
        lookup: Lookup::new(move |_| {
            let answers = answers.clone();
            Box::pin(async move { Ok(answers) })
        }),
        ..OutboundOptions::default()
    })
    .unwrap()
}

fn get(url: String) -> FetchRequest {
    FetchRequest { url: Url::parse(&url).unwrap(), headers: Default::default(), max_redirects: 3, max_bytes: 1024, timeout: Duration::from_secs(20) }
}

async fn fetch(outbound: &Outbound, url: String) -> Result<goclaw_outbound::Fetched, FetchError> {
    outbound.get_following(get(url), |_| Ok(())).await
}

#[tokio::test]
async fn a_name_that_resolves_to_loopback_is_refused() {
    let port = server(&ok("secret")).await;
    let error = outbound(&[], &["127.0.0.1"]).guarded().get(format!("http://rebound.example.com:{port}/")).send().await.unwrap_err();
    let expected = Refused::Network { ip: "127.0.0.1".parse().unwrap(), name: Some("rebound.example.com".into()) };
    assert_eq!(Refused::find(&error), Some(&expected));
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_refused() {
    let error = fetch(&outbound(&[], &[]), "http://gone.example.com/".into()).await.unwrap_err();
    assert!(matches!(&error, FetchError::Refused(Refused::Unresolved(name)) if name == "gone.example.com"), "{error}");
}

#[tokio::test]
async fn an_allowed_name_is_called() {
    let port = server(&ok("hello")).await;
    let outbound = outbound(&["llm.example.com"], &["127.0.0.1"]);
    let text = outbound.guarded().get(format!("http://llm.example.com:{port}/")).send().await.unwrap().text().await.unwrap();
    assert_eq!(text, "hello");
}

#[tokio::test]
async fn refused_addresses_are_dropped_and_the_others_called() {
    let port = server(&ok("hello")).await;
    let outbound = outbound(&["127.0.0.1"], &["10.255.255.1", "::1", "127.0.0.1"]);
    assert_eq!(fetch(&outbound, format!("http://mixed.example.com:{port}/")).await.unwrap().body, b"hello");
}

#[tokio::test]
async fn an_address_in_the_url_is_refused_even_when_nobody_asked_the_guard() {
    let port = server(&ok("secret")).await;
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "2130706433", "localhost"] {
        let error = outbound(&[], &["127.0.0.1"]).guarded().get(format!("http://{host}:{port}/")).send().await.unwrap_err();
        assert_eq!(Refused::find(&error), Some(&Refused::Unchecked), "{host}");
    }
    let error = outbound(&[], &["127.0.0.1"]).guarded().get(format!("https://127.0.0.1:{port}/")).send().await.unwrap_err();
    assert_eq!(Refused::find(&error), Some(&Refused::Unchecked));
    let allowed = outbound(&[&format!("127.0.0.1:{port}")], &[]);
    assert_eq!(allowed.guarded().get(format!("http://127.0.0.1:{port}/")).send().await.unwrap().text().await.unwrap(), "secret");
}

#[tokio::test]
async fn the_trusted_client_reaches_loopback() {
    let port = server(&ok("hello")).await;
    let answer = outbound(&[], &[]).trusted().get(format!("http://127.0.0.1:{port}/")).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "hello");
}

#[tokio::test]
async fn neither_client_follows_redirects_by_itself() {
    let port = server(&redirect("http://127.0.0.1:{port}/again")).await;
    let outbound = outbound(&["127.0.0.1"], &[]);
    for client in [outbound.guarded(), outbound.trusted()] {
        assert_eq!(client.get(format!("http://127.0.0.1:{port}/")).send().await.unwrap().status(), 302);
    }
}

#[tokio::test]
async fn a_redirect_to_loopback_is_refused() {
    let target = server(&ok("secret")).await;
    for to in [format!("http://127.0.0.1:{target}/"), "http://169.254.169.254/latest".to_owned(), "file:///etc/passwd".to_owned()] {
        let port = server(&redirect(&to)).await;
        let outbound = outbound(&[&format!("start.example.com:{port}")], &["127.0.0.1"]);
        let error = fetch(&outbound, format!("http://start.example.com:{port}/")).await.unwrap_err();
        assert!(error.to_string().starts_with("SSRF protection: "), "{error}");
    }
}

#[tokio::test]
async fn a_redirect_to_a_name_that_resolves_to_loopback_is_refused() {
    let port = server(&redirect("http://other.example.com:{port}/")).await;
    let outbound = outbound(&["start.example.com"], &["127.0.0.1"]);
    let error = fetch(&outbound, format!("http://start.example.com:{port}/")).await.unwrap_err();
    assert!(matches!(error, FetchError::Refused(Refused::Network { .. })), "{error}");
}

#[tokio::test]
async fn redirects_are_followed_up_to_the_limit_and_listed() {
    let end = server(&ok("end")).await;
    let start = server(&redirect(&format!("http://127.0.0.1:{end}/end"))).await;
    let looping = server(&redirect("/again")).await;
    let outbound = outbound(&["127.0.0.1"], &[]);
    let page = fetch(&outbound, format!("http://127.0.0.1:{start}/")).await.unwrap();
    assert_eq!((page.body.as_slice(), page.url.path(), page.redirected_from.len()), (b"end".as_slice(), "/end", 1));
    assert!(matches!(fetch(&outbound, format!("http://127.0.0.1:{looping}/")).await, Err(FetchError::TooManyRedirects(3))));
}

#[tokio::test]
async fn the_callers_check_sees_every_hop() {
    let end = server(&ok("end")).await;
    let start = server(&redirect(&format!("http://127.0.0.1:{end}/end"))).await;
    let policy = |url: &Url| if url.path() == "/end" { Err("domain \"x\" is blocked by policy".to_owned()) } else { Ok(()) };
    let error = outbound(&["127.0.0.1"], &[]).get_following(get(format!("http://127.0.0.1:{start}/")), policy).await.unwrap_err();
    assert_eq!(error.to_string(), "domain \"x\" is blocked by policy");
}

#[tokio::test]
async fn cookies_stay_with_their_origin() {
    let end = server("HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\n{cookie}").await;
    let start = server(&redirect(&format!("http://127.0.0.1:{end}/"))).await;
    let outbound = outbound(&["127.0.0.1"], &[]);
    for (port, expected) in [(end, "sent"), (start, "none")] {
        let mut request = get(format!("http://127.0.0.1:{port}/"));
        request.headers.insert("cookie", "a=b".parse().unwrap());
        let page = outbound.get_following(request, |_| Ok(())).await.unwrap();
        assert_eq!(String::from_utf8(page.body).unwrap(), expected);
    }
}

#[tokio::test]
async fn the_body_is_cut_at_the_limit_and_statuses_are_answers() {
    let long = server(&ok(&"x".repeat(5000))).await;
    let exact = server(&ok(&"x".repeat(1024))).await;
    let missing = server("HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno").await;
    let outbound = outbound(&["127.0.0.1"], &[]);
    let page = fetch(&outbound, format!("http://127.0.0.1:{long}/")).await.unwrap();
    assert_eq!((page.body.len(), page.truncated), (1024, true));
    let page = fetch(&outbound, format!("http://127.0.0.1:{exact}/")).await.unwrap();
    assert_eq!((page.body.len(), page.truncated), (1024, false));
    assert_eq!(fetch(&outbound, format!("http://127.0.0.1:{missing}/")).await.unwrap().status, 404);
}

#[tokio::test]
async fn a_silent_server_runs_into_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut request = get(format!("http://127.0.0.1:{port}/"));
    request.timeout = Duration::from_millis(50);
    let error = outbound(&["127.0.0.1"], &[]).get_following(request, |_| Ok(())).await.unwrap_err();
    assert!(matches!(error, FetchError::Timeout), "{error}");
}
