//! What rules say, as a function of the rules.

use goclaw_ports::config_permissions::{ConfigPermission, Permission};

/// Stands for everybody, everywhere and everything.
const ANY: &str = "*";
/// The kinds of configuration that rules are about.
pub(super) const CONFIG_TYPES: [&str; 5] = ["heartbeat", "cron", "context_files", "file_writer", ANY];
/// What scopes look like, for people.
pub(super) const SCOPES: &str = "agent, group:<channel>:<chat>, group:<channel>:*, group:*, *";

/// Whether a text is a scope.
pub(super) fn is_scope(text: &str) -> bool {
    if matches!(text, "agent" | "group:*" | ANY) {
        return true;
    }
    let Some((channel, chat)) = text.strip_prefix("group:").and_then(|rest| rest.split_once(':')) else { return false };
    let named = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let plain = |c: char| !c.is_control() && !c.is_whitespace();
    !channel.is_empty() && channel.chars().all(named) && !chat.is_empty() && chat.chars().all(plain) && (chat == ANY || !chat.contains('*'))
}

/// What the rules say about `user` in this place for this kind of configuration; `None` if nothing. Rules for the user go before
/// rules for everybody, and refusals before permissions.
#[must_use]
pub fn decide(rules: &[ConfigPermission], user: &str, scope: &str, config_type: &str) -> Option<bool> {
    let says = |who: &str, permission: Permission| {
        let holds = |rule: &ConfigPermission| {
            rule.user_id == who && rule.permission == permission && covers(&rule.scope, scope) && covers(&rule.config_type, config_type)
        };
        rules.iter().any(holds).then_some(permission == Permission::Allow)
    };
    [(user, Permission::Deny), (user, Permission::Allow), (ANY, Permission::Deny), (ANY, Permission::Allow)]
        .into_iter()
        .find_map(|(who, permission)| says(who, permission))
}

/// Whether a pattern covers a value: `*` every one, `x:*` what is `x` or begins with `x:`, anything else itself.
fn covers(pattern: &str, value: &str) -> bool {
    if pattern == ANY || pattern == value {
        return true;
    }
    let Some(prefix) = pattern.strip_suffix(":*") else { return false };
    value.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_ports::{AgentId, JsonObject};
    use proptest::prelude::*;
    use rstest::rstest;
    use uuid::Uuid;

    fn rule(user: &str, scope: &str, config_type: &str, permission: Permission) -> ConfigPermission {
        ConfigPermission {
            id: Uuid::nil(),
            agent_id: AgentId(Uuid::nil()),
            scope: scope.into(),
            config_type: config_type.into(),
            user_id: user.into(),
            permission,
            granted_by: String::new(),
            metadata: JsonObject::new(),
            created_at: chrono::DateTime::UNIX_EPOCH,
            updated_at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    #[rstest]
    #[case("*", "anything", true)]
    #[case("group:*", "group", true)]
    #[case("group:*", "group:telegram:1", true)]
    #[case("group:*", "groups:telegram", false)]
    #[case("group:*", "agent", false)]
    #[case("group:telegram:*", "group:telegram:-100:topic:5", true)]
    #[case("group:telegram:*", "group:telegrams:1", false)]
    #[case("group:telegram:*", "group:slack:1", false)]
    #[case("group:telegram:1", "group:telegram:1", true)]
    #[case("group:telegram:1", "group:telegram:12", false)]
    #[case("agent", "agent", true)]
    fn patterns_cover_what_they_say(#[case] pattern: &str, #[case] value: &str, #[case] expected: bool) {
        assert_eq!(covers(pattern, value), expected);
    }

    #[rstest]
    #[case("agent", true)]
    #[case("*", true)]
    #[case("group:*", true)]
    #[case("group:telegram:*", true)]
    #[case("group:telegram:-100123", true)]
    #[case("group:", false)]
    #[case("group:telegram", false)]
    #[case("group:telegram:", false)]
    #[case("group::1", false)]
    #[case("group:*:1", false)]
    #[case("group:telegram:1*", false)]
    #[case("group:telegram:a b", false)]
    #[case("guild:1", false)]
    #[case("", false)]
    fn scopes_have_five_forms(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(is_scope(text), expected);
    }

    #[test]
    fn without_a_rule_nothing_is_said() {
        assert_eq!(decide(&[], "u", "agent", "cron"), None);
        let rules =
            [rule("v", "*", "*", Permission::Allow), rule("u", "agent", "heartbeat", Permission::Allow), rule("u", "group:*", "cron", Permission::Allow)];
        assert_eq!(decide(&rules, "u", "agent", "cron"), None);
    }

    fn rules() -> impl Strategy<Value = Vec<ConfigPermission>> {
        let one = ("u|v|[*]", "agent|group:[*]|group:tg:[*]|group:tg:1|[*]", "cron|heartbeat|[*]", any::<bool>())
            .prop_map(|(user, scope, kind, allow)| rule(&user, &scope, &kind, if allow { Permission::Allow } else { Permission::Deny }));
        prop::collection::vec(one, 0..12)
    }

    proptest! {
        #[test]
        fn the_order_of_rules_does_not_matter(rules in rules(), scope in "agent|group:tg:1|group:tg:2") {
            let mut reversed = rules.clone();
            reversed.reverse();
            prop_assert_eq!(decide(&rules, "u", &scope, "cron"), decide(&reversed, "u", &scope, "cron"));
        }

        #[test]
        fn a_refusal_of_the_user_always_holds(mut rules in rules(), scope in "agent|group:tg:1") {
            rules.push(rule("u", &scope, "cron", Permission::Deny));
            prop_assert_eq!(decide(&rules, "u", &scope, "cron"), Some(false));
        }

        #[test]
        fn what_is_said_of_others_does_not_matter(rules in rules(), scope in "agent|group:tg:1|group:tg:2") {
            let own: Vec<_> = rules.iter().filter(|rule| rule.user_id != "v").cloned().collect();
            prop_assert_eq!(decide(&rules, "u", &scope, "cron"), decide(&own, "u", &scope, "cron"));
        }

        #[test]
        fn the_users_own_permission_goes_before_what_is_said_of_everybody(rules in rules(), scope in "agent|group:tg:1") {
            let mut rules: Vec<_> = rules.into_iter().filter(|rule| rule.user_id != "u").collect();
            rules.push(rule("u", &scope, "cron", Permission::Allow));
            prop_assert_eq!(decide(&rules, "u", &scope, "cron"), Some(true));
        }

        #[test]
        fn a_rule_that_covers_nothing_here_changes_nothing(rules in rules(), scope in "agent|group:tg:1") {
            let before = decide(&rules, "u", &scope, "cron");
            let mut more = rules.clone();
            more.push(rule("u", "group:slack:*", "cron", Permission::Deny));
            more.push(rule("u", &scope, "heartbeat", Permission::Deny));
            prop_assert_eq!(decide(&more, "u", &scope, "cron"), before);
        }
    }
}
