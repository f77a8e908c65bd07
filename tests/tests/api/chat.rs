//! `POST /v1/chat/completions`, answered as one document.

use crate::common::{Tenants, ask, create_agent, create_agent_with, question, with_fox};
use goclaw_tests::{Answer, Server, Setup, server::UPSTREAM_KEY};
use serde_json::{Value, json};

fn error_text(body: &Value) -> &str {
    body["error"]["message"].as_str().unwrap_or_else(|| panic!("no error in OpenAI's shape: {body}"))
}

on_both_editions! {
    async fn a_question_is_answered(edition) {
        let server = with_fox(edition).await;
        let body = server.owner().post("/v1/chat/completions", &question("fox", "hello")).await.expect(200);
        assert_snapshot!("completion", body.clone());
        let id = body["id"].as_str().unwrap().strip_prefix("chatcmpl-").unwrap().to_owned();
        assert!(id.len() == 8 && id.chars().all(|c| c.is_ascii_hexdigit()), "{id}");
        assert!(body["created"].as_i64().unwrap() > 1_700_000_000);
    }

    async fn the_model_gets_the_question_the_key_and_the_settings(edition) {
        let server = with_fox(edition).await;
        ask(&server.owner(), "fox", "What is a fox? 🦊").await;
        let asked = &server.llm.questions()[0];
        assert_eq!((asked.path.as_str(), asked.header("authorization")), ("/v1/chat/completions", Some(&*format!("Bearer {UPSTREAM_KEY}"))));
        assert_eq!((&asked.body["model"], asked.last_user_text().as_str()), (&json!("stub"), "What is a fox? 🦊"));
        assert_eq!((&asked.body["max_tokens"], &asked.body["temperature"], &asked.body["stream"]), (&json!(8192), &json!(0.7), &json!(false)));
        assert!(!asked.system().is_empty());
        let mut tools = asked.tool_names();
        tools.sort();
        for name in ["edit", "exec", "list_files", "read_file", "web_fetch", "write_file"] {
            assert!(tools.contains(&name.to_owned()), "{name} in {tools:?}");
        }
    }

    async fn models_are_asked_as_their_families_want_it(edition) {
        let server = Server::start(edition).await;
        for (key, model) in [("mini", "openai/o3-mini"), ("plain", "gpt-4o"), ("five", "gpt-5.1")] {
            create_agent_with(&server.owner(), key, json!({"model": model})).await;
            ask(&server.owner(), key, "hi").await;
        }
        let questions = server.llm.questions();
        let shape = |n: usize| (questions[n].body.get("max_tokens").is_some(), questions[n].body.get("max_completion_tokens").is_some(), questions[n].body.get("temperature").is_some());
        assert_eq!([shape(0), shape(1), shape(2)], [(false, true, false), (true, false, true), (false, true, true)]);
    }

    async fn the_agent_is_named_by_model_or_header_or_is_the_default(edition) {
        let server = Server::start(edition).await;
        let mut ids = Vec::new();
        for key in ["fox", "wolf", "bear", "default"] {
            let made = create_agent_with(&server.owner(), key, json!({"model": format!("model-of-{key}")})).await;
            ids.push(made["id"].as_str().unwrap().to_owned());
        }
        let with = |headers: &[(&str, &str)]| headers.iter().fold(server.owner(), |client, (name, value)| client.header(name, value));
        let cases = [
            ("goclaw:fox".to_owned(), vec![("X-GoClaw-Agent-Id", "wolf")], "fox"),
            (format!("goclaw:{}", ids[1]), vec![], "wolf"),
            ("agent:bear".to_owned(), vec![], "bear"),
            ("gpt-4o".to_owned(), vec![("X-GoClaw-Agent-Id", "wolf"), ("X-GoClaw-Agent", "bear")], "wolf"),
            ("gpt-4o".to_owned(), vec![("X-GoClaw-Agent", "bear")], "bear"),
            ("gpt-4o".to_owned(), vec![], "default"),
            (String::new(), vec![], "default"),
        ];
        for (model, headers, expected) in cases {
            server.llm.forget();
            let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
            let reply = with(&headers).post("/v1/chat/completions", &body).await.expect(200);
            assert_eq!(reply["model"], model.as_str(), "the model is echoed");
            assert_eq!(server.llm.questions()[0].body["model"], format!("model-of-{expected}"), "{model} {headers:?}");
        }
        let without_model = server.owner().post("/v1/chat/completions", &json!({"messages": [{"role": "user", "content": "hi"}]})).await.expect(200);
        assert_eq!(without_model["model"], "");
    }

    async fn the_oldest_agent_stands_in_for_a_default_that_is_not_there(edition) {
        let server = Server::start(edition).await;
        let hi = json!({"messages": [{"role": "user", "content": "hi"}]});
        assert_eq!(server.owner().post("/v1/chat/completions", &hi).await.status, 404);
        create_agent_with(&server.owner(), "older", json!({"model": "older"})).await;
        create_agent_with(&server.owner(), "newer", json!({"model": "newer"})).await;
        server.owner().post("/v1/chat/completions", &hi).await.expect(200);
        assert_eq!(server.llm.questions()[0].body["model"], "older");
    }

    async fn only_the_last_user_message_counts_and_calls_share_no_memory(edition) {
        let server = with_fox(edition).await;
        server.llm.always(Answer::echo());
        let body = json!({"model": "goclaw:fox", "messages": [
            {"role": "system", "content": "be rude"}, {"role": "user", "content": "first"}, {"role": "assistant", "content": "answer"}, {"role": "user", "content": "second"}, {"role": "assistant", "content": "prefill"}
        ]});
        let reply = server.owner().post("/v1/chat/completions", &body).await.expect(200);
        assert_eq!(reply["choices"][0]["message"]["content"], "echo: second");
        ask(&server.owner(), "fox", "third").await;
        for (asked, text) in server.llm.questions().iter().zip(["second", "third"]) {
            assert_eq!(asked.texts_of("user"), [text]);
            assert!(!asked.system().contains("be rude"));
        }
    }

    async fn text_may_come_in_parts(edition) {
        let server = with_fox(edition).await;
        let parts = json!([{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]);
        server.owner().post("/v1/chat/completions", &json!({"model": "goclaw:fox", "messages": [{"role": "user", "content": parts}]})).await.expect(200);
        let text = server.llm.questions()[0].last_user_text();
        assert!(text.contains("one") && text.contains("two"), "{text}");
    }

    async fn the_user_comes_from_header_key_or_body(edition) {
        let tenants = Tenants::start(edition).await;
        create_agent_with(&tenants.client(&tenants.a_admin, "mai"), "fox", json!({"is_default": true})).await;
        let nobody = tenants.server.with_key(&tenants.a_operator);
        let mut body = question("fox", "hi");
        let refused = nobody.post("/v1/chat/completions", &body).await;
        assert!(error_text(&refused.expect(400)).contains("user"));
        body["user"] = json!("lan");
        nobody.post("/v1/chat/completions", &body).await.expect(200);
        tenants.client(&tenants.a_operator, "mai").post("/v1/chat/completions", &body).await.expect(200);
        let mut socket = tenants.socket(&tenants.a_admin, "mai").await;
        let list = socket.call("sessions.list", &json!({})).await.unwrap();
        let users: Vec<_> = list["sessions"].as_array().unwrap().iter().map(|session| session["userID"].as_str().unwrap()).collect();
        assert_eq!(users, ["mai", "lan"]);
        let long = json!({"model": "goclaw:fox", "user": "u".repeat(256), "messages": [{"role": "user", "content": "hi"}]});
        assert_eq!(nobody.post("/v1/chat/completions", &long).await.status, 400);
    }

    async fn each_call_is_a_session_of_its_own(edition) {
        let server = with_fox(edition).await;
        ask(&server.owner(), "fox", "one").await;
        ask(&server.owner(), "fox", "two").await;
        let list = server.owner_socket().await.call("sessions.list", &json!({})).await.unwrap();
        let keys: Vec<_> = list["sessions"].as_array().unwrap().iter().map(|session| session["key"].as_str().unwrap().to_owned()).collect();
        assert_eq!(keys.len(), 2);
        assert_ne!(keys[0], keys[1]);
        assert!(keys.iter().all(|key| key.starts_with("agent:fox:http-system-")), "{keys:?}");
    }

    async fn bad_questions_are_refused_in_openais_shape(edition) {
        let server = with_fox(edition).await;
        let cases = [
            (json!({"model": "goclaw:fox", "messages": []}), 400),
            (json!({"model": "goclaw:fox"}), 400),
            (json!({"model": "goclaw:fox", "messages": [{"role": "system", "content": "x"}]}), 400),
            (json!({"model": "goclaw:fox", "messages": [{"role": "user", "content": ""}]}), 400),
            (json!({"model": "goclaw:fox", "messages": [{"role": "user", "content": null}]}), 400),
            (json!({"model": "goclaw:fox", "messages": [{"role": "user", "content": 5}]}), 400),
            (json!({"model": "goclaw:fox", "messages": "hi"}), 400),
            (json!({"model": 5, "messages": [{"role": "user", "content": "hi"}]}), 400),
            (json!({"model": "goclaw:fox", "messages": [{"role": "user", "content": "x".repeat(2 << 20)}]}), 413),
            (question("nobody", "hi"), 404),
            (question("01930000-0000-7000-8000-000000000000", "hi"), 404),
            (question("../fox", "hi"), 404),
        ];
        for (body, status) in cases {
            let reply = server.owner().post("/v1/chat/completions", &body).await;
            assert_eq!(reply.status, status, "{body}: {}", reply.text());
            assert!(reply.header("content-type").starts_with("application/json"));
            error_text(&reply.json());
        }
        let reply = server.anonymous().post("/v1/chat/completions", &question("fox", "hi")).await;
        assert_eq!(reply.expect(401)["error"]["type"], "invalid_request_error");
        assert!(server.llm.questions().is_empty(), "nothing reached the model");
    }

    async fn unknown_keys_are_ignored(edition) {
        let server = with_fox(edition).await;
        let mut body = question("fox", "hi");
        body["temperature"] = json!("hot");
        body["tools"] = json!([{"x": 1}]);
        body["messages"][0]["name"] = json!("mai");
        body["messages"][0]["audio"] = json!({});
        server.owner().post("/v1/chat/completions", &body).await.expect(200);
    }

    async fn usage_is_left_out_when_nobody_knows_it(edition) {
        let server = with_fox(edition).await;
        server.llm.next(Answer::text("hi").without_usage());
        let body = server.owner().post("/v1/chat/completions", &question("fox", "hi")).await.expect(200);
        assert!(body.get("usage").is_none(), "{body}");
    }

    async fn an_agent_that_says_nothing_says_nothing(edition) {
        let server = with_fox(edition).await;
        server.llm.next(Answer::text("NO_REPLY"));
        assert_eq!(ask(&server.owner(), "fox", "hi").await, "");
    }

    async fn thoughts_never_reach_the_client(edition) {
        let server = with_fox(edition).await;
        server.llm.next(Answer::text("<think>secret plan</think>Hello <b>you</b>").thinking("other plan"));
        assert_eq!(ask(&server.owner(), "fox", "hi").await, "Hello <b>you</b>");
    }

    async fn anthropic_is_asked_in_its_own_words(edition) {
        let server = Server::start(edition).await;
        create_agent_with(&server.owner(), "fox", json!({"provider": "anthropic", "model": "claude-stub"})).await;
        server.llm.next(Answer::tool("list_files", &json!({"path": "."})).thinking("let me look")).next(Answer::text("There is nothing."));
        assert_eq!(ask(&server.owner(), "fox", "What is there?").await, "There is nothing.");
        let questions = server.llm.questions();
        assert_eq!((questions[0].path.as_str(), questions[0].header("x-api-key"), questions[0].header("anthropic-version")), ("/v1/messages", Some(UPSTREAM_KEY), Some("2023-06-01")));
        assert!(questions[0].body["system"].as_array().unwrap().last().unwrap()["cache_control"].is_object());
        let second = questions[1].messages();
        let assistant = &second[second.len() - 2]["content"];
        assert_eq!((&assistant[0]["type"], &assistant[0]["signature"]), (&json!("thinking"), &json!("stub-signature")), "thoughts go back as they came");
        assert_eq!(assistant.as_array().unwrap().last().unwrap()["id"], "toolu_1");
        assert_eq!((&second.last().unwrap()["role"], &second.last().unwrap()["content"][0]["tool_use_id"]), (&json!("user"), &json!("toolu_1")));
    }

    async fn an_agent_without_any_provider_says_so(edition) {
        let mut setup = Setup::new(edition).await;
        for name in ["GOCLAW_OPENAI_API_KEY", "GOCLAW_OPENAI_BASE_URL", "GOCLAW_ANTHROPIC_API_KEY", "GOCLAW_ANTHROPIC_BASE_URL"] {
            setup = setup.without_env(name);
        }
        let server = setup.start().await;
        create_agent(&server.owner(), "fox").await;
        let reply = server.owner().post("/v1/chat/completions", &question("fox", "hi")).await;
        assert!(reply.status >= 500, "{}", reply.status);
        assert!(error_text(&reply.json()).contains("no providers configured for agent fox"), "{}", reply.text());
    }
}
