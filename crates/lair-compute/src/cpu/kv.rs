//! Pages of keys and values, and slots of recurrent state.

use super::attention::Split;
use super::memory::Memory;
use crate::kv_layout::RecordLayout;
use crate::{ComputeError, KvElement, KvLayerLayout, KvLayout, PageId, SequenceRows, StateLayout, StateSlot};

/// Keys and values of every attention layer.
pub struct Kv {
    pub(super) layers: Vec<KvLayer>,
    pub(super) split: Split,
}

impl Kv {
    pub(super) fn new(layout: &KvLayout) -> Result<Kv, ComputeError> {
        let layers = layout.layers.iter().map(|layer| KvLayer::new(layer, layout.element, layout.page_count));
        Ok(Kv { layers: layers.collect::<Result<_, _>>()?, split: Split::default() })
    }

    pub(super) fn copy_page(&mut self, from: PageId, to: PageId) {
        for layer in &mut self.layers {
            let length = layer.page_bytes();
            let start = from.0 as usize * length;
            layer.records.copy_within(start..start + length, to.0 as usize * length);
        }
    }

    pub(super) fn page_bytes(&self) -> usize {
        self.layers.iter().map(KvLayer::page_bytes).sum()
    }

    /// The records of a page, one layer after the other.
    pub(super) fn read_page(&self, page: PageId, bytes: &mut [u8]) {
        let mut rest = bytes;
        for layer in &self.layers {
            let length = layer.page_bytes();
            let part = rest.split_off_mut(..length).expect("there is room for a whole page");
            part.copy_from_slice(&layer.records[page.0 as usize * length..][..length]);
        }
    }

    pub(super) fn write_page(&mut self, page: PageId, bytes: &[u8]) {
        let mut rest = bytes;
        for layer in &mut self.layers {
            let length = layer.page_bytes();
            let part = rest.split_off(..length).expect("the bytes are of a whole page");
            layer.records[page.0 as usize * length..][..length].copy_from_slice(part);
        }
    }
}

/// Records `[page, kv_head]`.
pub(super) struct KvLayer {
    pub(super) layout: RecordLayout,
    pub(super) kv_head_count: usize,
    records: Memory<u8>,
}

impl KvLayer {
    fn new(layer: &KvLayerLayout, element: KvElement, page_count: usize) -> Result<KvLayer, ComputeError> {
        let layout = RecordLayout::new(element, layer);
        let size_bytes = layout.size_bytes.saturating_mul(layer.kv_head_count).saturating_mul(page_count);
        let records = Memory::zeroed(size_bytes, "the cache of keys and values")?;
        Ok(KvLayer { layout, kv_head_count: layer.kv_head_count, records })
    }

    fn page_bytes(&self) -> usize {
        self.kv_head_count * self.layout.size_bytes
    }

    /// Whether heads are turned before they are stored.
    pub(super) fn is_rotated(&self) -> bool {
        self.layout.is_quantised()
    }

    pub(super) fn record(&self, page: PageId, kv_head: usize) -> &[u8] {
        let start = (page.0 as usize * self.kv_head_count + kv_head) * self.layout.size_bytes;
        &self.records[start..start + self.layout.size_bytes]
    }

    pub(super) fn records_mut(&mut self) -> &mut [u8] {
        &mut self.records
    }
}

/// Recurrent state: for each layer `[slot, length]`.
pub struct States {
    pub(super) layers: Vec<StateLayer>,
}

pub(super) struct StateLayer {
    pub(super) conv: Memory<f32>,
    pub(super) conv_length: usize,
    pub(super) recurrent: Memory<f32>,
    pub(super) recurrent_length: usize,
}

impl States {
    pub(super) fn new(layout: &StateLayout) -> Result<States, ComputeError> {
        let what = "recurrent state";
        let layers = layout.layers.iter().map(|layer| {
            Ok(StateLayer {
                conv: Memory::zeroed(layout.slot_count * layer.conv_length, what)?,
                conv_length: layer.conv_length,
                recurrent: Memory::zeroed(layout.slot_count * layer.recurrent_length, what)?,
                recurrent_length: layer.recurrent_length,
            })
        });
        Ok(States { layers: layers.collect::<Result<_, ComputeError>>()? })
    }

    pub(super) fn clear(&mut self, slot: StateSlot) {
        for layer in &mut self.layers {
            for (memory, length) in layer.parts() {
                memory[slot.0 as usize * length..][..length].fill(0.0);
            }
        }
    }

    pub(super) fn copy(&mut self, from: StateSlot, to: StateSlot) {
        for layer in &mut self.layers {
            for (memory, length) in layer.parts() {
                let start = from.0 as usize * length;
                memory.copy_within(start..start + length, to.0 as usize * length);
            }
        }
    }
}

/// Numbers of a slot follow each other as they lie in memory, layer by layer, the convolution's first.
impl States {
    pub(super) fn slot_bytes(&self) -> usize {
        self.layers.iter().map(|layer| 4 * (layer.conv_length + layer.recurrent_length)).sum()
    }

    pub(super) fn read(&self, slot: StateSlot, bytes: &mut [u8]) {
        let slot = slot.0 as usize;
        let values = self.layers.iter().flat_map(|layer| {
            let conv = &layer.conv[slot * layer.conv_length..][..layer.conv_length];
            conv.iter().chain(&layer.recurrent[slot * layer.recurrent_length..][..layer.recurrent_length])
        });
        for (bytes, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
            *bytes = value.to_ne_bytes();
        }
    }

    pub(super) fn write(&mut self, slot: StateSlot, bytes: &[u8]) {
        let slot = slot.0 as usize;
        let values = self.layers.iter_mut().flat_map(|layer| {
            let conv = &mut layer.conv[slot * layer.conv_length..][..layer.conv_length];
            conv.iter_mut().chain(&mut layer.recurrent[slot * layer.recurrent_length..][..layer.recurrent_length])
        });
        for (value, bytes) in values.zip(bytes.as_chunks().0) {
            *value = f32::from_ne_bytes(*bytes);
        }
    }
}

impl StateLayer {
    /// The convolution's history of a sequence.
    pub(super) fn conv_of(&mut self, rows: &SequenceRows<'_>) -> &mut [f32] {
        let slot = rows.state_slot.expect("a sequence of a recurrent model has a state").0 as usize;
        &mut self.conv[slot * self.conv_length..][..self.conv_length]
    }

    /// The recurrent state of a sequence.
    pub(super) fn recurrent_of(&mut self, rows: &SequenceRows<'_>) -> &mut [f32] {
        let slot = rows.state_slot.expect("a sequence of a recurrent model has a state").0 as usize;
        &mut self.recurrent[slot * self.recurrent_length..][..self.recurrent_length]
    }

    fn parts(&mut self) -> [(&mut Memory<f32>, usize); 2] {
        [(&mut self.conv, self.conv_length), (&mut self.recurrent, self.recurrent_length)]
    }
}
