//! `/v1/agents` and `agents.list`.

use crate::common::{Tenants, create_agent, create_agent_with, question};
use goclaw_tests::{
    Answer, Server, Setup,
    fixtures::{at, share},
};
use serde_json::{Value, json};

fn keys(list: &Value) -> Vec<&str> {
    list["agents"].as_array().unwrap().iter().map(|agent| agent["agent_key"].as_str().unwrap()).collect()
}

fn path(agent: &Value) -> String {
    format!("/v1/agents/{}", agent["id"].as_str().unwrap())
}

on_both_editions! {
    async fn an_agent_is_created_with_defaults(edition) {
        let server = Server::start(edition).await;
        let made = create_agent(&server.owner(), "ok-key").await;
        assert_snapshot!("created", made.clone());
        assert_eq!(server.owner().get("/v1/agents/ok-key").await.expect(200), made);
        assert_eq!(server.owner().get(&path(&made)).await.expect(200), made);
        assert_snapshot!("listed", server.owner().get("/v1/agents").await.expect(200));
    }

    async fn what_is_asked_for_is_stored(edition) {
        let server = Server::start(edition).await;
        let fields = json!({
            "display_name": "Cáo 🦀", "frontmatter": "Foxes", "provider": "anthropic", "model": "claude-stub", "context_window": 1000, "max_tool_iterations": 3,
            "agent_type": "predefined", "budget_monthly_cents": 500, "tools_config": {"profile": "minimal", "unknown": 1}, "sandbox_config": {"mode": "off"},
            "memory_config": {"enabled": false}, "context_pruning": {"mode": "off"}, "other_config": {"emoji": "🦊", "unknown": {"deep": [1]}}
        });
        let made = create_agent_with(&server.owner(), "full", fields.clone()).await;
        for (key, value) in fields.as_object().unwrap() {
            assert_eq!(&made[key], value, "{key}");
        }
    }

    async fn what_is_not_the_callers_to_choose_is_ignored(edition) {
        let tenants = Tenants::start(edition).await;
        let forged = json!({
            "id": "01930000-0000-7000-8000-000000000001", "tenant_id": tenants.b, "owner_id": "somebody", "restrict_to_workspace": false,
            "created_at": "2001-01-01T00:00:00Z", "updated_at": "2001-01-01T00:00:00Z"
        });
        let made = create_agent_with(&tenants.client(&tenants.a_admin, "mai"), "fox", forged.clone()).await;
        assert_ne!(made["id"], forged["id"]);
        assert!(!made["created_at"].as_str().unwrap().starts_with("2001"));
        assert_eq!((&made["tenant_id"], &made["owner_id"], &made["restrict_to_workspace"]), (&json!(tenants.a), &json!("mai"), &json!(true)));
    }

    async fn bad_agents_are_refused_and_nothing_is_stored(edition) {
        let server = Server::start(edition).await;
        let bad = [
            json!({}), json!({"agent_key": ""}), json!({"agent_key": "Bad_Key"}), json!({"agent_key": "-a"}), json!({"agent_key": "a-"}), json!({"agent_key": "a b"}), json!({"agent_key": "a\u{0}"}),
            json!({"agent_key": "a".repeat(101)}), json!({"agent_key": "cáo"}), json!({"agent_key": "../a"}), json!({"agent_key": 5}),
            json!({"agent_key": "ok", "display_name": "d".repeat(256)}), json!({"agent_key": "ok", "model": "m".repeat(201)}), json!({"agent_key": "ok", "provider": "p".repeat(51)}),
            json!({"agent_key": "ok", "agent_type": "closed"}), json!({"agent_key": "ok", "status": "sleeping"}), json!({"agent_key": "ok", "tools_config": []}), json!({"agent_key": "ok", "other_config": "x"}),
            json!({"agent_key": "ok", "budget_monthly_cents": -1}), json!({"agent_key": "ok", "is_default": "yes"}),
        ];
        for body in bad {
            let (text, code) = server.owner().post("/v1/agents", &body).await.expect_error(400);
            assert_eq!(code, "INVALID_REQUEST", "{body}: {text}");
        }
        assert_eq!(server.owner().get("/v1/agents").await.expect(200), json!({"agents": []}));
    }

    async fn creating_and_listing_need_a_user(edition) {
        let tenants = Tenants::start(edition).await;
        let nobody = tenants.server.with_key(&tenants.a_admin);
        for reply in [nobody.get("/v1/agents").await, nobody.post("/v1/agents", &json!({"agent_key": "fox"})).await] {
            assert_eq!(reply.expect_error(400).1, "INVALID_REQUEST");
        }
    }

    async fn a_key_is_taken_once_in_a_tenant(edition) {
        let tenants = Tenants::start(edition).await;
        let (a, b) = (tenants.client(&tenants.a_admin, "mai"), tenants.client(&tenants.b_admin, "mai"));
        create_agent(&a, "fox").await;
        assert_eq!(a.post("/v1/agents", &json!({"agent_key": "fox"})).await.expect_error(409).1, "ALREADY_EXISTS");
        create_agent(&b, "fox").await;
    }

    async fn of_many_creations_of_one_key_one_succeeds(edition) {
        let server = Server::start(edition).await;
        let owner = server.owner();
        let body = json!({"agent_key": "fox"});
        let replies = futures_util::future::join_all((0..10).map(|_| owner.post("/v1/agents", &body))).await;
        let mut statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409, 409, 409]);
    }

    async fn an_update_changes_what_it_names(edition) {
        let server = Server::start(edition).await;
        let owner = server.owner();
        let made = create_agent_with(&owner, "fox", json!({"budget_monthly_cents": 5, "other_config": {"emoji": "🦊", "old": 1}})).await;
        let reply = owner.put(&path(&made), &json!({"owner_id": "x", "id": "y", "tenant_id": "z", "display_name": "Z", "budget_monthly_cents": null, "other_config": {"new": 2}})).await;
        assert_eq!(reply.expect(200), json!({"ok": "true"}));
        let identity = server.owner_socket().await.call("agents.files.get", &json!({"agentId": "fox", "name": "IDENTITY.md"})).await.unwrap();
        assert!(identity["file"]["content"].as_str().unwrap().contains("Name: Z"), "{identity}");
        let after = owner.get("/v1/agents/fox").await.expect(200);
        assert_eq!((&after["owner_id"], &after["display_name"], &after["id"], &after["tenant_id"]), (&made["owner_id"], &json!("Z"), &made["id"], &made["tenant_id"]));
        assert_eq!((after.get("budget_monthly_cents"), &after["other_config"]), (None, &json!({"new": 2})));
        assert_ne!(after["updated_at"], made["updated_at"]);
        assert_eq!(after["created_at"], made["created_at"]);
    }

    async fn a_name_reaches_the_model(edition) {
        let server = Server::start(edition).await;
        let made = create_agent(&server.owner(), "fox").await;
        server.owner().put(&path(&made), &json!({"display_name": "Zorro the Fox"})).await.expect(200);
        server.owner().post("/v1/chat/completions", &question("fox", "Who are you?")).await.expect(200);
        assert!(server.llm.questions()[0].system().contains("Zorro the Fox"));
    }

    async fn bad_updates_are_refused_and_change_nothing(edition) {
        let server = Server::start(edition).await;
        let owner = server.owner();
        create_agent(&owner, "taken").await;
        let made = create_agent(&owner, "fox").await;
        for (body, status) in [
            (json!({"agent_key": "Bad_Key"}), 400), (json!({"agent_key": "taken"}), 409), (json!({"status": "sleeping"}), 400), (json!({"agent_type": 7}), 400), (json!({"context_window": "big"}), 400),
            (json!({"max_tool_iterations": -5}), 400), (json!({"tools_config": "x"}), 400), (json!({"display_name": "d".repeat(256)}), 400),
        ] {
            let reply = owner.put(&path(&made), &body).await;
            assert_eq!(reply.status, status, "{body}: {}", reply.text());
        }
        assert_eq!(owner.get("/v1/agents/fox").await.expect(200), made);
        assert_eq!(owner.put("/v1/agents/fox", &json!({"display_name": "x"})).await.expect_error(400).1, "INVALID_REQUEST", "only ids name agents here");
        assert_eq!(owner.put("/v1/agents/01930000-0000-7000-8000-000000000000", &json!({"display_name": "x"})).await.expect_error(404).1, "NOT_FOUND");
    }

    async fn an_agent_is_deleted_with_its_sessions(edition) {
        let server = Server::start(edition).await;
        let owner = server.owner();
        let made = create_agent(&owner, "fox").await;
        let mut socket = server.owner_socket().await;
        let session = "agent:fox:ws:direct:1";
        socket.call("chat.send", &json!({"message": "hi", "agentId": "fox", "sessionKey": session})).await.unwrap();
        owner.delete(&path(&made)).await.expect(200);
        assert_eq!(owner.get("/v1/agents/fox").await.expect_error(404).1, "NOT_FOUND");
        assert_eq!(socket.call("chat.history", &json!({"sessionKey": session})).await.unwrap(), json!({"messages": []}));
        assert_eq!(socket.call("sessions.list", &json!({})).await.unwrap()["total"], 0);
        assert_eq!(owner.delete("/v1/agents/fox").await.expect_error(400).1, "INVALID_REQUEST");
        assert_eq!(owner.delete(&path(&made)).await.expect_error(404).1, "NOT_FOUND");
        assert_eq!(owner.post("/v1/chat/completions", &question("fox", "hi")).await.status, 404);
    }

    async fn only_owner_share_and_default_open_an_agent(edition) {
        let mut setup = Setup::new(edition).await;
        let stores = setup.stores().await;
        let tenant = goclaw_ports::TenantId::MASTER;
        for (key, owner, is_default) in [("own", "mai", false), ("shared", "lan", false), ("default", "lan", true), ("hidden", "lan", false)] {
            let agent = goclaw_ports::agents::Agent { owner_id: owner.into(), is_default, workspace: String::new(), ..goclaw_tests::fixtures::agent(tenant, key) };
            stores.agents.insert(tenant, &agent, &[]).await.unwrap();
            if key == "shared" {
                stores.agents.put_share(tenant, &share(agent.id, "mai", "user", "lan", at(0))).await.unwrap();
            }
        }
        drop(stores);
        let server = setup.start().await;
        let mai = server.gateway_user("mai");
        let list = mai.get("/v1/agents").await.expect(200);
        let mut seen = keys(&list);
        seen.sort_unstable();
        assert_eq!(seen, ["default", "own", "shared"]);
        for key in ["own", "shared", "default"] {
            mai.get(&format!("/v1/agents/{key}")).await.expect(200);
            mai.post("/v1/chat/completions", &question(key, "hi")).await.expect(200);
        }
        assert_eq!(mai.get("/v1/agents/hidden").await.expect_error(403).1, "UNAUTHORIZED");
        assert_eq!(mai.post("/v1/chat/completions", &question("hidden", "hi")).await.status, 403);
        let mut socket = server.socket_as("mai").await;
        assert_eq!(socket.call("chat.send", &json!({"message": "hi", "agentId": "hidden"})).await.unwrap_err().code, "UNAUTHORIZED");

        for key in ["shared", "default", "hidden"] {
            let id = server.owner().get(&format!("/v1/agents/{key}")).await.expect(200);
            assert_eq!(mai.put(&path(&id), &json!({"display_name": "stolen"})).await.expect_error(403).1, "UNAUTHORIZED", "{key}");
            assert_eq!(mai.delete(&path(&id)).await.expect_error(403).1, "UNAUTHORIZED", "{key}");
        }
        assert_eq!(keys(&server.owner().get("/v1/agents").await.expect(200)).len(), 4, "the installation's owner sees all");
    }

    async fn the_default_flag_moves(edition) {
        let server = Server::start(edition).await;
        let owner = server.owner();
        let first = create_agent_with(&owner, "first", json!({"is_default": true})).await;
        let second = create_agent(&owner, "second").await;
        owner.put(&path(&second), &json!({"is_default": true})).await.expect(200);
        assert_eq!(owner.get(&path(&first)).await.expect(200)["is_default"], false);
        let stranger = server.gateway_user("stranger");
        assert_eq!(keys(&stranger.get("/v1/agents").await.expect(200)), ["second"]);
        assert_eq!(stranger.get("/v1/agents/first").await.expect_error(403).1, "UNAUTHORIZED");
        stranger.get("/v1/agents/second").await.expect(200);
        create_agent_with(&owner, "third", json!({"is_default": true})).await;
        assert_eq!(keys(&stranger.get("/v1/agents").await.expect(200)), ["third"], "a new one takes it as well");
    }

    async fn a_deleted_agents_runs_are_stopped_first(edition) {
        let server = Server::start(edition).await;
        let mut socket = server.owner_socket().await;
        for (key, over) in [("fox", "rest"), ("owl", "rpc")] {
            let made = create_agent(&server.owner(), key).await;
            server.llm.next(Answer::hang());
            let asked = server.llm.questions().len();
            let id = socket.send("chat.send", &json!({"message": "hi", "agentId": key})).await;
            server.llm.wait_for_questions(asked + 1).await;
            match over {
                "rest" => drop(server.owner().delete(&path(&made)).await.expect(200)),
                _ => drop(server.owner_socket().await.call("agents.delete", &json!({"agentId": key})).await.unwrap()),
            }
            assert_eq!(socket.answer(&id).await.unwrap(), json!({"cancelled": true}), "{over}");
            server.llm.wait_for_lost_clients(1).await;
        }
        assert_eq!(socket.call("sessions.list", &json!({})).await.unwrap()["total"], 0, "and it leaves nothing");
    }

    async fn agents_of_one_tenant_do_not_exist_for_another(edition) {
        let tenants = Tenants::start(edition).await;
        let made = create_agent_with(&tenants.client(&tenants.a_admin, "mai"), "fox", json!({"is_default": true})).await;
        let other = tenants.client(&tenants.b_admin, "mai");
        assert!(keys(&other.get("/v1/agents").await.expect(200)).is_empty());
        for reference in [path(&made), "/v1/agents/fox".to_owned()] {
            assert_eq!(other.get(&reference).await.expect_error(404).1, "NOT_FOUND");
        }
        assert_eq!(other.put(&path(&made), &json!({"display_name": "stolen"})).await.expect_error(404).1, "NOT_FOUND");
        assert_eq!(other.delete(&path(&made)).await.expect_error(404).1, "NOT_FOUND");
        assert_eq!(other.post("/v1/chat/completions", &question(made["id"].as_str().unwrap(), "hi")).await.status, 404);
        assert_eq!(tenants.client(&tenants.a_admin, "mai").get(&path(&made)).await.expect(200), made);
    }

    async fn an_inactive_agent_does_not_answer(edition) {
        let server = Server::start(edition).await;
        let made = create_agent(&server.owner(), "fox").await;
        server.owner().put(&path(&made), &json!({"status": "inactive"})).await.expect(200);
        assert_eq!(server.owner().post("/v1/chat/completions", &question("fox", "hi")).await.status, 404);
        let mut socket = server.owner_socket().await;
        assert_eq!(socket.call("chat.send", &json!({"message": "hi", "agentId": "fox"})).await.unwrap_err().code, "NOT_FOUND");
        assert_eq!(socket.call("agents.list", &json!({})).await.unwrap()["agents"], json!([]));
        assert!(server.llm.questions().is_empty());
    }

    async fn the_socket_lists_active_agents(edition) {
        let tenants = Tenants::start(edition).await;
        create_agent_with(&tenants.client(&tenants.a_admin, "mai"), "fox", json!({"display_name": "Fox"})).await;
        create_agent(&tenants.client(&tenants.b_admin, "mai"), "wolf").await;
        let mut socket = tenants.socket(&tenants.a_admin, "mai").await;
        assert_snapshot!("agents_list", socket.call("agents.list", &json!({})).await.unwrap());
    }

    async fn the_editions_limit_on_agents_holds(edition) {
        let server = Setup::new(edition).await.config(json!({"edition": {"limits": {"max_agents": 2}}})).start().await;
        let limit = server.anonymous().get("/v1/edition").await.expect(200)["max_agents"].as_i64().unwrap();
        assert_eq!(limit, 2);
        create_agent(&server.owner(), "one").await;
        create_agent(&server.owner(), "two").await;
        assert_eq!(server.owner().post("/v1/agents", &json!({"agent_key": "three"})).await.expect_error(409).1, "FAILED_PRECONDITION");
    }
}
