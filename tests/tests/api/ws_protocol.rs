//! Frames, `connect`, `health`, `status`.

use crate::common::{Tenants, create_agent, with_fox};
use futures_util::StreamExt;
use goclaw_tests::{Server, Setup, server::GATEWAY_TOKEN};
use serde_json::{Value, json};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{self, Message, client::IntoClientRequest},
};

async fn upgrade_with(server: &Server, name: &'static str, value: &str) -> Result<(), u16> {
    let mut request = format!("ws://127.0.0.1:{}/ws", server.port()).into_client_request().unwrap();
    request.headers_mut().insert(name, value.parse().unwrap());
    match connect_async(request).await {
        Ok((mut socket, _)) => {
            socket.close(None).await.ok();
            while socket.next().await.is_some() {}
            Ok(())
        }
        Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

on_both_editions! {
    async fn only_upgrades_are_taken(edition) {
        let server = Server::start(edition).await;
        assert_eq!(server.anonymous().get("/ws").await.status, 400);
        assert_eq!(server.anonymous().header("Connection", "upgrade").get("/ws").await.status, 426);
        assert_eq!(server.anonymous().post("/ws", &json!({})).await.status, 405);
        assert_eq!(upgrade_with(&server, "Sec-WebSocket-Version", "12").await, Err(400));
    }

    async fn origins_are_checked(edition) {
        let server = Setup::new(edition).await.env("GOCLAW_ALLOWED_ORIGINS", "https://a.example, https://b.example").start().await;
        for (origin, outcome) in [("https://a.example", Ok(())), ("https://b.example", Ok(())), ("https://c.example", Err(403)), ("null", Err(403)), ("https://a.example.evil", Err(403))] {
            assert_eq!(upgrade_with(&server, "Origin", origin).await, outcome, "{origin}");
        }
        server.owner_socket().await.close().await;
    }

    async fn the_owner_is_welcomed(edition) {
        let server = Server::start(edition).await;
        let mut socket = server.socket().await;
        let welcome = socket.call("connect", &json!({"token": GATEWAY_TOKEN, "user_id": "system", "protocolVersion": 3})).await.unwrap();
        assert_snapshot!("welcome", welcome);
    }

    async fn nothing_works_before_connect_and_bad_frames_close_nothing(edition) {
        let server = Server::start(edition).await;
        let mut socket = server.socket().await;
        for method in ["health", "agents.list", "chat.send", "ping"] {
            assert_eq!(socket.call(method, &json!({})).await.unwrap_err().code, "UNAUTHORIZED", "{method}");
        }
        for text in ["{\"type\":\"x\"}", "not json", "", "[]", "null", "{\"type\":\"req\",\"id\":5,\"method\":\"health\"}", "{\"type\":\"req\",\"id\":\"x\"}", "{\"type\":\"res\",\"id\":\"y\",\"ok\":true}"] {
            socket.send_text(text).await;
            let frame = socket.response_frame("").await;
            assert_eq!((&frame["ok"], &frame["error"]["code"]), (&json!(false), &json!("INVALID_REQUEST")), "{text}");
        }
        socket.call("connect", &json!({"token": GATEWAY_TOKEN, "user_id": "system"})).await.unwrap();
        socket.call("health", &json!({})).await.unwrap();
    }

    async fn binary_frames_with_json_are_taken(edition) {
        let server = Server::start(edition).await;
        let mut socket = server.socket().await;
        let request = json!({"type": "req", "id": "b1", "method": "connect", "params": {"token": GATEWAY_TOKEN}});
        socket.send_message(Message::binary(request.to_string().into_bytes())).await;
        assert_eq!(socket.response_frame("b1").await["ok"], true);
        socket.send_message(Message::binary(vec![0xff, 0x00, 0x9f])).await;
        assert_eq!(socket.response_frame("").await["error"]["code"], "INVALID_REQUEST");
    }

    async fn a_wrong_token_looks_like_a_viewer_and_opens_nothing(edition) {
        let server = with_fox(edition).await;
        for token in ["wrong", &GATEWAY_TOKEN[1..], "goclaw_0123456789abcdef0123456789abcdef"] {
            let mut socket = server.socket().await;
            let welcome = socket.call("connect", &json!({"token": token, "user_id": "system"})).await.unwrap();
            assert_eq!((&welcome["role"], &welcome["is_owner"]), (&json!("viewer"), &json!(false)), "{token}");
            for method in ["agents.list", "sessions.list", "status", "health", "chat.send"] {
                assert_eq!(socket.call(method, &json!({})).await.unwrap_err().code, "UNAUTHORIZED", "{method}");
            }
        }
    }

    async fn anonymous_connects_never_open_anything(edition) {
        let server = with_fox(edition).await;
        for _ in 0..10 {
            let mut socket = server.socket().await;
            drop(socket.call("connect", &json!({"user_id": "system"})).await);
            assert_eq!(socket.call("agents.list", &json!({})).await.unwrap_err().code, "UNAUTHORIZED");
        }
    }

    async fn a_failed_second_connect_leaves_nobody_behind(edition) {
        let tenants = Tenants::start(edition).await;
        let mut socket = tenants.server.owner_socket().await;
        let error = socket.call("connect", &json!({"token": GATEWAY_TOKEN, "user_id": "stranger", "tenant_id": "a"})).await.unwrap_err();
        assert_eq!(error.code, "TENANT_ACCESS_REVOKED");
        assert_eq!(socket.call("agents.list", &json!({})).await.unwrap_err().code, "UNAUTHORIZED");
        socket.call("connect", &json!({"token": tenants.a_viewer, "user_id": "mai"})).await.unwrap();
        assert_eq!(socket.call("chat.send", &json!({"message": "hi"})).await.unwrap_err().code, "UNAUTHORIZED", "it is a viewer now");
    }

    async fn connect_names_the_tenant(edition) {
        let tenants = Tenants::start(edition).await;
        for hint in [json!("a"), json!(tenants.a)] {
            for key in ["tenant_id", "tenant_scope"] {
                let welcome = tenants.server.socket().await.call("connect", &json!({"token": GATEWAY_TOKEN, "user_id": "system", key: hint})).await.unwrap();
                assert_eq!((&welcome["tenant_id"], &welcome["tenant_slug"], &welcome["role"]), (&json!(tenants.a), &json!("a"), &json!("owner")), "{key} {hint}");
            }
        }
        let bound = tenants.server.socket().await.call("connect", &json!({"token": tenants.a_admin, "user_id": "mai", "tenant_id": "b"})).await.unwrap();
        assert_eq!(bound["tenant_slug"], "a", "a tenant's key stays in its tenant");
        let system = tenants.server.socket().await.call("connect", &json!({"token": tenants.system, "tenant_id": "b"})).await.unwrap();
        assert_eq!((&system["tenant_slug"], &system["role"]), (&json!("b"), &json!("admin")));
        let unknown = tenants.server.socket().await.call("connect", &json!({"token": GATEWAY_TOKEN, "user_id": "system", "tenant_id": "nowhere"})).await;
        assert_eq!(unknown.unwrap_err().code, "NOT_FOUND");
    }

    async fn unknown_methods_are_named(edition) {
        let server = Server::start(edition).await;
        let mut socket = server.owner_socket().await;
        for method in ["ping", "no.such.method", "Chat.Send", ""] {
            let error = socket.call(method, &json!({})).await.unwrap_err();
            assert_eq!(error.code, "INVALID_REQUEST");
            assert!(error.message.contains(method), "{}", error.message);
        }
    }

    async fn odd_params_are_refused_or_ignored(edition) {
        let server = with_fox(edition).await;
        let mut socket = server.owner_socket().await;
        for params in [json!(null), json!([]), json!("x"), json!(5), json!({"limit": "many", "agentId": 7})] {
            socket.call("agents.list", &params).await.unwrap();
            socket.call("sessions.list", &params).await.unwrap();
            assert_eq!(socket.call("chat.send", &params).await.unwrap_err().code, "INVALID_REQUEST", "{params}");
        }
    }

    async fn a_message_over_the_limit_closes_the_connection(edition) {
        let server = Server::start(edition).await;
        let mut socket = server.owner_socket().await;
        socket.send_text(&"x".repeat(600 << 10)).await;
        socket.wait_for_close().await;
        let mut other = server.owner_socket().await;
        let near = json!({"type": "req", "id": "near", "method": "ping", "params": {"pad": "x".repeat(500 << 10)}}).to_string();
        other.send_text(&near).await;
        assert_eq!(other.response_frame("near").await["error"]["code"], "INVALID_REQUEST");
    }

    async fn answers_speak_the_language_of_connect(edition) {
        let server = Server::start(edition).await;
        let text = async |locale: &str| {
            let mut socket = server.connected(&json!({"token": GATEWAY_TOKEN, "user_id": "system", "locale": locale})).await;
            socket.call("sessions.preview", &json!({})).await.unwrap_err().message
        };
        let (english, vietnamese, chinese) = (text("en").await, text("vi").await, text("zh-CN").await);
        assert_eq!(english, "key is required");
        assert!(vietnamese != english && chinese != english && vietnamese != chinese, "{vietnamese} {chinese}");
    }

    async fn health_lists_the_clients_of_the_tenant_to_its_admins(edition) {
        let tenants = Tenants::start(edition).await;
        let mut admin = tenants.socket(&tenants.a_admin, "admin").await;
        let mut viewer = tenants.socket(&tenants.a_viewer, "mai").await;
        let mut other = tenants.socket(&tenants.b_admin, "lan").await;
        let users = |health: &Value| {
            let mut users: Vec<_> = health["clients"].as_array().unwrap().iter().map(|client| client["userId"].as_str().unwrap().to_owned()).collect();
            users.sort();
            users
        };
        let health = admin.call("health", &json!({})).await.unwrap();
        assert_eq!(users(&health), ["admin", "mai"]);
        assert_eq!((&health["status"], &health["database"]), (&json!("ok"), &json!("ok")));
        assert!(health["tools"].is_u64() && health["uptime"].is_u64() && health["currentId"].is_string(), "{health}");
        assert_eq!(users(&other.call("health", &json!({})).await.unwrap()), ["lan"]);
        assert_eq!(users(&viewer.call("health", &json!({})).await.unwrap()), ["mai"]);
    }

    async fn status_counts_within_the_tenant(edition) {
        let tenants = Tenants::start(edition).await;
        create_agent(&tenants.client(&tenants.a_admin, "mai"), "fox").await;
        create_agent(&tenants.client(&tenants.b_admin, "mai"), "wolf").await;
        let mut socket = tenants.socket(&tenants.a_admin, "mai").await;
        socket.call("chat.send", &json!({"message": "hi", "agentId": "fox"})).await.unwrap();
        let status = socket.call("status", &json!({})).await.unwrap();
        assert_eq!((&status["agentTotal"], &status["sessions"], &status["clients"]), (&json!(1), &json!(1), &json!(1)), "{status}");
        assert!(!status.to_string().contains("wolf"));
    }

    async fn events_are_numbered_and_stay_in_their_tenant(edition) {
        let tenants = Tenants::start(edition).await;
        crate::common::create_agent_with(&tenants.client(&tenants.a_admin, "admin"), "fox", json!({"is_default": true})).await;
        let mut admin = tenants.socket(&tenants.a_admin, "admin").await;
        let mut mai = tenants.socket(&tenants.a_operator, "mai").await;
        let mut lan = tenants.socket(&tenants.a_viewer, "lan").await;
        let mut other = tenants.socket(&tenants.b_admin, "mai").await;
        let mut owner = tenants.server.owner_socket().await;
        let mut nobody = tenants.server.socket().await;
        mai.call("chat.send", &json!({"message": "hi", "agentId": "fox", "stream": true})).await.unwrap();
        let of_agents = |events: Vec<Value>| events.into_iter().filter(|event| event["event"] == "agent").collect::<Vec<_>>();
        for (name, socket, sees) in [("mai", &mut mai, true), ("admin", &mut admin, true), ("lan", &mut lan, false), ("tenant b", &mut other, false), ("master tenant", &mut owner, false), ("nobody", &mut nobody, false)] {
            if sees {
                let events = socket.run_events().await;
                assert_eq!(events[0]["type"], "run.started", "{name}");
            } else {
                assert_eq!(of_agents(socket.events_until_now().await), Vec::<Value>::new(), "{name}");
            }
        }
        admin.call("chat.send", &json!({"message": "hi", "agentId": "fox", "stream": true})).await.unwrap();
        let seqs: Vec<_> = admin.events_until_now().await.iter().map(|event| event["seq"].as_i64().unwrap()).collect();
        assert!(seqs.len() > 2 && seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seqs:?}");
    }
}
