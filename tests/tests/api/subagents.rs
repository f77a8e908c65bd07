//! Sub-agents: copies of an agent that work for it.

use crate::common::{assert_paired, create_agent_with, fox_session, history, lines, message};
use goclaw_ports::{
    TenantId,
    clock::{Clock, SystemClock},
    media::{MediaKind, MediaRef},
    sessions::{ChatMessage, MessageRole, SessionDelta},
};
use goclaw_tests::{
    Answer, Edition, Server, Setup, WsClient, eventually,
    fake_llm::{Gate, Request},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A gateway with the agent `fox`, whose sub-agents are limited like this.
async fn with_fox(edition: Edition, limits: Value) -> (Server, WsClient) {
    let server = Setup::new(edition).await.config(json!({"agents": {"defaults": {"subagents": limits}}})).start().await;
    create_agent_with(&server.owner(), "fox", json!({"agent_type": "predefined"})).await;
    let socket = server.owner_socket().await;
    (server, socket)
}

fn is_child(request: &Request) -> bool {
    request.system().contains("You are a sub-agent")
}

fn is_announcement(request: &Request) -> bool {
    request.last_user_text().starts_with("[System]")
}

/// Sub-agents answer like this; the agent itself tells of results, calls `spawn` as it is told, and says what the tool said.
fn with_children(child: Answer) -> impl Fn(&Request) -> Option<Answer> {
    move |request| {
        Some(match request.texts_of("tool").pop() {
            _ if is_child(request) => child.clone(),
            _ if is_announcement(request) => Answer::text("The work is done."),
            Some(result) if request.messages().last().unwrap()["role"] == "tool" => Answer::text(result),
            _ => match request.last_user_text().strip_prefix("call ") {
                Some(arguments) => Answer::tool("spawn", &serde_json::from_str(arguments).unwrap()),
                None => Answer::text("Well."),
            },
        })
    }
}

fn spawn(task: &str) -> Answer {
    Answer::tool("spawn", &json!({"task": task}))
}

async fn ask(socket: &mut WsClient, session: &str, text: &str) -> String {
    socket.call("chat.send", &message(session, text)).await.unwrap()["content"].as_str().unwrap().to_owned()
}

/// Has the agent call `spawn` like this, and answers with what the tool said.
async fn call(socket: &mut WsClient, session: &str, arguments: Value) -> String {
    ask(socket, session, &format!("call {arguments}")).await
}

fn id_in(accepted: &str) -> String {
    serde_json::from_str::<Value>(accepted).unwrap()["id"].as_str().unwrap().to_owned()
}

on_both_editions! {
    async fn a_sub_agent_does_one_task_with_its_own_limits(edition) {
        let (server, mut socket) = with_fox(edition, json!({"model": "small"})).await;
        server.llm.on(with_children(Answer::text("Seven dens.")));
        let session = fox_session("1");
        let heard = call(&mut socket, &session, json!({"task": "Count the dens.", "label": "Dens", "mode": "sync"})).await;
        assert_eq!(heard, "Seven dens.");
        let questions = server.llm.questions();
        let (parent, child) = (&questions[0], &questions[1]);
        assert!(["spawn", "Agent", "sessions_spawn"].iter().all(|name| parent.tool_names().contains(&(*name).to_owned())));
        assert!(!child.tool_names().contains(&"spawn".to_owned()) && child.tool_names().contains(&"read_file".to_owned()), "{:?}", child.tool_names());
        assert_eq!((child.last_user_text(), &child.body["model"], &child.body["temperature"]), ("Count the dens.".to_owned(), &json!("small"), &json!(0.5)));
        assert!(child.system().contains("\"Dens\"") && [&child.body["max_tokens"], &child.body["max_completion_tokens"]].contains(&&json!(4096)));
        assert_paired(&history(&mut socket, &session).await);
    }

    async fn a_sub_agent_may_use_no_more_than_its_parent(edition) {
        let (server, mut socket) = with_fox(edition, json!({})).await;
        let id = server.owner().get("/v1/agents/fox").await.expect(200)["id"].as_str().unwrap().to_owned();
        server.owner().put(&format!("/v1/agents/{id}"), &json!({"tools_config": {"deny": ["exec", "write_file"]}})).await.expect(200);
        server.llm.on(with_children(Answer::tool("exec", &json!({"command": "true"}))));
        call(&mut socket, &fox_session("1"), json!({"task": "Dig.", "mode": "sync"})).await;
        let questions = server.llm.questions();
        let child = questions.iter().find(|question| is_child(question)).unwrap();
        assert!(!child.tool_names().contains(&"exec".to_owned()) && !child.tool_names().contains(&"write_file".to_owned()), "{:?}", child.tool_names());
        let refused = questions.iter().filter(|question| is_child(question)).nth(1).unwrap().texts_of("tool");
        assert!(refused[0].contains("not allowed by policy"), "{refused:?}");
        assert!(child.tool_names().contains(&"read_file".to_owned()));
    }

    async fn results_are_told_in_one_run_whose_input_stays_hidden(edition) {
        let (server, mut socket) = with_fox(edition, json!({"maxConcurrent": 1})).await;
        let gate = Gate::closed();
        server.llm.on(with_children(Answer::text("Seven.").gated(&gate)));
        server.llm.next(spawn("Count dens.").and_tool("spawn", &json!({"task": "Count mice."})));
        let session = fox_session("1");
        let id = socket.send("chat.send", &message(&session, "Count.")).await;
        let results = [socket.agent_event("tool.result").await, socket.agent_event("tool.result").await];
        socket.answer(&id).await.unwrap();
        assert_eq!((&results[0]["payload"]["is_error"], &results[1]["payload"]["is_error"]), (&json!(false), &json!(true)));
        assert!(results[1]["payload"]["result"].as_str().unwrap().contains("max concurrent subagents reached (1/1)"), "{}", results[1]);
        gate.open();
        let processing = socket.event_named("team.leader.processing").await["payload"].take();
        assert_eq!(processing, json!({"agentId": "fox", "tasks": 1}));
        let events = socket.run_events_of(&session).await;
        assert!(events.iter().all(|event| event["runKind"] == "announce"), "{events:?}");
        assert_eq!(events.last().unwrap()["payload"]["content"], "The work is done.");
        let said = lines(&history(&mut socket, &session).await);
        assert_eq!((said.len(), said.last().unwrap().as_str()), (6, "assistant: The work is done."), "{said:?}");
        assert!(!said.iter().any(|line| line.contains("[System]")), "{said:?}");
        assert_eq!(server.llm.questions().iter().filter(|question| is_announcement(question)).count(), 1);
    }

    async fn results_that_come_together_are_told_together(edition) {
        let (server, mut socket) = with_fox(edition, json!({})).await;
        let gate = Gate::closed();
        server.llm.on(with_children(Answer::text("Seven.").gated(&gate)));
        server.llm.next(spawn("Count dens.").and_tool("spawn", &json!({"task": "Count mice."})).and_tool("spawn", &json!({"task": "Count owls."})));
        let session = fox_session("1");
        ask(&mut socket, &session, "Count.").await;
        server.llm.wait_for_questions(5).await;
        gate.open();
        let processing = socket.event_named("team.leader.processing").await["payload"].take();
        assert_eq!(processing["tasks"], 3);
        socket.run_events_of(&session).await;
        let told = server.llm.questions().into_iter().rfind(is_announcement).unwrap().last_user_text();
        assert_eq!(told.matches("\nSeven.\n</result>").count(), 3, "{told}");
    }

    async fn what_was_handed_over_is_listed_stopped_and_waited_for(edition) {
        let (server, mut socket) = with_fox(edition, json!({})).await;
        let gate = Gate::closed();
        server.llm.on(with_children(Answer::text("Seven.").gated(&gate)));
        let (session, other) = (fox_session("1"), fox_session("2"));
        assert_eq!(call(&mut socket, &session, json!({"action": "list", "task": ""})).await, "Nothing was handed over in this conversation.");
        let first = id_in(&call(&mut socket, &session, json!({"task": "Count dens.", "label": "Dens"})).await);
        let second = id_in(&call(&mut socket, &session, json!({"task": "Count mice."})).await);
        server.llm.wait_for_questions(8).await;
        let listed: Value = serde_json::from_str(&call(&mut socket, &session, json!({"action": "list", "task": ""})).await).unwrap();
        let shown: Vec<_> = listed.as_array().unwrap().iter().map(|task| (task["id"].as_str().unwrap(), task["label"].as_str().unwrap(), task["status"].as_str().unwrap())).collect();
        assert_eq!(shown, [(second.as_str(), "Count mice.", "running"), (first.as_str(), "Dens", "running")]);
        for id in [first.as_str(), "all", "last"] {
            let heard = call(&mut socket, &other, json!({"action": "cancel", "id": id})).await;
            assert_eq!(heard, format!("Nothing that runs in this conversation goes by \"{id}\"."), "another conversation's are out of reach");
        }
        assert_eq!(call(&mut socket, &session, json!({"action": "cancel", "id": "last"})).await, format!("Stopped: {second}"));
        server.llm.wait_for_lost_clients(1).await;
        let waiting = call(&mut socket, &session, json!({"action": "wait", "timeout": 1})).await;
        assert!(waiting.ends_with(&format!("Still running: {first}")), "{waiting}");
        gate.open();
        let heard = call(&mut socket, &session, json!({"action": "wait"})).await;
        assert!(heard.contains("\nSeven.\n</result>") && heard.contains(&first) && !heard.contains(&second), "{heard}");
        assert_eq!(call(&mut socket, &session, json!({"action": "wait"})).await, "Nothing runs, and there is nothing new.");
        for (arguments, said) in [
            (json!({"action": "cancel"}), "id is required: that of a task, \"last\" or \"all\"."),
            (json!({"action": "wait", "id": "sub-0"}), "Nothing in this conversation goes by \"sub-0\"."),
            (json!({"action": "dance"}), "action must be spawn, list, cancel, steer or wait, not dance"),
            (json!({"task": " "}), "task is required"),
            (json!({"task": "x", "mode": "later"}), "mode must be sync or async, not later"),
            (json!({"action": "steer", "id": first, "message": "x"}), &format!("No sub-agent that runs in this conversation goes by \"{first}\".")),
            (json!({"task": "x", "agent": "owl"}), "spawn makes copies of yourself only, so it takes no agent. To give work to another agent use delegate or team_tasks, if you have them."),
        ] {
            assert_eq!(call(&mut socket, &session, arguments.clone()).await, said, "{arguments}");
        }
        assert!(!server.llm.questions().iter().any(is_announcement), "what was waited for is not told again");
    }

    async fn a_task_takes_another_course(edition) {
        let (server, mut socket) = with_fox(edition, json!({"maxConcurrent": 1})).await;
        let gate = Gate::closed();
        server.llm.on(with_children(Answer::echo().gated(&gate)));
        let session = fox_session("1");
        let first = id_in(&call(&mut socket, &session, json!({"task": "Count dens.", "label": "Dens"})).await);
        server.llm.wait_for_questions(3).await;
        let text = call(&mut socket, &session, json!({"action": "steer", "id": first, "message": "Count mice instead."})).await;
        assert!(text.contains("accepted") && text.contains("Dens (steered)"), "{text}");
        let second = id_in(&text);
        assert_ne!(first, second);
        server.llm.wait_for_lost_clients(1).await;
        // How often the model was asked by then says nothing: a call that fails is tried again.
        let asked = async |of: &str| {
            eventually(of, async || server.llm.questions().into_iter().map(|question| question.last_user_text()).rfind(|text| text.ends_with(of))).await
        };
        let changed = asked("Count mice instead.").await;
        assert!(changed.starts_with("Count dens."), "{changed}");
        let wait = format!("call {}", json!({"action": "wait", "id": second}));
        let waiting = socket.send("chat.send", &message(&session, &wait)).await;
        asked(&wait).await;
        gate.open();
        let text = socket.answer(&waiting).await.unwrap()["content"].as_str().unwrap().to_owned();
        assert!(text.contains("Count mice instead.") && text.contains("status=\"completed\"") && text.contains(&second), "{text}");
        let listed: Value = serde_json::from_str(&call(&mut socket, &session, json!({"action": "list", "task": ""})).await).unwrap();
        let shown: Vec<_> = listed.as_array().unwrap().iter().map(|task| (task["id"].as_str().unwrap(), task["status"].as_str().unwrap())).collect();
        assert_eq!(shown, [(second.as_str(), "completed"), (first.as_str(), "cancelled")]);
        for (arguments, said) in [
            (json!({"action": "steer", "id": second, "message": "x"}), format!("No sub-agent that runs in this conversation goes by \"{second}\".")),
            (json!({"action": "steer", "id": second}), "id and message are required".to_owned()),
            (json!({"action": "steer", "id": second, "message": "x".repeat(4_001)}), "message is too long: at most 4000 characters".to_owned()),
        ] {
            let text = call(&mut socket, &session, arguments).await;
            assert_eq!(text, said);
        }
    }

    async fn depth_and_number_are_limited_for_each_agent(edition) {
        let (server, mut socket) = with_fox(edition, json!({})).await;
        let fox = server.owner().get("/v1/agents/fox").await.expect(200);
        let limits = json!({"subagents_config": {"maxSpawnDepth": 2, "maxChildrenPerAgent": 1}});
        server.owner().put(&format!("/v1/agents/{}", fox["id"].as_str().unwrap()), &limits).await.expect(200);
        // Each hands its task on, as long as it can.
        server.llm.on(|request| Some(match request.texts_of("tool").pop() {
            Some(result) => Answer::text(result),
            None if request.tool_names().contains(&"spawn".to_owned()) => spawn("Dig."),
            None => Answer::text(format!("dug by {}", request.tool_names().len())),
        }));
        let session = fox_session("1");
        server.llm.next(Answer::tool("spawn", &json!({"task": "Dig.", "mode": "sync"})));
        let heard = ask(&mut socket, &session, "Dig.").await;
        assert!(heard.starts_with("dug by "), "what is deeper is waited for, whatever its mode: {heard}");
        assert_eq!(server.llm.questions().iter().filter(|question| is_child(question)).count(), 3, "one that asks twice, and a leaf");

        server.llm.on(with_children(Answer::hang()));
        call(&mut socket, &session, json!({"task": "Dig."})).await;
        assert_eq!(call(&mut socket, &session, json!({"task": "Dig."})).await, "max children per agent reached (1/1). Wait until one has ended.");
        assert!(call(&mut socket, &fox_session("2"), json!({"task": "Dig."})).await.contains("accepted"), "another conversation has its own");
    }

    async fn a_task_that_a_crash_interrupted_is_told_of(edition) {
        let (mut server, mut socket) = with_fox(edition, json!({})).await;
        server.llm.on(with_children(Answer::hang()));
        let session = fox_session("1");
        let id = id_in(&call(&mut socket, &session, json!({"task": "Count dens."})).await);
        server.llm.wait_for_questions(3).await;
        server.crash().await;
        server.llm.on(with_children(Answer::text("Seven.")));
        server.restart().await;
        let mut socket = server.owner_socket().await;
        eventually("the conversation to learn it", async || {
            lines(&history(&mut socket, &session).await).last().unwrap() == "assistant: The work is done."
        }).await;
        let told = server.llm.questions().into_iter().rfind(is_announcement).unwrap().last_user_text();
        assert!(told.contains(&format!("<result id=\"{id}\"")) && told.contains("status=\"failed\"") && told.contains("interrupted by a restart"), "{told}");
        let listed = call(&mut socket, &session, json!({"action": "list", "task": ""})).await;
        assert_eq!(serde_json::from_str::<Value>(&listed).unwrap()[0]["status"], "failed");
    }

    async fn a_result_that_a_crash_parted_from_its_task_is_found_again(edition) {
        let (mut server, mut socket) = with_fox(edition, json!({})).await;
        server.llm.on(with_children(Answer::hang()));
        let session = fox_session("1");
        let id = id_in(&call(&mut socket, &session, json!({"task": "Count dens."})).await);
        let child = socket.event(|event| event["payload"]["runKind"] == "subagent" && event["payload"]["type"] == "run.started").await["payload"]["sessionKey"].clone();
        server.llm.wait_for_questions(3).await;
        server.crash().await;
        // The crash came between the end of the sub-agent's run and what the gateway writes down about it.
        let stores = server.stores().await;
        let ended = SessionDelta { output_tokens: 7, metadata: BTreeMap::from([("run_ended".to_owned(), "completed".to_owned())]), ..SessionDelta::default() };
        let said = ChatMessage::new(MessageRole::Assistant, "Seven dens.");
        stores.sessions.append(TenantId::MASTER, child.as_str().unwrap(), &[said], &ended, SystemClock.now()).await.unwrap();
        stores.database.close().await;
        drop(stores);
        server.llm.on(with_children(Answer::text("Nobody asks.")));
        server.restart().await;
        let mut socket = server.owner_socket().await;
        eventually("the conversation to learn it", async || {
            lines(&history(&mut socket, &session).await).last().unwrap() == "assistant: The work is done."
        }).await;
        let told = server.llm.questions().into_iter().rfind(is_announcement).unwrap().last_user_text();
        assert!(told.contains(&format!("<result id=\"{id}\"")) && told.contains("status=\"completed\"") && told.contains("tokens=\"0/7\"") && told.contains("\nSeven dens.\n</result>"), "{told}");
    }

    async fn the_files_of_a_result_that_is_found_again_come_with_it(edition) {
        let (mut server, mut socket) = with_fox(edition, json!({})).await;
        server.llm.on(with_children(Answer::hang()));
        let session = fox_session("1");
        call(&mut socket, &session, json!({"task": "Draw dens."})).await;
        let child = socket.event(|event| event["payload"]["runKind"] == "subagent" && event["payload"]["type"] == "run.started").await["payload"]["sessionKey"].clone();
        server.llm.wait_for_questions(3).await;
        server.crash().await;
        let path = std::fs::canonicalize(server.dir().join("workspace/fox/ws/system")).unwrap().join("dens.txt");
        std::fs::write(&path, "seven").unwrap();
        let stores = server.stores().await;
        let ended = SessionDelta { metadata: BTreeMap::from([("run_ended".to_owned(), "completed".to_owned())]), ..SessionDelta::default() };
        let file = MediaRef { id: "dens.txt".into(), mime_type: "text/plain".into(), kind: MediaKind::Document, path: path.to_string_lossy().into_owned() };
        let said = ChatMessage { media_refs: vec![file], ..ChatMessage::new(MessageRole::Assistant, "Drawn.") };
        stores.sessions.append(TenantId::MASTER, child.as_str().unwrap(), &[said], &ended, SystemClock.now()).await.unwrap();
        stores.database.close().await;
        drop(stores);
        server.restart().await;
        let mut socket = server.owner_socket().await;
        let told = eventually("the conversation to learn it", async || {
            history(&mut socket, &session).await.pop().filter(|last| last["content"] == "The work is done.")
        }).await;
        let file = &told["media_refs"][0];
        assert_eq!((&file["id"], &file["mime_type"], &file["kind"]), (&json!("dens.txt"), &json!("text/plain"), &json!("document")));
        assert_eq!(server.anonymous().get(file["path"].as_str().unwrap()).await.text(), "seven");
    }

    async fn what_a_sub_agents_run_came_to_is_marked_in_its_session(edition) {
        let (mut server, mut socket) = with_fox(edition, json!({})).await;
        server.llm.on(with_children(Answer::text("Seven dens.")));
        call(&mut socket, &fox_session("1"), json!({"task": "Count dens.", "mode": "sync"})).await;
        let child = socket.event(|event| event["payload"]["runKind"] == "subagent" && event["payload"]["type"] == "run.started").await["payload"]["sessionKey"].clone();
        server.stop().await;
        let stores = server.stores().await;
        let of = async |key: &str| stores.sessions.find(TenantId::MASTER, key).await.unwrap().unwrap().metadata;
        assert_eq!(of(child.as_str().unwrap()).await.get("run_ended").map(String::as_str), Some("completed"));
        assert!(of(&fox_session("1")).await.is_empty());
        stores.database.close().await;
    }

    async fn what_was_not_told_before_the_gateway_stopped_is_told_after(edition) {
        let (mut server, mut socket) = with_fox(edition, json!({})).await;
        let gate = Gate::closed();
        server.llm.on(with_children(Answer::text("Seven.").gated(&gate)));
        let session = fox_session("1");
        call(&mut socket, &session, json!({"task": "Count dens."})).await;
        server.llm.wait_for_questions(3).await;
        // A message that the agent works on keeps the result waiting.
        server.llm.next(Answer::hang());
        let _busy = socket.send("chat.send", &message(&session, "And you?")).await;
        server.llm.wait_for_questions(4).await;
        gate.open();
        let child = socket.event(|event| event["payload"]["runKind"] == "subagent" && event["payload"]["type"] == "run.completed").await;
        assert_eq!(child["payload"]["payload"]["content"], "Seven.");
        server.stop().await;
        server.restart().await;
        let mut socket = server.owner_socket().await;
        eventually("the conversation to learn it", async || {
            lines(&history(&mut socket, &session).await).last().unwrap() == "assistant: The work is done."
        }).await;
        let told = server.llm.questions().into_iter().rfind(is_announcement).unwrap().last_user_text();
        assert!(told.contains("\nSeven.\n</result>"), "{told}");
    }

    async fn where_no_run_can_tell_the_result_stands_in_the_conversation(edition) {
        let (server, mut socket) = with_fox(edition, json!({})).await;
        let gate = Gate::closed();
        server.llm.on(with_children(Answer::text("Seven.").gated(&gate)));
        let session = fox_session("1");
        call(&mut socket, &session, json!({"task": "Count dens.", "label": "Dens"})).await;
        server.llm.wait_for_questions(3).await;
        let fox = server.owner().get("/v1/agents/fox").await.expect(200);
        server.owner().put(&format!("/v1/agents/{}", fox["id"].as_str().unwrap()), &json!({"status": "inactive"})).await.expect(200);
        gate.open();
        eventually("the result", async || lines(&history(&mut socket, &session).await).last().unwrap() == "assistant: **Dens** (completed):\nSeven.").await;
    }

    async fn a_deleted_conversation_stays_deleted(edition) {
        let (server, mut socket) = with_fox(edition, json!({})).await;
        server.llm.on(with_children(Answer::hang()));
        let session = fox_session("1");
        call(&mut socket, &session, json!({"task": "Count dens."})).await;
        server.llm.wait_for_questions(3).await;
        socket.call("sessions.delete", &json!({"key": session})).await.unwrap();
        server.llm.wait_for_lost_clients(1).await;
        let end = socket.event(|event| event["payload"]["runKind"] == "subagent" && event["payload"]["type"] == "run.cancelled").await;
        assert_eq!(end["payload"]["parentAgentId"], "fox");
        assert!(history(&mut socket, &session).await.is_empty());
        assert!(!server.llm.questions().iter().any(is_announcement));
    }

    async fn a_call_that_fails_is_tried_again(edition) {
        let (server, mut socket) = with_fox(edition, json!({"maxRetries": 1})).await;
        let failed = std::sync::atomic::AtomicUsize::new(0);
        server.llm.on(move |request| {
            if is_child(request) && failed.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
                return Some(Answer::garbage());
            }
            with_children(Answer::text("Seven."))(request)
        });
        let heard = call(&mut socket, &fox_session("1"), json!({"task": "Count dens.", "mode": "sync"})).await;
        assert_eq!(heard, "Seven.");
        assert_eq!(server.llm.questions().iter().filter(|question| is_child(question)).count(), 2);
    }
}
