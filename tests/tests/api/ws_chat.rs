//! `chat.send` and its companions.

use crate::common::{assert_paired, create_agent, create_agent_with, fox_session, history, lines, message, with_fox};
use goclaw_tests::{
    Answer, Server,
    fake_llm::{DEFAULT_TEXT, Gate},
    server::GATEWAY_TOKEN,
};
use serde_json::{Value, json};

on_both_editions! {
    async fn a_run_is_told_from_its_start_to_its_end(edition) {
        let server = with_fox(edition).await;
        let mut socket = server.owner_socket().await;
        let session = fox_session("1");
        let id = socket.send("chat.send", &message(&session, "hello")).await;
        let events = socket.run_events().await;
        let result = socket.answer(&id).await.unwrap();
        assert_eq!((events[0]["type"].as_str(), events.last().unwrap()["type"].as_str()), (Some("run.started"), Some("run.completed")));
        let chunks: String = events.iter().filter(|event| event["type"] == "chunk").map(|event| event["payload"]["content"].as_str().unwrap()).collect();
        assert_eq!(chunks, DEFAULT_TEXT);
        for event in &events {
            assert_eq!((&event["runId"], &event["sessionKey"], &event["agentId"], &event["userId"]), (&result["runId"], &json!(session), &json!("fox"), &json!("system")));
        }
        assert_snapshot!("events", Value::Array(events));
        assert_snapshot!("result", result);
        assert_snapshot!("history", socket.call("chat.history", &json!({"sessionKey": session})).await.unwrap());
    }

    async fn without_streaming_the_answer_comes_in_one_piece(edition) {
        let server = with_fox(edition).await;
        let mut socket = server.owner_socket().await;
        let id = socket.send("chat.send", &json!({"message": "hello", "agentId": "fox"})).await;
        let events = socket.run_events().await;
        assert_eq!(events.iter().filter(|event| event["type"] == "chunk").count(), 1);
        let result = socket.answer(&id).await.unwrap();
        assert_eq!(result["content"], DEFAULT_TEXT);
        assert!(events[0]["sessionKey"].as_str().unwrap().starts_with("agent:fox:ws:direct:"));
        assert!(!server.llm.questions()[0].streams());
    }

    async fn the_agent_remembers_the_conversation_across_restarts(edition) {
        let mut server = with_fox(edition).await;
        server.llm.always(Answer::echo());
        let session = fox_session("1");
        server.owner_socket().await.call("chat.send", &message(&session, "My name is Mai.")).await.unwrap();
        assert!(server.stop().await.success());
        server.restart().await;
        let mut socket = server.owner_socket().await;
        socket.call("chat.send", &message(&session, "What is my name?")).await.unwrap();
        let asked = server.llm.questions().pop().unwrap();
        assert_eq!(asked.texts_of("user"), ["My name is Mai.", "What is my name?"]);
        assert_eq!(asked.texts_of("assistant"), ["echo: My name is Mai."]);
        let expected = ["user: My name is Mai.", "assistant: echo: My name is Mai.", "user: What is my name?", "assistant: echo: What is my name?"];
        assert_eq!(lines(&history(&mut socket, &session).await), expected);
    }

    async fn conversations_do_not_mix(edition) {
        let server = with_fox(edition).await;
        let mut socket = server.owner_socket().await;
        socket.call("chat.send", &message(&fox_session("1"), "one")).await.unwrap();
        socket.call("chat.send", &message(&fox_session("2"), "two")).await.unwrap();
        assert_eq!(server.llm.questions()[1].texts_of("user"), ["two"]);
    }

    async fn bad_messages_are_refused(edition) {
        let server = with_fox(edition).await;
        create_agent(&server.owner(), "wolf").await;
        let mut nobody = server.connected(&json!({"token": GATEWAY_TOKEN})).await;
        assert_eq!(nobody.call("chat.send", &message(&fox_session("1"), "hi")).await.unwrap_err().code, "INVALID_REQUEST");
        let mut socket = server.owner_socket().await;
        for (params, code) in [
            (json!({"message": "", "agentId": "fox"}), "INVALID_REQUEST"),
            (json!({"message": "  \n ", "agentId": "fox"}), "INVALID_REQUEST"),
            (json!({"agentId": "fox"}), "INVALID_REQUEST"),
            (json!({"message": 5, "agentId": "fox"}), "INVALID_REQUEST"),
            (json!({"message": "hi", "agentId": "nobody"}), "NOT_FOUND"),
            (json!({"message": "hi", "agentId": "wolf", "sessionKey": fox_session("1")}), "UNAUTHORIZED"),
            (json!({"message": "hi", "agentId": "fox", "sessionKey": format!("agent:fox:{}", "x".repeat(500))}), "INVALID_REQUEST"),
        ] {
            assert_eq!(socket.call("chat.send", &params).await.unwrap_err().code, code, "{params}");
        }
        assert!(server.llm.questions().is_empty());
        assert_eq!(socket.call("sessions.list", &json!({})).await.unwrap()["total"], 0);
    }

    async fn a_session_key_names_its_agent(edition) {
        let server = with_fox(edition).await;
        create_agent_with(&server.owner(), "wolf", json!({"model": "model-of-wolf"})).await;
        let mut socket = server.owner_socket().await;
        socket.call("chat.send", &json!({"message": "hi", "sessionKey": "agent:wolf:ws:direct:1"})).await.unwrap();
        assert_eq!(server.llm.questions()[0].body["model"], "model-of-wolf");
    }

    async fn a_message_to_a_busy_session_is_taken_in(edition) {
        let server = with_fox(edition).await;
        let gate = Gate::closed();
        server.llm.next(Answer::text("first answer").gated(&gate)).always(Answer::echo());
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        let first = socket.send("chat.send", &message(&session, "first")).await;
        server.llm.wait_for_questions(1).await;
        let status = socket.call("chat.session.status", &json!({"sessionKey": session})).await.unwrap();
        assert_eq!((&status["isRunning"], status["runId"].as_str().unwrap().len()), (&json!(true), 36));
        assert_eq!(socket.call("chat.send", &message(&session, "second")).await.unwrap(), json!({"injected": true}));
        gate.open();
        socket.answer(&first).await.unwrap();
        let asked = server.llm.wait_for_questions(2).await.pop().unwrap();
        assert!(asked.last_user_text().contains("second"), "{}", asked.last_user_text());
        let history = lines(&history(&mut socket, &session).await);
        assert!(history.contains(&"user: first".to_owned()) && history.contains(&"user: second".to_owned()), "{history:?}");
        assert_eq!(history.iter().filter(|line| line.contains("second") && line.starts_with("user")).count(), 1, "{history:?}");
        assert_eq!(socket.call("chat.session.status", &json!({"sessionKey": session})).await.unwrap(), json!({"isRunning": false, "runId": "", "activity": null}));
    }

    async fn an_aborted_run_ends_at_once_and_keeps_what_was_said(edition) {
        let server = with_fox(edition).await;
        let gate = Gate::closed();
        server.llm.next(Answer::text("partial answer that goes on").chunks(2).gated(&gate));
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        let id = socket.send("chat.send", &message(&session, "hello")).await;
        gate.pass(1);
        let piece = socket.agent_event("chunk").await["payload"]["content"].as_str().unwrap().to_owned();
        let aborted = socket.call("chat.abort", &json!({"sessionKey": session})).await.unwrap();
        assert_eq!((&aborted["ok"], &aborted["aborted"], aborted["runIds"].as_array().unwrap().len()), (&json!(true), &json!(true), 1));
        assert_eq!(socket.answer(&id).await.unwrap(), json!({"cancelled": true}));
        socket.agent_event("run.cancelled").await;
        server.llm.wait_for_lost_clients(1).await;
        assert_eq!(socket.call("chat.session.status", &json!({"sessionKey": session})).await.unwrap()["isRunning"], false);
        assert_eq!(socket.call("chat.abort", &json!({"sessionKey": session})).await.unwrap(), json!({"ok": true, "aborted": false, "runIds": []}));
        let before = lines(&history(&mut socket, &session).await);
        assert_eq!(before[0], "user: hello");
        assert!(before.len() == 1 || before[1].contains(piece.trim()), "{before:?}");

        socket.call("chat.send", &message(&session, "again")).await.unwrap();
        assert_eq!(server.llm.questions().pop().unwrap().last_user_text(), "again");
        assert_paired(&history(&mut socket, &session).await);
    }

    async fn a_run_is_aborted_by_its_id_and_only_by_its_user(edition) {
        let server = Server::start(edition).await;
        create_agent_with(&server.owner(), "fox", json!({"is_default": true})).await;
        let mut setup_key = server.socket_as("mai").await;
        server.llm.next(Answer::hang());
        let session = fox_session("1");
        let id = setup_key.send("chat.send", &message(&session, "hello")).await;
        let run = setup_key.agent_event("run.started").await["runId"].as_str().unwrap().to_owned();
        server.llm.wait_for_questions(1).await;
        for params in [json!({"runId": "01930000-0000-4000-8000-000000000000"}), json!({"runId": run, "sessionKey": fox_session("2")}), json!({"runId": "nonsense"})] {
            assert_eq!(setup_key.call("chat.abort", &params).await.unwrap()["aborted"], false, "{params}");
        }
        assert_eq!(setup_key.call("chat.abort", &json!({"runId": run})).await.unwrap(), json!({"ok": true, "aborted": true, "runIds": [run]}));
        assert_eq!(setup_key.answer(&id).await.unwrap(), json!({"cancelled": true}));
    }

    async fn a_run_outlives_its_connection(edition) {
        let server = with_fox(edition).await;
        let gate = Gate::closed();
        server.llm.next(Answer::text("the answer").gated(&gate));
        let (mut first, mut second, session) = (server.owner_socket().await, server.owner_socket().await, fox_session("1"));
        first.send("chat.send", &message(&session, "hello")).await;
        server.llm.wait_for_questions(1).await;
        first.close().await;
        gate.open();
        assert_eq!(second.agent_event("run.completed").await["payload"]["content"], "the answer");
        assert_eq!(lines(&history(&mut second, &session).await), ["user: hello", "assistant: the answer"]);
    }

    async fn slow_work_does_not_hold_up_other_calls(edition) {
        let server = with_fox(edition).await;
        server.llm.next(Answer::hang());
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        let id = socket.send("chat.send", &message(&session, "hello")).await;
        server.llm.wait_for_questions(1).await;
        socket.call("health", &json!({})).await.unwrap();
        assert_eq!(socket.call("agents.list", &json!({})).await.unwrap()["agents"][0]["isRunning"], true);
        socket.call("chat.abort", &json!({"sessionKey": session})).await.unwrap();
        assert_eq!(socket.answer(&id).await.unwrap(), json!({"cancelled": true}));
        assert_eq!(socket.call("agents.list", &json!({})).await.unwrap()["agents"][0]["isRunning"], false);
    }

    async fn an_agent_that_says_nothing_is_remembered_to_have_said_nothing(edition) {
        let server = with_fox(edition).await;
        server.llm.next(Answer::text("NO_REPLY"));
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        assert_eq!(socket.call("chat.send", &message(&session, "hello")).await.unwrap()["content"], "");
        assert_eq!(lines(&history(&mut socket, &session).await), ["user: hello", "assistant: NO_REPLY"]);
    }

    async fn thoughts_are_events_of_their_own(edition) {
        let server = with_fox(edition).await;
        server.llm.next(Answer::text("answer").thinking("let me see"));
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        let id = socket.send("chat.send", &message(&session, "hello")).await;
        let events = socket.run_events().await;
        let of = |kind: &str| events.iter().filter(|event| event["type"] == kind).map(|event| event["payload"]["content"].as_str().unwrap()).collect::<String>();
        assert_eq!((of("thinking").as_str(), of("chunk").as_str()), ("let me see", "answer"));
        assert_eq!(socket.answer(&id).await.unwrap()["content"], "answer");
        assert_eq!(history(&mut socket, &session).await[1]["thinking"], "let me see");
    }
}
