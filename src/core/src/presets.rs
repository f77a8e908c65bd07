//! The provider types that are known, with their usual addresses and models.

/// What is known of a provider type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// The type.
    pub provider_type: &'static str,
    /// Its key in the configuration file; "" if it has none.
    pub config_key: &'static str,
    /// The provider's name when it is made from the configuration.
    pub name: &'static str,
    /// The environment variable that holds its key; "" if there is none.
    pub key_variable: &'static str,
    /// Its usual base URL; "" if it has none.
    pub api_base: &'static str,
    /// The model that stands in where none is named; "" if the agent must name one.
    pub default_model: &'static str,
}

const fn preset_of(
    provider_type: &'static str,
    config_key: &'static str,
    name: &'static str,
    key_variable: &'static str,
    api_base: &'static str,
    default_model: &'static str,
) -> Preset {
    Preset { provider_type, config_key, name, key_variable, api_base, default_model }
}

/// Every accepted provider type. A type may be accepted (stored) before this build speaks it.
#[rustfmt::skip]
pub const PRESETS: &[Preset] = &[
    preset_of("anthropic_native", "anthropic", "anthropic", "GOCLAW_ANTHROPIC_API_KEY", "https://api.anthropic.com/v1", "claude-sonnet-4-5-20250929"),
    preset_of("openai_compat", "openai", "openai", "GOCLAW_OPENAI_API_KEY", "https://api.openai.com/v1", "gpt-4o"),
    preset_of("openrouter", "openrouter", "openrouter", "GOCLAW_OPENROUTER_API_KEY", "https://openrouter.ai/api/v1", "anthropic/claude-sonnet-4-5-20250929"),
    preset_of("groq", "groq", "groq", "GOCLAW_GROQ_API_KEY", "https://api.groq.com/openai/v1", "llama-3.3-70b-versatile"),
    preset_of("deepseek", "deepseek", "deepseek", "GOCLAW_DEEPSEEK_API_KEY", "https://api.deepseek.com/v1", "deepseek-chat"),
    preset_of("gemini_native", "gemini", "gemini", "GOCLAW_GEMINI_API_KEY", "https://generativelanguage.googleapis.com/v1beta/openai", "gemini-2.0-flash"),
    preset_of("mistral", "mistral", "mistral", "GOCLAW_MISTRAL_API_KEY", "https://api.mistral.ai/v1", "mistral-large-latest"),
    preset_of("xai", "xai", "xai", "GOCLAW_XAI_API_KEY", "https://api.x.ai/v1", "grok-3-mini"),
    preset_of("minimax_native", "minimax", "minimax", "GOCLAW_MINIMAX_API_KEY", "https://api.minimax.io/v1", "MiniMax-M2.5"),
    preset_of("cohere", "cohere", "cohere", "GOCLAW_COHERE_API_KEY", "https://api.cohere.ai/compatibility/v1", "command-a"),
    preset_of("perplexity", "perplexity", "perplexity", "GOCLAW_PERPLEXITY_API_KEY", "https://api.perplexity.ai", "sonar-pro"),
    preset_of("dashscope", "dashscope", "dashscope", "GOCLAW_DASHSCOPE_API_KEY", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "qwen3-max"),
    preset_of("bailian", "bailian", "bailian", "GOCLAW_BAILIAN_API_KEY", "https://coding-intl.dashscope.aliyuncs.com/v1", "qwen3.5-plus"),
    preset_of("zai", "zai", "zai", "GOCLAW_ZAI_API_KEY", "https://api.z.ai/api/paas/v4", "glm-5"),
    preset_of("zai_coding", "zai_coding", "zai-coding", "GOCLAW_ZAI_CODING_API_KEY", "https://api.z.ai/api/coding/paas/v4", "glm-5"),
    preset_of("ollama", "ollama", "ollama", "", "http://localhost:11434/v1", "llama3.3"),
    preset_of("ollama_cloud", "ollama_cloud", "ollama-cloud", "GOCLAW_OLLAMA_CLOUD_API_KEY", "https://ollama.com/v1", "llama3.3"),
    preset_of("novita", "novita", "novita", "", "https://api.novita.ai/openai", "moonshotai/kimi-k2.5"),
    preset_of("yescale", "", "yescale", "", "https://api.yescale.one/v1", ""),
    preset_of("suno", "", "suno", "", "https://api.sunoapi.org", ""),
    preset_of("chatgpt_oauth", "", "openai-codex", "", "https://chatgpt.com/backend-api", "gpt-5.4"),
    preset_of("claude_cli", "claude_cli", "claude-cli", "", "claude", "sonnet"),
    preset_of("acp", "acp", "acp", "", "claude", "claude"),
];

/// What is known of a provider type; `minimax` is another name of `minimax_native`.
#[must_use]
pub fn preset(provider_type: &str) -> Option<&'static Preset> {
    let provider_type = if provider_type == "minimax" { "minimax_native" } else { provider_type };
    PRESETS.iter().find(|preset| preset.provider_type == provider_type)
}

const SUNO: &[(&str, &str)] = &[("v4.5", "Suno V4.5"), ("v4", "Suno V4"), ("v3.5", "Suno V3.5")];
const CLAUDE_CLI: &[(&str, &str)] = &[("sonnet", "Sonnet"), ("opus", "Opus"), ("haiku", "Haiku")];
const ACP: &[(&str, &str)] = &[("claude", "Claude"), ("codex", "Codex"), ("gemini", "Gemini")];

/// The models, and what people call them, of providers that cannot be asked for them: programs, and a vendor of music, which no agent asks.
#[must_use]
pub fn fixed_models(provider_type: &str) -> Option<&'static [(&'static str, &'static str)]> {
    match provider_type {
        "suno" => Some(SUNO),
        "claude_cli" => Some(CLAUDE_CLI),
        "acp" => Some(ACP),
        _ => None,
    }
}

/// Types whose providers go by the type's usual name as well, where no other of the tenant's has it: agents of before name them so.
#[must_use]
pub(crate) fn type_called(name: &str) -> Option<&'static str> {
    let called = PRESETS.iter().find(|preset| preset.name == name).map(|preset| preset.provider_type);
    called.filter(|provider_type| matches!(*provider_type, "anthropic_native" | "claude_cli" | "acp"))
}

/// Whether the type works without a key.
#[must_use]
pub fn keyless(provider_type: &str) -> bool {
    matches!(provider_type, "ollama" | "claude_cli" | "acp")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("anthropic_native", "anthropic", "GOCLAW_ANTHROPIC_API_KEY", "https://api.anthropic.com/v1", "claude-sonnet-4-5-20250929")]
    #[case("openai_compat", "openai", "GOCLAW_OPENAI_API_KEY", "https://api.openai.com/v1", "gpt-4o")]
    #[case("openrouter", "openrouter", "GOCLAW_OPENROUTER_API_KEY", "https://openrouter.ai/api/v1", "anthropic/claude-sonnet-4-5-20250929")]
    #[case("groq", "groq", "GOCLAW_GROQ_API_KEY", "https://api.groq.com/openai/v1", "llama-3.3-70b-versatile")]
    #[case("deepseek", "deepseek", "GOCLAW_DEEPSEEK_API_KEY", "https://api.deepseek.com/v1", "deepseek-chat")]
    #[case("gemini_native", "gemini", "GOCLAW_GEMINI_API_KEY", "https://generativelanguage.googleapis.com/v1beta/openai", "gemini-2.0-flash")]
    #[case("mistral", "mistral", "GOCLAW_MISTRAL_API_KEY", "https://api.mistral.ai/v1", "mistral-large-latest")]
    #[case("xai", "xai", "GOCLAW_XAI_API_KEY", "https://api.x.ai/v1", "grok-3-mini")]
    #[case("minimax_native", "minimax", "GOCLAW_MINIMAX_API_KEY", "https://api.minimax.io/v1", "MiniMax-M2.5")]
    #[case("minimax", "minimax", "GOCLAW_MINIMAX_API_KEY", "https://api.minimax.io/v1", "MiniMax-M2.5")]
    #[case("cohere", "cohere", "GOCLAW_COHERE_API_KEY", "https://api.cohere.ai/compatibility/v1", "command-a")]
    #[case("perplexity", "perplexity", "GOCLAW_PERPLEXITY_API_KEY", "https://api.perplexity.ai", "sonar-pro")]
    #[case("dashscope", "dashscope", "GOCLAW_DASHSCOPE_API_KEY", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "qwen3-max")]
    #[case("bailian", "bailian", "GOCLAW_BAILIAN_API_KEY", "https://coding-intl.dashscope.aliyuncs.com/v1", "qwen3.5-plus")]
    #[case("zai", "zai", "GOCLAW_ZAI_API_KEY", "https://api.z.ai/api/paas/v4", "glm-5")]
    #[case("zai_coding", "zai-coding", "GOCLAW_ZAI_CODING_API_KEY", "https://api.z.ai/api/coding/paas/v4", "glm-5")]
    #[case("ollama", "ollama", "", "http://localhost:11434/v1", "llama3.3")]
    #[case("ollama_cloud", "ollama-cloud", "GOCLAW_OLLAMA_CLOUD_API_KEY", "https://ollama.com/v1", "llama3.3")]
    #[case("novita", "novita", "", "https://api.novita.ai/openai", "moonshotai/kimi-k2.5")]
    #[case("yescale", "yescale", "", "https://api.yescale.one/v1", "")]
    #[case("suno", "suno", "", "https://api.sunoapi.org", "")]
    #[case("chatgpt_oauth", "openai-codex", "", "https://chatgpt.com/backend-api", "gpt-5.4")]
    #[case("claude_cli", "claude-cli", "", "claude", "sonnet")]
    #[case("acp", "acp", "", "claude", "claude")]
    fn each_type_has_its_name_variable_base_and_model(
        #[case] provider_type: &str,
        #[case] name: &str,
        #[case] variable: &str,
        #[case] base: &str,
        #[case] model: &str,
    ) {
        let preset = preset(provider_type).unwrap();
        assert_eq!((preset.name, preset.key_variable, preset.api_base, preset.default_model), (name, variable, base, model));
    }

    #[test]
    fn there_are_no_other_types() {
        assert_eq!(PRESETS.len(), 23);
        assert!(preset("nope").is_none() && preset("").is_none());
        assert_eq!((type_called("anthropic"), type_called("claude-cli"), type_called("acp")), (Some("anthropic_native"), Some("claude_cli"), Some("acp")));
        assert_eq!((type_called("openai"), type_called("anthropic_native")), (None, None));
    }
}
