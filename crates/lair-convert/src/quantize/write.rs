//! Writes the planned file: slabs of rows are converted by all threads and written in order.
//!
//! What it costs: Q4_K takes about 60 vector operations an element, some 35 cycles; at 3 GHz a core makes 85 million
//! elements a second of 2 to 4 bytes each. Disks are faster, so threads pay, and reading ahead does not.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use lair_gguf::{GgufFile, GgufWriter, ShardName, TensorData, TensorInfo};
use lair_simd::{Isa, IsaChoice};

use super::{
    error::QuantizeError,
    plan::{Options, Plan, PlannedTensor, importance_of},
};

/// Elements that are converted before they are written: 16 MiB of output at most in the largest type.
const SLAB_ELEMENTS: u64 = 1 << 22;
/// Elements that a thread takes at a time.
const PIECE_ELEMENTS: u64 = 1 << 16;

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The tensor.
    pub tensor: &'a PlannedTensor,
    /// Its index, and how many there are.
    pub index: usize,
    /// How many there are.
    pub count: usize,
    /// Bytes of the model that were read, all tensors together.
    pub done_bytes: u64,
}

/// Where the new file goes.
#[derive(Clone, Copy, Debug)]
enum Target<'a> {
    One(&'a Path),
    /// As many shards as the model has, with the same tensors.
    Shards(&'a Path),
}

/// Writes the model as planned and gives the paths of the files. They appear whole or not at all. With `keeps_split` there
/// are as many shards as the model has, named after `out` without its ending.
///
/// `progress` is told of each slab; an answer of false ends the work.
///
/// # Errors
/// As [`Plan::check`]; if a value is not finite, the disk fails, or `progress` wants no more.
pub fn write(
    model: &GgufFile,
    plan: &Plan,
    options: &Options,
    (out, keeps_split): (&Path, bool),
    progress: &mut dyn FnMut(Progress<'_>) -> bool,
) -> Result<Vec<PathBuf>, QuantizeError> {
    plan.check(options)?;
    let mut writer = GgufWriter::new(plan.metadata.clone())?;
    for tensor in &plan.tensors {
        writer.add_tensor(&tensor.name, &tensor.shape, tensor.to)?;
    }
    let mut job =
        Job { model, plan, options, threads: thread_count(options), done_bytes: 0, next: 0, fault: None, progress };
    let target = if keeps_split && model.paths().len() > 1 { Target::Shards(out) } else { Target::One(out) };
    let written = match target {
        Target::One(path) => writer.write_file(path, |_, out| job.tensor(out)).map(|()| vec![path.to_owned()]),
        Target::Shards(path) => {
            let prefix = ShardName::parse(path).map_or_else(|| path.with_extension(""), |name| name.prefix);
            let shard_of = |index: usize| model.tensors()[index].shard;
            let counts: Vec<usize> = (0..model.paths().len())
                .map(|shard| (0..plan.tensors.len()).filter(|index| shard_of(*index) == shard).count())
                .collect();
            writer.write_shards_of(prefix, &counts, |_, out| job.tensor(out))
        }
    };
    match (written, job.fault) {
        (_, Some(fault)) => Err(fault),
        (written, None) => Ok(written?),
    }
}

fn thread_count(options: &Options) -> usize {
    match options.thread_count {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    }
}

/// The work as it goes on, tensor by tensor.
struct Job<'a> {
    model: &'a GgufFile,
    plan: &'a Plan,
    options: &'a Options,
    threads: usize,
    done_bytes: u64,
    next: usize,
    /// What went wrong, where it is more than an error of writing.
    fault: Option<QuantizeError>,
    progress: &'a mut dyn FnMut(Progress<'_>) -> bool,
}

impl Job<'_> {
    /// Writes the next tensor.
    fn tensor(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let index = self.next;
        self.next += 1;
        let (planned, info) = (&self.plan.tensors[index], &self.model.tensors()[index]);
        let done =
            if planned.from == planned.to { self.copy(index, info, out) } else { self.convert(index, info, out) };
        self.model.release_pages();
        done.map_err(|error| match error {
            Fault::Write(error) => error,
            Fault::Other(fault) => {
                let message = fault.to_string();
                self.fault = Some(fault);
                io::Error::other(message)
            }
        })
    }

    fn copy(&mut self, index: usize, info: &TensorInfo, out: &mut dyn Write) -> Result<(), Fault> {
        let data = self.model.tensor_data(info);
        for piece in data.chunks(SLAB_ELEMENTS as usize * 4) {
            out.write_all(piece)?;
            self.tell(index, piece.len())?;
        }
        Ok(())
    }

    fn convert(&mut self, index: usize, info: &TensorInfo, out: &mut dyn Write) -> Result<(), Fault> {
        let planned = &self.plan.tensors[index];
        let importance = importance_of(planned, self.options)?;
        let row_length = planned.shape[0].max(1);
        let row_count = info.element_count() / row_length;
        let rows = Rows {
            planned,
            data: self.model.tensor_data(info),
            importance: importance.as_deref(),
            row_length: row_length as usize,
            rows_of_expert: planned.shape.get(1).copied().unwrap_or(1).max(1),
            isa: Isa::detect(IsaChoice::Auto),
        };
        let row_bytes = rows.bytes_of(planned.to, 1);
        let slab_rows = (SLAB_ELEMENTS / row_length).max(1);
        let mut slab = Vec::new();
        for first in (0..row_count).step_by(slab_rows as usize) {
            let count = slab_rows.min(row_count - first);
            slab.resize(count as usize * row_bytes, 0);
            rows.convert(first, &mut slab, self.threads)?;
            out.write_all(&slab)?;
            self.tell(index, rows.bytes_of(planned.from, count))?;
        }
        Ok(())
    }

    fn tell(&mut self, index: usize, bytes: usize) -> Result<(), Fault> {
        self.done_bytes += bytes as u64;
        let (tensor, count) = (&self.plan.tensors[index], self.plan.tensors.len());
        let goes_on = (self.progress)(Progress { tensor, index, count, done_bytes: self.done_bytes });
        if goes_on { Ok(()) } else { Err(Fault::Other(QuantizeError::Stopped)) }
    }
}

/// What may go wrong with a tensor.
enum Fault {
    Write(io::Error),
    Other(QuantizeError),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Write(error)
    }
}

impl From<QuantizeError> for Fault {
    fn from(error: QuantizeError) -> Fault {
        Fault::Other(error)
    }
}

/// The rows of a tensor, and what they become.
struct Rows<'a> {
    planned: &'a PlannedTensor,
    data: TensorData,
    /// `[experts, columns]`
    importance: Option<&'a [f32]>,
    row_length: usize,
    rows_of_expert: u64,
    isa: Isa,
}

impl Rows<'_> {
    fn bytes_of(&self, tensor_type: lair_gguf::TensorType, rows: u64) -> usize {
        let bytes = tensor_type.size_bytes(rows * self.row_length as u64);
        bytes.expect("rows are whole blocks: the plan saw to it") as usize
    }

    /// Converts the rows from `first` on into `out`, as many as it holds.
    fn convert(&self, first: u64, out: &mut [u8], threads: usize) -> Result<(), QuantizeError> {
        let row_bytes = self.bytes_of(self.planned.to, 1);
        let piece_rows = (PIECE_ELEMENTS / self.row_length as u64).max(1);
        let pieces = out.chunks_mut(piece_rows as usize * row_bytes);
        let threads = threads.min(pieces.len());
        let queue = Mutex::new(pieces.enumerate());
        let work = || {
            let mut values = Vec::new();
            loop {
                let piece = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
                let Some((index, piece)) = piece else { return Ok(()) };
                self.convert_piece(first + index as u64 * piece_rows, piece, &mut values)?;
            }
        };
        if threads <= 1 {
            return work();
        }
        std::thread::scope(|scope| {
            let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let own = work();
            let others = helpers.into_iter().map(|helper| helper.join().expect("a conversion does not panic"));
            // All of them end before the scope does; the first fault in their order is told.
            others.fold(own, |first, next| first.and(next))
        })
    }

    fn convert_piece(&self, first: u64, out: &mut [u8], values: &mut Vec<f32>) -> Result<(), QuantizeError> {
        let row_bytes = self.bytes_of(self.planned.to, 1);
        let row_count = out.len() / row_bytes.max(1);
        values.resize(row_count * self.row_length, 0.0);
        let start = self.bytes_of(self.planned.from, first);
        let bytes = &self.data[start..start + self.bytes_of(self.planned.from, row_count as u64)];
        lair_quant::dequantize(self.planned.from, bytes, values)?;
        self.check_finite(first, values)?;
        // Rows of one expert share importances.
        let mut done = 0;
        while done < row_count {
            let row = first + done as u64;
            let expert = (row / self.rows_of_expert) as usize;
            let left = (self.rows_of_expert - row % self.rows_of_expert) as usize;
            let count = left.min(row_count - done);
            let importance = self.importance.map(|all| &all[expert * self.row_length..][..self.row_length]);
            lair_quant::encode(
                self.isa,
                self.planned.to,
                &values[done * self.row_length..][..count * self.row_length],
                self.row_length,
                importance,
                &mut out[done * row_bytes..][..count * row_bytes],
            )?;
            done += count;
        }
        Ok(())
    }

    fn check_finite(&self, first: u64, values: &[f32]) -> Result<(), QuantizeError> {
        let largest = |values: &[f32]| values.iter().fold(0, |most, x| (x.to_bits() & 0x7fff_ffff).max(most));
        let is_finite = |values: &[f32]| largest(values) < f32::INFINITY.to_bits();
        if is_finite(values) {
            return Ok(());
        }
        let row = values.chunks(self.row_length).position(|row| !is_finite(row)).unwrap_or(0) as u64;
        Err(QuantizeError::NotFinite { tensor: self.planned.name.clone(), row: first + row })
    }
}
