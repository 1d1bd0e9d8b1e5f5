//! Products in Redis: one set for all replicas, kept as long as Redis keeps it.
//!
//! Every change is one script, so it happens whole or not at all, and it is answered only after Redis has it. Whether it
//! survives Redis's own end is Redis's `appendfsync` to say.

use std::sync::Arc;

use redis::{Cmd, Connection, RedisError, Script, Value};
use uuid::Uuid;

use super::{
    CreateError, IDEMPOTENCY_TTL, MAX_IDEMPOTENCY_KEYS, MAX_STORED_BYTES, Page, Product, ProductStore, json_up_to_id,
};
use crate::metrics::RedisCommand;
use crate::redis_client::{RedisClient, RedisFailure, Repeat, Unavailable, bytes, integer};
use crate::validation::NewProduct;

/// Products read with one call, and bytes of them, give or take one product: Redis answers nobody else meanwhile, and has to be
/// done within its time-out.
const CHUNK: usize = 500;
const CHUNK_BYTES: usize = 256 * 1024;

// One hash tag, so that all stand in one slot of a cluster.
const ORDER: &str = "tollgate:{products}:order";
const DATA: &str = "tollgate:{products}:data";
const META: &str = "tollgate:{products}:meta";
const REMEMBERED: &str = "tollgate:{products}:idempotency";
const EXPIRY: &str = "tollgate:{products}:idempotency-expiry";

/// The store.
pub struct RedisProducts {
    client: Arc<RedisClient>,
    max: usize,
    create: Script,
    delete: Script,
    page: Script,
}

/// What one call reads.
#[derive(Default)]
struct Chunk {
    /// How many products there are, up to the limit of the call.
    found: usize,
    /// The first of them: their ids, and their JSON.
    products: Vec<(Uuid, Vec<u8>)>,
}

impl RedisProducts {
    /// The products in the Redis behind `client`, of which there may be `max_products`.
    #[must_use]
    pub fn new(client: Arc<RedisClient>, max_products: usize) -> Self {
        Self {
            client,
            max: max_products,
            create: Script::new(include_str!("create.lua")),
            delete: Script::new(include_str!("delete.lua")),
            page: Script::new(include_str!("page.lua")),
        }
    }

    fn run(&self, repeat: Repeat, script: &Script, keys: &[&str], args: &[&[u8]]) -> Result<Value, Unavailable> {
        let mut call = redis::cmd("EVALSHA");
        call.arg(script.get_hash()).arg(keys.len()).arg(keys).arg(args);
        self.client.call(repeat, |connection| {
            self.client
                .with_script_loaded(connection, script, |connection| call.query(connection))
                .map_err(RedisFailure::Exchange)
        })
    }

    fn ask<T: redis::FromRedisValue>(&self, command: RedisCommand, call: &Cmd) -> Result<T, Unavailable> {
        let query = |connection: &mut Connection| -> Result<T, RedisError> { call.query(connection) };
        self.client.call(Repeat::Harmless, |connection| {
            self.client.timed(command, || query(connection)).map_err(RedisFailure::Exchange)
        })
    }

    /// Products after `after`: at most `limit`, and no more than are read at once.
    fn chunk(&self, limit: usize, after: Option<Uuid>) -> Result<Chunk, Unavailable> {
        let after = after.map_or_else(|| "-inf".to_owned(), |id| millisecond_of(&id).to_string());
        let args = [after, limit.to_string(), CHUNK_BYTES.to_string()];
        let args = args.each_ref().map(String::as_bytes);
        let answer = self.run(Repeat::Harmless, &self.page, &[ORDER, DATA], &args)?;
        let Value::Array(fields) = answer else { return Ok(Chunk::default()) };
        let Some((found, pairs)) = fields.split_first() else { return Ok(Chunk::default()) };
        let found = integer(found).and_then(|found| usize::try_from(found).ok()).unwrap_or(0);
        let pair = |pair: &[Value]| Some((id_of(bytes(&pair[0])?)?, bytes(&pair[1])?.to_vec()));
        Ok(Chunk { found, products: pairs.chunks_exact(2).filter_map(pair).collect() })
    }
}

impl ProductStore for RedisProducts {
    fn is_remote(&self) -> bool {
        true
    }

    fn max_products(&self) -> usize {
        self.max
    }

    fn count(&self) -> Result<usize, Unavailable> {
        self.ask(RedisCommand::Zcard, redis::cmd("ZCARD").arg(ORDER))
    }

    fn create(&self, new: &NewProduct, key: Option<&str>) -> Result<Product, CreateError> {
        let up_to_id = json_up_to_id(new);
        let random = Uuid::new_v4().simple().to_string();
        let numbers = [
            self.max.to_string(),
            IDEMPOTENCY_TTL.as_millis().to_string(),
            MAX_IDEMPOTENCY_KEYS.to_string(),
            MAX_STORED_BYTES.to_string(),
        ];
        // Fixed bits of a version 4 UUID stand in the middle, so the digits are taken from its ends.
        let digits = [&random[..12], &random[20..28]].concat();
        let args: [&[u8]; 7] = [
            &up_to_id,
            digits.as_bytes(),
            numbers[0].as_bytes(),
            key.unwrap_or_default().as_bytes(),
            numbers[1].as_bytes(),
            numbers[2].as_bytes(),
            numbers[3].as_bytes(),
        ];
        let keys = [ORDER, DATA, META, REMEMBERED, EXPIRY];
        // With a key a second run finds what the first one did; without, it would make a second product.
        let repeat = if key.is_some() { Repeat::Harmless } else { Repeat::Never };
        let answer = self.run(repeat, &self.create, &keys, &args).map_err(CreateError::Unavailable)?;
        read_created(&answer)
    }

    fn get(&self, id: &Uuid) -> Result<Option<Arc<[u8]>>, Unavailable> {
        let json: Option<Vec<u8>> =
            self.ask(RedisCommand::Hget, redis::cmd("HGET").arg(DATA).arg(id.hyphenated().to_string()))?;
        Ok(json.map(Arc::from))
    }

    fn delete(&self, id: &Uuid) -> Result<bool, Unavailable> {
        let id = id.hyphenated().to_string();
        let answer = self.run(Repeat::Never, &self.delete, &[ORDER, DATA, META], &[id.as_bytes()])?;
        Ok(integer(&answer) == Some(1))
    }

    /// Without a limit it is read in chunks, so that Redis answers others in between; what is created or deleted meanwhile may
    /// or may not be seen.
    fn page(&self, limit: Option<usize>, after: Option<Uuid>) -> Result<Page, Unavailable> {
        let mut json = vec![b'['];
        let (mut after, mut left) = (after, limit.unwrap_or(usize::MAX));
        loop {
            // One more than is shown tells whether there is a next page.
            let wanted = left.min(CHUNK);
            let Chunk { found, products } = self.chunk(wanted + 1, after)?;
            let shown = products.len().min(wanted);
            for (id, product) in &products[..shown] {
                if json.len() > 1 {
                    json.push(b',');
                }
                json.extend_from_slice(product);
                after = Some(*id);
            }
            left -= shown;
            // Nothing is shown of what was found only if Redis does not hold what was put there.
            let is_last = found == shown || shown == 0;
            if is_last || left == 0 {
                json.push(b']');
                return Ok(Page { json, next_after: after.filter(|_| !is_last) });
            }
        }
    }

    fn entity_tag(&self) -> Result<String, Unavailable> {
        let call = redis::cmd("HMGET").arg(META).arg(&["instance", "revision"]).to_owned();
        let (instance, revision): (Option<String>, Option<u64>) = self.ask(RedisCommand::Hmget, &call)?;
        Ok(format!("\"{}-{:x}\"", instance.as_deref().unwrap_or("none"), revision.unwrap_or(0)))
    }
}

fn read_created(answer: &Value) -> Result<Product, CreateError> {
    let fields: Vec<Option<&[u8]>> = match answer {
        Value::Array(fields) => fields.iter().map(bytes).collect(),
        _ => Vec::new(),
    };
    match &fields[..] {
        [Some(b"created" | b"replayed"), Some(id), Some(json)] => {
            let id = id_of(id).ok_or(UNREADABLE)?;
            Ok(Product { id, json: Arc::from(*json) })
        }
        [Some(b"full")] => Err(CreateError::Full),
        [Some(b"conflict")] => Err(CreateError::KeyReused),
        _ => Err(UNREADABLE),
    }
}

/// The script answers in no other form; should it, nothing is known of the product.
const UNREADABLE: CreateError =
    CreateError::Unavailable(Unavailable { retry_in: std::time::Duration::from_secs(1), in_doubt: true });

fn id_of(text: &[u8]) -> Option<Uuid> {
    Uuid::try_parse_ascii(text).ok()
}

/// The place of an id in the order of creation: a UUID of version 7 begins with 48 bits of milliseconds (RFC 9562, 5.7).
fn millisecond_of(id: &Uuid) -> u64 {
    id.as_u64_pair().0 >> 16
}
