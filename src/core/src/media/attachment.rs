//! A file on its way into a message.

use super::{is_picture, read};
use crate::files::kind;
use base64::{Engine, prelude::BASE64_STANDARD};
use goclaw_ports::{Error, Result, files::OpenFile, message};

/// A file that is to come with a message.
#[derive(Debug)]
pub(crate) struct Attachment {
    /// What its sender calls it.
    pub name: String,
    /// What is in it.
    pub content: Content,
}

/// What is in a file.
#[derive(Debug)]
pub(crate) enum Content {
    /// On the disk.
    File(OpenFile),
    /// In memory.
    Bytes(Vec<u8>),
}

impl Attachment {
    /// The picture of a `data:` URL, which `field` holds.
    ///
    /// # Errors
    /// `Invalid` if it is none. The gateway fetches no pictures: whoever asks for one could make it fetch anything.
    pub fn picture(field: &str, url: &str) -> Result<Self> {
        let refused = || Error::invalid(message::bad_image(field));
        let (kind, data) = url.strip_prefix("data:").and_then(|rest| rest.split_once(',')).ok_or_else(refused)?;
        let mime_type = kind.strip_suffix(";base64").and_then(|kind| kind.split(';').next()).unwrap_or_default().to_ascii_lowercase();
        // A widespread other name.
        let mime_type = if mime_type == "image/jpg" { "image/jpeg" } else { &mime_type };
        if !is_picture(mime_type) {
            return Err(refused());
        }
        let bytes = BASE64_STANDARD.decode(data.trim()).map_err(|_| refused())?;
        if !is_picture(kind::of_bytes(&bytes)) {
            return Err(refused());
        }
        Ok(Self { name: mime_type.replace('/', "."), content: Content::Bytes(bytes) })
    }
}

impl Content {
    /// The content with the MIME type that its beginning says.
    pub(super) async fn sniffed(self) -> Result<(Self, &'static str)> {
        match self {
            Self::Bytes(bytes) => {
                let kind = kind::of_bytes(&bytes);
                Ok((Self::Bytes(bytes), kind))
            }
            Self::File(file) => {
                let looked = tokio::task::spawn_blocking(move || {
                    let kind = kind::by_content(&file.content);
                    (Self::File(file), kind)
                });
                looked.await.map_err(Error::internal)
            }
        }
    }

    /// How many bytes it has.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::File(file) => file.size,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// All of it.
    pub(super) async fn bytes(self) -> Result<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::File(file) => read(file).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_url_is_a_picture_or_refused() {
        let png = BASE64_STANDARD.encode(b"\x89PNG\r\n\x1a\n0000");
        let taken = Attachment::picture("image_url", &format!("data:image/png;base64,{png}")).unwrap();
        assert_eq!(taken.name, "image.png");
        assert!(Attachment::picture("x", &format!("data:image/jpg;base64,{png}")).is_ok());
        for url in [
            "",
            "https://example.com/a.png",
            "file:///etc/passwd",
            "data:image/png;base64",
            "data:image/png;base64,@@@",
            "data:image/png;base64,aGVsbG8=",
            &format!("data:image/png,{png}"),
            &format!("data:text/html;base64,{png}"),
            "data:image/svg+xml;base64,PHN2Zy8+",
        ] {
            assert!(Attachment::picture("image_url", url).is_err(), "{url}");
        }
    }
}
