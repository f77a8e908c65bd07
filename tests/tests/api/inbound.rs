//! Messages that were accepted are answered, once, whatever becomes of the process that accepted them.

use crate::common::{assert_paired, create_agent_with, fox_session, history, lines, message, with_fox};
use chrono::TimeDelta;
use goclaw_ports::subagents::TaskLease;
use goclaw_tests::{Answer, Edition, Reply, Server, WsClient, eventually, fake_llm::Gate, server::GATEWAY_TOKEN};
use serde_json::{Value, json};
use uuid::Uuid;

const FOX: &str = "/v1/agents/fox/wake";

/// Waits until the last thing that was said in a session is this.
async fn said_last(server: &Server, session: &str, line: &str) -> Vec<String> {
    let mut socket = server.owner_socket().await;
    eventually(&format!("{line:?} in {session}"), async || {
        let said = lines(&history(&mut socket, session).await);
        (said.last().is_some_and(|last| last == line)).then_some(said)
    })
    .await
}

/// Nothing more comes of a crash: what was answered is not answered again.
async fn assert_settled(server: &mut Server, session: &str, said: &[String]) {
    let asked = server.llm.questions().len();
    server.crash().await;
    let stores = server.stores().await;
    let owed = stores.inbound.all_tenants_adopt(TimeDelta::days(1), TaskLease { owner: Uuid::nil(), lasts: TimeDelta::zero() }, 9).await.unwrap();
    stores.database.close().await;
    drop(stores);
    assert!(owed.is_empty(), "{owed:?}");
    server.restart().await;
    let mut socket = server.owner_socket().await;
    assert_eq!(socket.call("chat.session.status", &json!({"sessionKey": session})).await.unwrap()["isRunning"], false);
    assert_eq!(lines(&history(&mut socket, session).await), said);
    assert_eq!(server.llm.questions().len(), asked);
}

/// A session whose run does not end, and these messages that it was to take in.
async fn taken_in(server: &Server, socket: &mut WsClient, session: &str, texts: &[&str]) -> String {
    let asked = server.llm.questions().len();
    let first = socket.send("chat.send", &message(session, "first")).await;
    server.llm.wait_for_questions(asked + 1).await;
    for text in texts {
        assert_eq!(socket.call("chat.send", &message(session, text)).await.unwrap(), json!({"injected": true}));
    }
    first
}

/// Wakes the fox, and does not wait for what comes of it.
fn wake(server: &Server, body: Value) -> tokio::task::JoinHandle<Reply> {
    let owner = server.owner();
    tokio::spawn(async move { owner.post(FOX, &body).await })
}

/// The fox's newest session that was woken.
async fn woken_session(server: &Server) -> String {
    let mut socket = server.owner_socket().await;
    eventually("a woken session", async || {
        let list = socket.call("sessions.list", &json!({})).await.unwrap();
        let mut keys = list["sessions"].as_array().unwrap().iter().map(|session| session["key"].as_str().unwrap());
        keys.find(|key| key.contains(":wake-")).map(str::to_owned)
    })
    .await
}

async fn runs(server: &Server, count: usize) {
    let line = format!("goclaw_runs_active {count}");
    eventually("runs to be there", async || server.anonymous().token(GATEWAY_TOKEN).get("/metrics").await.text().lines().any(|found| found == line)).await;
}

/// A minute later, for the holds on messages.
async fn a_minute_later(server: &Server) {
    let (client, connection) = tokio_postgres::connect(&server.environment()["GOCLAW_POSTGRES_DSN"], tokio_postgres::NoTls).await.unwrap();
    let driving = tokio::spawn(connection);
    client.batch_execute("update inbound_messages set lease_until = lease_until - interval '1 minute'").await.unwrap();
    drop(client);
    driving.await.unwrap().unwrap();
}

on_both_editions! {
    async fn what_a_run_had_taken_in_is_answered_once_after_a_crash(edition) {
        let mut server = with_fox(edition).await;
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        server.llm.next(Answer::hang());
        taken_in(&server, &mut socket, &session, &["second", "third"]).await;
        server.crash().await;
        server.llm.always(Answer::text("All three."));
        server.restart().await;
        let said = said_last(&server, &session, "assistant: All three.").await;
        assert_eq!(said, ["user: first", "user: second", "user: third", "assistant: All three."]);
        // The run began with the gateway, and is counted all the same.
        runs(&server, 0).await;
        assert_eq!(server.llm.questions().pop().unwrap().last_user_text(), "third");
        assert_settled(&mut server, &session, &said).await;
    }

    async fn a_wake_is_carried_out_once_whatever_happens(edition) {
        let mut server = with_fox(edition).await;
        server.llm.next(Answer::tool("write_file", &json!({"path": "seen.txt", "content": "x"}))).next(Answer::hang());
        let waking = wake(&server, json!({"message": "Wake up!", "metadata": {"why": "dawn"}}));
        server.llm.wait_for_questions(2).await;
        let session = woken_session(&server).await;
        server.crash().await;
        assert!(waking.await.is_err(), "the connection is cut");
        server.llm.always(Answer::text("Good morning."));
        server.restart().await;
        let said = said_last(&server, &session, "assistant: Good morning.").await;
        assert_eq!(said.len(), 4, "what was done is not done again: {said:?}");
        let asked = server.llm.questions().pop().unwrap();
        assert!(asked.last_user_text().contains("still to be answered") && asked.last_user_text().ends_with("Wake up!"), "{}", asked.last_user_text());
        assert_paired(&history(&mut server.owner_socket().await, &session).await);
        let traces = server.owner().get("/v1/traces").await.expect(200);
        assert_eq!(traces["traces"][0]["metadata"]["why"], "dawn", "{traces}");
        assert_settled(&mut server, &session, &said).await;
    }

    async fn a_wake_that_waited_for_its_turn_has_it_after_a_crash(edition) {
        let mut server = with_fox(edition).await;
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        server.llm.next(Answer::hang());
        taken_in(&server, &mut socket, &session, &[]).await;
        let waking = wake(&server, json!({"message": "Wake up!", "session_key": session}));
        runs(&server, 2).await;
        server.crash().await;
        assert!(waking.await.is_err(), "the connection is cut");
        server.llm.always(Answer::echo());
        server.restart().await;
        let said = said_last(&server, &session, "assistant: echo: Wake up!").await;
        assert_eq!(said, ["user: first", "user: Wake up!", "assistant: echo: Wake up!"]);
        assert_settled(&mut server, &session, &said).await;
    }

    async fn a_message_from_another_conversation_is_answered_after_a_crash(edition) {
        let mut server = with_fox(edition).await;
        let (mut socket, here, there) = (server.owner_socket().await, fox_session("here"), fox_session("there"));
        server.llm.next(Answer::text("Hello."));
        socket.call("chat.send", &message(&there, "hello")).await.unwrap();
        server.llm.on(|asked| Some(if asked.last_user_text().ends_with("how is the den?") { Answer::hang() } else { Answer::text("Asked.") }));
        server.llm.next(Answer::tool("sessions_send", &json!({"session_key": there, "message": "how is the den?"})));
        socket.call("chat.send", &message(&here, "ask there")).await.unwrap();
        server.llm.wait_for_questions(4).await;
        server.crash().await;
        server.llm.on(|_| Some(Answer::text("Dry.")));
        server.restart().await;
        let said = said_last(&server, &there, "assistant: Dry.").await;
        assert!(said.len() == 4 && said[2].ends_with("how is the den?"), "{said:?}");
        assert_settled(&mut server, &there, &said).await;
    }

    async fn what_the_last_step_of_a_run_did_not_see_gets_a_run_of_its_own(edition) {
        let server = Server::start(edition).await;
        create_agent_with(&server.owner(), "fox", json!({"max_tool_iterations": 1})).await;
        let (mut socket, session, gate) = (server.owner_socket().await, fox_session("1"), Gate::closed());
        server.llm.next(Answer::text("One.").gated(&gate)).next(Answer::text("Two and three."));
        let first = taken_in(&server, &mut socket, &session, &["second", "third"]).await;
        gate.open();
        assert_eq!(socket.answer(&first).await.unwrap()["content"], "One.");
        let said = said_last(&server, &session, "assistant: Two and three.").await;
        assert_eq!(said, ["user: first", "user: second", "user: third", "assistant: One.", "assistant: Two and three."]);
        // The last of what the model hears says that this is the last step.
        let asked = server.llm.questions().pop().unwrap().texts_of("user");
        assert!(asked.iter().any(|text| text.contains("second\n\nthird")), "{asked:?}");
    }

    async fn what_a_run_that_failed_did_not_see_gets_a_run_of_its_own(edition) {
        let server = with_fox(edition).await;
        let (mut socket, session, gate) = (server.owner_socket().await, fox_session("1"), Gate::closed());
        server.llm.next(Answer::text("Hm").gated(&gate).then_error("out of ink")).next(Answer::text("Both."));
        let first = taken_in(&server, &mut socket, &session, &["second"]).await;
        gate.open();
        socket.answer(&first).await.unwrap_err();
        said_last(&server, &session, "assistant: Both.").await;
        assert_eq!(server.llm.questions().len(), 2);
    }

    async fn what_a_stopped_run_did_not_see_is_dropped_and_its_sender_learns_it(edition) {
        let server = with_fox(edition).await;
        for command in ["/stop", "/stopall"] {
            let (mut socket, session) = (server.owner_socket().await, fox_session(&command[1..]));
            server.llm.next(Answer::hang());
            let first = taken_in(&server, &mut socket, &session, &["second", "third"]).await;
            socket.call("chat.send", &message(&session, command)).await.unwrap();
            assert_eq!(socket.answer(&first).await.unwrap(), json!({"cancelled": true}));
            let events = socket.run_events_of(&session).await;
            let dropped: Vec<_> = events.iter().filter(|event| event["payload"]["phase"] == "dropped_message").map(|event| event["payload"]["content"].clone()).collect();
            assert_eq!(dropped, ["second", "third"], "{events:?}");
            assert_eq!(events.last().unwrap()["type"], "run.cancelled");
            assert_eq!(lines(&history(&mut socket, &session).await), ["user: first"], "nobody has answered the others");
            server.llm.next(Answer::text("Well."));
            socket.call("chat.send", &message(&session, "again")).await.unwrap();
            assert_eq!(lines(&history(&mut socket, &session).await), ["user: first", "user: again", "assistant: Well."]);
        }
    }

    async fn a_gateway_that_stops_leaves_what_it_took_in_to_the_next(edition) {
        let mut server = with_fox(edition).await;
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        server.llm.next(Answer::hang());
        taken_in(&server, &mut socket, &session, &["second"]).await;
        server.stop().await;
        server.llm.always(Answer::text("Both."));
        server.restart().await;
        let said = said_last(&server, &session, "assistant: Both.").await;
        assert_eq!(said, ["user: first", "user: second", "assistant: Both."]);
    }

    async fn a_session_that_was_reset_is_owed_nothing(edition) {
        let mut server = with_fox(edition).await;
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        server.llm.always(Answer::hang());
        taken_in(&server, &mut socket, &session, &["second"]).await;
        socket.call("sessions.reset", &json!({"key": session})).await.unwrap();
        assert_settled(&mut server, &session, &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_gateway_answers_for_one_that_crashed() {
    let mut one = with_fox(Edition::Standard).await;
    let two = one.twin().await;
    let (mut socket, session) = (one.owner_socket().await, fox_session("1"));
    let mut there = two.owner_socket().await;
    one.llm.next(Answer::hang()).next(Answer::hang());
    taken_in(&one, &mut socket, &session, &["second"]).await;
    let waking = wake(&one, json!({"message": "Wake up!"}));
    one.llm.wait_for_questions(2).await;
    one.crash().await;
    assert!(waking.await.is_err(), "the connection is cut");
    one.llm.on(|asked| Some(Answer::text(if asked.last_user_text().ends_with("Wake up!") { "Good morning." } else { "Both." })));
    a_minute_later(&two).await;
    let said = said_last(&two, &session, "assistant: Both.").await;
    assert_eq!(said, ["user: first", "user: second", "assistant: Both."]);
    let woken = woken_session(&two).await;
    assert_eq!(said_last(&two, &woken, "assistant: Good morning.").await, ["user: Wake up!", "assistant: Good morning."]);
    assert_eq!(one.llm.questions().len(), 4, "each was answered once");
    for _ in 0..2 {
        there.agent_event("run.completed").await;
    }
    let heard = there.events_until_now().await;
    assert!(!heard.iter().any(|event| event["payload"]["type"] == "run.completed"), "{heard:?}");

    // The one that died comes back, and finds nothing left to do.
    one.restart().await;
    assert_eq!(one.owner_socket().await.call("chat.session.status", &json!({"sessionKey": session})).await.unwrap()["isRunning"], false);
    assert_eq!(one.llm.questions().len(), 4);
    drop(two);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_lives_keeps_what_it_took_in() {
    let one = with_fox(Edition::Standard).await;
    let two = one.twin().await;
    let (mut socket, session, gate) = (one.owner_socket().await, fox_session("1"), Gate::closed());
    one.llm.next(Answer::text("One.").gated(&gate)).next(Answer::text("Two."));
    let first = taken_in(&one, &mut socket, &session, &["second"]).await;
    // The other looks every three seconds; the hold was to last ten.
    let held_until = async || {
        let (client, connection) = tokio_postgres::connect(&one.environment()["GOCLAW_POSTGRES_DSN"], tokio_postgres::NoTls).await.unwrap();
        let driving = tokio::spawn(connection);
        let row = client.query_one("select lease_until::text from inbound_messages", &[]).await.unwrap();
        drop(client);
        driving.await.unwrap().unwrap();
        row.get::<_, String>(0)
    };
    let before = held_until().await;
    eventually("the hold to be renewed", async || held_until().await != before).await;
    assert_eq!(one.llm.questions().len(), 1, "nobody took it over");
    gate.open();
    assert_eq!(socket.answer(&first).await.unwrap()["content"], "Two.");
    drop(two);
}
