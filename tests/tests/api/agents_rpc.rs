//! `agent`, `agent.*` and `agents.*` over WebSocket.

use crate::common::{Tenants, create_agent, create_agent_with, fox_session, message, with_fox};
use goclaw_tests::{
    Server, Setup,
    fake_llm::{Answer, Gate},
};
use serde_json::{Value, json};
use std::path::Path;

const NAMES: [&str; 8] = ["AGENTS.md", "SOUL.md", "IDENTITY.md", "USER.md", "USER_PREDEFINED.md", "BOOTSTRAP.md", "MEMORY.json", "HEARTBEAT.md"];

fn missing(list: &Value) -> Vec<bool> {
    list["files"].as_array().unwrap().iter().map(|file| file["missing"].as_bool().unwrap()).collect()
}

on_both_editions! {
    async fn an_agent_is_made_from_its_name(edition) {
        let server = Server::start(edition).await;
        let mut socket = server.owner_socket().await;
        let made = socket.call("agents.create", &json!({"name": "My Fox!", "emoji": "🦊", "avatar": "fox.png", "context_window": 5000})).await.unwrap();
        assert_eq!((&made["ok"], &made["agentId"], &made["name"]), (&json!(true), &json!("my-fox"), &json!("My Fox!")));
        let workspace = made["workspace"].as_str().unwrap();
        assert!(workspace.ends_with("agents/my-fox"), "{workspace}");
        for name in ["AGENTS.md", "SOUL.md", "IDENTITY.md", "USER.md"] {
            assert!(Path::new(workspace).join(name).is_file(), "{name}");
        }
        let agent = server.owner().get("/v1/agents/my-fox").await.expect(200);
        assert_eq!((&agent["owner_id"], &agent["status"], &agent["context_window"], &agent["display_name"]), (&json!("system"), &json!("active"), &json!(5000), &json!("My Fox!")));
        let identity = socket.call("agents.files.get", &json!({"agentId": "my-fox", "name": "IDENTITY.md"})).await.unwrap();
        let text = identity["file"]["content"].as_str().unwrap();
        assert!(text.starts_with("# Identity") && text.contains("Name: My Fox!") && text.contains("Emoji: 🦊") && text.contains("Avatar: fox.png"), "{text}");
        let shown = socket.call("agent.identity.get", &json!({"agentId": "my-fox"})).await.unwrap();
        assert_eq!(shown, json!({"agentId": "my-fox", "name": "My Fox!", "emoji": "🦊", "avatar": "fox.png"}));
    }

    async fn bad_names_are_refused(edition) {
        let server = with_fox(edition).await;
        let mut socket = server.owner_socket().await;
        for params in [
            json!({}), json!({"name": " "}), json!({"name": "Default"}), json!({"name": "狐狸"}), json!({"name": "fox"}), json!({"name": "x", "tenant_id": "nowhere"}), json!({"name": "x", "agent_type": "closed"}),
            json!({"name": "n".repeat(256)}), json!({"name": "x", "tools_config": 5}), json!({"name": "x", "owner_ids": "mai"}),
        ] {
            assert_eq!(socket.call("agents.create", &params).await.unwrap_err().code, "INVALID_REQUEST", "{params}");
        }
        assert_eq!(server.owner().get("/v1/agents").await.expect(200)["agents"].as_array().unwrap().len(), 1);
    }

    async fn the_first_named_owner_owns_it_else_the_caller(edition) {
        let tenants = Tenants::start(edition).await;
        let mut socket = tenants.socket(&tenants.a_admin, "mai").await;
        socket.call("agents.create", &json!({"name": "one", "owner_ids": ["lan", "mai"], "tenant_id": tenants.b})).await.unwrap();
        socket.call("agents.create", &json!({"name": "two"})).await.unwrap();
        let owner = async |key: &str, user: &str| tenants.client(&tenants.a_admin, user).get(&format!("/v1/agents/{key}")).await.expect(200);
        let (one, two) = (owner("one", "lan").await, owner("two", "mai").await);
        assert_eq!((&one["owner_id"], &two["owner_id"]), (&json!("lan"), &json!("mai")));
        assert_eq!(one["tenant_id"], json!(tenants.a), "another tenant is for owners of the installation to name");
        assert_eq!(socket.call("agents.update", &json!({"agentId": "one", "name": "stolen"})).await.unwrap_err().code, "UNAUTHORIZED");
        assert_eq!(socket.call("agents.delete", &json!({"agentId": "one"})).await.unwrap_err().code, "UNAUTHORIZED");
    }

    async fn an_update_changes_what_is_not_empty(edition) {
        let server = Server::start(edition).await;
        let before = create_agent_with(&server.owner(), "fox", json!({"display_name": "Fox", "model": "m1", "agent_type": "predefined"})).await;
        let mut socket = server.owner_socket().await;
        let changed = socket.call("agents.update", &json!({"agentId": "fox", "name": "", "model": "", "status": "", "avatar": "f.png", "max_tool_iterations": 9})).await.unwrap();
        assert_eq!(changed, json!({"ok": true, "agentId": "fox"}));
        let after = server.owner().get("/v1/agents/fox").await.expect(200);
        assert_eq!((&after["display_name"], &after["model"], &after["status"], &after["max_tool_iterations"]), (&json!("Fox"), &json!("m1"), &json!("active"), &json!(9)));
        socket.call("agents.update", &json!({"agent_id": before["id"], "name": "Zorro", "is_default": true})).await.unwrap();
        let identity = socket.call("agent.identity.get", &json!({"sessionKey": "agent:fox:ws:direct:1"})).await.unwrap();
        assert_eq!(identity, json!({"agentId": "fox", "name": "Zorro", "avatar": "f.png"}));
        for (params, code) in [
            (json!({}), "INVALID_REQUEST"), (json!({"agentId": "wolf"}), "NOT_FOUND"), (json!({"agentId": "fox", "status": "asleep"}), "INVALID_REQUEST"),
            (json!({"agentId": "fox", "context_window": 0}), "INVALID_REQUEST"), (json!({"agentId": "fox", "is_default": "x"}), "INVALID_REQUEST"),
        ] {
            assert_eq!(socket.call("agents.update", &params).await.unwrap_err().code, code, "{params}");
        }
    }

    async fn a_new_name_reaches_the_copies_of_an_open_agents_users(edition) {
        let server = with_fox(edition).await;
        let mut socket = server.owner_socket().await;
        socket.call("chat.send", &message(&fox_session("1"), "hi")).await.unwrap();
        socket.call("agents.update", &json!({"agentId": "fox", "name": "Zorro"})).await.unwrap();
        let id = server.owner().get("/v1/agents/fox").await.expect(200)["id"].as_str().unwrap().to_owned();
        let copy = server.owner().get(&format!("/v1/agents/{id}/instances/system/files/IDENTITY.md")).await.expect(200);
        assert!(copy["content"].as_str().unwrap().contains("**Name:** Zorro"), "{copy}");
    }

    async fn a_deleted_agents_directory_goes_unless_it_is_to_stay(edition) {
        let server = Server::start(edition).await;
        let mut socket = server.owner_socket().await;
        let mut workspaces = Vec::new();
        for name in ["one", "two"] {
            let made = socket.call("agents.create", &json!({"name": name})).await.unwrap();
            workspaces.push(made["workspace"].as_str().unwrap().to_owned());
        }
        let removed = socket.call("agents.delete", &json!({"agentId": "one"})).await.unwrap();
        assert_eq!(removed, json!({"ok": true, "agentId": "one", "removedBindings": 0}));
        socket.call("agents.delete", &json!({"agentId": "two", "deleteFiles": false})).await.unwrap();
        assert!(!Path::new(&workspaces[0]).exists());
        assert!(Path::new(&workspaces[1]).join("SOUL.md").is_file());
        for (params, code) in [(json!({}), "INVALID_REQUEST"), (json!({"agentId": "default"}), "INVALID_REQUEST"), (json!({"agentId": "one"}), "NOT_FOUND")] {
            assert_eq!(socket.call("agents.delete", &params).await.unwrap_err().code, code, "{params}");
        }
    }

    async fn a_directory_outside_the_workspaces_or_of_two_agents_stays(edition) {
        let server = Server::start(edition).await;
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("precious"), "x").unwrap();
        let mut socket = server.owner_socket().await;
        socket.call("agents.create", &json!({"name": "out", "workspace": outside.path()})).await.unwrap();
        let shared = socket.call("agents.create", &json!({"name": "one"})).await.unwrap()["workspace"].as_str().unwrap().to_owned();
        socket.call("agents.create", &json!({"name": "two", "workspace": shared})).await.unwrap();
        for agent in ["out", "one"] {
            socket.call("agents.delete", &json!({"agentId": agent})).await.unwrap();
        }
        assert!(outside.path().join("precious").is_file());
        assert!(Path::new(&shared).is_dir());
    }

    async fn an_agents_files_are_listed_read_and_written(edition) {
        let server = Server::start(edition).await;
        create_agent_with(&server.owner(), "fox", json!({"agent_type": "predefined"})).await;
        let mut socket = server.owner_socket().await;
        let list = socket.call("agents.files.list", &json!({"agentId": "fox"})).await.unwrap();
        let names: Vec<_> = list["files"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap()).collect();
        assert_eq!((names, missing(&list)), (NAMES.to_vec(), vec![false, false, false, true, false, true, true, true]));
        assert!(list["files"][0]["size"].as_u64().unwrap() > 0 && list["files"][0].get("content").is_none());
        let absent = json!({"agentId": "fox", "file": {"name": "HEARTBEAT.md", "missing": true}});
        assert_eq!(socket.call("agents.files.get", &json!({"agentId": "fox", "name": "HEARTBEAT.md"})).await.unwrap(), absent);
        let written = socket.call("agents.files.set", &json!({"agent_id": "fox", "file_name": "HEARTBEAT.md", "content": "- tée"})).await.unwrap();
        let file = json!({"name": "HEARTBEAT.md", "missing": false, "size": 6, "content": "- tée"});
        assert_eq!(written, json!({"agentId": "fox", "file": file, "propagated": 0}));
        assert_eq!(socket.call("agents.files.get", &json!({"agent_key": "fox", "file_name": "HEARTBEAT.md"})).await.unwrap(), json!({"agentId": "fox", "file": file}));
        for (params, code) in [
            (json!({"agentId": "fox"}), "INVALID_REQUEST"), (json!({"agentId": "fox", "name": "TEAM.md"}), "INVALID_REQUEST"), (json!({"agentId": "fox", "name": "../SOUL.md"}), "INVALID_REQUEST"),
            (json!({"agentId": "wolf", "name": "SOUL.md"}), "NOT_FOUND"), (json!({"name": "SOUL.md"}), "INVALID_REQUEST"),
        ] {
            for method in ["agents.files.get", "agents.files.set"] {
                assert_eq!(socket.call(method, &params).await.unwrap_err().code, code, "{method} {params}");
            }
        }
    }

    async fn a_file_is_carried_over_to_those_who_have_a_copy(edition) {
        let server = with_fox(edition).await;
        let mut socket = server.owner_socket().await;
        socket.call("chat.send", &message(&fox_session("1"), "hi")).await.unwrap();
        let set = json!({"agentId": "fox", "name": "SOUL.md", "content": "Stern.", "propagate": true});
        assert_eq!(socket.call("agents.files.set", &set).await.unwrap()["propagated"], 1);
        server.llm.forget();
        socket.call("chat.send", &message(&fox_session("1"), "and now?")).await.unwrap();
        assert!(server.llm.questions()[0].system().contains("Stern."));
        let nobodys = json!({"agentId": "fox", "name": "MEMORY.json", "content": "{}", "propagate": true});
        assert_eq!(socket.call("agents.files.set", &nobodys).await.unwrap()["propagated"], 0);
    }

    async fn agents_of_others_cannot_be_looked_into(edition) {
        let tenants = Tenants::start(edition).await;
        create_agent(&tenants.client(&tenants.a_admin, "mai"), "fox").await;
        for (key, user, code) in [(&tenants.a_admin, "lan", "UNAUTHORIZED"), (&tenants.b_admin, "mai", "NOT_FOUND")] {
            let mut socket = tenants.socket(key, user).await;
            for method in ["agent", "agent.wait", "agents.files.list", "agents.files.get", "agents.files.set", "agents.update", "agents.delete"] {
                let refused = socket.call(method, &json!({"agentId": "fox", "name": "SOUL.md"})).await.unwrap_err();
                assert_eq!(refused.code, code, "{method}: {}", refused.message);
            }
            assert_eq!(socket.call("agent.identity.get", &json!({"agentId": "fox"})).await.unwrap(), json!({"agentId": "fox"}));
        }
    }

    async fn whether_an_agent_is_at_work_can_be_asked_and_awaited(edition) {
        let server = with_fox(edition).await;
        let gate = Gate::closed();
        server.llm.next(Answer::text("slowly").gated(&gate));
        let mut socket = server.owner_socket().await;
        assert_eq!(socket.call("agent", &json!({})).await.unwrap(), json!({"id": "fox", "isRunning": false}), "the only agent stands in");
        assert_eq!(socket.call("agent.wait", &json!({"agentId": "fox"})).await.unwrap(), json!({"id": "fox", "status": "idle"}));
        let sent = socket.send("chat.send", &message(&fox_session("1"), "hi")).await;
        server.llm.wait_for_questions(1).await;
        assert_eq!(socket.call("agent", &json!({"agentId": "fox"})).await.unwrap()["isRunning"], true);
        assert_eq!(socket.call("agents.list", &json!({})).await.unwrap()["agents"][0]["isRunning"], true);
        assert_eq!(socket.call("agent.wait", &json!({"agentId": "fox", "timeoutMs": 1})).await.unwrap(), json!({"id": "fox", "status": "running"}));
        let waiting = socket.send("agent.wait", &json!({"agentId": "fox"})).await;
        gate.open();
        assert_eq!(socket.answer(&waiting).await.unwrap(), json!({"id": "fox", "status": "idle"}));
        socket.answer(&sent).await.unwrap();
        assert_eq!(socket.call("agent", &json!({"agentId": "wolf"})).await.unwrap_err().code, "NOT_FOUND");
        assert_eq!(socket.call("agent.identity.get", &json!({"agentId": "wolf"})).await.unwrap(), json!({"agentId": "wolf"}));
    }

    async fn of_many_creations_at_the_editions_limit_no_more_get_through(edition) {
        let server = Setup::new(edition).await.config(json!({"edition": {"limits": {"max_agents": 3}}})).start().await;
        let owner = server.owner();
        let bodies: Vec<_> = (0..8).map(|n| json!({"agent_key": format!("fox-{n}")})).collect();
        let replies = futures_util::future::join_all(bodies.iter().map(|body| owner.post("/v1/agents", body))).await;
        let mut statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 201, 201, 409, 409, 409, 409, 409]);
        let refused = server.owner_socket().await.call("agents.create", &json!({"name": "one more"})).await.unwrap_err();
        assert_eq!(refused.code, "FAILED_PRECONDITION");
    }
}
