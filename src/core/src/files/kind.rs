//! What kind of file it is.

use std::{fs::File, os::unix::fs::FileExt, path::Path};

/// The type of files that nothing is known of.
pub const UNKNOWN: &str = "application/octet-stream";
/// How much of a file is looked at to guess its type, in bytes.
const HEAD: usize = 4096;
/// Types by extension where the general table has another one, or none.
const OWN: [(&str, &str); 9] = [
    ("opus", "audio/ogg"),
    ("ogg", "audio/ogg"),
    ("webp", "image/webp"),
    ("flac", "audio/flac"),
    ("mkv", "video/x-matroska"),
    ("m4a", "audio/mp4"),
    ("ts", "text/plain"),
    ("tsx", "text/plain"),
    ("jsonl", "application/x-ndjson"),
];

/// The MIME type that the name's extension says.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static str> {
    let extension = Path::new(name).extension()?.to_str()?.to_ascii_lowercase();
    let own = OWN.iter().find(|(known, _)| *known == extension).map(|(_, kind)| *kind);
    own.or_else(|| mime_guess::from_ext(&extension).first_raw())
}

/// The MIME type of a file: by its name, else by how it begins.
#[must_use]
pub fn of(name: &str, content: &File) -> &'static str {
    by_name(name).unwrap_or_else(|| by_content(content))
}

/// The MIME type that the beginning of a file says. The file is not moved.
#[must_use]
pub fn by_content(content: &File) -> &'static str {
    let mut head = vec![0; HEAD];
    let length = content.read_at(&mut head, 0).unwrap_or_default();
    of_bytes(&head[..length])
}

/// The MIME type that the beginning of a file's bytes says.
#[must_use]
pub fn of_bytes(bytes: &[u8]) -> &'static str {
    let head = &bytes[..bytes.len().min(HEAD)];
    if let Some(kind) = infer::get(head) {
        return kind.mime_type();
    }
    let is_text = match std::str::from_utf8(head) {
        Ok(_) => true,
        // The head may end within a character.
        Err(error) => error.error_len().is_none(),
    };
    if is_text && !head.contains(&0) { "text/plain" } else { UNKNOWN }
}

/// Whether a browser runs code in files of this type if it shows them.
#[must_use]
pub fn is_active(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.ends_with("/xml")
        || kind.ends_with("+xml")
        || kind.ends_with("javascript")
        || kind.ends_with("ecmascript")
        || ["text/html", "text/xsl", "multipart/related", "message/rfc822"].contains(&kind)
}

/// Whether an output of this name may carry a time stamp that whoever refers to it left out: pictures, sound, films, PDF.
pub(super) fn is_output(name: &str) -> bool {
    by_name(name).is_some_and(|kind| kind == "application/pdf" || ["image/", "audio/", "video/"].iter().any(|prefix| kind.starts_with(prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_extension_says_it_else_the_content() {
        for (name, kind) in [("a.png", "image/png"), ("a.OPUS", "audio/ogg"), ("a.m4a", "audio/mp4"), ("a.txt", "text/plain"), ("a.html", "text/html")] {
            assert_eq!(by_name(name), Some(kind), "{name}");
        }
        for (content, kind) in
            [(&b"\x89PNG\r\n\x1a\n"[..], "image/png"), (b"plain", "text/plain"), (b"\0\x01\x02", UNKNOWN), (b"", "text/plain"), ("é".as_bytes(), "text/plain")]
        {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(content).unwrap();
            assert_eq!(of("no extension", &file), kind);
        }
    }

    #[test]
    fn what_runs_code_is_known() {
        for kind in ["text/html", "text/html; charset=utf-8", "image/svg+xml", "application/xml", "text/xml", "text/javascript", "application/xhtml+xml"] {
            assert!(is_active(kind), "{kind}");
        }
        for kind in ["image/png", "text/plain", "application/pdf", UNKNOWN] {
            assert!(!is_active(kind), "{kind}");
        }
    }
}
