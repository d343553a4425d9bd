//! Checkpoints whose weights other programs packed: each layout, packed here by its rule, gives the numbers it stands for.

mod support;

use std::collections::BTreeMap;

use half::f16;
use lair_convert::{Conversion, OutputType};
use lair_gguf::GgufFile;
use serde_json::{Value as Json, json};
use support::{Checkpoint, checkpoints, safetensors, tensors_of};

const GROUP: usize = 16;

/// Type, shape and bytes of a stored tensor.
type Stored = (&'static str, Vec<usize>, Vec<u8>);

fn write(tensors: &BTreeMap<String, Stored>) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, (dtype, shape, bytes)) in tensors {
        let start = data.len();
        data.extend(bytes);
        header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]}));
    }
    let header = Json::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn halves(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect()
}

/// The words of a matrix of numbers, `places[i]` saying where number `i` of a word stands.
fn words(numbers: &[u32], bits: usize, places: &[usize]) -> Vec<u8> {
    let word =
        |chunk: &[u32]| chunk.iter().zip(places).fold(0u32, |word, (number, place)| word | number << (place * bits));
    numbers.chunks(32 / bits).flat_map(|chunk| word(chunk).to_le_bytes()).collect()
}

/// A packed matrix `[outputs, inputs]`: numbers, a factor and a zero for each group of inputs.
struct Packed {
    outputs: usize,
    inputs: usize,
}

impl Packed {
    fn groups(&self) -> usize {
        self.inputs / GROUP
    }

    fn number(&self, output: usize, input: usize) -> u32 {
        (output * 7 + input * 3 + output * input) as u32 % 16
    }

    fn zero(&self, output: usize, group: usize) -> u32 {
        (output + group * 5) as u32 % 14
    }

    /// As it is stored, in half precision.
    fn factor(&self, output: usize, group: usize) -> f32 {
        f16::from_f32(0.01 + 0.001 * ((output + 3 * group) % 11) as f32).to_f32()
    }

    /// The numbers that all this stands for; `zero` is taken off.
    fn values(&self, zero: impl Fn(usize, usize) -> f32) -> Vec<f32> {
        let value = |output: usize, input: usize| {
            let group = input / GROUP;
            self.factor(output, group) * (self.number(output, input) as f32 - zero(output, group))
        };
        (0..self.outputs * self.inputs).map(|index| value(index / self.inputs, index % self.inputs)).collect()
    }

    /// Row by row of the given sizes.
    fn grid<T>(rows: usize, columns: usize, at: impl Fn(usize, usize) -> T) -> Vec<T> {
        (0..rows * columns).map(|index| at(index / columns, index % columns)).collect()
    }
}

/// What a layout makes of a packed matrix: its tensors by the ends of their names, and the numbers.
type Layout = fn(&Packed) -> (Vec<(&'static str, Stored)>, Vec<f32>);

fn gptq(packed: &Packed) -> (Vec<(&'static str, Stored)>, Vec<f32>) {
    let (outputs, inputs, groups) = (packed.outputs, packed.inputs, packed.groups());
    // Words run along the inputs: eight rows of the transposed matrix at a time.
    let mut weights = Vec::new();
    for first in (0..inputs).step_by(8) {
        for output in 0..outputs {
            let numbers: Vec<u32> = (first..first + 8).map(|input| packed.number(output, input)).collect();
            weights.extend(words(&numbers, 4, &[0, 1, 2, 3, 4, 5, 6, 7]));
        }
    }
    let zeros = Packed::grid(groups, outputs, |group, output| packed.zero(output, group));
    let factors = Packed::grid(groups, outputs, |group, output| packed.factor(output, group));
    let indices: Vec<u8> = (0..inputs).flat_map(|input| ((input / GROUP) as i32).to_le_bytes()).collect();
    let stored = vec![
        ("qweight", ("I32", vec![inputs / 8, outputs], weights)),
        ("qzeros", ("I32", vec![groups, outputs / 8], words(&zeros, 4, &[0, 1, 2, 3, 4, 5, 6, 7]))),
        ("scales", ("F16", vec![groups, outputs], halves(&factors))),
        ("g_idx", ("I32", vec![inputs], indices)),
    ];
    (stored, packed.values(|output, group| packed.zero(output, group) as f32 + 1.0))
}

fn awq(packed: &Packed) -> (Vec<(&'static str, Stored)>, Vec<f32>) {
    let (outputs, inputs, groups) = (packed.outputs, packed.inputs, packed.groups());
    let places = [0, 4, 1, 5, 2, 6, 3, 7];
    let weights = Packed::grid(inputs, outputs, |input, output| packed.number(output, input));
    let zeros = Packed::grid(groups, outputs, |group, output| packed.zero(output, group));
    let factors = Packed::grid(groups, outputs, |group, output| packed.factor(output, group));
    let stored = vec![
        ("qweight", ("I32", vec![inputs, outputs / 8], words(&weights, 4, &places))),
        ("qzeros", ("I32", vec![groups, outputs / 8], words(&zeros, 4, &places))),
        ("scales", ("F16", vec![groups, outputs], halves(&factors))),
    ];
    (stored, packed.values(|output, group| packed.zero(output, group) as f32))
}

fn mlx(packed: &Packed) -> (Vec<(&'static str, Stored)>, Vec<f32>) {
    let (outputs, inputs, groups) = (packed.outputs, packed.inputs, packed.groups());
    let weights = Packed::grid(outputs, inputs, |output, input| packed.number(output, input));
    let factors = Packed::grid(outputs, groups, |output, group| packed.factor(output, group));
    let bias = |output: usize, group: usize| f16::from_f32(-0.05 - 0.01 * ((output + group) % 5) as f32).to_f32();
    let stored = vec![
        ("weight", ("U32", vec![outputs, inputs / 8], words(&weights, 4, &[0, 1, 2, 3, 4, 5, 6, 7]))),
        ("scales", ("F16", vec![outputs, groups], halves(&factors))),
        ("biases", ("F16", vec![outputs, groups], halves(&Packed::grid(outputs, groups, bias)))),
    ];
    let value = |output: usize, input: usize| {
        let group = input / GROUP;
        packed.factor(output, group) * packed.number(output, input) as f32 + bias(output, group)
    };
    (stored, Packed::grid(outputs, inputs, value))
}

fn compressed(packed: &Packed) -> (Vec<(&'static str, Stored)>, Vec<f32>) {
    let (outputs, inputs, groups) = (packed.outputs, packed.inputs, packed.groups());
    let weights = Packed::grid(outputs, inputs, |output, input| packed.number(output, input));
    let factors = Packed::grid(outputs, groups, |output, group| packed.factor(output, group));
    let shape: Vec<u8> = [outputs as i64, inputs as i64].iter().flat_map(|length| length.to_le_bytes()).collect();
    let stored = vec![
        ("weight_packed", ("I32", vec![outputs, inputs / 8], words(&weights, 4, &[0, 1, 2, 3, 4, 5, 6, 7]))),
        ("weight_scale", ("F16", vec![outputs, groups], halves(&factors))),
        ("weight_shape", ("I64", vec![2], shape)),
    ];
    (stored, packed.values(|_, _| 8.0))
}

/// FP8 with a factor for each block of 16 by 16.
fn fp8(packed: &Packed) -> (Vec<(&'static str, Stored)>, Vec<f32>) {
    let (outputs, inputs, groups) = (packed.outputs, packed.inputs, packed.groups());
    // Powers of two and one: bits of E4M3 whose values are plain.
    let bits = |output: usize, input: usize| [0x38u8, 0x40, 0xb8, 0x30][packed.number(output, input) as usize % 4];
    let plain = |output: usize, input: usize| [1.0f32, 2.0, -1.0, 0.5][packed.number(output, input) as usize % 4];
    let block_rows = outputs.div_ceil(GROUP);
    let factors = Packed::grid(block_rows, groups, |row, group| packed.factor(row, group));
    let stored = vec![
        ("weight", ("F8_E4M3", vec![outputs, inputs], Packed::grid(outputs, inputs, bits))),
        ("weight_scale_inv", ("F32", vec![block_rows, groups], floats(&factors))),
    ];
    let value = |output: usize, input: usize| plain(output, input) * packed.factor(output / GROUP, input / GROUP);
    (stored, Packed::grid(outputs, inputs, value))
}

/// The codes of a matrix, two in a byte.
fn nibbles(packed: &Packed) -> Vec<u8> {
    let codes = Packed::grid(packed.outputs, packed.inputs, |output, input| packed.number(output, input) as u8);
    codes.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// What a code of four bits stands for; the real tables are quantiles of the normal distribution.
fn code_value(code: u32) -> f32 {
    (code as f32 - 7.0) / 8.0
}

fn nf4_state(packed: &Packed, more: Json) -> Stored {
    let mut state =
        json!({"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [packed.outputs, packed.inputs]});
    state.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    let bytes = state.to_string().into_bytes();
    ("U8", vec![bytes.len()], bytes)
}

/// Blocks of 64 numbers, each with a factor.
fn nf4(packed: &Packed) -> (Vec<(&'static str, Stored)>, Vec<f32>) {
    let (outputs, inputs) = (packed.outputs, packed.inputs);
    let factor = |block: usize| 0.05 + 0.01 * (block % 7) as f32;
    let factors: Vec<f32> = (0..(outputs * inputs).div_ceil(64)).map(factor).collect();
    let table: Vec<f32> = (0..16).map(code_value).collect();
    let stored = vec![
        ("weight", ("U8", vec![outputs * inputs / 2, 1], nibbles(packed))),
        ("weight.absmax", ("F32", vec![factors.len()], floats(&factors))),
        ("weight.quant_map", ("F32", vec![16], floats(&table))),
        ("weight.quant_state.bitsandbytes__nf4", nf4_state(packed, json!({}))),
    ];
    let value =
        |output: usize, input: usize| code_value(packed.number(output, input)) * factor((output * inputs + input) / 64);
    (stored, Packed::grid(outputs, inputs, value))
}

/// The same with factors that are codes themselves.
fn nf4_nested(packed: &Packed) -> (Vec<(&'static str, Stored)>, Vec<f32>) {
    let (outputs, inputs) = (packed.outputs, packed.inputs);
    let count = (outputs * inputs).div_ceil(64);
    let codes: Vec<u8> = (0..count).map(|block| (block * 37 % 256) as u8).collect();
    let nested_table: Vec<f32> = (0..256).map(|code| (code as f32 - 128.0) / 256.0).collect();
    let nested: Vec<f32> = (0..count.div_ceil(4)).map(|block| 0.02 + 0.01 * (block % 3) as f32).collect();
    let factor = |block: usize| nested_table[usize::from(codes[block])] * nested[block / 4] + 0.125;
    let table: Vec<f32> = (0..16).map(code_value).collect();
    let value =
        |output: usize, input: usize| code_value(packed.number(output, input)) * factor((output * inputs + input) / 64);
    let values = Packed::grid(outputs, inputs, value);
    let stored = vec![
        ("weight", ("U8", vec![outputs * inputs / 2, 1], nibbles(packed))),
        ("weight.absmax", ("U8", vec![count], codes.clone())),
        ("weight.quant_map", ("F32", vec![16], floats(&table))),
        ("weight.nested_absmax", ("F32", vec![nested.len()], floats(&nested))),
        ("weight.nested_quant_map", ("F32", vec![256], floats(&nested_table))),
        (
            "weight.quant_state.bitsandbytes__nf4",
            nf4_state(packed, json!({"nested_blocksize": 4, "nested_offset": 0.125, "nested_dtype": "float32"})),
        ),
    ];
    (stored, values)
}

fn int8(packed: &Packed) -> (Vec<(&'static str, Stored)>, Vec<f32>) {
    let (outputs, inputs) = (packed.outputs, packed.inputs);
    let code = |output: usize, input: usize| packed.number(output, input) as i8 - 8;
    let scale = |output: usize| 0.5 + 0.25 * (output % 5) as f32;
    let codes = Packed::grid(outputs, inputs, |output, input| code(output, input) as u8);
    let scales: Vec<f32> = (0..outputs).map(scale).collect();
    let stored = vec![
        ("weight", ("I8", vec![outputs, inputs], codes)),
        ("SCB", ("F32", vec![outputs], floats(&scales))),
        ("weight_format", ("U8", vec![], vec![0])),
    ];
    let value = |output: usize, input: usize| f32::from(code(output, input)) * (scale(output) / 127.0);
    (stored, Packed::grid(outputs, inputs, value))
}

fn converted(bytes: &[u8], change: impl Fn(&mut Json)) -> (tempfile::TempDir, GgufFile) {
    let checkpoint = Checkpoint::without_weights("llama");
    let path = checkpoint.path().join("config.json");
    let mut config = serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("JSON");
    change(&mut config);
    std::fs::write(&path, config.to_string()).expect("written");
    std::fs::write(checkpoint.path().join("model.safetensors"), bytes).expect("written");
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out.gguf");
    Conversion::plan(checkpoint.path(), OutputType::F32).expect("converts").write(&out, |_| {}).expect("writes");
    let file = GgufFile::open(&out).expect("a model");
    (folder, file)
}

fn check(what: &str, layout: Layout, change: impl Fn(&mut Json)) {
    let mut plain = tensors_of("llama");
    let mut packed: BTreeMap<String, Stored> = BTreeMap::new();
    for (name, (shape, values)) in &mut plain {
        match name.strip_suffix("_proj.weight") {
            Some(stem) => {
                let (stored, dequantized) = layout(&Packed { outputs: shape[0], inputs: shape[1] });
                packed.extend(stored.into_iter().map(|(end, stored)| (format!("{stem}_proj.{end}"), stored)));
                *values = dequantized;
            }
            None => drop(packed.insert(name.clone(), ("F32", shape.clone(), floats(values)))),
        }
    }
    let (_kept, expected) = converted(&safetensors(&plain), |_| {});
    let (_kept, found) = converted(&write(&packed), change);
    for tensor in expected.tensors() {
        let other = found.required_tensor(&tensor.name).expect(what);
        assert!(*expected.tensor_data(tensor) == *found.tensor_data(other), "{what}: `{}`", tensor.name);
    }
    assert_eq!(expected.tensors().len(), found.tensors().len(), "{what}");
}

#[test]
fn packed_weights_stand_for_their_numbers() {
    let method = |name: &'static str, more: Json| {
        move |config: &mut Json| {
            config["quantization_config"] = more.clone();
            config["quantization_config"]["quant_method"] = name.into();
        }
    };
    check("GPTQ", gptq, method("gptq", json!({"bits": 4, "group_size": GROUP})));
    check("AWQ", awq, method("awq", json!({"bits": 4, "version": "gemm"})));
    check("MLX", mlx, |config| config["quantization"] = json!({"group_size": GROUP, "bits": 4}));
    let groups = json!({"group_0": {"weights": {"num_bits": 4, "symmetric": true, "type": "int"}}});
    let of_groups = json!({"format": "pack-quantized", "config_groups": groups});
    check("compressed-tensors", compressed, method("compressed-tensors", of_groups));
    check("NF4", nf4, method("bitsandbytes", json!({"load_in_4bit": true})));
    check("NF4 with nested factors", nf4_nested, method("bitsandbytes", json!({"load_in_4bit": true})));
    check("int8", int8, method("bitsandbytes", json!({"load_in_8bit": true})));
    check("FP8", fp8, method("fp8", json!({"weight_block_size": [GROUP, GROUP]})));
}

/// The code of a number of gpt-oss's experts, and the exponent of its block.
fn mxfp4(expert: usize, row: usize, column: usize) -> (u8, u8) {
    (((expert * 5 + row * 3 + column * 7) % 16) as u8, (118 + (expert + row + column / 32) % 10) as u8)
}

/// The tensors of `rows` by `columns` for four experts: blocks of two neighbours a byte, and exponents.
fn mxfp4_tensors(name: &str, rows: usize, columns: usize) -> [(String, Stored); 2] {
    let (mut blocks, mut scales) = (Vec::new(), Vec::new());
    for (expert, row) in (0..4).flat_map(|expert| (0..rows).map(move |row| (expert, row))) {
        let code = |column: usize| mxfp4(expert, row, column).0;
        blocks.extend((0..columns / 2).map(|pair| code(2 * pair) | code(2 * pair + 1) << 4));
        scales.extend((0..columns / 32).map(|block| mxfp4(expert, row, 32 * block).1));
    }
    let shape = vec![4, rows, columns / 32];
    let with_bytes = [&shape[..], &[16]].concat();
    [(format!("{name}_blocks"), ("U8", with_bytes, blocks)), (format!("{name}_scales"), ("U8", shape, scales))]
}

#[test]
fn experts_in_mxfp4_are_kept_as_they_are() {
    let checkpoint = Checkpoint::without_weights("gpt-oss");
    let path = checkpoint.path().join("config.json");
    let mut config = support::json_of(&path);
    config["quantization_config"] = json!({"quant_method": "mxfp4"});
    std::fs::write(&path, config.to_string()).expect("written");
    let mut tensors: BTreeMap<String, Stored> = BTreeMap::new();
    for (name, (shape, values)) in tensors_of("gpt-oss") {
        match name.strip_suffix("gate_up_proj").or(name.strip_suffix("down_proj")) {
            Some(_) if name.ends_with("gate_up_proj") => tensors.extend(mxfp4_tensors(&name, 128, 32)),
            Some(_) => tensors.extend(mxfp4_tensors(&name, 32, 64)),
            None => drop(tensors.insert(name, ("F32", shape, floats(&values)))),
        }
    }
    std::fs::write(checkpoint.path().join("model.safetensors"), write(&tensors)).expect("written");
    let out = checkpoint.path().join("out.gguf");
    for (output, expected_type) in [(OutputType::Auto, "MXFP4"), (OutputType::F32, "F32")] {
        Conversion::plan(checkpoint.path(), output).expect("converts").write(&out, |_| {}).expect("written");
        let file = GgufFile::open(&out).expect("a model");
        for (name, rows, columns, row_of) in [
            ("blk.0.ffn_gate_exps.weight", 64, 32, (|row| 2 * row) as fn(usize) -> usize),
            ("blk.1.ffn_up_exps.weight", 64, 32, |row| 2 * row + 1),
            ("blk.3.ffn_down_exps.weight", 32, 64, |row| row),
        ] {
            let tensor = file.required_tensor(name).expect("there");
            assert_eq!(tensor.tensor_type.name(), expected_type, "{name}");
            let mut found = vec![0.0; 4 * rows * columns];
            lair_quant::dequantize(tensor.tensor_type, &file.tensor_data(tensor), &mut found).expect("numbers");
            for (index, found) in found.into_iter().enumerate() {
                let (expert, row, column) = (index / columns / rows, index / columns % rows, index % columns);
                let (code, exponent) = mxfp4(expert, row_of(row), column);
                let magnitude = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0][usize::from(code & 7)];
                let sign = if code & 8 == 0 { 1.0 } else { -1.0 };
                assert_eq!(found, sign * magnitude * (f32::from(exponent) - 127.0).exp2(), "{name} {index}");
            }
        }
    }
}

/// What the published checkpoints of DeepSeek V4 call a tensor that transformers saves by this name.
fn published(name: &str) -> String {
    let name = name.strip_prefix("model.").unwrap_or(name);
    name.replace(".attn.norm.", ".attn.kv_norm.").replace("hc_head.hc_", "hc_head_")
}

/// The published layout of DeepSeek V4: other names and keys, experts of four bits, other products of eight, both with powers of
/// two beside them.
#[test]
fn deepseek_v4_as_published_is_what_transformers_saves_of_it() {
    let folder = checkpoints().join("deepseek4");
    let whole = support::json_of(&folder.join("whole.json"));
    let (mut plain, mut packed): (BTreeMap<String, Stored>, BTreeMap<String, Stored>) = Default::default();
    for (name, rows) in whole.as_object().expect("tables") {
        let rows: Vec<Vec<i64>> = serde_json::from_value(rows.clone()).expect("whole numbers");
        let shape = vec![rows.len(), rows[0].len()];
        let bytes: Vec<u8> = rows.concat().iter().flat_map(|number| number.to_le_bytes()).collect();
        plain.insert(name.clone(), ("I64", shape.clone(), bytes));
        let narrow = rows.concat().iter().flat_map(|number| (*number as i32).to_le_bytes()).collect();
        packed.insert(published(name), ("I32", shape, narrow));
    }
    for (name, (shape, values)) in tensors_of("deepseek4") {
        let expert = name.split_once(".experts.").and_then(|(_, rest)| rest.split('.').next()?.parse::<usize>().ok());
        let (stem, values) = (published(&name), values);
        let stem = stem.trim_end_matches(".weight");
        if let Some(expert) = expert {
            let ([rows, columns], magnitudes) = ([shape[0], shape[1]], [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]);
            let number = |row: usize, column: usize| {
                let (code, exponent) = mxfp4(expert, row, column);
                let magnitude: f32 = magnitudes[usize::from(code & 7)];
                (f32::from(exponent) - 127.0).exp2() * if code & 8 == 0 { magnitude } else { -magnitude }
            };
            let pair =
                |row: usize, pair: usize| mxfp4(expert, row, 2 * pair).0 | mxfp4(expert, row, 2 * pair + 1).0 << 4;
            let bytes = Packed::grid(rows, columns / 2, pair);
            let scales = Packed::grid(rows, columns / 32, |row, block| mxfp4(expert, row, 32 * block).1);
            packed.insert(format!("{stem}.weight"), ("I8", vec![rows, columns / 2], bytes));
            packed.insert(format!("{stem}.scale"), ("F8_E8M0", vec![rows, columns / 32], scales));
            plain.insert(name, ("F32", shape, floats(&Packed::grid(rows, columns, number))));
        } else if name.ends_with("wq_b.weight") || name.ends_with("wo_a.weight") {
            // From 1 on in eighths, by a quarter.
            let code = |row: usize, column: usize| 0x38 + ((row * 3 + column) % 8) as u8;
            let number = |row: usize, column: usize| 0.25 * (1.0 + f32::from(code(row, column) - 0x38) / 8.0);
            packed.insert(format!("{stem}.weight"), ("F8_E4M3", shape.clone(), Packed::grid(shape[0], shape[1], code)));
            packed.insert(format!("{stem}.scale"), ("F8_E8M0", vec![1, 1], vec![125]));
            plain.insert(name, ("F32", shape.clone(), floats(&Packed::grid(shape[0], shape[1], number))));
        } else {
            packed.insert(published(&name), ("F32", shape.clone(), floats(&values)));
            plain.insert(name, ("F32", shape, floats(&values)));
        }
    }
    // Layers that predict further tokens, and scores that no layer with a table has, are left out.
    packed.insert("mtp.0.norm.weight".to_owned(), ("F32", vec![32], floats(&[1.0; 32])));
    packed.insert("layers.0.ffn.gate.bias".to_owned(), ("F32", vec![4], floats(&[1.0; 4])));
    let assembled = |tensors: &BTreeMap<String, Stored>, change: &dyn Fn(&mut serde_json::Map<String, Json>)| {
        let checkpoint = Checkpoint::without_weights("deepseek4");
        let path = checkpoint.path().join("config.json");
        let mut config = support::json_of(&path);
        change(config.as_object_mut().expect("an object"));
        std::fs::write(&path, config.to_string()).expect("written");
        std::fs::write(checkpoint.path().join("model.safetensors"), write(tensors)).expect("written");
        let out = checkpoint.path().join("out.gguf");
        let model = lair_convert::hf::open(checkpoint.path()).expect("a checkpoint");
        let kept = model.required_tensor("blk.1.ffn_up_exps.weight").expect("there").tensor_type.name();
        Conversion::plan(checkpoint.path(), OutputType::F32).expect("converts").write(&out, |_| {}).expect("written");
        let file = GgufFile::open(&out).expect("a model");
        (checkpoint, file, kept)
    };
    let (_kept, expected, _) = assembled(&plain, &|_| {});
    let (_kept, found, kept) = assembled(&packed, &|config| {
        let own = ["layer_types", "compress_rates", "mlp_layer_types", "partial_rotary_factor", "rope_parameters"];
        own.iter().for_each(|key| drop(config.remove(*key)));
        let scaling = json!({"type": "yarn", "factor": 4, "original_max_position_embeddings": 32, "beta_fast": 32,
            "beta_slow": 1});
        config.extend([
            ("compress_ratios".to_owned(), json!([0, 4, 8, 4, 0])),
            ("num_hash_layers".to_owned(), json!(2)),
            ("rope_scaling".to_owned(), scaling),
            ("quantization_config".to_owned(), json!({"quant_method": "fp8", "weight_block_size": [128, 128]})),
        ]);
    });
    assert_eq!(kept, "MXFP4", "blocks of four bits are kept");
    assert_eq!(expected.tensors().len(), found.tensors().len());
    for tensor in expected.tensors() {
        let other = found.required_tensor(&tensor.name).expect("the same tensors");
        assert_eq!((&tensor.shape, tensor.tensor_type), (&other.shape, other.tensor_type), "{}", tensor.name);
        assert!(*expected.tensor_data(tensor) == *found.tensor_data(other), "`{}`", tensor.name);
    }
    let keys = |file: &GgufFile| -> BTreeMap<String, String> {
        let own = file.metadata().iter().filter(|(key, _)| key.starts_with("deepseek4."));
        // The factor of magnitudes that is not applied.
        let own = own.filter(|(key, _)| !key.ends_with("yarn_attn_factor"));
        own.map(|(key, value)| (key.to_string(), format!("{value:?}"))).collect()
    };
    assert_eq!(keys(&expected), keys(&found));
}
