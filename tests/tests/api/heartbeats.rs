//! Heartbeats: agents that look after something by themselves.

use crate::common::{Tenants, create_agent, create_agent_with, fox_session, message, with_fox};
use chrono::{TimeDelta, Utc};
use goclaw_ports::clock::{Clock, SystemClock};
use goclaw_tests::{Answer, Edition, Server, Setup, WsClient, eventually, fake_llm::Gate};
use serde_json::{Value, json};

const METHODS: [&str; 8] = [
    "heartbeat.get",
    "heartbeat.set",
    "heartbeat.toggle",
    "heartbeat.test",
    "heartbeat.logs",
    "heartbeat.checklist.get",
    "heartbeat.checklist.set",
    "heartbeat.targets",
];
const WRITES: [&str; 4] = ["heartbeat.set", "heartbeat.toggle", "heartbeat.test", "heartbeat.checklist.set"];

/// Parameters that are right for every method.
fn params(agent: &str) -> Value {
    json!({"agentId": agent, "enabled": false, "content": "- Look."})
}

/// A gateway whose agent `fox` has a checklist and a heartbeat that is switched off and tries once.
async fn with_heartbeat(edition: Edition) -> (Server, WsClient) {
    let server = with_fox(edition).await;
    let mut socket = server.owner_socket().await;
    set_up(&mut socket, "fox").await;
    (server, socket)
}

async fn set_up(socket: &mut WsClient, agent: &str) {
    socket.call("heartbeat.checklist.set", &json!({"agentId": agent, "content": "- Is the burrow dry?"})).await.unwrap();
    socket.call("heartbeat.set", &json!({"agentId": agent, "maxRetries": 0})).await.unwrap();
}

async fn set(socket: &mut WsClient, change: Value) -> Value {
    let mut params = json!({"agentId": "fox"});
    params.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    socket.call("heartbeat.set", &params).await.unwrap()["heartbeat"].clone()
}

async fn get(socket: &mut WsClient) -> Value {
    socket.call("heartbeat.get", &json!({"agentId": "fox"})).await.unwrap()["heartbeat"].clone()
}

/// Has it run, and answers with the event of its end.
async fn test_run(socket: &mut WsClient) -> Value {
    assert_eq!(socket.call("heartbeat.test", &json!({"agentId": "fox"})).await.unwrap(), json!({"ok": true}));
    end(socket).await
}

async fn end(socket: &mut WsClient) -> Value {
    let ended = |event: &Value| event["event"] == "heartbeat" && event["payload"]["action"] != "running";
    socket.event(ended).await["payload"].clone()
}

async fn logs(socket: &mut WsClient) -> Vec<Value> {
    let result = socket.call("heartbeat.logs", &json!({"agentId": "fox"})).await.unwrap();
    let logs = result["logs"].as_array().unwrap().clone();
    assert!(result["total"].as_u64().unwrap() >= logs.len() as u64);
    logs
}

async fn sessions(socket: &mut WsClient) -> Vec<String> {
    let listed = socket.call("sessions.list", &json!({})).await.unwrap();
    listed["sessions"].as_array().unwrap().iter().map(|session| session["key"].as_str().unwrap().to_owned()).collect()
}

/// What tool calls answered in the last question to the model.
fn tool_results(server: &Server) -> Vec<String> {
    server.llm.questions().last().unwrap().texts_of("tool")
}

on_both_editions! {
    async fn a_heartbeat_is_set_up_switched_and_shown(edition) {
        let server = with_fox(edition).await;
        let fox = server.owner().get("/v1/agents/fox").await.expect(200)["id"].clone();
        let mut socket = server.owner_socket().await;
        assert_eq!(socket.call("heartbeat.get", &json!({"agentId": fox})).await.unwrap(), json!({"heartbeat": null}));
        assert_eq!(socket.call("heartbeat.toggle", &json!({"agentId": fox, "enabled": true})).await.unwrap_err().code, "NOT_FOUND");
        assert_eq!(socket.call("heartbeat.test", &json!({"agentId": fox})).await.unwrap_err().code, "NOT_FOUND");
        assert_eq!(socket.call("heartbeat.logs", &json!({"agentId": fox})).await.unwrap(), json!({"logs": [], "total": 0}));
        assert_eq!(socket.call("heartbeat.targets", &json!({"agentId": fox})).await.unwrap(), json!({"targets": []}));
        assert_snapshot!("fresh", set(&mut socket, json!({})).await);
        let full = json!({
            "enabled": true, "intervalSec": 600, "prompt": "Look.", "providerName": "anthropic", "model": "m", "isolatedSession": false, "lightContext": true,
            "ackMaxChars": 0, "maxRetries": 10, "activeHoursStart": "08:00", "activeHoursEnd": "22:00", "timezone": "Asia/Tokyo", "channel": "telegram", "chatId": "-1"
        });
        let before = SystemClock.now();
        let all = set(&mut socket, full).await;
        assert_snapshot!("full", all.clone());
        assert_eq!(get(&mut socket).await, all);
        let next: chrono::DateTime<Utc> = all["nextRunAt"].as_str().unwrap().parse().unwrap();
        assert!((600..=661).contains(&(next - before).num_seconds()), "an interval and at most a tenth of it away: {next}");
        let cleared = json!({"prompt": "", "providerName": "", "model": "", "activeHoursStart": "", "activeHoursEnd": "", "timezone": "", "channel": "", "chatId": ""});
        let cleared = set(&mut socket, cleared).await;
        for key in ["prompt", "providerName", "providerId", "model", "activeHoursStart", "activeHoursEnd", "timezone", "channel", "chatId"] {
            assert_eq!(cleared.get(key), None, "{key}");
        }
        assert_eq!((&cleared["intervalSec"], &cleared["nextRunAt"]), (&json!(600), &all["nextRunAt"]));
        let off = socket.call("heartbeat.toggle", &json!({"agentId": "fox", "enabled": false})).await.unwrap();
        assert_eq!(off, json!({"agentId": fox, "enabled": false}));
        assert_eq!((&get(&mut socket).await["enabled"], &get(&mut socket).await["nextRunAt"]), (&json!(false), &all["nextRunAt"]));
        let later = set(&mut socket, json!({"interval": 3600})).await;
        assert!(later["nextRunAt"].as_str() > all["nextRunAt"].as_str(), "another interval, another time");
    }

    async fn a_stored_provider_is_known_by_its_id(edition) {
        let (server, mut socket) = with_heartbeat(edition).await;
        let own = json!({"name": "mine", "provider_type": "openai_compat", "api_base": server.llm.base(), "api_key": "sk-of-mine", "enabled": true});
        let id = server.owner().post("/v1/providers", &own).await.expect(201)["id"].clone();
        let beat = set(&mut socket, json!({"providerName": "mine", "model": "m"})).await;
        assert_eq!((&beat["providerId"], &beat["providerName"]), (&id, &json!("mine")));
        server.llm.next(Answer::text("All is well. HEARTBEAT_OK"));
        assert_eq!(test_run(&mut socket).await["action"], "suppressed");
        let asked = server.llm.questions().pop().unwrap();
        assert_eq!((asked.header("authorization"), &asked.body["model"]), (Some("Bearer sk-of-mine"), &json!("m")));
        let traces = eventually("the trace", async || {
            let traces = server.owner().get("/v1/traces").await.expect(200);
            (traces["traces"][0]["status"] == "completed").then_some(traces)
        }).await;
        assert_eq!((&traces["traces"][0]["name"], &traces["traces"][0]["tags"]), (&json!("Heartbeat [fox]"), &json!(["heartbeat", "provider:mine"])));
        server.owner().delete(&format!("/v1/providers/{}", id.as_str().unwrap())).await;
        assert_eq!(get(&mut socket).await.get("providerId"), None);
    }

    async fn every_value_is_checked(edition) {
        let server = with_fox(edition).await;
        let mut socket = server.owner_socket().await;
        let bad = [
            json!({"intervalSec": 299}), json!({"intervalSec": 0}), json!({"intervalSec": "often"}), json!({"intervalSec": 300.5}), json!({"intervalSec": 99_999_999}),
            json!({"ackMaxChars": -1}), json!({"maxRetries": 11}), json!({"maxRetries": -1}), json!({"activeHoursStart": "08:00"}), json!({"activeHoursEnd": "08:00"}),
            json!({"activeHoursStart": "8:00", "activeHoursEnd": "22:00"}), json!({"activeHoursStart": "08:00", "activeHoursEnd": "24:00"}), json!({"timezone": "Mars/Olympus"}),
            json!({"providerName": "nobody"}), json!({"enabled": "yes"}), json!({"prompt": "x".repeat(40_000)}), json!({"channel": "c\u{7}"}), json!({"chatId": "c".repeat(300)}),
            json!({"agentId": ""}),
        ];
        for change in bad {
            let mut params = json!({"agentId": "fox"});
            params.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            assert_eq!(socket.call("heartbeat.set", &params).await.unwrap_err().code, "INVALID_REQUEST", "{change}");
        }
        assert_eq!(get(&mut socket).await, Value::Null, "nothing was stored");
        for method in METHODS {
            assert_eq!(socket.call(method, &json!({})).await.unwrap_err().code, "INVALID_REQUEST", "{method}");
            assert_eq!(socket.call(method, &params("nobody")).await.unwrap_err().code, "NOT_FOUND", "{method}");
        }
        for (method, params) in [("heartbeat.toggle", json!({"agentId": "fox"})), ("heartbeat.checklist.set", json!({"agentId": "fox", "content": "x".repeat(70_000)}))] {
            assert_eq!(socket.call(method, &params).await.unwrap_err().code, "INVALID_REQUEST", "{method}");
        }
        let refused = server.connected(&json!({"token": goclaw_tests::server::GATEWAY_TOKEN, "user_id": "system", "locale": "vi"})).await.call("heartbeat.set", &json!({"agentId": "fox", "timezone": "Mars/X"})).await.unwrap_err();
        assert!(refused.message.starts_with("múi giờ không xác định: Mars/X"), "{}", refused.message);
    }

    async fn the_checklist_is_the_agents_file(edition) {
        let server = with_fox(edition).await;
        let mut socket = server.owner_socket().await;
        assert_eq!(socket.call("heartbeat.checklist.get", &json!({"agentId": "fox"})).await.unwrap(), json!({"content": ""}));
        assert_eq!(socket.call("heartbeat.checklist.set", &json!({"agentId": "fox", "content": "- tée 🦊"})).await.unwrap(), json!({"ok": true, "length": 7}));
        assert_eq!(socket.call("heartbeat.checklist.get", &json!({"agentId": "fox"})).await.unwrap(), json!({"content": "- tée 🦊"}));
        let file = socket.call("agents.files.get", &json!({"agentId": "fox", "name": "HEARTBEAT.md"})).await.unwrap();
        assert_eq!(file["file"]["content"], "- tée 🦊");
        socket.call("agents.files.set", &json!({"agentId": "fox", "name": "HEARTBEAT.md", "content": "- new"})).await.unwrap();
        assert_eq!(socket.call("heartbeat.checklist.get", &json!({"agentId": "fox"})).await.unwrap(), json!({"content": "- new"}));
    }

    async fn who_may_use_the_agent_reads_and_only_its_owner_and_admins_write(edition) {
        let tenants = Tenants::start(edition).await;
        let mut admin = tenants.socket(&tenants.a_admin, "boss").await;
        for (name, owner) in [("fox", "mai"), ("owl", "lan")] {
            admin.call("agents.create", &json!({"name": name, "owner_ids": [owner]})).await.unwrap();
            admin.call("heartbeat.set", &json!({"agentId": name})).await.unwrap();
        }
        let (mut mai, mut viewer) = (tenants.socket(&tenants.a_operator, "mai").await, tenants.socket(&tenants.a_viewer, "mai").await);
        for method in METHODS {
            let writes = WRITES.contains(&method);
            mai.call(method, &params("fox")).await.unwrap_or_else(|error| panic!("{method}: {}", error.message));
            assert_eq!(mai.call(method, &params("owl")).await.unwrap_err().code, "UNAUTHORIZED", "{method}");
            admin.call(method, &params("owl")).await.unwrap_or_else(|error| panic!("{method}: {}", error.message));
            let seen = viewer.call(method, &params("fox")).await;
            assert_eq!(seen.err().map(|error| error.code), writes.then(|| "UNAUTHORIZED".to_owned()), "{method}");
        }
        // Lan shares it.
        let owl = tenants.client(&tenants.a_admin, "lan").get("/v1/agents/owl").await.expect(200)["id"].as_str().unwrap().to_owned();
        tenants.client(&tenants.a_admin, "lan").post(&format!("/v1/agents/{owl}/shares"), &json!({"user_id": "mai"})).await.expect(201);
        for method in METHODS {
            let refused = mai.call(method, &params("owl")).await.err().map(|error| error.code);
            assert_eq!(refused, WRITES.contains(&method).then(|| "UNAUTHORIZED".to_owned()), "{method}");
        }
    }

    async fn another_tenants_heartbeats_are_out_of_reach(edition) {
        let tenants = Tenants::start(edition).await;
        let fox = create_agent(&tenants.client(&tenants.a_admin, "mai"), "fox").await["id"].as_str().unwrap().to_owned();
        let (mut own, mut other) = (tenants.socket(&tenants.a_admin, "mai").await, tenants.socket(&tenants.b_admin, "mai").await);
        set_up(&mut own, "fox").await;
        let before = get(&mut own).await;
        for method in METHODS {
            for agent in [fox.as_str(), "fox"] {
                assert_eq!(other.call(method, &params(agent)).await.unwrap_err().code, "NOT_FOUND", "{method}");
            }
        }
        assert_eq!(get(&mut own).await, before);
        assert_eq!(test_run(&mut own).await["action"], "ok");
        assert_eq!(other.events_until_now().await, Vec::<Value>::new());
        let mut viewer = tenants.socket(&tenants.a_viewer, "somebody").await;
        assert_eq!(test_run(&mut own).await["action"], "ok");
        assert_eq!(end(&mut viewer).await["action"], "ok", "the whole tenant hears that it ran");
        let heard = viewer.events_until_now().await;
        assert!(heard.iter().all(|event| event["event"] != "agent"), "but what was said is the owner's: {heard:?}");
    }

    async fn an_agent_with_nothing_to_report_sends_nothing(edition) {
        let (server, mut socket) = with_heartbeat(edition).await;
        set(&mut socket, json!({"channel": "telegram", "chatId": "7"})).await;
        server.llm.next(Answer::text("HEARTBEAT_OK").usage(30, 4));
        socket.call("heartbeat.test", &json!({"agentId": "fox"})).await.unwrap();
        let fox = server.owner().get("/v1/agents/fox").await.expect(200)["id"].clone();
        let running = socket.event_named("heartbeat").await["payload"].clone();
        assert_eq!(running, json!({"action": "running", "agentId": fox, "agentKey": "fox"}));
        assert_eq!(end(&mut socket).await, json!({"action": "suppressed", "agentId": fox, "agentKey": "fox", "status": "suppressed"}));
        let logged = logs(&mut socket).await;
        assert_snapshot!("suppressed", json!(logged).as_array().unwrap().iter().map(|log| { let mut log = log.clone(); log["durationMs"] = json!(0); log }).collect::<Value>());
        let after = get(&mut socket).await;
        assert_eq!((&after["lastStatus"], &after["runCount"], &after["suppressCount"]), (&json!("suppressed"), &json!(1), &json!(1)));
        assert_eq!(after["lastRunAt"], logged[0]["ranAt"]);
        assert!(!server.log().contains("could not be delivered"));
        assert_eq!(sessions(&mut socket).await, Vec::<String>::new(), "its conversation is gone");
        let asked = server.llm.questions().pop().unwrap();
        assert!(asked.system().contains("<checklist>\n- Is the burrow dry?\n</checklist>") && asked.system().contains("HEARTBEAT_OK"));
        assert_eq!(asked.texts_of("user"), ["It is time to look after your checklist. Work through it now."]);
        assert!(server.anonymous().get("/metrics").await.text().contains("goclaw_heartbeats_total{status=\"suppressed\"} 1"));
        server.llm.next(Answer::text("NO_REPLY"));
        assert_eq!(test_run(&mut socket).await["action"], "suppressed", "silence reports nothing either");
    }

    async fn a_report_is_given_once(edition) {
        let (server, mut socket) = with_heartbeat(edition).await;
        set(&mut socket, json!({"prompt": "Look!"})).await;
        server.llm.next(Answer::text("The burrow is wet.").usage(30, 4));
        socket.call("heartbeat.test", &json!({"agentId": "fox"})).await.unwrap();
        let mut events = vec![];
        loop {
            let event = socket.event(|_| true).await;
            if event["event"] == "heartbeat" && event["payload"]["action"] != "running" {
                assert_eq!(event["payload"]["status"], "ok");
                break;
            }
            events.push(event);
        }
        let completed: Vec<_> = events.iter().filter(|event| event["payload"]["type"] == "run.completed").map(|event| &event["payload"]).collect();
        assert_eq!(completed.len(), 1);
        assert_eq!((&completed[0]["payload"]["content"], &completed[0]["channel"]), (&json!("The burrow is wet."), &json!("heartbeat")));
        assert!(completed[0]["sessionKey"].as_str().unwrap().starts_with("agent:fox:heartbeat:"));
        let logged = logs(&mut socket).await;
        assert_eq!(logged.len(), 1);
        assert_eq!((&logged[0]["status"], &logged[0]["summary"], &logged[0]["inputTokens"], &logged[0]["outputTokens"]), (&json!("ok"), &json!("The burrow is wet."), &json!(30), &json!(4)));
        assert_eq!((logged[0].get("metadata"), logged[0].get("error")), (None, None), "there was nowhere to deliver it");
        assert_eq!(server.llm.questions().pop().unwrap().last_user_text(), "Look!");
        assert_eq!(server.llm.requests().iter().filter(|request| request.asks_for_title()).count(), 0);
        server.llm.next(Answer::text("é".repeat(600)));
        test_run(&mut socket).await;
        assert_eq!(logs(&mut socket).await[0]["summary"].as_str().unwrap().chars().count(), 500);
    }

    async fn a_report_to_a_channel_that_is_not_there_says_so(edition) {
        let (server, mut socket) = with_heartbeat(edition).await;
        set(&mut socket, json!({"channel": "telegram"})).await;
        server.llm.always(Answer::text("The burrow is wet."));
        assert_eq!(test_run(&mut socket).await.get("error"), None, "a channel without a chat is nowhere");
        set(&mut socket, json!({"chatId": "7"})).await;
        let event = test_run(&mut socket).await;
        assert_eq!((&event["action"], &event["error"]), (&json!("ok"), &json!("channel not found: telegram")));
        let logged = &logs(&mut socket).await[0];
        assert_eq!((&logged["status"], &logged["error"], &logged["summary"]), (&json!("ok"), &json!("channel not found: telegram"), &json!("The burrow is wet.")));
        assert_eq!(logged["metadata"], json!({"delivery": {"channel": "telegram", "chatId": "7", "state": "failed"}}));
        assert!(server.log().contains("the answer of a heartbeat could not be delivered"));
    }

    async fn an_empty_checklist_and_the_wrong_hour_ask_nobody(edition) {
        let (server, mut socket) = with_heartbeat(edition).await;
        let hour = |hours: i64| (SystemClock.now() + TimeDelta::hours(hours)).format("%H:%M").to_string();
        set(&mut socket, json!({"activeHoursStart": hour(2), "activeHoursEnd": hour(4)})).await;
        let event = test_run(&mut socket).await;
        assert_eq!((&event["action"], &event["status"], &event["reason"]), (&json!("skipped"), &json!("skipped"), &json!("active_hours")));
        set(&mut socket, json!({"activeHoursStart": hour(-2), "activeHoursEnd": hour(2)})).await;
        socket.call("heartbeat.checklist.set", &json!({"agentId": "fox", "content": " \n"})).await.unwrap();
        assert_eq!(test_run(&mut socket).await["reason"], "empty_checklist");
        let logged = logs(&mut socket).await;
        let reasons: Vec<_> = logged.iter().map(|log| (log["status"].as_str().unwrap(), log["skipReason"].as_str().unwrap())).collect();
        assert_eq!(reasons, [("skipped", "empty_checklist"), ("skipped", "active_hours")]);
        let after = get(&mut socket).await;
        assert_eq!((&after["runCount"], after.get("lastStatus")), (&json!(0), None));
        assert!(after["nextRunAt"].is_string(), "it is due an interval later");
        assert_eq!(server.llm.questions().len(), 0);
    }

    async fn an_agent_at_work_is_left_alone_and_asked_later(edition) {
        let (server, mut socket) = with_heartbeat(edition).await;
        let gate = Gate::closed();
        server.llm.next(Answer::text("Wait.").gated(&gate));
        let mut chatting = server.owner_socket().await;
        let asked = chatting.send("chat.send", &message(&fox_session("1"), "hello")).await;
        server.llm.wait_for_questions(1).await;
        let event = test_run(&mut socket).await;
        assert_eq!((&event["action"], &event["reason"]), (&json!("skipped"), &json!("queue_busy")));
        gate.open();
        chatting.answer(&asked).await.unwrap();
        assert_eq!(test_run(&mut socket).await["action"], "ok");
        let logged = logs(&mut socket).await;
        assert_eq!(logged.iter().map(|log| log["status"].as_str().unwrap()).collect::<Vec<_>>(), ["ok", "skipped"]);
    }

    async fn heartbeats_share_the_places_of_their_lane(edition) {
        let server = Setup::new(edition).await.env("GOCLAW_LANE_CRON", "1").start().await;
        let (mut socket, gate) = (server.owner_socket().await, Gate::closed());
        server.llm.always(Answer::text("Dry.").gated(&gate));
        for agent in ["fox", "owl"] {
            create_agent(&server.owner(), agent).await;
            set_up(&mut socket, agent).await;
            socket.call("heartbeat.test", &json!({"agentId": agent})).await.unwrap();
        }
        let running = |event: &Value| event["event"] == "heartbeat" && event["payload"]["action"] == "running";
        socket.event(running).await;
        socket.event(running).await;
        let chat = socket.call("health", &json!({})).await;
        assert!(chat.is_ok());
        server.llm.wait_for_open_answers(1).await;
        let line = "goclaw_runs_active 2";
        eventually("both runs to be there", async || {
            server.anonymous().token(goclaw_tests::server::GATEWAY_TOKEN).get("/metrics").await.text().lines().any(|found| found == line)
        }).await;
        assert_eq!(server.llm.questions().len(), 1, "the other waits for the one place");
        gate.open();
        assert_eq!((&end(&mut socket).await["action"], &end(&mut socket).await["action"]), (&json!("ok"), &json!("ok")));
    }

    async fn the_checklist_stands_in_the_prompt_once(edition) {
        let (server, mut socket) = with_heartbeat(edition).await;
        create_agent_with(&server.owner(), "owl", json!({"agent_type": "predefined"})).await;
        set_up(&mut socket, "owl").await;
        for agent in ["fox", "owl"] {
            socket.call("heartbeat.test", &json!({"agentId": agent})).await.unwrap();
            end(&mut socket).await;
            let system = server.llm.questions().pop().unwrap().system();
            assert_eq!(system.matches("Is the burrow dry?").count(), 1, "{agent}: {system}");
        }
        // Elsewhere it is a file like others.
        server.llm.forget();
        socket.call("chat.send", &json!({"agentId": "owl", "message": "hello"})).await.unwrap();
        let system = server.llm.questions().pop().unwrap().system();
        assert_eq!(system.matches("Is the burrow dry?").count(), 1, "{system}");
    }

    async fn a_failure_is_tried_again_and_then_told(edition) {
        let (server, mut socket) = with_heartbeat(edition).await;
        set(&mut socket, json!({"maxRetries": 1})).await;
        server.llm.next(Answer::error(401, "no")).next(Answer::text("Fine."));
        assert_eq!(test_run(&mut socket).await["action"], "ok");
        assert_eq!(server.llm.questions().len(), 2);
        set(&mut socket, json!({"maxRetries": 0})).await;
        server.llm.next(Answer::error(401, "key sk-secret-of-upstream is wrong"));
        let event = test_run(&mut socket).await;
        assert_eq!((&event["action"], &event["error"]), (&json!("error"), &json!("the provider refused the API key; check the provider's settings")));
        let after = get(&mut socket).await;
        assert_eq!((&after["lastStatus"], &after["lastError"], &after["runCount"]), (&json!("error"), &event["error"], &json!(2)));
        assert_eq!(logs(&mut socket).await[0]["error"], event["error"]);
        assert_eq!(sessions(&mut socket).await, Vec::<String>::new());
    }

    async fn a_run_that_hangs_is_stopped_by_an_admin(edition) {
        let (server, mut socket) = with_heartbeat(edition).await;
        server.llm.next(Answer::hang());
        socket.call("heartbeat.test", &json!({"agentId": "fox"})).await.unwrap();
        let started = socket.agent_event("run.started").await;
        assert!(started["sessionKey"].as_str().unwrap().starts_with("agent:fox:heartbeat:"), "{started}");
        server.llm.wait_for_questions(1).await;
        let aborted = socket.call("chat.abort", &json!({"runId": started["runId"]})).await.unwrap();
        assert_eq!(aborted["aborted"], true);
        let event = end(&mut socket).await;
        assert_eq!((&event["action"], &event["error"]), (&json!("error"), &json!("the run was stopped")));
        assert_eq!(test_run(&mut socket).await["action"], "ok", "it may run again");
    }

    async fn with_a_session_of_its_own_it_remembers(edition) {
        let (server, mut socket) = with_heartbeat(edition).await;
        set(&mut socket, json!({"isolatedSession": false, "prompt": "Look!"})).await;
        server.llm.next(Answer::text("Wet.")).next(Answer::text("Still wet."));
        test_run(&mut socket).await;
        test_run(&mut socket).await;
        assert_eq!(sessions(&mut socket).await, ["agent:fox:heartbeat"]);
        let asked = server.llm.questions().pop().unwrap();
        assert_eq!((asked.texts_of("user"), asked.texts_of("assistant")), (vec!["Look!".to_owned(), "Look!".to_owned()], vec!["Wet.".to_owned()]));
    }

    async fn light_context_leaves_the_files_out(edition) {
        let server = Server::start(edition).await;
        create_agent_with(&server.owner(), "fox", json!({"agent_type": "predefined"})).await;
        let mut socket = server.owner_socket().await;
        set_up(&mut socket, "fox").await;
        socket.call("agents.files.set", &json!({"agentId": "fox", "name": "SOUL.md", "content": "Calm as a pond."})).await.unwrap();
        for (light, there) in [(false, true), (true, false)] {
            set(&mut socket, json!({"lightContext": light})).await;
            test_run(&mut socket).await;
            let asked = server.llm.questions().pop().unwrap();
            assert_eq!(asked.system().contains("Calm as a pond."), there);
            assert!(asked.system().contains("Is the burrow dry?"));
        }
    }

    async fn one_that_was_due_while_the_gateway_was_down_runs_once_at_its_start(edition) {
        let (mut server, mut socket) = with_heartbeat(edition).await;
        set(&mut socket, json!({"enabled": true})).await;
        let fox: uuid::Uuid = server.owner().get("/v1/agents/fox").await.expect(200)["id"].as_str().unwrap().parse().unwrap();
        assert!(server.stop().await.success());
        let stores = server.stores().await;
        let past = SystemClock.now() - TimeDelta::hours(5);
        let overdue = std::sync::Arc::new(move |before: Option<goclaw_ports::heartbeats::Heartbeat>| Ok(goclaw_ports::heartbeats::Heartbeat { next_run_at: Some(past), ..before.unwrap() }));
        stores.heartbeats.change(goclaw_ports::TenantId::MASTER, fox.into(), overdue).await.unwrap();
        stores.database.close().await;
        server.restart().await;
        let mut socket = server.owner_socket().await;
        let logged = eventually("the run", async || {
            let logged = logs(&mut socket).await;
            (!logged.is_empty()).then_some(logged)
        }).await;
        assert_eq!((logged.len(), &logged[0]["status"]), (1, &json!("ok")));
        let next: chrono::DateTime<Utc> = get(&mut socket).await["nextRunAt"].as_str().unwrap().parse().unwrap();
        assert!((1_700..=1_800).contains(&(next - SystemClock.now()).num_seconds()), "what was missed is not made up for");
        assert_eq!(server.llm.questions().len(), 1);
    }

    async fn a_crash_gives_the_heartbeat_back_and_it_runs_again(edition) {
        let (mut server, mut socket) = with_heartbeat(edition).await;
        server.llm.next(Answer::hang());
        socket.call("heartbeat.test", &json!({"agentId": "fox"})).await.unwrap();
        server.llm.wait_for_questions(1).await;
        server.crash().await;
        if edition == Edition::Standard {
            // Another gateway might be at work on it, so its time has to pass.
            let (client, connection) = tokio_postgres::connect(&server.environment()["GOCLAW_POSTGRES_DSN"], tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            let passed = client.execute("update agent_heartbeats set claimed_until = claimed_until - interval '120 seconds' where claimed_until > now()", &[]).await.unwrap();
            assert_eq!(passed, 1, "the claim outlives the process");
            client.execute("update traces set lease_until = lease_until - interval '120 seconds' where status = 'running'", &[]).await.unwrap();
        }
        server.restart().await;
        let mut socket = server.owner_socket().await;
        let logged = eventually("the run", async || {
            let logged = logs(&mut socket).await;
            (!logged.is_empty()).then_some(logged)
        }).await;
        assert_eq!((logged.len(), &logged[0]["status"]), (1, &json!("ok")));
        assert_eq!(server.llm.questions().len(), 2);
        assert_eq!(sessions(&mut socket).await, Vec::<String>::new(), "the conversation that was cut off is gone as well");
    }

    async fn a_gateway_that_stops_leaves_it_to_the_next(edition) {
        let (mut server, mut socket) = with_heartbeat(edition).await;
        set(&mut socket, json!({"maxRetries": 10})).await;
        // It waits for its second attempt, or for a later one.
        server.llm.always(Answer::error(401, "no"));
        socket.call("heartbeat.test", &json!({"agentId": "fox"})).await.unwrap();
        server.llm.wait_for_questions(1).await;
        assert!(server.stop().await.success());
        server.llm.always(Answer::text("Dry."));
        server.restart().await;
        let mut socket = server.owner_socket().await;
        let logged = eventually("the run", async || {
            let logged = logs(&mut socket).await;
            (!logged.is_empty()).then_some(logged)
        }).await;
        assert_eq!((logged.len(), &logged[0]["summary"]), (1, &json!("Dry.")));
    }

    async fn an_agent_that_is_not_active_does_not_run(edition) {
        let (server, mut socket) = with_heartbeat(edition).await;
        let fox = server.owner().get("/v1/agents/fox").await.expect(200)["id"].as_str().unwrap().to_owned();
        server.owner().put(&format!("/v1/agents/{fox}"), &json!({"status": "inactive"})).await.expect(200);
        assert_eq!(socket.call("heartbeat.test", &json!({"agentId": "fox"})).await.unwrap_err().code, "NOT_FOUND");
        assert_eq!(logs(&mut socket).await, Vec::<Value>::new());
    }

    async fn deleting_the_agent_ends_its_heartbeat(edition) {
        let (server, mut socket) = with_heartbeat(edition).await;
        server.llm.next(Answer::hang());
        socket.call("heartbeat.test", &json!({"agentId": "fox"})).await.unwrap();
        server.llm.wait_for_questions(1).await;
        socket.call("agents.delete", &json!({"agentId": "fox"})).await.unwrap();
        server.llm.wait_for_lost_clients(1).await;
        create_agent(&server.owner(), "fox").await;
        assert_eq!(get(&mut socket).await, Value::Null);
        assert_eq!(logs(&mut socket).await, Vec::<Value>::new());
    }

    async fn changes_stand_in_the_audit_log(edition) {
        let (server, mut socket) = with_heartbeat(edition).await;
        socket.call("heartbeat.toggle", &json!({"agentId": "fox", "enabled": false})).await.unwrap();
        test_run(&mut socket).await;
        let log = server.owner().get("/v1/activity").await.expect(200);
        let told: Vec<_> = log["logs"].as_array().unwrap().iter().filter_map(|entry| entry["action"].as_str()).filter(|action| action.starts_with("heartbeat")).collect();
        assert_eq!(told, ["heartbeat.test", "heartbeat.toggled", "heartbeat.set", "heartbeat.checklist.set"]);
    }

    async fn an_agent_sets_up_its_own_heartbeat(edition) {
        let server = with_fox(edition).await;
        let mut socket = server.owner_socket().await;
        let calls = [
            (json!({"action": "status"}), "no heartbeat is configured for fox"),
            (json!({"action": "get"}), "\"heartbeat\": null"),
            (json!({"action": "set_checklist", "content": "- Dry?"}), "\"length\": 6"),
            (json!({"action": "get_checklist"}), "\"content\": \"- Dry?\""),
            (json!({"action": "set", "interval": 299}), "intervalSec must be between 300 and"),
            (json!({"action": "set", "interval": 600, "active_hours": "08:00 - 22:00", "timezone": "Asia/Tokyo", "max_retries": 1, "light_context": true}), "\"activeHoursEnd\": \"22:00\""),
            (json!({"action": "set", "active_hours": "always"}), "active_hours must look like"),
            (json!({"action": "set", "active_hours": ""}), "\"intervalSec\": 600"),
            (json!({"action": "toggle", "enabled": true}), "\"enabled\": true"),
            (json!({"action": "toggle"}), "enabled is required"),
            (json!({"action": "status"}), "\"runCount\": 0"),
            (json!({"action": "logs"}), "\"total\": 0"),
            (json!({"action": "dance"}), "action must be one of"),
        ];
        for (n, (arguments, expected)) in calls.into_iter().enumerate() {
            server.llm.next(Answer::tool("heartbeat", &arguments));
            socket.call("chat.send", &message(&fox_session(&n.to_string()), "go")).await.unwrap();
            let results = tool_results(&server);
            assert!(results.last().unwrap().contains(expected), "{arguments}: {results:?}");
        }
        let beat = get(&mut socket).await;
        assert_eq!((&beat["enabled"], &beat["intervalSec"], &beat["maxRetries"], &beat["lightContext"]), (&json!(true), &json!(600), &json!(1), &json!(true)));
        assert_eq!((beat.get("channel"), beat.get("activeHoursStart")), (None, None), "this chat is no channel");
        // It runs once the chat is over; in the run it cannot call itself.
        let gate = Gate::closed();
        server.llm.next(Answer::tool("heartbeat", &json!({"action": "test"}))).next(Answer::text("Soon.").gated(&gate));
        let chat = socket.send("chat.send", &message(&fox_session("test"), "go")).await;
        assert_eq!(end(&mut socket).await["reason"], "queue_busy");
        gate.open();
        socket.answer(&chat).await.unwrap();
        server.llm.next(Answer::tool("heartbeat", &json!({"action": "test"}))).next(Answer::text("Wet."));
        assert_eq!(test_run(&mut socket).await["action"], "ok");
        assert!(tool_results(&server)[0].contains("it cannot start itself"));
    }

    async fn others_change_it_through_the_agent_only_if_a_rule_allows_them(edition) {
        let tenants = Tenants::start(edition).await;
        let owner = tenants.client(&tenants.a_admin, "lan");
        let fox = create_agent(&owner, "fox").await["id"].as_str().unwrap().to_owned();
        owner.post(&format!("/v1/agents/{fox}/shares"), &json!({"user_id": "mai"})).await.expect(201);
        let (mut admin, mut mai) = (tenants.socket(&tenants.a_admin, "lan").await, tenants.socket(&tenants.a_operator, "mai").await);
        set_up(&mut admin, "fox").await;
        let llm = &tenants.server.llm;
        let mut n = 0;
        let mut call = async |socket: &mut WsClient, arguments: Value| {
            n += 1;
            llm.next(Answer::tool("heartbeat", &arguments));
            socket.call("chat.send", &message(&fox_session(&n.to_string()), "go")).await.unwrap();
            tool_results(&tenants.server).pop().unwrap()
        };
        for arguments in [json!({"action": "set", "interval": 900}), json!({"action": "toggle", "enabled": true}), json!({"action": "set_checklist", "content": "x"})] {
            assert_eq!(call(&mut mai, arguments).await, "only the owner may change this agent's heartbeat");
        }
        assert!(call(&mut mai, json!({"action": "get"})).await.contains("\"intervalSec\": 1800"));
        let rule = |permission: &str, user: &str| json!({"agentId": fox, "scope": "agent", "configType": "heartbeat", "userId": user, "permission": permission});
        admin.call("config.permissions.grant", &rule("allow", "*")).await.unwrap();
        assert!(call(&mut mai, json!({"action": "set", "interval": 900})).await.contains("\"intervalSec\": 900"));
        admin.call("config.permissions.grant", &rule("deny", "mai")).await.unwrap();
        assert_eq!(call(&mut mai, json!({"action": "set", "interval": 1200})).await, "only the owner may change this agent's heartbeat");
        assert!(call(&mut admin, json!({"action": "set", "interval": 1200})).await.contains("\"intervalSec\": 1200"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_run_each_heartbeat_once() {
    const AGENTS: usize = 12;
    let one = Setup::new(Edition::Standard).await.start().await;
    let two = one.twin().await;
    let (mut here, mut there) = (one.owner_socket().await, two.owner_socket().await);
    for n in 0..AGENTS {
        let key = format!("agent-{n}");
        create_agent(&one.owner(), &key).await;
        set_up(&mut here, &key).await;
    }
    // Each that is asked looks for all that are due.
    let mut asked = vec![];
    for n in 0..AGENTS {
        let socket = if n % 2 == 0 { &mut here } else { &mut there };
        asked.push(socket.send("heartbeat.test", &json!({"agentId": format!("agent-{n}")})).await);
    }
    for (n, id) in asked.iter().enumerate() {
        let socket = if n % 2 == 0 { &mut here } else { &mut there };
        assert_eq!(socket.answer(id).await.unwrap(), json!({"ok": true}));
    }
    let mut ran = std::collections::BTreeMap::<String, usize>::new();
    while ran.len() < AGENTS {
        let event = end(&mut there).await;
        assert_eq!(event["action"], "ok");
        *ran.entry(event["agentKey"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    for n in 0..AGENTS {
        let logged = here.call("heartbeat.logs", &json!({"agentId": format!("agent-{n}")})).await.unwrap();
        assert_eq!(logged["total"], 1, "agent-{n}");
    }
    assert_eq!(one.llm.questions().len(), AGENTS);
    assert!(ran.values().all(|count| *count == 1));
    drop(two);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_at_work_on_another_gateway_is_left_alone() {
    let one = with_fox(Edition::Standard).await;
    let two = one.twin().await;
    let (mut here, mut there, gate) = (one.owner_socket().await, two.owner_socket().await, Gate::closed());
    set_up(&mut here, "fox").await;
    one.llm.next(Answer::text("Wait.").gated(&gate)).always(Answer::text("Dry."));
    let asked = here.send("chat.send", &message(&fox_session("1"), "hello")).await;
    one.llm.wait_for_questions(1).await;
    let event = test_run(&mut there).await;
    assert_eq!((&event["action"], &event["reason"]), (&json!("skipped"), &json!("queue_busy")));
    gate.open();
    here.answer(&asked).await.unwrap();
    assert_eq!(one.llm.questions().len(), 1);
    drop(two);
}
