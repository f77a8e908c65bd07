//! What failed calls say: sorted into kinds, shortened, and without secrets.

use goclaw_outbound::Refused;
use goclaw_ports::llm::{LlmError, LlmErrorKind};
use secrecy::{ExposeSecret, SecretString};
use std::error::Error as StdError;

/// How much of an upstream's error is kept, in characters.
const BODY_LIMIT: usize = 500;
const REDACTED: &str = "[redacted]";

/// The kinds that a text can tell, in the order in which they are looked for; the text is in lower case.
const SIGNS: &[(LlmErrorKind, &[&str])] = &[
    (LlmErrorKind::Timeout, &["timeout", "timed out", "deadline exceeded"]),
    (
        LlmErrorKind::ContextOverflow,
        &[
            "context length",
            "context_length",
            "context window",
            "maximum context",
            "prompt is too long",
            "too many tokens",
            "request_too_large",
            "input is too long",
            "exceeds the maximum number of tokens",
        ],
    ),
    (
        LlmErrorKind::History,
        &["tool_use_id", "tool_call_id", "roles must alternate", "tool_result", "must be followed by tool messages", "incorrect role information"],
    ),
    (
        LlmErrorKind::RateLimit,
        &["429", "rate limit", "rate_limit", "usage limit", "usage_limit", "too many requests", "quota exceeded", "resource_exhausted", "resource exhausted"],
    ),
    (LlmErrorKind::Overloaded, &["overloaded", "529", "503", "service unavailable"]),
    (LlmErrorKind::Billing, &["402", "credit balance", "insufficient_quota", "insufficient credits", "insufficient balance", "payment required", "billing"]),
    (
        LlmErrorKind::Auth,
        &["401", "403", "invalid api key", "invalid_api_key", "incorrect api key", "invalid x-api-key", "unauthorized", "authentication", "permission"],
    ),
    (
        LlmErrorKind::Model,
        &["model not found", "model_not_found", "unknown model", "invalid model", "no such model", "does not exist", "not a valid model", "not_found_error"],
    ),
];

/// The kind of a failure by its status and text.
pub(crate) fn classify(status: Option<u16>, body: &str) -> LlmErrorKind {
    let status_text = status.map(|status| format!("http {status}: ")).unwrap_or_default();
    let text = format!("{status_text}{}", body.to_lowercase());
    for (kind, signs) in SIGNS {
        // A number counts only as the status: "4290 tokens" is no rate limit.
        let told = |sign: &&str| if sign.bytes().all(|byte| byte.is_ascii_digit()) { status_text.contains(sign) } else { text.contains(sign) };
        if signs.iter().any(told) {
            return *kind;
        }
    }
    match status {
        Some(408 | 504) => LlmErrorKind::Timeout,
        Some(413) => LlmErrorKind::ContextOverflow,
        _ => LlmErrorKind::Other,
    }
}

/// Makes the errors of one provider.
#[derive(Clone)]
pub(crate) struct Errors {
    pub(crate) provider: String,
    pub(crate) key: Option<SecretString>,
}

impl Errors {
    /// An answer with an error status.
    pub(crate) fn status(&self, status: u16, body: &str) -> LlmError {
        let kind = classify(Some(status), body);
        LlmError { kind, status: Some(status), text: format!("HTTP {status}: {}: {}", self.provider, self.clean(body)), retry_after: None }
    }

    /// A failure without a status; what it says decides the kind.
    pub(crate) fn told(&self, text: &str) -> LlmError {
        LlmError { kind: classify(None, text), status: None, text: format!("{}: {}", self.provider, self.clean(text)), retry_after: None }
    }

    /// An error that the upstream put into a stream, with the code it gave.
    pub(crate) fn in_stream(&self, code: Option<u16>, text: &str) -> LlmError {
        LlmError { kind: classify(code, text), status: None, text: format!("{}: {}", self.provider, self.clean(text)), retry_after: None }
    }

    /// An answer that does not end, or should have long before.
    pub(crate) fn too_long(&self) -> LlmError {
        self.told("the answer is too long")
    }

    /// No bytes for too long.
    pub(crate) fn idle(&self, seconds: f64) -> LlmError {
        let text = format!("{}: timeout: the upstream sent nothing for {seconds} s", self.provider);
        LlmError { kind: LlmErrorKind::Timeout, status: None, text, retry_after: None }
    }

    /// A failed connection.
    pub(crate) fn network(&self, error: &reqwest::Error) -> LlmError {
        // A name that does not resolve now may do so later; the other refusals stay.
        if let Some(refused) = Refused::find(error).filter(|refused| !matches!(refused, Refused::Unresolved(_))) {
            return LlmError { kind: LlmErrorKind::Other, status: None, text: format!("{}: {}", self.provider, refused.provider_text()), retry_after: None };
        }
        // The URL is left out: it may carry what is nobody's business.
        let mut causes = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        let what = if error.is_timeout() { "timeout: network error" } else { "network error" };
        let kind = if error.is_timeout() { LlmErrorKind::Timeout } else { LlmErrorKind::Other };
        LlmError { kind, status: None, text: format!("{}: {what}: {}", self.provider, self.clean(&causes.join(": "))), retry_after: None }
    }

    /// A text without secrets, cut to [`BODY_LIMIT`].
    pub(crate) fn clean(&self, text: &str) -> String {
        let mut text = text.trim().to_owned();
        if let Some(key) = self.key.as_ref().map(ExposeSecret::expose_secret).filter(|key| !key.is_empty()) {
            text = text.replace(key, REDACTED);
        }
        let text = scrub(&text);
        match text.char_indices().nth(BODY_LIMIT) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }
}

/// Replaces words that look like keys: known prefixes, and what follows `Bearer`.
fn scrub(text: &str) -> String {
    const PREFIXES: &[&str] = &["sk-", "sk_", "pk-", "rk-", "gsk_", "xai-", "AIza", "ya29.", "ghp_", "hf_", "pplx-", "nvapi-", "AKIA", "eyJ"];
    let is_key_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '*');
    let mut clean = String::with_capacity(text.len());
    let mut after_bearer = false;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !is_key_char(c)).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        let looks_like_a_key = word.len() >= 12 && PREFIXES.iter().any(|prefix| word.starts_with(prefix));
        if looks_like_a_key || (after_bearer && word.len() >= 6) {
            clean.push_str(REDACTED);
        } else {
            clean.push_str(word);
        }
        if !word.is_empty() {
            after_bearer = word.eq_ignore_ascii_case("bearer");
        }
        let gap = tail.find(is_key_char).unwrap_or(tail.len());
        clean.push_str(&tail[..gap]);
        rest = &tail[gap..];
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn failures_are_told_apart_in_this_order() {
        use LlmErrorKind::*;
        for (status, body, kind) in [
            (Some(504), "", Timeout),
            (None, "request timed out, 429", Timeout),
            (Some(400), "This model's maximum context length is 8192 tokens", ContextOverflow),
            (Some(400), "prompt is too long: 250000 tokens", ContextOverflow),
            (Some(400), "unexpected `tool_use_id` found", History),
            (Some(400), "roles must alternate", History),
            (Some(429), "slow down", RateLimit),
            (Some(403), "Quota exceeded", RateLimit),
            (None, "usage_limit_reached: The usage limit has been reached", RateLimit),
            (Some(529), "Overloaded", Overloaded),
            (Some(503), "", Overloaded),
            (Some(402), "", Billing),
            (Some(400), "Your credit balance is too low", Billing),
            (Some(401), "", Auth),
            (Some(403), "", Auth),
            (Some(400), "Invalid API key provided", Auth),
            (Some(404), "The model `x` does not exist", Model),
            (Some(400), "4290 of 4010 words", Other),
            (Some(500), "oops", Other),
        ] {
            assert_eq!(classify(status, body), kind, "{status:?} {body}");
        }
    }

    #[test]
    fn keys_never_show_and_long_bodies_are_cut() {
        let errors = Errors { provider: "p".into(), key: Some("secret-key".into()) };
        let error = errors.status(401, "bad key secret-key, sk-abcdefgh****ijkl and Bearer abcdef123; AIzaSyA1234567890");
        assert_eq!(error.text, "HTTP 401: p: bad key [redacted], [redacted] and Bearer [redacted]; [redacted]");
        assert_eq!(errors.status(500, &"ä".repeat(900)).text.chars().count(), "HTTP 500: p: ".len() + BODY_LIMIT + 1);
    }

    proptest! {
        #[test]
        fn the_key_is_gone_from_any_text(before in ".{0,40}", after in ".{0,40}") {
            let errors = Errors { provider: "p".into(), key: Some("0123456789secret".into()) };
            let has_key = errors.clean(&format!("{before}0123456789secret{after}")).contains("0123456789secret");
            prop_assert!(!has_key);
        }
    }
}
