//! Titles that the model gives to conversations.

use crate::common::{Tenants, create_agent_with, fox_session, message, with_fox};
use goclaw_tests::{Answer, Server, fake_llm::TITLE};
use serde_json::json;

fn titles_asked_for(server: &Server) -> usize {
    server.llm.requests().iter().filter(|request| request.asks_for_title()).count()
}

on_both_editions! {
    async fn a_conversation_is_named_after_its_first_answer(edition) {
        let server = with_fox(edition).await;
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        let id = socket.send("chat.send", &message(&session, "How do foxes live?")).await;
        socket.run_events().await;
        let event = socket.event_named("session.updated").await;
        assert_eq!(event["payload"], json!({"sessionKey": session, "label": TITLE, "userId": "system"}));
        socket.answer(&id).await.unwrap();
        let listed = socket.call("sessions.list", &json!({})).await.unwrap();
        assert_eq!((&listed["sessions"][0]["label"], &listed["sessions"][0]["messageCount"]), (&json!(TITLE), &json!(2)));
        let asked = server.llm.requests().into_iter().find(|request| request.asks_for_title()).unwrap();
        assert!(asked.last_user_text().contains("How do foxes live?") && asked.tool_names().is_empty());

        // Nobody asks again: not for this conversation, but for the next.
        socket.call("chat.send", &message(&session, "And wolves?")).await.unwrap();
        socket.call("chat.send", &message(&fox_session("2"), "And bears?")).await.unwrap();
        assert_eq!(socket.event_named("session.updated").await["payload"]["sessionKey"], fox_session("2"));
        assert_eq!(titles_asked_for(&server), 2);
    }

    async fn a_failed_run_gives_no_title(edition) {
        let server = with_fox(edition).await;
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        server.llm.next(Answer::error(400, "no"));
        socket.call("chat.send", &message(&session, "first")).await.unwrap_err();
        socket.call("chat.send", &message(&session, "second")).await.unwrap();
        socket.event_named("session.updated").await;
        let asked: Vec<_> = server.llm.requests().into_iter().filter(|request| request.asks_for_title()).collect();
        assert_eq!(asked.len(), 1);
        assert!(asked[0].last_user_text().contains("second"));
    }

    async fn a_title_that_the_user_gave_stays(edition) {
        let server = with_fox(edition).await;
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        socket.call("chat.send", &message(&session, "first")).await.unwrap();
        socket.event_named("session.updated").await;
        socket.call("sessions.patch", &json!({"key": session, "label": "My own"})).await.unwrap();
        socket.event_named("session.updated").await;
        socket.call("chat.send", &message(&session, "second")).await.unwrap();
        socket.call("chat.send", &message(&fox_session("2"), "third")).await.unwrap();
        assert_eq!(socket.event_named("session.updated").await["payload"]["sessionKey"], fox_session("2"));
        let listed = socket.call("sessions.list", &json!({})).await.unwrap();
        let labels: Vec<_> = listed["sessions"].as_array().unwrap().iter().map(|session| session["label"].as_str().unwrap()).collect();
        assert_eq!(labels, [TITLE, "My own"]);
    }

    async fn a_title_is_told_to_its_user_only(edition) {
        let tenants = Tenants::start(edition).await;
        create_agent_with(&tenants.client(&tenants.a_admin, "admin"), "fox", json!({"is_default": true})).await;
        let mut mai = tenants.socket(&tenants.a_operator, "mai").await;
        let mut lan = tenants.socket(&tenants.a_operator, "lan").await;
        let mut other = tenants.socket(&tenants.b_admin, "mai").await;
        mai.call("chat.send", &message(&fox_session("1"), "secret")).await.unwrap();
        mai.event_named("session.updated").await;
        for socket in [&mut lan, &mut other] {
            let heard = socket.events_until_now().await;
            assert!(heard.iter().all(|event| event["event"] != "session.updated"), "{heard:?}");
        }
    }
}
