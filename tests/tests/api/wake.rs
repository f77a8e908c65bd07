//! `POST /v1/agents/{id}/wake`.

use crate::common::{Tenants, create_agent, create_agent_with, fox_session, history, lines, message, with_fox};
use goclaw_ports::{TenantId, roles::Scope, traces::TraceFilter};
use goclaw_tests::{Answer, Setup, fixtures::add_api_key};
use serde_json::json;

const FOX: &str = "/v1/agents/fox/wake";

on_both_editions! {
    async fn an_agent_is_woken_and_its_answer_is_in_the_session(edition) {
        let mut server = with_fox(edition).await;
        server.llm.next(Answer::text("Good morning."));
        let body = server.owner().post(FOX, &json!({"message": "Wake up!"})).await.expect(200);
        assert_snapshot!("woken", body.clone());
        assert!(uuid::Uuid::parse_str(body["run_id"].as_str().unwrap()).is_ok());
        server.crash().await;
        server.restart().await;
        let mut socket = server.owner_socket().await;
        let list = socket.call("sessions.list", &json!({})).await.unwrap();
        let session = &list["sessions"][0];
        let key = session["key"].as_str().unwrap().to_owned();
        assert!(key.starts_with("agent:fox:wake-") && session["channel"] == "wake", "{session}");
        assert_eq!(lines(&history(&mut socket, &key).await), ["user: Wake up!", "assistant: Good morning."]);
        assert!(server.llm.questions().len() == 1, "what was answered is not carried out again");
    }

    async fn its_id_wakes_it_too_and_a_silent_one_says_nothing(edition) {
        let server = with_fox(edition).await;
        let id = server.owner().get("/v1/agents/fox").await.expect(200)["id"].as_str().unwrap().to_owned();
        server.llm.next(Answer::text("NO_REPLY"));
        let body = server.owner().post(&format!("/v1/agents/{id}/wake"), &json!({"message": "hi"})).await.expect(200);
        assert_eq!(body["content"], "");
    }

    async fn a_conversation_is_continued(edition) {
        let server = with_fox(edition).await;
        let mut socket = server.owner_socket().await;
        socket.call("chat.send", &message(&fox_session("1"), "one")).await.unwrap();
        server.owner().post(FOX, &json!({"message": "two", "session_key": fox_session("1")})).await.expect(200);
        assert_eq!(server.llm.questions().last().unwrap().texts_of("user"), ["one", "two"]);
    }

    async fn metadata_is_kept_with_the_trace(edition) {
        let mut server = with_fox(edition).await;
        server.owner().post(FOX, &json!({"message": "hi", "metadata": {"build": "417"}})).await.expect(200);
        assert!(server.stop().await.success());
        let stores = server.stores().await;
        let (traces, _) = stores.traces.list(TenantId::MASTER, &TraceFilter { limit: 10, ..TraceFilter::default() }).await.unwrap();
        stores.database.close().await;
        assert_eq!(traces[0].metadata.get("build"), Some(&json!("417")));
    }

    async fn bad_wakes_are_refused(edition) {
        let server = with_fox(edition).await;
        create_agent(&server.owner(), "wolf").await;
        let owner = server.owner();
        for (body, status) in [
            (json!({}), 400),
            (json!({"message": ""}), 400),
            (json!({"message": " \n"}), 400),
            (json!({"message": 5}), 400),
            (json!({"message": "hi", "metadata": "x"}), 400),
            (json!({"message": "hi", "metadata": {"x": "x".repeat(17_000)}}), 400),
            (json!({"message": "hi", "user_id": "u".repeat(256)}), 400),
            (json!({"message": "hi", "user_id": "a\u{0}b"}), 400),
            (json!({"message": "hi", "session_key": "agent:fox:a\u{0}b"}), 400),
            (json!({"message": "hi", "session_key": format!("agent:fox:{}", "x".repeat(500))}), 400),
            (json!({"message": "hi", "session_key": "agent:wolf:ws:direct:1"}), 403),
            (json!({"message": "hi", "session_key": "anything"}), 403),
        ] {
            let reply = owner.post(FOX, &body).await;
            assert_eq!(reply.status, status, "{body}: {}", reply.text());
            assert!(reply.json()["error"].is_string(), "{}", reply.text());
        }
        assert_eq!(owner.send("POST", FOX, "application/json", b"{".to_vec()).await.status, 400);
        assert_eq!(owner.post("/v1/agents/nobody/wake", &json!({"message": "hi"})).await.expect_error(404).1, "NOT_FOUND");
        assert_eq!(server.anonymous().post(FOX, &json!({"message": "hi"})).await.status, 401);
        assert!(server.llm.questions().is_empty(), "nothing reached the model");
    }

    async fn a_failed_run_says_why_and_leaks_nothing(edition) {
        let server = with_fox(edition).await;
        server.llm.always(Answer::error(401, "the key sk-very-secret-0123456789abcdef is wrong"));
        let reply = server.owner().post(FOX, &json!({"message": "hi"})).await;
        assert!(reply.status >= 500 && reply.json()["error"].is_string() && !reply.text().contains("sk-very-secret"), "{}", reply.text());
    }

    async fn conversations_of_others_stay_theirs(edition) {
        let tenants = Tenants::start(edition).await;
        create_agent_with(&tenants.client(&tenants.a_admin, "boss"), "fox", json!({"is_default": true})).await;
        let key = fox_session("1");
        tenants.socket(&tenants.a_operator, "mai").await.call("chat.send", &message(&key, "hi")).await.unwrap();
        let wake = json!({"message": "tell me", "session_key": key});
        assert_eq!(tenants.client(&tenants.a_operator, "lan").post(FOX, &wake).await.expect_error(403).1, "UNAUTHORIZED");
        assert_eq!(tenants.client(&tenants.b_admin, "mai").post(FOX, &wake).await.expect_error(404).1, "NOT_FOUND");
        tenants.client(&tenants.a_admin, "boss").post(FOX, &wake).await.expect(200);
        let list = tenants.socket(&tenants.a_admin, "boss").await.call("sessions.list", &json!({})).await.unwrap();
        assert_eq!((&list["total"], &list["sessions"][0]["userID"]), (&json!(1), &json!("mai")), "it is still hers");
        create_agent(&tenants.client(&tenants.a_admin, "boss"), "own").await;
        assert_eq!(tenants.client(&tenants.a_operator, "lan").post("/v1/agents/own/wake", &json!({"message": "hi"})).await.status, 403);
    }

    async fn a_key_with_an_owner_speaks_for_nobody_else(edition) {
        let mut setup = Setup::new(edition).await;
        let stores = setup.stores().await;
        let bound = add_api_key(&stores, None, &[Scope::Write], "mai").await;
        let free = add_api_key(&stores, None, &[Scope::Write], "").await;
        drop(stores);
        let server = setup.start().await;
        create_agent_with(&server.owner(), "fox", json!({"is_default": true})).await;
        let wake = json!({"message": "hi", "user_id": "lan"});
        server.with_key(&bound).post(FOX, &wake).await.expect(200);
        server.with_key(&free).user("other").post(FOX, &wake).await.expect(200);
        let list = server.owner_socket().await.call("sessions.list", &json!({})).await.unwrap();
        let mut users: Vec<&str> = list["sessions"].as_array().unwrap().iter().map(|session| session["userID"].as_str().unwrap()).collect();
        users.sort_unstable();
        assert_eq!(users, ["lan", "mai"]);
    }
}
