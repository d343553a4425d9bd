//! The numbers of a checkpoint as matrices: views of what a file holds, or rows that are made of what it holds.

use std::sync::Arc;

use lair_gguf::{MappedFile, TensorType};
use lair_model::spec::source::Change;

use crate::element::ElementType;
use crate::error::ConvertError;
use crate::hf::facts::Facts;
use crate::stored::StoredTensor;

/// Makes rows of numbers from what the files hold: a quantized layout of another program.
pub(crate) trait RowMaker: Send + Sync {
    /// Writes the numbers of a row.
    fn row(&self, files: &[MappedFile], row: usize, values: &mut [f32]);

    /// Whether its numbers are those of blocks of this type.
    fn has_blocks(&self, _tensor_type: TensorType) -> bool {
        false
    }

    /// Writes the blocks of a row, of a type of which it has them.
    fn blocks(&self, _files: &[MappedFile], _row: usize, _out: &mut [u8]) {}
}

/// Where the numbers of a matrix come from.
#[derive(Clone)]
pub(crate) enum Elements {
    /// They lie in a file; strides count elements.
    Stored { element: ElementType, file: usize, start: u64, row_stride: usize, column_stride: usize },
    /// They are made, row by row.
    Made(Arc<dyn RowMaker>),
    /// They are here.
    Values(Arc<[f32]>),
}

/// A matrix of a checkpoint, `[rows, columns]`. A vector has one column.
#[derive(Clone)]
pub(crate) struct Matrix {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) elements: Elements,
}

/// A tensor of a checkpoint, as a stack of matrices.
#[derive(Clone)]
pub(crate) struct SourceTensor {
    pub(crate) name: String,
    /// The slowest dimension first.
    pub(crate) shape: Vec<usize>,
    /// The type that holds its values without loss.
    pub(crate) weight_type: TensorType,
    pub(crate) matrices: Vec<Matrix>,
}

impl SourceTensor {
    /// The view of a stored tensor.
    pub(crate) fn of_stored(tensor: &StoredTensor) -> Result<SourceTensor, ConvertError> {
        let wrong = |expected: &str| ConvertError::TensorShape {
            name: tensor.name.clone(),
            found: tensor.shape.clone(),
            expected: expected.to_owned(),
        };
        let (count, rows, columns, strides) = match (&tensor.shape[..], &tensor.strides) {
            ([], _) => (1, 1, 1, [0, 1, 1]),
            ([length], strides) => (1, *length, 1, [0, strides.as_ref().map_or(1, |strides| strides[0]), 1]),
            ([rows, columns], None) => (1, *rows, *columns, [0, *columns, 1]),
            ([rows, columns], Some(strides)) => (1, *rows, *columns, [0, strides[0], strides[1]]),
            ([count, rows, columns], Some(strides)) => (*count, *rows, *columns, [strides[0], strides[1], strides[2]]),
            ([count, rows, inner @ ..], None) => {
                let columns = inner.iter().product();
                (*count, *rows, columns, [rows * columns, columns, 1])
            }
            (_, Some(_)) => return Err(wrong("elements in order, where there are more than three dimensions")),
        };
        let element = tensor.element;
        let matrix = |index: usize| Matrix {
            rows,
            columns,
            elements: Elements::Stored {
                element,
                file: tensor.file,
                start: tensor.start + (index * strides[0] * element.size_bytes()) as u64,
                row_stride: strides[1],
                column_stride: strides[2],
            },
        };
        Ok(SourceTensor {
            name: tensor.name.clone(),
            shape: tensor.shape.clone(),
            weight_type: element.weight_type(),
            matrices: (0..count).map(matrix).collect(),
        })
    }

    /// A tensor that is made row by row.
    pub(crate) fn made(
        name: &str,
        [rows, columns]: [usize; 2],
        weight_type: TensorType,
        maker: Arc<dyn RowMaker>,
    ) -> SourceTensor {
        SourceTensor {
            name: name.to_owned(),
            shape: vec![rows, columns],
            weight_type,
            matrices: vec![Matrix { rows, columns, elements: Elements::Made(maker) }],
        }
    }

    /// A vector of these numbers.
    pub(crate) fn of_values(name: &str, values: Vec<f32>) -> SourceTensor {
        let rows = values.len();
        SourceTensor {
            name: name.to_owned(),
            shape: vec![rows],
            weight_type: TensorType::F32,
            matrices: vec![Matrix { rows, columns: 1, elements: Elements::Values(values.into()) }],
        }
    }
}

/// Which rows of a matrix are taken, in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RowOrder {
    /// So many, from one on.
    From(usize),
    /// See [`Change::NeighbourPairs`].
    NeighbourPairs { head_rows: usize, turned_rows: usize },
    /// See [`Change::PartsOfHeads`].
    PartsOfHeads { head_count: usize, head_rows: usize },
    /// These.
    Listed(Arc<[usize]>),
}

impl RowOrder {
    /// How many rows a change takes of `rows` of the tensor with this stem, and in which order; else what it expects. A
    /// change of columns is none of rows.
    pub(crate) fn of_change(
        change: Change,
        rows: usize,
        stem: &str,
        facts: &Facts,
    ) -> Result<(usize, RowOrder), String> {
        let head_count = facts.heads_of(stem);
        match change {
            Change::NeighbourPairs | Change::NeighbourAdapters
                if head_count == 0 || !rows.is_multiple_of(2 * head_count) =>
            {
                Err(format!("rows in pairs for each of {head_count} heads"))
            }
            Change::NeighbourPairs | Change::NeighbourAdapters => {
                let head_rows = rows / head_count;
                // Rows that are not turned stay where they are, behind the others.
                let turned_rows = facts.turned_rows.filter(|turned| *turned <= head_rows && turned.is_multiple_of(2));
                let turned_rows = turned_rows.unwrap_or(head_rows);
                Ok((rows, RowOrder::NeighbourPairs { head_rows, turned_rows }))
            }
            Change::PartsOfHeads if head_count == 0 || !rows.is_multiple_of(3 * head_count) => {
                Err(format!("three parts of rows for each of {head_count} heads"))
            }
            Change::PartsOfHeads => Ok((rows, RowOrder::PartsOfHeads { head_count, head_rows: rows / head_count / 3 })),
            Change::BehindPadding => match rows.checked_sub(facts.padding_positions) {
                Some(left) => Ok((left, RowOrder::From(facts.padding_positions))),
                None => Err(format!("more than {} rows", facts.padding_positions)),
            },
            Change::IndexerQueries | Change::IndexerKey => match rows.checked_sub(facts.indexer_key_rows) {
                Some(queries) if change == Change::IndexerQueries => Ok((queries, RowOrder::From(0))),
                Some(queries) => Ok((rows - queries, RowOrder::From(queries))),
                None => Err(format!("{} rows of a key behind those of queries", facts.indexer_key_rows)),
            },
            Change::Part { count, .. } if !rows.is_multiple_of(count) => Err(format!("rows in {count} equal parts")),
            Change::Part { index, count } => Ok((rows / count, RowOrder::From(index * (rows / count)))),
            Change::NeighbourTails if head_count == 0 || !rows.is_multiple_of(head_count) => {
                Err(format!("rows of {head_count} heads"))
            }
            Change::NeighbourTails => {
                let list = neighbour_tails(rows, rows / head_count, facts.tail_rows)?;
                Ok((rows, RowOrder::Listed(list.into())))
            }
            Change::NeighbourTail => Ok((rows, RowOrder::Listed(neighbour_tails(rows, rows, facts.tail_rows)?.into()))),
            change => match listed(change, rows, facts)? {
                Some(list) => Ok((list.len(), RowOrder::Listed(list.into()))),
                None => Ok((rows, RowOrder::From(0))),
            },
        }
    }

    /// The row of the checkpoint that becomes row `index`.
    pub(crate) fn source_row(&self, index: usize) -> usize {
        match self {
            RowOrder::From(start) => start + index,
            RowOrder::NeighbourPairs { head_rows, turned_rows } => {
                let (head, row) = (index / head_rows, index % head_rows);
                let own = if row < *turned_rows { row % 2 * (turned_rows / 2) + row / 2 } else { row };
                head * head_rows + own
            }
            RowOrder::PartsOfHeads { head_count, head_rows } => {
                let (part, rest) = (index / (head_count * head_rows), index % (head_count * head_rows));
                (rest / head_rows * 3 + part) * head_rows + rest % head_rows
            }
            RowOrder::Listed(rows) => rows[index],
        }
    }

    /// For each of the rows of the checkpoint, in order, the row of the model that it became; nothing if some of them
    /// became none.
    pub(crate) fn inverse(&self, rows: usize) -> Option<Vec<usize>> {
        if matches!(self, RowOrder::Listed(list) if list.len() != rows) {
            return None;
        }
        let mut inverse = vec![0; rows];
        (0..rows).for_each(|index| inverse[self.source_row(index)] = index);
        Some(inverse)
    }
}

/// A matrix as it is taken into a tensor of the model.
#[derive(Clone)]
pub(crate) struct Piece {
    pub(crate) matrix: Matrix,
    /// How many rows are taken.
    pub(crate) rows: usize,
    pub(crate) order: RowOrder,
    /// The columns of the checkpoint, in the order of the model, where that is another.
    pub(crate) column_order: Option<Arc<[usize]>>,
}

impl Piece {
    /// A matrix as it is.
    pub(crate) fn whole(matrix: Matrix) -> Piece {
        Piece { rows: matrix.rows, matrix, order: RowOrder::From(0), column_order: None }
    }

    /// Applies a change to a matrix of the tensor `name`, which becomes one with this stem.
    pub(crate) fn new(
        matrix: Matrix,
        change: Change,
        stem: &str,
        facts: &Facts,
        name: &str,
    ) -> Result<Piece, ConvertError> {
        let wrong = |found: &Matrix, expected: String| ConvertError::TensorShape {
            name: name.to_owned(),
            found: vec![found.rows, found.columns],
            expected,
        };
        if change == Change::Transposed {
            let matrix = transposed(matrix).map_err(|matrix| wrong(&matrix, "stored numbers".to_owned()))?;
            return Ok(Piece::whole(matrix));
        }
        if change == Change::NeighbourColumns {
            if !matrix.columns.is_multiple_of(2) {
                return Err(wrong(&matrix, "an even number of columns".to_owned()));
            }
            let order = RowOrder::NeighbourPairs { head_rows: matrix.columns, turned_rows: matrix.columns };
            let order = (0..matrix.columns).map(|column| order.source_row(column)).collect::<Vec<_>>();
            return Ok(Piece { column_order: Some(order.into()), ..Piece::whole(matrix) });
        }
        if let Change::ValueHeadColumnsInTurn | Change::HeadColumnsByKey = change {
            let order = match change {
                Change::HeadColumnsByKey => heads_by_key(matrix.columns, facts),
                _ => heads_in_turn(matrix.columns, 0, facts),
            };
            let order = order.map_err(|expected| wrong(&matrix, expected))?;
            return Ok(Piece { column_order: Some(order.into()), ..Piece::whole(matrix) });
        }
        let (rows, order) =
            RowOrder::of_change(change, matrix.rows, stem, facts).map_err(|expected| wrong(&matrix, expected))?;
        Ok(Piece { matrix, rows, order, column_order: None })
    }

    /// The first `rows` rows only.
    pub(crate) fn cut(self, rows: usize) -> Piece {
        Piece { rows: self.rows.min(rows), ..self }
    }

    /// The bytes of all rows as they lie in a file, if they lie there in one stretch.
    pub(crate) fn stretch(&self) -> Option<(ElementType, usize, u64)> {
        let Elements::Stored { element, file, start, row_stride, column_stride } = self.matrix.elements else {
            return None;
        };
        let columns = self.matrix.columns;
        let RowOrder::From(first) = self.order else { return None };
        if self.column_order.is_some() {
            return None;
        }
        let is_in_order = (column_stride == 1 || columns <= 1) && (row_stride == columns || self.rows <= 1);
        is_in_order.then(|| (element, file, start + (first * row_stride * element.size_bytes()) as u64))
    }

    /// The numbers of row `index`, `[columns]`.
    pub(crate) fn row(&self, files: &[MappedFile], index: usize, values: &mut [f32]) {
        let Some(order) = &self.column_order else { return self.stored_row(files, index, values) };
        let mut stored = vec![0.0; values.len()];
        self.stored_row(files, index, &mut stored);
        values.iter_mut().zip(order.iter()).for_each(|(value, column)| *value = stored[*column]);
    }

    /// The same with the columns as they are stored.
    fn stored_row(&self, files: &[MappedFile], index: usize, values: &mut [f32]) {
        let row = self.order.source_row(index);
        match &self.matrix.elements {
            Elements::Made(maker) => maker.row(files, row, values),
            Elements::Values(all) => {
                let columns = self.matrix.columns;
                values.copy_from_slice(&all[row * columns..(row + 1) * columns]);
            }
            Elements::Stored { element, file, start, row_stride, column_stride } => {
                let width = element.size_bytes();
                let bytes = &files[*file][*start as usize + row * row_stride * width..];
                if let Some(tensor_type) = element.tensor_type().filter(|_| *column_stride == 1) {
                    let bytes = &bytes[..values.len() * width];
                    return lair_quant::dequantize(tensor_type, bytes, values).expect("plain numbers of this length");
                }
                for (column, value) in values.iter_mut().enumerate() {
                    *value = element.value(&bytes[column * column_stride * width..]);
                }
            }
        }
    }
}

/// The rows that a change takes one by one, if it is such a change; else what it expects.
fn listed(change: Change, rows: usize, facts: &Facts) -> Result<Option<Vec<usize>>, String> {
    let list = match change {
        Change::AlternateRows(index) if rows.is_multiple_of(2) => (index..rows).step_by(2).collect(),
        Change::AlternateRows(_) => return Err("an even number of rows".to_owned()),
        Change::KeyGroups => {
            [0, 1, 2].map(|part| key_group_part(part, rows, facts)).into_iter().collect::<Result<Vec<_>, _>>()?.concat()
        }
        Change::KeyGroupPart { index, as_neighbours } => {
            let part = key_group_part(index, rows, facts)?;
            if as_neighbours { in_neighbours(&part, key_group_dim(rows, facts)?) } else { part }
        }
        Change::HeadPart { index, as_neighbours } => head_part(index, as_neighbours, rows, facts)?,
        Change::NeighbourQueriesAndKeys => [0, 1, 2]
            .map(|part| head_part(part, part < 2, rows, facts))
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?
            .concat(),
        Change::HeadsByKey => heads_by_key(rows, facts)?,
        Change::DeltaInputs => {
            [0, 1, 2].map(|part| delta_part(part, rows, facts)).into_iter().collect::<Result<Vec<_>, _>>()?.concat()
        }
        Change::DeltaGates => delta_part(3, rows, facts)?,
        Change::DeltaInputsInTurn | Change::DeltaChannelsInTurn => {
            heads_in_turn(rows, facts.delta()?.key_rows(), facts)?
        }
        Change::ValueHeadsInTurn => heads_in_turn(rows, 0, facts)?,
        _ => return Ok(None),
    };
    Ok(Some(list))
}

/// Of rows of all query heads, all keys and all values those of one part (0 to 2).
fn head_part(part: usize, as_neighbours: bool, rows: usize, facts: &Facts) -> Result<Vec<usize>, String> {
    let counts = [facts.head_count, facts.kv_head_count, facts.kv_head_count];
    let heads: usize = counts.iter().sum();
    if heads == 0 || !rows.is_multiple_of(heads) {
        return Err(format!("rows for {} query heads, and {} of keys and of values", counts[0], counts[1]));
    }
    let dim = rows / heads;
    let start = counts[..part].iter().sum::<usize>() * dim;
    let list: Vec<usize> = (start..start + counts[part] * dim).collect();
    match as_neighbours {
        true if dim.is_multiple_of(2) => Ok(in_neighbours(&list, dim)),
        true => Err("heads of an even width".to_owned()),
        false => Ok(list),
    }
}

/// Query heads that use keys in turn, by the key that they use: places `[turns, keys, head_dim]` become `[keys, turns,
/// head_dim]`.
fn heads_by_key(count: usize, facts: &Facts) -> Result<Vec<usize>, String> {
    let (heads, keys) = (facts.head_count, facts.kv_head_count);
    if keys == 0 || heads == 0 || !heads.is_multiple_of(keys) || !count.is_multiple_of(heads) {
        return Err(format!("{heads} heads that share {keys} keys"));
    }
    let dim = count / heads;
    let of_head = |index: usize| {
        let (key, turn) = (index / (heads / keys), index % (heads / keys));
        let first = (turn * keys + key) * dim;
        first..first + dim
    };
    Ok((0..heads).flat_map(of_head).collect())
}

/// The width of a head where rows are `[key heads, queries of each + 2, head_dim]`.
fn key_group_dim(rows: usize, facts: &Facts) -> Result<usize, String> {
    let heads = facts.head_count + 2 * facts.kv_head_count;
    match facts.kv_head_count {
        kv if kv > 0 && rows.is_multiple_of(heads) && facts.head_count.is_multiple_of(kv) => Ok(rows / heads),
        kv => Err(format!("rows for {} query heads in {kv} groups, with a key and a value each", facts.head_count)),
    }
}

/// Of such rows those of the queries (0), keys (1) or values (2).
fn key_group_part(part: usize, rows: usize, facts: &Facts) -> Result<Vec<usize>, String> {
    let dim = key_group_dim(rows, facts)?;
    let queries = facts.head_count / facts.kv_head_count;
    let (first, count) = [(0, queries), (queries, 1), (queries + 1, 1)][part];
    let of_group = |group: usize| {
        let start = (group * (queries + 2) + first) * dim;
        start..start + count * dim
    };
    Ok((0..facts.kv_head_count).flat_map(of_group).collect())
}

/// The rows of heads of this width with `i` of the first half beside `i` of the second.
fn in_neighbours(rows: &[usize], head_rows: usize) -> Vec<usize> {
    let order = RowOrder::NeighbourPairs { head_rows, turned_rows: head_rows };
    (0..rows.len()).map(|index| rows[order.source_row(index)]).collect()
}

/// Rows in runs of this length, of each of which the last so many have `i` of the first half beside `i` of the second.
fn neighbour_tails(rows: usize, run: usize, tail: usize) -> Result<Vec<usize>, String> {
    let Some(before) = run.checked_sub(tail).filter(|_| tail.is_multiple_of(2)) else {
        return Err(format!("runs of rows that end in {tail} in pairs"));
    };
    let source = |row: usize| {
        let (first, place) = (row / run * run, row % run);
        match place.checked_sub(before) {
            Some(place) => first + before + place % 2 * (tail / 2) + place / 2,
            None => row,
        }
    };
    Ok((0..rows).map(source).collect())
}

/// Of rows `[key heads, query + key + values + gates]` those of one part, 0 to 3.
fn delta_part(part: usize, rows: usize, facts: &Facts) -> Result<Vec<usize>, String> {
    let delta = facts.delta()?;
    let values = delta.value_head_count / delta.key_head_count * delta.value_dim;
    let widths = [delta.key_dim, delta.key_dim, values, values];
    let all: usize = widths.iter().sum();
    if rows != delta.key_head_count * all {
        return Err(format!("{all} rows for each of {} key heads", delta.key_head_count));
    }
    let before: usize = widths[..part].iter().sum();
    let of_head = |head: usize| head * all + before..head * all + before + widths[part];
    Ok((0..delta.key_head_count).flat_map(of_head).collect())
}

/// Behind the first `start`, places of value heads: the first of each key head, then the second of each.
fn heads_in_turn(count: usize, start: usize, facts: &Facts) -> Result<Vec<usize>, String> {
    let delta = facts.delta()?;
    let heads = delta.value_head_count;
    let Some(behind) = count.checked_sub(start).filter(|behind| *behind > 0 && behind.is_multiple_of(heads)) else {
        return Err(format!("{heads} value heads behind {start} others"));
    };
    let (width, each) = (behind / heads, heads / delta.key_head_count);
    let of_head = |head: usize| {
        let (turn, key_head) = (head / delta.key_head_count, head % delta.key_head_count);
        let first = start + (key_head * each + turn) * width;
        first..first + width
    };
    Ok((0..start).chain((0..heads).flat_map(of_head)).collect())
}

/// Rows for columns. A vector stays as it is.
fn transposed(matrix: Matrix) -> Result<Matrix, Matrix> {
    let Matrix { rows, columns, elements } = matrix;
    match elements {
        _ if columns == 1 => Ok(Matrix { rows, columns, elements }),
        Elements::Stored { element, file, start, row_stride, column_stride } => Ok(Matrix {
            rows: columns,
            columns: rows,
            elements: Elements::Stored { element, file, start, row_stride: column_stride, column_stride: row_stride },
        }),
        elements => Err(Matrix { rows, columns, elements }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(order: RowOrder, count: usize) -> Vec<usize> {
        (0..count).map(|index| order.source_row(index)).collect()
    }

    #[test]
    fn halves_of_heads_become_neighbours() {
        assert_eq!(rows(RowOrder::NeighbourPairs { head_rows: 4, turned_rows: 4 }, 8), [0, 2, 1, 3, 4, 6, 5, 7]);
        assert_eq!(rows(RowOrder::NeighbourPairs { head_rows: 6, turned_rows: 4 }, 6), [0, 2, 1, 3, 4, 5]);
    }

    #[test]
    fn parts_of_heads_come_together() {
        let order = RowOrder::PartsOfHeads { head_count: 2, head_rows: 2 };
        assert_eq!(rows(order, 12), [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11]);
    }

    #[test]
    fn the_way_back_leads_back() {
        for order in [
            RowOrder::From(0),
            RowOrder::NeighbourPairs { head_rows: 6, turned_rows: 6 },
            RowOrder::PartsOfHeads { head_count: 2, head_rows: 2 },
        ] {
            let inverse = order.inverse(12).expect("all rows are there");
            assert!((0..12).all(|row| order.source_row(inverse[row]) == row), "{order:?}: {inverse:?}");
        }
    }
}
