//! `chat.inject`: words in an agent's mouth.

use crate::common::{Tenants, create_agent, create_agent_with, fox_session, history, lines, message, with_fox};
use goclaw_tests::server::GATEWAY_TOKEN;
use serde_json::json;

on_both_editions! {
    async fn a_message_of_the_agent_is_kept_without_a_run(edition) {
        let mut server = with_fox(edition).await;
        let mut socket = server.owner_socket().await;
        let session = fox_session("1");
        let told = socket.call("chat.inject", &json!({"sessionKey": session, "message": "Build 417 failed.", "label": "ci"})).await.unwrap();
        assert_eq!(told["ok"], true);
        assert!(uuid::Uuid::parse_str(told["messageId"].as_str().unwrap()).is_ok());
        assert!(server.llm.questions().is_empty());
        server.crash().await;
        server.restart().await;
        let mut socket = server.owner_socket().await;
        assert_eq!(lines(&history(&mut socket, &session).await), ["assistant: [ci]\n\nBuild 417 failed."]);
        socket.call("chat.send", &message(&session, "Why?")).await.unwrap();
        let texts = server.llm.questions()[0].texts_of("assistant");
        assert!(texts.iter().any(|text| text.contains("Build 417 failed.")), "{texts:?}");
    }

    async fn the_command_line_clients_names_are_understood(edition) {
        let server = with_fox(edition).await;
        let mut socket = server.owner_socket().await;
        socket.call("chat.inject", &json!({"agent_key": "fox", "session_key": fox_session("1"), "text": "hello"})).await.unwrap();
        assert_eq!(lines(&history(&mut socket, &fox_session("1")).await), ["assistant: hello"]);
    }

    async fn bad_injections_are_refused(edition) {
        let server = with_fox(edition).await;
        let mut socket = server.owner_socket().await;
        for (params, code) in [
            (json!({}), "INVALID_REQUEST"),
            (json!({"sessionKey": fox_session("1")}), "INVALID_REQUEST"),
            (json!({"sessionKey": fox_session("1"), "message": " "}), "INVALID_REQUEST"),
            (json!({"sessionKey": fox_session("1"), "message": 5}), "INVALID_REQUEST"),
            (json!({"message": "hi"}), "INVALID_REQUEST"),
            (json!({"sessionKey": "anything", "message": "hi"}), "INVALID_REQUEST"),
            (json!({"sessionKey": "agent:fox:a\u{0}b", "message": "hi"}), "INVALID_REQUEST"),
            (json!({"sessionKey": format!("agent:fox:{}", "x".repeat(500)), "message": "hi"}), "INVALID_REQUEST"),
            (json!({"sessionKey": fox_session("1"), "message": "x".repeat(32_001)}), "INVALID_REQUEST"),
            (json!({"sessionKey": "agent:nobody:ws:direct:1", "message": "hi"}), "NOT_FOUND"),
        ] {
            assert_eq!(socket.call("chat.inject", &params).await.unwrap_err().code, code, "{params}");
        }
        let mut nobody = server.connected(&json!({"token": GATEWAY_TOKEN})).await;
        assert_eq!(nobody.call("chat.inject", &json!({"sessionKey": fox_session("1"), "message": "hi"})).await.unwrap_err().code, "INVALID_REQUEST");
        assert_eq!(socket.call("sessions.list", &json!({})).await.unwrap()["total"], 0);
    }

    async fn conversations_of_others_stay_theirs(edition) {
        let tenants = Tenants::start(edition).await;
        create_agent_with(&tenants.client(&tenants.a_admin, "boss"), "open", json!({"is_default": true})).await;
        create_agent(&tenants.client(&tenants.a_admin, "boss"), "fox").await;
        let key = "agent:open:ws:direct:1";
        let words = json!({"sessionKey": key, "message": "psst"});
        let mut mai = tenants.socket(&tenants.a_operator, "mai").await;
        mai.call("chat.inject", &words).await.unwrap();
        let mut lan = tenants.socket(&tenants.a_operator, "lan").await;
        assert_eq!(lan.call("chat.inject", &words).await.unwrap_err().code, "UNAUTHORIZED");
        assert_eq!(lan.call("chat.inject", &json!({"sessionKey": fox_session("1"), "message": "psst"})).await.unwrap_err().code, "UNAUTHORIZED");
        assert_eq!(tenants.socket(&tenants.b_admin, "mai").await.call("chat.inject", &words).await.unwrap_err().code, "NOT_FOUND");
        tenants.socket(&tenants.a_admin, "boss").await.call("chat.inject", &words).await.unwrap();
        assert_eq!(history(&mut mai, key).await.len(), 2);
    }

    async fn who_lost_the_agent_puts_no_more_words_in_its_mouth(edition) {
        let tenants = Tenants::start(edition).await;
        let boss = tenants.client(&tenants.a_admin, "boss");
        create_agent_with(&boss, "open", json!({"is_default": true})).await;
        let fox = create_agent(&boss, "fox").await;
        let shares = format!("/v1/agents/{}/shares", fox["id"].as_str().unwrap());
        boss.post(&shares, &json!({"user_id": "mai"})).await.expect(201);
        let mut mai = tenants.socket(&tenants.a_operator, "mai").await;
        let words = json!({"sessionKey": fox_session("1"), "message": "psst"});
        mai.call("chat.inject", &words).await.unwrap();
        boss.delete(&format!("{shares}/mai")).await.expect(200);
        assert_eq!(mai.call("chat.inject", &words).await.unwrap_err().code, "UNAUTHORIZED");
        assert_eq!(history(&mut mai, &fox_session("1")).await.len(), 1);
    }
}
