//! What runs and lists remember is never older than it may be: this gateway sees its own changes at once, another one within a second,
//! and no tenant ever sees another's.

use crate::common::{Tenants, ask, create_agent, create_agent_with, question};
use goclaw_tests::{Edition, Http, Server, eventually, within};
use serde_json::{Value, json};

fn path(agent: &Value) -> String {
    format!("/v1/agents/{}", agent["id"].as_str().unwrap())
}

async fn listed(client: &Http) -> Vec<String> {
    let list = client.get("/v1/agents").await.expect(200);
    list["agents"].as_array().unwrap().iter().map(|agent| format!("{}: {}", agent["agent_key"].as_str().unwrap(), agent["model"].as_str().unwrap())).collect()
}

/// The model that the last question went to, its system prompt, and whether it could hand work over.
fn last(server: &Server) -> (String, String, bool) {
    let questions = server.llm.questions();
    let last = questions.last().unwrap();
    (last.body["model"].as_str().unwrap().to_owned(), last.system(), last.tool_names().contains(&"delegate".to_owned()))
}

on_both_editions! {
    async fn a_change_holds_for_the_next_run_and_the_next_list(edition) {
        let tenants = Tenants::start(edition).await;
        let mai = tenants.client(&tenants.a_admin, "mai");
        let fox = create_agent_with(&mai, "fox", json!({"model": "m1", "agent_type": "predefined"})).await;
        for named in ["fox", fox["id"].as_str().unwrap()] {
            ask(&mai, named, "hi").await;
            assert_eq!(last(&tenants.server).0, "m1");
        }
        assert_eq!(listed(&mai).await, ["fox: m1"]);
        mai.put(&path(&fox), &json!({"model": "m2"})).await.expect(200);
        for named in ["fox", fox["id"].as_str().unwrap()] {
            ask(&mai, named, "hi").await;
            assert_eq!(last(&tenants.server).0, "m2");
        }
        assert_eq!(listed(&mai).await, ["fox: m2"]);
        let mut socket = tenants.socket(&tenants.a_admin, "mai").await;
        for soul in ["Hums in March.", "Whistles in May."] {
            socket.call("agents.files.set", &json!({"agent_id": "fox", "file_name": "SOUL.md", "content": soul})).await.unwrap();
            ask(&mai, "fox", "hi").await;
            assert!(last(&tenants.server).1.contains(soul));
        }
        create_agent_with(&mai, "owl", json!({"model": "m3", "agent_type": "predefined"})).await;
        assert_eq!(listed(&mai).await, ["owl: m3", "fox: m2"]);
        assert!(!last(&tenants.server).2);
        let link = socket.call("agents.links.create", &json!({"sourceAgent": "fox", "targetAgent": "owl"})).await.unwrap()["link"]["id"].clone();
        ask(&mai, "fox", "hi").await;
        assert!(last(&tenants.server).2);
        socket.call("agents.links.delete", &json!({"linkId": link})).await.unwrap();
        ask(&mai, "fox", "hi").await;
        assert!(!last(&tenants.server).2);
        mai.put(&path(&fox), &json!({"status": "inactive"})).await.expect(200);
        assert_eq!(mai.post("/v1/chat/completions", &question("fox", "hi")).await.status, 404);
        mai.put(&path(&fox), &json!({"status": "active"})).await.expect(200);
        ask(&mai, "fox", "hi").await;
        mai.delete(&path(&fox)).await.expect(200);
        assert_eq!(mai.post("/v1/chat/completions", &question("fox", "hi")).await.status, 404);
        assert_eq!(listed(&mai).await, ["owl: m3"]);
    }

    async fn a_share_that_ends_closes_the_agent_at_once(edition) {
        let tenants = Tenants::start(edition).await;
        let (mai, lan) = (tenants.client(&tenants.a_admin, "mai"), tenants.client(&tenants.a_operator, "lan"));
        let shares = format!("{}/shares", path(&create_agent(&mai, "fox").await));
        for _ in 0..3 {
            assert_eq!(lan.post("/v1/chat/completions", &question("fox", "hi")).await.status, 403);
            assert!(listed(&lan).await.is_empty());
            mai.post(&shares, &json!({"user_id": "lan"})).await.expect(201);
            ask(&lan, "fox", "hi").await;
            assert_eq!(listed(&lan).await.len(), 1);
            mai.delete(&format!("{shares}/lan")).await.expect(200);
        }
    }

    async fn tenants_never_get_what_is_remembered_of_another(edition) {
        let tenants = Tenants::start(edition).await;
        let both = [(tenants.client(&tenants.a_admin, "mai"), "of-a"), (tenants.client(&tenants.b_admin, "mai"), "of-b")];
        for (client, own) in &both {
            create_agent_with(client, "fox", json!({"model": own, "agent_type": "predefined", "display_name": format!("Fox {own}")})).await;
        }
        for (client, own) in both.iter().chain(&both) {
            ask(client, "fox", "hi").await;
            let (model, system, _) = last(&tenants.server);
            assert_eq!(model, *own);
            assert!(system.contains(&format!("Fox {own}")), "{system}");
            assert_eq!(listed(client).await, [format!("fox: {own}")]);
        }
        let of_a = both[0].0.get("/v1/agents/fox").await.expect(200);
        assert_eq!(both[1].0.post("/v1/chat/completions", &question(of_a["id"].as_str().unwrap(), "hi")).await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_follows_within_a_second() {
    let tenants = Tenants::start(Edition::Standard).await;
    let two = tenants.server.twin().await;
    let (here, there) = (tenants.client(&tenants.a_admin, "mai"), two.with_key(&tenants.a_admin).user("mai"));
    let fox = create_agent_with(&here, "fox", json!({"model": "m0"})).await;
    for round in 1..=5 {
        ask(&there, "fox", "hi").await;
        listed(&there).await;
        let model = format!("m{round}");
        here.put(&path(&fox), &json!({"model": model})).await.expect(200);
        let follows = eventually("the other replica follows", async || {
            ask(&there, "fox", "hi").await;
            last(&two).0 == model && listed(&there).await == [format!("fox: {model}")]
        });
        tokio::time::timeout(std::time::Duration::from_secs(1), follows).await.expect("it takes longer than a second");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_that_ends_here_closes_the_agent_there_at_once() {
    let tenants = Tenants::start(Edition::Standard).await;
    let two = tenants.server.twin().await;
    let (mai, lan) = (tenants.client(&tenants.a_admin, "mai"), two.with_key(&tenants.a_operator).user("lan"));
    let shares = format!("{}/shares", path(&create_agent(&mai, "fox").await));
    for _ in 0..5 {
        mai.post(&shares, &json!({"user_id": "lan"})).await.expect(201);
        within("the share holds", ask(&lan, "fox", "hi")).await;
        mai.delete(&format!("{shares}/lan")).await.expect(200);
        assert_eq!(lan.post("/v1/chat/completions", &question("fox", "hi")).await.status, 403);
    }
}
