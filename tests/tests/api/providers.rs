//! `/v1/providers`.

use crate::common::{Tenants, ask, create_agent_with};
use goclaw_tests::{Answer, Http, Server, eventually};
use serde_json::{Value, json};

const UNKNOWN: &str = "01930000-0000-7000-8000-000000000000";

fn openai(name: &str) -> Value {
    json!({"name": name, "provider_type": "openai_compat", "api_key": "sk-x", "enabled": true})
}

async fn create(client: &Http, body: &Value) -> Value {
    client.post("/v1/providers", body).await.expect(201)
}

fn path(provider: &Value) -> String {
    format!("/v1/providers/{}", provider["id"].as_str().unwrap())
}

on_both_editions! {
    async fn a_provider_is_kept_and_its_key_is_never_shown(edition) {
        let mut server = Server::start(edition).await;
        let made = create(&server.owner(), &openai("mine")).await;
        assert_eq!(made["api_key"], "***");
        assert_snapshot!("created", made.clone());
        let shown = server.owner().get(&path(&made)).await.expect(200);
        assert_eq!((&shown["id"], &shown["api_key"]), (&made["id"], &json!("***")));
        assert_snapshot!("listed", server.owner().get("/v1/providers").await.expect(200));

        assert_snapshot!("models", server.owner().get(&format!("{}/models", path(&made))).await.expect(200));
        let asked = server.llm.requests().pop().unwrap();
        assert_eq!((asked.path.as_str(), asked.header("authorization")), ("/v1/models", Some("Bearer sk-x")));

        server.stop().await;
        let row = server.stores().await.providers.list(goclaw_ports::TenantId::MASTER).await.unwrap().remove(0);
        let sealed = row.api_key.unwrap().0;
        assert!(sealed.starts_with("x1:") && !sealed.contains("sk-x"), "{sealed}");
        assert!(!server.log().contains("sk-x"));
    }

    async fn a_provider_answers_for_its_agents_at_once_and_after_a_restart(edition) {
        let mut server = Server::start(edition).await;
        create(&server.owner(), &openai("mine")).await;
        create_agent_with(&server.owner(), "fox", json!({"provider": "mine", "model": "m"})).await;
        ask(&server.owner(), "fox", "hi").await;
        server.stop().await;
        server.restart().await;
        ask(&server.owner(), "fox", "hi").await;
        for asked in server.llm.questions() {
            assert_eq!(asked.header("authorization"), Some("Bearer sk-x"));
        }
    }

    async fn a_key_that_cannot_be_opened_is_never_sent(edition) {
        let mut server = Server::start(edition).await;
        create(&server.owner(), &openai("mine")).await;
        server.stop().await;
        // A row that somebody copied onto another one does not open.
        let stores = server.stores().await;
        let mine = stores.providers.list(goclaw_ports::TenantId::MASTER).await.unwrap().remove(0);
        let copied = goclaw_ports::providers::ProviderRow { id: goclaw_ports::ProviderId(uuid::Uuid::now_v7()), name: "copied".into(), ..mine };
        stores.providers.insert(goclaw_ports::TenantId::MASTER, &copied).await.unwrap();
        stores.database.close().await;
        drop(stores);
        server.restart().await;
        let path = format!("/v1/providers/{}", copied.id);
        let verdict = server.owner().post(&format!("{path}/verify"), &json!({"model": "m"})).await.expect(200);
        assert_eq!(verdict, json!({"valid": false, "error": "provider not registered: copied"}));
        assert_eq!(server.owner().get(&format!("{path}/models")).await.expect(200), json!({"models": []}));
        create_agent_with(&server.owner(), "fox", json!({"provider": "copied", "model": "m"})).await;
        ask(&server.owner(), "fox", "hi").await;
        // Another one answered, with its own key.
        assert!(server.llm.requests().iter().all(|request| request.headers.iter().all(|(_, value)| !value.contains("x1:"))));
        assert_eq!(server.llm.questions().len(), 1);
    }

    async fn bad_providers_are_refused_and_nothing_is_stored(edition) {
        let server = Server::start(edition).await;
        let bad = [
            json!({}), json!({"name": "p"}), json!({"name": "", "provider_type": "groq"}), json!({"name": "Bad_Name", "provider_type": "groq"}), json!({"name": "p", "provider_type": "nope"}),
            json!({"name": "p".repeat(51), "provider_type": "groq"}), json!({"name": "p", "provider_type": "groq", "display_name": "d".repeat(256)}), json!({"name": "p", "provider_type": "groq", "enabled": "yes"}),
            json!({"name": "p", "provider_type": "groq", "settings": []}), json!({"name": "p", "provider_type": "openai_compat", "settings": {"embedding": {"enabled": true, "dimensions": 768}}}),
        ];
        for body in bad {
            let (text, code) = server.owner().post("/v1/providers", &body).await.expect_error(400);
            assert_eq!(code, "INVALID_REQUEST", "{body}: {text}");
        }
        for dimensions in [json!(768.5), json!("1536"), json!(-1), json!(1e30), json!([1536]), json!(true)] {
            let body = json!({"name": "p", "provider_type": "openai_compat", "settings": {"embedding": {"enabled": true, "dimensions": dimensions}}});
            assert_eq!(server.owner().post("/v1/providers", &body).await.expect_error(400).0, "invalid request: embedding.dimensions must be 1536", "{dimensions}");
        }
        for (base, why) in [
            ("http://169.254.169.254/", "provider URL cannot point to 169.254.169.254"), ("http://[::ffff:10.0.0.1]/", "provider URL cannot point to private network: 10.0.0.1"),
            ("ftp://x", "provider URL must use http or https scheme, got \"ftp\""), ("http://LOCALHOST:1", "provider URL cannot point to localhost"),
            ("https://db.internal/v1", "provider URL cannot point to internal hostname: db.internal"), ("http://192.168.1.1", "provider URL cannot point to private network: 192.168.1.1"),
        ] {
            let body = json!({"name": "p", "provider_type": "openai_compat", "api_key": "k", "api_base": base, "enabled": true});
            assert_eq!(server.owner().post("/v1/providers", &body).await.expect_error(400).0, why, "{base}");
        }
        let large = json!({"name": "p", "provider_type": "groq", "settings": {"x": "x".repeat(1 << 20)}});
        assert_eq!(server.owner().post("/v1/providers", &large).await.status, 413);
        assert_eq!(server.owner().send("POST", "/v1/providers", "application/json", b"{".to_vec()).await.expect_error(400).0, "invalid JSON");
        assert_eq!(server.owner().get("/v1/providers").await.expect(200), json!({"providers": []}));
    }

    async fn creating_the_same_name_again_changes_it_and_keeps_its_key(edition) {
        let server = Server::start(edition).await;
        let first = create(&server.owner(), &openai("mine")).await;
        for key in ["", "***"] {
            let again = create(&server.owner(), &json!({"name": "mine", "provider_type": "openai_compat", "display_name": "Mine", "api_key": key, "enabled": true})).await;
            assert_eq!((&again["id"], &again["display_name"], &again["api_key"]), (&first["id"], &json!("Mine"), &json!("***")));
        }
        server.owner().get(&format!("{}/models", path(&first))).await.expect(200);
        assert_eq!(server.llm.requests().pop().unwrap().header("authorization"), Some("Bearer sk-x"));
        let other_type = json!({"name": "mine", "provider_type": "groq", "api_key": "k", "enabled": true});
        assert_eq!(server.owner().post("/v1/providers", &other_type).await.expect_error(400).1, "INVALID_REQUEST");
        assert_eq!(server.owner().get("/v1/providers").await.expect(200)["providers"].as_array().unwrap().len(), 1);
    }

    async fn left_out_enabled_means_off(edition) {
        let server = Server::start(edition).await;
        let made = create(&server.owner(), &json!({"name": "mine", "provider_type": "openai_compat", "api_key": "sk-x"})).await;
        assert_eq!(made["enabled"], false);
        let verdict = server.owner().post(&format!("{}/verify", path(&made)), &json!({"model": "m"})).await.expect(200);
        assert_eq!(verdict["valid"], false);
        assert!(verdict["error"].as_str().unwrap().contains("provider not registered: mine"), "{verdict}");
    }

    async fn an_update_changes_what_it_names(edition) {
        let server = Server::start(edition).await;
        let made = create(&server.owner(), &openai("mine")).await;
        let put = async |body: Value| server.owner().put(&path(&made), &body).await;
        assert_eq!(put(json!({"api_key": "***", "display_name": "N", "tenant_id": UNKNOWN, "created_at": "x"})).await.expect(200), json!({"status": "updated"}));
        eventually("the keys that it may not name are in the log", async || {
            server.log().lines().any(|line| line.contains("security.keys_ignored") && line.contains("tenant_id") && line.contains("created_at") && !line.contains(UNKNOWN))
        }).await;
        put(json!({"api_key": ""})).await.expect(200);
        put(json!({"provider_type": "openai_compat", "settings": {"unknown": {"kept": true}}})).await.expect(200);
        let shown = server.owner().get(&path(&made)).await.expect(200);
        assert_eq!((&shown["display_name"], &shown["settings"], &shown["name"]), (&json!("N"), &json!({"unknown": {"kept": true}}), &json!("mine")));
        server.owner().get(&format!("{}/models", path(&made))).await.expect(200);
        assert_eq!(server.llm.requests().pop().unwrap().header("authorization"), Some("Bearer sk-x"));
        put(json!({"api_key": "sk-new"})).await.expect(200);
        server.owner().get(&format!("{}/models", path(&made))).await.expect(200);
        assert_eq!(server.llm.requests().pop().unwrap().header("authorization"), Some("Bearer sk-new"));
    }

    async fn bad_updates_are_refused_and_change_nothing(edition) {
        let server = Server::start(edition).await;
        create(&server.owner(), &openai("taken")).await;
        let made = create(&server.owner(), &openai("mine")).await;
        let before = server.owner().get(&path(&made)).await.expect(200);
        for (body, status) in [
            (json!({"provider_type": "groq"}), 400), (json!({"name": "Bad_Name"}), 400), (json!({"name": ""}), 400), (json!({"name": "taken"}), 409), (json!({"enabled": "yes"}), 400), (json!({"api_base": "http://10.0.0.1"}), 400),
            (json!({"settings": 5}), 400), (json!({"display_name": "d".repeat(256)}), 400),
        ] {
            let reply = server.owner().put(&path(&made), &body).await;
            assert_eq!(reply.status, status, "{body}: {}", reply.text());
        }
        assert_eq!(server.owner().get(&path(&made)).await.expect(200), before);
        assert_eq!(server.owner().put("/v1/providers/nonsense", &json!({})).await.expect_error(400).1, "INVALID_REQUEST");
        assert_eq!(server.owner().put(&format!("/v1/providers/{UNKNOWN}"), &json!({"display_name": "x"})).await.expect_error(404).1, "NOT_FOUND");
    }

    async fn a_deleted_provider_is_gone_at_once(edition) {
        let server = Server::start(edition).await;
        let made = create(&server.owner(), &openai("mine")).await;
        create_agent_with(&server.owner(), "fox", json!({"provider": "mine"})).await;
        assert_eq!(server.owner().delete(&path(&made)).await.expect(200), json!({"status": "deleted"}));
        assert_eq!(server.owner().delete(&path(&made)).await.expect(200), json!({"status": "deleted"}));
        assert_eq!(server.owner().get(&path(&made)).await.expect_error(404).1, "NOT_FOUND");
        assert_eq!(server.owner().delete("/v1/providers/nonsense").await.expect_error(400).1, "INVALID_REQUEST");
        ask(&server.owner(), "fox", "hi").await;
        assert_ne!(server.llm.questions()[0].header("authorization"), Some("Bearer sk-x"), "its key is not used any more");
    }

    async fn providers_of_one_tenant_do_not_exist_for_another(edition) {
        let tenants = Tenants::start(edition).await;
        let a = tenants.client(&tenants.a_admin, "mai");
        let made = create(&a, &openai("mine")).await;
        let b = tenants.client(&tenants.b_admin, "mai");
        assert_eq!(b.get("/v1/providers").await.expect(200), json!({"providers": []}));
        assert_eq!(b.get(&path(&made)).await.expect_error(404).1, "NOT_FOUND");
        assert_eq!(b.put(&path(&made), &json!({"display_name": "stolen"})).await.expect_error(404).1, "NOT_FOUND");
        assert_eq!(b.get(&format!("{}/models", path(&made))).await.expect_error(404).1, "NOT_FOUND");
        assert_eq!(b.post(&format!("{}/verify", path(&made)), &json!({"model": "m"})).await.expect_error(404).1, "NOT_FOUND");
        b.delete(&path(&made)).await;
        a.get(&path(&made)).await.expect(200);

        // An agent of B that names A's provider must not use A's key.
        create_agent_with(&b, "thief", json!({"provider": "mine"})).await;
        ask(&b, "thief", "hi").await;
        assert_ne!(tenants.server.llm.questions()[0].header("authorization"), Some("Bearer sk-x"));
    }

    async fn models_come_from_where_the_type_has_them(edition) {
        let server = Server::start(edition).await;
        let anthropic = create(&server.owner(), &json!({"name": "claude", "provider_type": "anthropic_native", "api_key": "sk-a", "enabled": true})).await;
        let list = server.owner().get(&format!("{}/models", path(&anthropic))).await.expect(200);
        assert_eq!(list["models"], json!([{"id": "claude-stub", "name": "Claude Stub"}]));
        assert_eq!(server.llm.requests().pop().unwrap().header("x-api-key"), Some("sk-a"));

        let made = create(&server.owner(), &openai("mine")).await;
        for answer in [Answer::error(500, "no"), Answer::garbage(), Answer::raw("{\"data\": 5}")] {
            server.llm.models(answer);
            assert_eq!(server.owner().get(&format!("{}/models", path(&made))).await.expect(200), json!({"models": []}));
        }
        let keyless = create(&server.owner(), &json!({"name": "keyless", "provider_type": "groq", "enabled": true})).await;
        assert_eq!(server.owner().get(&format!("{}/models", path(&keyless))).await.expect_error(400).0, "API key is required");
        assert_eq!(server.owner().get("/v1/providers/nonsense/models").await.expect_error(400).1, "INVALID_REQUEST");
        assert_eq!(server.owner().get(&format!("/v1/providers/{UNKNOWN}/models")).await.expect_error(404).1, "NOT_FOUND");
    }

    async fn vendors_without_a_list_of_models_have_ours(edition) {
        let server = Server::start(edition).await;
        for (kind, count, first, last) in [
            ("bailian", 8, ("qwen3.5-plus", "Qwen 3.5 Plus"), ("glm-4.7", "GLM 4.7")),
            ("dashscope", 8, ("qwen3.5-plus", "Qwen 3.5 Plus"), ("wan2.6-video", "Wan 2.6 Video")),
            ("minimax_native", 12, ("MiniMax-Text-01", "MiniMax Text 01"), ("speech-02-turbo", "Speech 02 Turbo")),
            ("minimax", 12, ("MiniMax-Text-01", "MiniMax Text 01"), ("speech-02-turbo", "Speech 02 Turbo")),
            ("suno", 3, ("v4.5", "Suno V4.5"), ("v3.5", "Suno V3.5")),
            ("claude_cli", 3, ("sonnet", "Sonnet"), ("haiku", "Haiku")),
        ] {
            let made = create(&server.owner(), &json!({"name": kind.replace('_', "-"), "provider_type": kind, "api_key": "k", "enabled": false})).await;
            let models = server.owner().get(&format!("{}/models", path(&made))).await.expect(200)["models"].as_array().unwrap().clone();
            let model = |(id, name): (&str, &str)| json!({"id": id, "name": name});
            assert_eq!((models.len(), models.first(), models.last()), (count, Some(&model(first)), Some(&model(last))), "{kind}");
        }
        assert!(server.llm.requests().is_empty(), "nobody is asked for it");
        // Whoever makes music only answers no agent.
        create(&server.owner(), &json!({"name": "suno", "provider_type": "suno", "api_key": "k", "enabled": true})).await;
        create_agent_with(&server.owner(), "fox", json!({"provider": "suno"})).await;
        assert!(!ask(&server.owner(), "fox", "hi").await.is_empty());
    }

    async fn a_provider_goes_by_the_usual_name_of_its_type_where_no_other_does(edition) {
        let tenants = Tenants::start(edition).await;
        let (a, b) = (tenants.client(&tenants.a_admin, "mai"), tenants.client(&tenants.b_admin, "lan"));
        let llm = &tenants.server.llm;
        let row = |name: &str, key: &str| json!({"name": name, "provider_type": "anthropic_native", "api_key": key, "enabled": true});
        create(&a, &row("mine", "sk-mine")).await;
        for client in [&a, &b] {
            create_agent_with(client, "fox", json!({"provider": "anthropic", "model": "m"})).await;
        }
        let key_used = async |client: &Http| {
            llm.forget();
            ask(client, "fox", "hi").await;
            llm.questions()[0].header("x-api-key").unwrap().to_owned()
        };
        assert_eq!(key_used(&a).await, "sk-mine");
        assert_eq!(key_used(&b).await, goclaw_tests::server::UPSTREAM_KEY, "the operator's has that name");
        create(&a, &row("anthropic", "sk-named")).await;
        assert_eq!(key_used(&a).await, "sk-named");
    }

    async fn a_provider_is_verified_by_asking_it(edition) {
        let server = Server::start(edition).await;
        let made = create(&server.owner(), &openai("mine")).await;
        let verify = async |body: Value| server.owner().post(&format!("{}/verify", path(&made)), &body).await;
        assert_eq!(verify(json!({"model": "stub"})).await.expect(200), json!({"valid": true}));
        let asked = server.llm.questions().pop().unwrap();
        assert_eq!((asked.last_user_text().as_str(), &asked.body["max_tokens"], asked.header("authorization")), ("hi", &json!(50), Some("Bearer sk-x")));

        server.llm.forget();
        server.llm.next(Answer::error(400, "no such model"));
        assert_eq!(verify(json!({"model": "nope"})).await.expect(200), json!({"valid": false, "error": "no such model"}));
        assert_eq!(server.llm.questions().len(), 1);

        server.llm.forget();
        let note = verify(json!({"model": "veo-3"})).await.expect(200);
        assert!(note["valid"] == true && note["note"].is_string(), "{note}");
        assert!(server.llm.questions().is_empty());

        for body in [json!({}), json!({"model": ""}), json!({"model": 5})] {
            verify(body).await.expect_error(400);
        }
        assert_eq!(verify(json!({"model": "m".repeat(70_000)})).await.status, 413);
        assert_eq!(server.owner().post(&format!("/v1/providers/{UNKNOWN}/verify"), &json!({"model": "m"})).await.expect_error(404).1, "NOT_FOUND");
    }
}
