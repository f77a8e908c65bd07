//! How messages and runs wait for their turn.

use crate::common::{create_agent_with, fox_session, history, lines, message, with_fox};
use goclaw_tests::{Answer, Server, Setup, WsClient, eventually, fake_llm::Gate, server::GATEWAY_TOKEN};
use serde_json::json;

/// Waits until so many runs go on or wait.
async fn runs(server: &Server, count: usize) {
    let line = format!("goclaw_runs_active {count}");
    eventually("runs to be there", async || {
        let metrics = server.anonymous().token(GATEWAY_TOKEN).get("/metrics").await.text();
        metrics.lines().any(|found| found == line)
    })
    .await;
}

/// A session whose run goes on and takes no more messages in.
async fn busy(server: &Server, socket: &mut WsClient, session: &str) -> String {
    let first = socket.send("chat.send", &message(session, "first")).await;
    server.llm.wait_for_questions(1).await;
    for n in 1..=5 {
        assert_eq!(socket.call("chat.send", &message(session, &format!("taken in {n}"))).await.unwrap(), json!({"injected": true}));
    }
    first
}

on_both_editions! {
    async fn messages_are_taken_in_the_order_in_which_they_come(edition) {
        let server = with_fox(edition).await;
        server.llm.always(Answer::echo());
        let mut socket = server.owner_socket().await;
        for session in 1..=6 {
            let session = fox_session(&session.to_string());
            let mut asked = Vec::new();
            for n in 0..8 {
                asked.push(socket.send("chat.send", &message(&session, &n.to_string())).await);
            }
            for id in &asked {
                socket.answer(id).await.unwrap();
            }
            runs(&server, 0).await;
            let said = lines(&history(&mut socket, &session).await);
            let said: Vec<&str> = said.iter().filter_map(|line| line.strip_prefix("user: ")).collect();
            assert_eq!(said, ["0", "1", "2", "3", "4", "5", "6", "7"]);
        }
    }

    async fn the_oldest_of_too_many_messages_are_dropped_and_stopall_turns_the_rest_away(edition) {
        let server = with_fox(edition).await;
        server.llm.always(Answer::hang());
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        let first = busy(&server, &mut socket, &session).await;
        let mut queued = Vec::new();
        for n in 0..12_usize {
            queued.push(socket.send("chat.send", &message(&session, &format!("queued {n}"))).await);
            if n < 10 {
                runs(&server, n + 2).await;
            } else {
                let dropped = socket.answer(&queued[n - 10]).await.unwrap_err();
                assert_eq!(dropped.message, "the message was dropped: too many wait in this session");
            }
        }
        let stopped = socket.call("chat.send", &message(&session, " /stopall ")).await.unwrap();
        assert_eq!(stopped, json!({"content": "Stopped everything (11)."}));
        assert_eq!(socket.answer(&first).await.unwrap(), json!({"cancelled": true}));
        for id in &queued[2..] {
            assert_eq!(socket.answer(id).await.unwrap_err().message, "the run was stopped");
        }
        runs(&server, 0).await;
        assert_eq!(server.llm.questions().len(), 1, "none of them was begun");
        assert_eq!(socket.call("chat.send", &message(&session, "/stopall")).await.unwrap(), json!({"content": "There is nothing to stop."}));
        let said = lines(&history(&mut socket, &session).await);
        assert_eq!(said, ["user: first"], "a command is no message, and what was dropped is no part of the conversation");
    }

    async fn stop_ends_the_run_that_goes_on_and_the_next_follows(edition) {
        let server = with_fox(edition).await;
        server.llm.next(Answer::hang()).always(Answer::echo());
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        let first = busy(&server, &mut socket, &session).await;
        let next = socket.send("chat.send", &message(&session, "next")).await;
        runs(&server, 2).await;
        let mut stranger = server.socket_as("mai").await;
        assert!(stranger.call("chat.send", &message(&session, "/stop")).await.is_err(), "only its user stops it");
        let stopped = socket.call("chat.send", &message(&session, "/stop")).await.unwrap();
        assert_eq!(stopped, json!({"content": "Stopped. What waits follows."}));
        assert_eq!(socket.answer(&first).await.unwrap(), json!({"cancelled": true}));
        assert!(socket.answer(&next).await.unwrap()["content"].as_str().unwrap().starts_with("echo: "));
    }

    async fn the_newest_is_refused_where_the_operator_wants_that(edition) {
        let server = Setup::new(edition).await.config(json!({"gateway": {"queue": {"cap": 1, "drop": "new"}}})).start().await;
        create_agent_with(&server.owner(), "fox", json!({})).await;
        server.llm.always(Answer::hang());
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        busy(&server, &mut socket, &session).await;
        let _waits = socket.send("chat.send", &message(&session, "waits")).await;
        runs(&server, 2).await;
        assert_eq!(socket.call("chat.send", &message(&session, "refused")).await.unwrap_err().message, "the session's queue is full");
    }

    async fn a_message_interrupts_where_the_operator_wants_that(edition) {
        let server = Setup::new(edition).await.config(json!({"gateway": {"queue": {"mode": "interrupt"}}})).start().await;
        create_agent_with(&server.owner(), "fox", json!({})).await;
        server.llm.next(Answer::hang()).always(Answer::echo());
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        let first = socket.send("chat.send", &message(&session, "first")).await;
        server.llm.wait_for_questions(1).await;
        let second = socket.call("chat.send", &message(&session, "second")).await.unwrap();
        assert_eq!(second["content"], "echo: second");
        assert_eq!(socket.answer(&first).await.unwrap(), json!({"cancelled": true}));
    }

    async fn sub_agents_share_the_places_of_their_lane(edition) {
        let server = Setup::new(edition).await.env("GOCLAW_LANE_SUBAGENT", "1").start().await;
        create_agent_with(&server.owner(), "fox", json!({"agent_type": "predefined"})).await;
        let gate = Gate::closed();
        let gated = gate.clone();
        server.llm.on(move |request| {
            let child = request.system().contains("You are a sub-agent");
            Some(if child { Answer::text("Done.").gated(&gated) } else { Answer::text("Well.") })
        });
        server.llm.next(Answer::tool("spawn", &json!({"task": "One."})).and_tool("spawn", &json!({"task": "Two."})));
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        socket.call("chat.send", &message(&session, "Go.")).await.unwrap();
        let children = || server.llm.questions().iter().filter(|question| question.system().contains("You are a sub-agent")).count();
        server.llm.wait_for_questions(3).await;
        runs(&server, 2).await;
        assert_eq!(children(), 1, "the other waits for the one place");
        // A chat needs no place in a lane.
        assert_eq!(socket.call("chat.send", &message(&fox_session("2"), "And you?")).await.unwrap()["content"], "Well.");
        assert_eq!(children(), 1);
        gate.pass(1);
        eventually("the other to begin", async || children() == 2).await;
        gate.open();
        let processing = socket.event_named("team.leader.processing").await["payload"].take();
        assert!(processing["tasks"].as_i64().unwrap() >= 1);
    }
}
