//! List prices that come with the gateway, for models that the configuration does not price.
//!
//! They are taken from the vendors' public price lists as of 2025-12-01: standard tier, prompts of ordinary length, US dollars per million
//! tokens. They may be out of date; `telemetry.model_pricing` overrides them. A cache price of 0 is one that the vendor does not list for
//! the model, or that depends on more than the tokens. The cost of a model without any price is unknown.

use super::Price;

/// The prices of one vendor.
struct Vendor {
    /// The provider type that is the vendor's own service.
    provider_type: &'static str,
    /// How OpenRouter calls the vendor in `vendor/model`.
    slug: &'static str,
    /// Model ids, with a date only if that edition has a price of its own, with input, output, cache read, cache write.
    models: &'static [(&'static str, [f64; 4])],
}

const VENDORS: &[Vendor] = &[
    Vendor {
        provider_type: "anthropic_native",
        slug: "anthropic",
        models: &[
            ("claude-opus-4-5", [5.0, 25.0, 0.5, 6.25]),
            ("claude-opus-4-1", [15.0, 75.0, 1.5, 18.75]),
            ("claude-opus-4", [15.0, 75.0, 1.5, 18.75]),
            ("claude-sonnet-4-5", [3.0, 15.0, 0.3, 3.75]),
            ("claude-sonnet-4", [3.0, 15.0, 0.3, 3.75]),
            ("claude-haiku-4-5", [1.0, 5.0, 0.1, 1.25]),
            ("claude-3-7-sonnet", [3.0, 15.0, 0.3, 3.75]),
            ("claude-3-5-haiku", [0.8, 4.0, 0.08, 1.0]),
        ],
    },
    Vendor {
        provider_type: "openai_compat",
        slug: "openai",
        models: &[
            ("gpt-5.1", [1.25, 10.0, 0.125, 0.0]),
            ("gpt-5", [1.25, 10.0, 0.125, 0.0]),
            ("gpt-5-mini", [0.25, 2.0, 0.025, 0.0]),
            ("gpt-5-nano", [0.05, 0.4, 0.005, 0.0]),
            ("gpt-4.1", [2.0, 8.0, 0.5, 0.0]),
            ("gpt-4.1-mini", [0.4, 1.6, 0.1, 0.0]),
            ("gpt-4.1-nano", [0.1, 0.4, 0.025, 0.0]),
            ("gpt-4o", [2.5, 10.0, 1.25, 0.0]),
            ("gpt-4o-2024-05-13", [5.0, 15.0, 0.0, 0.0]),
            ("gpt-4o-mini", [0.15, 0.6, 0.075, 0.0]),
            ("o3", [2.0, 8.0, 0.5, 0.0]),
            ("o4-mini", [1.1, 4.4, 0.275, 0.0]),
            ("o3-mini", [1.1, 4.4, 0.55, 0.0]),
        ],
    },
    Vendor {
        provider_type: "gemini_native",
        slug: "google",
        models: &[("gemini-2.5-pro", [1.25, 10.0, 0.0, 0.0]), ("gemini-2.5-flash", [0.3, 2.5, 0.0, 0.0]), ("gemini-2.5-flash-lite", [0.1, 0.4, 0.0, 0.0])],
    },
    Vendor {
        provider_type: "deepseek",
        slug: "deepseek",
        models: &[("deepseek-chat", [0.28, 0.42, 0.028, 0.0]), ("deepseek-reasoner", [0.28, 0.42, 0.028, 0.0])],
    },
    Vendor {
        provider_type: "xai",
        slug: "x-ai",
        models: &[("grok-4", [3.0, 15.0, 0.75, 0.0]), ("grok-3", [3.0, 15.0, 0.75, 0.0]), ("grok-3-mini", [0.3, 0.5, 0.075, 0.0])],
    },
];

/// The list price of a model at this type of provider, if there is one.
///
/// A vendor's own service has the vendor's models, OpenRouter all of them as `vendor/model`; anything else has no list price.
/// An id may end in a date or `-latest`. Whoever reaches a listed model through a service that charges otherwise says so in the
/// configuration, which is asked first.
pub(super) fn price(provider_type: &str, model: &str) -> Option<Price> {
    let (vendor, model) = if provider_type == "openrouter" {
        let (slug, model) = model.split_once('/')?;
        (VENDORS.iter().find(|vendor| vendor.slug == slug)?, model)
    } else {
        (VENDORS.iter().find(|vendor| vendor.provider_type == provider_type)?, model)
    };
    // OpenRouter writes `claude-sonnet-4.5` for Anthropic's `claude-sonnet-4-5`.
    let dashed = model.replace('.', "-");
    let named = |id: &str| [model, &dashed].into_iter().any(|model| model.strip_prefix(id).is_some_and(is_edition));
    // An edition with a price of its own stands in the list as it is called.
    let listed = vendor.models.iter().find(|(id, _)| *id == model).or_else(|| vendor.models.iter().find(|(id, _)| named(id)));
    let (_, [input, output, cache_read, cache_create]) = listed?;
    Some(Price { input: *input, output: *output, cache_read: *cache_read, cache_create: *cache_create })
}

/// Whether this end of a model's id only says which edition of the model it is: nothing, `-latest`, or a date such as
/// `-20250929` and `-2024-08-06`.
fn is_edition(suffix: &str) -> bool {
    let Some(rest) = suffix.strip_prefix('-') else { return suffix.is_empty() };
    rest == "latest" || rest.replace('-', "").len() == 8 && rest.chars().all(|char| char.is_ascii_digit() || char == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edition_of_a_model_costs_what_the_model_does() {
        for model in ["gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-latest"] {
            assert_eq!(price("openai_compat", model).map(|price| price.input), Some(2.5), "{model}");
        }
        let early = price("openai_compat", "gpt-4o-2024-05-13").unwrap();
        assert_eq!((early.input, early.output), (5.0, 15.0));
        assert_eq!(price("openai_compat", "gpt-4o-mini").map(|price| price.input), Some(0.15));
        assert_eq!(price("anthropic_native", "claude-sonnet-4-5-20250929").map(|price| price.output), Some(15.0));
        for model in ["gpt-4o-audio-preview", "gpt-4o-", "gpt-4o2", "gpt-4", ""] {
            assert_eq!(price("openai_compat", model), None, "{model}");
        }
    }

    #[test]
    fn only_the_vendor_and_openrouter_charge_the_list_price() {
        for model in ["anthropic/claude-haiku-4-5", "anthropic/claude-haiku-4.5"] {
            assert_eq!(price("openrouter", model), price("anthropic_native", "claude-haiku-4-5"), "{model}");
        }
        assert!(price("openrouter", "openai/gpt-4.1").is_some());
        for (provider_type, model) in [("openrouter", "gpt-4o"), ("openrouter", "acme/gpt-4o"), ("ollama", "gpt-4o"), ("anthropic_native", "gpt-4o")] {
            assert_eq!(price(provider_type, model), None, "{provider_type} {model}");
        }
    }

    #[test]
    fn the_list_is_in_order() {
        for vendor in VENDORS {
            for (at, (id, [input, output, cache_read, cache_create])) in vendor.models.iter().enumerate() {
                assert!(*input > 0.0 && output >= input, "{id}");
                assert!((0.0..*input).contains(cache_read) && *cache_create >= 0.0, "{id}");
                assert!(vendor.models[..at].iter().all(|(other, _)| other != id), "{id} stands twice");
            }
        }
    }
}
