//! The pages, embedded.
//!
//! `build.rs` turns the TypeScript of this folder into files; this module holds them, found by
//! path, with what a server needs to answer well: content type, a hash, Brotli and gzip forms.
//! It knows no HTTP: [`crate::api::pages`] does.

/// A file of the pages, in the forms that were made at build.
#[derive(Clone, Copy)]
pub struct Asset {
    /// The path below the site's root, without a leading slash: `assets/watch-Bk2x.js`.
    pub path: &'static str,
    /// The value for `Content-Type`.
    pub content_type: &'static str,
    /// Of the plain bytes, 16 hexadecimal digits. Equal content has equal hashes, builds apart.
    pub hash: &'static str,
    /// As it is.
    pub plain: &'static [u8],
    /// Brotli-compressed, where that is smaller.
    pub brotli: Option<&'static [u8]>,
    /// gzip-compressed, where that is smaller.
    pub gzip: Option<&'static [u8]>,
}

/// Sorted by path: [`find`] searches by halves.
static ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// Every embedded file, in the order of their paths.
pub fn all() -> &'static [Asset] {
    ASSETS
}

/// The file at `path` (no leading slash), if there is one.
pub fn find(path: &str) -> Option<&'static Asset> {
    let at = ASSETS.binary_search_by_key(&path, |asset| asset.path).ok()?;
    ASSETS.get(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn every_file_is_found_by_its_path_and_nothing_else_is() {
        assert!(ASSETS.len() > 3, "pages need scripts and styles");
        for asset in ASSETS {
            assert_eq!(find(asset.path).map(|a| a.hash), Some(asset.hash));
        }
        for path in ["", "/", "watch", "assets", "assets/", "../Cargo.toml", "watch.html.br"] {
            assert!(find(path).is_none(), "{path:?}");
        }
    }

    #[test]
    fn the_compressed_forms_hold_the_same_bytes() {
        for asset in ASSETS {
            if let Some(gzip) = asset.gzip {
                let mut bytes = Vec::new();
                flate2::read::GzDecoder::new(gzip).read_to_end(&mut bytes).expect("gzip");
                assert_eq!(bytes, asset.plain, "{}", asset.path);
            }
            if let Some(brotli) = asset.brotli {
                let mut bytes = Vec::new();
                brotli::Decompressor::new(brotli, 4096).read_to_end(&mut bytes).expect("brotli");
                assert_eq!(bytes, asset.plain, "{}", asset.path);
            }
        }
    }

    #[test]
    fn no_page_asks_another_host_for_anything() {
        // What the browser would fetch: attributes of pages, imports and url() of styles. Links
        // inside libraries' messages are text, and the content security policy holds for the rest.
        for asset in ASSETS.iter().filter(|a| a.path.ends_with(".html") || a.path.ends_with(".css"))
        {
            let text = std::str::from_utf8(asset.plain).expect("UTF-8");
            for needle in [
                "src=\"http",
                "src=\"//",
                "href=\"http",
                "href=\"//",
                "url(http",
                "url(//",
                "@import",
            ] {
                assert!(!text.contains(needle), "{}: {needle}", asset.path);
            }
        }
    }
}
