//! The canvas of a room: everybody's picture in its place, with names. Knows nothing of time.
//!
//! One picture that has the canvas's size passes untouched. Otherwise each tile is scaled once when its picture or
//! its place changes, and copied when it does not. A tile on its way is scaled for the larger end of it all the way,
//! and stretched from that.

mod draw;
mod label;
#[cfg(test)]
mod tests;

use super::scene::{Rect, cover};
use super::text::Fonts;
use crate::time::SourceId;
use draw::{Colour, Sheet};
use hw::codec::{CodecError, Picture, PicturePool, Scaler};
use label::Label;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Around a picture that is alone.
const BLACK: Colour = [16, 128, 128];
/// Behind tiles: a dark blue grey.
const BACKDROP: Colour = [34, 133, 126];
/// A tile without a picture.
const EMPTY: Colour = [58, 134, 125];

/// A tile to be drawn.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    /// Whose.
    pub source: SourceId,
    /// Where it is in this frame.
    pub rect: Rect,
    /// Where it is when it has arrived.
    pub rest: Rect,
    /// The place whose size the picture is scaled to: where it is, or the larger end of its way.
    pub base: Rect,
    /// The picture, if one ever came.
    pub picture: Option<&'a Picture>,
    /// Another number for every picture of the source.
    pub serial: u64,
    /// What is written on it; may be empty.
    pub name: &'a str,
}

/// The canvas of one room.
pub struct Canvas {
    size: (u32, u32),
    pool: PicturePool,
    fonts: Arc<Fonts>,
    tiles: BTreeMap<SourceId, Scaled>,
    labels: BTreeMap<LabelKey, Option<Label>>,
}

/// Text, height, largest width, whether it stands in the middle of an empty tile.
type LabelKey = (String, u32, u32, bool);

/// A source's picture at the size its tile needs.
#[derive(Default)]
struct Scaled {
    scaler: Option<Scaler>,
    picture: Option<(u64, Picture)>,
}

impl Scaled {
    fn scale(
        &mut self,
        picture: &Picture,
        serial: u64,
        to: (u32, u32),
    ) -> Result<Picture, CodecError> {
        let sizes = (picture.size(), to);
        let known = self.scaler.as_ref().map(Scaler::sizes) == Some(sizes);
        if let (true, Some((of, scaled))) = (known, &self.picture)
            && *of == serial
        {
            return Ok(scaled.clone());
        }
        let scaler = match &mut self.scaler {
            Some(scaler) if known => scaler,
            other => other.insert(Scaler::new(sizes.0, sizes.1)?),
        };
        let scaled = scaler.scale(picture)?;
        self.picture = Some((serial, scaled.clone()));
        Ok(scaled)
    }
}

impl Canvas {
    /// A canvas of `size` (width, height), both even, whose names are written in `fonts`.
    ///
    /// # Errors
    /// A size that pictures cannot have; no memory.
    pub fn new(size: (u32, u32), fonts: Arc<Fonts>) -> Result<Self, CodecError> {
        let pool = PicturePool::new(size.0, size.1)?;
        Ok(Self { size, pool, fonts, tiles: BTreeMap::new(), labels: BTreeMap::new() })
    }

    /// What is seen before anybody is.
    ///
    /// # Errors
    /// No memory.
    pub fn black(&self) -> Result<Picture, CodecError> {
        Picture::black(self.size.0, self.size.1)
    }

    /// Draws `tiles`, from back to front.
    ///
    /// # Errors
    /// A picture whose size cannot be scaled; no memory.
    pub fn compose(&mut self, tiles: &[Placed<'_>]) -> Result<Picture, CodecError> {
        self.tiles.retain(|source, _| tiles.iter().any(|tile| tile.source == *source));
        let whole = Rect { x: 0, y: 0, width: self.size.0, height: self.size.1 };
        if let [Placed { rect, rest, picture: Some(picture), name: "", source, serial, .. }] = tiles
            && (*rect, *rest) == (whole, whole)
        {
            if picture.size() == self.size {
                self.tiles.clear();
                return Ok((*picture).clone());
            }
            let to = cover(picture.size(), self.size);
            if to == self.size {
                return self.tiles.entry(*source).or_default().scale(picture, *serial, to);
            }
        }
        let mut canvas = self.pool.get()?;
        let mut used = Vec::new();
        let Some(mut sheet) = Sheet::new(&mut canvas) else {
            return Err(CodecError::Memory("a picture"));
        };
        sheet.fill(whole, if tiles.len() > 1 { BACKDROP } else { BLACK });
        for tile in tiles {
            match tile.picture {
                Some(picture) => {
                    let to = cover(picture.size(), tile.base.size());
                    let scaled = self.tiles.entry(tile.source).or_default();
                    let scaled = scaled.scale(picture, tile.serial, to)?;
                    match tile.rect == tile.base {
                        true => sheet.paste(&scaled, tile.rect),
                        false => sheet.stretch(&scaled, tile.rect),
                    }
                }
                None => sheet.fill(tile.rect, EMPTY),
            }
            for key in label_keys(tile, self.size) {
                let fonts = &self.fonts;
                let label = self.labels.entry(key.clone()).or_insert_with(|| {
                    let (text, height, width, middle) = (&*key.0, key.1, key.2, key.3);
                    let make = if middle { Label::bare } else { Label::new };
                    make(fonts, text, height, width)
                });
                if let Some(label) = label {
                    place(label, &key, tile.rect, &mut sheet);
                }
                used.push(key);
            }
        }
        if self.labels.len() > used.len() {
            self.labels.retain(|key, _| used.contains(key));
        }
        Ok(canvas)
    }
}

/// What is written on a tile: its name, and its first letter large where there is no picture.
fn label_keys(tile: &Placed<'_>, canvas: (u32, u32)) -> Vec<LabelKey> {
    if tile.name.is_empty() {
        return Vec::new();
    }
    // Of the size at rest, so that a tile on its way is labelled once. On a rung of half the canvas's height it
    // must still be read.
    let (width, height) = tile.rest.size();
    let letters = (height / 10).clamp(canvas.1 / 32, (canvas.1 / 24).max(canvas.1 / 32));
    let mut keys = vec![(tile.name.to_owned(), letters, width, false)];
    if tile.picture.is_none()
        && let Some(initial) = tile.name.chars().find(|c| c.is_alphanumeric())
    {
        keys.push((initial.to_uppercase().collect(), height / 2, width, true));
    }
    keys
}

fn place(label: &Label, key: &LabelKey, rect: Rect, sheet: &mut Sheet<'_>) {
    let (width, height) = label.size();
    if width > rect.width || height > rect.height {
        return; // A tile that has only begun to grow.
    }
    let (right, bottom) = (rect.width - width, rect.height - height);
    let at = if key.3 { ((right / 2) & !1, (bottom / 2) & !1) } else { (0, bottom & !1) };
    label.draw(sheet, (rect.x + at.0, rect.y + at.1));
}
