//! Events between two gateways when gateways come, go and are busy, and when the line between them breaks again and again.

use crate::common::{create_agent_with, fox_session, message};
use goclaw_tests::{
    Answer, Edition, Server, WsClient, eventually,
    fake_llm::{DEFAULT_TEXT, Gate},
};
use serde_json::{Value, json};
use tokio_postgres::NoTls;

/// A gateway with an agent `fox` that everybody may use.
async fn with_shared_fox() -> Server {
    let server = Server::start(Edition::Standard).await;
    create_agent_with(&server.owner(), "fox", json!({"is_default": true})).await;
    server
}

/// The text that a run's chunks make.
fn said(events: &[Value]) -> String {
    events.iter().filter(|event| event["type"] == "chunk").map(|event| event["payload"]["content"].as_str().unwrap()).collect()
}

async fn run(socket: &mut WsClient, session: &str) -> Vec<Value> {
    let id = socket.send("chat.send", &message(session, "hello")).await;
    let events = socket.run_events_of(session).await;
    socket.answer(&id).await.unwrap();
    events
}

/// The events of one run in each of these sessions.
async fn hear_both(socket: &mut WsClient, sessions: &[String; 2]) -> [Vec<Value>; 2] {
    let mut runs = [Vec::new(), Vec::new()];
    let mut open = 2;
    while open > 0 {
        let payload = socket.event_named("agent").await["payload"].take();
        let at = sessions.iter().position(|session| payload["sessionKey"] == *session).unwrap();
        open -= usize::from(payload["type"] == "run.completed");
        runs[at].push(payload);
    }
    runs
}

async fn assert_no_more(socket: &mut WsClient) {
    let more: Vec<Value> = socket.events_until_now().await.into_iter().filter(|event| event["event"] == "agent").collect();
    assert_eq!(more, Vec::<Value>::new(), "nothing is heard twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_busy_gateways_hear_all_of_each_other_once_and_in_order() {
    let server = with_shared_fox().await;
    let twin = server.twin().await;
    let text: String = (0..600).map(|n| format!("{n} ")).collect();
    server.llm.always(Answer::text(text.clone()).chunks(600));
    let (mut one, mut other) = (server.owner_socket().await, twin.owner_socket().await);
    let sessions = [fox_session("one"), fox_session("other")];
    let ids = (one.send("chat.send", &message(&sessions[0], "hello")).await, other.send("chat.send", &message(&sessions[1], "hello")).await);
    // Both are read at the same time: whoever does not read is sent away.
    let heard = tokio::join!(hear_both(&mut one, &sessions), hear_both(&mut other, &sessions));
    one.answer(&ids.0).await.unwrap();
    other.answer(&ids.1).await.unwrap();
    assert_eq!(heard.0, heard.1);
    for run in &heard.0 {
        assert!(run.len() >= 200, "{} events", run.len());
        assert_eq!(said(run), text);
    }
    assert_no_more(&mut one).await;
    assert_no_more(&mut other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_hear_their_own_runs_of_the_other_gateway_and_no_others() {
    let server = with_shared_fox().await;
    let twin = server.twin().await;
    let made = server.owner().post("/v1/api-keys", &json!({"name": "k", "scopes": ["operator.write"]})).await.expect(201);
    let connect = async |at: &Server, user: &str| at.connected(&json!({"token": made["key"], "user_id": user})).await;
    let (mut here, mut there, mut stranger) = (connect(&server, "mai").await, connect(&twin, "mai").await, connect(&twin, "lan").await);
    let told = run(&mut here, &fox_session("1")).await;
    assert_eq!(there.run_events_of(&fox_session("1")).await, told);
    assert_no_more(&mut stranger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_starts_later_hears_what_comes_after() {
    let server = with_shared_fox().await;
    let gate = Gate::closed();
    server.llm.next(Answer::text("the end of it").chunks(4).gated(&gate));
    let (mut here, session) = (server.owner_socket().await, fox_session("1"));
    let id = here.send("chat.send", &message(&session, "hello")).await;
    server.llm.wait_for_questions(1).await;
    let twin = server.twin().await;
    let mut there = twin.owner_socket().await;
    gate.open();
    let end = there.agent_event("run.completed").await;
    assert_eq!((&end["sessionKey"], &end["payload"]["content"]), (&json!(session), &json!("the end of it")));
    here.answer(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_crashed_is_not_missed_and_is_heard_when_it_is_back() {
    let server = with_shared_fox().await;
    let mut twin = server.twin().await;
    let mut socket = server.owner_socket().await;
    twin.crash().await;
    assert_eq!(said(&run(&mut socket, &fox_session("1")).await), DEFAULT_TEXT);
    twin.restart().await;
    let mut there = twin.owner_socket().await;
    let told = run(&mut socket, &fox_session("2")).await;
    assert_eq!(there.run_events_of(&fox_session("2")).await, told);
    let back = run(&mut there, &fox_session("3")).await;
    assert_eq!(socket.run_events_of(&fox_session("3")).await, back);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_breaks_again_and_again_loses_nothing() {
    let server = with_shared_fox().await;
    let twin = server.twin().await;
    let (mut here, mut there) = (server.owner_socket().await, twin.owner_socket().await);
    let (client, connection) = tokio_postgres::connect(&server.environment()["GOCLAW_POSTGRES_DSN"], NoTls).await.unwrap();
    tokio::spawn(connection);
    let listeners = "from pg_stat_activity where datname = current_database() and query like '%listen goclaw_events%' and pid <> pg_backend_pid()";
    for round in 0..3 {
        let cut = eventually("both gateways to listen", async || {
            let listening: i64 = client.query_one(&format!("select count(*) {listeners}"), &[]).await.unwrap().get(0);
            if listening < 2 {
                return None;
            }
            Some(client.query(&format!("select pg_terminate_backend(pid) {listeners}"), &[]).await.unwrap().len())
        })
        .await;
        assert_eq!(cut, 2);
        let session = fox_session(&round.to_string());
        let told = run(&mut here, &session).await;
        assert_eq!(there.run_events_of(&session).await, told);
    }
}
