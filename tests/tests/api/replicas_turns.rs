//! Messages of one conversation that come to two gateways at once: one run follows the other.

use crate::common::{create_agent, create_agent_with, fox_session, history, lines, message};
use goclaw_ports::{TenantId, roles::Scope};
use goclaw_tests::{Answer, Edition, Server, Setup, WsClient, eventually, fake_llm::Gate, fixtures::add_api_key};
use serde_json::{Value, json};

async fn pair() -> (Server, Server) {
    let one = Server::start(Edition::Standard).await;
    let two = one.twin().await;
    create_agent(&one.owner(), "fox").await;
    (one, two)
}

/// Sends a message over `one` whose answer waits for the gate, and then another over `two`, which waits for its turn there. Answers
/// with both calls, and with the run that waits.
async fn both_sent(one: (&Server, &mut WsClient), two: (&Server, &mut WsClient), session: &str, gate: &Gate) -> (String, String, Value) {
    one.0.llm.next(Answer::text("One.").gated(gate)).next(Answer::text("Two."));
    let first = one.1.send("chat.send", &message(session, "first")).await;
    let going = one.1.agent_event("run.started").await["runId"].take();
    one.0.llm.wait_for_questions(1).await;
    let second = two.1.send("chat.send", &message(session, "second")).await;
    let mut watching = two.0.owner_socket().await;
    let waiting = eventually("the second run", async || {
        let status = watching.call("chat.session.status", &json!({"sessionKey": session})).await.unwrap();
        (status["isRunning"] == true && status["runId"] != going).then(|| status["runId"].clone())
    })
    .await;
    (first, second, waiting)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_sees_what_the_first_was_answered() {
    let (one, two) = pair().await;
    let (mut here, mut there, session, gate) = (one.owner_socket().await, two.owner_socket().await, fox_session("1"), Gate::closed());
    let (first, second, _) = both_sent((&one, &mut here), (&two, &mut there), &session, &gate).await;
    assert_eq!(lines(&history(&mut there, &session).await), ["user: first"], "what waits is not said yet");
    assert_eq!(one.llm.questions().len(), 1);
    gate.open();
    assert_eq!(here.answer(&first).await.unwrap()["content"], "One.");
    assert_eq!(there.answer(&second).await.unwrap()["content"], "Two.");
    let said = ["user: first", "assistant: One.", "user: second", "assistant: Two."];
    assert_eq!(lines(&history(&mut here, &session).await), said);
    let asked = one.llm.questions().pop().unwrap();
    assert_eq!((asked.texts_of("assistant"), asked.last_user_text()), (vec!["One.".to_owned()], "second".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_crashes_gives_the_conversation_back() {
    let (mut one, two) = pair().await;
    let (mut here, mut there, session, gate) = (one.owner_socket().await, two.owner_socket().await, fox_session("1"), Gate::closed());
    let (_, second, waiting) = both_sent((&one, &mut here), (&two, &mut there), &session, &gate).await;
    one.crash().await;
    let status = two.owner_socket().await.call("chat.session.status", &json!({"sessionKey": session})).await.unwrap();
    assert!(status["runId"] == waiting || status["isRunning"] == false, "what died does not run: {status}");
    assert_eq!(there.answer(&second).await.unwrap()["content"], "Two.");
    assert_eq!(lines(&history(&mut there, &session).await), ["user: first", "user: second", "assistant: Two."]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_waits_for_another_gateway_can_be_stopped() {
    let (one, two) = pair().await;
    let (mut here, mut there, session, gate) = (one.owner_socket().await, two.owner_socket().await, fox_session("1"), Gate::closed());
    let (first, second, waiting) = both_sent((&one, &mut here), (&two, &mut there), &session, &gate).await;
    let mut stopping = two.owner_socket().await;
    assert_eq!(stopping.call("chat.abort", &json!({"runId": waiting})).await.unwrap()["runIds"], json!([waiting]));
    assert_eq!(there.answer(&second).await.unwrap(), json!({"cancelled": true}));
    gate.open();
    assert_eq!(here.answer(&first).await.unwrap()["content"], "One.");
    assert_eq!(lines(&history(&mut here, &session).await), ["user: first", "assistant: One."], "what was stopped was never said");
    let third = there.call("chat.send", &message(&session, "third")).await.unwrap();
    assert_eq!(third["content"], "Two.", "it is nobody's any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_seen_and_stopped_at_the_other_gateway_by_its_user_and_admins_alone() {
    let mut setup = Setup::new(Edition::Standard).await;
    let stores = setup.stores().await;
    // With the gateway's token everybody would be an admin, and with a key of somebody's that one.
    let key = add_api_key(&stores, Some(TenantId::MASTER), &[Scope::Write], "").await;
    drop(stores);
    let one = setup.start().await;
    let two = one.twin().await;
    create_agent_with(&one.owner(), "fox", json!({"is_default": true})).await;
    one.llm.always(Answer::hang());
    let operator = |user: &str| json!({"token": key, "user_id": user});
    let (mut here, mut there) = (one.connected(&operator("mai")).await, two.connected(&operator("mai")).await);
    let (mut stranger, mut boss) = (two.connected(&operator("lan")).await, two.owner_socket().await);
    for n in 1..=3 {
        let session = fox_session(&n.to_string());
        let id = here.send("chat.send", &message(&session, "hello")).await;
        let run = here.agent_event("run.started").await["runId"].clone();
        one.llm.wait_for_questions(n).await;
        assert_eq!(
            there.call("chat.session.status", &json!({"sessionKey": session})).await.unwrap(),
            json!({"isRunning": true, "runId": run, "activity": null})
        );
        for params in [json!({"sessionKey": session}), json!({"runId": run})] {
            assert_eq!(stranger.call("chat.abort", &params).await.unwrap()["aborted"], false, "{params}");
        }
        let (socket, params) = match n {
            1 => (&mut there, json!({"sessionKey": session})),
            2 => (&mut there, json!({"runId": run})),
            _ => (&mut boss, json!({"sessionKey": session, "runId": run})),
        };
        assert_eq!(socket.call("chat.abort", &params).await.unwrap(), json!({"ok": true, "aborted": true, "runIds": [run]}), "{params}");
        assert_eq!(here.answer(&id).await.unwrap(), json!({"cancelled": true}));
        assert_eq!(there.agent_event("run.cancelled").await["runId"], run);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_reset_or_deleted_at_one_gateway_stops_at_the_other() {
    let (one, two) = pair().await;
    one.llm.always(Answer::text("Half of").chunks(2).then_stall());
    let (mut here, mut there) = (one.owner_socket().await, two.owner_socket().await);
    for (n, method) in ["sessions.reset", "sessions.delete"].into_iter().enumerate() {
        let session = fox_session(method);
        let id = here.send("chat.send", &message(&session, "hello")).await;
        one.llm.wait_for_questions(n + 1).await;
        here.agent_event("chunk").await;
        there.call(method, &json!({"key": session})).await.unwrap();
        // What it still had to say was said before: nothing comes after it.
        assert_eq!(here.answer(&id).await.unwrap(), json!({"cancelled": true}), "{method}");
        assert!(history(&mut there, &session).await.is_empty(), "{method}");
        let listed = there.call("sessions.list", &json!({})).await.unwrap();
        assert_eq!(listed["sessions"].as_array().unwrap().iter().any(|known| known["key"] == session.as_str()), method == "sessions.reset");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_conversations_at_once_are_each_in_order() {
    let (one, two) = pair().await;
    one.llm.always(Answer::echo());
    let sessions: Vec<String> = (0..12).map(|n| fox_session(&n.to_string())).collect();
    let talk = async |server: &Server, name: &str| {
        for round in 0..3 {
            let mut socket = server.owner_socket().await;
            let mut sent = vec![];
            for session in &sessions {
                sent.push(socket.send("chat.send", &message(session, &format!("{name} {round}"))).await);
            }
            for id in sent {
                let answer = socket.answer(&id).await.unwrap();
                assert!(answer["content"].as_str().is_some_and(|text| text.contains(&format!("{name} {round}"))), "{answer}");
            }
        }
    };
    tokio::join!(talk(&one, "one"), talk(&two, "two"));
    let mut socket = one.owner_socket().await;
    for session in &sessions {
        let said = history(&mut socket, session).await;
        assert_eq!(said.len(), 12);
        for turn in said.chunks(2) {
            let [asked, answered] = turn else { unreachable!("an even number") };
            assert_eq!((&asked["role"], &answered["role"]), (&json!("user"), &json!("assistant")), "{said:?}");
            assert!(answered["content"].as_str().unwrap().contains(asked["content"].as_str().unwrap()), "{said:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conversations_of_the_same_name_in_two_tenants_do_not_wait_for_each_other() {
    let (one, two) = pair().await;
    let tenant = one.owner().post("/v1/tenants", &json!({"name": "A", "slug": "a"})).await.expect(201)["id"].as_str().unwrap().to_owned();
    create_agent(&one.owner().tenant(&tenant), "fox").await;
    let of_a = json!({"token": goclaw_tests::server::GATEWAY_TOKEN, "user_id": "system", "tenant_id": tenant});
    let (mut here, mut there, session) = (one.owner_socket().await, two.connected(&of_a).await, fox_session("1"));
    one.llm.next(Answer::hang()).next(Answer::text("Two."));
    here.send("chat.send", &message(&session, "first")).await;
    one.llm.wait_for_questions(1).await;
    assert_eq!(there.call("chat.send", &message(&session, "second")).await.unwrap()["content"], "Two.");
    assert_eq!(lines(&history(&mut there, &session).await), ["user: second", "assistant: Two."]);
}

/// What `agents.list`, `agent` and `status` say of whether the fox is at work.
async fn at_work(socket: &mut WsClient) -> [bool; 3] {
    let listed = socket.call("agents.list", &json!({})).await.unwrap()["agents"][0]["isRunning"].clone();
    let named = socket.call("agent", &json!({"agentId": "fox"})).await.unwrap()["isRunning"].clone();
    let told = socket.call("status", &json!({})).await.unwrap()["agents"][0]["isRunning"].clone();
    [listed, named, told].map(|running| running.as_bool().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_at_work_at_the_other_gateway_is_seen_and_waited_for() {
    let (one, two) = pair().await;
    let tenant = one.owner().post("/v1/tenants", &json!({"name": "A", "slug": "a"})).await.expect(201)["id"].as_str().unwrap().to_owned();
    create_agent(&one.owner().tenant(&tenant), "fox").await;
    let of_a = json!({"token": goclaw_tests::server::GATEWAY_TOKEN, "user_id": "system", "tenant_id": tenant});
    let (mut here, mut there, mut stranger) = (one.owner_socket().await, two.owner_socket().await, two.connected(&of_a).await);
    let gate = Gate::closed();
    one.llm.next(Answer::text("One.").gated(&gate));
    assert_eq!(at_work(&mut there).await, [false; 3]);
    let sent = here.send("chat.send", &message(&fox_session("1"), "hello")).await;
    eventually("the run is known at the other gateway", async || (at_work(&mut there).await == [true; 3]).then_some(())).await;
    assert_eq!(at_work(&mut stranger).await, [false; 3], "an agent of the same name in another tenant");
    let running = json!({"id": "fox", "status": "running"});
    assert_eq!(there.call("agent.wait", &json!({"agentId": "fox", "timeoutMs": 1})).await.unwrap(), running);
    let waiting = there.send("agent.wait", &json!({"agentId": "fox"})).await;
    gate.open();
    assert_eq!(here.answer(&sent).await.unwrap()["content"], "One.");
    assert_eq!(there.answer(&waiting).await.unwrap(), json!({"id": "fox", "status": "idle"}));
    assert_eq!(at_work(&mut there).await, [false; 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runs_of_an_agent_that_is_deleted_stop_at_the_other_gateway() {
    let (one, two) = pair().await;
    create_agent(&one.owner(), "owl").await;
    one.llm.always(Answer::hang());
    let (mut here, mut there) = (one.owner_socket().await, two.owner_socket().await);
    let of_fox = here.send("chat.send", &message(&fox_session("1"), "hello")).await;
    let of_owl = here.send("chat.send", &json!({"message": "hello", "sessionKey": "agent:owl:ws:direct:1"})).await;
    one.llm.wait_for_questions(2).await;
    there.call("agents.delete", &json!({"agentId": "fox"})).await.unwrap();
    assert_eq!(here.answer(&of_fox).await.unwrap(), json!({"cancelled": true}));
    let left = there.call("agents.list", &json!({})).await.unwrap()["agents"].clone();
    assert_eq!((left[0]["id"].as_str(), left[1].is_null()), (Some("owl"), true), "{left}");
    here.call("chat.abort", &json!({"sessionKey": "agent:owl:ws:direct:1"})).await.unwrap();
    assert_eq!(here.answer(&of_owl).await.unwrap(), json!({"cancelled": true}));
}
