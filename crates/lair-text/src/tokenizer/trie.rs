//! A trie over byte strings: all pieces that start at a place of a text, shortest first, in one walk.

use super::pieces::NONE;
use super::vocabulary::TokenId;

/// The children of a node are neighbours, sorted by their byte.
#[derive(Debug, Clone)]
pub(crate) struct Trie {
    nodes: Vec<Node>,
    /// The children of the root, by byte: the step that every walk begins with.
    roots: Box<[u32; 256]>,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    first_child: u32,
    child_count: u16,
    byte: u8,
    /// The token that ends here, or [`NONE`].
    token: TokenId,
}

impl Trie {
    /// Builds the trie level by level. Of equal pieces the first counts; empty ones are left out.
    pub(crate) fn new<'a>(pieces: impl Iterator<Item = (&'a [u8], TokenId)>) -> Self {
        let mut sorted: Vec<_> = pieces.filter(|(piece, _)| !piece.is_empty()).collect();
        sorted.sort();
        sorted.dedup_by(|later, earlier| later.0 == earlier.0);
        let mut nodes = vec![Node { first_child: 0, child_count: 0, byte: 0, token: NONE }];
        // The pieces below each node of the level that is being built: a range of `sorted`.
        let mut level = vec![(0, 0..sorted.len())];
        let mut depth = 0;
        while !level.is_empty() {
            let mut below = Vec::new();
            for (node, range) in level {
                let first_child = nodes.len();
                let mut start: usize = range.start;
                while start < range.end {
                    let byte = sorted[start].0[depth];
                    let length = sorted[start..range.end].partition_point(|(piece, _)| piece[depth] == byte);
                    let end = start + length;
                    // The piece that ends at this depth sorts before those that go on.
                    let is_whole = sorted[start].0.len() == depth + 1;
                    let token = if is_whole { sorted[start].1 } else { NONE };
                    let inner = start + usize::from(is_whole)..end;
                    if !inner.is_empty() {
                        below.push((nodes.len(), inner));
                    }
                    nodes.push(Node { first_child: 0, child_count: 0, byte, token });
                    start = end;
                }
                nodes[node].first_child = first_child as u32;
                nodes[node].child_count = (nodes.len() - first_child) as u16;
            }
            level = below;
            depth += 1;
        }
        let mut roots = Box::new([NONE; 256]);
        let first = nodes[0].first_child;
        for child in first..first + u32::from(nodes[0].child_count) {
            roots[usize::from(nodes[child as usize].byte)] = child;
        }
        Self { nodes, roots }
    }

    /// The pieces that `bytes` starts with, shortest first: their lengths and tokens.
    pub(crate) fn prefixes<'t>(&'t self, bytes: &'t [u8]) -> impl Iterator<Item = (usize, TokenId)> + 't {
        let mut node = NONE;
        bytes
            .iter()
            .enumerate()
            .map_while(move |(depth, &byte)| {
                node = if depth == 0 { self.roots[usize::from(byte)] } else { self.child(node, byte) };
                (node != NONE).then(|| (depth + 1, self.nodes[node as usize].token))
            })
            .filter(|&(_, token)| token != NONE)
    }

    /// The longest piece that `bytes` starts with.
    pub(crate) fn longest_prefix(&self, bytes: &[u8]) -> Option<(usize, TokenId)> {
        self.prefixes(bytes).last()
    }

    fn child(&self, node: u32, byte: u8) -> u32 {
        let node = &self.nodes[node as usize];
        let first = node.first_child as usize;
        let children = &self.nodes[first..first + usize::from(node.child_count)];
        children.binary_search_by_key(&byte, |child| child.byte).map_or(NONE, |index| (first + index) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_walk_finds_exactly_the_prefixes(
            pieces in proptest::collection::btree_set(proptest::collection::vec(0u8..4, 1..6), 0..60),
            text in proptest::collection::vec(0u8..4, 0..8),
        ) {
            let pieces: Vec<Vec<u8>> = pieces.into_iter().collect();
            let trie = Trie::new(pieces.iter().enumerate().map(|(id, piece)| (piece.as_slice(), id as u32)));
            let mut expected: Vec<(usize, u32)> = pieces.iter().enumerate()
                .filter(|(_, piece)| text.starts_with(piece))
                .map(|(id, piece)| (piece.len(), id as u32))
                .collect();
            expected.sort();
            prop_assert_eq!(trie.prefixes(&text).collect::<Vec<_>>(), expected);
        }
    }
}
