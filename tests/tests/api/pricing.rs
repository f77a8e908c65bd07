//! What a call costs: by the configuration, else by the built-in list, else nobody knows.

use crate::common::{ask, create_agent_with};
use goclaw_tests::{Answer, Setup, eventually};
use serde_json::{Value, json};

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
            let call = eventually("the call to be written", async || {
                let page = owner.get(&format!("/v1/traces?agent_id={}", made["id"].as_str().unwrap())).await.expect(200);
                let trace = page["traces"].get(0).filter(|trace| trace["llm_call_count"] == 1)?["id"].as_str()?.to_owned();
                let detail = owner.get(&format!("/v1/traces/{trace}")).await.expect(200);
                detail["spans"].as_array().unwrap().iter().find(|span| span["span_type"] == "llm_call" && span["status"] == "completed").cloned()
            })
            .await;
            assert_eq!((&call["total_cost"], &call["input_tokens"]), (&cost, &json!(1_000)), "{model}");
        }
    }
}
