//! How hard a model is made to think: what the agent wants, what its provider defaults to, what the model can do.

use goclaw_ports::JsonObject;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

/// The key of what was decided in the metadata of a call's span.
pub(crate) const METADATA: &str = "reasoning";

/// How hard a model thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are those of the vendors")]
pub enum Effort {
    /// Nothing is said about it.
    Off,
    /// As the model does by itself.
    Auto,
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
}
use Effort::{Auto, High, Low, Medium, Minimal, Off, Xhigh};

impl Effort {
    /// The wire name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Off => "off",
            Auto => "auto",
            Self::None => "none",
            Minimal => "minimal",
            Low => "low",
            Medium => "medium",
            High => "high",
            Xhigh => "xhigh",
        }
    }

    fn parse(value: &Value) -> Option<Self> {
        let text = value.as_str()?.trim().to_lowercase();
        [Off, Auto, Self::None, Minimal, Low, Medium, High, Xhigh].into_iter().find(|effort| effort.as_str() == text)
    }
}

/// What happens where a model does not know the effort that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// The most that it knows below.
    #[default]
    Downgrade,
    /// Nothing is said about it.
    Off,
    /// As the model does by itself.
    ProviderDefault,
}

impl Fallback {
    fn parse(value: Option<&Value>) -> Self {
        match value.and_then(Value::as_str).map(|text| text.trim().to_lowercase()).as_deref() {
            Some("off") => Self::Off,
            Some("provider_default") => Self::ProviderDefault,
            _ => Self::Downgrade,
        }
    }
}

/// What a model can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Capability {
    /// The efforts that it knows, the least first.
    pub levels: &'static [Effort],
    /// What it does by itself.
    pub default_effort: Effort,
}

const NONE: Effort = Effort::None;

/// What models can do, by their exact id.
const MODELS: &[(&[&str], Capability)] = &[
    (&["gpt-5.4", "gpt-5.4-mini", "gpt-5-mini", "gpt-5.2"], Capability { levels: &[NONE, Low, Medium, High, Xhigh], default_effort: NONE }),
    (&["gpt-5.3-codex", "gpt-5.3-codex-spark", "gpt-5.2-codex"], Capability { levels: &[Low, Medium, High, Xhigh], default_effort: Medium }),
    (&["gpt-5.1-codex-max"], Capability { levels: &[NONE, Medium, High, Xhigh], default_effort: NONE }),
    (&["gpt-5.1-codex", "gpt-5.1-codex-mini", "gpt-5-codex", "gpt-5-codex-mini"], Capability { levels: &[Low, Medium, High], default_effort: Medium }),
    (&["gpt-5.1"], Capability { levels: &[NONE, Low, Medium, High], default_effort: NONE }),
    (&["gpt-5"], Capability { levels: &[Minimal, Low, Medium, High], default_effort: Medium }),
];

/// What a model can do, if that is known. Its id counts from the last slash on.
#[must_use]
pub fn capability(model: &str) -> Option<Capability> {
    let id = model.rsplit('/').next().unwrap_or_default().trim().to_lowercase();
    MODELS.iter().find(|(ids, _)| ids.contains(&id.as_str())).map(|(_, capability)| *capability)
}

/// What a provider's agents get that say nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReasoningDefaults {
    /// How hard models think.
    pub effort: Effort,
    /// What happens where a model does not know that.
    pub fallback: Fallback,
}

impl ReasoningDefaults {
    /// Those in a provider's settings, if they say anything.
    #[must_use]
    pub fn of(settings: &JsonObject) -> Option<Self> {
        let saved = settings.get("reasoning_defaults")?.as_object()?;
        let defaults = Self { effort: saved.get("effort").and_then(Effort::parse).unwrap_or(Off), fallback: Fallback::parse(saved.get("fallback")) };
        (defaults != Self { effort: Off, fallback: Fallback::Downgrade }).then_some(defaults)
    }
}

/// Who wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Source {
    Unset,
    Reasoning,
    ThinkingLevel,
    ProviderDefault,
}

/// What is wanted of the models of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reasoning {
    source: Source,
    effort: Effort,
    fallback: Fallback,
}

/// What was decided for a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Decision {
    source: Source,
    requested_effort: Effort,
    effective_effort: Effort,
    fallback: Fallback,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    known_model: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "levels")]
    supported_levels: &'static [Effort],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    used_provider_default: bool,
}

fn levels<S: Serializer>(levels: &&'static [Effort], serializer: S) -> Result<S::Ok, S::Error> {
    levels.serialize(serializer)
}

impl Reasoning {
    /// What an agent's other settings say; if they say nothing, what its provider defaults to.
    pub fn of(agent: &JsonObject, defaults: Option<ReasoningDefaults>) -> Self {
        let own = agent.get("reasoning").and_then(Value::as_object);
        let inherits = own.and_then(|own| own.get("override_mode")).and_then(Value::as_str) == Some("inherit");
        let inherited = match defaults {
            Some(defaults) => Self { source: Source::ProviderDefault, effort: defaults.effort, fallback: defaults.fallback },
            None => Self { source: Source::Unset, effort: Off, fallback: Fallback::Downgrade },
        };
        if inherits {
            return inherited;
        }
        let custom = own.map(|own| Self {
            source: Source::Reasoning,
            effort: own.get("effort").and_then(Effort::parse).unwrap_or(Off),
            fallback: Fallback::parse(own.get("fallback")),
        });
        let level = agent.get("thinking_level").and_then(Effort::parse);
        match (custom, level) {
            // A level of older settings counts where the newer ones say nothing.
            (Some(custom), Some(level)) if custom.effort == Off => Self { source: Source::ThinkingLevel, effort: level, ..custom },
            (Some(custom), _) => custom,
            (None, Some(level)) => Self { source: Source::ThinkingLevel, effort: level, fallback: Fallback::Downgrade },
            (None, None) => inherited,
        }
    }

    /// What is sent to this model at this type of provider.
    pub fn decide(self, provider_type: &str, model: &str) -> Decision {
        let Self { source, effort, fallback } = self;
        let known = capability(model);
        let decision = Decision {
            source,
            requested_effort: effort,
            effective_effort: effort,
            fallback,
            reason: "",
            known_model: known.is_some(),
            supported_levels: known.map_or(&[], |known| known.levels),
            used_provider_default: false,
        };
        if effort == Off {
            return decision;
        }
        if matches!(provider_type, "claude_cli" | "acp") {
            return Decision { effective_effort: Off, reason: "the provider takes no effort", ..decision };
        }
        let Some(known) = known else { return Decision { used_provider_default: effort == Auto, ..decision } };
        if known.levels.contains(&effort) {
            return decision;
        }
        let by_itself = Decision { effective_effort: known.default_effort, used_provider_default: true, ..decision.clone() };
        match fallback {
            _ if effort == Auto => by_itself,
            Fallback::Off => Decision { effective_effort: Off, reason: "the model does not know the effort", ..decision },
            Fallback::ProviderDefault => Decision { reason: "the model does not know the effort; it does as it does by itself", ..by_itself },
            Fallback::Downgrade => match known.levels.iter().rev().find(|level| **level <= effort) {
                Some(level) => Decision { effective_effort: *level, reason: "the model knows no more", ..decision },
                None => Decision { effective_effort: Off, reason: "the model knows nothing so low", ..decision },
            },
        }
    }
}

impl Decision {
    /// What the provider is told; `None` for nothing.
    pub fn effort(&self) -> Option<String> {
        let told = !self.used_provider_default && self.effective_effort != Off;
        told.then(|| self.effective_effort.as_str().to_owned())
    }

    /// Puts the decision into a span's metadata, if anybody wanted anything.
    pub fn note(&self, metadata: &mut JsonObject) {
        if self.source != Source::Unset
            && let Ok(decision) = serde_json::to_value(self)
        {
            metadata.insert(METADATA.to_owned(), decision);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    fn agent(other: Value) -> JsonObject {
        other.as_object().unwrap().clone()
    }

    fn defaults(settings: Value) -> Option<ReasoningDefaults> {
        ReasoningDefaults::of(settings.as_object().unwrap())
    }

    #[rstest]
    #[case(json!({}), Source::Unset, Off)]
    #[case(json!({"reasoning": {"effort": " HIGH "}}), Source::Reasoning, High)]
    #[case(json!({"reasoning": {"override_mode": "custom", "effort": "nonsense"}}), Source::Reasoning, Off)]
    #[case(json!({"reasoning": {"override_mode": "inherit", "effort": "high"}, "thinking_level": "low"}), Source::Unset, Off)]
    #[case(json!({"thinking_level": "low"}), Source::ThinkingLevel, Low)]
    #[case(json!({"thinking_level": "a lot"}), Source::Unset, Off)]
    #[case(json!({"reasoning": {"effort": "off"}, "thinking_level": "high"}), Source::ThinkingLevel, High)]
    #[case(json!({"reasoning": {"effort": "low"}, "thinking_level": "high"}), Source::Reasoning, Low)]
    fn what_an_agent_wants(#[case] other: Value, #[case] source: Source, #[case] effort: Effort) {
        let wanted = Reasoning::of(&agent(other), None);
        assert_eq!((wanted.source, wanted.effort), (source, effort));
    }

    #[test]
    fn who_wants_nothing_gets_what_the_provider_defaults_to() {
        let saved = defaults(json!({"reasoning_defaults": {"effort": "high", "fallback": "provider_default"}}));
        let expected = Reasoning { source: Source::ProviderDefault, effort: High, fallback: Fallback::ProviderDefault };
        assert_eq!(Reasoning::of(&agent(json!({})), saved), expected);
        assert_eq!(Reasoning::of(&agent(json!({"reasoning": {"override_mode": "inherit"}})), saved), expected);
        assert_eq!(Reasoning::of(&agent(json!({"reasoning": {"effort": "off"}})), saved).source, Source::Reasoning);
        for nothing in [
            json!({}),
            json!({"reasoning_defaults": {}}),
            json!({"reasoning_defaults": {"effort": "off", "fallback": "downgrade"}}),
            json!({"reasoning_defaults": 1}),
        ] {
            assert_eq!(defaults(nothing), None);
        }
    }

    #[rstest]
    #[case("gpt-5.1-codex", Xhigh, Fallback::Downgrade, High, Some("high"))]
    #[case("gpt-5.1-codex", Xhigh, Fallback::Off, Off, None)]
    #[case("gpt-5.1-codex", Xhigh, Fallback::ProviderDefault, Medium, None)]
    #[case("gpt-5.1-codex", Minimal, Fallback::Downgrade, Off, None)]
    #[case("gpt-5.1-codex-max", Low, Fallback::Downgrade, NONE, Some("none"))]
    #[case("gpt-5.4", NONE, Fallback::Downgrade, NONE, Some("none"))]
    #[case("openai/GPT-5 ", Low, Fallback::Off, Low, Some("low"))]
    #[case("gpt-5", Auto, Fallback::Off, Medium, None)]
    #[case("gpt-5-2026", Xhigh, Fallback::Off, Xhigh, Some("xhigh"))]
    #[case("stub", Auto, Fallback::Downgrade, Auto, None)]
    #[case("stub", Off, Fallback::Downgrade, Off, None)]
    fn what_a_model_is_told(#[case] model: &str, #[case] effort: Effort, #[case] fallback: Fallback, #[case] effective: Effort, #[case] told: Option<&str>) {
        let decision = Reasoning { source: Source::Reasoning, effort, fallback }.decide("openai_compat", model);
        assert_eq!((decision.effective_effort, decision.effort().as_deref()), (effective, told));
    }

    #[test]
    fn programs_are_told_nothing() {
        let decision = Reasoning { source: Source::Reasoning, effort: High, fallback: Fallback::Downgrade }.decide("claude_cli", "opus");
        assert_eq!((decision.effort(), decision.reason.is_empty()), (None, false));
    }

    #[test]
    fn a_decision_is_noted_if_somebody_wanted_something() {
        let mut metadata = JsonObject::new();
        Reasoning::of(&agent(json!({})), None).decide("openai_compat", "gpt-5").note(&mut metadata);
        assert!(metadata.is_empty());
        Reasoning::of(&agent(json!({"reasoning": {"effort": "xhigh"}})), None).decide("openai_compat", "gpt-5.1-codex").note(&mut metadata);
        assert_eq!(
            metadata["reasoning"],
            json!({"source": "reasoning", "requested_effort": "xhigh", "effective_effort": "high", "fallback": "downgrade", "reason": "the model knows no more",
                "known_model": true, "supported_levels": ["low", "medium", "high"]})
        );
    }

    proptest! {
        #[test]
        fn a_known_model_is_never_told_what_it_does_not_know(
            model in prop::sample::select(MODELS.iter().flat_map(|(ids, _)| ids.iter()).copied().collect::<Vec<_>>()),
            effort in prop::sample::select(vec![Off, Auto, NONE, Minimal, Low, Medium, High, Xhigh]),
            fallback in prop::sample::select(vec![Fallback::Downgrade, Fallback::Off, Fallback::ProviderDefault]),
        ) {
            let decision = Reasoning { source: Source::Reasoning, effort, fallback }.decide("openai_compat", model);
            let known = capability(model).unwrap();
            if let Some(told) = decision.effort() {
                prop_assert!(known.levels.iter().any(|level| level.as_str() == told));
                prop_assert!(decision.effective_effort <= effort);
            }
        }
    }
}
