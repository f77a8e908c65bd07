//! What a page holds but does not show. Instructions to models like to hide there.

use html5ever::Attribute;

/// Classes that the usual style sheets hide.
const CLASSES: &[&str] = &[
    "hidden",
    "invisible",
    "collapse",
    "sr-only",
    "d-none",
    "visually-hidden",
    "is-hidden",
    "is-invisible",
    "is-sr-only",
    "hide",
    "show-for-sr",
    "uk-hidden",
    "uk-invisible",
    "d-hide",
    "d-invisible",
    "text-hide",
    "text-assistive",
    "clip",
    "dn",
    "vis-hidden",
    "screen-reader-text",
    "cdk-visually-hidden",
    "offscreen",
    "clip-hide",
];
/// Pixels to the left or above at which nothing is on a screen.
const OFF_SCREEN: f64 = -5_000.0;

/// Whether an element with these attributes is not shown.
pub fn is_hidden(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let value = &*attribute.value;
        match &*attribute.name.local {
            "hidden" => true,
            "aria-hidden" => value.trim().eq_ignore_ascii_case("true"),
            "class" => value.split_whitespace().any(|class| CLASSES.iter().any(|hidden| class.eq_ignore_ascii_case(hidden))),
            "style" => hides(value),
            _ => false,
        }
    })
}

/// Whether an inline style hides its element.
fn hides(style: &str) -> bool {
    uncommented(&style.to_ascii_lowercase()).split(';').filter_map(|declaration| declaration.split_once(':')).any(|(property, value)| {
        let value = value.trim();
        match property.trim() {
            "display" => value.starts_with("none"),
            "visibility" => value.starts_with("hidden"),
            "font-size" | "opacity" => leading_number(value) == Some(0.0),
            property => !property.contains("image") && !value.contains("url(") && numbers(value).any(|number| number <= OFF_SCREEN),
        }
    })
}

fn uncommented(style: &str) -> String {
    let mut plain = String::with_capacity(style.len());
    let mut rest = style;
    while let Some((before, after)) = rest.split_once("/*") {
        plain.push_str(before);
        rest = after.split_once("*/").map_or("", |(_, rest)| rest);
    }
    plain + rest
}

fn leading_number(value: &str) -> Option<f64> {
    let end = value.find(|c: char| !(c.is_ascii_digit() || ".+-".contains(c))).unwrap_or(value.len());
    value[..end].parse().ok()
}

fn numbers(value: &str) -> impl Iterator<Item = f64> {
    value.split(|c: char| c.is_whitespace() || "(),".contains(c)).filter_map(leading_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_that_hide_are_told_from_those_that_do_not() {
        for style in [
            "display:none",
            "color:red; DISPLAY : none !important",
            "visibility:hidden",
            "left:-9999px",
            "text-indent: -5000px",
            "transform:translate(-9999px, 0)",
            "margin: 0 0 0 -6000px",
            "font-size:0",
            "font-size: 0px",
            "opacity:0",
            "opacity: 0.0",
            "display:/**/none",
        ] {
            assert!(hides(style), "{style}");
        }
        for style in ["display:block", "font-size:0.9em", "opacity:0.5", "left:-20px", "visibility:visible", "background:url(x -9999)", "content:none", ""] {
            assert!(!hides(style), "{style}");
        }
    }
}
