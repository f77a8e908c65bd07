//! Handing work to linked agents.

use crate::common::{Tenants, assert_paired, create_agent_with, fox_session, history, lines, message, question};
use flate2::read::GzDecoder;
use goclaw_tests::{
    Answer, Edition, Server, WsClient, eventually,
    fake_llm::{Gate, Request},
};
use serde_json::{Value, json};
use std::io::Read;

/// A gateway with the agents `fox` and `owl`, whose models go by their names, and a link from the one to the other.
async fn linked(edition: Edition, link: Value) -> (Server, WsClient, String) {
    let server = Server::start(edition).await;
    for (key, fields) in [("fox", json!({"agent_type": "predefined"})), ("owl", json!({"agent_type": "predefined", "frontmatter": "Knows the night."}))] {
        let mut fields = fields;
        fields["model"] = json!(key);
        create_agent_with(&server.owner(), key, fields).await;
    }
    let mut socket = server.owner_socket().await;
    let mut new = json!({"sourceAgent": "fox", "targetAgent": "owl"});
    new.as_object_mut().unwrap().extend(link.as_object().unwrap().clone());
    let link = socket.call("agents.links.create", &new).await.unwrap()["link"]["id"].as_str().unwrap().to_owned();
    (server, socket, link)
}

fn model(request: &Request) -> &str {
    request.body["model"].as_str().unwrap()
}

/// The texts of the tools' results that the model was sent.
fn results(request: &Request) -> Vec<String> {
    request.texts_of("tool")
}

/// What `fox` does: it hands each user's message to `owl` in this mode, and says what came back.
fn hand_on(mode: &'static str, owl: Answer) -> impl Fn(&Request) -> Option<Answer> {
    move |request| {
        if model(request) == "owl" {
            return Some(owl.clone());
        }
        let last = request.messages().last().unwrap();
        Some(match last["role"].as_str().unwrap() {
            "tool" => Answer::text(format!("fox heard: {}", results(request).pop().unwrap())),
            _ if request.last_user_text().starts_with("[System]") => Answer::text("Owl has answered."),
            _ => Answer::tool("delegate", &json!({"agent": "owl", "task": request.last_user_text(), "mode": mode})),
        })
    }
}

async fn ask(socket: &mut WsClient, session: &str, text: &str) -> String {
    socket.call("chat.send", &message(session, text)).await.unwrap()["content"].as_str().unwrap().to_owned()
}

on_both_editions! {
    async fn work_is_handed_over_and_its_result_comes_back(edition) {
        let (server, mut socket, _) = linked(edition, json!({"description": "Asks about nights."})).await;
        server.llm.on(hand_on("sync", Answer::text("They see in the dark.").usage(100, 10)));
        let session = fox_session("1");
        let id = socket.send("chat.send", &message(&session, "What do owls see?")).await;
        let mut started = socket.event_named("delegation.started").await["payload"].take();
        let child = socket.agent_event("run.started").await;
        assert_eq!((&child["runKind"], &child["parentAgentId"], &child["agentId"]), (&json!("delegation"), &json!("fox"), &json!("owl")));
        assert_eq!(child["delegationId"], started["delegation_id"]);
        let mut completed = socket.event_named("delegation.completed").await["payload"].take();
        assert!(completed["elapsed_ms"].is_i64(), "{completed}");
        completed.as_object_mut().unwrap().remove("elapsed_ms");
        assert_eq!(completed["status"], "completed");
        assert_snapshot!("started", started.clone());
        started["status"] = json!("completed");
        assert_eq!(started, completed);
        assert_eq!(socket.answer(&id).await.unwrap()["content"], "fox heard: They see in the dark.");

        let questions = server.llm.questions();
        let (fox, owl) = (&questions[0], &questions[1]);
        assert!(fox.tool_names().contains(&"delegate".to_owned()) && fox.system().contains("- owl: Asks about nights."), "{}", fox.system());
        assert_eq!(owl.last_user_text(), "What do owls see?");
        assert!(!owl.tool_names().contains(&"delegate".to_owned()) && owl.system().contains("The agent fox has handed you this task"), "{}", owl.system());
        let said = history(&mut socket, &session).await;
        assert_paired(&said);
        assert_eq!(lines(&said), ["user: What do owls see?", "assistant: ", "tool: They see in the dark.", "assistant: fox heard: They see in the dark."]);
        let child_session = child["sessionKey"].as_str().unwrap();
        assert_eq!(lines(&history(&mut socket, child_session).await), ["user: What do owls see?", "assistant: They see in the dark."]);
    }

    async fn the_childs_trace_hangs_below_its_parents_and_both_cost(edition) {
        let (server, mut socket, _) = linked(edition, json!({})).await;
        server.llm.on(hand_on("sync", Answer::text("Dark.").usage(100, 10)));
        ask(&mut socket, &fox_session("1"), "What?").await;
        let owner = server.owner();
        let root = eventually("both traces", async || {
            let page = owner.get("/v1/traces").await.expect(200);
            let traces = page["traces"].as_array().unwrap().clone();
            let done = traces.len() == 2 && traces.iter().all(|trace| trace["status"] == "completed" && trace["llm_call_count"] != 0);
            done.then(|| traces.into_iter().find(|trace| trace["parent_trace_id"].is_null()).unwrap())
        }).await;
        let reply = owner.get(&format!("/v1/traces/{}/export", root["id"].as_str().unwrap())).await;
        let mut text = String::new();
        GzDecoder::new(reply.body.as_slice()).read_to_string(&mut text).unwrap();
        let export: Value = serde_json::from_str(&text).unwrap();
        let below = export["sub_traces"].as_array().unwrap();
        assert_eq!(below.len(), 1);
        assert_eq!((&below[0]["trace"]["name"], &below[0]["trace"]["tags"]), (&json!("delegation owl"), &json!(["delegation"])));
        let costs = owner.get("/v1/costs/summary").await.expect(200);
        assert_eq!(costs["rows"].as_array().unwrap().len(), 2, "{costs}");
    }

    async fn only_agents_with_a_link_that_holds_may_hand_work_over(edition) {
        let (server, mut socket, link) = linked(edition, json!({})).await;
        let offered = async |agent: &str| {
            server.llm.forget();
            server.owner().post("/v1/chat/completions", &question(agent, "hello")).await.expect(200);
            server.llm.questions()[0].tool_names().contains(&"delegate".to_owned())
        };
        assert_eq!((offered("fox").await, offered("owl").await), (true, false));
        for (change, fox, owl) in [
            (json!({"direction": "inbound"}), false, true),
            (json!({"direction": "bidirectional"}), true, true),
            (json!({"settings": {"user_deny": ["system"]}}), false, false),
            (json!({"settings": {"user_allow": ["mai"]}}), false, false),
            (json!({"settings": {"user_allow": ["system"], "require_role": "owner"}}), true, true),
            (json!({"status": "disabled"}), false, false),
        ] {
            let mut update = json!({"linkId": link});
            update.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            socket.call("agents.links.update", &update).await.unwrap();
            assert_eq!((offered("fox").await, offered("owl").await), (fox, owl), "{change}");
        }
    }

    async fn a_later_result_is_told_in_the_conversation_that_asked(edition) {
        let (server, mut socket, _) = linked(edition, json!({})).await;
        let gate = Gate::closed();
        server.llm.on(hand_on("async", Answer::text("Mice.").gated(&gate)));
        let session = fox_session("1");
        let heard = ask(&mut socket, &session, "What do owls eat?").await;
        assert!(heard.contains(r#""status":"accepted""#) && heard.contains(r#""agent":"owl""#), "{heard}");
        gate.open();
        let processing = socket.event_named("team.leader.processing").await["payload"].take();
        assert_eq!(processing, json!({"agentId": "fox", "tasks": 1}));
        let announced = socket.event_named("delegation.announce").await["payload"].take();
        assert_eq!((&announced["results"][0]["agent_key"], &announced["results"][0]["content_preview"]), (&json!("owl"), &json!("Mice.")));
        let events = socket.run_events_of(&session).await;
        assert!(events.iter().all(|event| event["runKind"] == "announce" && event["agentId"] == "fox"), "{events:?}");
        assert_eq!(events.last().unwrap()["payload"]["content"], "Owl has answered.");
        let asked = server.llm.questions().pop().unwrap();
        let told = asked.last_user_text();
        assert!(told.contains("\nMice.\n</result>") && told.contains("Nothing runs any more."), "{told}");
        let said = lines(&history(&mut socket, &session).await);
        assert_eq!((said.len(), said.last().unwrap().as_str()), (5, "assistant: Owl has answered."), "{said:?}");
        assert!(!said.iter().any(|line| line.contains("[System]")), "what the agent was told is no part of the conversation: {said:?}");
    }

    async fn those_who_watch_hear_how_delegations_get_on(edition) {
        let (server, mut socket, _) = linked(edition, json!({})).await;
        let owl = server.owner().get("/v1/agents/owl").await.expect(200)["id"].as_str().unwrap().to_owned();
        server.owner().put(&format!("/v1/agents/{owl}"), &json!({"display_name": "Owl"})).await.expect(200);
        let fox = server.owner().get("/v1/agents/fox").await.expect(200)["id"].clone();
        let gate = Gate::closed();
        server.llm.on(hand_on("async", Answer::text("Mice.").gated(&gate)));
        server.llm.next(Answer::tool("delegate", &json!({"agent": "owl", "task": "One?", "mode": "async"})).and_tool("delegate", &json!({"agent": "owl", "task": "Two?", "mode": "async"})));
        let session = fox_session("1");
        ask(&mut socket, &session, "What do owls eat?").await;
        server.llm.wait_for_questions(4).await;
        let both = |event: &Value| event["event"] == "delegation.progress" && event["payload"]["active_delegations"].as_array().is_some_and(|active| active.len() == 2);
        let mut progress = socket.event(both).await["payload"].take();
        for active in progress["active_delegations"].as_array_mut().unwrap() {
            let active = active.as_object_mut().unwrap();
            assert!(active.remove("elapsed_ms").unwrap().is_i64() && active.remove("delegation_id").unwrap().is_string());
            assert_eq!(json!(active), json!({"target_agent_key": "owl", "target_display_name": "Owl", "activity": "thinking"}));
        }
        progress.as_object_mut().unwrap().remove("active_delegations");
        let source = json!({"source_agent_id": fox, "source_agent_key": "fox", "user_id": "system", "channel": "ws", "chat_id": "system"});
        assert_eq!(progress, source);
        // One of the two is let through, then the other.
        gate.pass(1);
        let mut accumulated = socket.event_named("delegation.accumulated").await["payload"].take();
        let fields = accumulated.as_object_mut().unwrap();
        assert!(fields.remove("elapsed_ms").unwrap().is_i64() && fields.remove("delegation_id").unwrap().is_string());
        let mut expected = source.clone();
        expected.as_object_mut().unwrap().extend(json!({"target_agent_key": "owl", "target_display_name": "Owl", "siblings_remaining": 1}).as_object().unwrap().clone());
        assert_eq!(accumulated, expected);
        gate.open();
        assert_eq!(socket.event_named("delegation.accumulated").await["payload"]["siblings_remaining"], 0);
        assert_eq!(socket.event_named("delegation.announce").await["payload"]["results"][0]["display_name"], "Owl");
    }

    async fn no_more_is_handed_over_at_once_than_the_link_allows(edition) {
        let (server, mut socket, _) = linked(edition, json!({"maxConcurrent": 1})).await;
        let twice = |n: &str| json!({"agent": "owl", "task": n, "mode": "async"});
        server.llm.on(|request| Some(if model(request) == "owl" { Answer::hang() } else { Answer::text("Done.") }));
        server.llm.next(Answer::tool("delegate", &twice("one")).and_tool("delegate", &twice("two")));
        let session = fox_session("1");
        let id = socket.send("chat.send", &message(&session, "Ask twice.")).await;
        let results = [socket.agent_event("tool.result").await, socket.agent_event("tool.result").await];
        socket.answer(&id).await.unwrap();
        assert_eq!((&results[0]["payload"]["is_error"], &results[1]["payload"]["is_error"]), (&json!(false), &json!(true)));
        assert!(results[1]["payload"]["result"].as_str().unwrap().starts_with("max concurrent delegations to owl reached (1/1)"), "{}", results[1]);
        // Stopped before it asks, it would have nobody to hang up on.
        let asked = async |times: usize| {
            eventually("owl to ask", async || server.llm.questions().iter().filter(|question| model(question) == "owl").count() == times).await;
        };
        asked(1).await;
        server.llm.next(Answer::tool("delegate", &json!({"action": "cancel", "id": "all"})));
        ask(&mut socket, &session, "Stop.").await;
        server.llm.wait_for_lost_clients(1).await;
        server.llm.next(Answer::tool("delegate", &twice("three")));
        ask(&mut socket, &session, "Again.").await;
        asked(2).await;
        socket.call("sessions.delete", &json!({"key": session})).await.unwrap();
        server.llm.wait_for_lost_clients(2).await;
    }

    async fn whoever_stops_the_parent_stops_the_child_that_it_waits_for(edition) {
        let (server, mut socket, _) = linked(edition, json!({})).await;
        server.llm.on(hand_on("sync", Answer::hang()));
        let session = fox_session("1");
        let id = socket.send("chat.send", &message(&session, "What?")).await;
        server.llm.wait_for_questions(2).await;
        socket.call("chat.abort", &json!({"sessionKey": session})).await.unwrap();
        assert_eq!(socket.answer(&id).await.unwrap(), json!({"cancelled": true}));
        server.llm.wait_for_lost_clients(1).await;
        assert_eq!(socket.event_named("delegation.cancelled").await["payload"]["target_agent_key"], "owl");
        assert_paired(&history(&mut socket, &session).await);
    }

    async fn work_is_not_handed_on_for_ever(edition) {
        let (server, mut socket, _) = linked(edition, json!({"direction": "bidirectional", "maxConcurrent": 9})).await;
        server.llm.on(|request| {
            let other = if model(request) == "owl" { "fox" } else { "owl" };
            Some(match results(request).pop() {
                Some(result) => Answer::text(result),
                None => Answer::tool("delegate", &json!({"agent": other, "task": "Do it."})),
            })
        });
        let heard = ask(&mut socket, &fox_session("1"), "Do it.").await;
        assert_eq!(heard, "delegation depth limit reached (5/5): do the task yourself");
        assert_eq!(server.llm.questions().len(), 12);
    }

    async fn a_delegation_that_fails_says_why(edition) {
        let (server, mut socket, _) = linked(edition, json!({})).await;
        server.llm.on(hand_on("sync", Answer::error(401, "bad key")));
        let heard = ask(&mut socket, &fox_session("1"), "What?").await;
        assert!(heard.starts_with("fox heard: The task ended as failed: ") && !heard.contains("bad key"), "{heard}");
        assert!(socket.event_named("delegation.failed").await["payload"]["error"].is_string());
    }

    async fn work_goes_only_to_agents_that_the_user_may_use(edition) {
        let tenants = Tenants::start(edition).await;
        let (a, b) = (tenants.client(&tenants.a_admin, "boss"), tenants.client(&tenants.b_admin, "boss"));
        create_agent_with(&a, "fox", json!({"is_default": true})).await;
        create_agent_with(&a, "owl", json!({"agent_type": "predefined"})).await;
        create_agent_with(&b, "wolf", json!({"agent_type": "predefined"})).await;
        tenants.socket(&tenants.a_admin, "boss").await.call("agents.links.create", &json!({"sourceAgent": "fox", "targetAgent": "owl"})).await.unwrap();
        let llm = &tenants.server.llm;
        llm.on(|request| Some(results(request).pop().map_or_else(
            || Answer::tool("delegate", &json!({"agent": request.last_user_text(), "task": "Do it."})), Answer::text)));
        let mai = tenants.client(&tenants.a_operator, "mai");
        let asked = async |client: &goclaw_tests::Http, agent: &str| crate::common::ask(client, "fox", agent).await;
        assert_eq!(asked(&mai, "wolf").await, "You have no link to \"wolf\". You may hand work to: owl");
        assert_eq!(asked(&mai, "owl").await, "no access to this agent");
        let questions = llm.questions().len();
        let boss = asked(&a, "owl").await;
        assert!(llm.questions().len() > questions + 1, "the owner's work is done: {boss}");
    }
}
