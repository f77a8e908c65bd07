//! What tests of accounts need: a vendor that signs people in, and providers that are signed in.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use goclaw_tests::{Answer, Edition, FakeLlm, Http, Server, Setup, server::free_port};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// A time in seconds that is far away.
pub const LATER: i64 = 4_102_444_800;

/// A token that names its account.
pub fn jwt(account: &str, plan: &str) -> String {
    let claims = json!({"https://api.openai.com/auth": {"chatgpt_account_id": account, "chatgpt_plan_type": plan}});
    format!("eyJh.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// Has the upstream sign people in: the code `good` is taken, each refresh token once, and the n-th grant's access token is
/// `access-n`, its refresh token `refresh-n`. The first grant is good for `first_life` seconds, the others for an hour.
pub fn vendor(llm: &FakeLlm, first_life: i64) {
    let grants = Arc::new(Mutex::new(0));
    llm.at("/oauth/token", move |request| {
        let mut grants = grants.lock().unwrap();
        let value = |key: &str| request.form.get(key).map(String::as_str).unwrap_or_default();
        let fine = match value("grant_type") {
            "authorization_code" => value("code") == "good" && !value("code_verifier").is_empty(),
            "refresh_token" => value("refresh_token") == format!("refresh-{grants}"),
            _ => false,
        };
        if !fine || value("client_id") != "app_EMoamEEZ73f0CkXaXp7hrann" {
            return Some(Answer::status(400, r#"{"error":"invalid_grant","error_description":"what nobody is to read"}"#));
        }
        *grants += 1;
        let life = if *grants == 1 { first_life } else { 3600 };
        let grant = json!({
            "access_token": format!("access-{grants}"), "refresh_token": format!("refresh-{grants}"), "expires_in": life, "token_type": "Bearer",
            "scope": "openid profile", "id_token": jwt("acct-1", "Plus"),
        });
        Some(Answer::raw(grant.to_string()))
    });
}

/// A gateway whose people sign in at its upstream.
pub async fn setup(edition: Edition) -> Setup {
    let setup = Setup::new(edition).await;
    let token_url = format!("{}/oauth/token", setup.llm.base());
    setup
        .env("GOCLAW_OAUTH_AUTHORIZE_URL", "https://auth.example.com/oauth/authorize")
        .env("GOCLAW_OAUTH_TOKEN_URL", &token_url)
        .env("GOCLAW_OAUTH_CALLBACK_PORT", &free_port().to_string())
}

/// The `state` of a sign-in.
pub fn state_of(started: &Value) -> String {
    let url = url::Url::parse(started["auth_url"].as_str().unwrap()).unwrap();
    url.query_pairs().find(|(key, _)| key == "state").unwrap().1.into_owned()
}

/// Where the browser comes back to.
pub fn returned(started: &Value, code: &str) -> String {
    format!("http://localhost:1455/auth/callback?code={code}&state={}", state_of(started))
}

/// Signs in to this account, whose backend is the upstream.
pub async fn sign_in(server: &Server, client: &Http, account: &str) -> Value {
    let started = client.post(&format!("/v1/auth/chatgpt/{account}/start"), &json!({"api_base": server.llm.base()})).await.expect(200);
    client.post(&format!("/v1/auth/chatgpt/{account}/callback"), &json!({"redirect_url": returned(&started, "good")})).await.expect(200)
}

/// An account that is signed in: its token is `token-` and its name, its backend the upstream.
pub fn account(llm: &FakeLlm, name: &str, extras: Option<&[&str]>, strategy: &str) -> Value {
    let mut settings = json!({"account_id": format!("acct-{name}"), "expires_at": LATER, "plan_type": "plus"});
    if let Some(extras) = extras {
        settings["codex_pool"] = json!({"strategy": strategy, "extra_provider_names": extras});
    }
    json!({"name": name, "provider_type": "chatgpt_oauth", "api_key": format!("token-{name}"), "api_base": llm.base(), "enabled": true, "settings": settings})
}

/// Makes such accounts; the last one lists the others and is named first.
pub async fn pool(server: &Server, client: &Http, names: &[&str], strategy: &str) -> Vec<Value> {
    let (owner, extras) = names.split_first().unwrap();
    let mut made = Vec::new();
    for extra in extras {
        made.push(client.post("/v1/providers", &account(&server.llm, extra, None, "")).await.expect(201));
    }
    made.insert(0, client.post("/v1/providers", &account(&server.llm, owner, Some(extras), strategy)).await.expect(201));
    made
}

/// What an account has left, as the vendor tells it.
pub fn quota(used: u32) -> Answer {
    let window = |seconds: u32| json!({"used_percent": used, "reset_after_seconds": seconds});
    Answer::raw(json!({"plan_type": "Plus", "rate_limit": {"primary_window": window(60), "secondary_window": window(600)}}).to_string())
}

/// Has the upstream say that every account has most of its quota left.
pub fn plenty(llm: &FakeLlm) {
    llm.at("/wham/usage", |_| Some(quota(10)));
}
