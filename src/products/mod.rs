//! The products: what a store of them does, wherever it keeps them.
//!
//! Invariants, for every store: ids grow with creation (UUIDs of version 7, made monotonic), so the order of ids is the order
//! of creation and a page may start after any id, also one that has been deleted. A product is created whole or not at all,
//! and only one that is kept is answered. The number of products and of remembered idempotency keys is bounded.

mod memory;
mod redis;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

pub use self::memory::{MAX_STORED_BYTES, MemoryProducts};
pub use self::redis::RedisProducts;
use crate::redis_client::Unavailable;
use crate::validation::NewProduct;

/// How long an idempotency key is remembered.
pub const IDEMPOTENCY_TTL: Duration = Duration::from_hours(24);
/// How many idempotency keys are remembered; over it the oldest is forgotten.
pub const MAX_IDEMPOTENCY_KEYS: usize = 100_000;

/// A stored product: its id, and the JSON text that is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// Its id, 36 characters when written.
    pub id: Uuid,
    /// `{"name":...,"description":...,"price":...,"id":...}`
    pub json: Arc<[u8]>,
}

/// Products in order of creation, and whether there are more.
#[derive(Debug)]
pub struct Page {
    /// A JSON array.
    pub json: Vec<u8>,
    /// Where the next page starts after; `None` on the last page.
    pub next_after: Option<Uuid>,
}

/// Why a product was not created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateError {
    /// There is no room for one more.
    Full,
    /// The idempotency key was used for another product.
    KeyReused,
    /// The store cannot be reached.
    Unavailable(Unavailable),
}

/// Where products are kept.
pub trait ProductStore: Send + Sync {
    /// Whether its answers have to be waited for.
    fn is_remote(&self) -> bool;

    /// How many products it may hold.
    fn max_products(&self) -> usize;

    /// How many products there are.
    ///
    /// # Errors
    /// When the store cannot be reached.
    fn count(&self) -> Result<usize, Unavailable>;

    /// Keeps a new product, under a new id. With a `key` that was used for the same product within [`IDEMPOTENCY_TTL`], the
    /// product that was made then is given back, and none is made.
    ///
    /// # Errors
    /// When there is no room, the key was used for another product, or the store cannot be reached.
    fn create(&self, new: &NewProduct, key: Option<&str>) -> Result<Product, CreateError>;

    /// The JSON text of a product.
    ///
    /// # Errors
    /// When the store cannot be reached.
    fn get(&self, id: &Uuid) -> Result<Option<Arc<[u8]>>, Unavailable>;

    /// Forgets a product; whether there was one.
    ///
    /// # Errors
    /// When the store cannot be reached.
    fn delete(&self, id: &Uuid) -> Result<bool, Unavailable>;

    /// At most `limit` products (all, if `None`), those created after `after`.
    ///
    /// # Errors
    /// When the store cannot be reached.
    fn page(&self, limit: Option<usize>, after: Option<Uuid>) -> Result<Page, Unavailable>;

    /// An entity tag that changes whenever any product is created or deleted (RFC 9110, section 8.8.3).
    ///
    /// # Errors
    /// When the store cannot be reached.
    fn entity_tag(&self) -> Result<String, Unavailable>;
}

/// A product as the API shows it, up to the id, which comes last; the order of the fields is part of the API.
#[derive(Serialize)]
struct Described<'p> {
    name: &'p str,
    description: &'p str,
    price: f64,
}

/// `{"name":...,"description":...,"price":...,"id":"`: what an id, a quote and a brace complete to the product's JSON.
fn json_up_to_id(new: &NewProduct) -> Vec<u8> {
    let NewProduct { name, description, price } = new;
    let described = Described { name, description, price: *price };
    let mut json = serde_json::to_vec(&described).expect("strings and a finite number are always JSON");
    json.pop();
    json.extend_from_slice(br#","id":""#);
    json
}
