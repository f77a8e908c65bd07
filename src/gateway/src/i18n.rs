//! Messages in the caller's language.

use fluent_bundle::{FluentArgs, FluentResource, concurrent::FluentBundle};
use goclaw_core::caller::Locale;
use goclaw_ports::Message;
use std::sync::LazyLock;
use unic_langid::LanguageIdentifier;

const EN: &str = include_str!("../locales/en.ftl");
const VI: &str = include_str!("../locales/vi.ftl");
const ZH: &str = include_str!("../locales/zh.ftl");

static CATALOGUES: LazyLock<[FluentBundle<FluentResource>; 3]> = LazyLock::new(|| [bundle(Locale::En, EN), bundle(Locale::Vi, VI), bundle(Locale::Zh, ZH)]);

/// The message in this language; in English if it is not translated.
pub(crate) fn text(locale: Locale, message: &Message) -> String {
    translate(locale, message).unwrap_or_else(|| message.to_string())
}

fn translate(locale: Locale, message: &Message) -> Option<String> {
    let bundle = match locale {
        Locale::En => &CATALOGUES[0],
        Locale::Vi => &CATALOGUES[1],
        Locale::Zh => &CATALOGUES[2],
    };
    let pattern = bundle.get_message(message.key)?.value()?;
    let arguments: FluentArgs<'_> = message.params.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut errors = Vec::new();
    let text = bundle.format_pattern(pattern, Some(&arguments), &mut errors).into_owned();
    errors.is_empty().then_some(text)
}

fn bundle(locale: Locale, source: &str) -> FluentBundle<FluentResource> {
    // A resource with mistakes still holds its good messages; the tests forbid mistakes.
    let resource = FluentResource::try_new(source.to_owned()).unwrap_or_else(|(resource, _)| resource);
    let language: LanguageIdentifier = locale.as_str().parse().unwrap_or_default();
    let mut bundle = FluentBundle::new_concurrent(vec![language]);
    // The marks around placeables are for mixed writing directions, which none of the languages has.
    bundle.set_use_isolating(false);
    bundle.add_resource_overriding(resource);
    bundle
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_ports::message::{self, CATALOGUE};
    use std::collections::{BTreeMap, BTreeSet};

    type Messages = BTreeMap<String, BTreeSet<String>>;

    /// Key and parameters of each message of a catalogue file.
    fn messages(source: &str) -> Messages {
        let placeables = |pattern: &str| {
            let pieces = pattern.split("{ $").skip(1).map(|piece| piece.split(' ').next().unwrap().to_owned());
            pieces.collect::<BTreeSet<_>>()
        };
        let entries = source.lines().map(|line| line.split_once(" = ").unwrap_or_else(|| panic!("not a message: {line}")));
        entries.map(|(key, pattern)| (key.to_owned(), placeables(pattern))).collect()
    }

    #[test]
    fn every_language_has_every_message_with_the_same_parameters_and_no_other() {
        let wanted: Messages = CATALOGUE.iter().map(|(key, params, _)| ((*key).to_owned(), params.iter().map(|name| (*name).to_owned()).collect())).collect();
        for (language, source) in [("en", EN), ("vi", VI), ("zh", ZH)] {
            assert!(FluentResource::try_new(source.to_owned()).is_ok(), "{language}.ftl is not valid Fluent");
            assert_eq!(messages(source), wanted, "{language}.ftl");
        }
    }

    #[test]
    fn the_english_catalogue_says_what_the_ports_say() {
        for (key, params, english) in CATALOGUE {
            let line = EN.lines().find(|line| line.split(" = ").next() == Some(key)).unwrap();
            let mut expected = format!("{key} = {english}");
            for name in *params {
                expected = expected.replace(&format!("{{{name}}}"), &format!("{{ ${name} }}"));
            }
            assert_eq!(line, expected);
        }
    }

    #[test]
    fn a_message_is_said_in_the_callers_language() {
        let message = message::not_found("agent", "a1");
        assert_eq!(text(Locale::En, &message), "agent not found: a1");
        assert_eq!(text(Locale::Vi, &message), "không tìm thấy agent: a1");
        assert_eq!(text(Locale::Zh, &message), "找不到 agent：a1");
    }

    #[test]
    fn values_are_not_read_as_fluent() {
        assert_eq!(text(Locale::Vi, &message::required("{ $x }")), "thiếu { $x }");
    }
}
