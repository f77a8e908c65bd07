//! What a call costs.

mod list;

use goclaw_ports::llm::ChatResponse;
use std::collections::HashMap;

/// US dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Price {
    /// Read by the model.
    pub input: f64,
    /// Written by the model.
    pub output: f64,
    /// Read from the provider's prompt cache; 0 if not priced.
    pub cache_read: f64,
    /// Written to the provider's prompt cache; 0 if not priced.
    pub cache_create: f64,
}

/// What an answer cost in US dollars, if that is known: by the price of `provider/model` or `model` in `prices`, else as the provider
/// said, else by the model's list price.
///
/// Anthropic and its command line count cached tokens beside `prompt_tokens`, all others within them; there the cached ones are priced once.
#[must_use]
pub fn cost(prices: &HashMap<String, Price>, provider: &str, provider_type: &str, model: &str, answer: &ChatResponse) -> Option<f64> {
    let configured = prices.get(&format!("{provider}/{model}")).or_else(|| prices.get(model)).copied();
    let (price, usage) = match (configured, answer.cost) {
        (None, Some(told)) => return Some(told),
        (configured, _) => (configured.or_else(|| list::price(provider_type, model))?, answer.usage?),
    };
    let cached_within = price.cache_read > 0.0 && !matches!(provider_type, "anthropic_native" | "claude_cli");
    let fresh = if cached_within { (usage.prompt_tokens - usage.cache_read_tokens).max(0) } else { usage.prompt_tokens };
    #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^52")]
    let part = |tokens: i64, per_million: f64| tokens as f64 * per_million / 1e6;
    Some(
        part(fresh, price.input)
            + part(usage.completion_tokens, price.output)
            + part(usage.cache_read_tokens, price.cache_read)
            + part(usage.cache_creation_tokens, price.cache_create),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_ports::llm::Usage;

    fn cost(prices: &HashMap<String, Price>, provider: &str, provider_type: &str, model: &str, usage: Usage) -> Option<f64> {
        super::cost(prices, provider, provider_type, model, &ChatResponse { usage: Some(usage), ..ChatResponse::default() })
    }

    #[test]
    fn what_a_provider_says_wins_over_the_list_and_what_the_operator_says_over_both() {
        let usage = Some(Usage { prompt_tokens: 1_000_000, ..Usage::default() });
        let answer = ChatResponse { usage, cost: Some(0.25), ..ChatResponse::default() };
        assert_eq!(super::cost(&HashMap::new(), "openai", "openai_compat", "gpt-4o", &answer), Some(0.25));
        assert_eq!(super::cost(&HashMap::new(), "claude-cli", "claude_cli", "sonnet", &ChatResponse { usage: None, ..answer.clone() }), Some(0.25));
        let prices = HashMap::from([("gpt-4o".to_owned(), Price { input: 1.0, ..Price::default() })]);
        assert_eq!(super::cost(&prices, "openai", "openai_compat", "gpt-4o", &answer), Some(1.0));
    }

    #[test]
    fn the_price_of_the_provider_wins_over_the_price_of_the_model() {
        let usage = Usage { prompt_tokens: 1000, completion_tokens: 500, ..Usage::default() };
        let prices = HashMap::from([
            ("m".to_owned(), Price { input: 1.0, output: 1.0, ..Price::default() }),
            ("stub/m".to_owned(), Price { input: 2.0, output: 8.0, ..Price::default() }),
        ]);
        assert_eq!(cost(&prices, "stub", "openai_compat", "m", usage), Some(0.006));
        assert_eq!(cost(&prices, "other", "openai_compat", "m", usage), Some(0.0015));
        assert_eq!(cost(&prices, "other", "openai_compat", "unknown", usage), None);
    }

    #[test]
    fn a_price_in_the_configuration_wins_over_the_list() {
        let usage = Usage { prompt_tokens: 1_000_000, ..Usage::default() };
        assert_eq!(cost(&HashMap::new(), "openai", "openai_compat", "gpt-4o", usage), Some(2.5));
        let prices = HashMap::from([("gpt-4o".to_owned(), Price { input: 1.0, ..Price::default() })]);
        assert_eq!(cost(&prices, "openai", "openai_compat", "gpt-4o", usage), Some(1.0));
        let free = HashMap::from([("gpt-4o".to_owned(), Price::default())]);
        assert_eq!(cost(&free, "openai", "openai_compat", "gpt-4o", usage), Some(0.0));
    }

    #[test]
    fn cached_tokens_are_priced_once() {
        let usage = Usage { prompt_tokens: 1_000_000, cache_read_tokens: 400_000, ..Usage::default() };
        let prices = HashMap::from([("m".to_owned(), Price { input: 10.0, cache_read: 1.0, ..Price::default() })]);
        assert_eq!(cost(&prices, "p", "openai_compat", "m", usage), Some(6.4));
        assert_eq!(cost(&prices, "p", "anthropic_native", "m", usage), Some(10.4));
    }
}
