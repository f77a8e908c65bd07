//! Which tools an agent's model may call. Pure: names in, names out.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A tool policy: of the whole installation, or of one agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ToolPolicy {
    /// `minimal`, `coding`, `messaging` or `full`.
    pub profile: String,
    /// Only these; empty for no restriction.
    pub allow: Vec<String>,
    /// Not these.
    pub deny: Vec<String>,
    /// These as well, even if denied by the same policy. What the installation denies, an agent's policy cannot add.
    pub also_allow: Vec<String>,
    /// More, for models of one provider.
    pub by_provider: BTreeMap<String, ToolPolicy>,
    /// What the model's tool names carry before (or around) the real name.
    #[serde(alias = "toolPrefix")]
    pub tool_call_prefix: String,
}

/// Other names of tools. Models are offered both; policies and switches name the real one.
pub const ALIASES: &[(&str, &str)] = &[
    ("bash", "exec"),
    ("edit_file", "edit"),
    ("sessions_spawn", "spawn"),
    ("Read", "read_file"),
    ("Write", "write_file"),
    ("Edit", "edit"),
    ("Bash", "exec"),
    ("WebFetch", "web_fetch"),
    ("Agent", "spawn"),
];

const GROUPS: &[(&str, &[&str])] = &[
    ("fs", &["read_file", "write_file", "list_files", "edit"]),
    ("runtime", &["exec"]),
    ("web", &["web_search", "web_fetch"]),
    ("memory", &["memory_search", "memory_get"]),
    ("sessions", &["sessions_list", "sessions_history", "sessions_send", "spawn", "delegate", "session_status"]),
    ("ui", &["browser"]),
    ("automation", &["cron"]),
    ("messaging", &["message", "create_forum_topic", "list_group_members"]),
    ("team", &["team_tasks"]),
    ("teams", &["team_tasks"]),
    ("knowledge", &["knowledge_graph_search", "skill_search"]),
    ("media_gen", &["create_image", "create_audio", "create_video", "tts"]),
    ("media_read", &["read_image", "read_document", "read_audio", "read_video"]),
    ("skills", &["use_skill", "publish_skill"]),
];

/// What `group:goclaw` stands for: these groups, and the tools below.
const GOCLAW_GROUPS: &[&str] = &["fs", "runtime", "web", "memory", "sessions", "ui", "automation", "messaging", "team"];
const GOCLAW_EXTRA: &[&str] =
    &["read_image", "read_document", "read_audio", "read_video", "create_image", "create_video", "skill_search", "mcp_tool_search", "tts"];

const PROFILES: &[(&str, &[&str])] = &[
    ("minimal", &["session_status"]),
    ("coding", &["group:fs", "group:runtime", "group:sessions", "group:memory", "group:web", "read_image", "create_image", "skill_search"]),
    ("messaging", &["group:messaging", "group:web", "sessions_list", "sessions_history", "sessions_send", "session_status", "read_image", "skill_search"]),
];

/// The real name behind a tool's name.
#[must_use]
pub fn canonical(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, real)| real)
}

/// The other names of a tool.
pub fn aliases(name: &str) -> impl Iterator<Item = &'static str> {
    ALIASES.iter().filter(move |(_, real)| *real == name).map(|(alias, _)| *alias)
}

/// The tools of `registry` that `global` and the agent's own policy allow, for a model of `provider`.
/// `request`, if it names any, restricts further.
#[must_use]
pub fn allowed<'a>(
    registry: impl IntoIterator<Item = &'a str>,
    global: &ToolPolicy,
    agent: &ToolPolicy,
    provider: &str,
    request: &[String],
) -> BTreeSet<&'a str> {
    let registry: BTreeSet<&str> = registry.into_iter().collect();
    let mut tools = registry.clone();
    let for_provider = global.by_provider.get(provider);
    let profile = for_provider.map(|policy| policy.profile.as_str()).filter(|profile| !profile.is_empty()).unwrap_or(&global.profile);
    if let Some((_, names)) = PROFILES.iter().find(|(name, _)| *name == profile) {
        tools.retain(|tool| names.iter().any(|name| matches(name, tool)));
    }
    let agent_for_provider = agent.by_provider.get(provider);
    let lists = [Some(&global.allow), for_provider.map(|policy| &policy.allow), Some(&agent.allow), agent_for_provider.map(|policy| &policy.allow)];
    for list in lists.into_iter().flatten().map(Vec::as_slice).chain([request]).filter(|list| !list.is_empty()) {
        tools.retain(|tool| list.iter().any(|name| matches(name, tool)));
    }
    let named = |list: &[String], tool: &str| list.iter().any(|name| matches(name, tool));
    tools.retain(|tool| !named(&agent.deny, tool));
    tools.extend(registry.iter().filter(|tool| named(&global.also_allow, tool) || named(&agent.also_allow, tool)));
    // What the operator denies, an agent cannot give itself back.
    tools.retain(|tool| !named(&global.deny, tool) || named(&global.also_allow, tool));
    tools
}

fn matches(entry: &str, tool: &str) -> bool {
    let Some(group) = entry.strip_prefix("group:") else { return canonical(entry) == tool };
    if group == "goclaw" {
        return GOCLAW_EXTRA.contains(&tool) || GOCLAW_GROUPS.iter().any(|group| in_group(group, tool));
    }
    in_group(group, tool)
}

fn in_group(group: &str, tool: &str) -> bool {
    GROUPS.iter().any(|(name, tools)| *name == group && tools.contains(&tool))
}

/// The tool name behind what a model called, with the agent's prefix taken off. What does not match stays as it is.
#[must_use]
pub fn without_prefix<'n>(prefix: &str, called: &'n str) -> &'n str {
    if prefix.is_empty() {
        return called;
    }
    let name = if let Some((before, after)) = prefix.split_once("{tool_name}") {
        called.strip_prefix(before).and_then(|rest| rest.strip_suffix(after))
    } else {
        called.strip_prefix(prefix).map(|rest| rest.strip_prefix('_').unwrap_or(rest))
    };
    name.filter(|name| !name.is_empty()).unwrap_or(called)
}

/// The name that a model is told: the tool's, with the agent's prefix put on.
#[must_use]
pub fn with_prefix(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else if prefix.contains("{tool_name}") {
        prefix.replace("{tool_name}", name)
    } else {
        format!("{}_{name}", prefix.trim_end_matches('_'))
    }
}

/// The policy in an agent's `tools_config`. What cannot be read restricts nothing; the prefix is cleaned.
#[must_use]
pub fn of_agent(tools_config: &goclaw_ports::JsonObject) -> ToolPolicy {
    let mut policy: ToolPolicy = serde_json::from_value(tools_config.clone().into()).unwrap_or_default();
    policy.tool_call_prefix.retain(|c| matches!(c, 'a'..='z' | '0'..='9' | '_' | '{' | '}'));
    policy
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    const TOOLS: &[&str] = &["read_file", "write_file", "edit", "list_files", "exec", "web_fetch", "datetime"];

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn allow_restricts_deny_removes_and_also_allow_wins() {
        let agent = ToolPolicy { allow: names(&["group:fs"]), deny: names(&["write_file"]), also_allow: names(&["web_fetch"]), ..ToolPolicy::default() };
        let tools = allowed(TOOLS.iter().copied(), &ToolPolicy::default(), &agent, "openai", &[]);
        assert_eq!(tools.into_iter().collect::<Vec<_>>(), ["edit", "list_files", "read_file", "web_fetch"]);
    }

    #[test]
    fn a_provider_may_have_a_profile_of_its_own() {
        let coding = ToolPolicy { profile: "coding".into(), ..ToolPolicy::default() };
        let global = ToolPolicy { profile: "minimal".into(), by_provider: BTreeMap::from([("openai".into(), coding)]), ..ToolPolicy::default() };
        assert!(allowed(TOOLS.iter().copied(), &global, &ToolPolicy::default(), "openai", &[]).contains("exec"));
        assert!(allowed(TOOLS.iter().copied(), &global, &ToolPolicy::default(), "groq", &[]).is_empty());
    }

    #[test]
    fn an_alias_in_a_list_means_the_real_tool() {
        let agent = ToolPolicy { deny: names(&["Bash"]), ..ToolPolicy::default() };
        assert!(!allowed(TOOLS.iter().copied(), &ToolPolicy::default(), &agent, "p", &[]).contains("exec"));
    }

    #[rstest]
    #[case("proxy_{tool_name}", "proxy_exec", "exec")]
    #[case("proxy", "proxy__exec", "_exec")]
    #[case("proxy_", "proxy_", "proxy_")]
    #[case("", "exec", "exec")]
    #[case("proxy_{tool_name}", "exec", "exec")]
    fn the_prefix_is_taken_off(#[case] prefix: &str, #[case] called: &str, #[case] name: &str) {
        assert_eq!(without_prefix(prefix, called), name);
    }

    fn policy() -> impl Strategy<Value = ToolPolicy> {
        let entry = prop_oneof![
            proptest::sample::select(TOOLS.to_vec()).prop_map(str::to_owned),
            proptest::sample::select(vec!["group:fs", "group:web", "group:goclaw", "group:nope", "Bash"]).prop_map(str::to_owned),
        ];
        let list = proptest::collection::vec(entry, 0..4);
        (proptest::sample::select(vec!["", "minimal", "coding", "full", "odd"]), list.clone(), list.clone(), list)
            .prop_map(|(profile, allow, deny, also_allow)| ToolPolicy { profile: profile.into(), allow, deny, also_allow, ..ToolPolicy::default() })
    }

    proptest! {
        #[test]
        fn nothing_is_allowed_that_is_not_there(global in policy(), agent in policy()) {
            let tools = allowed(TOOLS.iter().copied(), &global, &agent, "p", &[]);
            prop_assert!(tools.iter().all(|tool| TOOLS.contains(tool)));
        }

        #[test]
        fn what_is_denied_and_not_added_back_is_never_allowed(global in policy(), agent in policy()) {
            let tools = allowed(TOOLS.iter().copied(), &global, &agent, "p", &[]);
            for tool in TOOLS {
                let named = |list: &[String]| list.iter().any(|name| matches(name, tool));
                let denied = named(&global.deny) || (named(&agent.deny) && !named(&agent.also_allow));
                prop_assert!(!denied || named(&global.also_allow) || !tools.contains(tool));
            }
        }

        #[test]
        fn a_prefix_that_is_put_on_comes_off(name in "[a-z][a-z_]{0,12}[a-z]", prefix in "[a-z]{1,6}(_\\{tool_name\\}(_[a-z]{1,3})?)?") {
            let called = with_prefix(&prefix, &name);
            prop_assert_eq!(without_prefix(&prefix, &called), name);
        }
    }
}
