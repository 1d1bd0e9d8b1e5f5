//! Products in this process; gone when it ends. Bounded in bytes, too.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use uuid::Uuid;

use super::{CreateError, IDEMPOTENCY_TTL, MAX_IDEMPOTENCY_KEYS, Page, Product, ProductStore, json_up_to_id};
use crate::redis_client::Unavailable;
use crate::validation::NewProduct;

/// All products' JSON text together, at most, in bytes; and as much again for those remembered with an idempotency key.
pub const MAX_STORED_BYTES: usize = 64 * 1024 * 1024;

/// The store.
#[derive(Debug)]
pub struct MemoryProducts {
    shelf: RwLock<Shelf>,
    max: usize,
    /// Sets the entity tags of this store apart from those of another one, or of an earlier run.
    instance: u64,
}

#[derive(Debug, Default)]
struct Shelf {
    products: BTreeMap<Uuid, Arc<[u8]>>,
    bytes: usize,
    /// How often the store has changed.
    revision: u64,
    last_id: Uuid,
    remembered: Remembered,
}

impl MemoryProducts {
    /// An empty store of at most `max_products` products.
    #[must_use]
    pub fn new(max_products: usize) -> Self {
        Self { shelf: RwLock::default(), max: max_products, instance: Uuid::new_v4().as_u64_pair().0 }
    }

    /// A panic leaves the shelf whole but for `revision`, which only tags.
    fn read(&self) -> RwLockReadGuard<'_, Shelf> {
        self.shelf.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Shelf> {
        self.shelf.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProductStore for MemoryProducts {
    fn is_remote(&self) -> bool {
        false
    }

    fn max_products(&self) -> usize {
        self.max
    }

    fn count(&self) -> Result<usize, Unavailable> {
        Ok(self.read().products.len())
    }

    fn create(&self, new: &NewProduct, key: Option<&str>) -> Result<Product, CreateError> {
        let description = json_up_to_id(new);
        let mut shelf = self.write();
        shelf.remembered.forget_over(Instant::now());
        if let Some(earlier) = key.and_then(|key| shelf.remembered.by_key.get(key)) {
            let same = earlier.product.json.starts_with(&description);
            return if same { Ok(earlier.product.clone()) } else { Err(CreateError::KeyReused) };
        }
        let id = Uuid::now_v7().max(Uuid::from_u128(shelf.last_id.as_u128() + 1));
        let json: Arc<[u8]> = [&description[..], id.to_string().as_bytes(), b"\"}"].concat().into();
        if shelf.products.len() >= self.max || shelf.bytes + json.len() > MAX_STORED_BYTES {
            return Err(CreateError::Full);
        }
        let product = Product { id, json };
        shelf.products.insert(id, product.json.clone());
        shelf.bytes += product.json.len();
        shelf.revision += 1;
        shelf.last_id = id;
        if let Some(key) = key {
            shelf.remembered.remember(key, product.clone());
        }
        Ok(product)
    }

    fn get(&self, id: &Uuid) -> Result<Option<Arc<[u8]>>, Unavailable> {
        Ok(self.read().products.get(id).cloned())
    }

    fn delete(&self, id: &Uuid) -> Result<bool, Unavailable> {
        let mut shelf = self.write();
        let Some(json) = shelf.products.remove(id) else { return Ok(false) };
        shelf.bytes -= json.len();
        shelf.revision += 1;
        Ok(true)
    }

    fn page(&self, limit: Option<usize>, after: Option<Uuid>) -> Result<Page, Unavailable> {
        let shelf = self.read();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut products = shelf.products.range((from, Bound::Unbounded));
        let mut json = Vec::with_capacity(if limit.is_none() { shelf.bytes + shelf.products.len() + 2 } else { 4096 });
        json.push(b'[');
        let mut last = None;
        for (id, product) in products.by_ref().take(limit.unwrap_or(usize::MAX)) {
            if last.is_some() {
                json.push(b',');
            }
            json.extend_from_slice(product);
            last = Some(*id);
        }
        json.push(b']');
        Ok(Page { json, next_after: last.filter(|_| products.next().is_some()) })
    }

    fn entity_tag(&self) -> Result<String, Unavailable> {
        Ok(format!("\"{:016x}-{:x}\"", self.instance, self.read().revision))
    }
}

/// Idempotency keys and what was made under them, oldest first.
#[derive(Debug, Default)]
struct Remembered {
    by_key: HashMap<Arc<str>, Earlier>,
    order: VecDeque<Arc<str>>,
    bytes: usize,
}

#[derive(Debug)]
struct Earlier {
    product: Product,
    until: Instant,
}

impl Remembered {
    fn remember(&mut self, key: &str, product: Product) {
        let key: Arc<str> = key.into();
        self.bytes += product.json.len();
        self.order.push_back(key.clone());
        self.by_key.insert(key, Earlier { product, until: Instant::now() + IDEMPOTENCY_TTL });
        while self.order.len() > MAX_IDEMPOTENCY_KEYS || self.bytes > MAX_STORED_BYTES {
            self.forget_oldest();
        }
    }

    fn forget_over(&mut self, now: Instant) {
        while self.order.front().and_then(|key| self.by_key.get(key)).is_some_and(|oldest| oldest.until <= now) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.order.pop_front().and_then(|key| self.by_key.remove(&key));
        self.bytes -= oldest.map_or(0, |earlier| earlier.product.json.len());
    }
}
