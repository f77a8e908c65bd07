//! Files that a tool announces in words: `MEDIA:<path>`.

use goclaw_ports::tools::MediaResult;

const PATH: &str = "MEDIA:";
const VOICE: &str = "[[audio_as_voice]]";

/// The file that a text begins with, perhaps after the word that it is to be played as a voice message.
pub(crate) fn announced(text: &str) -> Option<MediaResult> {
    let text = text.trim_start();
    let (as_voice, text) = text.strip_prefix(VOICE).map_or((false, text), |rest| (true, rest.trim_start()));
    let path = text.strip_prefix(PATH)?.lines().next()?.trim();
    let is_path = !path.is_empty() && !path.contains(char::is_control);
    is_path.then(|| MediaResult { path: path.to_owned(), content_type: String::new(), size: None, as_voice })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_begins_with_a_file_announces_one() {
        let path = |text: &str| announced(text).map(|media| (media.path, media.as_voice));
        assert_eq!(path("MEDIA:/w/a b.png"), Some(("/w/a b.png".into(), false)));
        assert_eq!(path("\n MEDIA: a.png \nMade with care."), Some(("a.png".into(), false)));
        assert_eq!(path("[[audio_as_voice]]\nMEDIA:/w/a.ogg"), Some(("/w/a.ogg".into(), true)));
        for text in ["", "MEDIA:", "MEDIA:\n/w/a.png", "Look: MEDIA:/w/a.png", "media:/w/a.png", "[[audio_as_voice]]", "MEDIA:a\0b", "x\nMEDIA:/w/a.png"] {
            assert_eq!(path(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_announced_stands_in_the_text_in_one_line(text in "(\\[\\[audio_as_voice\\]\\])?\\s{0,2}(MEDIA:)?\\PC{0,40}\n?\\PC{0,20}") {
            if let Some(media) = announced(&text) {
                prop_assert!(!media.path.is_empty() && media.path.trim() == media.path && !media.path.contains(char::is_control));
                let told = format!("MEDIA:{}", media.path);
                prop_assert_eq!(announced(&told).map(|media| media.path), Some(media.path.clone()));
                prop_assert!(text.contains(&media.path));
                prop_assert_eq!(media.as_voice, text.trim_start().starts_with("[[audio_as_voice]]"));
            }
        }

        #[test]
        fn no_text_is_too_strange(text in "\\PC{0,60}") {
            let _ = announced(&text);
        }
    }
}
