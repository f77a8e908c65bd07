//! Agents whose model answers through a ChatGPT account.

use crate::{
    accounts::account,
    common::{assert_paired, create_agent_with, fox_session, history, message},
};
use goclaw_tests::{Answer, Edition, Server};
use serde_json::json;

async fn started(edition: Edition) -> Server {
    let server = Server::start(edition).await;
    server.owner().post("/v1/providers", &account(&server.llm, "codex", None, "")).await.expect(201);
    create_agent_with(&server.owner(), "fox", json!({"provider": "codex", "model": "gpt-5.4"})).await;
    server
}

on_both_editions! {
    async fn a_run_uses_tools_and_the_model_hears_back_what_it_said(edition) {
        let server = started(edition).await;
        let first = Answer::text("I will write it down.").thinking("hm").phase("commentary").and_tool("write_file", &json!({"path": "fox.txt", "content": "red"}));
        server.llm.next(first).next(Answer::text("Done.").phase("final_answer").chunks(2)).next(Answer::text("Yes."));
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        assert_eq!(socket.call("chat.send", &message(&session, "hello")).await.unwrap()["content"], "Done.");
        assert_eq!(socket.call("chat.send", &message(&session, "really?")).await.unwrap()["content"], "Yes.");
        let stored = history(&mut socket, &session).await;
        assert_paired(&stored);
        assert_eq!((&stored[1]["phase"], &stored[1]["thinking"], &stored[3]["phase"]), (&json!("commentary"), &json!("hm"), &json!("final_answer")));

        let asked = server.llm.questions();
        assert_eq!((asked.len(), asked[0].header("authorization"), asked[0].header("openai-beta")), (3, Some("Bearer token-codex"), Some("responses=v1")));
        assert_eq!(asked[0].header("chatgpt-account-id"), Some("acct-codex"));
        let body = &asked[0].body;
        assert!(body["max_tokens"].is_null() && body["temperature"].is_null() && body["store"] == false && body["stream"] == true, "{body}");
        assert!(body["instructions"].as_str().unwrap().len() > 100 && asked[0].tool_names().contains(&"write_file".to_owned()));
        let input = asked[2].messages();
        let of = |kind: &str| input.iter().find(|item| item["type"] == kind).unwrap();
        assert_eq!(of("function_call")["call_id"], of("function_call_output")["call_id"]);
        assert!(of("function_call")["id"].as_str().unwrap().starts_with("fc_"));
        let phases: Vec<_> = input.iter().filter(|item| item["type"] == "message").map(|item| item["phase"].as_str().unwrap()).collect();
        assert_eq!(phases, ["commentary", "final_answer"]);
    }

    async fn an_answer_that_breaks_off_fails_the_run(edition) {
        let server = started(edition).await;
        for answer in [Answer::text("Half").then_cut(), Answer::text("Half").then_error("boom"), Answer::garbage()] {
            server.llm.next(answer);
            let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
            assert!(socket.call("chat.send", &message(&session, "hello")).await.is_err());
        }
        assert_eq!(server.llm.questions().len(), 3, "what has begun is not tried again");
    }

    async fn stopping_a_run_ends_the_call(edition) {
        let server = started(edition).await;
        server.llm.next(Answer::text("Once upon a time").then_stall());
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        socket.send("chat.send", &message(&session, "hello")).await;
        server.llm.wait_for_open_answers(1).await;
        let mut other = server.owner_socket().await;
        other.call("chat.abort", &json!({"sessionKey": session})).await.unwrap();
        server.llm.wait_for_lost_clients(1).await;
    }

    async fn the_models_are_known(edition) {
        let server = started(edition).await;
        let list = server.owner().get("/v1/providers").await.expect(200);
        let account = format!("/v1/providers/{}", list["providers"][0]["id"].as_str().unwrap());
        let models = server.owner().get(&format!("{account}/models")).await.expect(200);
        let ids: Vec<_> = models["models"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
        let expected = [
            "gpt-5.4", "gpt-5.4-mini", "gpt-5.3-codex", "gpt-5.3-codex-spark", "gpt-5.2-codex", "gpt-5.2", "gpt-5.1-codex", "gpt-5.1-codex-max",
            "gpt-5.1-codex-mini", "gpt-5.1",
        ];
        assert_eq!(ids, expected);
        assert_eq!(models["models"][0]["name"], "GPT-5.4");
        assert!(models["models"].as_array().unwrap().iter().all(|model| model["reasoning"].is_object()));
        assert_eq!(models["models"][0]["reasoning"], json!({"levels": ["none", "low", "medium", "high", "xhigh"], "default_effort": "none"}));
        assert_eq!(models.get("reasoning_defaults"), None);
        let defaults = json!({"effort": "high", "fallback": "provider_default"});
        server.owner().put(&account, &json!({"settings": {"reasoning_defaults": defaults}})).await.expect(200);
        assert_eq!(server.owner().get(&format!("{account}/models")).await.expect(200)["reasoning_defaults"], defaults);
        assert!(server.llm.requests().is_empty(), "nobody is asked for it");
    }
}
