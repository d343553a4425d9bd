//! Makes a backend's weights from declared names: norms, products, vectors.

use std::cell::RefCell;
use std::collections::HashMap;

use lair_compute::{Backend, Linear, MatrixBytes, MatrixRole, NormGroup, NormKind, RowSelection};

use super::{AdapterParts, BufferWidths, MemoryLayers};
use crate::shapes::norm_kind;
use crate::spec::{Norm, NormSpan};
use crate::tensor_source::TensorSource;
use crate::{ModelConfig, ModelError};

/// Puts one model together.
pub(crate) struct Builder<'a, B: Backend> {
    pub(crate) backend: &'a B,
    pub(crate) source: TensorSource<'a>,
    pub(crate) config: &'a ModelConfig,
    /// The longest context that will be asked for.
    pub(crate) context_length: usize,
    pub(crate) widths: BufferWidths,
    pub(crate) memory: MemoryLayers,
    pub(crate) adapters: AdapterParts<'a>,
    /// Whether several layers have the same tensors.
    pub(crate) shares_blocks: bool,
    /// Their matrices by name and rows, which all of them share.
    shared: RefCell<HashMap<(String, String), B::Matrix>>,
}

impl<'a, B: Backend> Builder<'a, B> {
    pub(crate) fn new(
        backend: &'a B,
        source: TensorSource<'a>,
        config: &'a ModelConfig,
        context_length: usize,
        adapters: AdapterParts<'a>,
    ) -> Builder<'a, B> {
        let widths = BufferWidths::default();
        let memory = MemoryLayers::default();
        let (shares_blocks, shared) = (false, RefCell::default());
        Builder { backend, source, config, context_length, widths, memory, adapters, shares_blocks, shared }
    }

    /// A whole matrix, or a whole stack of them.
    pub(crate) fn matrix(&self, name: &str) -> Result<B::Matrix, ModelError> {
        self.matrix_rows(name, RowSelection::All)
    }

    /// Some rows of a matrix. A backend that has its own copy needs the file's pages no more: they go at once, so that
    /// no more than one tensor lies in memory twice.
    fn matrix_rows(&self, name: &str, rows: RowSelection) -> Result<B::Matrix, ModelError> {
        let key = self.shares_blocks.then(|| (name.to_owned(), format!("{rows:?}")));
        if let Some(known) = key.as_ref().and_then(|key| self.shared.borrow().get(key).cloned()) {
            return Ok(known);
        }
        let matrix = self.backend.matrix(&self.source.matrix(name, rows));
        self.source.release_pages();
        let matrix = matrix?;
        if let Some(key) = key {
            self.shared.borrow_mut().insert(key, matrix.clone());
        }
        Ok(matrix)
    }

    /// Some rows of a stack of matrices, whose rows are counted on through all of them.
    pub(crate) fn flat_matrix_rows(&self, name: &str, rows: RowSelection) -> Result<B::Matrix, ModelError> {
        let source = self.source.matrix(name, rows);
        let stored_rows = source.stored_rows * source.count;
        Ok(self.backend.matrix(&MatrixBytes { stored_rows, count: 1, ..source })?)
    }

    /// A stack of `count` matrices, which may stand one below the other in the file.
    pub(crate) fn stack(&self, name: &str, count: usize) -> Result<B::Matrix, ModelError> {
        let source = self.source.matrix(name, RowSelection::All);
        let stored_rows = source.stored_rows * source.count / count;
        Ok(self.backend.matrix(&MatrixBytes { stored_rows, count, ..source })?)
    }

    /// A whole vector.
    pub(crate) fn vector(&self, name: &str) -> Result<B::Vector, ModelError> {
        Ok(self.backend.vector(&self.source.vector(name, RowSelection::All))?)
    }

    /// A whole vector, in host memory.
    pub(crate) fn values(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        Ok(self.source.vector(name, RowSelection::All).values()?)
    }

    /// The whole bias of a product, where the file has one.
    pub(crate) fn bias(&self, stem: &str) -> Result<Option<B::Vector>, ModelError> {
        let name = format!("{stem}.bias");
        if self.source.has(&name) { self.vector(&name).map(Some) } else { Ok(None) }
    }

    /// A product with its bias and factor, where the file has them.
    pub(crate) fn linear(&self, stem: &str) -> Result<Linear<B>, ModelError> {
        self.linear_rows(stem, RowSelection::All)
    }

    /// Some rows of a product.
    pub(crate) fn linear_rows(&self, stem: &str, rows: RowSelection) -> Result<Linear<B>, ModelError> {
        self.linear_rows_with(stem, rows.clone(), &format!("{stem}.bias"), rows)
    }

    /// Some rows of a product, with a bias that may lie in a tensor of its own.
    pub(crate) fn linear_rows_with(
        &self,
        stem: &str,
        rows: RowSelection,
        bias: &str,
        bias_rows: RowSelection,
    ) -> Result<Linear<B>, ModelError> {
        let weight = self.matrix_rows(&format!("{stem}.weight"), rows)?;
        let bias = match self.source.has(bias) {
            true => Some(self.backend.vector(&self.source.vector(bias, bias_rows))?),
            false => None,
        };
        let scale_name = format!("{stem}.scale");
        let scale = if self.source.has(&scale_name) { self.values(&scale_name)?[0] } else { 1.0 };
        Ok(Linear { weight, bias, scale })
    }

    /// The same product in this role.
    pub(crate) fn in_role(&self, linear: Linear<B>, role: MatrixRole) -> Linear<B> {
        Linear { weight: self.backend.in_role(linear.weight, role), ..linear }
    }

    /// The number in the tensor of this stem, where one is declared and the file has it.
    pub(crate) fn number(&self, prefix: &str, stem: Option<&str>) -> Result<Option<f32>, ModelError> {
        let name = stem.map(|stem| format!("{prefix}{stem}.weight")).filter(|name| self.source.has(name));
        name.map(|name| Ok(self.values(&name)?[0])).transpose()
    }

    /// A norm of heads of this width, of which a row has `head_count`.
    pub(crate) fn head_norm(
        &self,
        prefix: &str,
        norm: Norm,
        span: NormSpan,
        (head_dim, head_count): (usize, usize),
    ) -> Result<Option<lair_compute::Norm<B>>, ModelError> {
        let group = if span == NormSpan::Row { NormGroup::Row } else { NormGroup::Run(head_dim) };
        let (NormSpan::HeadFactor, Some(stem)) = (span, norm.stem()) else { return self.norm_of(prefix, norm, group) };
        // One factor a head becomes one an element, which is what backends have.
        let name = format!("{prefix}{stem}.weight");
        let factors = self.values(&name)?;
        debug_assert_eq!(factors.len(), head_count, "the shape was checked");
        let elements: Vec<f32> = factors.iter().flat_map(|factor| std::iter::repeat_n(*factor, head_dim)).collect();
        let Some((kind, epsilon)) = norm_kind(norm, self.config)? else { return Ok(None) };
        let weight = Some(self.constants(&name, &elements)?);
        Ok(Some(lair_compute::Norm { kind, group, weight, bias: None, epsilon }))
    }

    /// A norm of whole rows.
    pub(crate) fn norm(&self, prefix: &str, norm: Norm) -> Result<Option<lair_compute::Norm<B>>, ModelError> {
        self.norm_of(prefix, norm, NormGroup::Row)
    }

    /// A norm of what `group` says.
    pub(crate) fn norm_of(
        &self,
        prefix: &str,
        norm: Norm,
        group: NormGroup,
    ) -> Result<Option<lair_compute::Norm<B>>, ModelError> {
        let Some((kind, epsilon)) = norm_kind(norm, self.config)? else { return Ok(None) };
        let name = match norm {
            Norm::RmsEither(stem, other) if !self.source.has(&format!("{prefix}{stem}.weight")) => {
                Some(format!("{prefix}{other}.weight"))
            }
            _ => norm.weight_name().map(|name| format!("{prefix}{name}")),
        };
        if name.as_ref().is_some_and(|name| norm.is_optional() && !self.source.has(name)) {
            return Ok(None);
        }
        let weight = name.map(|name| self.vector(&name)).transpose()?;
        let has_bias = kind == NormKind::Layer || matches!(norm, Norm::RmsBiased(_));
        let bias = match norm.stem() {
            Some(stem) if has_bias => self.bias(&format!("{prefix}{stem}"))?,
            _ => None,
        };
        Ok(Some(lair_compute::Norm { kind, group, weight, bias, epsilon }))
    }
}
