//! Pictures in questions, and models that do not see.

use crate::transport::Failure;
use serde_json::{Value, json};

/// The finding that a model takes no pictures.
pub(crate) const BLIND: &str = "images";
/// What stands where a picture was. The text of the message names the file.
const UNSEEN: &str = "[An image is attached here, but this model cannot see images.]";

/// Whether an upstream refuses a question because of its pictures.
fn refused(failure: &Failure) -> bool {
    let told = failure.body.to_lowercase();
    matches!(failure.error.status, Some(400 | 404 | 415 | 422 | 501))
        && ["image", "vision", "multimodal", "modalit", "must be a string"].iter().any(|sign| told.contains(sign))
}

/// Takes the pictures out of a question that was refused because of them. Whether it did.
pub(crate) fn given_up(body: &mut Value, failure: &Failure) -> bool {
    refused(failure) && removed(body)
}

/// Puts words in the place of every picture of a question. Whether there were any.
pub(crate) fn removed(body: &mut Value) -> bool {
    let mut any = false;
    for list in ["messages", "input"] {
        let messages = body.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for message in messages {
            let Some(content) = message.get_mut("content") else { continue };
            let Some(parts) = content.as_array_mut() else { continue };
            let mut here = false;
            for part in parts.iter_mut() {
                let kind = match part["type"].as_str() {
                    Some("image" | "image_url") => "text",
                    Some("input_image") => "input_text",
                    _ => continue,
                };
                *part = json!({"type": kind, "text": UNSEEN});
                here = true;
            }
            // Servers that know no pictures often know no parts either.
            if here {
                let texts: Vec<&str> = parts.iter().filter_map(|part| part["text"].as_str()).collect();
                *content = texts.join("\n\n").into();
                any = true;
            }
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_give_way_to_words_and_nothing_else_changes() {
        let mut body = json!({"model": "m", "messages": [
            {"role": "user", "content": "text"},
            {"role": "user", "content": [{"type": "image", "source": {}}, {"type": "text", "text": "look"}]},
            {"role": "user", "content": [{"type": "tool_result", "content": "x"}]},
        ]});
        assert!(removed(&mut body));
        let expected = json!({"model": "m", "messages": [
            {"role": "user", "content": "text"},
            {"role": "user", "content": format!("{UNSEEN}\n\nlook")},
            {"role": "user", "content": [{"type": "tool_result", "content": "x"}]},
        ]});
        assert_eq!(body, expected);
        assert!(!removed(&mut body));
        let mut body = json!({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:"}, {"type": "input_text", "text": "a"}]}]});
        assert!(removed(&mut body));
        assert_eq!(body["input"][0]["content"], format!("{UNSEEN}\n\na"));
    }
}
