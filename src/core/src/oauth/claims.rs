//! What tokens say of the account they are for. It is not verified: it describes, and opens nothing.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

const CLAIMS: &str = "https://api.openai.com/auth";

/// Of which account a token speaks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Claims {
    pub account_id: Option<String>,
    pub plan_type: Option<String>,
}

impl Claims {
    /// What a JWT says; nothing if it is none.
    pub fn of(token: &str) -> Self {
        let payload = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok());
        let payload: Value = payload.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let claim = |name: &str| {
            let flat = payload.get(format!("{CLAIMS}.{name}"));
            let text = flat.or_else(|| payload.get(CLAIMS)?.get(name)).and_then(Value::as_str);
            text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        Self { account_id: claim("chatgpt_account_id"), plan_type: claim("chatgpt_plan_type") }
    }

    /// What `self` says, and what it does not say, as `other` does.
    pub fn or(self, other: Self) -> Self {
        Self { account_id: self.account_id.or(other.account_id), plan_type: self.plan_type.or(other.plan_type) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn jwt(payload: &Value) -> String {
        format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(payload.to_string()))
    }

    #[test]
    fn claims_stand_flat_or_in_an_object() {
        let expected = Claims { account_id: Some("acct".into()), plan_type: Some("plus".into()) };
        let nested = json!({"https://api.openai.com/auth": {"chatgpt_account_id": "acct", "chatgpt_plan_type": "plus"}});
        let flat = json!({"https://api.openai.com/auth.chatgpt_account_id": " acct ", "https://api.openai.com/auth.chatgpt_plan_type": "plus"});
        assert_eq!((Claims::of(&jwt(&nested)), Claims::of(&jwt(&flat))), (expected.clone(), expected));
        let partial = Claims::of(&jwt(&json!({"https://api.openai.com/auth": {"chatgpt_plan_type": "pro", "chatgpt_account_id": ""}})));
        assert_eq!(partial, Claims { account_id: None, plan_type: Some("pro".into()) });
        assert_eq!(partial.or(Claims { account_id: Some("a".into()), plan_type: Some("b".into()) }).account_id.as_deref(), Some("a"));
    }

    proptest! {
        #[test]
        fn what_is_no_token_says_nothing(text in "\\PC{0,60}") {
            prop_assert_eq!(Claims::of(&text), Claims::default());
        }
    }
}
