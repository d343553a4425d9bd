//! The names that a pickle of tensors may ask for, and how tensors are told from what it made.

use super::pickle::{Id, Node, Value};
use crate::element::ElementType;
use crate::error::Fault;
use crate::safetensors::limits;
use crate::stored::{StoredTensor, element_count};

/// Keys under which programs that train keep a model's state, and how deep.
const STATE_KEYS: [&str; 4] = ["state_dict", "model_state_dict", "model", "module"];
const STATE_DEPTH_MAX: usize = 3;

/// Something that a pickle may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    /// Arguments: storage, first element, shape, strides, and what is of no use.
    RebuildTensor,
    /// The same, whose element type is the seventh argument.
    RebuildTypedTensor,
    /// Arguments: a tensor, and what is of no use.
    RebuildParameter,
    /// A shape.
    Size,
    /// A class of storages; without a type of elements the tensor says it.
    Storage(Option<ElementType>),
    ElementType(ElementType),
}

impl Global {
    /// What a name stands for; `None` for every name that tensors do not need.
    pub(super) fn of(name: &str) -> Option<Global> {
        use ElementType as E;
        let known = match name {
            "collections.OrderedDict" => Global::OrderedDict,
            "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" => Global::RebuildTensor,
            "torch._utils._rebuild_tensor_v3" => Global::RebuildTypedTensor,
            "torch._utils._rebuild_parameter" => Global::RebuildParameter,
            "torch.Size" => Global::Size,
            "torch.storage.UntypedStorage" | "torch.UntypedStorage" => Global::Storage(None),
            "torch.FloatStorage" => Global::Storage(Some(E::F32)),
            "torch.DoubleStorage" => Global::Storage(Some(E::F64)),
            "torch.HalfStorage" => Global::Storage(Some(E::F16)),
            "torch.BFloat16Storage" => Global::Storage(Some(E::BF16)),
            "torch.LongStorage" => Global::Storage(Some(E::I64)),
            "torch.IntStorage" => Global::Storage(Some(E::I32)),
            "torch.ShortStorage" => Global::Storage(Some(E::I16)),
            "torch.CharStorage" => Global::Storage(Some(E::I8)),
            "torch.ByteStorage" => Global::Storage(Some(E::U8)),
            "torch.BoolStorage" => Global::Storage(Some(E::Bool)),
            "torch.float32" => Global::ElementType(E::F32),
            "torch.float64" => Global::ElementType(E::F64),
            "torch.float16" => Global::ElementType(E::F16),
            "torch.bfloat16" => Global::ElementType(E::BF16),
            "torch.int64" => Global::ElementType(E::I64),
            "torch.int32" => Global::ElementType(E::I32),
            "torch.int16" => Global::ElementType(E::I16),
            "torch.int8" => Global::ElementType(E::I8),
            "torch.uint8" => Global::ElementType(E::U8),
            "torch.uint16" => Global::ElementType(E::U16),
            "torch.uint32" => Global::ElementType(E::U32),
            "torch.uint64" => Global::ElementType(E::U64),
            "torch.bool" => Global::ElementType(E::Bool),
            "torch.float8_e4m3fn" => Global::ElementType(E::F8_E4M3),
            "torch.float8_e5m2" => Global::ElementType(E::F8_E5M2),
            "torch.float8_e8m0fnu" => Global::ElementType(E::F8_E8M0),
            _ => return None,
        };
        Some(known)
    }

    /// What a call of it gives.
    pub(super) fn call<'n>(self, arguments: &[Id], node: &dyn Fn(Id) -> &'n Node) -> Result<Node, Fault> {
        let wrong = |what: &str| Fault::malformed(format!("a call of {what}"), "other arguments", "those of a tensor");
        match (self, arguments) {
            (Global::OrderedDict, []) => Ok(Node::Dict(Vec::new())),
            (Global::OrderedDict, [pairs]) => pairs_of(node(*pairs), node).ok_or_else(|| wrong("OrderedDict")),
            (Global::Size, [lengths]) => match node(*lengths) {
                Node::Tuple(lengths) | Node::List(lengths) if lengths.len() <= limits::DIMENSION_COUNT_MAX => {
                    Ok(Node::Tuple(lengths.clone()))
                }
                _ => Err(wrong("Size")),
            },
            (Global::RebuildParameter, [tensor, ..]) => match node(*tensor) {
                Node::Tensor(tensor) => Ok(Node::Tensor(tensor.clone())),
                _ => Err(wrong("_rebuild_parameter")),
            },
            (Global::RebuildTensor, [storage, start, shape, strides, ..]) => {
                let tensor = TensorNode::read([*storage, *start, *shape, *strides], None, node);
                tensor.map(|tensor| Node::Tensor(Box::new(tensor))).ok_or_else(|| wrong("_rebuild_tensor_v2"))
            }
            (Global::RebuildTypedTensor, [storage, start, shape, strides, _, _, element, ..]) => {
                let tensor = match node(*element) {
                    Node::Global(Global::ElementType(element)) => {
                        TensorNode::read([*storage, *start, *shape, *strides], Some(*element), node)
                    }
                    _ => None,
                };
                tensor.map(|tensor| Node::Tensor(Box::new(tensor))).ok_or_else(|| wrong("_rebuild_tensor_v3"))
            }
            _ => Err(wrong(&format!("{self:?}"))),
        }
    }
}

/// A dictionary of a list of pairs.
fn pairs_of<'n>(pairs: &'n Node, node: &dyn Fn(Id) -> &'n Node) -> Option<Node> {
    let Node::List(pairs) = pairs else { return None };
    let pair = |id: &Id| match node(*id) {
        Node::Tuple(pair) | Node::List(pair) => Some((*pair.first()?, *pair.get(1)?)),
        _ => None,
    };
    pairs.iter().map(pair).collect::<Option<Vec<_>>>().map(Node::Dict)
}

/// A storage, as a pickle refers to it.
#[derive(Clone, Debug)]
pub(super) struct StorageReference {
    pub(super) key: Box<str>,
    element: Option<ElementType>,
}

impl StorageReference {
    /// `("storage", class, key, place, length)`.
    pub(super) fn read<'n>(node: &'n Node, at: &dyn Fn(Id) -> &'n Node) -> Result<StorageReference, Fault> {
        let wrong = || Fault::malformed("a reference of the pickle", "another value", "one to a storage");
        let Node::Tuple(parts) = node else { return Err(wrong()) };
        let [kind, class, key, ..] = parts.as_slice() else { return Err(wrong()) };
        match (at(*kind), at(*class), at(*key)) {
            (Node::Text(kind), Node::Global(Global::Storage(element)), Node::Text(key)) if &**kind == "storage" => {
                Ok(StorageReference { key: key.clone(), element: *element })
            }
            _ => Err(wrong()),
        }
    }

    /// Bytes of what its length counts.
    pub(super) fn width(&self) -> usize {
        self.element.map_or(1, ElementType::size_bytes)
    }
}

/// A tensor, as a pickle describes it; nothing in it was compared with its storage.
#[derive(Clone, Debug)]
pub(super) struct TensorNode {
    key: Box<str>,
    element: ElementType,
    /// Elements before its first one.
    start: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl TensorNode {
    fn read<'n>(parts: [Id; 4], element: Option<ElementType>, node: &dyn Fn(Id) -> &'n Node) -> Option<TensorNode> {
        let Node::Storage(storage) = node(parts[0]) else { return None };
        let count = |node: &Node| match node {
            Node::Int(number) => usize::try_from(*number).ok(),
            _ => None,
        };
        let counts = |list: &Node| match list {
            Node::Tuple(list) | Node::List(list) if list.len() <= limits::DIMENSION_COUNT_MAX => {
                list.iter().map(|id| count(node(*id))).collect::<Option<Vec<usize>>>()
            }
            _ => None,
        };
        let (shape, strides) = (counts(node(parts[2]))?, counts(node(parts[3]))?);
        let element = element.or(storage.element)?;
        let is_whole = shape.len() == strides.len();
        let start = count(node(parts[1]))?;
        is_whole.then(|| TensorNode { key: storage.key.clone(), element, start, shape, strides })
    }

    /// The tensor with its place in the file.
    fn stored(&self, name: &str, storage: Storage) -> Result<StoredTensor, Fault> {
        let what = || format!("tensor `{name}`");
        let width = self.element.size_bytes();
        let available = usize::try_from(storage.length).unwrap_or(usize::MAX) / width;
        let count = element_count(&self.shape);
        // Behind its last element; a tensor without elements has none.
        let end = match count {
            Some(0) => Some(self.start),
            _ => self
                .shape
                .iter()
                .zip(&self.strides)
                .try_fold(self.start, |end, (length, stride)| end.checked_add((length - 1).checked_mul(*stride)?))
                .and_then(|last| last.checked_add(1)),
        };
        if end.is_none_or(|end| end > available) || count.is_none_or(|count| count > available) {
            let found =
                format!("the shape {:?} with the strides {:?} from {} on", self.shape, self.strides, self.start);
            return Err(Fault::malformed(what(), found, format!("elements among the {available} of its storage")));
        }
        let is_in_order = self.strides == strides_in_order(&self.shape) || count == Some(0) || count == Some(1);
        Ok(StoredTensor {
            name: name.to_owned(),
            element: self.element,
            shape: self.shape.clone(),
            strides: (!is_in_order && !matches_but_for_ones(&self.shape, &self.strides)).then(|| self.strides.clone()),
            file: 0,
            start: storage.start + (self.start * width) as u64,
        })
    }
}

/// The strides of elements that follow one another.
fn strides_in_order(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for index in (1..shape.len()).rev() {
        strides[index - 1] = strides[index].saturating_mul(shape[index].max(1));
    }
    strides
}

/// Whether elements follow one another, whatever the strides of dimensions of one element are.
fn matches_but_for_ones(shape: &[usize], strides: &[usize]) -> bool {
    let in_order = strides_in_order(shape);
    shape.iter().zip(strides).zip(&in_order).all(|((length, found), expected)| *length == 1 || found == expected)
}

/// Where a storage lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage {
    /// Its first byte.
    pub(super) start: u64,
    /// Its bytes.
    pub(super) length: u64,
}

/// The named tensors of a value: of a dictionary, or of one in it that holds a model's state.
pub(super) fn tensors(value: &Value, storage: impl Fn(&str) -> Option<Storage>) -> Result<Vec<StoredTensor>, Fault> {
    let mut state = value.root();
    for _ in 0..STATE_DEPTH_MAX {
        let has_tensors = |state: &Node| match state {
            Node::Dict(entries) => entries.iter().any(|(_, id)| matches!(value.node(*id), Node::Tensor(_))),
            _ => false,
        };
        let inner =
            STATE_KEYS.iter().find_map(|key| value.entry(state, key).filter(|node| matches!(node, Node::Dict(_))));
        match inner {
            Some(inner) if !has_tensors(state) => state = inner,
            _ => break,
        }
    }
    let Node::Dict(entries) = state else {
        return Err(Fault::malformed("the pickle", "another value", "a dictionary of tensors"));
    };
    let mut tensors: Vec<StoredTensor> = Vec::new();
    let mut names = std::collections::HashSet::new();
    for (name, id) in entries {
        let (Some(name), Node::Tensor(tensor)) = (value.text(*name), value.node(*id)) else { continue };
        if !names.insert(name) {
            return Err(Fault::malformed(format!("tensor `{name}`"), "its name twice", "each name once"));
        }
        let missing = || Fault::malformed(format!("tensor `{name}`"), format!("no storage `{}`", tensor.key), "one");
        tensors.push(tensor.stored(name, storage(&tensor.key).ok_or_else(missing)?)?);
    }
    if tensors.is_empty() {
        return Err(Fault::malformed("the pickle", "no tensors", "a dictionary of tensors"));
    }
    Ok(tensors)
}
