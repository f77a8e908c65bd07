//! Runs whose gateway is gone: the other gateways notice, and those who wait are told.

use crate::common::{create_agent, create_agent_with, fox_session, message};
use goclaw_tests::{Answer, Edition, Server, eventually};
use serde_json::{Value, json};

async fn pair() -> (Server, Server) {
    let one = Server::start(Edition::Standard).await;
    let two = one.twin().await;
    create_agent(&one.owner(), "fox").await;
    one.llm.on(|_| Some(Answer::hang()));
    two.llm.on(|_| Some(Answer::hang()));
    (one, two)
}

/// Changes rows behind the gateways' backs: time passes in the database alone.
async fn change(server: &Server, sql: &str) {
    let (client, connection) = tokio_postgres::connect(&server.environment()["GOCLAW_POSTGRES_DSN"], tokio_postgres::NoTls).await.unwrap();
    let driving = tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap();
    drop(client);
    driving.await.unwrap().unwrap();
}

/// A minute later, for leases.
const A_MINUTE_LATER: &str = "update traces set lease_until = lease_until - interval '1 minute' where status = 'running'";

/// The statuses of the traces of a session.
async fn statuses(server: &Server, session: &str) -> Vec<Value> {
    let traces = server.owner().get("/v1/traces").await.expect(200);
    let of_session = traces["traces"].as_array().unwrap().iter().filter(|trace| trace["session_key"] == session);
    of_session.map(|trace| trace["status"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runs_of_a_crashed_gateway_fail_and_their_clients_are_told() {
    let (mut one, two) = pair().await;
    let (mut here, mut there, mut other_user) = (one.owner_socket().await, two.owner_socket().await, two.socket_as("mai").await);
    here.send("chat.send", &message(&fox_session("lost"), "hello")).await;
    let started = there.event(|event| event["payload"]["type"] == "run.started" && event["payload"]["sessionKey"] == fox_session("lost")).await;
    let run = started["payload"]["runId"].clone();
    let kept = there.send("chat.send", &message(&fox_session("kept"), "hello")).await;
    there.event(|event| event["payload"]["type"] == "run.started" && event["payload"]["sessionKey"] == fox_session("kept")).await;
    one.crash().await;
    assert_eq!(statuses(&two, &fox_session("lost")).await, ["running"], "its lease holds still");

    change(&two, A_MINUTE_LATER).await;
    let failed = there.event(|event| event["payload"]["type"] == "run.failed").await["payload"].take();
    let error = failed["payload"]["error"].as_str().unwrap();
    assert!(error.contains("interrupted"), "{error}");
    let expected = json!({
        "type": "run.failed", "agentId": "fox", "runId": run, "userId": "system", "channel": "ws", "sessionKey": fox_session("lost"),
        "payload": {"error": error},
    });
    assert_eq!(failed, expected);
    assert_eq!(statuses(&two, &fox_session("lost")).await, ["error"]);

    // The gateway that lives has renewed the lease of its own run, which goes on until it is stopped.
    assert_eq!(statuses(&two, &fox_session("kept")).await, ["running"]);
    there.call("chat.abort", &json!({"sessionKey": fox_session("kept")})).await.unwrap();
    assert_eq!(there.answer(&kept).await.unwrap(), json!({"cancelled": true}));
    let heard = other_user.events_until_now().await;
    assert_eq!(heard.iter().filter(|event| event["payload"]["type"] == "run.failed").count(), 1, "admins hear it, once: {heard:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_the_others_gave_up_is_stopped() {
    let (one, _two) = pair().await;
    let mut socket = one.owner_socket().await;
    let id = socket.send("chat.send", &message(&fox_session("1"), "hello")).await;
    socket.agent_event("run.started").await;
    one.llm.wait_for_questions(1).await;
    change(&one, "update traces set status = 'error', error = 'given up' where status = 'running'").await;
    assert_eq!(socket.answer(&id).await.unwrap(), json!({"cancelled": true}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_tenants_lost_runs_are_told_to_that_tenant_alone() {
    let (mut one, two) = pair().await;
    let tenant = one.owner().post("/v1/tenants", &json!({"name": "A", "slug": "a"})).await.expect(201)["id"].as_str().unwrap().to_owned();
    let of_a = json!({"token": goclaw_tests::server::GATEWAY_TOKEN, "user_id": "system", "tenant_id": tenant});
    let (mut here, mut there, mut of_master) = (one.connected(&of_a).await, two.connected(&of_a).await, two.owner_socket().await);
    let in_a = one.owner().tenant(&tenant);
    create_agent_with(&in_a, "fox", json!({})).await;
    here.send("chat.send", &message(&fox_session("1"), "hello")).await;
    there.agent_event("run.started").await;
    one.crash().await;
    change(&two, A_MINUTE_LATER).await;
    there.agent_event("run.failed").await;
    let heard = of_master.events_until_now().await;
    assert!(heard.iter().all(|event| event["event"] != "agent"), "{heard:?}");
    eventually("the trace says so", async || {
        let traces = two.owner().tenant(&tenant).get("/v1/traces").await.expect(200);
        traces["traces"][0]["status"] == "error"
    })
    .await;
}
