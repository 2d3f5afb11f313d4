//! One picture in several sizes, each made once, by whichever encoder thread needs it first.
//!
//! So there is no scaling thread to hand pictures to and wait for: an encoder finds the picture it
//! needs in its own core's cache, and a size that no live rung needs is never made.

use hw::codec::{CodecError, Picture, Scaler};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

type Size = (u32, u32);

/// From which size each size is made.
pub(super) struct Tree {
    nodes: Vec<Node>,
}

struct Node {
    size: Size,
    /// The node it is made from; `None`: from the source, or it is the source.
    parent: Option<usize>,
    /// `None`: it is the source.
    scaler: Option<Mutex<Scaler>>,
}

impl Tree {
    /// For a source of this size and these sizes wanted; equal ones are one.
    pub(super) fn new(source: Size, wanted: &[Size]) -> Result<Self, CodecError> {
        let mut sizes = wanted.to_vec();
        // Largest first, so that a parent comes before what is made from it.
        sizes.sort_unstable_by_key(|size| std::cmp::Reverse(pixels(*size)));
        sizes.dedup();
        let mut nodes: Vec<Node> = Vec::with_capacity(sizes.len());
        for size in sizes {
            if size == source {
                nodes.push(Node { size, parent: None, scaler: None });
                continue;
            }
            // Work grows with the size scaled from, so the smallest that is large enough is best,
            // unless another is exactly twice as large: halving is several times faster, and sharper.
            let candidates = || nodes.iter().enumerate().map(|(n, node)| (Some(n), node.size));
            let all = || std::iter::once((None, source)).chain(candidates());
            let parent = all()
                .find(|(_, from)| *from == (2 * size.0, 2 * size.1))
                .or_else(|| {
                    all()
                        .filter(|(_, from)| from.0 >= size.0 && from.1 >= size.1)
                        .min_by_key(|(_, from)| pixels(*from))
                })
                .unwrap_or((None, source));
            let scaler = Some(Mutex::new(Scaler::new(parent.1, size)?));
            nodes.push(Node { size, parent: parent.0, scaler });
        }
        Ok(Self { nodes })
    }

    fn at(&self, size: Size) -> Option<usize> {
        self.nodes.iter().position(|node| node.size == size)
    }
}

fn pixels((width, height): Size) -> u64 {
    u64::from(width) * u64::from(height)
}

/// One picture on its way through the ladder.
pub(super) struct Sizes {
    tree: Arc<Tree>,
    source: Picture,
    made: Vec<OnceLock<Result<Picture, CodecError>>>,
}

impl Sizes {
    pub(super) fn new(tree: Arc<Tree>, source: Picture) -> Self {
        let made = tree.nodes.iter().map(|_| OnceLock::new()).collect();
        Self { tree, source, made }
    }

    /// The picture at one of the tree's sizes. The source itself, uncopied, if it has that size.
    pub(super) fn get(&self, size: Size) -> Result<Picture, CodecError> {
        match self.tree.at(size) {
            Some(node) => self.make(node),
            None => Scaler::new(self.source.size(), size)?.scale(&self.source),
        }
    }

    fn make(&self, index: usize) -> Result<Picture, CodecError> {
        let made = self.made[index].get_or_init(|| {
            let node = &self.tree.nodes[index];
            let Some(scaler) = &node.scaler else { return Ok(self.source.clone()) };
            let from = match node.parent {
                Some(parent) => self.make(parent)?,
                None => self.source.clone(),
            };
            scaler.lock().unwrap_or_else(PoisonError::into_inner).scale(&from)
        });
        made.clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_size_is_made_once_from_the_cheapest_place() {
        let wanted = [(1280, 720), (854, 480), (640, 360), (1280, 720), (640, 360), (428, 240)];
        let tree = Arc::new(Tree::new((1280, 720), &wanted).unwrap());
        let parents: Vec<_> = tree.nodes.iter().map(|node| (node.size.1, node.parent)).collect();
        // 360 is half of the source, though 480 is smaller; 240 comes from 360.
        assert_eq!(parents, [(720, None), (480, None), (360, None), (240, Some(2))]);

        let source = Picture::black(1280, 720).unwrap();
        let sizes = Sizes::new(Arc::clone(&tree), source.clone());
        let place = |picture: &Picture| picture.plane(0).0.as_ptr();
        assert_eq!(place(&sizes.get((1280, 720)).unwrap()), place(&source));
        let small = sizes.get((640, 360)).unwrap();
        assert_eq!(small.size(), (640, 360));
        assert_eq!(place(&sizes.get((640, 360)).unwrap()), place(&small));
        assert_eq!(sizes.get((428, 240)).unwrap().size(), (428, 240));
        assert!(sizes.made[1].get().is_none(), "480 lines were not asked for");
    }

    #[test]
    fn a_source_smaller_than_the_rungs_is_enlarged() {
        let tree = Arc::new(Tree::new((320, 180), &[(640, 360), (1280, 720)]).unwrap());
        let sizes = Sizes::new(tree, Picture::black(320, 180).unwrap());
        assert_eq!(sizes.get((1280, 720)).unwrap().size(), (1280, 720));
        assert_eq!(sizes.get((640, 360)).unwrap().size(), (640, 360));
    }
}
