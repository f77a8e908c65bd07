//! What an agent can do with its other conversations: with the same user, and with nobody else.

use crate::common::{Tenants, create_agent_with, fox_session, history, lines, message};
use goclaw_tests::{Answer, Edition, Server, WsClient};
use serde_json::{Value, json};

/// An agent `fox` for all of tenant A, and sockets of two operators.
async fn with_users(edition: Edition) -> (Tenants, WsClient, WsClient) {
    let tenants = Tenants::start(edition).await;
    for (key, name) in [(&tenants.a_admin, "fox"), (&tenants.a_admin, "owl"), (&tenants.b_admin, "fox")] {
        let agent = create_agent_with(&tenants.client(key, "admin"), name, json!({"is_default": name == "fox"})).await;
        let share = format!("/v1/agents/{}/shares", agent["id"].as_str().unwrap());
        tenants.client(key, "admin").post(&share, &json!({"user_id": "mai"})).await.expect(201);
    }
    let mai = tenants.socket(&tenants.a_operator, "mai").await;
    let lan = tenants.socket(&tenants.a_operator, "lan").await;
    (tenants, mai, lan)
}

/// Has the agent call a tool in a session, and answers with what it was told and whether that was an error.
async fn told(server: &Server, socket: &mut WsClient, session: &str, tool: &str, arguments: &Value) -> (String, bool) {
    server.llm.next(Answer::tool(tool, arguments)).next(Answer::text("Done."));
    socket.call("chat.send", &message(session, "go on")).await.unwrap();
    let stored = history(socket, session).await;
    let result = stored.iter().rev().find(|message| message["role"] == "tool").unwrap();
    (result["content"].as_str().unwrap().to_owned(), result["is_error"] == true)
}

/// The end of a run in the first session.
async fn ended(socket: &mut WsClient) -> Value {
    socket.event(|event| event["payload"]["type"] == "run.completed" && event["payload"]["sessionKey"] == fox_session("1")).await
}

/// Begins the first session.
async fn hello(socket: &mut WsClient) {
    socket.call("chat.send", &message(&fox_session("1"), "hello")).await.unwrap();
    ended(socket).await;
}

fn keys(list: &str) -> Vec<String> {
    let list: Value = serde_json::from_str(list).unwrap();
    assert_eq!(list["count"], list["sessions"].as_array().unwrap().len());
    list["sessions"].as_array().unwrap().iter().map(|session| session["key"].as_str().unwrap().to_owned()).collect()
}

on_both_editions! {
    async fn an_agent_sees_its_conversations_with_the_same_user_only(edition) {
        let (tenants, mut mai, mut lan) = with_users(edition).await;
        let server = &tenants.server;
        let mut of_b = tenants.socket(&tenants.b_admin, "mai").await;
        mai.call("chat.send", &message(&fox_session("1"), "secret of mai")).await.unwrap();
        mai.call("chat.send", &json!({"message": "to the owl", "agentId": "owl", "sessionKey": "agent:owl:ws:direct:1"})).await.unwrap();
        lan.call("chat.send", &message(&fox_session("of-lan"), "secret of lan")).await.unwrap();
        of_b.call("chat.send", &message(&fox_session("of-b"), "secret of b")).await.unwrap();

        let (list, failed) = told(server, &mut mai, &fox_session("2"), "sessions_list", &json!({})).await;
        assert!(!failed);
        assert_eq!(keys(&list), [fox_session("2"), fox_session("1")]);
        let (list, _) = told(server, &mut mai, &fox_session("2"), "sessions_list", &json!({"limit": 1, "active_minutes": 5})).await;
        assert_eq!(keys(&list), [fox_session("2")]);

        let (read, failed) = told(server, &mut mai, &fox_session("2"), "sessions_history", &json!({"session_key": fox_session("1")})).await;
        let read: Value = serde_json::from_str(&read).unwrap();
        assert!(!failed && read["count"] == 2 && read["messages"][0] == json!({"role": "user", "content": "secret of mai"}), "{read}");
        let (status, failed) = told(server, &mut mai, &fox_session("2"), "session_status", &json!({"session_key": fox_session("1")})).await;
        assert!(!failed && status.contains(&format!("key: {}", fox_session("1"))) && status.contains("messages: 2"), "{status}");
        let (status, _) = told(server, &mut mai, &fox_session("2"), "session_status", &json!({})).await;
        assert!(status.contains(&format!("key: {}", fox_session("2"))), "{status}");

        for foreign in [fox_session("of-lan"), fox_session("of-b"), fox_session("none"), "agent:owl:ws:direct:1".to_owned()] {
            for (tool, arguments) in [
                ("sessions_history", json!({"session_key": foreign})),
                ("session_status", json!({"session_key": foreign})),
                ("sessions_send", json!({"session_key": foreign, "message": "hi"})),
            ] {
                let (text, failed) = told(server, &mut mai, &fox_session("3"), tool, &arguments).await;
                assert!(failed && !text.contains("secret"), "{tool} {foreign}: {text}");
            }
        }
        assert_eq!(history(&mut lan, &fox_session("of-lan")).await.len(), 2);
        assert_eq!(history(&mut of_b, &fox_session("of-b")).await.len(), 2);
    }

    async fn tool_steps_are_shown_on_request_and_long_messages_are_cut(edition) {
        let (tenants, mut mai, _) = with_users(edition).await;
        let server = &tenants.server;
        server.llm.next(Answer::tool("write_file", &json!({"path": "a.txt", "content": "x"}))).next(Answer::text("y".repeat(5_000)));
        mai.call("chat.send", &message(&fox_session("1"), "write")).await.unwrap();
        let read = async |mai: &mut WsClient, arguments: Value| {
            let (text, failed) = told(server, mai, &fox_session("2"), "sessions_history", &arguments).await;
            assert!(!failed, "{text}");
            serde_json::from_str::<Value>(&text).unwrap()
        };
        let plain = read(&mut mai, json!({"session_key": fox_session("1")})).await;
        assert_eq!((&plain["count"], plain["messages"][1]["content"].as_str().unwrap().len()), (&json!(2), 4_000));
        let with_tools = read(&mut mai, json!({"session_key": fox_session("1"), "include_tools": true})).await;
        let roles: Vec<_> = with_tools["messages"].as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["user", "assistant", "tool", "assistant"]);
        let last = read(&mut mai, json!({"session_key": fox_session("1"), "limit": 1})).await;
        assert!(last["count"] == 1 && last["messages"][0]["role"] == "assistant");
        for _ in 0..25 {
            mai.call("chat.inject", &json!({"sessionKey": fox_session("1"), "message": "z".repeat(4_000)})).await.unwrap();
        }
        let much = read(&mut mai, json!({"session_key": fox_session("1"), "limit": 25})).await;
        assert!(much["error"].is_string() && much["count"] == 25 && much["messages"].is_null(), "{much}");
    }

    async fn two_conversations_do_not_talk_for_ever(edition) {
        let (tenants, mut mai, _) = with_users(edition).await;
        let server = &tenants.server;
        hello(&mut mai).await;
        server.llm.on(|asked| {
            let answered = asked.messages().last().unwrap()["role"] == "tool";
            let (from_other, asks) = (asked.last_user_text().starts_with("[From your conversation"), asked.last_user_text() == "ask there");
            let other = fox_session(if from_other { "2" } else { "1" });
            Some(if !answered && (from_other || asks) { Answer::tool("sessions_send", &json!({"session_key": other, "message": "and you?"})) } else { Answer::text("Done.") })
        });
        mai.send("chat.send", &message(&fox_session("2"), "ask there")).await;
        ended(&mut mai).await;
        let there = history(&mut mai, &fox_session("1")).await;
        let refused = there.iter().find(|message| message["role"] == "tool").unwrap();
        assert!(refused["is_error"] == true && refused["content"].as_str().unwrap().contains("for ever"), "{refused}");
    }

    async fn a_message_into_another_conversation_is_answered_there(edition) {
        let (tenants, mut mai, _) = with_users(edition).await;
        let server = &tenants.server;
        hello(&mut mai).await;
        mai.call("sessions.patch", &json!({"key": fox_session("1"), "label": "The den"})).await.unwrap();
        server.llm.on(|asked| {
            let sent = asked.last_user_text().contains("how is the den?");
            Some(if sent { Answer::text("The den is fine.") } else { Answer::text("Done.") })
        });
        server.llm.next(Answer::tool("sessions_send", &json!({"label": "The den", "message": "how is the den?"})));
        let id = mai.send("chat.send", &message(&fox_session("2"), "ask there")).await;
        assert_eq!(ended(&mut mai).await["payload"]["payload"]["content"], "The den is fine.");
        mai.answer(&id).await.unwrap();
        let there = lines(&history(&mut mai, &fox_session("1")).await);
        assert!(there[2].starts_with("user: [From your conversation agent:fox:ws:direct:2]") && there[2].ends_with("how is the den?"), "{there:?}");
        assert_eq!(there[3], "assistant: The den is fine.");
        let here = history(&mut mai, &fox_session("2")).await;
        let accepted: Value = serde_json::from_str(here.iter().find(|message| message["role"] == "tool").unwrap()["content"].as_str().unwrap()).unwrap();
        assert_eq!(accepted, json!({"status": "accepted", "session_key": fox_session("1")}));

        for arguments in [json!({"message": "x"}), json!({"message": " ", "label": "The den"}), json!({"message": "x", "label": "No such"}), json!({"message": "x", "session_key": fox_session("2")})] {
            let (text, failed) = told(server, &mut mai, &fox_session("2"), "sessions_send", &arguments).await;
            assert!(failed, "{arguments}: {text}");
        }
    }
}
