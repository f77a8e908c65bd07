//! What traces keep of texts: no secrets, and no more than a limit in bytes.

use serde::Serialize;
use serde_json::json;
use std::borrow::Cow;

/// The limit.
pub const LIMIT: usize = 40_000;
/// The limit where an operator wants to see more (`GOCLAW_TRACE_VERBOSE`).
pub const VERBOSE: usize = 200_000;
/// What the note about left out elements takes at most, with the brackets around the list.
const NOTE: usize = 64;

/// The text; of a long one two thirds of its beginning and a third of its end.
pub(super) fn kept(text: &str, limit: usize) -> String {
    let clean = struck(text, limit);
    if clean.len() <= limit {
        return clean.into_owned();
    }
    let (head, tail) = (head(&clean, limit / 3 * 2), tail(&clean, limit / 3));
    let left_out = text.chars().count().saturating_sub(head.chars().count() + tail.chars().count());
    format!("{head}\n[… {left_out} characters left out …]\n{tail}")
}

/// The text; of a long one its end.
pub(super) fn ending(text: &str, limit: usize) -> String {
    let text = struck(text, limit);
    if text.len() <= limit { text.into_owned() } else { format!("...{}", tail(&text, limit.saturating_sub(3))) }
}

/// A JSON list of `items`; of a long one the first element and the last ones, with a note of how many are missing. `None` if not even
/// the first and the last fit.
pub(super) fn list<T: Serialize>(items: &[T], limit: usize) -> Option<String> {
    let mut room = limit.checked_sub(NOTE)?;
    let mut fitting = |item: &T| {
        let text = serde_json::to_string(item).ok()?;
        room = room.checked_sub(text.len() + 1)?;
        Some(text)
    };
    let Some((first, rest)) = items.split_first() else { return Some("[]".to_owned()) };
    let mut texts = vec![fitting(first)?];
    let mut last_ones = match rest.last() {
        Some(last) => vec![fitting(last)?],
        None => vec![],
    };
    last_ones.extend(rest.iter().rev().skip(1).map_while(fitting));
    if last_ones.len() < rest.len() {
        texts.push(json!({"__truncated__": format!("{} elements omitted", rest.len() - last_ones.len())}).to_string());
    }
    texts.extend(last_ones.into_iter().rev());
    Some(format!("[{}]", texts.join(",")))
}

/// The text without secrets. Of a very long one only what may be kept is looked through, with a wide margin.
fn struck(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= 8 * limit {
        return crate::redact::redact(text);
    }
    let (head, tail) = (head(text, 4 * limit), tail(text, 4 * limit));
    Cow::Owned(crate::redact::redact(&format!("{head}\n{tail}")).into_owned())
}

fn head(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

fn tail(text: &str, bytes: usize) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(bytes))..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn of_a_long_text_two_thirds_of_its_beginning_and_a_third_of_its_end_are_kept() {
        let text = format!("{}{}", "a".repeat(500), "z".repeat(500));
        let kept = kept(&text, 300);
        assert_eq!(kept, format!("{}\n[… 700 characters left out …]\n{}", "a".repeat(200), "z".repeat(100)));
        assert_eq!(super::kept("short", 300), "short");
    }

    #[test]
    fn of_a_whole_run_the_end_is_kept() {
        assert_eq!(ending("short", 10), "short");
        assert_eq!(ending("0123456789abc", 10), "...6789abc");
    }

    #[test]
    fn a_long_list_stays_json_with_its_first_and_last_elements() {
        let items: Vec<Value> = (0..100).map(|n| json!({"role": "user", "content": format!("message {n}")})).collect();
        let text = list(&items, 1_000).unwrap();
        assert!(text.len() <= 1_000, "{}", text.len());
        let kept: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(kept[0], items[0]);
        assert_eq!(kept[1], json!({"__truncated__": format!("{} elements omitted", 101 - kept.len())}));
        assert_eq!(kept[2..], items[100 - (kept.len() - 2)..]);
        assert_eq!(list(&items[..3], 1_000).unwrap(), serde_json::to_string(&items[..3]).unwrap());
        assert_eq!(list(&items[..0], 1_000).unwrap(), "[]");
        let large = [json!("x".repeat(600)), json!(1), json!("y".repeat(600))];
        assert_eq!((list(&large, 1_000), list(&large[..2], 1_000).is_some()), (None, true));
    }

    #[test]
    fn secrets_are_struck_out_before_anything_is_cut() {
        let secret = format!("sk-{}", "s3cret".repeat(10));
        for before in [190, 199, 250, 290, 10_000] {
            let text = format!("{}{secret}{}", "a ".repeat(before / 2), "b ".repeat(500));
            for kept in [kept(&text, 300), ending(&text, 1_020)] {
                assert!(!kept.contains("s3cret"), "{kept}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_long(text in "[a-zä€😀\\n\"{}\\[\\]]{0,400}", limit in 9_usize..200) {
            // The note stands beside what is kept.
            prop_assert!(kept(&text, limit).len() <= limit + 60);
            prop_assert!(ending(&text, limit).len() <= limit);
            prop_assert!(text.len() > limit || kept(&text, limit) == text);
            if let Some(list) = list(&[&text, &text, &text], limit) {
                prop_assert!(list.len() <= limit && serde_json::from_str::<Vec<Value>>(&list).is_ok());
            }
        }
    }
}
