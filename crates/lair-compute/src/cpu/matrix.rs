//! A weight matrix, or a stack of them, in the layout that its type asks for.

use std::sync::Arc;

use lair_simd::Isa;

use super::brain_kernel;
use super::floats::Floats;
use super::memory::Parts;
use super::pack::pack_panel;
use super::packed::{BLOCK, Layout, PANEL, Packed};
use super::panel::{CHUNK, Chunk};
use super::pool::Pool;
use super::quantise::{ActivationType, InputForm};
use super::tap::Tap;
use crate::{ComputeError, MatrixBytes, WeightArchive};

pub(super) enum Weights {
    /// Integer codes with scales: every quantised type.
    Packed(Packed),
    /// F32, F16, BF16, and the rare plain types as f32.
    Floats(Floats),
}

/// A stack of matrices in panels of 16 rows; the last panel is padded. A clone shares the weights.
#[derive(Clone)]
pub struct Matrix {
    pub(super) weights: Arc<Weights>,
    rows: usize,
    columns: usize,
    activations: ActivationType,
    /// Whether its weights can be multiplied in BF16 here.
    pub(super) has_brain_products: bool,
    /// Where inputs are added up, if they are.
    pub(super) tap: Option<Arc<Tap>>,
}

impl Matrix {
    /// The matrices of `source`: those that the archive has, or else packed with all threads of the pool, which the archive
    /// may keep.
    ///
    /// # Errors
    /// If the source is not what it says, its type is not known, or the memory cannot be had.
    pub(super) fn of(
        isa: Isa,
        pool: &Pool,
        source: &MatrixBytes,
        archive: Option<&dyn WeightArchive>,
    ) -> Result<Matrix, ComputeError> {
        let refused = || ComputeError::WeightType { name: source.name.clone(), tensor_type: source.tensor_type };
        let format = lair_quant::format_of(source.tensor_type).ok_or_else(refused)?;
        let layout = format.shape.as_ref().map(|shape| Layout::of(format, shape));
        // Asked before the source is looked at: its bytes may have to be made.
        let kept = archive.and_then(|archive| Weights::kept(source, layout, archive));
        let is_kept = kept.is_some();
        let weights = match (kept, layout) {
            (Some(kept), _) => kept,
            (None, None) => {
                source.check()?;
                Weights::Floats(Floats::pack(pool, source)?)
            }
            (None, Some(layout)) => {
                source.check()?;
                Weights::Packed(pack(isa, pool, source, layout)?)
            }
        };
        let weights = Arc::new(weights);
        if let Some(archive) = archive.filter(|_| !is_kept) {
            Weights::keep(&weights, source, archive);
        }
        let (rows, columns) = (source.rows(), source.columns);
        let has_brain_products = match &*weights {
            Weights::Packed(_) => false,
            Weights::Floats(floats) => {
                floats.sixteen().is_some() && columns.is_multiple_of(BLOCK) && brain_kernel::is_available(isa)
            }
        };
        Ok(Matrix { weights, rows, columns, activations: ActivationType::default(), has_brain_products, tap: None })
    }

    /// Packs the matrices of `source` with all threads of the pool.
    ///
    /// # Errors
    /// As [`Matrix::of`].
    #[cfg(test)]
    pub(super) fn pack(isa: Isa, pool: &Pool, source: &MatrixBytes) -> Result<Matrix, ComputeError> {
        Matrix::of(isa, pool, source, None)
    }

    /// The same matrix, with activations of another type.
    pub(super) fn with_activations(self, activations: ActivationType) -> Matrix {
        Matrix { activations, ..self }
    }

    /// The same matrix, with activations of another type if they are coded at all: weights of 16 and 32 bits do not depend
    /// on what it stands for.
    pub(super) fn in_role(self, activations: ActivationType) -> Matrix {
        match &*self.weights {
            Weights::Packed(_) => self.with_activations(activations),
            Weights::Floats(_) => self,
        }
    }

    /// Rows of one matrix: the width of the output.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns: the width of the input.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes of memory that the weights take.
    pub fn size_bytes(&self) -> usize {
        match &*self.weights {
            Weights::Packed(packed) => packed.size_bytes(),
            Weights::Floats(floats) => floats.size_bytes(),
        }
    }

    /// Panels of one matrix.
    pub(super) fn panels(&self) -> usize {
        self.rows.div_ceil(PANEL)
    }

    /// The form in which products take a row of activations.
    pub(super) fn form(&self) -> InputForm {
        match &*self.weights {
            Weights::Packed(_) => self.activations.form(),
            Weights::Floats(_) if self.has_brain_products && self.activations == ActivationType::Bytes => {
                InputForm::Brains
            }
            Weights::Floats(_) => InputForm::Numbers,
        }
    }

    /// The values of row `row` of the first matrix.
    pub(super) fn copy_row(&self, isa: Isa, row: usize, chunk: &mut Chunk, values: &mut [f32]) {
        assert!(row < self.rows, "row {row} of a matrix of {}", self.rows);
        match &*self.weights {
            Weights::Floats(floats) => floats.row(0, row, values),
            Weights::Packed(packed) => {
                let (panel, lane) = (packed.panel(0, row / PANEL), row % PANEL);
                for (index, values) in values.chunks_mut(CHUNK).enumerate() {
                    let blocks = (index * CHUNK / BLOCK, values.len() / BLOCK);
                    chunk.fill(isa, &packed.layout, panel, blocks);
                    copy_lane(&packed.layout, chunk, lane, values);
                }
            }
        }
    }
}

impl Weights {
    /// Asks an archive for the parts of this matrix.
    fn kept(source: &MatrixBytes, layout: Option<Layout>, archive: &dyn WeightArchive) -> Option<Weights> {
        let name = source.part_name();
        let load = |part: WeightPart| archive.load(&part.of(&name));
        Some(match layout {
            None => Weights::Floats(Floats::kept(source, load(WeightPart::Elements)?)?),
            Some(layout) => {
                let parts = (load(WeightPart::Codes)?, load(WeightPart::Scales)?);
                Weights::Packed(Packed::kept(source, layout, parts)?)
            }
        })
    }

    /// Offers the parts of this matrix to an archive.
    fn keep(weights: &Arc<Weights>, source: &MatrixBytes, archive: &dyn WeightArchive) {
        let name = source.part_name();
        let parts: &[WeightPart] = match **weights {
            Weights::Packed(_) => &[WeightPart::Codes, WeightPart::Scales],
            Weights::Floats(_) => &[WeightPart::Elements],
        };
        for &part in parts {
            archive.keep(&part.of(&name), Arc::new(KeptPart { weights: Arc::clone(weights), part }));
        }
    }
}

/// What an archive keeps of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WeightPart {
    Codes,
    Scales,
    /// Of a type that is not quantized.
    Elements,
}

impl WeightPart {
    fn of(self, matrix: &str) -> String {
        let what = match self {
            WeightPart::Codes => "codes",
            WeightPart::Scales => "scales",
            WeightPart::Elements => "elements",
        };
        format!("{matrix} {what}")
    }
}

/// A part, to be written somewhere.
struct KeptPart {
    weights: Arc<Weights>,
    part: WeightPart,
}

impl AsRef<[u8]> for KeptPart {
    fn as_ref(&self) -> &[u8] {
        match (&*self.weights, self.part) {
            (Weights::Packed(packed), WeightPart::Scales) => packed.parts().1,
            (Weights::Packed(packed), _) => packed.parts().0,
            (Weights::Floats(floats), _) => floats.bytes(),
        }
    }
}

/// Packs panel by panel.
#[allow(unsafe_code)] // Panels are written by several threads.
fn pack(isa: Isa, pool: &Pool, source: &MatrixBytes, layout: Layout) -> Result<Packed, ComputeError> {
    let mut room = Packed::room(source, &layout)?;
    let (code_bytes, scale_bytes) = layout.panel_bytes(source.columns);
    let panels = source.rows().div_ceil(PANEL);
    let (codes, scales) = (Parts::new(&mut room.codes), Parts::new(&mut room.scales));
    pool.split(source.count * panels, &|_, range| {
        for place in range {
            // SAFETY: every place has its own part, and is visited once.
            let out =
                unsafe { (codes.part(place * code_bytes, code_bytes), scales.part(place * scale_bytes, scale_bytes)) };
            pack_panel(isa, source, &layout, (place / panels, place % panels), out);
        }
    });
    Ok(Packed::filled(source, layout, room))
}

/// The values of one row of a chunk.
fn copy_lane(layout: &Layout, chunk: &Chunk, lane: usize, values: &mut [f32]) {
    for (column, value) in values.iter_mut().enumerate() {
        let (block, within) = (column / BLOCK, column % BLOCK);
        let code = i32::from(chunk.codes[block][within / 4][4 * lane + within % 4]) - chunk.offset;
        let sub = column / layout.sub_length;
        let min = if layout.has_mins { chunk.mins[sub][lane] } else { 0.0 };
        *value = chunk.scales[sub][lane] * code as f32 - min;
    }
}
