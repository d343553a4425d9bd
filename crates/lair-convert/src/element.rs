//! The element types that checkpoints have: names, sizes, and their values as f32.

use half::{bf16, f16};
use lair_gguf::TensorType;

/// How the elements of a tensor of a checkpoint are stored; all little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, non_camel_case_types)] // The field's own spelling.
pub enum ElementType {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    /// 4 bits of exponent, 3 of mantissa, no infinities (OCP "FP8", section 5).
    F8_E4M3,
    /// 5 bits of exponent, 2 of mantissa.
    F8_E5M2,
    /// A power of two (OCP microscaling formats, section 5.4).
    F8_E8M0,
    F16,
    BF16,
    F32,
    F64,
}

use ElementType::*;

/// Type, name in safetensors, bytes, and the GGUF type of the same bits.
const TABLE: [(ElementType, &str, usize, Option<TensorType>); 16] = [
    (Bool, "BOOL", 1, None),
    (U8, "U8", 1, None),
    (I8, "I8", 1, Some(TensorType::I8)),
    (U16, "U16", 2, None),
    (I16, "I16", 2, Some(TensorType::I16)),
    (U32, "U32", 4, None),
    (I32, "I32", 4, Some(TensorType::I32)),
    (U64, "U64", 8, None),
    (I64, "I64", 8, Some(TensorType::I64)),
    (F8_E4M3, "F8_E4M3", 1, None),
    (F8_E5M2, "F8_E5M2", 1, None),
    (F8_E8M0, "F8_E8M0", 1, None),
    (F16, "F16", 2, Some(TensorType::F16)),
    (BF16, "BF16", 2, Some(TensorType::BF16)),
    (F32, "F32", 4, Some(TensorType::F32)),
    (F64, "F64", 8, Some(TensorType::F64)),
];

impl ElementType {
    /// The type that safetensors calls `name`.
    pub fn from_name(name: &str) -> Option<ElementType> {
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// What safetensors calls it.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Bytes of an element.
    pub fn size_bytes(self) -> usize {
        self.row().2
    }

    /// The GGUF type whose elements have the same bits.
    pub fn tensor_type(self) -> Option<TensorType> {
        self.row().3
    }

    /// The type with the bits of a GGUF type, if checkpoints have it.
    pub fn of_tensor_type(tensor_type: TensorType) -> Option<ElementType> {
        TABLE.iter().find(|row| row.3 == Some(tensor_type)).map(|row| row.0)
    }

    /// The GGUF type that holds its values without loss, among those that weights are computed with.
    pub fn weight_type(self) -> TensorType {
        match self {
            F16 => TensorType::F16,
            BF16 | F8_E4M3 | F8_E5M2 | F8_E8M0 => TensorType::BF16,
            _ => TensorType::F32,
        }
    }

    /// The value of one element, whose bytes these are.
    ///
    /// # Panics
    /// If there are fewer bytes than an element has.
    pub fn value(self, bytes: &[u8]) -> f32 {
        fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
            bytes[..N].try_into().expect("a slice of N bytes")
        }
        match self {
            Bool | U8 => f32::from(bytes[0]),
            I8 => f32::from(bytes[0] as i8),
            U16 => f32::from(u16::from_le_bytes(first(bytes))),
            I16 => f32::from(i16::from_le_bytes(first(bytes))),
            U32 => u32::from_le_bytes(first(bytes)) as f32,
            I32 => i32::from_le_bytes(first(bytes)) as f32,
            U64 => u64::from_le_bytes(first(bytes)) as f32,
            I64 => i64::from_le_bytes(first(bytes)) as f32,
            F8_E4M3 => e4m3(bytes[0]),
            // The upper byte of a half-precision number.
            F8_E5M2 => f16::from_bits(u16::from(bytes[0]) << 8).to_f32(),
            F8_E8M0 if bytes[0] == 0xff => f32::NAN,
            F8_E8M0 => (f32::from(bytes[0]) - 127.0).exp2(),
            F16 => f16::from_le_bytes(first(bytes)).to_f32(),
            BF16 => bf16::from_le_bytes(first(bytes)).to_f32(),
            F32 => f32::from_le_bytes(first(bytes)),
            F64 => f64::from_le_bytes(first(bytes)) as f32,
        }
    }

    fn row(self) -> &'static (ElementType, &'static str, usize, Option<TensorType>) {
        TABLE.iter().find(|row| row.0 == self).expect("every type stands in the table")
    }
}

impl std::fmt::Display for ElementType {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Sign, four bits of exponent with a bias of 7, three of mantissa; all ones are not a number.
fn e4m3(bits: u8) -> f32 {
    let sign = if bits & 0x80 == 0 { 1.0 } else { -1.0 };
    let (exponent, mantissa) = (i32::from(bits >> 3 & 15), f32::from(bits & 7));
    match (exponent, bits & 7) {
        (15, 7) => f32::NAN,
        (0, _) => sign * mantissa / 8.0 * 2f32.powi(-6),
        _ => sign * (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_floats_have_the_values_of_their_standards() {
        let cases: [(ElementType, u8, f32); 10] = [
            (F8_E4M3, 0x00, 0.0),
            (F8_E4M3, 0x01, 0.001953125),
            (F8_E4M3, 0x38, 1.0),
            (F8_E4M3, 0x7e, 448.0),
            (F8_E4M3, 0xc4, -3.0),
            (F8_E5M2, 0x3c, 1.0),
            (F8_E5M2, 0x7b, 57344.0),
            (F8_E5M2, 0x01, 1.0 / 65536.0),
            (F8_E8M0, 127, 1.0),
            (F8_E8M0, 130, 8.0),
        ];
        for (element, bits, expected) in cases {
            assert_eq!(element.value(&[bits]), expected, "{element} {bits:#x}");
        }
        assert!(F8_E4M3.value(&[0x7f]).is_nan() && F8_E4M3.value(&[0xff]).is_nan());
    }

    #[test]
    fn every_type_is_found_by_its_name() {
        for (element, name, size, _) in TABLE {
            assert_eq!(ElementType::from_name(name), Some(element));
            assert!(element.value(&[0; 8]) == 0.0 || element == F8_E8M0, "{name}");
            assert!((1..=8).contains(&size));
        }
        assert_eq!(ElementType::from_name("C64"), None);
    }
}
