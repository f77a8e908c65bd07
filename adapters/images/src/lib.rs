//! Pictures for models: upright, not too large, as JPEG.
#![deny(missing_docs)]

use async_trait::async_trait;
use goclaw_ports::media::Images;
use image::{
    DynamicImage, ImageDecoder, ImageError, ImageReader, Limits, Rgb, RgbImage,
    codecs::jpeg::JpegEncoder,
    error::{LimitError, LimitErrorKind},
    imageops::FilterType,
};
use std::{io::Cursor, sync::Arc};
use tokio::sync::Semaphore;

/// How wide and high a picture is at most, in pixels.
const SIDE: u32 = 1_200;
/// How large it is at most, in bytes.
const SIZE: usize = 5 << 20;
/// The qualities that are tried until it is small enough.
const QUALITIES: [u8; 6] = [85, 75, 65, 55, 45, 35];
/// How wide and high a picture is at most that is read, in pixels.
const READ_SIDE: u32 = 16_384;
/// How much memory reading one may take, in bytes: enough for 50 megapixels. A small file can ask for much more.
const READ_MEMORY: u64 = 256 << 20;
/// How many are read at once: they take processors and memory.
const AT_ONCE: usize = 2;

/// Reads JPEG, PNG, GIF (its first picture) and WebP on threads that may work for long.
pub struct Pictures {
    places: Arc<Semaphore>,
}

impl Default for Pictures {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

#[async_trait]
impl Images for Pictures {
    async fn normalised(&self, picture: Vec<u8>) -> Option<Vec<u8>> {
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        let work = tokio::task::spawn_blocking(move || {
            let normal = normalised(&picture);
            drop(place);
            normal
        });
        match work.await {
            Ok(Ok(normal)) => Some(normal),
            Ok(Err(error)) => {
                tracing::info!(%error, "a picture cannot be read");
                None
            }
            // A decoder that stumbles over a picture must not take the message with it.
            Err(error) => {
                tracing::warn!(%error, "reading a picture failed");
                None
            }
        }
    }
}

fn normalised(picture: &[u8]) -> Result<Vec<u8>, ImageError> {
    let mut reader = ImageReader::new(Cursor::new(picture)).with_guessed_format()?;
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height, limits.max_alloc) = (Some(READ_SIDE), Some(READ_SIDE), Some(READ_MEMORY));
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    if decoder.total_bytes() > READ_MEMORY {
        return Err(too_large());
    }
    let orientation = decoder.orientation()?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    if image.width() > SIDE || image.height() > SIDE {
        image = image.resize(SIDE, SIDE, FilterType::Triangle);
    }
    image.apply_orientation(orientation);
    let opaque = on_white(image);
    for quality in QUALITIES {
        let mut encoded = Vec::new();
        JpegEncoder::new_with_quality(&mut encoded, quality).encode_image(&opaque)?;
        if encoded.len() <= SIZE {
            return Ok(encoded);
        }
    }
    Err(too_large())
}

fn too_large() -> ImageError {
    ImageError::Limits(LimitError::from_kind(LimitErrorKind::InsufficientMemory))
}

/// JPEG has no transparency: what can be seen through becomes paper.
fn on_white(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let seen = image.into_rgba8();
    RgbImage::from_fn(seen.width(), seen.height(), |x, y| {
        let [red, green, blue, alpha] = seen.get_pixel(x, y).0;
        let over = |colour: u8| {
            let mixed = (u32::from(colour) * u32::from(alpha) + 255 * (255 - u32::from(alpha))) / 255;
            u8::try_from(mixed).unwrap_or(u8::MAX)
        };
        Rgb([over(red), over(green), over(blue)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, ImageFormat, Luma, Rgba, RgbaImage};

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn read(jpeg: &[u8]) -> RgbImage {
        assert_eq!(image::guess_format(jpeg).unwrap(), ImageFormat::Jpeg);
        image::load_from_memory(jpeg).unwrap().into_rgb8()
    }

    #[tokio::test]
    async fn pictures_of_all_kinds_become_jpegs_that_fit() {
        let pictures = Pictures::default();
        let wide = RgbImage::from_fn(2_400, 600, |x, y| Rgb([x as u8, y as u8, 7]));
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
            let normal = read(&pictures.normalised(encoded(wide.clone(), format)).await.unwrap());
            assert_eq!((normal.width(), normal.height()), (1_200, 300), "{format:?}");
        }
        let small = RgbImage::from_pixel(3, 5, Rgb([1, 2, 3]));
        let normal = read(&pictures.normalised(encoded(small, ImageFormat::Gif)).await.unwrap());
        assert_eq!((normal.width(), normal.height()), (3, 5), "a small one keeps its size");
        assert!(pictures.normalised(encoded(GrayImage::from_pixel(2, 2, Luma([9])), ImageFormat::Png)).await.is_some());
    }

    #[tokio::test]
    async fn what_can_be_seen_through_becomes_white() {
        let clear = RgbaImage::from_pixel(8, 8, Rgba([0, 0, 0, 0]));
        let normal = Pictures::default().normalised(encoded(clear, ImageFormat::Png)).await.unwrap();
        assert!(read(&normal).pixels().all(|pixel| pixel.0.iter().all(|colour| *colour > 250)));
    }

    #[tokio::test]
    async fn a_picture_is_turned_upright() {
        let mut jpeg = encoded(RgbImage::new(40, 20), ImageFormat::Jpeg);
        // An EXIF segment that says: turn by 90 degrees.
        let mut exif = b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
        let tail = jpeg.split_off(2);
        jpeg.append(&mut exif);
        jpeg.extend(tail);
        let normal = read(&Pictures::default().normalised(jpeg).await.unwrap());
        assert_eq!((normal.width(), normal.height()), (20, 40));
    }

    #[tokio::test]
    async fn what_is_no_picture_or_would_take_too_much_memory_is_refused() {
        let pictures = Pictures::default();
        let mut cut = encoded(RgbImage::new(64, 64), ImageFormat::Png);
        cut.truncate(40);
        // A bomb: a small file of one colour that is larger than may be read.
        let bomb = encoded(GrayImage::new(READ_SIDE + 1, 8), ImageFormat::Png);
        for bytes in [vec![], b"<svg/>".to_vec(), b"\x89PNG\r\n\x1a\nnot much of a picture".to_vec(), cut, bomb] {
            assert_eq!(pictures.normalised(bytes).await, None);
        }
    }
}
