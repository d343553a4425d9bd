//! Pages of keys and values, and slots of recurrent state.

use half::f16;
use lair_simd::Isa;

use super::floats::widen;
use super::memory::{Memory, Plain};
use super::packed::PANEL;
use crate::{ComputeError, KvElement, KvLayerLayout, KvLayout, PAGE_LENGTH, PageId, StateLayout, StateSlot};

/// Keys and values of every attention layer.
pub struct Kv {
    pub(super) layers: Vec<KvLayer>,
}

impl Kv {
    pub(super) fn new(layout: &KvLayout) -> Result<Kv, ComputeError> {
        let layers = layout.layers.iter().map(|layer| KvLayer::new(layer, layout.element, layout.page_count));
        Ok(Kv { layers: layers.collect::<Result<_, _>>()? })
    }

    pub(super) fn copy_page(&mut self, from: PageId, to: PageId) {
        for layer in &mut self.layers {
            let (keys, values) = (layer.key_page_length(), layer.value_page_length());
            match &mut layer.pages {
                Pages::F32(pages) => pages.copy(from, to, keys, values),
                Pages::F16(pages) => pages.copy(from, to, keys, values),
            }
        }
    }
}

/// Keys `[page, kv_head, element, position]`, values `[page, kv_head, panel of 16 elements, position, element]`.
pub(super) struct KvLayer {
    layout: KvLayerLayout,
    pages: Pages,
}

enum Pages {
    F32(Elements<f32>),
    F16(Elements<u16>),
}

struct Elements<T: Plain> {
    keys: Memory<T>,
    values: Memory<T>,
}

impl<T: Plain> Elements<T> {
    fn copy(&mut self, from: PageId, to: PageId, key_length: usize, value_length: usize) {
        for (memory, length) in [(&mut self.keys, key_length), (&mut self.values, value_length)] {
            let start = from.0 as usize * length;
            memory.copy_within(start..start + length, to.0 as usize * length);
        }
    }
}

impl KvLayer {
    fn new(layout: &KvLayerLayout, element: KvElement, page_count: usize) -> Result<KvLayer, ComputeError> {
        let what = "the cache of keys and values";
        let length = |heads: usize, width: usize| heads * width * PAGE_LENGTH * page_count;
        let keys = length(layout.kv_head_count, layout.key_dim);
        let values = length(layout.kv_head_count, layout.value_dim.div_ceil(PANEL) * PANEL);
        let pages = match element {
            KvElement::F32 => {
                Pages::F32(Elements { keys: Memory::zeroed(keys, what)?, values: Memory::zeroed(values, what)? })
            }
            KvElement::F16 => {
                Pages::F16(Elements { keys: Memory::zeroed(keys, what)?, values: Memory::zeroed(values, what)? })
            }
        };
        Ok(KvLayer { layout: *layout, pages })
    }

    fn key_page_length(&self) -> usize {
        self.layout.kv_head_count * self.layout.key_dim * PAGE_LENGTH
    }

    fn value_page_length(&self) -> usize {
        self.layout.kv_head_count * self.layout.value_dim.div_ceil(PANEL) * PANEL * PAGE_LENGTH
    }

    /// Stores keys `[kv_head_count * key_dim]` and values `[kv_head_count * value_dim]` of one position.
    pub(super) fn store(&mut self, page: PageId, position: usize, keys: &[f32], values: &[f32]) {
        let key_start = page.0 as usize * self.key_page_length();
        let value_start = page.0 as usize * self.value_page_length();
        match &mut self.pages {
            Pages::F32(pages) => {
                store_keys(&mut pages.keys[key_start..], position, keys, |x| x);
                store_values(&mut pages.values[value_start..], self.layout.value_dim, position, values, |x| x);
            }
            Pages::F16(pages) => {
                let narrow = |x| f16::from_f32(x).to_bits();
                store_keys(&mut pages.keys[key_start..], position, keys, narrow);
                store_values(&mut pages.values[value_start..], self.layout.value_dim, position, values, narrow);
            }
        }
    }

    /// Widens a head's page: keys to `[element][position]`, values to `[panel * position][element]`.
    pub(super) fn load(
        &self,
        isa: Isa,
        page: PageId,
        kv_head: usize,
        keys: &mut [[f32; PANEL]],
        values: &mut [[f32; PANEL]],
    ) {
        let key_length = self.layout.key_dim * PAGE_LENGTH;
        let value_length = self.layout.value_dim.div_ceil(PANEL) * PANEL * PAGE_LENGTH;
        let place = page.0 as usize * self.layout.kv_head_count + kv_head;
        match &self.pages {
            Pages::F32(pages) => {
                let keys = &mut keys.as_flattened_mut()[..key_length];
                keys.copy_from_slice(&pages.keys[place * key_length..][..key_length]);
                let values = &mut values.as_flattened_mut()[..value_length];
                values.copy_from_slice(&pages.values[place * value_length..][..value_length]);
            }
            Pages::F16(pages) => {
                widen(isa, &pages.keys[place * key_length..][..key_length], keys.as_flattened_mut());
                widen(isa, &pages.values[place * value_length..][..value_length], values.as_flattened_mut());
            }
        }
    }
}

fn store_keys<T>(page: &mut [T], position: usize, keys: &[f32], narrow: impl Fn(f32) -> T) {
    // Heads follow one another without padding, so the element's index over all heads is its place.
    for (index, &key) in keys.iter().enumerate() {
        page[index * PAGE_LENGTH + position] = narrow(key);
    }
}

fn store_values<T>(page: &mut [T], dim: usize, position: usize, values: &[f32], narrow: impl Fn(f32) -> T) {
    let padded = dim.div_ceil(PANEL) * PANEL;
    for (head, values) in values.chunks_exact(dim).enumerate() {
        for (index, &value) in values.iter().enumerate() {
            let panel = head * padded / PANEL + index / PANEL;
            page[(panel * PAGE_LENGTH + position) * PANEL + index % PANEL] = narrow(value);
        }
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

impl StateLayer {
    fn parts(&mut self) -> [(&mut Memory<f32>, usize); 2] {
        [(&mut self.conv, self.conv_length), (&mut self.recurrent, self.recurrent_length)]
    }
}
