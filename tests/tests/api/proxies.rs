//! Proxies: what the operator names is reached through the machine's proxy, what tenants name is not.

use crate::common::{ask, create_agent, create_agent_with, question};
use goclaw_tests::Setup;
use serde_json::json;

on_both_editions! {
    async fn the_operators_providers_are_reached_through_the_proxy_and_those_of_tenants_are_held_to_their_addresses(edition) {
        let setup = Setup::new(edition).await;
        let proxy = setup.llm.base().trim_end_matches("/v1").to_owned();
        // The name exists nowhere: only the proxy can answer for it.
        let server = setup
            .env("HTTP_PROXY", &proxy)
            .env("http_proxy", &proxy)
            .env("NO_PROXY", "")
            .env("GOCLAW_OPENAI_BASE_URL", "http://models.invalid/v1")
            .start()
            .await;
        let owner = server.owner();
        create_agent(&owner, "fox").await;
        ask(&owner, "fox", "hello").await;
        let asked = server.llm.requests().len();
        assert!(asked > 0, "the proxy was asked");

        // Nobody is there, and nobody else is asked.
        let row = json!({"name": "elsewhere", "provider_type": "openai_compat", "api_key": "sk-x", "api_base": "http://127.0.0.1:1/v1", "enabled": true});
        owner.post("/v1/providers", &row).await.expect(201);
        create_agent_with(&owner, "owl", json!({"provider": "elsewhere", "model": "m"})).await;
        let reply = owner.post("/v1/chat/completions", &question("owl", "hello")).await;
        assert!(reply.status >= 500, "{}", reply.text());
        let asked_for_tenants: Vec<_> = server.llm.requests().into_iter().skip(asked).filter(|request| request.body["model"] == "m").collect();
        assert!(asked_for_tenants.is_empty(), "a proxy would choose the address itself");
    }
}
