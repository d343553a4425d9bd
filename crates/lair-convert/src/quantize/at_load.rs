//! Quantized while it is loaded: a model whose planned tensors are made when they are asked for, and written nowhere.

use std::sync::Arc;

use lair_gguf::{GgufFile, TensorInfo, TensorMaker, TensorType};
use lair_simd::{Isa, IsaChoice};

use super::error::QuantizeError;
use super::plan::{Options, Plan};
use crate::parallel::fill_rows;

/// `model` as `plan` says it is to be, without importances.
///
/// # Errors
/// If the plan needs an importance matrix, or a tensor has no such type.
pub fn at_load(model: &GgufFile, plan: &Plan) -> Result<GgufFile, QuantizeError> {
    plan.check(&Options::default())?;
    let change = |(info, planned): (&TensorInfo, &super::PlannedTensor)| {
        (planned.from != planned.to).then(|| (planned.to, maker(model.clone(), info.clone(), planned.to)))
    };
    let changes = model.tensors().iter().zip(&plan.tensors).map(change).collect();
    Ok(model.with_changed(plan.metadata.clone(), changes)?)
}

/// Makes the bytes of a tensor in another type, by all threads. Values that are not finite become what the encoder makes of
/// them: the check of a loaded model finds them.
fn maker(model: GgufFile, info: TensorInfo, to: TensorType) -> TensorMaker {
    Arc::new(move || {
        let columns = info.shape.first().map_or(1, |length| *length as usize).max(1);
        let bytes_of = |tensor_type: TensorType, rows: usize| {
            tensor_type.size_bytes((rows * columns) as u64).expect("rows are whole blocks: the plan saw to it") as usize
        };
        let rows = info.element_count() as usize / columns;
        let (data, isa) = (model.tensor_data(&info), Isa::detect(IsaChoice::Auto));
        let mut bytes = vec![0; bytes_of(to, rows)];
        let row_bytes = bytes_of(to, 1);
        let made = fill_rows(&mut bytes, row_bytes, columns, |first, out| {
            let count = out.len() / row_bytes;
            let mut values = vec![0.0; count * columns];
            let own = &data[bytes_of(info.tensor_type, first)..bytes_of(info.tensor_type, first + count)];
            lair_quant::dequantize(info.tensor_type, own, &mut values)?;
            lair_quant::encode(isa, to, &values, columns, None, out)
        });
        made.expect("types and lengths were compared when the plan was made");
        bytes
    })
}
