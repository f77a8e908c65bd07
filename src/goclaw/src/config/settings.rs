//! The configuration in the words of the core and of the adapters.

use super::{Config, ConfigError, edition};
use goclaw_core::{
    policy::ToolPolicy,
    presets::PRESETS,
    pricing::Price,
    providers::ConfiguredProvider,
    settings::{AgentDefaults, GatewaySettings, InjectionAction, Settings, ToolSettings},
};
use goclaw_tools::{Ask, ExecApproval, FetchPolicy, Security, WebFetchOptions};

impl Config {
    /// What use cases read.
    ///
    /// # Errors
    /// Names the path of a value that makes no sense.
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        Ok(Settings {
            data_dir: self.data_dir.clone(),
            gateway: self.gateway_settings()?,
            agents: self.agent_defaults(),
            tools: self.tool_settings(),
            pricing: self.file.telemetry.model_pricing.iter().map(|(model, price)| (model.clone(), price_of(*price))).collect(),
            edition: edition::describe(self.edition, self.file.edition.as_ref()),
        })
    }

    fn gateway_settings(&self) -> Result<GatewaySettings, ConfigError> {
        let gateway = &self.file.gateway;
        let injection_action = match gateway.injection_action.as_deref().unwrap_or_default() {
            "off" => InjectionAction::Off,
            "log" => InjectionAction::Log,
            "warn" | "" => InjectionAction::Warn,
            "block" => InjectionAction::Block,
            other => {
                let detail = format!("unknown action {other:?}; it must be off, log, warn or block");
                return Err(ConfigError::Value { source_name: "gateway.injection_action", detail });
            }
        };
        Ok(GatewaySettings {
            token: gateway.token.clone(),
            owner_ids: if gateway.owner_ids.is_empty() { vec!["system".to_owned()] } else { gateway.owner_ids.clone() },
            allowed_origins: gateway.allowed_origins.clone(),
            max_message_chars: limit(gateway.max_message_chars, 32_000).map_or(usize::MAX, |limit| limit as usize),
            rate_limit_rpm: limit(gateway.rate_limit_rpm, 20).unwrap_or(0),
            injection_action,
            trusted_proxies: self.file.security.trusted_proxies.clone(),
        })
    }

    fn agent_defaults(&self) -> AgentDefaults {
        let defaults = &self.file.agents.defaults;
        let text = |value: &Option<String>, built_in: &str| value.clone().filter(|text| !text.is_empty()).unwrap_or_else(|| built_in.to_owned());
        AgentDefaults {
            workspace: self.workspace.clone(),
            provider: text(&defaults.provider, "anthropic"),
            model: text(&defaults.model, "claude-sonnet-4-5-20250929"),
            max_tokens: defaults.max_tokens.filter(|tokens| *tokens > 0).unwrap_or(8192),
            temperature: defaults.temperature.unwrap_or(0.7),
            max_tool_iterations: defaults.max_tool_iterations.filter(|iterations| *iterations > 0).unwrap_or(30),
            context_window: defaults.context_window.filter(|tokens| *tokens > 0).unwrap_or(200_000),
            max_tool_calls: limit(defaults.max_tool_calls, 25).unwrap_or(0),
            pruning: defaults.context_pruning.clone().unwrap_or_default(),
            bootstrap_max_chars: defaults.bootstrap_max_chars.filter(|chars| *chars > 0).unwrap_or(20_000),
            bootstrap_total_max_chars: defaults.bootstrap_total_max_chars.filter(|chars| *chars > 0).unwrap_or(24_000),
        }
    }

    fn tool_settings(&self) -> ToolSettings {
        let tools = &self.file.tools;
        ToolSettings {
            policy: ToolPolicy {
                profile: tools.profile.clone(),
                allow: tools.allow.clone(),
                deny: tools.deny.clone(),
                also_allow: tools.also_allow.clone(),
                by_provider: tools.by_provider.clone(),
                tool_call_prefix: String::new(),
            },
            rate_limit_per_hour: limit(tools.rate_limit_per_hour, 150).unwrap_or(0),
            scrub_credentials: tools.scrub_credentials.unwrap_or(true),
            shell_deny_groups: tools.shell_deny_groups.clone(),
        }
    }

    /// The providers that the file and the environment name, in the order of the presets: those with a key or a base URL.
    #[must_use]
    pub fn providers(&self) -> Vec<ConfiguredProvider> {
        PRESETS
            .iter()
            .filter(|preset| !preset.config_key.is_empty() && !matches!(preset.provider_type, "claude_cli" | "acp"))
            .filter_map(|preset| Some((preset, self.file.providers.get(preset.config_key)?)))
            .filter_map(|(preset, section)| {
                let given = |value: &Option<String>| value.clone().map(|text| text.trim_end_matches('/').to_owned()).filter(|text| !text.is_empty());
                let host = given(&section.host).map(|host| if host.ends_with("/v1") { host } else { format!("{host}/v1") });
                let api_base = given(&section.api_base).or(host);
                // A base without a key counts as well: stored providers of the type use it.
                (section.api_key.is_some() || api_base.is_some()).then(|| ConfiguredProvider {
                    name: preset.name.to_owned(),
                    provider_type: preset.provider_type.to_owned(),
                    api_base: api_base.unwrap_or_default(),
                    api_key: section.api_key.clone(),
                    default_model: String::new(),
                })
            })
            .collect()
    }

    /// The private hosts that tools and providers may reach.
    #[must_use]
    pub fn private_hosts(&self) -> Vec<String> {
        self.file.security.allow_private_hosts.clone()
    }

    /// Which commands run without asking.
    ///
    /// # Errors
    /// Names the path of an unknown word.
    pub fn exec_approval(&self) -> Result<ExecApproval, ConfigError> {
        let section = &self.file.tools.exec_approval;
        let security = match section.security.as_deref().unwrap_or_default() {
            "full" | "" => Security::Full,
            "allowlist" => Security::Allowlist,
            "deny" => Security::Deny,
            other => return Err(unknown("tools.execApproval.security", other, "deny, allowlist or full")),
        };
        let ask = match section.ask.as_deref().unwrap_or_default() {
            "off" | "" => Ask::Off,
            "on-miss" => Ask::OnMiss,
            "always" => Ask::Always,
            other => return Err(unknown("tools.execApproval.ask", other, "off, on-miss or always")),
        };
        Ok(ExecApproval { security, ask, allowlist: section.allowlist.clone() })
    }

    /// Which pages may be fetched.
    ///
    /// # Errors
    /// Names the path of an unknown word.
    pub fn web_fetch(&self) -> Result<WebFetchOptions, ConfigError> {
        let section = &self.file.tools.web_fetch;
        let policy = match section.policy.as_deref().unwrap_or_default() {
            "allow_all" | "" => FetchPolicy::AllowAll,
            "allowlist" => FetchPolicy::Allowlist,
            other => return Err(unknown("tools.web_fetch.policy", other, "allow_all or allowlist")),
        };
        Ok(WebFetchOptions { policy, allowed_domains: section.allowed_domains.clone(), blocked_domains: section.blocked_domains.clone() })
    }
}

fn unknown(source_name: &'static str, word: &str, choices: &str) -> ConfigError {
    ConfigError::Value { source_name, detail: format!("unknown value {word:?}; it must be {choices}") }
}

/// A limit: absence means the built-in one, 0 and less mean none.
fn limit(value: Option<i64>, built_in: u32) -> Option<u32> {
    match value {
        None => Some(built_in),
        Some(value) if value <= 0 => None,
        Some(value) => Some(u32::try_from(value).unwrap_or(u32::MAX)),
    }
}

fn price_of(price: super::file::ModelPrice) -> Price {
    Price {
        input: price.input_per_million,
        output: price.output_per_million,
        cache_read: price.cache_read_per_million,
        cache_create: price.cache_create_per_million,
    }
}
