//! `sessions.list`, `sessions.preview`, and who may see which conversation.

use crate::common::{Tenants, create_agent_with, fox_session, history, message};
use goclaw_ports::{
    roles::Scope,
    sessions::{NewSession, SessionDelta},
};
use goclaw_tests::{
    Answer, Edition, Setup, WsClient,
    fake_llm::Gate,
    fixtures::{add_api_key, add_tenant, agent, at, new_session, said},
};
use serde_json::{Value, json};

fn keys(list: &Value) -> Vec<&str> {
    list["sessions"].as_array().unwrap().iter().map(|session| session["key"].as_str().unwrap()).collect()
}

/// An agent `fox` for all of tenant A, and sockets of an admin and of two operators.
async fn with_users(edition: Edition) -> (Tenants, WsClient, WsClient, WsClient) {
    let tenants = Tenants::start(edition).await;
    create_agent_with(&tenants.client(&tenants.a_admin, "admin"), "fox", json!({"is_default": true, "display_name": "Fox"})).await;
    let admin = tenants.socket(&tenants.a_admin, "admin").await;
    let mai = tenants.socket(&tenants.a_operator, "mai").await;
    let lan = tenants.socket(&tenants.a_operator, "lan").await;
    (tenants, admin, mai, lan)
}

on_both_editions! {
    async fn sessions_are_listed_and_shown(edition) {
        let (_tenants, mut admin, mut mai, _) = with_users(edition).await;
        mai.call("chat.send", &message(&fox_session("1"), "hello")).await.unwrap();
        mai.event_named("session.updated").await;
        let list = admin.call("sessions.list", &json!({})).await.unwrap();
        assert!(list["sessions"][0]["estimatedTokens"].as_i64().unwrap() > 12_000);
        assert_snapshot!("list", list);
        assert_snapshot!("preview", mai.call("sessions.preview", &json!({"key": fox_session("1")})).await.unwrap());
        assert_snapshot!("history", mai.call("chat.history", &json!({"sessionKey": fox_session("1")})).await.unwrap());
    }

    async fn a_user_sees_its_own_sessions_only(edition) {
        let (_tenants, mut admin, mut mai, mut lan) = with_users(edition).await;
        mai.call("chat.send", &message(&fox_session("of-mai"), "secret of mai")).await.unwrap();
        lan.call("chat.send", &message(&fox_session("of-lan"), "secret of lan")).await.unwrap();
        let of_mai = mai.call("sessions.list", &json!({})).await.unwrap();
        assert_eq!((keys(&of_mai), &of_mai["total"]), (vec![&*fox_session("of-mai")], &json!(1)));
        let of_all = admin.call("sessions.list", &json!({})).await.unwrap();
        assert_eq!((keys(&of_all), &of_all["total"]), (vec![&*fox_session("of-lan"), &*fox_session("of-mai")], &json!(2)));

        let key = fox_session("of-mai");
        for (method, params) in [("sessions.preview", json!({"key": key})), ("chat.history", json!({"sessionKey": key})), ("chat.session.status", json!({"sessionKey": key})), ("chat.send", message(&key, "hi"))] {
            assert_eq!(lan.call(method, &params).await.unwrap_err().code, "UNAUTHORIZED", "{method}");
            if method != "chat.send" {
                admin.call(method, &params).await.unwrap();
            }
        }
        assert_eq!(history(&mut mai, &key).await.len(), 2);
        assert_eq!(lan.call("sessions.preview", &json!({"key": "agent:fox:ws:direct:none"})).await.unwrap_err().code, "NOT_FOUND");
        assert_eq!(admin.call("sessions.preview", &json!({"key": "agent:fox:ws:direct:none"})).await.unwrap()["messages"], json!([]));
    }

    async fn another_tenant_sees_nothing(edition) {
        let (tenants, _, mut mai, _) = with_users(edition).await;
        let key = fox_session("1");
        mai.call("chat.send", &message(&key, "secret of a")).await.unwrap();
        let mut other = tenants.socket(&tenants.b_admin, "mai").await;
        assert_eq!(other.call("sessions.list", &json!({})).await.unwrap()["total"], 0);
        assert_eq!(other.call("sessions.preview", &json!({"key": key})).await.unwrap()["messages"], json!([]));
        assert!(history(&mut other, &key).await.is_empty());
        assert_eq!(other.call("chat.send", &message(&key, "hi")).await.unwrap_err().code, "NOT_FOUND");
        assert_eq!(other.call("chat.abort", &json!({"sessionKey": key})).await.unwrap()["aborted"], false);
        assert_eq!(other.call("status", &json!({})).await.unwrap()["sessions"], 0);

        // The same keys in both tenants are two conversations.
        create_agent_with(&tenants.client(&tenants.b_admin, "mai"), "fox", json!({})).await;
        other.call("chat.send", &message(&key, "of b")).await.unwrap();
        assert_eq!(history(&mut other, &key).await[0]["content"], "of b");
        assert_eq!(history(&mut mai, &key).await[0]["content"], "secret of a");
        let asked = tenants.server.llm.questions().pop().unwrap();
        assert!(!asked.body.to_string().contains("secret of a"));
    }

    async fn a_list_is_filtered_and_paged(edition) {
        let (tenants, mut admin, mut mai, _) = with_users(edition).await;
        create_agent_with(&tenants.client(&tenants.a_admin, "admin"), "fox2", json!({})).await;
        for n in 1..=3 {
            mai.call("chat.send", &message(&fox_session(&n.to_string()), "hi")).await.unwrap();
        }
        admin.call("chat.send", &json!({"message": "hi", "agentId": "fox2", "sessionKey": "agent:fox2:ws:direct:4"})).await.unwrap();
        let page = admin.call("sessions.list", &json!({"agentId": "fox", "limit": 2, "offset": 1})).await.unwrap();
        assert_eq!(keys(&page), [fox_session("2"), fox_session("1")]);
        assert_eq!((&page["total"], &page["limit"], &page["offset"]), (&json!(3), &json!(2), &json!(1)));
        for (params, total) in [(json!({}), 4), (json!({"channel": "ws"}), 4), (json!({"channel": "http"}), 0), (json!({"agentId": "%"}), 0), (json!({"agentId": "fo_"}), 0), (json!({"agentId": "fox2"}), 1)] {
            assert_eq!(admin.call("sessions.list", &params).await.unwrap()["total"], total, "{params}");
        }
        let odd = admin.call("sessions.list", &json!({"limit": -5, "offset": -1})).await.unwrap();
        assert_eq!((&odd["limit"], &odd["offset"]), (&json!(20), &json!(0)));
        assert!(admin.call("sessions.list", &json!({"limit": 100_000})).await.unwrap()["limit"].as_i64().unwrap() <= 200);
    }

    async fn a_long_history_is_read_page_by_page_from_the_newest_on(edition) {
        let mut setup = Setup::new(edition).await;
        let stores = setup.stores().await;
        let tenant = add_tenant(&stores, "a").await;
        let fox = agent(tenant, "fox");
        stores.agents.insert(tenant, &fox, &[]).await.unwrap();
        let new = NewSession { user_id: "mai".into(), ..new_session(fox.id, &fox_session("1")) };
        stores.sessions.open(tenant, &new, at(0)).await.unwrap();
        let all: Vec<_> = (0..2_500).map(|n| said(n.to_string())).collect();
        stores.sessions.append(tenant, &new.key, &all, &SessionDelta::default(), at(1)).await.unwrap();
        let key = add_api_key(&stores, Some(tenant), &[Scope::Read], "").await;
        drop(stores);
        let server = setup.start().await;
        let (mut mai, mut lan) = (server.connected(&json!({"token": key, "user_id": "mai"})).await, server.connected(&json!({"token": key, "user_id": "lan"})).await);
        let numbers = |page: &Value| page["messages"].as_array().unwrap().iter().map(|message| message["content"].as_str().unwrap().parse().unwrap()).collect::<Vec<usize>>();

        let newest = mai.call("chat.history", &json!({"sessionKey": new.key})).await.unwrap();
        assert_eq!(numbers(&newest), (500..2_500).collect::<Vec<_>>());
        let oldest = mai.call("chat.history", &json!({"sessionKey": new.key, "before": newest["before"]})).await.unwrap();
        assert_eq!((numbers(&oldest), &oldest["before"]), ((0..500).collect::<Vec<_>>(), &Value::Null));

        let (mut read, mut before) = (Vec::new(), Value::Null);
        loop {
            let page = mai.call("chat.history", &json!({"session_key": new.key, "limit": 1_000, "before": before})).await.unwrap();
            read.splice(0..0, numbers(&page));
            before = page["before"].clone();
            if before.is_null() {
                break;
            }
        }
        assert_eq!(read, (0..2_500).collect::<Vec<_>>());
        for odd in [json!({"limit": 100_000}), json!({"limit": -1})] {
            let mut params = json!({"sessionKey": new.key});
            params.as_object_mut().unwrap().extend(odd.as_object().unwrap().clone());
            assert_eq!(numbers(&mai.call("chat.history", &params).await.unwrap()).len(), 2_000, "{odd}");
        }
        assert_eq!(mai.call("chat.history", &json!({"sessionKey": new.key, "before": "x"})).await.unwrap_err().code, "INVALID_REQUEST");
        assert_eq!(mai.call("chat.history", &json!({"sessionKey": new.key, "before": i64::MIN})).await.unwrap()["messages"], json!([]));
        assert_eq!(lan.call("chat.history", &json!({"sessionKey": new.key, "before": 10})).await.unwrap_err().code, "UNAUTHORIZED");
    }

    async fn keys_are_required(edition) {
        let (_tenants, mut admin, _, _) = with_users(edition).await;
        for (method, name) in [("sessions.preview", "key"), ("chat.history", "sessionKey"), ("chat.session.status", "sessionKey"), ("chat.abort", "sessionKey")] {
            let error = admin.call(method, &json!({})).await.unwrap_err();
            assert_eq!(error.code, "INVALID_REQUEST", "{method}");
            assert!(error.message.contains(name), "{method}: {}", error.message);
        }
    }

    async fn a_session_is_patched(edition) {
        let (tenants, mut admin, mut mai, mut lan) = with_users(edition).await;
        let key = fox_session("1");
        mai.call("chat.send", &message(&key, "hello")).await.unwrap();
        let patch = json!({"key": key, "label": "Title", "model": "m", "metadata": {"colour": "red"}});
        assert_eq!(mai.call("sessions.patch", &patch).await.unwrap(), json!({"ok": true, "key": key}));
        let event = admin.event(|event| event["event"] == "session.updated" && event["payload"]["label"] == "Title").await;
        assert_eq!(event["payload"], json!({"sessionKey": key, "label": "Title", "userId": "mai"}));
        admin.call("sessions.patch", &json!({"session_key": key, "metadata": {"size": "big"}})).await.unwrap();
        let list = mai.call("sessions.list", &json!({})).await.unwrap();
        let session = &list["sessions"][0];
        assert_eq!((&session["label"], &session["model"]), (&json!("Title"), &json!("m")));
        assert_eq!((&session["metadata"]["colour"], &session["metadata"]["size"]), (&json!("red"), &json!("big")));
        assert_eq!(history(&mut mai, &key).await.len(), 2);

        for (params, code) in [
            (json!({}), "INVALID_REQUEST"),
            (json!({"key": key, "label": "x".repeat(501)}), "INVALID_REQUEST"),
            (json!({"key": key, "label": 5}), "INVALID_REQUEST"),
            (json!({"key": fox_session("none"), "label": "x"}), "NOT_FOUND"),
        ] {
            assert_eq!(admin.call("sessions.patch", &params).await.unwrap_err().code, code, "{params}");
        }
        assert_eq!(lan.call("sessions.patch", &patch).await.unwrap_err().code, "UNAUTHORIZED");
        let mut viewer = tenants.socket(&tenants.a_viewer, "mai").await;
        assert_eq!(viewer.call("sessions.patch", &patch).await.unwrap_err().code, "UNAUTHORIZED");
        let mut other = tenants.socket(&tenants.b_admin, "mai").await;
        assert_eq!(other.call("sessions.patch", &patch).await.unwrap_err().code, "NOT_FOUND");
    }

    async fn a_session_is_reset_and_deleted(edition) {
        let (mut tenants, mut admin, mut mai, mut lan) = with_users(edition).await;
        let key = fox_session("1");
        mai.call("chat.send", &message(&key, "hello")).await.unwrap();
        mai.call("sessions.patch", &json!({"key": key, "label": "Title"})).await.unwrap();
        for method in ["sessions.reset", "sessions.delete"] {
            assert_eq!(admin.call(method, &json!({})).await.unwrap_err().code, "INVALID_REQUEST");
            assert_eq!(lan.call(method, &json!({"key": key})).await.unwrap_err().code, "UNAUTHORIZED");
            assert_eq!(lan.call(method, &json!({"key": fox_session("none")})).await.unwrap_err().code, "NOT_FOUND");
            assert_eq!(admin.call(method, &json!({"key": fox_session("none")})).await.unwrap(), json!({"ok": true}));
            let mut viewer = tenants.socket(&tenants.a_viewer, "mai").await;
            assert_eq!(viewer.call(method, &json!({"key": key})).await.unwrap_err().code, "UNAUTHORIZED");
            let mut other = tenants.socket(&tenants.b_admin, "mai").await;
            other.call(method, &json!({"key": key})).await.unwrap();
        }
        assert_eq!(history(&mut mai, &key).await.len(), 2);

        assert_eq!(mai.call("sessions.reset", &json!({"session_key": key})).await.unwrap(), json!({"ok": true}));
        tenants.server.crash().await;
        tenants.server.restart().await;
        let mut mai = tenants.socket(&tenants.a_operator, "mai").await;
        assert!(history(&mut mai, &key).await.is_empty());
        let list = mai.call("sessions.list", &json!({})).await.unwrap();
        assert_eq!((&list["sessions"][0]["label"], &list["sessions"][0]["messageCount"]), (&json!("Title"), &json!(0)));
        assert!(list["sessions"][0]["outputTokens"].as_i64().unwrap() > 0);

        mai.call("sessions.delete", &json!({"key": key})).await.unwrap();
        assert_eq!(mai.call("sessions.list", &json!({})).await.unwrap()["total"], 0);
        assert_eq!(mai.call("sessions.delete", &json!({"key": key})).await.unwrap_err().code, "NOT_FOUND");
    }

    async fn a_run_of_a_deleted_session_is_stopped(edition) {
        let (tenants, _, mut mai, _) = with_users(edition).await;
        let (key, gate) = (fox_session("1"), Gate::closed());
        tenants.server.llm.next(Answer::text("a long answer").chunks(4).gated(&gate));
        let mut running = tenants.socket(&tenants.a_operator, "mai").await;
        running.send("chat.send", &message(&key, "hello")).await;
        tenants.server.llm.wait_for_questions(1).await;
        mai.call("sessions.delete", &json!({"key": key})).await.unwrap();
        gate.open();
        assert_eq!(mai.call("chat.session.status", &json!({"sessionKey": key})).await.unwrap()["isRunning"], false);
        assert_eq!(mai.call("sessions.list", &json!({})).await.unwrap()["total"], 0);
    }
}
