//! Token buckets in Redis: one script call for a whole batch.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::{Cmd, Connection, ConnectionLike, RedisError, Script, Value};

use super::bucket::{Policy, Taken};
use crate::client::ClientId;
use crate::redis_client::{RedisClient, RedisFailure, Repeat, Unavailable, bytes, integer};

const SCRIPT: &str = include_str!("token_bucket.lua");

/// The buckets of one policy in one Redis, shared by every process that uses it.
pub struct RedisStore {
    client: Arc<RedisClient>,
    script: Script,
    policy_name: &'static str,
    /// Capacity, refill rate and cost, as the script takes them.
    policy_args: [String; 3],
    /// Set once Redis has said that a batch spans hash slots: a cluster, where each bucket needs a call of its own.
    one_call_per_key: AtomicBool,
}

impl RedisStore {
    /// The buckets of `policy` in the Redis behind `client`.
    #[must_use]
    pub fn new(client: Arc<RedisClient>, policy: &Policy) -> Self {
        Self {
            client,
            script: Script::new(SCRIPT),
            policy_name: policy.name(),
            policy_args: [
                policy.capacity().to_string(),
                policy.refill_per_second().to_string(),
                policy.cost().to_string(),
            ],
            one_call_per_key: AtomicBool::new(false),
        }
    }

    /// The way to Redis.
    #[must_use]
    pub fn client(&self) -> &RedisClient {
        &self.client
    }

    /// Takes tokens for a batch: for each client, `n` equal asks. `answers` gets one entry per client, in order.
    ///
    /// With no asks at all the script still runs, and tells that Redis works and takes writes.
    ///
    /// # Errors
    /// When Redis does not answer in time, or refuses; then nothing is known about what was taken.
    pub fn take(&self, asks: &[(ClientId, u32)], answers: &mut Vec<Taken>) -> Result<(), Unavailable> {
        // Taking twice can only take too much, never grant too much.
        self.client.call(Repeat::Harmless, |connection| {
            answers.clear();
            self.exchange(connection, asks, answers)
        })
    }

    fn exchange(
        &self,
        connection: &mut Connection,
        asks: &[(ClientId, u32)],
        answers: &mut Vec<Taken>,
    ) -> Result<(), RedisFailure> {
        let spans_slots = self.one_call_per_key.load(Ordering::Relaxed) && asks.len() > 1;
        if !spans_slots {
            match self.run_script(connection, asks) {
                Err(error) if error.code() == Some("CROSSSLOT") => self.one_call_per_key.store(true, Ordering::Relaxed),
                Err(error) => return Err(RedisFailure::Exchange(error)),
                Ok(value) => return read_answer(&value, asks.len(), answers),
            }
        }
        for (ask, value) in asks.iter().zip(self.run_script_for_each(connection, asks).map_err(RedisFailure::Exchange)?)
        {
            read_answer(&value, std::slice::from_ref(ask).len(), answers)?;
        }
        Ok(())
    }

    fn run_script(&self, connection: &mut Connection, asks: &[(ClientId, u32)]) -> Result<Value, RedisError> {
        let call = self.call(asks).get_packed_command();
        self.client.with_script_loaded(connection, &self.script, |connection| {
            match connection.req_packed_command(&call)? {
                Value::ServerError(refusal) => Err(refusal.into()),
                answer => Ok(answer),
            }
        })
    }

    fn run_script_for_each(
        &self,
        connection: &mut Connection,
        asks: &[(ClientId, u32)],
    ) -> Result<Vec<Value>, RedisError> {
        let mut pipeline = redis::pipe();
        for ask in asks {
            pipeline.add_command(self.call(std::slice::from_ref(ask)));
        }
        // The pipeline's own answer is the first error, if any call met one.
        self.client.with_script_loaded(connection, &self.script, |connection| pipeline.query(connection))
    }

    /// `EVALSHA sha n key... (capacity rate cost n)...`, as the script's header describes.
    fn call(&self, asks: &[(ClientId, u32)]) -> Cmd {
        let mut call = redis::cmd("EVALSHA");
        call.arg(self.script.get_hash()).arg(asks.len().max(1));
        if asks.is_empty() {
            // No client is called that, so there is never such a bucket.
            call.arg(format!("tollgate:{{{}:probe}}", self.policy_name));
        }
        let mut key = String::with_capacity(64);
        for (client, _) in asks {
            key.clear();
            // The braces make the whole key its hash tag, so that it stands in one slot of a cluster.
            let _infallible = write!(key, "tollgate:{{{}:{client}}}", self.policy_name);
            call.arg(key.as_str());
        }
        for (_, n) in asks {
            call.arg(&self.policy_args[..]).arg(*n);
        }
        call
    }
}

/// Reads `{now, granted, tokens, wait, ...}` for `asks` buckets.
fn read_answer(value: &Value, asks: usize, answers: &mut Vec<Taken>) -> Result<(), RedisFailure> {
    let unexpected = || RedisFailure::UnexpectedAnswer;
    let Value::Array(fields) = value else { return Err(unexpected()) };
    let Some((now, buckets)) = fields.split_first().filter(|(_, buckets)| buckets.len() == 3 * asks) else {
        return Err(unexpected());
    };
    let now_us = integer(now).ok_or_else(unexpected)?;
    for bucket in buckets.chunks_exact(3) {
        let taken = || {
            Some(Taken {
                granted: u32::try_from(integer(&bucket[0])?).ok()?,
                tokens: float(&bucket[1])?,
                wait_us: integer(&bucket[2])?,
                now_us,
            })
        };
        answers.push(taken().ok_or_else(unexpected)?);
    }
    Ok(())
}

fn float(value: &Value) -> Option<f64> {
    std::str::from_utf8(bytes(value)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(digits: &str) -> Value {
        Value::BulkString(digits.as_bytes().to_vec())
    }

    fn read(fields: Vec<Value>, asks: usize) -> Result<Vec<Taken>, RedisFailure> {
        let mut answers = Vec::new();
        read_answer(&Value::Array(fields), asks, &mut answers).map(|()| answers)
    }

    fn number(number: u64) -> Value {
        Value::Int(i64::try_from(number).unwrap())
    }

    #[test]
    fn an_answer_is_a_clock_and_three_fields_a_bucket() {
        let [now_us, far_away_us] = [1_790_000_000_000_001, 1_000_000_000_000_000];
        let answer = [(2, "0.30000000000000004", 0), (0, "0", far_away_us), (u32::MAX, "999999999", 1)];
        let mut fields = vec![number(now_us)];
        for (granted, tokens, wait_us) in answer {
            fields.extend([number(granted.into()), text(tokens), number(wait_us)]);
        }
        let expected = answer.map(|(granted, tokens, wait_us)| Taken {
            granted,
            tokens: tokens.parse().unwrap(),
            wait_us,
            now_us,
        });
        assert_eq!(read(fields, 3).unwrap(), expected);
        assert_eq!(read(vec![number(now_us)], 0).unwrap(), []);
    }

    #[test]
    fn an_answer_of_any_other_form_is_an_error() {
        let good = || vec![Value::Int(1), Value::Int(1), text("0.5"), Value::Int(0)];
        let with = |at: usize, value: Value| {
            let mut fields = good();
            fields[at] = value;
            fields
        };
        assert!(read(good(), 1).is_ok());
        let bad = [
            (Vec::new(), "nothing at all"),
            (good()[..3].to_vec(), "a field is missing"),
            ([good(), vec![Value::Int(0)]].concat(), "a field too many"),
            (with(0, Value::Nil), "no clock"),
            (with(0, Value::Int(-1)), "a clock before 1970"),
            (with(1, Value::Int(-1)), "less than nothing granted"),
            (with(1, Value::Int(1 << 32)), "more granted than can be asked for"),
            (with(1, text("1")), "a count as text"),
            (with(2, Value::Int(1)), "tokens cut to an integer"),
            (with(2, text("many")), "tokens that are no number"),
            (with(2, Value::BulkString(vec![0xff])), "tokens that are no text"),
            (with(3, Value::Int(-1)), "a wait into the past"),
        ];
        for (fields, what) in bad {
            assert!(matches!(read(fields, 1), Err(RedisFailure::UnexpectedAnswer)), "{what}");
        }
        let not_an_array = read_answer(&Value::Okay, 0, &mut Vec::new());
        assert!(matches!(not_an_array, Err(RedisFailure::UnexpectedAnswer)));
    }
}
