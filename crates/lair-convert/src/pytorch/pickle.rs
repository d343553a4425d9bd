//! A machine for the pickles of tensors: it builds plain values and runs nothing.
//!
//! Every instruction costs a bounded number of nodes, values refer to each other by number and are never walked
//! recursively here, and all counts have limits: a hostile pickle costs a few hundred bytes of memory for each of its
//! bytes at most, up to [`NODE_COUNT_MAX`]. Source of the instructions: `pickletools` of Python, protocols 0 to 5.

use std::collections::HashMap;

use super::state::{Global, StorageReference, TensorNode};
use crate::error::{Fault, printable};

/// Values that a pickle may make; a tensor takes some 15 of them.
pub(super) const NODE_COUNT_MAX: usize = 1 << 20;
/// Values that may lie on the stack or in lists, which may hold a value more than once.
const REFERENCE_COUNT_MAX: usize = 4 << 20;
/// Storages of a file.
pub(super) const STORAGE_COUNT_MAX: usize = 1 << 18;
/// Bytes of a pickle without its storages.
const PICKLE_BYTES_MAX: usize = 64 << 20;

/// Number of a value.
pub(super) type Id = u32;

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i64),
    /// An integer that does not fit 64 bits, little-endian.
    Long(Box<[u8]>),
    Float,
    Text(Box<str>),
    Bytes,
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Box<StorageReference>),
    Tensor(Box<TensorNode>),
}

/// What a pickle made.
#[derive(Debug)]
pub(super) struct Value {
    nodes: Vec<Node>,
    root: Id,
}

impl Value {
    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    pub(super) fn root(&self) -> &Node {
        self.node(self.root)
    }

    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value under a key of a dictionary.
    pub(super) fn entry(&self, dict: &Node, key: &str) -> Option<&Node> {
        let Node::Dict(entries) = dict else { return None };
        entries.iter().rev().find(|(name, _)| self.text(*name) == Some(key)).map(|(_, value)| self.node(*value))
    }

    /// All storages that are referred to.
    pub(super) fn storages(&self) -> impl Iterator<Item = &StorageReference> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Storage(storage) => Some(&**storage),
            _ => None,
        })
    }
}

/// Runs one pickle.
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    position: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// References that lists, tuples and dictionaries hold.
    held: usize,
}

impl<'a> Machine<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Machine<'a> {
        let (nodes, stack, marks) = (Vec::new(), Vec::new(), Vec::new());
        Machine { bytes, position: 0, nodes, stack, marks, memo: HashMap::new(), held: 0 }
    }

    /// Runs to the end; gives the value and the bytes that were read.
    pub(super) fn run(mut self) -> Result<(Value, usize), Fault> {
        loop {
            if self.position > PICKLE_BYTES_MAX {
                return Err(Fault::malformed(
                    "the pickle",
                    "no end so far",
                    format!("one within {PICKLE_BYTES_MAX} bytes"),
                ));
            }
            if self.stack.len() + self.held > REFERENCE_COUNT_MAX || self.marks.len() > REFERENCE_COUNT_MAX {
                return Err(Fault::malformed(
                    "the pickle",
                    "too many values",
                    format!("at most {REFERENCE_COUNT_MAX}"),
                ));
            }
            let offset = self.position;
            let code = self.byte()?;
            if code == b'.' {
                let root = self.pop()?;
                return Ok((Value { nodes: self.nodes, root }, self.position));
            }
            self.step(code, offset)?;
        }
    }

    fn step(&mut self, code: u8, offset: usize) -> Result<(), Fault> {
        match code {
            0x80 => self.protocol(),
            0x95 => self.take(8).map(|_| ()), // FRAME
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(|_| ()),
            b'1' => self.pop_mark().map(|_| ()),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
                Ok(())
            }
            b'N' => self.push(Node::None),
            0x88 => self.push(Node::Bool(true)),
            0x89 => self.push(Node::Bool(false)),
            b'K' | b'M' | b'J' | 0x8a | 0x8b => self.integer(code),
            b'G' => {
                self.take(8)?;
                self.push(Node::Float)
            }
            b'X' | 0x8c | 0x8d | b'U' | b'T' => self.text(code),
            b'B' | b'C' | 0x8e => self.skipped_bytes(code),
            b')' | b't' | 0x85..=0x87 => self.tuple(code),
            b']' => self.push(Node::List(Vec::new())),
            b'}' => self.push(Node::Dict(Vec::new())),
            b'a' | b'e' => self.append(code),
            b's' | b'u' => self.set_items(code),
            b'q' | b'r' | 0x94 => self.put(code),
            b'h' | b'j' => self.get(code),
            b'c' | 0x93 => self.global(code),
            b'R' => self.reduce(),
            b'b' => self.build(),
            b'Q' => self.persistent(),
            _ => Err(Fault::Instruction { name: instruction_name(code), offset }),
        }
    }

    fn protocol(&mut self) -> Result<(), Fault> {
        match self.byte()? {
            0..=5 => Ok(()),
            other => Err(Fault::malformed("the pickle's protocol", other, "0 to 5")),
        }
    }

    fn integer(&mut self, code: u8) -> Result<(), Fault> {
        let number = match code {
            b'K' => i64::from(self.byte()?),
            b'M' => self.unsigned(2)? as i64,
            b'J' => i64::from(self.unsigned(4)? as u32 as i32),
            _ => {
                let length = if code == 0x8a { self.unsigned(1)? } else { self.unsigned(4)? };
                return self.long(length);
            }
        };
        self.push(Node::Int(number))
    }

    /// An integer of any length in two's complement.
    fn long(&mut self, length: usize) -> Result<(), Fault> {
        let bytes = self.take(length)?;
        if bytes.len() > 8 {
            let bytes = bytes.into();
            return self.push(Node::Long(bytes));
        }
        let is_negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
        let mut wide = [if is_negative { 0xff } else { 0 }; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        self.push(Node::Int(i64::from_le_bytes(wide)))
    }

    fn text(&mut self, code: u8) -> Result<(), Fault> {
        let length = match code {
            0x8c | b'U' => self.unsigned(1)?,
            0x8d => self.unsigned(8)?,
            _ => self.unsigned(4)?,
        };
        let text = std::str::from_utf8(self.take(length)?);
        let text = text.map_err(|_| Fault::malformed("a text of the pickle", "bytes that are no UTF-8", "UTF-8"))?;
        self.push(Node::Text(text.into()))
    }

    /// Bytes are of no use for tensors; they are passed over.
    fn skipped_bytes(&mut self, code: u8) -> Result<(), Fault> {
        let length = match code {
            b'C' => self.unsigned(1)?,
            b'B' => self.unsigned(4)?,
            _ => self.unsigned(8)?,
        };
        self.take(length)?;
        self.push(Node::Bytes)
    }

    fn tuple(&mut self, code: u8) -> Result<(), Fault> {
        let items = match code {
            b')' => Vec::new(),
            b't' => self.pop_mark()?,
            _ => {
                let count = usize::from(code - 0x84);
                let start = self.stack.len().checked_sub(count).filter(|start| *start >= self.floor());
                self.stack.split_off(start.ok_or_else(empty_stack)?)
            }
        };
        self.held += items.len();
        self.push(Node::Tuple(items))
    }

    fn append(&mut self, code: u8) -> Result<(), Fault> {
        let items = if code == b'a' { vec![self.pop()?] } else { self.pop_mark()? };
        let list = self.top()?;
        self.held += items.len();
        match &mut self.nodes[list as usize] {
            Node::List(list) => list.extend(items),
            _ => return Err(Fault::malformed("the pickle", "a value to be appended to", "a list")),
        }
        Ok(())
    }

    fn set_items(&mut self, code: u8) -> Result<(), Fault> {
        let items = match code {
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_mark()?,
        };
        let dict = self.top()?;
        self.held += items.len();
        match &mut self.nodes[dict as usize] {
            Node::Dict(dict) if items.len().is_multiple_of(2) => {
                dict.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
                Ok(())
            }
            _ => Err(Fault::malformed("the pickle", "entries for another value", "pairs for a dictionary")),
        }
    }

    fn put(&mut self, code: u8) -> Result<(), Fault> {
        let index = match code {
            b'q' => self.unsigned(1)? as u32,
            b'r' => self.unsigned(4)? as u32,
            _ => self.memo.len() as u32,
        };
        let top = self.top()?;
        self.memo.insert(index, top);
        if self.memo.len() > NODE_COUNT_MAX {
            return Err(Fault::malformed("the pickle", "too many remembered values", NODE_COUNT_MAX));
        }
        Ok(())
    }

    fn get(&mut self, code: u8) -> Result<(), Fault> {
        let index = if code == b'h' { self.unsigned(1)? } else { self.unsigned(4)? } as u32;
        let missing =
            || Fault::malformed("the pickle", format!("value {index}, which was not remembered"), "one that was");
        let id = *self.memo.get(&index).ok_or_else(missing)?;
        self.stack.push(id);
        Ok(())
    }

    /// A name of something that Python would import: only those of tensors are known.
    fn global(&mut self, code: u8) -> Result<(), Fault> {
        let name = match code {
            b'c' => {
                let module = self.line()?.to_owned();
                format!("{module}.{}", self.line()?)
            }
            _ => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (&self.nodes[module as usize], &self.nodes[name as usize]) {
                    (Node::Text(module), Node::Text(name)) => format!("{module}.{name}"),
                    _ => return Err(Fault::malformed("the pickle", "a name that is no text", "two texts")),
                }
            }
        };
        match Global::of(&name) {
            Some(global) => self.push(Node::Global(global)),
            None => Err(Fault::Global { name: printable(&name) }),
        }
    }

    /// A call: of a known name, by rules of our own.
    fn reduce(&mut self) -> Result<(), Fault> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let Node::Global(global) = &self.nodes[callee as usize] else {
            return Err(Fault::malformed("the pickle", "a call of a value", "one of a name that tensors need"));
        };
        let Node::Tuple(arguments) = &self.nodes[arguments as usize] else {
            return Err(Fault::malformed("the pickle", "a call without a tuple of arguments", "one"));
        };
        let made = global.call(arguments, &|id| &self.nodes[id as usize])?;
        if let Node::Dict(entries) = &made {
            self.held += 2 * entries.len();
        }
        self.push(made)
    }

    /// Attributes: of the dictionary of a model's state (its versions), which are of no use.
    fn build(&mut self) -> Result<(), Fault> {
        self.pop()?;
        match &self.nodes[self.top()? as usize] {
            Node::Dict(_) => Ok(()),
            _ => Err(Fault::malformed("the pickle", "attributes of a value", "none but of a dictionary")),
        }
    }

    fn persistent(&mut self) -> Result<(), Fault> {
        let reference = self.pop()?;
        let node = &self.nodes[reference as usize];
        let storage = StorageReference::read(node, &|id| &self.nodes[id as usize])?;
        self.push(Node::Storage(Box::new(storage)))
    }

    fn push(&mut self, node: Node) -> Result<(), Fault> {
        if self.nodes.len() == NODE_COUNT_MAX {
            return Err(Fault::malformed("the pickle", "too many values", format!("at most {NODE_COUNT_MAX}")));
        }
        self.stack.push(self.nodes.len() as Id);
        self.nodes.push(node);
        Ok(())
    }

    /// The height that values may be taken down to.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Id, Fault> {
        if self.stack.len() <= self.floor() {
            return Err(empty_stack());
        }
        self.stack.pop().ok_or_else(empty_stack)
    }

    fn top(&self) -> Result<Id, Fault> {
        self.stack.last().copied().filter(|_| self.stack.len() > self.floor()).ok_or_else(empty_stack)
    }

    /// The values since the last mark.
    fn pop_mark(&mut self) -> Result<Vec<Id>, Fault> {
        let mark = self.marks.pop().ok_or_else(|| Fault::malformed("the pickle", "no mark", "one"))?;
        Ok(self.stack.split_off(mark))
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        Ok(self.take(1)?[0])
    }

    /// A little-endian number of so many bytes.
    fn unsigned(&mut self, width: usize) -> Result<usize, Fault> {
        let bytes = self.take(width)?;
        let number = bytes.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        usize::try_from(number).map_err(|_| Fault::malformed("a length of the pickle", number, "one that fits"))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let end = self.position.checked_add(length).filter(|end| *end <= self.bytes.len());
        let Some(end) = end else {
            let found = format!("{} bytes from {} on", self.bytes.len() - self.position, self.position);
            return Err(Fault::malformed("the pickle", found, format!("{length} more")));
        };
        let taken = &self.bytes[self.position..end];
        self.position = end;
        Ok(taken)
    }

    /// Text up to the end of the line.
    fn line(&mut self) -> Result<&'a str, Fault> {
        const LINE_BYTES_MAX: usize = 1024;
        let rest = &self.bytes[self.position..];
        let length = rest.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n');
        let length = length.ok_or_else(|| Fault::malformed("a name of the pickle", "no end of its line", "one"))?;
        let line = self.take(length + 1)?;
        std::str::from_utf8(&line[..length]).map_err(|_| Fault::malformed("a name of the pickle", "no UTF-8", "UTF-8"))
    }
}

fn empty_stack() -> Fault {
    Fault::malformed("the pickle", "too few values", "as many as its instructions take")
}

/// What `pickletools` calls an instruction that is not run.
fn instruction_name(code: u8) -> String {
    let name = match code {
        b'i' => "INST",
        b'o' => "OBJ",
        0x81 => "NEWOBJ",
        0x92 => "NEWOBJ_EX",
        0x82..=0x84 => "EXT",
        b'P' => "PERSID",
        b'I' => "INT",
        b'L' => "LONG",
        b'F' => "FLOAT",
        b'S' => "STRING",
        b'V' => "UNICODE",
        b'p' => "PUT",
        b'g' => "GET",
        b'd' => "DICT",
        b'l' => "LIST",
        0x8f => "EMPTY_SET",
        0x90 => "ADDITEMS",
        0x91 => "FROZENSET",
        0x96..=0x98 => "BYTEARRAY8 or a buffer",
        _ => return format!("{code:#04x}"),
    };
    format!("`{name}`")
}
