//! A curve as a picture.

use anyhow::{Context, Result};
use embedded_graphics::{
    mono_font::{MonoTextStyle, ascii::FONT_8X13},
    pixelcolor::Rgb888,
    prelude::*,
    primitives::{Line, Polyline, PrimitiveStyle},
    text::{Alignment, Text},
};
use std::{convert::Infallible, fs::File, io::BufWriter, path::Path};

const SIZE: Size = Size::new(1_000, 500);
/// Where the plot's area begins and ends.
const AREA: (Point, Point) = (Point::new(80, 50), Point::new(970, 450));
const GRID: i32 = 5;
const INK: Rgb888 = Rgb888::new(40, 40, 40);
const PALE: Rgb888 = Rgb888::new(215, 215, 215);
const CURVE: Rgb888 = Rgb888::new(30, 90, 180);
const TREND: Rgb888 = Rgb888::new(200, 60, 40);

struct Canvas(Vec<u8>);

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        SIZE
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        let area = self.bounding_box();
        for Pixel(point, color) in pixels {
            if area.contains(point) {
                let at = (point.y as usize * SIZE.width as usize + point.x as usize) * 3;
                self.0[at..at + 3].copy_from_slice(&[color.r(), color.g(), color.b()]);
            }
        }
        Ok(())
    }
}

/// Draws `points` (minutes, MB) as a curve, `trend` as a line from its first point to its second, and writes a PNG.
///
/// # Errors
/// If the file cannot be written.
pub fn write(path: &Path, title: &str, points: &[(f64, f64)], trend: [(f64, f64); 2]) -> Result<()> {
    let most = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).fold(f64::MIN_POSITIVE, f64::max);
    let (minutes, top) = (most(|point| point.0), most(|point| point.1) * 1.2);
    let place = |(x, y): (f64, f64)| {
        let along = |share: f64, from: i32, to: i32| from + (share * f64::from(to - from)).round() as i32;
        Point::new(along(x / minutes, AREA.0.x, AREA.1.x), along(y / top, AREA.1.y, AREA.0.y))
    };
    let mut canvas = Canvas(vec![255; (SIZE.width * SIZE.height * 3) as usize]);
    let style = MonoTextStyle::new(&FONT_8X13, INK);
    let mut draw = || -> Result<(), Infallible> {
        Text::new(title, Point::new(AREA.0.x, 28), style).draw(&mut canvas)?;
        for step in 0..=GRID {
            let share = f64::from(step) / f64::from(GRID);
            let (left, below) = (place((0.0, top * share)), place((minutes * share, 0.0)));
            Line::new(left, Point::new(AREA.1.x, left.y)).into_styled(PrimitiveStyle::with_stroke(PALE, 1)).draw(&mut canvas)?;
            Text::with_alignment(&format!("{:.0} MB", top * share), left + Point::new(-8, 4), style, Alignment::Right).draw(&mut canvas)?;
            Text::with_alignment(&format!("{:.1} min", minutes * share), below + Point::new(0, 22), style, Alignment::Center).draw(&mut canvas)?;
        }
        let curve: Vec<Point> = points.iter().copied().map(place).collect();
        Polyline::new(&curve).into_styled(PrimitiveStyle::with_stroke(CURVE, 2)).draw(&mut canvas)?;
        Line::new(place(trend[0]), place(trend[1])).into_styled(PrimitiveStyle::with_stroke(TREND, 1)).draw(&mut canvas)
    };
    let Ok(()) = draw();
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    let file = File::create(path).with_context(|| path.display().to_string())?;
    let mut encoder = png::Encoder::new(BufWriter::new(file), SIZE.width, SIZE.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&canvas.0)?;
    Ok(writer.finish()?)
}
