use super::{Config, edition::EditionName, environment::Environment, first_start::TokenSource};
use goclaw_core::settings::InjectionAction;
use goclaw_ports::{
    TenantId,
    sealer::{Place, Sealer},
};
use secrecy::{ExposeSecret, SecretString};
use std::{
    collections::HashMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A home of its own, with a configuration file if `text` is not empty.
struct Home {
    directory: TempDir,
}

impl Home {
    fn with(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        if !text.is_empty() {
            fs::write(directory.path().join("config.json"), text).unwrap();
        }
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn load<const N: usize>(&self, variables: [(&str, &str); N]) -> Config {
        self.try_load(variables).unwrap()
    }

    fn try_load<const N: usize>(&self, variables: [(&str, &str); N]) -> Result<Config, super::ConfigError> {
        let home = self.directory.path().to_str().unwrap().to_owned();
        let mut environment = Environment::from(variables);
        environment.insert("HOME", &home);
        Config::load(Some(&self.path("config.json")), environment)
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn without_a_file_the_built_in_defaults_hold() {
    let home = Home::with("");
    let config = home.load([]);
    let settings = config.settings();
    assert!(!config.found);
    assert_eq!(config.edition, EditionName::Lite);
    assert_eq!((config.host(), config.port()), ("127.0.0.1", 18790));
    assert_eq!(config.data_dir, home.path(".goclaw/data"));
    assert_eq!(settings.agents.workspace, home.path(".goclaw/workspace"));
    assert_eq!((settings.agents.provider.as_str(), settings.agents.model.as_str()), ("anthropic", "claude-sonnet-4-5-20250929"));
    assert_eq!((settings.agents.max_tokens, settings.agents.context_window), (8192, 200_000));
    assert_eq!((settings.agents.max_tool_iterations, settings.agents.max_tool_calls), (30, 25));
    assert_eq!((settings.gateway.rate_limit_rpm, settings.gateway.max_message_chars), (20, 32_000));
    assert_eq!(settings.gateway.owner_ids, ["system"]);
    assert_eq!(settings.gateway.injection_action, InjectionAction::Warn);
    assert_eq!((settings.tools.rate_limit_per_hour, settings.tools.scrub_credentials), (150, true));
    assert!(settings.gateway.token.is_none() && config.providers().is_empty());
}

#[test]
fn the_file_wins_over_defaults_and_the_environment_over_the_file() {
    let home = Home::with(
        r#"{
            data_dir: "~/elsewhere",
            gateway: { host: "10.0.0.1", port: 1000, token: "from-file", owner_ids: ["ana"], allowed_origins: ["https://a"] },
            providers: { groq: { api_key: "file-key", api_base: "http://groq/" }, ollama: { host: "http://gpu:11434" } },
            agents: { defaults: { provider: "groq" } },
        }"#,
    );
    let config = home.load([]);
    assert_eq!((config.host(), config.port()), ("10.0.0.1", 1000));
    assert_eq!(config.data_dir, home.path("elsewhere"));
    let providers = config.providers();
    assert_eq!(
        providers.iter().map(|provider| (provider.name.as_str(), provider.api_base.as_str())).collect::<Vec<_>>(),
        [("groq", "http://groq"), ("ollama", "http://gpu:11434/v1")]
    );

    let config = home.load([
        ("GOCLAW_HOST", "0.0.0.0"),
        ("GOCLAW_PORT", "2000"),
        ("GOCLAW_GATEWAY_TOKEN", "from-environment"),
        ("GOCLAW_OWNER_IDS", "bob, eve"),
        ("GOCLAW_ALLOWED_ORIGINS", ""),
        ("GOCLAW_ALLOW_PRIVATE_HOSTS", "a.internal,10.0.0.5:8080"),
        ("GOCLAW_GROQ_API_KEY", "environment-key"),
        ("GOCLAW_ZAI_CODING_API_KEY", "zai-key"),
        ("GOCLAW_PROVIDER", "openai"),
        ("GOCLAW_MODEL", "gpt-4o"),
        ("GOCLAW_DATA_DIR", "/srv/goclaw"),
    ]);
    let settings = config.settings();
    assert_eq!((config.host(), config.port()), ("0.0.0.0", 2000));
    assert_eq!(settings.gateway.token.unwrap().expose_secret(), "from-environment");
    assert_eq!(settings.gateway.owner_ids, ["bob", "eve"]);
    assert_eq!(settings.gateway.allowed_origins, ["https://a"], "an empty variable is none");
    assert_eq!(config.private_hosts(), ["a.internal", "10.0.0.5:8080"]);
    assert_eq!((settings.agents.provider.as_str(), settings.agents.model.as_str()), ("groq", "gpt-4o"), "GOCLAW_PROVIDER only fills a gap");
    assert_eq!(config.data_dir, PathBuf::from("/srv/goclaw"));
    let providers = config.providers();
    let groq = providers.iter().find(|provider| provider.name == "groq").unwrap();
    assert_eq!(groq.api_key.as_ref().unwrap().expose_secret(), "environment-key");
    assert_eq!(groq.api_base, "http://groq", "what the variable does not say, the file says");
    assert!(providers.iter().any(|provider| provider.name == "zai-coding" && provider.provider_type == "zai_coding"));
}

#[test]
fn every_key_in_the_environment_makes_its_provider() {
    use goclaw_core::presets::PRESETS;
    for preset in PRESETS.iter().filter(|preset| !preset.key_variable.is_empty()) {
        let providers = Home::with("").load([(preset.key_variable, "key-of-the-operator")]).providers();
        let [provider] = &providers[..] else { panic!("{}: {} providers", preset.key_variable, providers.len()) };
        assert_eq!((provider.name.as_str(), provider.provider_type.as_str(), provider.api_base.as_str()), (preset.name, preset.provider_type, ""));
        assert_eq!(provider.api_key.as_ref().unwrap().expose_secret(), "key-of-the-operator");
    }
    for preset in PRESETS.iter().filter(|preset| !matches!(preset.config_key, "" | "claude_cli" | "acp")) {
        let file = format!("{{ providers: {{ {}: {{ api_key: 'k', api_base: 'http://proxy/v1/' }} }} }}", preset.config_key);
        let providers = Home::with(&file).load([]).providers();
        let told: Vec<_> = providers.iter().map(|provider| (provider.name.as_str(), provider.api_base.as_str())).collect();
        assert_eq!(told, [(preset.name, "http://proxy/v1")], "{}", preset.config_key);
    }
    for (variable, name, base) in [
        ("GOCLAW_ANTHROPIC_BASE_URL", "anthropic", "http://gpu:1/v1"),
        ("GOCLAW_OPENAI_BASE_URL", "openai", "http://gpu:1/v1"),
        ("GOCLAW_OLLAMA_CLOUD_API_BASE", "ollama-cloud", "http://gpu:1/v1"),
        ("GOCLAW_OLLAMA_HOST", "ollama", "http://gpu:1/v1"),
    ] {
        let host = if name == "ollama" { "http://gpu:1" } else { base };
        let providers = Home::with("").load([(variable, host)]).providers();
        assert_eq!(providers.iter().map(|provider| (provider.name.as_str(), provider.api_base.as_str())).collect::<Vec<_>>(), [(name, base)]);
    }
}

#[test]
fn traces_keep_more_where_the_operator_wants_to_see_more() {
    for (variables, bytes) in
        [([("GOCLAW_TRACE_VERBOSE", "")], 40_000), ([("GOCLAW_TRACE_VERBOSE", "false")], 40_000), ([("GOCLAW_TRACE_VERBOSE", "yes")], 200_000)]
    {
        assert_eq!(Home::with("").load(variables).settings().trace_preview, bytes);
    }
}

#[test]
fn the_secret_store_stands_between_file_and_environment() {
    let home = Home::with("{ gateway: { token: 'from-file' } }");
    let stored = HashMap::from([("gateway.token".to_owned(), SecretString::from("from-store"))]);
    let token = |mut config: Config| {
        config.overlay_secrets(&stored).unwrap();
        config.token().unwrap().expose_secret().to_owned()
    };
    assert_eq!(token(home.load([])), "from-store");
    assert_eq!(token(home.load([("GOCLAW_GATEWAY_TOKEN", "from-environment")])), "from-environment");
}

#[test]
fn an_explicit_zero_is_kept_and_switches_limits_off() {
    for zero in ["0", "-1"] {
        let home = Home::with(&format!(
            "{{ gateway: {{ rate_limit_rpm: {zero} }}, tools: {{ rate_limit_per_hour: {zero} }}, agents: {{ defaults: {{ max_tool_calls: {zero}, temperature: 0 }} }} }}"
        ));
        let settings = home.load([]).settings();
        assert_eq!((settings.gateway.rate_limit_rpm, settings.tools.rate_limit_per_hour, settings.agents.max_tool_calls), (0, 0, 0));
        assert!(settings.agents.temperature.abs() < f64::EPSILON);
    }
}

#[test]
fn nonsense_is_refused_with_its_place() {
    let refusal = |text: &str| Home::with(text).try_load([]).err().map(|error| error.to_string()).unwrap_or_default();
    for (text, place) in [
        ("{ gateway: { port: 'x' } }", "gateway.port: "),
        ("{ edition: 'enterprise' }", "edition: "),
        ("{ gateway: { injection_action: 'panic' } }", "gateway.injection_action: "),
        ("{ tools: { execApproval: { ask: 'maybe' } } }", "tools.execApproval.ask: "),
        ("{ tools: { web_fetch: { policy: 'none' } } }", "tools.web_fetch.policy: "),
        ("{ logging: { format: 'xml' } }", "logging.format: "),
        ("{ gateway: ", "line 1, "),
    ] {
        let refusal = refusal(text);
        assert!(refusal.contains(&format!("config.json: {place}")), "{refusal}");
    }
    let home = Home::with("");
    for (variable, value) in [("GOCLAW_PORT", "0"), ("GOCLAW_TELEMETRY_PROTOCOL", "smoke"), ("GOCLAW_LOG_FORMAT", "xml")] {
        let refusal = home.try_load([(variable, value)]).err().unwrap().to_string();
        assert!(refusal.contains(variable), "{refusal}");
    }
}

#[test]
fn the_first_start_of_lite_makes_private_files_and_the_second_keeps_them() {
    let home = Home::with("");
    let start = |sealed_before| {
        let mut config = home.load([]);
        config.make_directories().unwrap();
        let sealer = config.sealer(sealed_before).unwrap();
        let source = config.settle_token().unwrap();
        (sealer, source, config.token().unwrap().expose_secret().to_owned())
    };
    let place = Place { tenant: TenantId::MASTER, table: "t", column: "c", row: "r" };

    let (sealer, source, token) = start(false);
    let sealed = sealer.seal(place, &SecretString::from("x")).unwrap();
    let data = home.path(".goclaw/data");
    assert_eq!(mode(&data), 0o700);
    assert_eq!((mode(&data.join("encryption.key")), mode(&data.join("gateway.token"))), (0o600, 0o600));
    assert_eq!(fs::read_to_string(data.join("encryption.key")).unwrap().trim().len(), 64);
    assert_eq!(token.len(), 32);
    assert_eq!(source, TokenSource::File(data.join("gateway.token")));

    let (sealer, _, same) = start(true);
    assert_eq!(same, token);
    assert_eq!(sealer.open(place, &sealed).unwrap().expose_secret(), "x");
}

#[test]
fn a_configured_token_needs_no_file() {
    let home = Home::with("{ gateway: { token: 'mine' } }");
    for (variables, source) in [([("GOCLAW_GATEWAY_TOKEN", "")], TokenSource::Configuration), ([("GOCLAW_GATEWAY_TOKEN", "theirs")], TokenSource::Environment)]
    {
        let mut config = home.load(variables);
        config.make_directories().unwrap();
        assert_eq!(config.settle_token().unwrap(), source);
        assert!(!config.token_file().exists());
    }
}

#[test]
fn a_lost_key_is_not_replaced() {
    let home = Home::with("");
    let config = home.load([]);
    config.make_directories().unwrap();
    let refusal = config.sealer(true).unwrap_err().to_string();
    assert!(refusal.contains("their key is gone"), "{refusal}");
    assert!(!config.key_file().exists());
}

#[test]
fn standard_wants_a_key_and_listens_everywhere() {
    let home = Home::with("");
    let mut config = home.load([("GOCLAW_EDITION", "standard"), ("GOCLAW_POSTGRES_DSN", "postgres://db")]);
    config.make_directories().unwrap();
    assert!(config.sealer(false).unwrap_err().to_string().contains("GOCLAW_ENCRYPTION_KEY"));
    assert_eq!(config.settle_token().unwrap(), TokenSource::None);
    assert_eq!((config.host(), config.local_address().as_str()), ("0.0.0.0", "127.0.0.1:18790"));
    assert!(!config.key_file().exists() && !config.token_file().exists());
}

#[test]
fn what_does_nothing_is_said() {
    let home = Home::with("{ channels: { telegram: { enabled: true } } }");
    let warnings = home.load([("GOCLAW_TELEGRAM_TOKEN", "x")]).warnings().join("\n");
    assert!(warnings.contains("channels") && warnings.contains("GOCLAW_TELEGRAM_TOKEN"), "{warnings}");
}

#[test]
fn the_example_files_can_be_used() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    for (name, edition) in [("lite.json5", EditionName::Lite), ("standard.json5", EditionName::Standard)] {
        let config = Config::load(Some(&examples.join(name)), Environment::from([("HOME", "/home/ana")])).unwrap();
        assert!(config.found, "{name} is there");
        assert_eq!(config.edition, edition, "{name}");
        assert!(!config.settings().gateway.owner_ids.is_empty(), "{name}");
    }
}

#[test]
fn a_key_for_a_tailscale_network_counts_unless_it_is_in_the_file() {
    let home = Home::with(r#"{ tailscale: { hostname: " fox ", state_dir: "~/state", auth_key: "key-of-the-file" } }"#);
    let mut config = home.load([]);
    let options = config.tailscale().unwrap();
    assert_eq!((options.hostname.as_str(), options.state_dir, options.auth_key.is_none()), ("fox", home.path("state"), true));
    let warnings = config.warnings().join("\n");
    assert!(warnings.contains("GOCLAW_TSNET_AUTH_KEY") && !warnings.contains("key-of-the-file"), "{warnings}");

    let key = |config: &Config| config.tailscale().unwrap().auth_key.unwrap().expose_secret().to_owned();
    let stored = HashMap::from([("tailscale.auth_key".to_owned(), SecretString::from("key-of-the-store"))]);
    config.overlay_secrets(&stored).unwrap();
    assert_eq!(key(&config), "key-of-the-store");
    let mut config = home.load([("GOCLAW_TSNET_AUTH_KEY", "key-of-the-environment"), ("GOCLAW_TSNET_HOSTNAME", "owl")]);
    config.overlay_secrets(&stored).unwrap();
    assert_eq!((key(&config).as_str(), config.tailscale().unwrap().hostname.as_str()), ("key-of-the-environment", "owl"));
    assert!(Home::with("").load([]).tailscale().is_none());
}
