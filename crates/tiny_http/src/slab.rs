//! Connections by key. A key carries the generation of its slot, so a late event for a connection that is gone never
//! reaches the one that took its place.

/// Names one value of one slab, and no later one until the slot was used 2^32 times (2^16 on 32-bit machines).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key(pub(crate) usize);

const HALF: u32 = usize::BITS / 2;
const INDEX: usize = (1 << HALF) - 1;

impl Key {
    fn index(self) -> usize {
        self.0 & INDEX
    }

    fn generation(self) -> usize {
        self.0 >> HALF
    }
}

#[derive(Debug)]
struct Slot<T> {
    generation: usize,
    value: Option<T>,
}

/// Values in reused slots. Slots are never given back: there are at most as many as there once were values.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<usize>,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// Stores what `build` makes of its future key.
    pub(crate) fn insert_with(&mut self, build: impl FnOnce(Key) -> T) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, value: None });
            self.slots.len() - 1
        });
        let slot = &mut self.slots[index];
        let key = Key(slot.generation << HALF | index);
        slot.value = Some(build(key));
        key
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.index())?;
        if slot.generation == key.generation() { slot.value.as_ref() } else { None }
    }

    /// Takes the value out and retires its key.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index())?;
        if slot.generation != key.generation() {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = (slot.generation + 1) & INDEX;
        self.free.push(key.index());
        Some(value)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.value.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_key_never_finds_the_next_tenant_of_its_slot() {
        let mut slab = Slab::new();
        let old = slab.insert_with(|_| "old");
        assert_eq!(slab.remove(old), Some("old"));
        let new = slab.insert_with(|_| "new");
        assert_eq!(old.index(), new.index(), "the slot is reused");
        assert_eq!(slab.get(old), None);
        assert_eq!(slab.remove(old), None);
        assert_eq!(slab.get(new), Some(&"new"));
    }

    #[test]
    fn build_is_told_the_key_it_will_have() {
        let mut slab = Slab::new();
        let mut told = None;
        let key = slab.insert_with(|key| told = Some(key));
        assert_eq!(told, Some(key));
        assert_eq!(slab.values().count(), 1);
    }
}
