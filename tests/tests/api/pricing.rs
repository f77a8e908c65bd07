//! What a call costs: by the configuration, else by the built-in list, else nobody knows.

use crate::{
    accounts::{plenty, pool},
    common::{ask, create_agent_with},
};
use goclaw_tests::{Answer, Http, Setup, eventually};
use serde_json::{Value, json};

/// The one call of a model in the trace of an agent's only run.
async fn call_of(owner: &Http, agent: &Value) -> Value {
    eventually("the call to be written", async || {
        let page = owner.get(&format!("/v1/traces?agent_id={}", agent["id"].as_str().unwrap())).await.expect(200);
        let trace = page["traces"].get(0).filter(|trace| trace["llm_call_count"] == 1)?["id"].as_str()?.to_owned();
        let detail = owner.get(&format!("/v1/traces/{trace}")).await.expect(200);
        detail["spans"].as_array().unwrap().iter().find(|span| span["span_type"] == "llm_call" && span["status"] == "completed").cloned()
    })
    .await
}

on_both_editions! {
    async fn the_configuration_prices_before_the_list_and_the_rest_has_no_cost(edition) {
        let prices = json!({"telemetry": {"model_pricing": {"gpt-4.1": {"input_per_million": 100, "output_per_million": 0}}}});
        let server = Setup::new(edition).await.config(prices).start().await;
        let owner = server.owner();
        server.llm.always(Answer::text("hi").usage(1_000, 1_000));
        for (agent, model, cost) in [
            ("listed", "gpt-4o", json!(0.0125)),
            ("early", "gpt-4o-2024-05-13", json!(0.02)),
            ("configured", "gpt-4.1", json!(0.1)),
            ("unknown", "stub", Value::Null),
        ] {
            let made = create_agent_with(&owner, agent, json!({"provider": "openai", "model": model})).await;
            ask(&owner, agent, "hello").await;
            let call = call_of(&owner, &made).await;
            assert_eq!((&call["total_cost"], &call["input_tokens"]), (&cost, &json!(1_000)), "{model}");
        }
    }
    async fn a_price_that_changes_holds_from_the_next_call_on(edition) {
        let server = Setup::new(edition).await.start().await;
        let owner = server.owner();
        server.llm.always(Answer::text("hi").usage(1_000, 1_000));
        let price = |output: u32| json!({"raw": json!({"telemetry": {"model_pricing": {"stub": {"input_per_million": 0, "output_per_million": output}}}}).to_string()});
        let mut socket = server.owner_socket().await;
        for (agent, output, cost) in [("cheap", 10, 0.01), ("dear", 100, 0.1)] {
            socket.call("config.patch", &price(output)).await.unwrap();
            let made = create_agent_with(&owner, agent, json!({"provider": "openai", "model": "stub"})).await;
            ask(&owner, agent, "hello").await;
            assert_eq!(call_of(&owner, &made).await["total_cost"], cost);
        }
    }

    async fn who_answers_is_who_is_paid(edition) {
        let prices = json!({"telemetry": {"model_pricing": {"a/gpt-5.4": {"input_per_million": 1, "output_per_million": 0}, "b/gpt-5.4": {"input_per_million": 7, "output_per_million": 0}}}});
        let server = Setup::new(edition).await.config(prices).start().await;
        let owner = server.owner();
        plenty(&server.llm);
        pool(&server, &owner, &["a", "b"], "primary_first").await;
        server.llm.at("/codex/responses", |request| {
            let of_a = request.header("authorization") == Some("Bearer token-a");
            Some(if of_a { Answer::error(401, "sign in") } else { Answer::text("hi").usage(1_000, 0) })
        });
        let fox = create_agent_with(&owner, "fox", json!({"provider": "a", "model": "gpt-5.4"})).await;
        ask(&owner, "fox", "hello").await;
        let call = call_of(&owner, &fox).await;
        assert_eq!((&call["provider"], &call["total_cost"]), (&json!("b"), &json!(0.007)));
    }
}
