//! What one rendering may use: work, memory, length of text. Templates come out of model files and are not trusted.
//!
//! Fuel stands for time: one unit is one evaluated node, one visited element, [`BYTES_PER_FUEL`] bytes copied or
//! searched or [`CHARACTER_BYTES_PER_FUEL`] looked at in detail, so that no operation costs much more than its price. Memory is counted for the values alive, each value
//! returning its share when it is dropped.

use std::cell::Cell;
use std::rc::Rc;

use super::error::{TemplateError, TemplateFault};

/// How many bytes are copied or compared for one unit of fuel: about as long as evaluating one node takes.
const BYTES_PER_FUEL: usize = 64;

/// How many bytes are looked at one character at a time for one unit of fuel.
const CHARACTER_BYTES_PER_FUEL: usize = 8;

/// The longest single string a template may build, whatever it then does with it.
pub(crate) const TEXT_BYTES_MAX: usize = 16 << 20;

/// The account of one rendering.
pub(crate) struct Budget {
    fuel_left: Cell<u64>,
    fuel_max: u64,
    memory_bytes: Cell<usize>,
    memory_bytes_max: usize,
}

impl Budget {
    pub(crate) fn new(fuel_max: u64, memory_bytes_max: usize) -> Rc<Budget> {
        Rc::new(Budget { fuel_left: Cell::new(fuel_max), fuel_max, memory_bytes: Cell::new(0), memory_bytes_max })
    }

    /// Pays for `amount` nodes or elements.
    pub(crate) fn spend(&self, amount: usize) -> Result<(), TemplateError> {
        match self.fuel_left.get().checked_sub(amount as u64) {
            Some(left) => {
                self.fuel_left.set(left);
                Ok(())
            }
            None => {
                self.fuel_left.set(0);
                Err(TemplateFault::OutOfFuel { limit: self.fuel_max }.into())
            }
        }
    }

    /// Pays for copying or searching `bytes` bytes.
    pub(crate) fn spend_bytes(&self, bytes: usize) -> Result<(), TemplateError> {
        self.spend(1 + bytes / BYTES_PER_FUEL)
    }

    /// Pays for looking at each character of `bytes` bytes.
    pub(crate) fn spend_characters(&self, bytes: usize) -> Result<(), TemplateError> {
        self.spend(1 + bytes / CHARACTER_BYTES_PER_FUEL)
    }

    pub(crate) fn fuel_used(&self) -> u64 {
        self.fuel_max - self.fuel_left.get()
    }
}

/// A share of the memory, given back on drop.
pub(crate) struct Charge {
    budget: Rc<Budget>,
    bytes: usize,
}

impl Charge {
    pub(crate) fn new(budget: &Rc<Budget>, bytes: usize) -> Result<Charge, TemplateError> {
        let mut charge = Charge { budget: Rc::clone(budget), bytes: 0 };
        charge.grow(bytes)?;
        Ok(charge)
    }

    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), TemplateError> {
        let total = self.budget.memory_bytes.get().saturating_add(bytes);
        if total > self.budget.memory_bytes_max {
            return Err(TemplateFault::OutOfMemory { limit_bytes: self.budget.memory_bytes_max }.into());
        }
        self.budget.memory_bytes.set(total);
        self.bytes += bytes;
        Ok(())
    }

    pub(crate) fn budget(&self) -> &Rc<Budget> {
        &self.budget
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.memory_bytes.set(self.budget.memory_bytes.get() - self.bytes);
    }
}
