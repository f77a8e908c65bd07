//! Signing in to accounts, and their tokens.

use crate::{
    accounts::{LATER, account, quota, returned, setup, sign_in, state_of, vendor},
    common::{Tenants, ask, create_agent_with},
    shell::Shell,
};
use futures_util::future::join_all;
use goclaw_ports::TenantId;
use goclaw_tests::{Answer, Edition, Http, Server, eventually};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const CODEX: &str = "/v1/auth/chatgpt/openai-codex";

async fn started(edition: Edition) -> Server {
    let server = setup(edition).await.start().await;
    vendor(&server.llm, 3600);
    server
}

async fn start(client: &Http) -> Value {
    client.post(&format!("{CODEX}/start"), &json!({})).await.expect(200)
}

async fn callback(client: &Http, url: &str) -> goclaw_tests::Reply {
    client.post(&format!("{CODEX}/callback"), &json!({"redirect_url": url})).await
}

async fn provider(client: &Http, name: &str) -> Option<Value> {
    let list = client.get("/v1/providers").await.expect(200);
    list["providers"].as_array().unwrap().iter().find(|provider| provider["name"] == name).cloned()
}

/// What a browser gets at the place that it is sent back to; `None` if nobody listens there.
async fn browse(server: &Server, query: &str) -> Option<String> {
    let port = server.environment()["GOCLAW_OAUTH_CALLBACK_PORT"].parse::<u16>().unwrap();
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    socket.write_all(format!("GET /auth/callback?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.ok()?;
    let mut page = String::new();
    socket.read_to_string(&mut page).await.ok()?;
    Some(page)
}

on_both_editions! {
    async fn a_sign_in_ends_with_the_address_that_the_browser_was_sent_to(edition) {
        let mut server = started(edition).await;
        let (mai, lan) = (server.gateway_user("mai"), server.gateway_user("lan"));
        assert_eq!(mai.get(&format!("{CODEX}/status")).await.expect(200), json!({"authenticated": false}));
        assert_eq!(callback(&mai, "http://localhost/?code=good").await.expect_error(400).0, "no pending OAuth flow");

        let first = start(&mai).await;
        let url = url::Url::parse(first["auth_url"].as_str().unwrap()).unwrap();
        let port = &server.environment()["GOCLAW_OAUTH_CALLBACK_PORT"];
        let of = |wanted: &str| url.query_pairs().find(|(key, _)| key == wanted).unwrap().1.into_owned();
        assert_eq!((url.host_str(), first["provider_name"].as_str()), (Some("auth.example.com"), Some("openai-codex")));
        assert_eq!((of("redirect_uri"), of("code_challenge_method")), (format!("http://localhost:{port}/auth/callback"), "S256".into()));
        assert_eq!(start(&mai).await, first, "the same user gets the same address");
        let (text, code) = lan.post(&format!("{CODEX}/start"), &json!({})).await.expect_error(409);
        assert_eq!((text.as_str(), code.as_str()), ("another OAuth flow is already active on this server", "FAILED_PRECONDITION"));
        assert_eq!(callback(&lan, &returned(&first, "good")).await.expect_error(400).0, "no pending OAuth flow");
        for (url, text) in [
            (String::new(), "redirect_url is required"), ("nonsense".into(), "the redirect URL cannot be read"),
            (format!("http://localhost/?error=access_denied&state={}", state_of(&first)), "OAuth error: access_denied"),
            (format!("http://localhost/?state={}", state_of(&first)), "the redirect URL holds no code"),
            ("http://localhost/?code=good&state=forged".into(), "invalid state parameter (possible CSRF)"),
            (returned(&first, "bad"), "the sign-in could not be completed: the authorization server refused (HTTP 400)"),
        ] {
            assert_eq!(callback(&mai, &url).await.expect_error(400), (text.to_owned(), "INVALID_REQUEST".to_owned()), "{url}");
        }
        assert_eq!(mai.send("POST", &format!("{CODEX}/callback"), "application/json", b"{".to_vec()).await.status, 400);

        let done = callback(&mai, &returned(&first, "good")).await.expect(200);
        let row = provider(&mai, "openai-codex").await.unwrap();
        assert_eq!(done, json!({"authenticated": true, "provider_name": "openai-codex", "provider_id": row["id"]}));
        assert_eq!((&row["provider_type"], &row["enabled"], &row["api_key"]), (&json!("chatgpt_oauth"), &json!(true), &json!("***")));
        assert_eq!(row["api_base"], "https://chatgpt.com/backend-api");
        let settings = &row["settings"];
        assert_eq!((&settings["account_id"], &settings["plan_type"], &settings["scopes"]), (&json!("acct-1"), &json!("Plus"), &json!("openid profile")));
        assert!(settings["expires_at"].is_i64());
        assert_eq!(mai.get(&format!("{CODEX}/status")).await.expect(200), json!({"authenticated": true, "provider_name": "openai-codex"}));
        assert_eq!(start(&lan).await, json!({"status": "already_authenticated", "provider_name": "openai-codex"}));
        assert_eq!(callback(&mai, &returned(&first, "good")).await.expect_error(400).0, "no pending OAuth flow");

        let form = server.llm.requests().into_iter().rfind(|request| request.path.ends_with("/oauth/token")).unwrap().form;
        assert_eq!((form["grant_type"].as_str(), &form["redirect_uri"]), ("authorization_code", &of("redirect_uri")));
        let activity = server.owner().get("/v1/activity").await.expect(200).to_string();
        assert!(activity.contains("oauth.login_started") && activity.contains("oauth.login_completed"), "{activity}");

        server.stop().await;
        let stores = server.stores().await;
        let sealed = stores.secrets.get(TenantId::MASTER, "oauth.openai-codex.refresh_token").await.unwrap().unwrap().0;
        assert!(sealed.starts_with("x1:") && stores.secrets.get(TenantId::MASTER, "oauth.openai-codex.flow").await.unwrap().is_none());
        for secret in ["access-1", "refresh-1", "what nobody is to read", &jwt_part()] {
            assert!(!server.log().contains(secret), "{secret} is in the log");
        }
    }

    async fn a_browser_that_comes_back_ends_the_sign_in(edition) {
        let server = started(edition).await;
        assert!(browse(&server, "code=good").await.is_none(), "nobody listens while nobody signs in");
        let begun = start(&server.owner()).await;
        let forged = browse(&server, "code=good&state=forged").await.unwrap();
        assert!(forged.starts_with("HTTP/1.1 400") && forged.contains("possible CSRF"), "{forged}");
        let failed = browse(&server, &format!("code=bad&state={}", state_of(&begun))).await.unwrap();
        assert!(failed.starts_with("HTTP/1.1 400") && !failed.contains("nobody is to read"), "{failed}");
        let page = browse(&server, &format!("code=good&state={}", state_of(&begun))).await.unwrap();
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        assert_eq!(server.owner().get(&format!("{CODEX}/status")).await.expect(200)["authenticated"], true);
        eventually("the listener to close", async || browse(&server, "code=good").await.is_none()).await;
    }

    async fn a_person_who_says_no_ends_the_sign_in(edition) {
        let server = started(edition).await;
        let begun = start(&server.owner()).await;
        let page = browse(&server, &format!("error=access_denied&state={}", state_of(&begun))).await.unwrap();
        assert!(page.contains("OAuth error: access_denied"), "{page}");
        assert_ne!(start(&server.owner()).await["auth_url"], begun["auth_url"], "the next one is new");
    }

    async fn several_sign_ins_go_on_side_by_side(edition) {
        let server = started(edition).await;
        let one = server.owner().post("/v1/auth/chatgpt/one/start", &json!({"display_name": "One"})).await.expect(200);
        let two = server.gateway_user("lan").post("/v1/auth/chatgpt/two/start", &json!({})).await.expect(200);
        let crossed = server.owner().post("/v1/auth/chatgpt/one/callback", &json!({"redirect_url": returned(&two, "good")})).await.expect_error(400);
        assert_eq!(crossed.0, "invalid state parameter (possible CSRF)");
        assert!(browse(&server, &format!("code=good&state={}", state_of(&two))).await.unwrap().starts_with("HTTP/1.1 200"));
        server.owner().post("/v1/auth/chatgpt/one/callback", &json!({"redirect_url": returned(&one, "good")})).await.expect(200);
        assert_eq!(provider(&server.owner(), "one").await.unwrap()["display_name"], "One");
        assert!(provider(&server.owner(), "two").await.is_some());
    }

    async fn a_sign_in_outlives_a_restart(edition) {
        let mut server = started(edition).await;
        let begun = start(&server.owner()).await;
        server.stop().await;
        server.restart().await;
        assert_eq!(start(&server.owner()).await, begun);
        callback(&server.owner(), &returned(&begun, "good")).await.expect(200);
        server.stop().await;
        server.restart().await;
        assert_eq!(server.owner().get(&format!("{CODEX}/status")).await.expect(200)["authenticated"], true);
    }

    async fn signing_in_again_keeps_the_pool(edition) {
        let server = started(edition).await;
        let pool = json!({"strategy": "round_robin", "extra_provider_names": ["extra"]});
        server.owner().post("/v1/providers", &account(&server.llm, "extra", None, "")).await.expect(201);
        let mut old = account(&server.llm, "openai-codex", None, "");
        old["settings"] = json!({"codex_pool": pool, "mine": 1, "expires_at": 1, "account_id": "acct-0"});
        let row = server.owner().post("/v1/providers", &old).await.expect(201);
        let status = server.owner().get(&format!("{CODEX}/status")).await.expect(200);
        assert_eq!(status["authenticated"], true, "an old token may still be good");
        let done = callback(&server.owner(), &returned(&start(&server.owner()).await, "good")).await.expect(200);
        let after = provider(&server.owner(), "openai-codex").await.unwrap();
        assert_eq!((&done["provider_id"], &after["id"]), (&row["id"], &row["id"]));
        assert_eq!((&after["settings"]["codex_pool"], &after["settings"]["mine"], &after["settings"]["account_id"]), (&pool, &json!(1), &json!("acct-1")));

        // What signing in has stored stays when the settings are replaced.
        let path = format!("/v1/providers/{}", row["id"].as_str().unwrap());
        server.owner().put(&path, &json!({"settings": {"other": 2}})).await.expect(200);
        let settings = provider(&server.owner(), "openai-codex").await.unwrap()["settings"].clone();
        assert_eq!((&settings["other"], &settings["account_id"], settings.get("codex_pool")), (&json!(2), &json!("acct-1"), None));
        assert!(settings["expires_at"].as_i64().unwrap() > 1);
    }

    async fn a_token_that_expires_is_replaced_once(edition) {
        let server = setup(edition).await.start().await;
        vendor(&server.llm, 60);
        sign_in(&server, &server.owner(), "openai-codex").await;
        create_agent_with(&server.owner(), "fox", json!({"provider": "openai-codex", "model": "gpt-5.4"})).await;
        assert_eq!(server.llm.count_at("/oauth/token"), 1);
        // In the standard edition, half of the calls are another replica's.
        let twin = match edition {
            Edition::Lite => None,
            Edition::Standard => Some(server.twin().await),
        };
        let clients = (0..20).map(|n| if n % 2 == 0 { server.owner() } else { twin.as_ref().unwrap_or(&server).owner() });
        let clients: Vec<_> = clients.collect();
        let answers = join_all(clients.iter().map(|client| ask(client, "fox", "hi"))).await;
        assert_eq!(answers.len(), 20);
        assert_eq!(server.llm.count_at("/oauth/token"), 2, "one sign-in, one refresh");
        for asked in server.llm.questions() {
            assert_eq!((asked.header("authorization"), asked.header("chatgpt-account-id")), (Some("Bearer access-2"), Some("acct-1")));
        }
        drop(twin);
    }

    async fn an_old_token_is_used_when_no_new_one_is_to_be_had(edition) {
        let server = setup(edition).await.start().await;
        vendor(&server.llm, 60);
        sign_in(&server, &server.owner(), "openai-codex").await;
        server.llm.at("/oauth/token", |_| Some(Answer::status(503, "what nobody is to read")));
        create_agent_with(&server.owner(), "fox", json!({"provider": "openai-codex", "model": "gpt-5.4"})).await;
        for _ in 0..3 {
            ask(&server.owner(), "fox", "hi").await;
        }
        assert!(server.llm.questions().iter().all(|asked| asked.header("authorization") == Some("Bearer access-1")));
        assert_eq!(server.llm.count_at("/oauth/token"), 2, "nobody asks again at once");
        assert!(!server.log().contains("what nobody is to read"));
    }

    async fn signing_out_forgets_everything(edition) {
        let mut server = started(edition).await;
        for _ in 0..2 {
            assert_eq!(server.owner().post(&format!("{CODEX}/logout"), &json!(null)).await.expect(200), json!({"status": "logged out"}));
        }
        sign_in(&server, &server.owner(), "openai-codex").await;
        assert_eq!(server.owner().post("/v1/auth/openai/logout", &json!({})).await.expect(200), json!({"status": "logged out"}));
        assert!(provider(&server.owner(), "openai-codex").await.is_none());
        assert_eq!(server.owner().get("/v1/auth/openai/status").await.expect(200), json!({"authenticated": false}));
        // A sign-in that goes on is over as well.
        let begun = start(&server.owner()).await;
        server.owner().post(&format!("{CODEX}/logout"), &json!({})).await.expect(200);
        assert_eq!(callback(&server.owner(), &returned(&begun, "good")).await.expect_error(400).0, "no pending OAuth flow");
        assert!(server.owner().get("/v1/activity").await.expect(200).to_string().contains("oauth.logout"));
        server.stop().await;
        let secrets = server.stores().await.secrets.list(TenantId::MASTER).await.unwrap();
        assert!(secrets.iter().all(|(name, _)| !name.starts_with("oauth.")), "{secrets:?}");
    }

    async fn a_refresh_token_follows_its_account(edition) {
        let mut server = setup(edition).await.start().await;
        vendor(&server.llm, 60);
        let id = sign_in(&server, &server.owner(), "before").await["provider_id"].as_str().unwrap().to_owned();
        server.owner().post("/v1/providers", &account(&server.llm, "taken", None, "")).await.expect(201);
        let path = format!("/v1/providers/{id}");
        assert_eq!(server.owner().put(&path, &json!({"name": "taken"})).await.status, 409);
        server.owner().put(&path, &json!({"name": "after"})).await.expect(200);
        assert_eq!(server.owner().get("/v1/auth/chatgpt/after/status").await.expect(200)["authenticated"], true);
        assert_eq!(server.llm.count_at("/oauth/token"), 2, "the renamed account got a new token");
        assert_eq!(server.owner().delete(&path).await.expect(200), json!({"status": "deleted"}));
        server.stop().await;
        let secrets = server.stores().await.secrets.list(TenantId::MASTER).await.unwrap();
        assert!(secrets.iter().all(|(name, _)| !name.starts_with("oauth.")), "{secrets:?}");
    }

    async fn names_and_types_are_checked(edition) {
        let server = started(edition).await;
        server.owner().post("/v1/providers", &json!({"name": "groq", "provider_type": "groq", "api_key": "k", "enabled": true})).await.expect(201);
        let empty = json!({"redirect_url": "http://localhost/?code=good"});
        for (method, what) in [("GET", "status"), ("GET", "quota"), ("POST", "start"), ("POST", "callback"), ("POST", "logout")] {
            let call = async |name: &str| server.owner().send(method, &format!("/v1/auth/chatgpt/{name}/{what}"), "application/json", empty.to_string().into()).await;
            assert_eq!(call("Bad_Name").await.expect_error(400).0, "provider must be a valid slug (lowercase letters, numbers, hyphens only)");
            let (text, code) = call("groq").await.expect_error(409);
            assert_eq!(text, "provider \"groq\" already exists as type \"groq\"");
            assert_eq!(code, if what == "quota" { "provider_type_conflict" } else { "ALREADY_EXISTS" });
        }
        for body in [json!({"api_base": "http://169.254.169.254/"}), json!({"display_name": "d".repeat(256)}), json!({"display_name": 5})] {
            assert_eq!(server.owner().post(&format!("{CODEX}/start"), &body).await.expect_error(400).1, "INVALID_REQUEST", "{body}");
        }
        assert_eq!(callback(&server.owner(), "http://localhost/?code=good").await.expect_error(400).0, "no pending OAuth flow");
        let unread = server.owner().send("POST", "/v1/auth/openai/start", "", vec![]).await.expect(200);
        assert!(unread["auth_url"].is_string(), "a body may be left out");
    }

    async fn accounts_are_for_admins_of_their_tenant(edition) {
        let tenants = Tenants::start_with(setup(edition).await).await;
        vendor(&tenants.server.llm, 3600);
        let a = tenants.client(&tenants.a_admin, "mai");
        let paths = [("GET", "status"), ("GET", "quota"), ("POST", "start"), ("POST", "callback"), ("POST", "logout")];
        for (method, what) in paths {
            for prefix in ["chatgpt/openai-codex", "openai"] {
                let path = format!("/v1/auth/{prefix}/{what}");
                for key in [&tenants.a_operator, &tenants.a_viewer] {
                    assert_eq!(tenants.client(key, "mai").send(method, &path, "application/json", b"{}".to_vec()).await.status, 403, "{path}");
                }
                assert_eq!(tenants.server.anonymous().send(method, &path, "application/json", b"{}".to_vec()).await.status, 401, "{path}");
            }
        }
        let begun = a.post("/v1/auth/openai/start", &json!({})).await.expect(200);
        let b = tenants.client(&tenants.b_admin, "mai");
        let stolen = b.post("/v1/auth/openai/callback", &json!({"redirect_url": returned(&begun, "good")})).await.expect_error(400);
        assert_eq!(stolen.0, "no pending OAuth flow");
        a.post("/v1/auth/openai/callback", &json!({"redirect_url": returned(&begun, "good")})).await.expect(200);
        assert_eq!(b.get("/v1/auth/openai/status").await.expect(200), json!({"authenticated": false}));
        assert_eq!(b.get("/v1/auth/openai/quota").await.expect_error(404).1, "provider_not_found");
        b.post("/v1/auth/openai/logout", &json!({})).await.expect(200);
        assert_eq!(a.get("/v1/auth/openai/status").await.expect(200)["authenticated"], true);
    }

    async fn the_quota_is_told_or_why_it_is_not(edition) {
        let server = started(edition).await;
        let made = server.owner().post("/v1/providers", &account(&server.llm, "openai-codex", None, "")).await.expect(201);
        let read = async || server.owner().get("/v1/auth/openai/quota").await.expect(200);
        server.llm.at("/wham/usage", |_| Some(quota(40)));
        let told = read().await;
        assert_eq!((&told["success"], &told["plan_type"], &told["provider_name"]), (&json!(true), &json!("plus"), &json!("openai-codex")));
        assert_eq!(told["core_usage"]["five_hour"]["remaining_percent"], 60);
        assert_eq!((told["windows"].as_array().unwrap().len(), &told["windows"][0]["used_percent"]), (2, &json!(40)));
        let asked = server.llm.requests().pop().unwrap();
        assert_eq!((asked.header("authorization"), asked.header("chatgpt-account-id")), (Some("Bearer token-openai-codex"), Some("acct-openai-codex")));
        server.llm.at("/wham/usage", |_| Some(Answer::raw(r#"{"rate_limit":{"primary_window":{"used_percent":1}}}"#)));
        assert_eq!(read().await["core_usage"]["weekly"], json!(null));

        for (answer, code, flag) in [
            (Answer::status(401, "secret"), "reauth_required", Some("needs_reauth")), (Answer::status(402, "secret"), "payment_required", None),
            (Answer::status(403, "secret"), "quota_api_forbidden", Some("is_forbidden")), (Answer::status(404, "secret"), "quota_endpoint_not_found", None),
            (Answer::status(429, "secret"), "rate_limited", Some("retryable")), (Answer::status(502, "secret"), "provider_unavailable", Some("retryable")),
            (Answer::status(418, "secret"), "unknown_upstream_error", None), (Answer::garbage(), "quota_request_failed", None),
        ] {
            server.llm.at("/wham/usage", move |_| Some(answer.clone()));
            let told = read().await;
            assert_eq!((&told["success"], &told["error_code"], &told["windows"], &told["plan_type"]), (&json!(false), &json!(code), &json!([]), &json!("plus")), "{told}");
            assert!(told.get("core_usage").is_none() && told["error"].is_string() && told["action_hint"].is_string(), "{told}");
            for known in ["needs_reauth", "is_forbidden", "retryable"] {
                assert_eq!(told.get(known), (flag == Some(known)).then_some(&json!(true)), "{code} {known}");
            }
            assert!(!told.to_string().contains("secret"), "{told}");
        }
        // Without an account and without a token.
        let path = format!("/v1/providers/{}", made["id"].as_str().unwrap());
        server.owner().delete(&path).await.expect(200);
        assert_eq!(server.owner().get("/v1/auth/openai/quota").await.expect_error(404), ("provider not found: openai-codex".into(), "provider_not_found".into()));
        let nameless = json!({"name": "nameless", "provider_type": "chatgpt_oauth", "api_key": "t", "enabled": true, "settings": {"expires_at": LATER}});
        server.owner().post("/v1/providers", &nameless).await.expect(201);
        assert_eq!(server.owner().get("/v1/auth/chatgpt/nameless/quota").await.expect(200)["error_code"], "missing_account_id");
        let keyless = json!({"name": "keyless", "provider_type": "chatgpt_oauth", "enabled": true, "settings": {"account_id": "a"}});
        server.owner().post("/v1/providers", &keyless).await.expect(201);
        let told = server.owner().get("/v1/auth/chatgpt/keyless/quota").await.expect(200);
        assert_eq!((&told["error_code"], &told["needs_reauth"]), (&json!("reauth_required"), &json!(true)));
    }

    async fn the_account_is_read_from_the_token_where_it_is_not_known(edition) {
        let server = started(edition).await;
        crate::accounts::plenty(&server.llm);
        let mut row = account(&server.llm, "openai-codex", None, "");
        row["api_key"] = json!(crate::accounts::jwt("acct-of-the-token", "Pro"));
        row["settings"] = json!({"expires_at": LATER});
        server.owner().post("/v1/providers", &row).await.expect(201);
        assert_eq!(server.owner().get("/v1/auth/openai/quota").await.expect(200)["success"], true);
        assert_eq!(server.llm.requests().pop().unwrap().header("chatgpt-account-id"), Some("acct-of-the-token"));
    }

    async fn the_command_line_asks_and_signs_out(edition) {
        let server = started(edition).await;
        let shell = Shell::beside(&server);
        assert_eq!(shell.run("auth status").await.expect(0).out, "openai-codex: not signed in\n");
        sign_in(&server, &server.owner(), "openai-codex").await;
        for line in ["auth status", "auth status openai", "auth status openai-codex"] {
            assert_eq!(shell.run(line).await.expect(0).out, "openai-codex: signed in\n", "{line}");
        }
        assert_eq!(shell.run("auth status --json").await.expect(0).json(), json!({"authenticated": true, "provider_name": "openai-codex"}));
        assert_eq!(shell.run("auth logout").await.expect(0).out, "openai-codex: signed out\n");
        assert!(provider(&server.owner(), "openai-codex").await.is_none());
        assert!(shell.run("auth status Bad_Name").await.expect(4).err.contains("valid slug"));
    }
}

fn jwt_part() -> String {
    crate::accounts::jwt("acct-1", "Plus").split('.').nth(1).unwrap().to_owned()
}
