//! `POST /v1/responses`: in our own shape for `messages`, in OpenAI's for `input`.

use crate::common::{Tenants, create_agent, create_agent_with, question, streamed, with_fox};
use goclaw_tests::{Answer, Http, Setup, fake_llm::Gate};
use serde_json::{Value, json};

const PATH: &str = "/v1/responses";

/// A request in OpenAI's form.
fn input(input: Value) -> Value {
    json!({"model": "goclaw:fox", "input": input})
}

async fn events(client: &Http, body: &Value) -> Vec<Value> {
    let mut stream = client.stream(PATH, body).await;
    assert_eq!((stream.status, stream.content_type.as_str()), (200, "text/event-stream"));
    stream.rest().await.iter().map(|record| serde_json::from_str(record).unwrap()).collect()
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

/// The text that the deltas of a stream in our shape add up to.
fn text_of(events: &[Value]) -> String {
    events.iter().filter_map(|event| event["delta"]["content"].as_str()).collect()
}

on_both_editions! {
    async fn a_question_is_answered(edition) {
        let server = with_fox(edition).await;
        let body = server.owner().post(PATH, &question("fox", "hello")).await.expect(200);
        assert_snapshot!("response", body.clone());
        let id = body["id"].as_str().unwrap().strip_prefix("resp-").unwrap().to_owned();
        assert!(id.len() == 8 && id.chars().all(|c| c.is_ascii_hexdigit()), "{id}");
        let list = server.owner_socket().await.call("sessions.list", &json!({})).await.unwrap();
        assert!(list["sessions"][0]["key"].as_str().unwrap().starts_with("agent:fox:responses-system-"), "{list}");
    }

    async fn the_stream_starts_grows_and_is_done(edition) {
        let server = with_fox(edition).await;
        server.llm.next(Answer::text("one two three").chunks(3));
        let events = events(&server.owner(), &streamed("fox", "hi")).await;
        let (first, last) = (&events[0], events.last().unwrap());
        assert_eq!((&first["type"], &first["response"]["status"]), (&json!("response.started"), &json!("in_progress")));
        assert!(first["response"]["created_at"].as_i64().unwrap() > 1_700_000_000);
        assert_eq!((&last["type"], &last["response"]["status"], &last["response"]["id"]), (&json!("response.done"), &json!("completed"), &first["response"]["id"]));
        assert!(last["response"]["usage"]["total_tokens"].as_i64().unwrap() > 0);
        let between = &events[1..events.len() - 1];
        assert!(between.len() > 1 && between.iter().all(|event| event["type"] == "response.delta" && event["delta"]["type"] == "content"), "{between:?}");
        assert_eq!(text_of(&events), "one two three");
    }

    async fn a_failed_run_ends_its_stream_in_order(edition) {
        let server = with_fox(edition).await;
        server.llm.always(Answer::error(401, "the key sk-very-secret-0123456789abcdef is wrong"));
        let ours = events(&server.owner(), &streamed("fox", "hi")).await;
        assert_eq!(types(&ours), ["response.started", "response.done"]);
        assert_eq!(ours[1]["response"]["status"], "failed");
        let why = ours[1]["response"]["error"].as_str().unwrap();
        assert!(!why.is_empty() && !why.contains("sk-very-secret"), "{why}");
        let mut body = input(json!("hi"));
        body["stream"] = json!(true);
        let openai = events(&server.owner(), &body).await;
        let last = openai.last().unwrap();
        assert_eq!((&last["type"], &last["response"]["status"], &last["response"]["error"]["code"]), (&json!("response.failed"), &json!("failed"), &json!("server_error")));
        let whole = server.owner().post(PATH, &question("fox", "hi")).await;
        assert!(whole.status >= 500 && whole.json()["error"].is_string(), "{}", whole.text());
    }

    async fn input_is_answered_as_openai_does(edition) {
        let server = with_fox(edition).await;
        server.llm.always(Answer::echo());
        let item = json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "two"}, {"type": "input_file", "file_id": "x"}]});
        let earlier = json!({"role": "assistant", "content": [{"type": "output_text", "text": "before", "annotations": []}]});
        let call = json!({"type": "function_call_output", "call_id": "c", "output": "x"});
        for (value, text) in [(json!("one"), "echo: one"), (json!([earlier, item, call]), "echo: two")] {
            let body = server.owner().post(PATH, &input(value)).await.expect(200);
            assert_eq!((&body["object"], &body["status"], &body["model"], &body["error"]), (&json!("response"), &json!("completed"), &json!("goclaw:fox"), &Value::Null));
            let message = &body["output"][0];
            assert_eq!((&message["type"], &message["role"], &message["content"][0]["type"], &message["content"][0]["text"]), (&json!("message"), &json!("assistant"), &json!("output_text"), &json!(text)));
            assert_eq!(body["usage"]["total_tokens"].as_i64(), Some(body["usage"]["input_tokens"].as_i64().unwrap() + body["usage"]["output_tokens"].as_i64().unwrap()));
        }
    }

    async fn input_is_streamed_in_openais_events(edition) {
        let server = with_fox(edition).await;
        server.llm.next(Answer::text("one two three").chunks(3));
        let mut body = input(json!("hi"));
        body["stream"] = json!(true);
        let events = events(&server.owner(), &body).await;
        let mut kinds = types(&events);
        kinds.dedup();
        assert_eq!(kinds, [
            "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added", "response.output_text.delta",
            "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed",
        ]);
        for (number, event) in events.iter().enumerate() {
            assert_eq!(event["sequence_number"], number);
        }
        let deltas: Vec<&str> = events.iter().filter(|event| event["type"] == "response.output_text.delta").map(|event| event["delta"].as_str().unwrap()).collect();
        assert!(deltas.len() > 1, "{deltas:?}");
        assert_eq!(deltas.concat(), "one two three");
        let last = &events.last().unwrap()["response"];
        assert_eq!((&last["id"], &last["output"][0]["content"][0]["text"]), (&events[0]["response"]["id"], &json!("one two three")));
    }

    async fn instructions_are_for_this_answer(edition) {
        let server = with_fox(edition).await;
        let mut body = input(json!("hi"));
        body["instructions"] = json!("Answer like a pirate.");
        let answer = server.owner().post(PATH, &body).await.expect(200);
        assert_eq!(answer["instructions"], "Answer like a pirate.");
        server.owner().post(PATH, &input(json!("hi"))).await.expect(200);
        let questions = server.llm.questions();
        assert!(questions[0].system().contains("Answer like a pirate."));
        assert!(!questions[1].system().contains("pirate"));
    }

    async fn nobody_has_to_be_named(edition) {
        let tenants = Tenants::start(edition).await;
        create_agent_with(&tenants.client(&tenants.a_admin, "mai"), "fox", json!({"is_default": true})).await;
        let nobody = tenants.server.with_key(&tenants.a_operator);
        nobody.post(PATH, &question("fox", "hi")).await.expect(200);
        let mut named = question("fox", "hi");
        named["user"] = json!("lan");
        nobody.post(PATH, &named).await.expect(200);
        named["user"] = json!("a\u{0}b");
        nobody.post(PATH, &named).await.expect_error(400);
        let list = tenants.socket(&tenants.a_admin, "mai").await.call("sessions.list", &json!({})).await.unwrap();
        let keys: Vec<&str> = list["sessions"].as_array().unwrap().iter().map(|session| session["key"].as_str().unwrap()).collect();
        assert!(keys.iter().any(|key| key.starts_with("agent:fox:responses-lan-")) && keys.len() == 2, "{keys:?}");
    }

    async fn bad_questions_are_refused_in_the_shape_they_came_in(edition) {
        let server = with_fox(edition).await;
        for (body, status) in [
            (json!({"model": "goclaw:fox"}), 400),
            (json!({"model": "goclaw:fox", "messages": []}), 400),
            (json!({"model": "goclaw:fox", "messages": [{"role": "system", "content": "x"}]}), 400),
            (json!({"model": "goclaw:fox", "messages": "hi"}), 400),
            (json!({"model": 5, "messages": [{"role": "user", "content": "hi"}]}), 400),
            (json!({"model": "goclaw:fox", "input": 5}), 400),
            (question("nobody", "hi"), 404),
            (streamed("nobody", "hi"), 404),
        ] {
            let reply = server.owner().post(PATH, &body).await;
            assert_eq!(reply.status, status, "{body}: {}", reply.text());
            assert!(reply.json()["error"].is_string() && reply.json()["code"].is_string(), "{}", reply.text());
        }
        server.llm.forget();
        for (body, status) in [
            (input(json!("")), 400),
            (input(json!([])), 400),
            (input(json!([{"role": "system", "content": "x"}])), 400),
            (json!({"model": "goclaw:nobody", "input": "hi"}), 404),
        ] {
            let reply = server.owner().post(PATH, &body).await;
            assert_eq!(reply.status, status, "{body}: {}", reply.text());
            assert!(reply.json()["error"]["message"].is_string() && reply.json()["error"]["type"].is_string(), "{}", reply.text());
        }
        assert_eq!(server.owner().get(PATH).await.expect_error(405).1, "INVALID_REQUEST");
        server.anonymous().post(PATH, &question("fox", "hi")).await.expect_error(401);
        let large = json!({"model": "goclaw:fox", "input": "x".repeat(2 << 20)});
        assert!([400, 413].contains(&server.owner().post(PATH, &large).await.status));
        assert!(server.llm.questions().is_empty(), "nothing reached the model");
    }

    async fn agents_of_others_are_not_to_be_asked(edition) {
        let tenants = Tenants::start(edition).await;
        create_agent(&tenants.client(&tenants.a_admin, "mai"), "fox").await;
        create_agent_with(&tenants.client(&tenants.a_admin, "mai"), "open", json!({"is_default": true})).await;
        let lan = tenants.client(&tenants.a_operator, "lan");
        assert_eq!(lan.post(PATH, &question("fox", "hi")).await.expect_error(403).1, "UNAUTHORIZED");
        assert_eq!(tenants.client(&tenants.b_admin, "mai").post(PATH, &question("fox", "hi")).await.expect_error(404).1, "NOT_FOUND");
        assert_eq!(tenants.client(&tenants.a_viewer, "mai").post(PATH, &question("fox", "hi")).await.status, 403);
        lan.post(PATH, &question("open", "hi")).await.expect(200);
    }

    async fn the_limit_is_that_of_chat_completions(edition) {
        let server = Setup::new(edition).await.config(json!({"gateway": {"rate_limit_rpm": 1}})).start().await;
        create_agent(&server.owner(), "fox").await;
        let owner = server.owner();
        for _ in 0..3 {
            owner.post("/v1/chat/completions", &question("fox", "hi")).await.expect(200);
        }
        for _ in 0..2 {
            owner.post(PATH, &question("fox", "hi")).await.expect(200);
        }
        let refused = owner.post(PATH, &question("fox", "hi")).await;
        assert_eq!(refused.expect_error(429).1, "RESOURCE_EXHAUSTED");
        assert!(refused.header("retry-after").parse::<u64>().unwrap() > 0);
        let openai = owner.post(PATH, &input(json!("hi"))).await;
        assert_eq!((openai.expect(429)["error"]["type"].clone(), openai.header("retry-after")), (json!("rate_limit_error"), "60"));
    }

    async fn a_client_that_goes_stops_the_run(edition) {
        let server = with_fox(edition).await;
        server.llm.next(Answer::text("one two").chunks(2).gated(&Gate::closed()));
        let mut stream = server.owner().stream(PATH, &streamed("fox", "hi")).await;
        stream.next().await.unwrap();
        server.llm.wait_for_open_answers(1).await;
        drop(stream);
        server.llm.wait_for_lost_clients(1).await;
    }
}
