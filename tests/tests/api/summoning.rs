//! Summoning: a model writes an agent's files.

use crate::common::{Tenants, create_agent, create_agent_with, question};
use goclaw_ports::{
    TenantId,
    agents::{Agent, AgentStatus},
};
use goclaw_tests::{
    Edition, Http, Server, Setup, WsClient, eventually,
    fake_llm::{Answer, Gate},
    fixtures::{agent, at},
};
use serde_json::{Value, json};

const SOUL: &str = "<file name=\"SOUL.md\">\n# Soul\n\n## Vibe\nSly and quick.\n</file>\n";
const IDENTITY: &str = "<file name=\"IDENTITY.md\">\n# Identity\n\n- **Name:** Reynard\n- **Emoji:** 🦊\n</file>\n";
const RULES: &str = "<file name=\"USER_PREDEFINED.md\">\n# Rules\n\nNo tales to hens.\n</file>\n";
const SUMMARY: &str = "<frontmatter>Knows every trick of foxes.</frontmatter>\n";

fn whole() -> String {
    format!("Here you are:\n{IDENTITY}{SUMMARY}{RULES}{SOUL}")
}

fn described() -> Value {
    json!({"agent_type": "predefined", "other_config": {"description": "A fox who tells tales to children."}})
}

/// The events of an agent's summoning up to its end, as `type file`.
async fn told(socket: &mut WsClient) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let event = socket.event_named("agent.summoning").await["payload"].take();
        let kind = event["type"].as_str().unwrap().to_owned();
        all.push(format!("{kind} {}", event["file"].as_str().unwrap_or_default()).trim().to_owned());
        if ["completed", "failed"].contains(&kind.as_str()) {
            assert_eq!(event["error"].is_string(), kind == "failed", "{event}");
            return all;
        }
    }
}

fn path(agent: &Value, action: &str) -> String {
    format!("/v1/agents/{}/{action}", agent["id"].as_str().unwrap())
}

async fn file(socket: &mut WsClient, name: &str) -> String {
    let file = socket.call("agents.files.get", &json!({"agentId": "fox", "name": name})).await.unwrap();
    file["file"]["content"].as_str().unwrap().to_owned()
}

async fn fox(client: &Http) -> Value {
    client.get("/v1/agents/fox").await.expect(200)
}

/// A gateway whose agent `fox` has been summoned, and a socket of its owner.
async fn summoned(edition: Edition) -> (Server, WsClient, Value) {
    let server = Server::start(edition).await;
    server.llm.next(Answer::text(whole()));
    let mut socket = server.owner_socket().await;
    let made = create_agent_with(&server.owner(), "fox", described()).await;
    assert_eq!(told(&mut socket).await.last().unwrap(), "completed");
    server.llm.forget();
    (server, socket, made)
}

on_both_editions! {
    async fn a_described_agent_is_summoned(edition) {
        let server = Server::start(edition).await;
        let gate = Gate::closed();
        server.llm.next(Answer::text(whole()).gated(&gate));
        let mut socket = server.owner_socket().await;
        let made = create_agent_with(&server.owner(), "fox", described()).await;
        assert_eq!(made["status"], "summoning");
        server.llm.wait_for_questions(1).await;
        assert_eq!(server.owner().post("/v1/chat/completions", &question("fox", "hi")).await.status, 404, "only active agents answer");
        for action in ["regenerate", "resummon"] {
            assert_eq!(server.owner().post(&path(&made, action), &json!({"prompt": "x"})).await.expect_error(409).1, "FAILED_PRECONDITION");
        }
        gate.open();
        let expected = ["started", "file_generated SOUL.md", "file_generated IDENTITY.md", "file_generated USER_PREDEFINED.md", "completed"];
        assert_eq!(told(&mut socket).await, expected);
        let after = fox(&server.owner()).await;
        assert_eq!((&after["status"], &after["display_name"], &after["frontmatter"]), (&json!("active"), &json!("Reynard"), &json!("Knows every trick of foxes.")));
        assert!(file(&mut socket, "SOUL.md").await.contains("Sly and quick.") && file(&mut socket, "USER_PREDEFINED.md").await.contains("No tales to hens."));
        let asked = &server.llm.questions()[0];
        assert!(asked.last_user_text().contains("tells tales to children") && asked.last_user_text().contains("## Continuity") && asked.tool_names().is_empty());
        server.llm.forget();
        server.owner().post("/v1/chat/completions", &question("fox", "hi")).await.expect(200);
        assert!(server.llm.questions()[0].system().contains("Sly and quick."), "the next answer knows it at once");
    }

    async fn open_agents_and_those_without_a_description_are_not_summoned(edition) {
        let server = Server::start(edition).await;
        for (key, fields) in [
            ("open", json!({"other_config": {"description": "A fox."}})), ("bare", json!({"agent_type": "predefined"})), ("blank", json!({"agent_type": "predefined", "other_config": {"description": " "}})),
            ("odd", json!({"agent_type": "predefined", "other_config": {"description": 5}})),
        ] {
            let made = create_agent_with(&server.owner(), key, fields).await;
            assert_eq!(made["status"], "active", "{key}");
            if key != "open" {
                assert_eq!(server.owner().post(&path(&made, "resummon"), &Value::Null).await.expect_error(400).1, "INVALID_REQUEST");
            }
        }
        assert!(server.llm.questions().is_empty());
    }

    async fn a_name_that_the_user_typed_stays(edition) {
        let server = Server::start(edition).await;
        server.llm.next(Answer::text(whole()));
        let mut socket = server.owner_socket().await;
        let mut fields = described();
        fields["display_name"] = json!("My fox");
        create_agent_with(&server.owner(), "fox", fields).await;
        told(&mut socket).await;
        assert_eq!(fox(&server.owner()).await["display_name"], "My fox");
    }

    async fn an_answer_without_files_fails_and_can_be_tried_again(edition) {
        let server = Server::start(edition).await;
        server.llm.next(Answer::text("I would rather not."));
        let mut socket = server.owner_socket().await;
        let made = create_agent_with(&server.owner(), "fox", described()).await;
        assert_eq!(told(&mut socket).await, ["started", "failed"]);
        assert_eq!(fox(&server.owner()).await["status"], "summon_failed");
        assert!(file(&mut socket, "SOUL.md").await.contains("## Core Truths"), "the template stays");
        server.llm.next(Answer::text(whole()));
        assert_eq!(server.owner().post(&path(&made, "resummon"), &Value::Null).await.expect(202), json!({"ok": "true", "status": "summoning"}));
        assert_eq!(told(&mut socket).await.last().unwrap(), "completed");
        assert_eq!(fox(&server.owner()).await["status"], "active");
    }

    async fn what_a_provider_says_of_a_failure_is_not_told(edition) {
        let server = Server::start(edition).await;
        server.llm.next(Answer::error(401, "key sk-very-secret is wrong"));
        let mut socket = server.owner_socket().await;
        create_agent_with(&server.owner(), "fox", described()).await;
        let failed = socket.event(|event| event["event"] == "agent.summoning" && event["payload"]["type"] == "failed").await;
        assert!(!failed.to_string().contains("very-secret"), "{failed}");
        assert_eq!(fox(&server.owner()).await["status"], "summon_failed");
    }

    async fn an_answer_that_takes_too_long_is_asked_for_in_two_parts(edition) {
        let server = Server::start(edition).await;
        server.llm.next(Answer::error(400, "deadline exceeded")).next(Answer::text(format!("{SUMMARY}{SOUL}"))).next(Answer::text(format!("{IDENTITY}{RULES}")));
        let mut socket = server.owner_socket().await;
        create_agent_with(&server.owner(), "fox", described()).await;
        let expected = ["started", "file_generated SOUL.md", "file_generated IDENTITY.md", "file_generated USER_PREDEFINED.md", "completed"];
        assert_eq!(told(&mut socket).await, expected);
        let asked = server.llm.questions();
        assert_eq!(asked.len(), 3);
        assert!(asked[2].last_user_text().contains("Sly and quick."), "the second part fits the first");
        assert_eq!(fox(&server.owner()).await["frontmatter"], "Knows every trick of foxes.");
    }

    async fn what_was_finished_before_the_time_was_up_is_not_asked_for_again(edition) {
        let server = Server::start(edition).await;
        let begun = format!("{SUMMARY}{SOUL}<file name=\"IDENTITY.md\">cut o");
        server.llm.next(Answer::text(begun).then_error("deadline exceeded")).next(Answer::text(IDENTITY));
        let mut socket = server.owner_socket().await;
        create_agent_with(&server.owner(), "fox", described()).await;
        assert_eq!(told(&mut socket).await, ["started", "file_generated SOUL.md", "file_generated IDENTITY.md", "completed"]);
        assert_eq!(server.llm.questions().len(), 2);
        assert_eq!(fox(&server.owner()).await["frontmatter"], "Knows every trick of foxes.");
    }

    async fn a_summoned_agent_changes_as_its_owner_wishes(edition) {
        let (server, mut socket, made) = summoned(edition).await;
        server.llm.next(Answer::text("<file name=\"SOUL.md\">\n# Soul\n\n## Vibe\nGentle.\n</file>"));
        assert_eq!(server.owner().post(&path(&made, "regenerate"), &json!({"prompt": "Be gentler, please."})).await.expect(202), json!({"ok": "true", "status": "summoning"}));
        assert_eq!(told(&mut socket).await, ["started", "file_generated SOUL.md", "completed"]);
        let asked = server.llm.questions()[0].last_user_text();
        assert!(asked.contains("Be gentler, please.") && asked.contains("Sly and quick.") && asked.contains("Reynard") && asked.contains("No tales to hens."), "{asked}");
        assert!(file(&mut socket, "SOUL.md").await.contains("Gentle.") && file(&mut socket, "IDENTITY.md").await.contains("Reynard"));
        let after = fox(&server.owner()).await;
        assert_eq!((&after["status"], &after["frontmatter"]), (&json!("active"), &json!("Knows every trick of foxes.")));
        server.llm.forget();
        server.owner().post("/v1/chat/completions", &question("fox", "hi")).await.expect(200);
        assert!(server.llm.questions()[0].system().contains("Gentle."), "the next answer knows it at once");
        let log = server.owner().get("/v1/activity?action=agent.regenerated").await.expect(200);
        assert_eq!(log["total"], 1);
    }

    async fn a_working_agent_goes_on_working_when_a_change_fails(edition) {
        let (server, mut socket, made) = summoned(edition).await;
        server.llm.next(Answer::text("No."));
        server.owner().post(&path(&made, "regenerate"), &json!({"prompt": "Be gentler."})).await.expect(202);
        assert_eq!(told(&mut socket).await, ["started", "failed"]);
        assert_eq!(fox(&server.owner()).await["status"], "active");
        assert!(file(&mut socket, "SOUL.md").await.contains("Sly and quick."));
        server.owner().post("/v1/chat/completions", &question("fox", "hi")).await.expect(200);
    }

    async fn an_agent_that_was_switched_off_stays_off(edition) {
        let (server, mut socket, made) = summoned(edition).await;
        server.owner().put(path(&made, "").trim_end_matches('/'), &json!({"status": "inactive"})).await.expect(200);
        server.llm.next(Answer::text(SOUL));
        server.owner().post(&path(&made, "regenerate"), &json!({"prompt": "Be gentler."})).await.expect(202);
        assert_eq!(told(&mut socket).await.last().unwrap(), "completed");
        assert_eq!(fox(&server.owner()).await["status"], "inactive");
    }

    async fn what_was_written_already_is_not_written_again(edition) {
        let (server, mut socket, made) = summoned(edition).await;
        server.owner().post(&path(&made, "resummon"), &Value::Null).await.expect(202);
        assert_eq!(told(&mut socket).await, ["started", "file_generated SOUL.md", "file_generated IDENTITY.md", "completed"]);
        assert!(server.llm.questions().is_empty());
        let after = fox(&server.owner()).await;
        assert_eq!((&after["status"], &after["frontmatter"]), (&json!("active"), &json!("Knows every trick of foxes.")));
    }

    async fn bad_wishes_are_refused(edition) {
        let tenants = Tenants::start(edition).await;
        let mai = tenants.client(&tenants.a_admin, "mai");
        let made = create_agent(&mai, "fox").await;
        for body in [json!({}), json!({"prompt": " "}), json!({"prompt": 5}), json!({"prompt": "x".repeat(20_001)})] {
            assert_eq!(mai.post(&path(&made, "regenerate"), &body).await.expect_error(400).1, "INVALID_REQUEST");
        }
        for action in ["regenerate", "resummon"] {
            let ask = async |client: &Http, path: &str| client.post(path, &json!({"prompt": "x"})).await;
            assert_eq!(ask(&mai, &format!("/v1/agents/fox/{action}")).await.expect_error(400).1, "INVALID_REQUEST", "only ids name agents here");
            assert_eq!(ask(&mai, &format!("/v1/agents/01930000-0000-7000-8000-000000000000/{action}")).await.expect_error(404).1, "NOT_FOUND");
            assert_eq!(ask(&tenants.client(&tenants.a_admin, "lan"), &path(&made, action)).await.expect_error(403).1, "UNAUTHORIZED");
            assert_eq!(ask(&tenants.client(&tenants.b_admin, "mai"), &path(&made, action)).await.expect_error(404).1, "NOT_FOUND");
        }
        assert!(tenants.server.llm.questions().is_empty());
    }

    async fn an_agent_may_be_deleted_while_it_is_summoned(edition) {
        let server = Server::start(edition).await;
        let gate = Gate::closed();
        server.llm.next(Answer::text(whole()).gated(&gate));
        let made = create_agent_with(&server.owner(), "fox", described()).await;
        server.llm.wait_for_questions(1).await;
        server.owner().delete(path(&made, "").trim_end_matches('/')).await.expect(200);
        gate.open();
        server.llm.next(Answer::text(whole()));
        let mut socket = server.owner_socket().await;
        let again = create_agent_with(&server.owner(), "fox", described()).await;
        let end = socket.event(|event| event["event"] == "agent.summoning" && event["payload"]["agent_id"] == again["id"] && event["payload"]["type"] == "completed").await;
        assert_eq!(end["payload"]["agent_id"], again["id"]);
    }

    async fn a_gateway_that_stops_leaves_nobody_summoning(edition) {
        let mut server = Server::start(edition).await;
        server.llm.always(Answer::hang());
        create_agent_with(&server.owner(), "fox", described()).await;
        server.llm.wait_for_questions(1).await;
        server.stop().await;
        server.restart().await;
        assert_eq!(fox(&server.owner()).await["status"], "summon_failed");
    }

    async fn only_admins_hear_of_it(edition) {
        let tenants = Tenants::start(edition).await;
        tenants.server.llm.next(Answer::text(whole()));
        let mut operator = tenants.socket(&tenants.a_operator, "mai").await;
        let (mut other, mut admin) = (tenants.socket(&tenants.b_admin, "mai").await, tenants.socket(&tenants.a_admin, "lan").await);
        create_agent_with(&tenants.client(&tenants.a_admin, "mai"), "fox", described()).await;
        assert_eq!(told(&mut admin).await.last().unwrap(), "completed");
        for socket in [&mut operator, &mut other] {
            assert!(socket.events_until_now().await.iter().all(|event| event["event"] != "agent.summoning"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_left_behind_fails_at_the_next_start() {
    let mut server = Server::start(Edition::Lite).await;
    server.llm.always(Answer::hang());
    let made = create_agent_with(&server.owner(), "fox", described()).await;
    server.llm.wait_for_questions(1).await;
    server.crash().await;
    server.restart().await;
    assert_eq!(fox(&server.owner()).await["status"], "summon_failed");
    server.llm.always(Answer::text(whole()));
    server.owner().post(&path(&made, "resummon"), &Value::Null).await.expect(202);
    eventually("the agent to be active", async || fox(&server.owner()).await["status"] == "active").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_gateways_a_new_one_fails_only_what_nobody_can_be_at_work_on() {
    let mut setup = Setup::new(Edition::Standard).await;
    let stores = setup.stores().await;
    let lost =
        Agent { owner_id: "system".into(), status: AgentStatus::Summoning, updated_at: at(0), workspace: String::new(), ..agent(TenantId::MASTER, "lost") };
    stores.agents.insert(TenantId::MASTER, &lost, &[]).await.unwrap();
    drop(stores);
    let server = setup.start().await;
    assert_eq!(server.owner().get("/v1/agents/lost").await.expect(200)["status"], "summon_failed");
    let gate = Gate::closed();
    server.llm.next(Answer::text(whole()).gated(&gate));
    let mut socket = server.owner_socket().await;
    create_agent_with(&server.owner(), "fox", described()).await;
    server.llm.wait_for_questions(1).await;
    let twin = server.twin().await;
    assert_eq!(fox(&twin.owner()).await["status"], "summoning");
    gate.open();
    assert_eq!(told(&mut socket).await.last().unwrap(), "completed");
}
