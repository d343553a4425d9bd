//! Where a model lies: on GPUs as far as they have room, the rest in the system's memory.
//!
//! Whole layers move, each with its keys and values. Layers are taken as equally large; head and embedding count as spread over
//! them. Of a mixture of experts everything else is put onto a GPU first, since experts are read only where they are chosen.

use crate::estimate::{MemoryNeeds, room};
use crate::hardware::{Hardware, Sharing};
use crate::subject::Subject;
use lair_model::cost::TakenBy;

/// What a GPU's driver and its kernels take of its memory.
pub const GPU_RESERVE_BYTES: u64 = 512 << 20;

/// Whose memory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The system's.
    System,
    /// A GPU's, by its index.
    Gpu(usize),
}

/// What lies in one memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Whose.
    pub place: Place,
    /// Of all layers, without experts, from 0 to 1.
    pub layer_share: f64,
    /// Of all experts; the same where there are none.
    pub expert_share: f64,
    /// Bytes of weights, keys and values, state and buffers.
    pub size_bytes: u64,
}

/// Where everything is.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// In the order in which a token goes through them.
    pub parts: Vec<Part>,
    /// How GPUs share it.
    pub sharing: Sharing,
    /// Layers of the model.
    pub layer_count: usize,
}

impl Placement {
    /// All in the system's memory.
    pub fn in_system(subject: &Subject, memory: &MemoryNeeds) -> Placement {
        let all = Part { place: Place::System, layer_share: 1.0, expert_share: 1.0, size_bytes: memory.total_bytes() };
        Placement { parts: vec![all], sharing: Sharing::Pipeline, layer_count: subject.layer_count }
    }

    /// Whether some of it is computed on GPUs and some not.
    pub fn is_split(&self) -> bool {
        let in_system = |part: &Part| part.place == Place::System;
        self.parts.iter().any(in_system) && !self.parts.iter().all(in_system)
    }

    /// Bytes on GPUs.
    pub fn gpu_bytes(&self) -> u64 {
        self.parts.iter().filter(|part| part.place != Place::System).map(|part| part.size_bytes).sum()
    }

    /// Of all bytes, those that are not on GPUs.
    pub fn offload_share(&self) -> f64 {
        let all: u64 = self.parts.iter().map(|part| part.size_bytes).sum();
        1.0 - self.gpu_bytes() as f64 / all.max(1) as f64
    }

    /// Layers on GPUs, without regard to experts.
    pub fn gpu_layers(&self) -> usize {
        let gpus = self.parts.iter().filter(|part| part.place != Place::System);
        (gpus.map(|part| part.layer_share).sum::<f64>() * self.layer_count as f64).round() as usize
    }

    /// Whether experts are apart from the rest of their layers.
    pub fn has_experts_apart(&self) -> bool {
        self.parts.iter().any(|part| part.layer_share != part.expert_share)
    }
}

/// Bytes of the parts of a model that move together.
struct Sizes {
    /// A layer with its keys and values, without experts.
    layer: f64,
    /// A layer's experts.
    experts: f64,
    /// What each device needs besides.
    step: u64,
    /// What stays in the system's memory: vocabulary and the like.
    other: u64,
}

impl Sizes {
    fn of(subject: &Subject, memory: &MemoryNeeds) -> Sizes {
        let chosen = |matrix: &&lair_model::cost::MatrixCost| matches!(matrix.taken_by, TakenBy::Chosen { .. });
        let experts: u64 = subject.cost.matrices.iter().filter(chosen).map(|matrix| matrix.size_bytes).sum();
        let layers = subject.layer_count.max(1) as f64;
        let rest = memory.weights_bytes.saturating_sub(experts) + memory.kv_bytes + memory.state_bytes;
        Sizes {
            layer: rest as f64 / layers,
            experts: experts as f64 / layers,
            step: memory.step_bytes,
            other: memory.other_bytes,
        }
    }
}

/// Places a model; `None` if there is no room for it.
pub fn place(subject: &Subject, hardware: &Hardware, memory: &MemoryNeeds) -> Option<Placement> {
    let system_room = room(hardware);
    let fits_system = |bytes: u64| system_room.is_none_or(|room| bytes <= room);
    if hardware.gpus.is_empty() {
        return fits_system(memory.total_bytes()).then(|| Placement::in_system(subject, memory));
    }
    let sizes = Sizes::of(subject, memory);
    if let Some(placement) = on_all_alike(subject, hardware, &sizes).filter(|_| fits_system(sizes.other)) {
        return Some(placement);
    }
    let placement = match sizes.experts > 0.0 {
        true => experts_last(subject, hardware, &sizes).unwrap_or_else(|| layers_first(subject, hardware, &sizes)),
        false => layers_first(subject, hardware, &sizes),
    };
    let in_system: u64 =
        placement.parts.iter().filter(|part| part.place == Place::System).map(|part| part.size_bytes).sum();
    fits_system(in_system.max(sizes.other)).then_some(placement)
}

fn gpu_room(hardware: &Hardware, index: usize, sizes: &Sizes) -> f64 {
    hardware.gpus[index].memory_bytes.saturating_sub(GPU_RESERVE_BYTES + sizes.step) as f64
}

/// An equal part of each layer on each GPU, where that is wanted and they all have room.
fn on_all_alike(subject: &Subject, hardware: &Hardware, sizes: &Sizes) -> Option<Placement> {
    let count = hardware.gpus.len();
    if hardware.sharing != Sharing::Tensor || count < 2 {
        return None;
    }
    let bytes = (sizes.layer + sizes.experts) * subject.layer_count as f64 / count as f64;
    let has_room = (0..count).all(|index| bytes <= gpu_room(hardware, index, sizes));
    let share = 1.0 / count as f64;
    let part = |index: usize| Part {
        place: Place::Gpu(index),
        layer_share: share,
        expert_share: share,
        size_bytes: bytes as u64 + sizes.step,
    };
    has_room.then(|| Placement {
        parts: (0..count).map(part).collect(),
        sharing: Sharing::Tensor,
        layer_count: subject.layer_count,
    })
}

/// Whole layers, as many as each GPU holds; where all hold more than there are, in proportion to their room.
fn layers_first(subject: &Subject, hardware: &Hardware, sizes: &Sizes) -> Placement {
    let layer = sizes.layer + sizes.experts;
    let holds: Vec<usize> =
        (0..hardware.gpus.len()).map(|index| (gpu_room(hardware, index, sizes) / layer) as usize).collect();
    let mut left = subject.layer_count;
    let mut parts = Vec::new();
    // The first GPU that holds all of it gets all of it: every further one only costs a link.
    let alone = holds.iter().position(|held| *held >= left);
    for (index, held) in holds.iter().enumerate() {
        let taken = match alone {
            Some(alone) if alone != index => 0,
            _ => left.min(*held),
        };
        if taken > 0 {
            parts.push(part(subject, sizes, Place::Gpu(index), taken, taken));
        }
        left -= taken;
    }
    if left > 0 {
        parts.insert(0, part(subject, sizes, Place::System, left, left));
    }
    Placement { parts, sharing: Sharing::Pipeline, layer_count: subject.layer_count }
}

/// Everything but experts on the first GPU, and as many experts as it still holds; `None` if it does not even hold the rest, or if
/// all fits as it is.
fn experts_last(subject: &Subject, hardware: &Hardware, sizes: &Sizes) -> Option<Placement> {
    let layers = subject.layer_count;
    let whole = layers_first(subject, hardware, sizes);
    if !whole.is_split() && whole.parts.iter().all(|part| part.place != Place::System) {
        return Some(whole);
    }
    let left = gpu_room(hardware, 0, sizes) - sizes.layer * layers as f64;
    if left < 0.0 {
        return None;
    }
    let experts = ((left / sizes.experts) as usize).min(layers);
    let parts = vec![
        part(subject, sizes, Place::Gpu(0), layers, experts),
        part(subject, sizes, Place::System, 0, layers - experts),
    ];
    Some(Placement { parts, sharing: Sharing::Pipeline, layer_count: layers })
}

fn part(subject: &Subject, sizes: &Sizes, place: Place, layers: usize, experts: usize) -> Part {
    let share = |count: usize| count as f64 / subject.layer_count.max(1) as f64;
    let bytes = sizes.layer * layers as f64 + sizes.experts * experts as f64;
    let other = if place == Place::System { sizes.other } else { 0 };
    Part {
        place,
        layer_share: share(layers),
        expert_share: share(experts),
        size_bytes: bytes as u64 + sizes.step + other,
    }
}
