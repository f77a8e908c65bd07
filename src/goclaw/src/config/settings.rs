//! The configuration in the words of the core and of the adapters.

use super::{
    Config, edition,
    schema::{
        agents::{Compaction, ContextPruning, PruneMode, Subagents},
        gateway::{DropWord, InjectionWord, QueueWord, Quota, Window},
        providers::AcpPermission,
        services::ModelPrice,
        tools::{ExecAsk, ExecSecurity, FetchWord, Profile},
        values::{Int, Limit, Real},
    },
};
use goclaw_core::{
    compaction::CompactionSettings,
    policy::ToolPolicy,
    presets::{PRESETS, Preset},
    pricing::Price,
    providers::ConfiguredProvider,
    prune::{HardClear, PruneSettings, SoftTrim},
    quotas::{QuotaLimits, QuotaSettings},
    runs::{
        lanes::LaneSizes,
        queue::{DropPolicy, QueueMode, QueueSettings},
    },
    settings::{AgentDefaults, GatewaySettings, InjectionAction, Settings, SocketTimes, SubagentSettings, ToolSettings},
    traces::{PREVIEW, VERBOSE_PREVIEW},
};
use goclaw_gateway::HttpTimes;
use goclaw_llm::OAuthOptions;
use goclaw_ports::JsonObject;
use goclaw_tools::{Ask, ExecApproval, FetchPolicy, Security, WebFetchOptions};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};

impl Config {
    /// What use cases read.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let pricing = self.file.telemetry.model_pricing.iter().map(|(model, price)| (model.clone(), price_of(price))).collect();
        Settings {
            data_dir: self.data_dir.clone(),
            gateway: self.gateway_settings(),
            agents: self.agent_defaults(),
            tools: self.tool_settings(),
            speech: self.speech_settings(),
            pricing,
            trace_days: limit(self.file.telemetry.trace_days, 7).unwrap_or(0),
            trace_preview: if self.environment.flag("GOCLAW_TRACE_VERBOSE") { VERBOSE_PREVIEW } else { PREVIEW },
            lanes: self.lanes(),
            edition: edition::describe(self.edition, self.file.edition.as_ref()),
        }
    }

    fn gateway_settings(&self) -> GatewaySettings {
        let gateway = &self.file.gateway;
        GatewaySettings {
            token: gateway.token.as_deref().cloned(),
            owner_ids: if gateway.owner_ids.is_empty() { vec!["system".to_owned()] } else { gateway.owner_ids.to_vec() },
            allowed_origins: gateway.allowed_origins.to_vec(),
            max_message_chars: limit(gateway.max_message_chars, 32_000).map_or(usize::MAX, |limit| limit as usize),
            rate_limit_rpm: limit(gateway.rate_limit_rpm, 20).unwrap_or(0),
            injection_action: match gateway.injection_action {
                Some(InjectionWord::Off) => InjectionAction::Off,
                Some(InjectionWord::Log) => InjectionAction::Log,
                Some(InjectionWord::Warn) | None => InjectionAction::Warn,
                Some(InjectionWord::Block) => InjectionAction::Block,
            },
            trusted_proxies: self.file.security.trusted_proxies.to_vec(),
            tailnet: self.tailscale().is_some(),
            queue: self.queue(),
            sockets: SocketTimes {
                ping: millis(gateway.ws_ping_interval_ms).unwrap_or(SocketTimes::default().ping),
                connect: millis(gateway.ws_connect_timeout_ms).unwrap_or(SocketTimes::default().connect),
            },
            quota: gateway.quota.as_ref().map(quota).unwrap_or_default(),
            media_quota_mb: or(gateway.media_quota_mb.map(|size| size.get()), 0),
        }
    }

    /// How long clients may take over their requests.
    #[must_use]
    pub fn http_times(&self) -> HttpTimes {
        let (gateway, built_in) = (&self.file.gateway, HttpTimes::default());
        HttpTimes {
            head: millis(gateway.http_head_timeout_ms).unwrap_or(built_in.head),
            body: millis(gateway.http_body_timeout_ms).unwrap_or(built_in.body),
            idle: millis(gateway.http_idle_timeout_ms).unwrap_or(built_in.idle),
        }
    }

    fn queue(&self) -> QueueSettings {
        let (section, built_in) = (&self.file.gateway.queue, QueueSettings::default());
        QueueSettings {
            mode: match section.mode {
                Some(QueueWord::Interrupt) => QueueMode::Interrupt,
                Some(QueueWord::Queue | QueueWord::Followup) | None => built_in.mode,
            },
            cap: section.cap.map_or(built_in.cap, |cap| usize::try_from(cap.get()).unwrap_or(built_in.cap)),
            drop: match section.drop {
                Some(DropWord::New) => DropPolicy::New,
                Some(DropWord::Old) | None => built_in.drop,
            },
        }
    }

    fn lanes(&self) -> LaneSizes {
        let (section, built_in) = (&self.file.gateway.lanes, LaneSizes::default());
        LaneSizes {
            main: or(section.main.map(|size| size.get()), built_in.main),
            subagent: or(section.subagent.map(|size| size.get()), built_in.subagent),
            team: or(section.team.map(|size| size.get()), built_in.team),
            cron: or(section.cron.map(|size| size.get()), built_in.cron),
        }
    }

    fn agent_defaults(&self) -> AgentDefaults {
        let defaults = &self.file.agents.defaults;
        let text = |value: &Option<String>, built_in: &str| value.clone().unwrap_or_else(|| built_in.to_owned());
        AgentDefaults {
            workspace: self.workspace.clone(),
            provider: text(&defaults.provider, "anthropic"),
            model: text(&defaults.model, "claude-sonnet-4-5-20250929"),
            max_tokens: or(defaults.max_tokens.map(|tokens| tokens.get()), 8192),
            temperature: defaults.temperature.map_or(0.7, Real::get),
            max_tool_iterations: or(defaults.max_tool_iterations.map(|iterations| iterations.get()), 30),
            context_window: or(defaults.context_window.map(|tokens| tokens.get()), 200_000),
            max_tool_calls: limit(defaults.max_tool_calls, 25).unwrap_or(0),
            pruning: pruning(&defaults.context_pruning),
            compaction: compaction(&defaults.compaction),
            bootstrap_max_chars: or(defaults.bootstrap_max_chars.map(|chars| chars.get()), 20_000),
            bootstrap_total_max_chars: or(defaults.bootstrap_total_max_chars.map(|chars| chars.get()), 24_000),
            onboarding: defaults.onboarding.unwrap_or(true),
            subagents: subagents(&defaults.subagents),
        }
    }

    fn tool_settings(&self) -> ToolSettings {
        let tools = &self.file.tools;
        ToolSettings {
            policy: ToolPolicy {
                profile: tools.profile.map(Profile::as_str).unwrap_or_default().to_owned(),
                allow: tools.allow.to_vec(),
                deny: tools.deny.to_vec(),
                also_allow: tools.also_allow.to_vec(),
                by_provider: tools.by_provider.iter().map(|(provider, policy)| (provider.clone(), policy.into())).collect(),
                tool_call_prefix: String::new(),
            },
            rate_limit_per_hour: limit(tools.rate_limit_per_hour, 150).unwrap_or(0),
            scrub_credentials: tools.scrub_credentials.unwrap_or(true),
            shell_deny_groups: tools.shell_deny_groups.clone(),
        }
    }

    /// The providers that the file, the secret store and the environment name, in the order of the presets: those with a key or
    /// a base URL.
    #[must_use]
    pub fn providers(&self) -> Vec<ConfiguredProvider> {
        let trimmed = |text: &str| text.trim_end_matches('/').to_owned();
        PRESETS
            .iter()
            .filter(|preset| !preset.config_key.is_empty())
            .filter_map(|preset| {
                if matches!(preset.config_key, "claude_cli" | "acp") {
                    return self.program(preset);
                }
                let (api_key, api_base) = if preset.config_key == "ollama" {
                    let ollama = &self.file.providers.ollama;
                    let host = ollama.host.as_deref().map(|host| {
                        let host = trimmed(host);
                        if host.ends_with("/v1") { host } else { format!("{host}/v1") }
                    });
                    (ollama.api_key.as_ref(), ollama.api_base.as_deref().map(trimmed).or(host))
                } else {
                    let (api_key, api_base) = self.file.providers.get(preset.config_key)?;
                    (api_key, api_base.map(trimmed))
                };
                // A base without a key counts as well: stored providers of the type use it.
                (api_key.is_some() || api_base.is_some()).then(|| ConfiguredProvider {
                    name: preset.name.to_owned(),
                    provider_type: preset.provider_type.to_owned(),
                    api_base: api_base.unwrap_or_default(),
                    api_key: api_key.map(|key| (**key).clone()),
                    default_model: String::new(),
                    settings: JsonObject::new(),
                })
            })
            .collect()
    }

    /// Where people sign in to ChatGPT accounts.
    #[must_use]
    pub fn oauth(&self) -> OAuthOptions {
        let section = &self.file.providers.chatgpt_oauth;
        let given = |text: &Option<String>| text.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        let usual = OAuthOptions::default();
        OAuthOptions {
            authorize_url: given(&section.authorize_url).unwrap_or(usual.authorize_url),
            token_url: given(&section.token_url).unwrap_or(usual.token_url),
            callback_port: section.callback_port.filter(|port| *port > 0).unwrap_or(usual.callback_port),
        }
    }

    /// A provider that is a program of this machine, if the configuration says something of it.
    fn program(&self, preset: &Preset) -> Option<ConfiguredProvider> {
        let providers = &self.file.providers;
        let (program, model, settings) = if preset.config_key == "claude_cli" {
            let cli = &providers.claude_cli;
            let work_dir = cli.base_work_dir.as_deref().map(|path| self.environment.path(path).to_string_lossy().into_owned());
            (&cli.cli_path, &cli.model, json!({"perm_mode": cli.perm_mode, "work_dir": work_dir}))
        } else {
            let acp = &providers.acp;
            let work_dir = acp.work_dir.as_deref().map(|path| self.environment.path(path).to_string_lossy().into_owned());
            let perm_mode = acp.perm_mode.map(AcpPermission::as_str);
            (&acp.binary, &acp.model, json!({"args": *acp.args, "perm_mode": perm_mode, "work_dir": work_dir, "idle_ttl": acp.idle_ttl}))
        };
        let said = settings
            .as_object()
            .is_some_and(|settings| settings.values().any(|value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty())));
        (program.is_some() || model.is_some() || said).then(|| ConfiguredProvider {
            name: preset.name.to_owned(),
            provider_type: preset.provider_type.to_owned(),
            api_base: program.clone().unwrap_or_default(),
            api_key: None,
            default_model: model.clone().unwrap_or_default(),
            settings: settings.as_object().cloned().unwrap_or_default(),
        })
    }

    /// The private hosts that tools and providers may reach.
    #[must_use]
    pub fn private_hosts(&self) -> Vec<String> {
        self.file.security.allow_private_hosts.to_vec()
    }

    /// Which commands run without asking.
    #[must_use]
    pub fn exec_approval(&self) -> ExecApproval {
        let section = &self.file.tools.exec_approval;
        let security = match section.security {
            Some(ExecSecurity::Full) | None => Security::Full,
            Some(ExecSecurity::Allowlist) => Security::Allowlist,
            Some(ExecSecurity::Deny) => Security::Deny,
        };
        let ask = match section.ask {
            Some(ExecAsk::Off) | None => Ask::Off,
            Some(ExecAsk::OnMiss) => Ask::OnMiss,
            Some(ExecAsk::Always) => Ask::Always,
        };
        ExecApproval { security, ask, allowlist: section.allowlist.to_vec() }
    }

    /// Which pages may be fetched.
    #[must_use]
    pub fn web_fetch(&self) -> WebFetchOptions {
        let section = &self.file.tools.web_fetch;
        let policy = match section.policy {
            Some(FetchWord::AllowAll) | None => FetchPolicy::AllowAll,
            Some(FetchWord::Allowlist) => FetchPolicy::Allowlist,
        };
        WebFetchOptions { policy, allowed_domains: section.allowed_domains.to_vec(), blocked_domains: section.blocked_domains.to_vec() }
    }
}

fn compaction(section: &Compaction) -> CompactionSettings {
    let built_in = CompactionSettings::default();
    CompactionSettings {
        max_history_share: section.max_history_share.map(Real::get).filter(|share| *share > 0.0).unwrap_or(built_in.max_history_share),
        keep_last_messages: section.keep_last_messages.and_then(|count| usize::try_from(count.get()).ok()).unwrap_or(built_in.keep_last_messages),
    }
}

fn subagents(section: &Subagents) -> SubagentSettings {
    let built_in = SubagentSettings::default();
    SubagentSettings {
        max_concurrent: or(section.max_concurrent.map(|count| count.get()), built_in.max_concurrent),
        max_spawn_depth: or(section.max_spawn_depth.map(|depth| depth.get()), built_in.max_spawn_depth),
        max_children_per_agent: or(section.max_children_per_agent.map(|count| count.get()), built_in.max_children_per_agent),
        archive_after_minutes: or(section.archive_after_minutes.map(|minutes| minutes.get()), built_in.archive_after_minutes),
        max_retries: section.max_retries.map_or(built_in.max_retries, |count| u32::try_from(count.get()).unwrap_or_default()),
        model: section.model.clone().unwrap_or_default(),
    }
}

fn pruning(section: &ContextPruning) -> PruneSettings {
    let built_in = PruneSettings::default();
    let (trim, clear) = (&section.soft_trim, &section.hard_clear);
    let size = |value: Option<i64>, built_in: usize| value.and_then(|value| usize::try_from(value).ok()).unwrap_or(built_in);
    PruneSettings {
        mode: match section.mode {
            Some(PruneMode::Off) => "off".to_owned(),
            Some(PruneMode::CacheTtl) | None => built_in.mode,
        },
        keep_last_assistants: size(section.keep_last_assistants.map(|count| count.get()), built_in.keep_last_assistants),
        soft_trim_ratio: section.soft_trim_ratio.map_or(built_in.soft_trim_ratio, Real::get),
        hard_clear_ratio: section.hard_clear_ratio.map_or(built_in.hard_clear_ratio, Real::get),
        min_prunable_tool_chars: size(section.min_prunable_tool_chars.map(|chars| chars.get()), built_in.min_prunable_tool_chars),
        soft_trim: SoftTrim {
            max_chars: size(trim.max_chars.map(|chars| chars.get()), built_in.soft_trim.max_chars),
            head_chars: size(trim.head_chars.map(|chars| chars.get()), built_in.soft_trim.head_chars),
            tail_chars: size(trim.tail_chars.map(|chars| chars.get()), built_in.soft_trim.tail_chars),
        },
        hard_clear: HardClear {
            enabled: clear.enabled.unwrap_or(built_in.hard_clear.enabled),
            placeholder: clear.placeholder.clone().unwrap_or(built_in.hard_clear.placeholder),
        },
    }
}

/// A number that is there and not 0, else the built-in one.
pub(super) fn or<T: TryFrom<i64>>(value: Option<i64>, built_in: T) -> T {
    value.filter(|value| *value > 0).and_then(|value| T::try_from(value).ok()).unwrap_or(built_in)
}

fn millis<const MIN: i64, const MAX: i64>(value: Option<Int<MIN, MAX>>) -> Option<Duration> {
    value.and_then(|number| u64::try_from(number.get()).ok()).map(Duration::from_millis)
}

/// A limit: absence means the built-in one, 0 and less mean none.
fn limit(value: Option<Limit>, built_in: u32) -> Option<u32> {
    match value.map(|value| value.get()) {
        None => Some(built_in),
        Some(value) if value <= 0 => None,
        Some(value) => Some(u32::try_from(value).unwrap_or(u32::MAX)),
    }
}

fn quota(section: &Quota) -> QuotaSettings {
    let requests = |window: Option<Limit>| limit(window, 0).unwrap_or(0);
    let limits = |window: &Window| QuotaLimits { hour: requests(window.hour), day: requests(window.day), week: requests(window.week) };
    let by_name = |windows: &BTreeMap<String, Window>| windows.iter().map(|(name, window)| (name.clone(), limits(window))).collect();
    QuotaSettings {
        enabled: section.enabled.unwrap_or(false),
        default: section.default.as_ref().map(limits).unwrap_or_default(),
        providers: by_name(&section.providers),
        channels: by_name(&section.channels),
        groups: by_name(&section.groups),
    }
}

fn price_of(price: &ModelPrice) -> Price {
    Price {
        input: price.input_per_million.map_or(0.0, Real::get),
        output: price.output_per_million.map_or(0.0, Real::get),
        cache_read: price.cache_read_per_million.map_or(0.0, Real::get),
        cache_create: price.cache_create_per_million.map_or(0.0, Real::get),
    }
}
