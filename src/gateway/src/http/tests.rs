//! What holds for every endpoint, without anything behind it.

use super::{configure, edge::surround};
use actix_web::{
    App,
    http::{Method, StatusCode, header},
    middleware::from_fn,
    test::{TestRequest, call_service, init_service, read_body},
};
use serde_json::{Value, json};

struct Answer {
    status: StatusCode,
    headers: header::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

async fn ask(request: TestRequest) -> Answer {
    let app = init_service(App::new().wrap(from_fn(surround)).configure(configure)).await;
    let response = call_service(&app, request.to_request()).await;
    let (status, headers) = (response.status(), response.headers().clone());
    Answer { status, headers, body: read_body(response).await.to_vec() }
}

#[actix_web::test]
async fn an_unknown_path_is_told_in_json_below_v1_and_in_text_elsewhere() {
    for path in ["/v1/nothing", "/v1/agents/a/b", "/v1/agents/"] {
        let answer = ask(TestRequest::get().uri(path)).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert_eq!(answer.json(), json!({"error": format!("no such endpoint: {path}"), "code": "NOT_FOUND"}));
    }
    let answer = ask(TestRequest::get().uri("/nothing")).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::NOT_FOUND, "404 page not found\n"));
}

#[actix_web::test]
async fn a_wrong_verb_names_the_right_ones() {
    let answer = ask(TestRequest::patch().uri("/v1/agents/a")).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    let allowed: std::collections::BTreeSet<&str> = answer.header("allow").unwrap().split(", ").collect();
    assert_eq!(allowed, ["DELETE", "GET", "HEAD", "PUT"].into());
    assert_eq!(answer.json(), json!({"error": "method not allowed", "code": "INVALID_REQUEST"}));
}

#[actix_web::test]
async fn chat_completions_fail_in_openais_shape() {
    let answer = ask(TestRequest::get().uri("/v1/chat/completions")).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.json(), json!({"error": {"message": "method not allowed", "type": "invalid_request_error"}}));
}

#[actix_web::test]
async fn failures_speak_the_callers_language() {
    let answer = ask(TestRequest::get().uri("/v1/x").insert_header(("Accept-Language", "fr, vi;q=0.1"))).await;
    assert_eq!(answer.json()["error"], "không có endpoint này: /v1/x");
}

#[actix_web::test]
async fn a_fault_of_ours_is_told_by_a_reference_only() {
    // Nothing is behind the application here, so this endpoint cannot work.
    let answer = ask(TestRequest::get().uri("/v1/agents")).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    let body = answer.json();
    assert_eq!(body["code"], "INTERNAL");
    assert!(body["error"].as_str().unwrap().starts_with("internal error (reference "), "{body}");
}

#[actix_web::test]
async fn health_answers_any_verb_with_exactly_two_keys() {
    for method in [Method::GET, Method::POST, Method::DELETE] {
        let answer = ask(TestRequest::default().method(method).uri("/health")).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, r#"{"status":"ok","protocol":3}"#));
    }
}

#[actix_web::test]
async fn every_answer_carries_a_request_id_and_security_headers() {
    let answer = ask(TestRequest::get().uri("/health").insert_header(("X-Request-Id", "abc-1"))).await;
    assert_eq!(answer.header("x-request-id"), Some("abc-1"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let answer = ask(TestRequest::get().uri("/v1/x").insert_header(("X-Request-Id", "a b"))).await;
    let made = answer.header("x-request-id").unwrap();
    assert!(made.parse::<uuid::Uuid>().is_ok(), "{made}");
}

#[actix_web::test]
async fn the_document_is_open_to_any_origin() {
    let answer = ask(TestRequest::get().uri("/v1/openapi.json")).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.json()["openapi"], "3.0.3");
}

#[actix_web::test]
async fn the_docs_come_from_the_binary_under_a_strict_policy() {
    for path in ["/docs", "/docs/"] {
        let answer = ask(TestRequest::get().uri(path)).await;
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(answer.header("content-security-policy").unwrap().contains("script-src 'self';"));
        assert!(!answer.text().contains("://"), "nothing is loaded from elsewhere");
    }
    for file in ["swagger-ui-bundle.js", "swagger-ui.css", "init.js"] {
        assert_eq!(ask(TestRequest::get().uri(&format!("/docs/{file}"))).await.status, StatusCode::OK, "{file}");
    }
    assert_eq!(ask(TestRequest::get().uri("/docs/nothing.js")).await.status, StatusCode::NOT_FOUND);
}

#[actix_web::test]
async fn a_socket_wants_an_upgrade() {
    let answer = ask(TestRequest::post().uri("/ws")).await;
    assert_eq!((answer.status, answer.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, Some("GET")));
}

/// A path whose answer waits for `gate`, then says through `done` that it was reached.
async fn left_by_its_client(method: Method, path: &'static str) -> bool {
    use actix_web::{dev::Service, web};
    let (gate, reached) = (std::rc::Rc::new(tokio::sync::Notify::new()), std::rc::Rc::new(std::cell::Cell::new(false)));
    let handler = {
        let (gate, reached) = (gate.clone(), reached.clone());
        move || {
            let (gate, reached) = (gate.clone(), reached.clone());
            async move {
                gate.notified().await;
                reached.set(true);
                actix_web::HttpResponse::Ok().finish()
            }
        }
    };
    let app = init_service(App::new().wrap(from_fn(surround)).service(web::resource(path).route(web::route().to(handler)))).await;
    let mut answer = Box::pin(app.call(TestRequest::default().method(method).uri(path).to_request()));
    // Begun, and then left.
    assert!(futures_util::poll!(&mut answer).is_pending());
    tokio::task::yield_now().await;
    drop(answer);
    gate.notify_one();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    reached.get()
}

#[actix_web::test]
async fn a_change_that_has_begun_is_finished_though_its_client_has_left() {
    assert!(left_by_its_client(Method::POST, "/v1/things").await);
    assert!(left_by_its_client(Method::DELETE, "/v1/things").await);
    assert!(!left_by_its_client(Method::GET, "/v1/things").await, "nobody needs the answer to a question");
    for path in [super::chat::PATH, super::responses::PATH] {
        assert!(!left_by_its_client(Method::POST, path).await, "an agent stops when nobody listens");
    }
}
