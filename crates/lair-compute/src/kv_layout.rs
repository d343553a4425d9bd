//! How keys and values are kept: types of elements, and where each of them lies in a page.
//!
//! The unit is a record: a page ([`PAGE_LENGTH`] positions) of one key and value head. Its parts follow one another:
//!
//! ```text
//!             F32, F16                        Q8_0                             Q4_0
//! key codes   [element][position]             [element / 4][position][4] u8    [element / 8][position][4] 2 x 4 bits
//! key scales  none                            [element / 32][position] f16     the same
//! value codes [element / 16][position][16]    [element / 16][position / 2]     [element / 16][position / 4]
//!                                                      [16][2] i8                      [16][2] 2 x 4 bits
//! value scales none                           [element / run][position] f16    the same
//! ```
//!
//! Sixteen positions, or sixteen elements of a value, are what a vector takes: products need no sum across lanes.
//! A head of 64 takes, in bytes a position: 512 as F32, 256 as F16, 136 as Q8_0, 72 as Q4_0.

use crate::PAGE_LENGTH;

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvElement {
    /// Four bytes: exact.
    F32,
    /// Two bytes: half precision.
    F16,
    /// One byte, with a scale in half precision for every 32 elements of a key and every run of a value; heads are turned
    /// by a Hadamard matrix first, which spreads outliers. KL divergence of SmolLM2-135M from itself with F16: 0.00025
    /// nats a token (docs/decisions/0012-precision.md).
    Q8_0,
    /// Half a byte, with such scales, turned in the same way. Measured as above: 0.038. What keys have in common defeats it
    /// where it is not left out ([`crate::Attention::key_constant`]).
    Q4_0,
}

/// One attention layer of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLayerLayout {
    /// Key and value heads.
    pub kv_head_count: usize,
    /// Elements of a key head.
    pub key_dim: usize,
    /// Elements of a value head.
    pub value_dim: usize,
}

/// What a KV cache holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvLayout {
    /// The attention layers.
    pub layers: Vec<KvLayerLayout>,
    /// How elements are kept.
    pub element: KvElement,
    /// Pages on every layer.
    pub page_count: usize,
}

impl KvLayout {
    /// Bytes of one page over all layers, padding included.
    pub fn page_bytes(&self) -> usize {
        let layers = self.layers.iter();
        layers.map(|layer| layer.kv_head_count * RecordLayout::new(self.element, layer).size_bytes).sum()
    }
}

/// Elements of a key that share a scale.
pub(crate) const KEY_BLOCK: usize = 32;
/// Elements of a value panel: what a vector takes.
pub(crate) const VALUE_PANEL: usize = 16;
/// Records begin a cache line.
const RECORD_ALIGNMENT: usize = 64;

/// Where the parts of a record lie, in bytes from its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordLayout {
    pub(crate) element: KvElement,
    pub(crate) key_dim: usize,
    pub(crate) value_dim: usize,
    /// Key codes stand at the start.
    pub(crate) key_scales: usize,
    pub(crate) value_codes: usize,
    pub(crate) value_scales: usize,
    /// Bytes of the value codes of a panel.
    pub(crate) panel_bytes: usize,
    pub(crate) size_bytes: usize,
}

impl RecordLayout {
    pub(crate) fn new(element: KvElement, layer: &KvLayerLayout) -> RecordLayout {
        let KvLayerLayout { key_dim, value_dim, .. } = *layer;
        let panels = value_dim.div_ceil(VALUE_PANEL);
        // Quantised codes of keys come in groups of four elements, two groups to a line of 4-bit codes.
        let (key_codes, panel_bytes, has_scales) = match element {
            KvElement::F32 => (key_dim * PAGE_LENGTH * 4, PAGE_LENGTH * VALUE_PANEL * 4, false),
            KvElement::F16 => (key_dim * PAGE_LENGTH * 2, PAGE_LENGTH * VALUE_PANEL * 2, false),
            KvElement::Q8_0 => (key_dim.div_ceil(4) * PAGE_LENGTH * 4, PAGE_LENGTH * VALUE_PANEL, true),
            KvElement::Q4_0 => (key_dim.div_ceil(8) * PAGE_LENGTH * 4, PAGE_LENGTH * VALUE_PANEL / 2, true),
        };
        let scales = |count: usize| if has_scales { count * PAGE_LENGTH * 2 } else { 0 };
        let key_scales = key_codes;
        let value_codes = key_scales + scales(key_dim.div_ceil(KEY_BLOCK));
        let value_scales = value_codes + panels * panel_bytes;
        let mut layout = RecordLayout {
            element,
            key_dim,
            value_dim,
            key_scales,
            value_codes,
            value_scales,
            panel_bytes,
            size_bytes: 0,
        };
        let end = value_scales + scales(value_dim.div_ceil(layout.value_run()));
        layout.size_bytes = end.next_multiple_of(RECORD_ALIGNMENT);
        layout
    }

    /// Panels of a value head.
    pub(crate) fn value_panels(&self) -> usize {
        self.value_dim.div_ceil(VALUE_PANEL)
    }

    /// Elements of a value that share a scale.
    pub(crate) fn value_run(&self) -> usize {
        match self.element {
            KvElement::F32 | KvElement::F16 => self.value_dim.max(1),
            KvElement::Q8_0 => 64,
            KvElement::Q4_0 => 32,
        }
    }

    /// Scales of a value at one position: one for all of it where it is not quantised.
    pub(crate) fn value_runs(&self) -> usize {
        self.value_dim.div_ceil(self.value_run())
    }

    /// Whether elements are codes with scales.
    pub(crate) fn is_quantised(&self) -> bool {
        matches!(self.element, KvElement::Q8_0 | KvElement::Q4_0)
    }
}
