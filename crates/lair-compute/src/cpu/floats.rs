//! Weights that are plain numbers: 16 rows side by side in the precision of the file, multiplied in f32.

use lair_quant::TensorType;
use lair_simd::Isa;

use super::brain_kernel::{BrainRoom, Sixteen, multiply_brains};
use super::float_kernel::{Brain, Element, Half, Panels, STRIP_MAX, Single, multiply, strip_max, widen};
use super::float_pack::{pack_bytes, pack_values};
use super::memory::{Lasting, Memory, Use};
use super::packed::PANEL;
use super::pool::Pool;
use super::quantise::QuantisedBlock;
use crate::{ComputeError, MatrixBytes, WeightBytes};

/// Columns that all strips of tokens take before the next ones: what two panels and a strip have of them (32 KiB if all
/// is f32) stays in the first-level cache.
const CHUNK: usize = 128;
/// Room for the columns of a chunk as f32: those of one panel, and behind them the other's.
pub(super) type Widened = [[f32; PANEL]; 2 * CHUNK];
/// From so many strips on, columns of 16 bits are widened once for all of them and not by each.
const WIDENED_FROM: usize = 3;
/// How far ahead of the products weights are asked for, by the first strip on its way: longer than memory takes to
/// answer, and short enough that they are still in a cache when their turn comes.
const AHEAD_BYTES: usize = 16 << 10;

/// Elements as they are kept, `[panel, column, row]`.
enum Elements {
    F32(Lasting<f32>),
    /// As bits.
    F16(Lasting<u16>),
    /// The upper halves of f32.
    BF16(Lasting<u16>),
}

/// A stack of matrices of plain numbers.
pub(super) struct Floats {
    elements: Elements,
    pub(super) columns: usize,
    pub(super) panels: usize,
}

impl Floats {
    /// Interleaves the rows of `source` with all threads of the pool. Types other than F16 and BF16 become f32.
    ///
    /// # Errors
    /// If the memory cannot be had, or the type cannot be read.
    pub(super) fn pack(pool: &Pool, source: &MatrixBytes) -> Result<Floats, ComputeError> {
        let (columns, panels) = (source.columns, source.rows().div_ceil(PANEL));
        let length = Floats::length(source).unwrap_or(usize::MAX);
        let (usage, what) = (Use::Whole, "weights");
        let shorts = || Ok(Lasting::Own(pack_bytes(pool, source, Memory::zeroed_for(usage, length, what)?)));
        let elements = match source.tensor_type {
            TensorType::F16 => Elements::F16(shorts()?),
            TensorType::BF16 => Elements::BF16(shorts()?),
            TensorType::F32 => {
                Elements::F32(Lasting::Own(pack_bytes(pool, source, Memory::zeroed_for(usage, length, what)?)))
            }
            _ => Elements::F32(Lasting::Own(pack_values(pool, source, Memory::zeroed_for(usage, length, what)?)?)),
        };
        Ok(Floats { elements, columns, panels })
    }

    /// The matrices of `source` as they were packed before; `None` if these bytes cannot be that.
    pub(super) fn kept(source: &MatrixBytes, bytes: WeightBytes) -> Option<Floats> {
        let (columns, panels) = (source.columns, source.rows().div_ceil(PANEL));
        let length = Floats::length(source)?;
        let elements = match source.tensor_type {
            TensorType::F16 => Elements::F16(Lasting::elsewhere(bytes, length)?),
            TensorType::BF16 => Elements::BF16(Lasting::elsewhere(bytes, length)?),
            _ => Elements::F32(Lasting::elsewhere(bytes, length)?),
        };
        Some(Floats { elements, columns, panels })
    }

    /// Elements of all matrices of `source`; `None` if nothing can have as many.
    fn length(source: &MatrixBytes) -> Option<usize> {
        source.count.checked_mul(source.rows().div_ceil(PANEL))?.checked_mul(PANEL)?.checked_mul(source.columns)
    }

    /// All elements as bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.elements {
            Elements::F32(elements) => elements.bytes(),
            Elements::F16(elements) | Elements::BF16(elements) => elements.bytes(),
        }
    }

    /// Bytes held.
    pub(super) fn size_bytes(&self) -> usize {
        match &self.elements {
            Elements::F32(memory) => 4 * memory.len(),
            Elements::F16(memory) | Elements::BF16(memory) => 2 * memory.len(),
        }
    }

    /// What the weights are, if they have 16 bits.
    pub(super) fn sixteen(&self) -> Option<Sixteen> {
        match &self.elements {
            Elements::F32(_) => None,
            Elements::F16(_) => Some(Sixteen::Half),
            Elements::BF16(_) => Some(Sixteen::Brain),
        }
    }

    /// Copies a row of matrix `index`, widened.
    pub(super) fn row(&self, index: usize, row: usize, values: &mut [f32]) {
        let start = (index * self.panels + row / PANEL) * self.columns * PANEL + row % PANEL;
        let places = (start..).step_by(PANEL);
        match &self.elements {
            Elements::F32(elements) => {
                let elements: &[f32] = elements;
                values.iter_mut().zip(places).for_each(|(value, place)| *value = elements[place]);
            }
            Elements::F16(elements) => {
                let elements: &[u16] = elements;
                let values = values.iter_mut().zip(places);
                values.for_each(|(value, place)| *value = half::f16::from_bits(elements[place]).to_f32());
            }
            Elements::BF16(elements) => {
                let elements: &[u16] = elements;
                let values = values.iter_mut().zip(places);
                values.for_each(|(value, place)| *value = f32::from_bits(u32::from(elements[place]) << 16));
            }
        }
    }
}

/// A panel of a stack of matrices of plain numbers.
#[derive(Clone, Copy)]
pub(super) struct FloatPanel<'a> {
    floats: &'a Floats,
    /// Which panel, counted over the whole stack.
    place: usize,
}

impl Floats {
    /// Panel `panel` of matrix `index`.
    pub(super) fn panel(&self, index: usize, panel: usize) -> FloatPanel<'_> {
        FloatPanel { floats: self, place: index * self.panels + panel }
    }
}

/// Adds the products of panels with every token: `sums[panel][token][row]`, columns in order.
pub(super) fn multiply_panels<'a, const P: usize>(
    isa: Isa,
    panels: [FloatPanel<'_>; P],
    token: &dyn Fn(usize) -> &'a [f32],
    room: &mut Widened,
    sums: [&mut [[f32; PANEL]]; P],
) {
    if !multiply_together(isa, &panels, sums[0].len()) {
        for (panel, sums) in panels.into_iter().zip(sums) {
            multiply_panels(isa, [panel], token, room, [sums]);
        }
        return;
    }
    // A worker takes neighbours one after the other: pairs of panels of one matrix, or gate and up side by side.
    let is_one_matrix = panels.iter().all(|panel| std::ptr::eq(panel.floats, panels[0].floats));
    let step = if is_one_matrix { P } else { 1 };
    match &panels[0].floats.elements {
        Elements::F32(_) => {
            multiply_elements::<Single, P>(isa, panels.map(FloatPanel::singles), step, token, room, sums)
        }
        Elements::F16(_) => multiply_elements::<Half, P>(isa, panels.map(FloatPanel::shorts), step, token, room, sums),
        Elements::BF16(_) => {
            multiply_elements::<Brain, P>(isa, panels.map(FloatPanel::shorts), step, token, room, sums)
        }
    }
}

/// What the weights of these panels are, if all are 16 bits of one kind and as long.
pub(super) fn brain_kind(panels: &[FloatPanel<'_>]) -> Option<Sixteen> {
    let first = panels.first()?;
    let is_alike = |panel: &FloatPanel<'_>| {
        panel.floats.sixteen() == first.floats.sixteen() && panel.floats.columns == first.floats.columns
    };
    first.floats.sixteen().filter(|_| panels.iter().all(is_alike))
}

/// As [`multiply_panels`], of weights that are all 16 bits of this kind with rows in BF16.
pub(super) fn multiply_brain_panels<'a, const P: usize>(
    kind: Sixteen,
    panels: [FloatPanel<'_>; P],
    token: &dyn Fn(usize) -> &'a [QuantisedBlock],
    room: &mut BrainRoom,
    sums: [&mut [[f32; PANEL]]; P],
) {
    let is_one_matrix = panels.iter().all(|panel| std::ptr::eq(panel.floats, panels[0].floats));
    let jump = if is_one_matrix { (P - 1) * panels[0].floats.columns * PANEL } else { 0 };
    multiply_brains(kind, (panels.map(FloatPanel::shorts), jump), token, room, sums);
}

/// Whether panels can, and should, be multiplied at once.
fn multiply_together(isa: Isa, panels: &[FloatPanel<'_>], tokens: usize) -> bool {
    let [first, others @ ..] = panels else { return true };
    let kind = |panel: &FloatPanel<'_>| std::mem::discriminant(&panel.floats.elements);
    let are_alike =
        others.iter().all(|other| kind(other) == kind(first) && other.floats.columns == first.floats.columns);
    // With few registers two panels leave no room for tokens.
    let is_worth_it = tokens <= strip_max(isa, panels.len()) || strip_max(isa, panels.len()) >= 8;
    others.is_empty() || are_alike && is_worth_it
}

/// [`multiply_panels`] with weights of one kind. The panels multiplied next are expected `step` further.
fn multiply_elements<'a, E: Element, const P: usize>(
    isa: Isa,
    panels: [&[[E::Stored; PANEL]]; P],
    step: usize,
    token: &dyn Fn(usize) -> &'a [f32],
    room: &mut Widened,
    mut sums: [&mut [[f32; PANEL]]; P],
) {
    let (columns, tokens) = (panels[0].len(), sums[0].len());
    let strips = tokens.div_ceil(strip_max(isa, P));
    let chunk = if strips == 1 { columns } else { CHUNK };
    let ahead = AHEAD_BYTES / size_of::<[E::Stored; PANEL]>();
    let is_widened = strips >= WIDENED_FROM && size_of::<E::Stored>() < size_of::<f32>();
    let mut first = 0;
    while first < columns {
        // What comes soon lies in these panels, or else in the next ones.
        let (limit, skipped) =
            if first + ahead < columns { (columns - ahead, 0) } else { (columns, (step - 1) * columns) };
        let range = first..(first + chunk).min(limit);
        let soon = panels.map(|panel| panel.as_ptr().wrapping_add(first + ahead + skipped));
        if is_widened {
            for (panel, columns) in panels.iter().zip(room.chunks_exact_mut(CHUNK)) {
                widen::<E>(isa, &panel[range.clone()], &mut columns[..range.len()]);
            }
        }
        for strip in 0..strips {
            let among = tokens * strip / strips..tokens * (strip + 1) / strips;
            let mut factors: [&[f32]; STRIP_MAX] = [&[]; STRIP_MAX];
            for (factors, t) in factors.iter_mut().zip(among.clone()) {
                *factors = &token(t)[range.clone()];
            }
            let mut sums = sums.iter_mut();
            let sums = std::array::from_fn(|_| &mut sums.next().expect("one a panel")[among.clone()]);
            let soon = (strip == 0).then_some(soon);
            let factors = &factors[..among.len()];
            if is_widened {
                let columns = std::array::from_fn(|p| &room[p * CHUNK..][..range.len()]);
                // An element has half the bytes there, so that as many lines reach twice as far.
                let soon = soon.map(|soon| soon.map(|place| place.cast()));
                multiply::<Single, P>(isa, Panels { columns, soon }, factors, sums);
            } else {
                let part = Panels { columns: panels.map(|panel| &panel[range.clone()]), soon };
                multiply::<E, P>(isa, part, factors, sums);
            }
        }
        first = range.end;
    }
}

impl<'a> FloatPanel<'a> {
    fn singles(self) -> &'a [[f32; PANEL]] {
        match &self.floats.elements {
            Elements::F32(memory) => self.columns_of(memory),
            _ => unreachable!("panels are taken together if they are of one kind"),
        }
    }

    fn shorts(self) -> &'a [[u16; PANEL]] {
        match &self.floats.elements {
            Elements::F16(memory) | Elements::BF16(memory) => self.columns_of(memory),
            Elements::F32(_) => unreachable!("panels are taken together if they are of one kind"),
        }
    }

    fn columns_of<T>(self, memory: &'a [T]) -> &'a [[T; PANEL]] {
        &memory.as_chunks::<PANEL>().0[self.place * self.floats.columns..][..self.floats.columns]
    }
}
