//! What an agent may cost in a month.

use crate::common::{create_agent_with, fox_session, history, message};
use goclaw_tests::{Answer, Edition, Server, Setup};
use serde_json::json;

/// A server whose model costs a cent for a hundred tokens, and an agent `fox` that may spend 15 cents.
async fn with_budget(edition: Edition) -> Server {
    let prices = json!({"telemetry": {"model_pricing": {"stub": {"input_per_million": 100, "output_per_million": 100}}}});
    let server = Setup::new(edition).await.config(prices).start().await;
    create_agent_with(&server.owner(), "fox", json!({"budget_monthly_cents": 15})).await;
    server
}

on_both_editions! {
    async fn an_agent_that_spent_its_budget_answers_no_more(edition) {
        let server = with_budget(edition).await;
        server.llm.always(Answer::text("ten cents").usage(900, 100));
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        for _ in 0..2 {
            socket.call("chat.send", &message(&session, "hello")).await.unwrap();
        }
        let error = socket.call("chat.send", &message(&fox_session("2"), "hello")).await.unwrap_err();
        assert_eq!((error.code.as_str(), error.message.as_str()), ("FAILED_PRECONDITION", "monthly budget exceeded ($0.20 / $0.15)"));
        assert_eq!(server.llm.questions().len(), 2);

        // What was asked is kept; a larger budget lets the agent answer; other agents have their own.
        assert_eq!(history(&mut socket, &fox_session("2")).await[0]["content"], "hello");
        create_agent_with(&server.owner(), "wolf", json!({"budget_monthly_cents": 1})).await;
        socket.call("chat.send", &json!({"message": "hello", "agentId": "wolf"})).await.unwrap();
        socket.call("agents.update", &json!({"agentId": "fox", "budget_monthly_cents": 21})).await.unwrap();
        socket.call("chat.send", &message(&session, "hello")).await.unwrap();
    }

    async fn a_run_ends_when_the_budget_is_spent(edition) {
        let server = with_budget(edition).await;
        server.llm.next(Answer::tool("write_file", &json!({"path": "a.txt", "content": "a"})).usage(2_000, 0));
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        let error = socket.call("chat.send", &message(&session, "hello")).await.unwrap_err();
        assert_eq!(error.message, "monthly budget exceeded ($0.20 / $0.15)");
        assert_eq!(server.llm.questions().len(), 1);
        crate::common::assert_paired(&history(&mut socket, &session).await);
    }
}
