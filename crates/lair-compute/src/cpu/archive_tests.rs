//! Weights that are taken from an archive against the same ones packed now: to the bit, for every type.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use lair_quant::{TensorType, formats::FORMATS};

use super::memory::{Lasting, Memory, Use};
use super::{Cpu, CpuOptions};
use crate::{Backend, Linear, MatrixBytes, PACKED_LAYOUT_VERSION, RowSelection, WeightArchive, WeightBytes};

/// Raised together with [`PACKED_LAYOUT_VERSION`]: what packing makes of the matrices below.
const LAYOUT_DIGEST: (u32, u64) = (1, 6187864478818387319);

const COLUMNS: usize = 512;
const ROWS: usize = 40;
const COUNT: usize = 3;

/// Copies of what it is offered, where a cache line begins.
#[derive(Default)]
struct Copies {
    parts: Mutex<BTreeMap<String, Arc<Copied>>>,
    offered: Mutex<usize>,
}

struct Copied(Lasting<u8>);

impl AsRef<[u8]> for Copied {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn copy(bytes: &[u8]) -> Arc<Copied> {
    let mut memory = Memory::zeroed_for(Use::Growing, bytes.len(), "a test").expect("memory");
    memory.copy_from_slice(bytes);
    Arc::new(Copied(Lasting::Own(memory)))
}

impl WeightArchive for Copies {
    fn load(&self, part: &str) -> Option<WeightBytes> {
        self.parts.lock().expect("no panic").get(part).map(|part| Arc::clone(part) as WeightBytes)
    }

    fn keep(&self, part: &str, bytes: WeightBytes) {
        *self.offered.lock().expect("no panic") += 1;
        self.parts.lock().expect("no panic").insert(part.to_owned(), copy((*bytes).as_ref()));
    }

    fn damage(&self) -> Option<String> {
        None
    }
}

impl Copies {
    fn take_offered(&self) -> usize {
        std::mem::take(&mut self.offered.lock().expect("no panic"))
    }
}

/// Bytes that nobody may look at.
struct Hidden;

impl AsRef<[u8]> for Hidden {
    fn as_ref(&self) -> &[u8] {
        panic!("the source is not needed")
    }
}

/// Bytes below 96, of which no type makes infinities or what is no number.
fn source(tensor_type: TensorType) -> MatrixBytes {
    let mut state = u64::from(tensor_type as u32) + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 32) % 96) as u8
    };
    let length = COUNT * ROWS * COLUMNS / tensor_type.block_length() * tensor_type.block_bytes();
    let bytes: Vec<u8> = (0..length).map(|_| next()).collect();
    let (name, selection) = ("w".to_owned(), RowSelection::All);
    MatrixBytes {
        name,
        bytes: Arc::new(bytes),
        tensor_type,
        columns: COLUMNS,
        stored_rows: ROWS,
        count: COUNT,
        selection,
    }
}

fn cpu(archive: Option<&Arc<Copies>>) -> Cpu {
    let cpu = Cpu::new(CpuOptions { threads: Some(2), ..CpuOptions::default() }).expect("threads start");
    match archive {
        Some(archive) => cpu.with_weight_archive(Arc::clone(archive) as _),
        None => cpu,
    }
}

/// Rows of the first matrix as they come back, and products with it, as bits.
fn results(cpu: &mut Cpu, source: &MatrixBytes) -> Vec<u32> {
    let matrix = cpu.matrix(source).expect("a matrix");
    let rows = matrix.rows();
    cpu.reserve(rows, COLUMNS).expect("memory");
    let mut read = cpu.buffer(rows, COLUMNS).expect("memory");
    cpu.embed(&matrix, &(0..rows as u32).collect::<Vec<_>>(), 1.0, &mut read);
    let mut input = cpu.buffer(3, COLUMNS).expect("memory");
    input.values.iter_mut().enumerate().for_each(|(index, value)| *value = (index % 17) as f32 - 8.0);
    let mut product = cpu.buffer(3, rows).expect("memory");
    let linear = Linear { weight: matrix, bias: None, scale: 1.0 };
    cpu.project(3, None, &input, &mut [(&linear, &mut product)]);
    read.values.iter().chain(product.values.iter()).map(|value| value.to_bits()).collect()
}

#[test]
fn weights_from_an_archive_are_those_that_were_packed_and_the_source_is_not_read() {
    let selections = [
        RowSelection::All,
        RowSelection::Range(7..30),
        RowSelection::Groups { start: 3, length: 5, stride: 10, count: 4 },
    ];
    for format in FORMATS {
        let (archive, mut packs) = (Arc::new(Copies::default()), cpu(None));
        // All in one archive: parts of a tensor have names of their own.
        let sources = selections.clone().map(|selection| MatrixBytes { selection, ..source(format.tensor_type) });
        let expected = sources.each_ref().map(|source| results(&mut packs, source));
        let parts = if format.shape.is_some() { 2 } else { 1 };
        let mut keeps = cpu(Some(&archive));
        for (source, expected) in sources.iter().zip(&expected) {
            assert!(results(&mut keeps, source) == *expected, "{}, kept", format.tensor_type);
            assert_eq!(archive.take_offered(), parts, "{}", format.tensor_type);
        }
        let mut loads = cpu(Some(&archive));
        for (source, expected) in sources.into_iter().zip(&expected) {
            let hidden = MatrixBytes { bytes: Arc::new(Hidden), ..source };
            assert!(results(&mut loads, &hidden) == *expected, "{}, loaded", format.tensor_type);
            assert_eq!(archive.take_offered(), 0, "{}", format.tensor_type);
        }
    }
}

#[test]
fn parts_that_cannot_be_right_are_packed_again() {
    for tensor_type in [TensorType::Q4_K, TensorType::F16, TensorType::F32] {
        let (archive, source) = (Arc::new(Copies::default()), source(tensor_type));
        let expected = results(&mut cpu(Some(&archive)), &source);
        assert!(archive.take_offered() > 0);
        let names: Vec<String> = archive.parts.lock().expect("no panic").keys().cloned().collect();
        for name in names {
            let whole = Arc::clone(&archive.parts.lock().expect("no panic")[&name]);
            for wrong in [&whole.as_ref().as_ref()[1..], &[], &whole.as_ref().as_ref()[..64]] {
                archive.parts.lock().expect("no panic").insert(name.clone(), copy(wrong));
                assert!(results(&mut cpu(Some(&archive)), &source) == expected, "{name}");
                assert!(archive.take_offered() > 0, "{name} of {} bytes was taken", wrong.len());
            }
        }
    }
}

#[test]
fn a_source_that_is_none_is_refused_with_an_archive_too() {
    let archive = Arc::new(Copies::default());
    let right = source(TensorType::Q8_0);
    let wrong = MatrixBytes { stored_rows: ROWS + 1, ..right };
    assert!(cpu(Some(&archive)).matrix(&wrong).is_err());
    assert_eq!(archive.take_offered(), 0);
}

#[test]
fn a_layout_that_changed_has_another_version() {
    let archive = Arc::new(Copies::default());
    let backend = cpu(Some(&archive));
    for format in FORMATS {
        let name = format.tensor_type.name().to_owned();
        backend.matrix(&MatrixBytes { name, ..source(format.tensor_type) }).expect("a matrix");
    }
    // FNV-1a over names and bytes.
    let mut digest = 0xcbf2_9ce4_8422_2325u64;
    for (name, part) in archive.parts.lock().expect("no panic").iter() {
        for byte in name.bytes().chain(part.as_ref().as_ref().iter().copied()) {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    assert_eq!(
        (PACKED_LAYOUT_VERSION, digest),
        LAYOUT_DIGEST,
        "what packing makes has changed: raise PACKED_LAYOUT_VERSION, or files of packed weights are read wrongly, and put both here"
    );
}
