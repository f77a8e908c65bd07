//! Strikes secrets out of what tools answer and what traces keep.

use regex::{Regex, RegexSet};
use std::{borrow::Cow, sync::LazyLock};

const REDACTED: &str = "[REDACTED]";

#[expect(clippy::expect_used, reason = "the patterns are constants, and a test compiles them")]
static SHAPES: LazyLock<(RegexSet, Vec<Regex>)> = LazyLock::new(|| {
    // Unicode's idea of a word's end would cost the fast search for texts that are not ASCII.
    let shapes = [
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)",
        r"sk-ant-[A-Za-z0-9-]{20,}",
        r"sk-(?:proj-)?[A-Za-z0-9_-]{20,}",
        r"gh[pousr]_[A-Za-z0-9]{36}",
        r"github_pat_[A-Za-z0-9_]{22,}",
        r"glpat-[A-Za-z0-9_-]{20,}",
        r"xox[abpr]-[A-Za-z0-9-]{10,}",
        r"AIza[A-Za-z0-9_-]{35}",
        r"AKIA[A-Z0-9]{16}",
        r"goclaw_[0-9a-f]{32}",
        r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
        r#"(?i)(?-u:\b)(?:api[ _-]?key|token|secret|password|bearer|authorization)["']?\s*[:=]\s*["']?[^\s"']{8,}"#,
        r#"(?i)(?-u:\b)(?:postgres|postgresql|mysql|mongodb(?:\+srv)?|redis|amqp)://[^\s"']+"#,
        r"(?i)(?-u:\b)[A-Z0-9_]*(?:KEY|SECRET|CREDENTIAL|PRIVATE)[A-Z0-9_]*=[^\s\[]{8,}",
        r"(?i)(?-u:\b)(?:DSN|DATABASE_URL|REDIS_URL|MONGO_URI)=[^\s\[]{8,}",
        r"(?i)(?-u:\b)VIRTUAL_[A-Z0-9_]+=[^\s\[]{4,}",
        r"(?-u:\b)[0-9a-fA-F]{64,}(?-u:\b)",
    ];
    let compiled = shapes.iter().map(|shape| Regex::new(shape).expect("a constant pattern")).collect();
    (RegexSet::new(shapes).expect("constant patterns"), compiled)
});

/// The text with everything that looks like a secret struck out.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    let (all, shapes) = &*SHAPES;
    // Most texts hold no secret, and one look says so.
    if !all.is_match(text) {
        return Cow::Borrowed(text);
    }
    shapes.iter().fold(
        Cow::Borrowed(text),
        |text, shape| {
            if shape.is_match(&text) { Cow::Owned(shape.replace_all(&text, REDACTED).into_owned()) } else { text }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&format!("sk-{}", "a".repeat(24)))]
    #[case(&format!("sk-proj-{}", "a1_".repeat(12)))]
    #[case(&format!("ghp_{}", "b".repeat(36)))]
    #[case(&format!("AKIA{}", "C".repeat(16)))]
    #[case("password: hunter2hunter2")]
    #[case(r#""api_key": "abcdefghijkl""#)]
    #[case("postgres://u:p@h/db")]
    #[case(&"0f".repeat(32))]
    #[case("AWS_SECRET_ACCESS_KEY=abcdefghij")]
    #[case("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----")]
    fn secrets_are_struck_out(#[case] secret: &str) {
        let text = redact(&format!("before {secret} after")).into_owned();
        assert!(text.contains(REDACTED), "{text}");
        assert!(text.starts_with("before ") && text.ends_with("after"), "{text}");
    }

    #[rstest]
    #[case("the tokens were counted")]
    #[case("a password is needed")]
    #[case("sk-short")]
    fn ordinary_text_stays(#[case] text: &str) {
        assert_eq!(redact(text), text);
    }
}
