//! Bodies of fuzz targets: see `fuzz/README.md`.

use super::document;

/// Reads a configuration, and writes it back.
///
/// # Panics
/// If what was written is not what was read.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(read) = document::read(text) else { return };
    let again = document::read(&read.to_string());
    assert_eq!(again.as_ref(), Ok(&read), "JSON is JSON5");
    if let Err(fault) = document::typed(&read) {
        assert!(!fault.detail.is_empty());
    }
    let mut merged = read.clone();
    document::merge(&mut merged, read.clone());
    assert!(merged.is_object());
    let canonical = document::canonical(&read);
    assert_eq!(document::canonical(&canonical).to_string(), canonical.to_string());
    drop(document::dormant(&read));
}

#[cfg(test)]
#[path = "../../../../fuzz/bounded.rs"]
mod bounded;

#[cfg(test)]
mod fuzz_tests {
    use super::*;

    #[test]
    fn any_text_is_a_configuration_that_can_be_written_back_or_none() {
        bounded::run("config", config);
    }
}
